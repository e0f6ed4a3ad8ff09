//! The records that cross the ring buffer, the counters of what did not, and the globals that the loader sets.
//!
//! This is the one definition of the layout. Fixed-width integers and byte arrays only, no padding that a compiler chooses:
//! `zerocopy::IntoBytes` refuses to derive where there is any. Quantities are the kernel's own (pages, bytes, nanoseconds
//! since boot); user space converts.
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Changes whenever a record or a global changes its layout, so that a pinned ring is never read by another's rules.
pub const ABI_VERSION: u32 = 3;

/// `TASK_COMM_LEN` of `include/linux/sched.h`: 15 bytes and a NUL.
pub const COMM_LEN: usize = 16;
/// Ancestor memory cgroups that a record can carry; Kubernetes nests 5 to 8.
pub const MAX_LEVELS: usize = 16;
/// Return addresses of the kernel stack that a record can carry: the OOM killer's own are the 12 innermost, the tracing's
/// included, and each costs a microsecond.
pub const STACK_FRAMES: usize = 16;
/// Bytes of cgroup names that count; the walk stops at the first name that begins past them.
pub const NAMES_LEN: usize = 2048;
/// `NAME_MAX` and its NUL: what the last name may take beyond [`NAMES_LEN`].
pub const NAME_LEN: usize = 256;

/// [`Header::kind`] of a [`VictimRecord`].
pub const KIND_VICTIM: u32 = 1;
/// [`Header::kind`] of a [`SignalRecord`].
pub const KIND_SIGNAL: u32 = 2;

/// How every record opens.
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

/// One process, as far as a kill needs to know it.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Task {
    /// The process (`task_struct.tgid`), in the initial PID namespace.
    pub tgid: u32,
    /// The thread (`task_struct.pid`), in the initial PID namespace.
    pub tid: u32,
    /// `task_struct.comm`: of the process for a victim, of the thread for a trigger. Residue may follow its NUL.
    pub comm: [u8; COMM_LEN],
    /// `kernfs_node.id` of the memory cgroup; 0 if not read.
    pub memcg_id: u64,
}

/// One memory cgroup at the kill: the victim's own first, then its ancestors, without the root.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Level {
    /// `kernfs_node.id`.
    pub id: u64,
    /// `mem_cgroup.memory.usage`, in pages.
    pub usage_pages: u64,
    /// `mem_cgroup.memory.max`, in pages; `PAGE_COUNTER_MAX` where there is no limit.
    pub limit_pages: u64,
    /// `mem_cgroup.swap.usage` on cgroup v2, `memsw.usage` on v1, in pages.
    pub swap_usage_pages: u64,
    /// `mem_cgroup.swap.max` on cgroup v2, `memsw.max` on v1, in pages.
    pub swap_limit_pages: u64,
    /// The `LEVEL_` bits.
    pub flags: u64,
}

/// [`Level::flags`]: `mem_cgroup.oom_lock` was set: this cgroup, or one above it, is out of memory.
pub const LEVEL_OOM_LOCK: u64 = 1 << 0;
/// [`Level::flags`]: `mem_cgroup.oom_group` was set (`memory.oom.group`).
pub const LEVEL_OOM_GROUP: u64 = 1 << 1;
/// [`Level::flags`]: the id could not be read.
pub const LEVEL_NO_ID: u64 = 1 << 2;
/// [`Level::flags`]: usage or limit could not be read.
pub const LEVEL_NO_MEMORY: u64 = 1 << 3;
/// [`Level::flags`]: swap usage or swap limit could not be read.
pub const LEVEL_NO_SWAP: u64 = 1 << 4;

/// The kernel stack at the record, innermost frame first.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Stack {
    /// Bytes of `frames` that are used; negative (an errno) if the stack was not taken.
    pub length: i64,
    /// Return addresses.
    pub frames: [u64; STACK_FRAMES],
}

