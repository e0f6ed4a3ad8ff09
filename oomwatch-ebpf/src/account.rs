//! The record of an incident's account: the processes that the OOM killer chose from. One for each call of `oom_kill_process`,
//! in a ring of its own.
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::record::{COMM_LEN, Header};

/// [`Header::kind`] of an [`AccountRecord`].
pub const KIND_ACCOUNT: u32 = 3;
/// Processes in each list of a record.
pub const LIST_LENGTH: usize = 16;
/// List of the scored processes with the most points.
pub const LIST_SCORED: u32 = 0;
/// List of the largest processes that the killer left out.
pub const LIST_EXCLUDED: u32 = 1;

/// What a process holds, or a sum of that. The counts of resident pages and of swap are per CPU since 6.2: approximate.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ProcessPages {
    /// `rss_stat[MM_ANONPAGES]`, in pages.
    pub anon_rss_pages: u64,
    /// `rss_stat[MM_FILEPAGES]`, in pages.
    pub file_rss_pages: u64,
    /// `rss_stat[MM_SHMEMPAGES]`, in pages.
    pub shmem_rss_pages: u64,
    /// `rss_stat[MM_SWAPENTS]`, in pages.
    pub swap_pages: u64,
    /// `mm_struct.pgtables_bytes`, in bytes.
    pub pgtables_bytes: u64,
}

/// A process that the killer scored, or left out.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CandidateRow {
    /// `task_struct.tgid`.
    pub tgid: u32,
    /// `real_cred->uid` in the initial user namespace.
    pub uid: u32,
    /// `signal_struct.oom_score_adj`, -1000 to 1000.
    pub oom_score_adj: i32,
    /// One of the `EXCLUDED_` constants, or 0.
    pub excluded: u32,
    /// `task_struct.comm` of the thread whose `mm` was read: the leader's, unless that has exited.
    pub comm: [u8; COMM_LEN],
    /// Id of its memory cgroup (`kernfs_node.id`); 0 if it could not be read.
    pub memcg_id: u64,
    /// What it holds.
    pub memory: ProcessPages,
    /// The badness score in pages; of a process that was left out, without `oom_score_adj`.
    pub points: i64,
}

/// [`CandidateRow::excluded`]: its `oom_score_adj` is -1000.
pub const EXCLUDED_ADJ: u32 = 1;
/// [`CandidateRow::excluded`]: it was dying already, or the reaper has given up on it (`MMF_OOM_SKIP`).
pub const EXCLUDED_DYING: u32 = 2;
/// [`CandidateRow::excluded`]: its cpuset or memory policy has none of the nodes that the allocation was bound to.
pub const EXCLUDED_CPUSET: u32 = 3;

/// Numbers of [`CgroupMemory::state`].
pub const STATE_LENGTH: usize = 64;
/// Bytes of [`CgroupMemory::index`].
pub const INDEX_LENGTH: usize = 80;

/// The memory of the cgroup that ran out, when the first victim was about to be killed. As the kernel has it: which number is
/// which differs from kernel to kernel, and the loader knows it.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CgroupMemory {
    /// `memory.usage`, in pages.
    pub usage_pages: u64,
    /// `memory.max`, in pages; `PAGE_COUNTER_MAX` if there is no limit.
    pub limit_pages: u64,
    /// `memory.watermark`, in pages.
    pub peak_pages: u64,
    /// `memory_events[MEMCG_MAX]`
    pub limit_hits: u64,
    /// `vmstats->stats_updates`: updates that [`Self::state`] does not contain.
    pub pending_updates: u32,
    /// Bit set of the `MEMORY_` constants.
    pub flags: u32,
    /// The beginning of `vmstats->state`.
    pub state: [u64; STATE_LENGTH],
    /// The beginning of `mem_cgroup_stats_index`, through which [`Self::state`] is indexed since 6.11.
    pub index: [u8; INDEX_LENGTH],
}

/// [`CgroupMemory::flags`]: a memory cgroup ran out, and its usage was read.
pub const MEMORY_USAGE: u32 = 1 << 0;
/// [`CgroupMemory::flags`]: [`CgroupMemory::limit_pages`] was read.
pub const MEMORY_LIMIT: u32 = 1 << 1;
/// [`CgroupMemory::flags`]: [`CgroupMemory::peak_pages`] was read.
pub const MEMORY_PEAK: u32 = 1 << 2;
/// [`CgroupMemory::flags`]: [`CgroupMemory::limit_hits`] was read.
pub const MEMORY_LIMIT_HITS: u32 = 1 << 3;
/// [`CgroupMemory::flags`]: [`CgroupMemory::pending_updates`] was read.
pub const MEMORY_PENDING: u32 = 1 << 4;
/// [`CgroupMemory::flags`]: [`CgroupMemory::state`] was read.
pub const MEMORY_STATE: u32 = 1 << 5;
/// [`CgroupMemory::flags`]: [`CgroupMemory::index`] was read.
pub const MEMORY_INDEX: u32 = 1 << 6;

/// The processes that the killer looked at in one call of `out_of_memory`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AccountRecord {
    /// Header with the kind [`KIND_ACCOUNT`]. Its time is the incident's:
    /// [`crate::record::VictimRecord::account_time_ns`].
    pub header: Header,
    /// Number of processes that were scored.
    pub scored: u32,
    /// Number of processes that were left out.
    pub excluded: u32,
    /// Used elements of each list of [`Self::rows`], by `LIST_` constant.
    pub listed: [u32; 2],
    /// Number of processes whose `mm` was not found, since the leader has exited and too many threads follow.
    pub unknown: u32,
    /// By how many pages the resident memory of one process may be off.
    pub rss_error_pages: u32,
    /// `oom_control.chosen_points`: the score of the chosen process. Some kernels sum per-CPU counters for it.
    pub chosen_points: i64,
    /// `oom_control.chosen->tgid`; 0 if it could not be read.
    pub chosen_tgid: u32,
    /// Padding.
    pub padding: u32,
    /// Sums over the scored processes.
    pub sum: ProcessPages,
    /// The memory of the cgroup that ran out.
    pub memory: CgroupMemory,
    /// The lists one after another, each [`LIST_LENGTH`] long, unordered. What follows the last used element is not sent.
    pub rows: [CandidateRow; 2 * LIST_LENGTH],
    /// Padding to a power of two, so that a masked length stays inside the record. Never sent.
    pub unused: [u8; 552],
}

/// Length of an [`AccountRecord`] without rows, in bytes.
pub const ACCOUNT_FIXED_LENGTH: usize = core::mem::offset_of!(AccountRecord, rows);

// As for the records of kills: a change of the layout changes ABI_VERSION.
const _: () = assert!(size_of::<CandidateRow>() == 88);
const _: () = assert!(size_of::<CgroupMemory>() == 632);
const _: () = assert!(ACCOUNT_FIXED_LENGTH == 728);
const _: () = assert!(size_of::<AccountRecord>() == 4096);
