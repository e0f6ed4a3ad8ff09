//! The lines of an OOM kill, parsed.

use super::table::TableLayout;
use crate::model::kill::Scope;

/// A line of the OOM killer or of a dump that it prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// `X invoked oom-killer: gfp_mask=…`: the first line of a report. The kernel rate-limits it.
    Invoked {
        /// Name of the trigger.
        comm: &'a [u8],
        /// `gfp_t`; its bits differ between kernel versions.
        gfp_mask: u64,
        /// Allocation size as a power of two of pages; -1 for a kill by sysrq.
        order: i32,
    },
    /// `CPU: 0 UID: 0 PID: 42 Comm: x Not tainted 6.18.0 #1`: head of a stack dump. After [`Line::Invoked`] it names the trigger.
    Cpu {
        /// Thread id.
        tid: u32,
        /// Thread name, a space, then taint and release of the kernel.
        comm_and_rest: &'a [u8],
    },
    /// `memory: usage 20480kB, limit 20480kB, failcnt 81`, of the cgroup that ran out.
    Usage {
        /// Which counter.
        counter: Counter,
        /// In bytes.
        usage_bytes: u64,
        /// In bytes; absent if there is no limit.
        limit_bytes: Option<u64>,
        /// How often the limit was reached.
        failcnt: Option<u64>,
    },
    /// `[  pid  ]   uid  tgid total_vm      rss …`: the head of the table of candidate tasks.
    TaskTable(TableLayout),
    /// A row of that table.
    Task {
        /// The thread that the kill line would name.
        tid: u32,
        /// Its process.
        pid: u32,
    },
    /// `Task in A killed as a result of limit of B`, before 5.0.
    TaskIn {
        /// Cgroup of the selected process; absent if it cannot be separated from the other path.
        task_memcg: Option<&'a [u8]>,
        /// Cgroup that ran out; absent likewise.
        oom_memcg: Option<&'a [u8]>,
    },
    /// `Memory limit reached of cgroup B`, before 5.0.
    LimitReached {
        /// Cgroup that ran out.
        oom_memcg: &'a [u8],
    },
    /// `oom-kill:constraint=…`, since 5.0.
    OomKill(OomKill<'a>),
    /// `Kill process P (c) score S or sacrifice child`, before 5.1: this process, or a child of it, is killed next.
    Chosen {
        /// What ran out.
        message: Message,
        /// The selected process.
        pid: u32,
    },
    /// `Killed process P (c) …`: a kill. Never rate-limited.
    Killed(Killed<'a>),
    /// `Tasks in X are going to be killed due to memory.oom.group set`: the kill before it was the first of a group.
    Group {
        /// The cgroup whose processes are all killed.
        cgroup: &'a [u8],
    },
    /// `OOM victim P (c) is already exiting. Skip killing the task`: the announced kill does not take place.
    Exiting,
    /// `Out of memory and no killable processes...`, or a panic (`panic_on_oom`): nothing was killed.
    NoneKillable,
    /// `oom_reaper: reaped process P (c), …`: a victim's memory was freed.
    Reaped {
        /// Thread id, as in [`Killed`].
        tid: u32,
        /// Name of that thread.
        comm: &'a [u8],
    },
    /// `oom_kill_process: N callbacks suppressed`: the rate limit withheld N headers.
    Suppressed {
        /// How many.
        headers: u64,
    },
    /// `Linux version 5.4.7 …`.
    Version {
        /// Release of the kernel, a space, and the rest of the line.
        release_and_rest: &'a [u8],
    },
    /// The beginning of one of the lines above. Its rest follows in a later record, or is lost.
    Incomplete,
}

/// A counter of a memory cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// `memory`.
    Memory,
    /// `memory+swap`, of cgroup v1.
    MemoryAndSwap,
    /// `swap`, of cgroup v2.
    Swap,
    /// `kmem`, of cgroup v1: part of `memory`.
    Kernel,
}

/// The `oom-kill:` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OomKill<'a> {
    /// `NONE`, `CPUSET`, `MEMORY_POLICY`, `MEMCG`, or a value of a newer kernel.
    pub constraint: &'a [u8],
    /// What ran out.
    pub scope: Scope,
    /// Cgroup that ran out; absent if the system did, or if it cannot be separated from the next path.
    pub oom_memcg: Option<&'a [u8]>,
    /// The victim's memory cgroup; absent likewise, and on kernels without memory cgroups.
    pub task_memcg: Option<&'a [u8]>,
    /// Name of the victim's main thread.
    pub comm: &'a [u8],
    /// Process id of the victim.
    pub pid: u32,
    /// User id of the victim.
    pub uid: u32,
}

/// The `Killed process` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Killed<'a> {
    /// What ran out.
    pub message: Message,
    /// Thread id: a thread of the victim that still had its memory.
    pub tid: u32,
    /// Name of that thread.
    pub comm: &'a [u8],
    /// User id; since 5.4, and on RHEL 6 and 7.
    pub uid: Option<u32>,
    /// Size of the address space.
    pub total_vm_bytes: Option<u64>,
    /// Resident anonymous memory.
    pub anon_rss_bytes: Option<u64>,
    /// Resident file-backed memory.
    pub file_rss_bytes: Option<u64>,
    /// Resident shared memory; since 4.5.
    pub shmem_rss_bytes: Option<u64>,
    /// Size of the page tables as printed, labelled kB; since 5.4. Some 5.4 kernels print bytes.
    pub pgtables_kilobytes: Option<u64>,
    /// -1000 to 1000; since 5.4.
    pub oom_score_adj: Option<i32>,
}

/// The text before `Killed process`, which says what ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// `Memory cgroup out of memory`.
    Memcg,
    /// `Out of memory`, also `(oom_kill_allocating_task)`.
    System,
    /// Any other text; a BPF program may set one.
    Other,
    /// No text: before 5.1 it is in the previous line.
    None,
}
