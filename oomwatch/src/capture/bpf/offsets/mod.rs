//! Finds in BTF where the kernel keeps what a kill is told from: BTF to [`Offsets`].
//!
//! The kernel is never asked by version: a member has the name or the shape of any kernel since 5.8 (the first with a BPF ring
//! buffer), or it is absent. A member of another size than the programs read is absent too: what they read would be wrong.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use oomwatch_ebpf::record::{ABSENT, MARK_PID, MARK_TASK, Offsets};
use thiserror::Error;

use super::btf::{Btf, BtfError, Kind, Place, TypeId};

#[cfg(test)]
pub(crate) mod kernel;
#[cfg(test)]
mod tests;

/// Where a kernel with `CONFIG_DEBUG_INFO_BTF` shows its BTF.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";
/// Bytes of BTF that are read at most; kernels have 3 to 6 MiB.
const MAX_LENGTH: u64 = 64 << 20;

/// Why the offsets could not be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The kernel was built without.
    #[error(
        "this kernel has no BTF (CONFIG_DEBUG_INFO_BTF): there is no {path}; boot a kernel that has it, or give the running \
         kernel's BTF with --btf FILE"
    )]
    NoBtf {
        /// Where it should be.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is longer than any kernel's.
    #[error("read {path}: it is longer than {} MiB and so no kernel's BTF", MAX_LENGTH >> 20)]
    Length {
        /// Which file.
        path: PathBuf,
    },
    /// The file is not BTF, or damaged.
    #[error("read {path} as BTF, which --btf must name: the running kernel's is {KERNEL_BTF}")]
    Btf {
        /// Which file.
        path: PathBuf,
        /// What is wrong in it.
        #[source]
        source: BtfError,
    },
    /// The file does not describe a kernel whose kills can be told.
    #[error("read the kernel's structures from {path}")]
    Offsets {
        /// Which file.
        path: PathBuf,
        /// What is not in it.
        #[source]
        source: OffsetsError,
    },
}

/// Why BTF is of no use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OffsetsError {
    /// Members without which no kill can be told from another.
    #[error("find {} in BTF: no member of that name and size", members.join(" and "))]
    Missing {
        /// Each as `structure.member`.
        members: Vec<&'static str>,
    },
}

/// What the programs need to know of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Where its structures have what.
    pub offsets: Offsets,
    /// The functions of `mm/oom_kill.c` that it has, each with the id of its type.
    pub functions: Vec<(u32, &'static str)>,
}

/// Functions that are hooked where that is possible.
pub const FUNCTIONS: [&str; 3] = ["oom_kill_process", "__oom_kill_process", "mark_oom_victim"];

/// Reads a kernel's types from a file, [`KERNEL_BTF`] unless there is a reason for another. The file's bytes are not kept.
pub fn load(path: &Path) -> Result<Kernel, LoadError> {
    super::return_large_blocks();
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
    Ok(Kernel {
        offsets,
        functions: functions
            .into_iter()
            .zip(FUNCTIONS)
            .filter_map(|(id, name)| Some((id?.number(), name)))
            .collect(),
    })
}

/// At most one byte more than is allowed.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len().min(MAX_LENGTH) + 1;
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    file.take(MAX_LENGTH + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Looks up all offsets; what is not there is [`ABSENT`]. An error only where the process or thread id is missing: without
/// them no kill can be told from another.
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
        signal_oom_score_adj: signal.offset("oom_score_adj", SHORT),
        signal_oom_mm: signal.offset("oom_mm", POINTER),
        cred_uid: cred.offset("uid", INT),
        mm_total_vm: mm.offset("total_vm", LONG),
        mm_pgtables_bytes: mm.offset("pgtables_bytes", LONG),
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
        memcg_css: memcg.beginning("css"),
        memcg_memory_usage: memcg.offset("memory.usage", LONG),
        memcg_memory_max: memcg.offset("memory.max", LONG),
        memcg_swap_usage: memcg.swap("swap.usage", "memsw.usage"),
        memcg_swap_max: memcg.swap("swap.max", "memsw.max"),
        memcg_oom_lock: memcg.offset("oom_lock", BOOL),
        memcg_oom_group: memcg.offset("oom_group", BOOL),
        pid_level: pid.offset("level", INT),
        pid_numbers: pid.beginning("numbers"),
        upid_size: upid.size(),
        upid_nr: upid.offset("nr", INT),
        upid_ns: upid.offset("ns", POINTER),
        pid_namespace_child_reaper: pid_namespace.offset("child_reaper", POINTER),
        pid_namespace_parent: pid_namespace.offset("parent", POINTER),
        mark_victim_argument: mark_victim.argument(),
        ..function_arguments(btf)
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

/// What hooks on functions read: their arguments, and what those point to.
fn function_arguments(btf: &Btf<'_>) -> Offsets {
    let types = btf.types([(Kind::Struct, "oom_control"), (Kind::Struct, "pt_regs")]);
    let [oom_control, registers] = types.map(|type_id| Definition { btf, type_id });
    Offsets {
        oom_control_memcg: oom_control.offset("memcg", POINTER),
        oom_control_gfp_mask: oom_control.offset("gfp_mask", INT),
        oom_control_order: oom_control.offset("order", INT),
        oom_control_totalpages: oom_control.offset("totalpages", LONG),
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

/// One of the kernel's types, or its absence.
struct Definition<'btf, 'bytes> {
    btf: &'btf Btf<'bytes>,
    type_id: Option<TypeId>,
}

impl Definition<'_, '_> {
    /// Where a member of this size begins.
    fn offset(&self, path: &str, size: u32) -> u32 {
        self.sized(self.member(path), size)
    }

    /// Where a member begins that has had two names.
    fn either(&self, name: &str, other: &str, size: u32) -> u32 {
        self.sized(self.member(name).or_else(|| self.member(other)), size)
    }

    /// Where a member begins that is only a way to others: an embedded structure, or an array without an end.
    fn beginning(&self, path: &str) -> u32 {
        self.member(path).map_or(ABSENT, |place| place.offset)
    }

    /// Where `mm_struct` has the count of one kind of pages: an array in a structure up to 6.1, an array of
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

    /// Where `css_set` has the state of one controller.
    fn subsys(&self, number: Option<i64>) -> u32 {
        let state = || {
            self.btf
                .element(self.member("subsys")?, u32::try_from(number?).ok()?)
        };
        self.sized(state(), POINTER)
    }

    /// Where `mem_cgroup` counts swap. One place with two names since 5.10; before there were two, and which of them is in
    /// use depends on the cgroup version: neither is taken.
    fn swap(&self, swap: &str, memsw: &str) -> u32 {
        let swap = self.offset(swap, LONG);
        let memsw = self.offset(memsw, LONG);
        if memsw == swap || memsw == ABSENT {
            swap
        } else {
            ABSENT
        }
    }

    /// Where `pt_regs` has the register of a function's first argument: x86-64's `di`, or arm64's first of `regs`.
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

    /// What the tracepoint that this typedef is of says of the victim.
    fn argument(&self) -> u32 {
        let argument = || {
            let function = self.btf.pointee(self.type_id?)?;
            let mut parameters = self.btf.parameters(function)?;
            let count = parameters.len();
            // The first is the tracepoint's own.
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

    fn member(&self, path: &str) -> Option<Place> {
        self.btf.member(Place::start(self.type_id?), path)
    }

    fn sized(&self, place: Option<Place>, size: u32) -> u32 {
        place
            .filter(|place| self.btf.size(place.type_id) == Some(size))
            .map_or(ABSENT, |place| place.offset)
    }
}
