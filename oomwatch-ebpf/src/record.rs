//! The records in the ring buffer, and the globals that the loader sets.
//!
//! This is the only definition of the layout. It has fixed-width integers and byte arrays only, and no implicit padding:
//! `zerocopy::IntoBytes` cannot be derived if there is any. Quantities are in the kernel's units (pages, bytes, nanoseconds
//! since boot), which user space converts.
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version of the layout. Changes with every change of a record or a global, so that a pinned ring is never read with another
/// layout.
pub const ABI_VERSION: u32 = 6;

/// `TASK_COMM_LEN` of `include/linux/sched.h`: 15 bytes and a NUL.
pub const COMM_LEN: usize = 16;
/// Memory cgroups in a record, the victim's own and its ancestors; Kubernetes nests 5 to 8.
pub const MAX_LEVELS: usize = 16;
/// Return addresses in a record. Those of tracing and of the OOM killer are the 12 innermost; each costs a microsecond.
pub const STACK_FRAMES: usize = 16;
/// Bytes of cgroup names in a record; the walk stops at the first name that would begin past them.
pub const NAMES_LEN: usize = 2048;
/// `NAME_MAX` and a NUL: bytes by which the last name may exceed [`NAMES_LEN`].
pub const NAME_LEN: usize = 256;

/// [`Header::kind`] of a [`VictimRecord`].
pub const KIND_VICTIM: u32 = 1;
/// [`Header::kind`] of a [`SignalRecord`].
pub const KIND_SIGNAL: u32 = 2;

/// The beginning of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Header {
    /// One of the `KIND_` constants.
    pub kind: u32,
    /// Bytes of the record that are used, this header included.
    pub length: u32,
    /// `bpf_ktime_get_boot_ns`: nanoseconds since boot, suspend included.
    pub boot_time_ns: u64,
}

/// A process and one of its threads.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Task {
    /// Process id (`task_struct.tgid`) in the initial PID namespace.
    pub tgid: u32,
    /// Thread id (`task_struct.pid`) in the initial PID namespace.
    pub tid: u32,
    /// `task_struct.comm`: of the process for a victim, of the thread for a trigger. Residue may follow the NUL.
    pub comm: [u8; COMM_LEN],
    /// Id of its memory cgroup (`kernfs_node.id`); 0 if it could not be read.
    pub memcg_id: u64,
}

/// One memory cgroup at the time of the kill.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Level {
    /// Id of the cgroup (`kernfs_node.id`).
    pub id: u64,
    /// `mem_cgroup.memory.usage`, in pages.
    pub usage_pages: u64,
    /// `mem_cgroup.memory.max`, in pages; `PAGE_COUNTER_MAX` if there is no limit.
    pub limit_pages: u64,
    /// `mem_cgroup.swap.usage` on cgroup v2, `memsw.usage` on v1, in pages.
    pub swap_usage_pages: u64,
    /// `mem_cgroup.swap.max` on cgroup v2, `memsw.max` on v1, in pages.
    pub swap_limit_pages: u64,
    /// Bit set of the `LEVEL_` constants.
    pub flags: u64,
}

/// [`Level::flags`]: `mem_cgroup.oom_lock` is set: this cgroup, or one above it, is out of memory.
pub const LEVEL_OOM_LOCK: u64 = 1 << 0;
/// [`Level::flags`]: `mem_cgroup.oom_group` is set (`memory.oom.group`).
pub const LEVEL_OOM_GROUP: u64 = 1 << 1;
/// [`Level::flags`]: the id could not be read.
pub const LEVEL_NO_ID: u64 = 1 << 2;
/// [`Level::flags`]: usage or limit could not be read.
pub const LEVEL_NO_MEMORY: u64 = 1 << 3;
/// [`Level::flags`]: swap usage or swap limit could not be read.
pub const LEVEL_NO_SWAP: u64 = 1 << 4;

/// The kernel stack when the record was written, innermost frame first.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Stack {
    /// Used bytes of `frames`; a negative errno if the stack could not be read.
    pub length: i64,
    /// Return addresses.
    pub frames: [u64; STACK_FRAMES],
}

