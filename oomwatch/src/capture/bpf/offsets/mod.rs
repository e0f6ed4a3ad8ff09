//! Looks up the [`Offsets`] of the kernel members that the programs read, in the kernel's BTF.
//!
//! The kernel version is never asked: a member has the name and shape of some kernel since 5.8 (the first with a BPF ring
//! buffer), or it is absent. A member of another size than the programs read is absent too.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use oomwatch_ebpf::record::{ABSENT, MARK_PID, MARK_TASK, Offsets};
use thiserror::Error;

use super::super::decode::statistics::{STATISTICS, StatisticsLayout};
use super::{
    btf::{Btf, BtfError, Kind, TypeId, TypedOffset},
    memory::return_large_blocks,
};

#[cfg(test)]
pub(crate) mod kernel;
#[cfg(test)]
mod tests;

/// The BTF of a kernel with `CONFIG_DEBUG_INFO_BTF`.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";
/// Size limit of a BTF file in bytes; kernels have 3 to 6 MiB.
const MAX_LENGTH: u64 = 64 << 20;

/// Why the offsets could not be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The kernel was built without BTF.
    #[error(
        "failed to find the kernel's BTF: there is no {path} (boot a kernel with CONFIG_DEBUG_INFO_BTF, or give the running \
         kernel's BTF with --btf FILE)"
    )]
    NoBtf {
        /// Path where it should be.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("failed to read {path}")]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file is larger than any kernel's BTF.
    #[error("failed to read {path} as BTF: it is larger than {} MiB", MAX_LENGTH >> 20)]
    Length {
        /// Path of the file.
        path: PathBuf,
    },
    /// The file is not BTF, or it is damaged.
    #[error(
        "failed to read {path} as BTF (--btf must name the running kernel's BTF, by default {KERNEL_BTF})"
    )]
    Btf {
        /// Path of the file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: BtfError,
    },
    /// The BTF does not describe the structures that every program reads.
    #[error("failed to find the kernel's structures in {path}")]
    Offsets {
        /// Path of the file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: OffsetsError,
    },
}

/// Why the programs cannot run with this BTF.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OffsetsError {
    /// Members without which kills cannot be distinguished.
    #[error("BTF has no {} of the expected size", members.join(" and no "))]
    Missing {
        /// The members, each as `structure.member`.
        members: Vec<&'static str>,
    },
}

/// What the loader needs from a kernel's BTF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelTypes {
    /// Offsets of the members that the programs read.
    pub offsets: Offsets,
    /// Whether the counters of resident memory are per CPU, and what is read of them approximate.
    pub is_rss_per_cpu: bool,
    /// Which numbers are which statistics of a memory cgroup.
    pub statistics: StatisticsLayout,
    /// Those of [`FUNCTIONS`] that the kernel has: BTF type id and name.
    pub functions: Vec<(u32, &'static str)>,
}

/// Functions of `mm/oom_kill.c` that fentry and kprobe programs hook: [`KILL_FUNCTIONS`] of them for kills, the rest for the
/// processes that the killer chooses from.
pub const FUNCTIONS: [&str; 5] = [
    "oom_kill_process",
    "__oom_kill_process",
    "mark_oom_victim",
    "out_of_memory",
    "oom_evaluate_task",
];
/// Number of [`FUNCTIONS`] without which no kill is seen, the first ones.
pub const KILL_FUNCTIONS: usize = 3;

impl KernelTypes {
    /// Whether the kernel has the functions that show kills.
    #[must_use]
    pub fn has_kill_functions(&self) -> bool {
        FUNCTIONS[..KILL_FUNCTIONS]
            .iter()
            .all(|name| self.functions.iter().any(|(_, found)| found == name))
    }
}

/// Reads a kernel's types from a BTF file, usually [`KERNEL_BTF`].
pub fn load(path: &Path) -> Result<KernelTypes, LoadError> {
    return_large_blocks();
    let bytes = read(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => LoadError::NoBtf { path: path.into() },
        _ => LoadError::Read {
            path: path.into(),
            source,
        },
    })?;
    if bytes.len() as u64 > MAX_LENGTH {
        return Err(LoadError::Length { path: path.into() });
    }
    let btf = Btf::parse(&bytes).map_err(|source| LoadError::Btf {
        path: path.into(),
        source,
    })?;
    let offsets = find(&btf).map_err(|source| LoadError::Offsets {
        path: path.into(),
        source,
    })?;
    let functions = btf.types(FUNCTIONS.map(|name| (Kind::Func, name)));
    Ok(KernelTypes {
        offsets,
        is_rss_per_cpu: is_rss_per_cpu(&btf),
        statistics: statistics(&btf),
        functions: functions
            .into_iter()
            .zip(FUNCTIONS)
            .filter_map(|(id, name)| Some((id?.number(), name)))
            .collect(),
    })
}

