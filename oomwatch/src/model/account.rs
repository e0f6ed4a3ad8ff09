//! The account of an incident: the processes that the OOM killer chose from, and where the memory was. Facts alone: names of
//! containers and the cause are in [`crate::model::report::Explanation`].

mod complete;

use serde::{Deserialize, Serialize};

use crate::model::serde_bytes;

/// Number of processes that are listed; all of them are counted and summed.
pub const LISTED: usize = 16;

/// Facts of one call of `oom_kill_process`, the same for all its victims. What could not be read is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The processes that the killer chose from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Candidates>,
    /// Where the memory of the cgroup that ran out was, or of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// The zones of the node's memory, for a system OOM.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<Zone>,
    /// What happened before the kill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
}

impl Account {
    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            candidates,
            memory,
            zones,
            before,
        } = self;
        candidates.is_none() && memory.is_none() && zones.is_empty() && before.is_none()
    }
}

/// Where a part of the account was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountSource {
    /// The kernel's own structures, during the incident.
    Kernel,
    /// The kernel log.
    Log,
    /// Files of the cgroup or of `/proc`, right after the kill.
    After,
}

/// The processes that the killer chose from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidates {
    /// Where they were read.
    pub source: AccountSource,
    /// Whether every process that the killer scored is counted.
    pub complete: bool,
    /// How many it scored.
    pub scored: u64,
    /// How many it left out, of those it could have scored.
    pub excluded: u64,
    /// By how much the resident memory of one process may be off: the counters are per CPU since Linux 6.2. 0 where they
    /// are exact.
    pub rss_error_bytes: u64,
    /// Sums over the scored processes.
    pub sum: ProcessMemory,
    /// Those with the most points, most first, then the largest that were left out; at most [`LISTED`] of each.
    pub processes: Vec<Candidate>,
}

/// What a process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessMemory {
    /// Resident anonymous memory.
    pub anon_rss_bytes: u64,
    /// Resident memory of files.
    pub file_rss_bytes: u64,
    /// Resident shared memory, tmpfs included.
    pub shmem_rss_bytes: u64,
    /// Memory swapped out.
    pub swap_bytes: u64,
    /// Page tables.
    pub pgtables_bytes: u64,
}

impl ProcessMemory {
    /// Resident memory. Pages shared with other processes count in each of them.
    #[must_use]
    pub const fn rss_bytes(&self) -> u64 {
        self.anon_rss_bytes
            .saturating_add(self.file_rss_bytes)
            .saturating_add(self.shmem_rss_bytes)
    }
}

/// A process that the killer scored, or left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The process, in the initial PID namespace.
    pub pid: u32,
    /// Its name; any bytes but NUL.
    #[serde(with = "serde_bytes")]
    pub comm: Vec<u8>,
    /// User in the initial user namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// What it held. In a log before Linux 6.8 the resident memory is one number: all of it is in `anon_rss_bytes`, and
    /// `is_rss_split` is false.
    #[serde(flatten)]
    pub memory: ProcessMemory,
    /// Whether the resident memory is known by its kinds.
    pub is_rss_split: bool,
    /// -1000 to 1000.
    pub oom_score_adj: i32,
    /// The kernel's badness score, in pages; absent where it was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_points: Option<i64>,
    /// Why the killer left it out; absent if it was scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<Exclusion>,
    /// Id (`kernfs_node.id`) of its memory cgroup; the log has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_id: Option<u64>,
}

/// Why the killer left a process out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exclusion {
    /// Its `oom_score_adj` is -1000.
    OomScoreAdj,
    /// It was dying already, or the reaper had given up on it.
    Dying,
    /// Its cpuset has none of the nodes that the allocation was bound to.
    Cpuset,
}

/// Where memory was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Whose memory.
    pub of: MemoryOf,
    /// Where it was read.
    pub source: AccountSource,
    /// Whether the kernel had updates pending that these numbers do not contain.
    pub unflushed: bool,
    /// All of it: the cgroup's charge; of the node, what is not free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_bytes: Option<u64>,
    /// The limit; of the node, its memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// The highest charge so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
    /// Memory swapped out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_bytes: Option<u64>,
    /// By kind.
    #[serde(flatten)]
    pub parts: MemoryParts,
}

/// Whose memory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemoryOf {
    /// The memory cgroup that ran out.
    Cgroup,
    /// The whole machine.
    Node,
}