/// A `mark_victim` event: a kill, or the mark of a task that was already dying.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct VictimRecord {
    /// Header with the kind [`KIND_VICTIM`].
    pub header: Header,
    /// Bit set of the `MISSING_` constants: the facts that could not be read.
    pub missing: u64,
    /// The marked task.
    pub victim: Task,
    /// The task whose allocation invoked the OOM killer (`current`).
    pub trigger: Task,
    /// `group_leader->start_boottime`, in nanoseconds since boot.
    pub start_time_ns: u64,
    /// `mm_struct.total_vm`, in pages.
    pub total_vm_pages: u64,
    /// `rss_stat[MM_ANONPAGES]`, in pages. A per-CPU counter since 6.2: approximate, and possibly negative.
    pub anon_rss_pages: i64,
    /// `rss_stat[MM_FILEPAGES]`, in pages, as above.
    pub file_rss_pages: i64,
    /// `rss_stat[MM_SHMEMPAGES]`, in pages, as above.
    pub shmem_rss_pages: i64,
    /// `rss_stat[MM_SWAPENTS]`, in pages, as above.
    pub swap_pages: i64,
    /// `mm_struct.pgtables_bytes`, in bytes.
    pub pgtables_bytes: u64,
    /// Id (`kernfs_node.id`) of the cgroup at which [`Self::names`] begins: the leaf on cgroup v2, the memory cgroup on v1.
    pub cgroup_id: u64,
    /// Memory cgroup id of the init process of the victim's PID namespace.
    pub ns_init_memcg_id: u64,
    /// Memory cgroup id of the init process of the PID namespace above it; 0 if there is none.
    pub parent_ns_init_memcg_id: u64,
    /// Process id of the victim inside its own PID namespace.
    pub ns_pid: u32,
    /// `pid->level`: nesting depth of that namespace; 0 is the initial one.
    pub ns_level: u32,
    /// `real_cred->uid` in the initial user namespace.
    pub uid: u32,
    /// `signal_struct.oom_score_adj`, -1000 to 1000.
    pub oom_score_adj: i32,
    /// Id (`kernfs_node.id`) of `oom_control.memcg`, the memory cgroup that ran out of memory; 0 if the system did. Fentry and
    /// kprobe only.
    pub oom_memcg_id: u64,
    /// Time at which the first victim of this call of `oom_kill_process` was marked, in nanoseconds since boot. Fentry and kprobe
    /// only.
    pub incident_time_ns: u64,
    /// Time of the [account](crate::account::AccountRecord) of this incident, which was output before; 0 if there is none.
    pub account_time_ns: u64,
    /// `oom_control.totalpages`, in pages. Fentry and kprobe only.
    pub total_pages: u64,
    /// `oom_control.chosen_points`: the kernel's badness score of the process it chose, in pages. Fentry and kprobe only.
    pub points: i64,
    /// `oom_control.constraint`, an `enum oom_constraint`. Fentry and kprobe only.
    pub constraint: u32,
    /// `oom_control.order` of the failed allocation; -1 for sysrq. Fentry and kprobe only.
    pub order: i32,
    /// `oom_control.gfp_mask` of the failed allocation. Fentry and kprobe only.
    pub gfp_mask: u32,
    /// Number of this kill within the call of `oom_kill_process`, from 1; 0 for a mark without a kill. Fentry and kprobe only.
    pub kill_number: u32,
    /// One of the `BACKEND_` constants.
    pub backend: u32,
    /// One of the `SIGNAL_` constants.
    pub signal: u32,
    /// Bit set of the `FLAG_` constants.
    pub flags: u32,
    /// Number of levels by which the memory cgroup is above the cgroup at which [`Self::names`] begins.
    pub memcg_distance: u32,
    /// Used elements of [`Self::levels`].
    pub level_count: u32,
    /// Bytes of [`Self::names`] that belong to the victim's cgroup.
    pub victim_names_length: u32,
    /// Used bytes of [`Self::names`]. The names of the trigger's cgroup follow those of the victim's, if the trigger's memory
    /// cgroup is another one.
    pub names_length: u32,
    /// Number of levels by which the memory cgroup that ran out of memory is above the victim's, if that is [`MAX_LEVELS`] or more;
    /// then [`Self::far_level`] is filled in. Else 0. Fentry and kprobe only.
    pub far_distance: u32,
    /// The kernel stack, from which user space concludes why the task was marked.
    pub stack: Stack,
    /// The victim's memory cgroup and its ancestors, innermost first, without the root.
    pub levels: [Level; MAX_LEVELS],
    /// The memory cgroup that ran out of memory, if it is above [`Self::levels`].
    pub far_level: Level,
    /// Directory names of cgroup paths, each with its NUL, leaf first. A complete path ends with the root's empty name.
    pub names: [u8; NAMES_LEN + NAME_LEN],
    /// Padding to a power of two, so that a masked length stays inside the record. Never sent.
    pub unused: [u8; 568],
}