/// Reads at most one byte more than [`MAX_LENGTH`].
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len().min(MAX_LENGTH) + 1;
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    file.take(MAX_LENGTH + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Looks up all offsets; a member that is not found is [`ABSENT`]. Fails only if the process id or the thread id is not found:
/// without them kills cannot be distinguished.
#[expect(clippy::too_many_lines, reason = "a table: one line for each member")]
pub fn find(btf: &Btf<'_>) -> Result<Offsets, OffsetsError> {
    let types = btf.types([
        (Kind::Struct, "task_struct"),
        (Kind::Struct, "signal_struct"),
        (Kind::Struct, "cred"),
        (Kind::Struct, "mm_struct"),
        (Kind::Struct, "css_set"),
        (Kind::Struct, "cgroup_subsys_state"),
        (Kind::Struct, "cgroup"),
        (Kind::Struct, "kernfs_node"),
        (Kind::Struct, "mem_cgroup"),
        (Kind::Struct, "pid"),
        (Kind::Struct, "upid"),
        (Kind::Struct, "pid_namespace"),
        (Kind::Struct, "mempolicy"),
        (Kind::Struct, "memcg_vmstats"),
        (Kind::Typedef, "btf_trace_mark_victim"),
    ]);
    let [
        task,
        signal,
        cred,
        mm,
        css_set,
        css,
        cgroup,
        kernfs_node,
        memcg,
        pid,
        upid,
        pid_namespace,
        mempolicy,
        vmstats,
        mark_victim,
    ] = types.map(|type_id| Definition { btf, type_id });
    let [memory, file_rss, anon_rss, swap, shmem_rss] = btf.enumerators([
        "memory_cgrp_id",
        "MM_FILEPAGES",
        "MM_ANONPAGES",
        "MM_SWAPENTS",
        "MM_SHMEMPAGES",
    ]);

    let offsets = Offsets {
        task_pid: task.offset("pid", INT),
        task_tgid: task.offset("tgid", INT),
        task_flags: task.offset("flags", INT),
        task_comm: task.offset("comm", COMM),
        task_group_leader: task.offset("group_leader", POINTER),
        task_start_boottime: task.either("start_boottime", "real_start_time", LONG),
        task_real_cred: task.offset("real_cred", POINTER),
        task_mm: task.offset("mm", POINTER),
        task_signal: task.offset("signal", POINTER),
        task_cgroups: task.offset("cgroups", POINTER),
        task_thread_pid: task.offset("thread_pid", POINTER),
        task_thread_node: task.offset_unsized("thread_node"),
        task_real_parent: task.offset("real_parent", POINTER),
        task_vfork_done: task.offset("vfork_done", POINTER),
        task_mems_allowed: task.offset_unsized("mems_allowed"),
        task_mempolicy: task.offset("mempolicy", POINTER),
        mempolicy_mode: mempolicy.offset("mode", SHORT),
        mempolicy_nodes: match mempolicy.offset_unsized("nodes") {
            ABSENT => mempolicy.offset_unsized("v.nodes"),
            offset => offset,
        },
        signal_thread_head: signal.offset_unsized("thread_head"),
        signal_oom_score_adj: signal.offset("oom_score_adj", SHORT),
        signal_oom_mm: signal.offset("oom_mm", POINTER),
        cred_uid: cred.offset("uid", INT),
        mm_total_vm: mm.offset("total_vm", LONG),
        mm_pgtables_bytes: mm.offset("pgtables_bytes", LONG),
        mm_flags: mm.either("flags", "_flags", LONG),
        mm_file_rss: mm.rss(file_rss),
        mm_anon_rss: mm.rss(anon_rss),
        mm_swap: mm.rss(swap),
        mm_shmem_rss: mm.rss(shmem_rss),
        css_set_memory: css_set.subsys(memory),
        css_set_dfl_cgrp: css_set.offset("dfl_cgrp", POINTER),
        css_cgroup: css.offset("cgroup", POINTER),
        css_parent: css.offset("parent", POINTER),
        cgroup_kn: cgroup.offset("kn", POINTER),
        cgroup_level: cgroup.offset("level", INT),
        cgroup_root: cgroup.offset("root", POINTER),
        kernfs_node_parent: kernfs_node.either("__parent", "parent", POINTER),
        kernfs_node_name: kernfs_node.offset("name", POINTER),
        kernfs_node_id: kernfs_node.offset("id", LONG),
        memcg_css: memcg.offset_unsized("css"),
        memcg_memory_usage: memcg.offset("memory.usage", LONG),
        memcg_memory_max: memcg.offset("memory.max", LONG),
        memcg_swap_usage: memcg.swap("swap.usage", "memsw.usage"),
        memcg_swap_max: memcg.swap("swap.max", "memsw.max"),
        memcg_memory_watermark: memcg.offset("memory.watermark", LONG),
        memcg_limit_hits: memcg.limit_hits(),
        memcg_oom_lock: memcg.offset("oom_lock", BOOL),
        memcg_oom_group: memcg.offset("oom_group", BOOL),
        pid_level: pid.offset("level", INT),
        pid_numbers: pid.offset_unsized("numbers"),
        upid_size: upid.size(),
        upid_nr: upid.offset("nr", INT),
        upid_ns: upid.offset("ns", POINTER),
        pid_namespace_child_reaper: pid_namespace.offset("child_reaper", POINTER),
        pid_namespace_parent: pid_namespace.offset("parent", POINTER),
        mark_victim_argument: mark_victim.victim_argument(),
        ..function_arguments(btf)
    };
    let offsets = Offsets {
        memcg_vmstats: memcg.vmstats(),
        vmstats_state: if memcg.has_pointer("vmstats") {
            vmstats.offset_unsized("state")
        } else {
            ABSENT
        },
        vmstats_updates: vmstats.offset("stats_updates", INT),
        ..offsets
    };

    let needed = [
        ("task_struct.pid", offsets.task_pid),
        ("task_struct.tgid", offsets.task_tgid),
    ];
    let members: Vec<_> = needed
        .into_iter()
        .filter(|(_, offset)| *offset == ABSENT)
        .map(|(name, _)| name)
        .collect();
    if members.is_empty() {
        Ok(offsets)
    } else {
        Err(OffsetsError::Missing { members })
    }
}

/// Whether `mm_struct.rss_stat` is an array of `struct percpu_counter`, as since 6.2.
fn is_rss_per_cpu(btf: &Btf<'_>) -> bool {
    let [type_id] = btf.types([(Kind::Struct, "mm_struct")]);
    let mm = Definition { btf, type_id };
    mm.member("rss_stat")
        .and_then(|stat| btf.element(stat, 0))
        .is_some()
}

/// The statistics of memory cgroups.
fn statistics(btf: &Btf<'_>) -> StatisticsLayout {
    let [memcg, vmstats] = btf
        .types([
            (Kind::Struct, "mem_cgroup"),
            (Kind::Struct, "memcg_vmstats"),
        ])
        .map(|type_id| Definition { btf, type_id });
    let number = |value: Option<i64>| usize::try_from(value?).ok();
    let [count] = btf.enumerators(["MEMCG_NR_STAT"]);
    let count = number(count).unwrap_or(0);
    let is_short = || {
        let state = vmstats.member("state")?;
        btf.element(state, u32::try_from(count).ok()?.checked_sub(1)?)
            .is_none()
            .then_some(())
    };
    StatisticsLayout {
        enumerators: btf
            .enumerators(STATISTICS.map(|(enumerator, ..)| enumerator))
            .map(number),
        count,
        // The array has fewer elements than there are enumerators.
        is_indexed: memcg.has_pointer("vmstats") && is_short().is_some(),
    }
}

/// The offsets that fentry and kprobe programs read: of arguments, and of what those point to.
fn function_arguments(btf: &Btf<'_>) -> Offsets {
    let types = btf.types([(Kind::Struct, "oom_control"), (Kind::Struct, "pt_regs")]);
    let [oom_control, registers] = types.map(|type_id| Definition { btf, type_id });
    Offsets {
        oom_control_memcg: oom_control.offset("memcg", POINTER),
        oom_control_nodemask: oom_control.offset("nodemask", POINTER),
        oom_control_gfp_mask: oom_control.offset("gfp_mask", INT),
        oom_control_order: oom_control.offset("order", INT),
        oom_control_totalpages: oom_control.offset("totalpages", LONG),
        oom_control_chosen: oom_control.offset("chosen", POINTER),
        oom_control_chosen_points: oom_control.offset("chosen_points", LONG),
        oom_control_constraint: oom_control.offset("constraint", INT),
        pt_regs_argument: registers.first_argument(),
        ..Offsets::NONE
    }
}

/// Bytes of `bool`.
const BOOL: u32 = 1;
/// Bytes of `short`.
const SHORT: u32 = 2;
/// Bytes of `int`, `pid_t` and `kuid_t`.
const INT: u32 = 4;
/// Bytes of `long`, `atomic_long_t`, `u64` and `s64`.
const LONG: u32 = 8;
/// Bytes of a pointer.
const POINTER: u32 = 8;
/// Bytes of `task_struct.comm`.
const COMM: u32 = 16;

/// One of the kernel's types, if it has it.
struct Definition<'btf, 'bytes> {
    btf: &'btf Btf<'bytes>,
    type_id: Option<TypeId>,
}

impl Definition<'_, '_> {
    /// Offset of a member of this size.
    fn offset(&self, path: &str, size: u32) -> u32 {
        self.sized(self.member(path), size)
    }

    /// Offset of a member that was renamed.
    fn either(&self, name: &str, other: &str, size: u32) -> u32 {
        self.sized(self.member(name).or_else(|| self.member(other)), size)
    }

    /// Offset of a member of any size: an embedded structure, or an array of unknown length.
    fn offset_unsized(&self, path: &str) -> u32 {
        self.member(path).map_or(ABSENT, |found| found.offset)
    }

    /// Offset in `mm_struct` of the counter of one kind of pages: in an array inside a structure up to 6.1, in an array of
    /// `struct percpu_counter` since.
    fn rss(&self, number: Option<i64>) -> u32 {
        let count = || {
            let number = u32::try_from(number?).ok()?;
            let stat = self.member("rss_stat")?;
            match self.btf.element(stat, number) {
                Some(counter) => self.btf.member(counter, "count"),
                None => self.btf.element(self.btf.member(stat, "count")?, number),
            }
        };
        self.sized(count(), LONG)
    }

    /// Offset in `css_set` of the state of one controller.
    fn subsys(&self, number: Option<i64>) -> u32 {
        let state = || {
            self.btf
                .element(self.member("subsys")?, u32::try_from(number?).ok()?)
        };
        self.sized(state(), POINTER)
    }

    /// Offset in `mem_cgroup` of the swap counter. Since 5.10 it is one member with two names. Earlier kernels have two members,
    /// and the cgroup version decides which is in use: then it is absent.
    fn swap(&self, swap: &str, memsw: &str) -> u32 {
        let swap = self.offset(swap, LONG);
        let memsw = self.offset(memsw, LONG);
        if memsw == swap || memsw == ABSENT {
            swap
        } else {
            ABSENT
        }
    }

    /// Offset in `mem_cgroup` of the counter of times at the limit.
    fn limit_hits(&self) -> u32 {
        let [number] = self.btf.enumerators(["MEMCG_MAX"]);
        let counter = || {
            let events = self.member("memory_events")?;
            self.btf.element(events, u32::try_from(number?).ok()?)
        };
        self.sized(counter(), LONG)
    }

    /// Offset in `mem_cgroup` of the array of statistics, or of the pointer to the structure that has it: an array up to 5.11, then
    /// a structure, a pointer since 6.0.
    fn vmstats(&self) -> u32 {
        let found = || {
            let vmstats = self.member("vmstats")?;
            self.btf.member(vmstats, "state").or(Some(vmstats))
        };
        found().map_or(ABSENT, |found| found.offset)
    }

    fn has_pointer(&self, name: &str) -> bool {
        self.member(name)
            .is_some_and(|found| self.btf.pointee(found.type_id).is_some())
    }

    /// Offset in `pt_regs` of the register of a function's first argument: `di` on x86-64, the first of `regs` on arm64.
    fn first_argument(&self) -> u32 {
        match self.offset("di", LONG) {
            ABSENT => self.sized(
                self.member("regs")
                    .and_then(|registers| self.btf.element(registers, 0)),
                LONG,
            ),
            offset => offset,
        }
    }

    /// The kind of the tracepoint's first argument; the type is the typedef of the tracepoint's function.
    fn victim_argument(&self) -> u32 {
        let argument = || {
            let function = self.btf.pointee(self.type_id?)?;
            let mut parameters = self.btf.parameters(function)?;
            let count = parameters.len();
            // The first parameter is private to the tracepoint.
            let is_pointer = self.btf.pointee(parameters.nth(1)?).is_some();
            match (count, is_pointer) {
                (3, true) => Some(MARK_TASK),
                (2, false) => Some(MARK_PID),
                _ => None,
            }
        };
        argument().unwrap_or(ABSENT)
    }

    fn size(&self) -> u32 {
        self.type_id
            .and_then(|type_id| self.btf.size(type_id))
            .unwrap_or(ABSENT)
    }

    fn member(&self, path: &str) -> Option<TypedOffset> {
        self.btf.member(TypedOffset::start(self.type_id?), path)
    }

    /// The offset, if the type there has this size.
    fn sized(&self, found: Option<TypedOffset>, size: u32) -> u32 {
        found
            .filter(|found| self.btf.size(found.type_id) == Some(size))
            .map_or(ABSENT, |found| found.offset)
    }
}