/// A task that `mark_oom_victim` marked: a kill, or the mark of a task that was dying already.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct VictimRecord {
    /// Kind [`KIND_VICTIM`].
    pub header: Header,
    /// The `MISSING_` bits: what could not be read.
    pub missing: u64,
    /// The marked task.
    pub victim: Task,
    /// The task whose allocation invoked the killer (`current`).
    pub trigger: Task,
    /// `group_leader->start_boottime`, nanoseconds since boot.
    pub start_time_ns: u64,
    /// `mm_struct.total_vm`.
    pub total_vm_pages: u64,
    /// `rss_stat[MM_ANONPAGES]`; approximate and possibly negative where it is a per-CPU counter (6.2 and later).
    pub anon_rss_pages: i64,
    /// `rss_stat[MM_FILEPAGES]`, as above.
    pub file_rss_pages: i64,
    /// `rss_stat[MM_SHMEMPAGES]`, as above.
    pub shmem_rss_pages: i64,
    /// `rss_stat[MM_SWAPENTS]`, as above.
    pub swap_pages: i64,
    /// `mm_struct.pgtables_bytes`.
    pub pgtables_bytes: u64,
    /// `kernfs_node.id` of the cgroup that [`Self::names`] begins with: the v2 leaf, or the memory cgroup on v1.
    pub cgroup_id: u64,
    /// Memory cgroup id of the init process of the victim's PID namespace.
    pub ns_init_memcg_id: u64,
    /// Memory cgroup id of the init process of the PID namespace above it; 0 where there is none.
    pub parent_ns_init_memcg_id: u64,
    /// The process id inside the victim's own PID namespace.
    pub ns_pid: u32,
    /// `pid->level`: how deep that namespace is nested; 0 is the initial one.
    pub ns_level: u32,
    /// `real_cred->uid` in the initial user namespace.
    pub uid: u32,
    /// `signal_struct.oom_score_adj`, -1000 to 1000.
    pub oom_score_adj: i32,
    /// The cgroup that ran out: `kernfs_node.id` of `oom_control.memcg`; 0 where the system did. With function hooks only.
    pub oom_memcg_id: u64,
    /// When the first victim of this call of `oom_kill_process` was marked. With function hooks only.
    pub incident_time_ns: u64,
    /// `oom_control.totalpages`. With function hooks only.
    pub total_pages: u64,
    /// `oom_control.chosen_points`: the badness of the process that the kernel chose. With function hooks only.
    pub points: i64,
    /// `oom_control.constraint`: `enum oom_constraint`. With function hooks only.
    pub constraint: u32,
    /// `oom_control.order`; -1 for sysrq. With function hooks only.
    pub order: i32,
    /// `oom_control.gfp_mask`. With function hooks only.
    pub gfp_mask: u32,
    /// Counts the kills of this call of `oom_kill_process` from 1; 0 for a mark without a kill. With function hooks only.
    pub kill_number: u32,
    /// One of the `BACKEND_` constants.
    pub backend: u32,
    /// One of the `SIGNAL_` constants.
    pub signal: u32,
    /// The `FLAG_` bits.
    pub flags: u32,
    /// How many levels the memory cgroup is above the cgroup that [`Self::names`] begins with.
    pub memcg_distance: u32,
    /// Levels of [`Self::levels`] that are used.
    pub level_count: u32,
    /// Bytes of [`Self::names`] that the victim's cgroup takes.
    pub victim_names_length: u32,
    /// Bytes of [`Self::names`] that are used: the trigger's cgroup stands behind the victim's where its memory cgroup is another.
    pub names_length: u32,
    /// Keeps what follows aligned.
    pub reserved: u32,
    /// The kernel stack, for user space to tell why the task was marked.
    pub stack: Stack,
    /// The victim's memory cgroup and its ancestors, without the root.
    pub levels: [Level; MAX_LEVELS],
    /// Directory names, each with its NUL, leaf first; the root's empty name ends a complete path.
    pub names: [u8; NAMES_LEN + NAME_LEN],
    /// Room up to a power of two, so that a masked length stays inside the record. Never sent.
    pub unused: [u8; 624],
}

/// Length of a [`VictimRecord`] without any names.
pub const VICTIM_FIXED_LENGTH: usize = core::mem::offset_of!(VictimRecord, names);

/// [`VictimRecord::backend`]: raw tracepoints.
pub const BACKEND_RAW_TRACEPOINT: u32 = 0;
/// [`VictimRecord::backend`]: functions of `mm/oom_kill.c`, by fentry.
pub const BACKEND_FENTRY: u32 = 1;
/// [`VictimRecord::backend`]: functions of `mm/oom_kill.c`, by kprobes.
pub const BACKEND_KPROBE: u32 = 2;