/// Length of a [`VictimRecord`] without names, in bytes.
pub const VICTIM_FIXED_LENGTH: usize = core::mem::offset_of!(VictimRecord, names);

/// [`VictimRecord::backend`]: raw tracepoints.
pub const BACKEND_RAW_TRACEPOINT: u32 = 0;
/// [`VictimRecord::backend`]: fentry and fexit on functions of `mm/oom_kill.c`.
pub const BACKEND_FENTRY: u32 = 1;
/// [`VictimRecord::backend`]: kprobes on functions of `mm/oom_kill.c`.
pub const BACKEND_KPROBE: u32 = 2;

/// [`VictimRecord::signal`]: the kernel sent the task no SIGKILL just before it was marked: it was already dying.
pub const SIGNAL_NONE: u32 = 0;
/// [`VictimRecord::signal`]: the kernel sent the task SIGKILL just before it was marked: a kill. For fentry and kprobes: the task
/// was marked in `__oom_kill_process`.
pub const SIGNAL_SENT: u32 = 1;
/// [`VictimRecord::signal`]: as [`SIGNAL_SENT`], but a [`SignalRecord`] reports that signal: a re-kill.
pub const SIGNAL_REPORTED: u32 = 2;

/// [`VictimRecord::flags`]: the memory controller is on cgroup v1.
pub const FLAG_CGROUP_V1: u32 = 1 << 0;
/// [`VictimRecord::flags`]: `memcg_distance` could not be read: the names may begin below the memory cgroup.
pub const FLAG_NO_DISTANCE: u32 = 1 << 1;

/// [`VictimRecord::flags`]: `mem_cgroup.oom_group` is set for a cgroup above [`VictimRecord::levels`], up to the one that ran out of
/// memory.
pub const FLAG_FAR_OOM_GROUP: u32 = 1 << 2;

/// A SIGKILL from the kernel to an earlier victim, or to a process that shares the last victim's mm.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SignalRecord {
    /// Header with the kind [`KIND_SIGNAL`].
    pub header: Header,
    /// The process that received the signal.
    pub target: Task,
    /// The sender (`current`).
    pub sender: Task,
    /// `group_leader->start_boottime` of the target, in nanoseconds since boot; 0 if it could not be read.
    pub start_time_ns: u64,
    /// Process id of the victim whose mm the target shares ([`RELATION_MM_SHARER`]), else 0.
    pub victim_tgid: u32,
    /// One of the `RELATION_` constants.
    pub relation: u32,
    /// 1 if the sender was exiting (`PF_EXITING`), like the init process of a dying PID namespace; else 0.
    pub sender_exiting: u32,
    /// One of the `BACKEND_` constants. With fentry and kprobes the OOM killer is known to be the sender.
    pub backend: u32,
    /// Number of processes that were sent SIGKILL since they share a victim's mm, since the programs were loaded. Most of them have
    /// no record: with fentry and kprobes one of each incident has, when the incident ends; with raw tracepoints the first of
    /// each victim.
    pub total_sharers: u64,
    /// The kernel stack, from which user space concludes whether the OOM killer sent the signal.
    pub stack: Stack,
}

/// [`SignalRecord::relation`]: the target is an earlier victim (`signal_struct.oom_mm` is set).
pub const RELATION_REKILL: u32 = 1;
/// [`SignalRecord::relation`]: the target is another process with the last victim's mm.
pub const RELATION_MM_SHARER: u32 = 2;