/// Memory by kind, in bytes. The kinds do not overlap; what is absent is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryParts {
    /// Anonymous memory of processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anon_bytes: Option<u64>,
    /// Tmpfs, memory-backed volumes, `/dev/shm`, and shared anonymous memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shmem_bytes: Option<u64>,
    /// Cached files, without shmem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<u64>,
    /// Kernel objects that can be dropped, like dentries and inodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slab_reclaimable_bytes: Option<u64>,
    /// Kernel objects that cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slab_unreclaimable_bytes: Option<u64>,
    /// Kernel stacks of threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_stack_bytes: Option<u64>,
    /// Page tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pagetables_bytes: Option<u64>,
    /// Buffers of sockets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sock_bytes: Option<u64>,
    /// Per-CPU memory of the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percpu_bytes: Option<u64>,
    /// Memory mapped by `vmalloc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vmalloc_bytes: Option<u64>,
    /// Kernel memory that has no item of its own, like pipes: `kernel` less its known parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_other_bytes: Option<u64>,
    /// Huge pages of hugetlbfs, where they are charged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hugetlb_bytes: Option<u64>,
    /// Compressed swap in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zswap_bytes: Option<u64>,
}

impl MemoryParts {
    /// Each known kind with its name in the JSON output, without `_bytes`.
    pub fn iter(&self) -> impl Iterator<Item = (MemoryKind, u64)> + use<> {
        let Self {
            anon_bytes,
            shmem_bytes,
            file_bytes,
            slab_reclaimable_bytes,
            slab_unreclaimable_bytes,
            kernel_stack_bytes,
            pagetables_bytes,
            sock_bytes,
            percpu_bytes,
            vmalloc_bytes,
            kernel_other_bytes,
            hugetlb_bytes,
            zswap_bytes,
        } = *self;
        [
            (MemoryKind::Anon, anon_bytes),
            (MemoryKind::Shmem, shmem_bytes),
            (MemoryKind::File, file_bytes),
            (MemoryKind::SlabReclaimable, slab_reclaimable_bytes),
            (MemoryKind::SlabUnreclaimable, slab_unreclaimable_bytes),
            (MemoryKind::KernelStack, kernel_stack_bytes),
            (MemoryKind::PageTables, pagetables_bytes),
            (MemoryKind::Sock, sock_bytes),
            (MemoryKind::Percpu, percpu_bytes),
            (MemoryKind::Vmalloc, vmalloc_bytes),
            (MemoryKind::KernelOther, kernel_other_bytes),
            (MemoryKind::Hugetlb, hugetlb_bytes),
            (MemoryKind::Zswap, zswap_bytes),
        ]
        .into_iter()
        .filter_map(|(kind, bytes)| Some((kind, bytes?)))
    }

    /// Sum of the known kinds.
    #[must_use]
    pub fn sum_bytes(&self) -> u64 {
        self.iter()
            .fold(0, |sum, (_, bytes)| sum.saturating_add(bytes))
    }
}

impl Memory {
    /// What of the usage is in no known kind. Absent if the usage is, or if no kind is known. Statistics that the kernel had
    /// not flushed may exceed the usage: then it is 0.
    #[must_use]
    pub fn other_bytes(&self) -> Option<u64> {
        self.parts.iter().next()?;
        Some(self.usage_bytes?.saturating_sub(self.parts.sum_bytes()))
    }
}

/// A kind of memory in [`MemoryParts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryKind {
    /// [`MemoryParts::anon_bytes`]
    Anon,
    /// [`MemoryParts::shmem_bytes`]
    Shmem,
    /// [`MemoryParts::file_bytes`]
    File,
    /// [`MemoryParts::slab_reclaimable_bytes`]
    SlabReclaimable,
    /// [`MemoryParts::slab_unreclaimable_bytes`]
    SlabUnreclaimable,
    /// [`MemoryParts::kernel_stack_bytes`]
    KernelStack,
    /// [`MemoryParts::pagetables_bytes`]
    PageTables,
    /// [`MemoryParts::sock_bytes`]
    Sock,
    /// [`MemoryParts::percpu_bytes`]
    Percpu,
    /// [`MemoryParts::vmalloc_bytes`]
    Vmalloc,
    /// [`MemoryParts::kernel_other_bytes`]
    KernelOther,
    /// [`MemoryParts::hugetlb_bytes`]
    Hugetlb,
    /// [`MemoryParts::zswap_bytes`]
    Zswap,
}

/// A zone of the node's memory at a system OOM, from `Mem-Info` of the kernel log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// NUMA node.
    #[serde(rename = "numa_node")]
    pub node: u32,
    /// `DMA`, `DMA32`, `Normal`, `HighMem` or `Movable`.
    pub name: String,
    /// Free memory.
    pub free_bytes: u64,
    /// The watermark below which only the dying may allocate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_bytes: Option<u64>,
    /// Memory that the allocator manages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_bytes: Option<u64>,
    /// Free blocks by order: element n counts blocks of 2^n pages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub free_blocks: Vec<u64>,
}

/// What happened before the kill, from counters that the kernel keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// How often the cgroup that ran out had reached its limit (`max` of `memory.events`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_hits: Option<u64>,
    /// How long all its tasks had been stalled on memory (`full` of `memory.pressure`), in microseconds; cgroup v2 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_us: Option<u64>,
}