/// [`VictimRecord::signal`]: the kernel sent this task no SIGKILL just before it was marked: it was dying already.
pub const SIGNAL_NONE: u32 = 0;
/// [`VictimRecord::signal`]: the kernel sent this task SIGKILL just before it was marked: a kill. With function hooks:
/// it was marked in `__oom_kill_process`.
pub const SIGNAL_SENT: u32 = 1;
/// [`VictimRecord::signal`]: as [`SIGNAL_SENT`], but a [`SignalRecord`] has told of that signal: a re-kill.
pub const SIGNAL_REPORTED: u32 = 2;

/// [`VictimRecord::flags`]: the memory controller is on cgroup v1.
pub const FLAG_CGROUP_V1: u32 = 1 << 0;
/// [`VictimRecord::flags`]: `memcg_distance` could not be read, so that the names may begin below the memory cgroup.
pub const FLAG_NO_DISTANCE: u32 = 1 << 1;

/// A SIGKILL from the kernel to a process that was marked before, or that shares its memory with the last victim.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SignalRecord {
    /// Kind [`KIND_SIGNAL`].
    pub header: Header,
    /// The process that was sent the signal.
    pub target: Task,
    /// The sender (`current`).
    pub sender: Task,
    /// `group_leader->start_boottime` of the target, nanoseconds since boot; 0 if not read.
    pub start_time_ns: u64,
    /// The victim whose memory the target shares ([`RELATION_SHARER`]), else 0.
    pub victim_tgid: u32,
    /// One of the `RELATION_` constants.
    pub relation: u32,
    /// 1 if the sender was exiting (`PF_EXITING`), as the init process of a dying PID namespace is; else 0.
    pub sender_exiting: u32,
    /// One of the `BACKEND_` constants. With fentry and kprobes it is certain that the OOM killer sent the signal.
    pub backend: u32,
    /// The kernel stack, for user space to tell whether the OOM killer sent it.
    pub stack: Stack,
}

/// [`SignalRecord::relation`]: the process was marked as an OOM victim before (`signal_struct.oom_mm` is set).
pub const RELATION_REKILL: u32 = 1;
/// [`SignalRecord::relation`]: another process with the memory of the last victim.
pub const RELATION_SHARER: u32 = 2;

macro_rules! missing {
    ($($name:ident = $bit:literal, $json:literal;)*) => {
        $(#[doc = concat!("[`VictimRecord::missing`]: `", $json, "`.")] pub const $name: u64 = 1 << $bit;)*
        /// Each `MISSING_` bit with the name of the fact in a report.
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

/// Declares offsets: the structure, and for each its name and what in the kernel it leads to.
macro_rules! offsets {
    ($(#[$about:meta])* $structure:ident, $($(#[$doc:meta])* $name:ident,)*) => {
        $(#[$about])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        pub struct $structure {
            $($(#[$doc])* pub $name: u32,)*
        }

        impl $structure {
            /// Nothing is known: what the object holds until the loader sets it.
            pub const NONE: Self = Self { $($name: ABSENT,)* };

            /// Each offset with its name.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u32)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

/// An offset that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

offsets! {
    /// Offsets of kernel members in bytes, [`ABSENT`] where this kernel has none. Found in the kernel's BTF when the
    /// programs are loaded, and read-only for them from then on.
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
    /// `oom_control.gfp_mask`
    oom_control_gfp_mask,
    /// `oom_control.order`
    oom_control_order,
    /// `oom_control.totalpages`
    oom_control_totalpages,
    /// `oom_control.chosen_points`
    oom_control_chosen_points,
    /// `oom_control.constraint`
    oom_control_constraint,
    /// `pt_regs`: the register of a function's first argument
    pt_regs_argument,
    /// Not an offset: one of the `MARK_` constants.
    mark_victim_argument,
}

/// [`Offsets::mark_victim_argument`]: `mark_victim(struct task_struct *, uid_t)`: 6.9 and later, and the stable kernels of 2025.
pub const MARK_TASK: u32 = 0;
/// [`Offsets::mark_victim_argument`]: `mark_victim(int pid)`, a thread id.
pub const MARK_PID: u32 = 1;

// The ring carries these bytes between two programs built apart: a layout that moves must be meant.
const _: () = assert!(size_of::<Header>() == 16);
const _: () = assert!(size_of::<Task>() == 32);
const _: () = assert!(size_of::<Level>() == 48);
const _: () = assert!(size_of::<Stack>() == 136);
const _: () = assert!(size_of::<SignalRecord>() == 240);
const _: () = assert!(VICTIM_FIXED_LENGTH == 1168);
const _: () = assert!(size_of::<VictimRecord>() == 4096);