macro_rules! missing {
    ($($name:ident = $bit:literal, $json:literal;)*) => {
        $(#[doc = concat!("[`VictimRecord::missing`]: `", $json, "`.")] pub const $name: u64 = 1 << $bit;)*
        /// Each `MISSING_` bit, with the name of the fact in the `missing` list of a report.
        pub const MISSING_NAMES: &[(u64, &str)] = &[$(($name, $json)),*];
    };
}

missing! {
    MISSING_TGID = 0, "pid";
    MISSING_COMM = 1, "comm";
    MISSING_START_TIME = 2, "start_time";
    MISSING_UID = 3, "uid";
    MISSING_OOM_SCORE_ADJ = 4, "oom_score_adj";
    MISSING_TOTAL_VM = 5, "total_vm_bytes";
    MISSING_ANON_RSS = 6, "anon_rss_bytes";
    MISSING_FILE_RSS = 7, "file_rss_bytes";
    MISSING_SHMEM_RSS = 8, "shmem_rss_bytes";
    MISSING_SWAP = 9, "swap_bytes";
    MISSING_PGTABLES = 10, "pgtables_bytes";
    MISSING_NS_PID = 11, "ns_pid";
    MISSING_CGROUP = 12, "cgroup";
    MISSING_TRIGGER = 13, "trigger";
    MISSING_LIMITS = 14, "limits";
    MISSING_STACK = 15, "stack";
    MISSING_TASK = 16, "task";
    MISSING_OOM_CGROUP = 17, "oom_cgroup";
    MISSING_CONSTRAINT = 18, "constraint";
    MISSING_ALLOCATION = 19, "allocation";
    MISSING_POINTS = 20, "oom_points";
}

/// Declares a structure of offsets, each with its name and the kernel member it leads to.
macro_rules! offsets {
    ($(#[$about:meta])* $structure:ident, $($(#[$doc:meta])* $name:ident,)*) => {
        $(#[$about])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        pub struct $structure {
            $($(#[$doc])* pub $name: u32,)*
        }

        impl $structure {
            /// No offset is known: the value in the object until the loader sets it.
            pub const NONE: Self = Self { $($name: ABSENT,)* };

            /// Each offset with its name.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u32)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

/// The offset of a member that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

offsets! {
    /// Offsets of kernel members in bytes; [`ABSENT`] for a member that this kernel does not have. The loader sets them from the
    /// kernel's BTF; they are read-only for the programs.
    Offsets,
    /// `task_struct.pid`
    task_pid,
    /// `task_struct.tgid`
    task_tgid,
    /// `task_struct.flags`
    task_flags,
    /// `task_struct.comm`
    task_comm,
    /// `task_struct.group_leader`
    task_group_leader,
    /// `task_struct.start_boottime`, before 5.5 `real_start_time`
    task_start_boottime,
    /// `task_struct.real_cred`
    task_real_cred,
    /// `task_struct.mm`
    task_mm,
    /// `task_struct.signal`
    task_signal,
    /// `task_struct.cgroups`
    task_cgroups,
    /// `task_struct.thread_pid`
    task_thread_pid,
    /// `task_struct.thread_node`
    task_thread_node,
    /// `task_struct.real_parent`
    task_real_parent,
    /// `task_struct.vfork_done`
    task_vfork_done,
    /// `task_struct.mems_allowed`
    task_mems_allowed,
    /// `task_struct.mempolicy`
    task_mempolicy,
    /// `mempolicy.mode`
    mempolicy_mode,
    /// `mempolicy.nodes`, before 5.14 `v.nodes`
    mempolicy_nodes,
    /// `signal_struct.thread_head`
    signal_thread_head,
    /// `signal_struct.oom_score_adj`
    signal_oom_score_adj,
    /// `signal_struct.oom_mm`
    signal_oom_mm,
    /// `cred.uid`
    cred_uid,
    /// `mm_struct.total_vm`
    mm_total_vm,
    /// `mm_struct.pgtables_bytes`
    mm_pgtables_bytes,
    /// `mm_struct.flags`
    mm_flags,
    /// `mm_struct.rss_stat`, the count of `MM_FILEPAGES`
    mm_file_rss,
    /// `mm_struct.rss_stat`, the count of `MM_ANONPAGES`
    mm_anon_rss,
    /// `mm_struct.rss_stat`, the count of `MM_SWAPENTS`
    mm_swap,
    /// `mm_struct.rss_stat`, the count of `MM_SHMEMPAGES`
    mm_shmem_rss,
    /// `css_set.subsys[memory_cgrp_id]`
    css_set_memory,
    /// `css_set.dfl_cgrp`
    css_set_dfl_cgrp,
    /// `cgroup_subsys_state.cgroup`
    css_cgroup,
    /// `cgroup_subsys_state.parent`
    css_parent,
    /// `cgroup.kn`
    cgroup_kn,
    /// `cgroup.level`
    cgroup_level,
    /// `cgroup.root`
    cgroup_root,
    /// `kernfs_node.__parent`, before 6.15 `parent`
    kernfs_node_parent,
    /// `kernfs_node.name`
    kernfs_node_name,
    /// `kernfs_node.id`
    kernfs_node_id,
    /// `mem_cgroup.css`
    memcg_css,
    /// `mem_cgroup.memory.usage`
    memcg_memory_usage,
    /// `mem_cgroup.memory.max`
    memcg_memory_max,
    /// `mem_cgroup.swap.usage`, which is `memsw.usage` on cgroup v1
    memcg_swap_usage,
    /// `mem_cgroup.swap.max`, which is `memsw.max` on cgroup v1
    memcg_swap_max,
    /// `mem_cgroup.memory.watermark`
    memcg_memory_watermark,
    /// `mem_cgroup.memory_events[MEMCG_MAX]`
    memcg_limit_hits,
    /// `mem_cgroup.vmstats`, or the array of statistics in it where that is no pointer
    memcg_vmstats,
    /// `memcg_vmstats.state`, where `mem_cgroup.vmstats` is a pointer
    vmstats_state,
    /// `memcg_vmstats.stats_updates`, likewise
    vmstats_updates,
    /// `mem_cgroup.oom_lock`
    memcg_oom_lock,
    /// `mem_cgroup.oom_group`
    memcg_oom_group,
    /// `pid.level`
    pid_level,
    /// `pid.numbers`
    pid_numbers,
    /// Size of `struct upid`, the element of `pid.numbers`
    upid_size,
    /// `upid.nr`
    upid_nr,
    /// `upid.ns`
    upid_ns,
    /// `pid_namespace.child_reaper`
    pid_namespace_child_reaper,
    /// `pid_namespace.parent`
    pid_namespace_parent,
    /// `oom_control.memcg`
    oom_control_memcg,
    /// `oom_control.nodemask`
    oom_control_nodemask,
    /// `oom_control.gfp_mask`
    oom_control_gfp_mask,
    /// `oom_control.order`
    oom_control_order,
    /// `oom_control.totalpages`
    oom_control_totalpages,
    /// `oom_control.chosen`
    oom_control_chosen,
    /// `oom_control.chosen_points`
    oom_control_chosen_points,
    /// `oom_control.constraint`
    oom_control_constraint,
    /// `pt_regs`: the register of a function's first argument
    pt_regs_argument,
    /// One of the `MARK_` constants, not an offset.
    mark_victim_argument,
}

/// What the programs need to know of the machine. The loader sets it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MachineFacts {
    /// Binary logarithm of the page size in bytes.
    pub page_shift: u32,
    /// By how many pages a resident-memory counter may be off; 0 where it is exact.
    pub rss_error_pages: u32,
}

/// [`Offsets::mark_victim_argument`]: `mark_victim(struct task_struct *, uid_t)`, since 6.9 and the stable kernels of 2025.
pub const MARK_TASK: u32 = 0;
/// [`Offsets::mark_victim_argument`]: `mark_victim(int pid)` with a thread id.
pub const MARK_PID: u32 = 1;

// Kernel side and user side are built separately: a change of the layout must be deliberate, and changes ABI_VERSION.
const _: () = assert!(size_of::<Header>() == 16);
const _: () = assert!(size_of::<Task>() == 32);
const _: () = assert!(size_of::<Level>() == 48);
const _: () = assert!(size_of::<Stack>() == 136);
const _: () = assert!(size_of::<SignalRecord>() == 248);
const _: () = assert!(VICTIM_FIXED_LENGTH == 1224);
const _: () = assert!(size_of::<VictimRecord>() == 4096);
