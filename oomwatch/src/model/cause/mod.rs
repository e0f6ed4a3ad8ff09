//! The cause of a kill: one of a small set, its share of the limit, and a sentence in plain English.

pub mod decide;

use serde::{Deserialize, Serialize};

/// Why the memory ran out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Which of the causes.
    pub kind: CauseKind,
    /// The part of the limit, or of the node's memory, that the cause accounts for: thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_permille: Option<u16>,
    /// The cause in words. It may name processes and pods of every namespace.
    pub sentence: String,
    /// The same for an Event of the victim's pod: it names nothing outside that pod. Absent where `sentence` does not either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_sentence: Option<String>,
}

/// The causes that are distinguished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// One process held most of it.
    OneProcess,
    /// Several processes held it together.
    ManyProcesses,
    /// Shared memory or tmpfs.
    Shmem,
    /// Cached files that could not be dropped.
    PageCache,
    /// Memory of the kernel: slab, stacks, pipes.
    KernelMemory,
    /// Buffers of sockets.
    Sockets,
    /// Page tables.
    PageTables,
    /// The limit was set below the usage.
    LimitLowered,
    /// The limit of a cgroup above the victim's container or unit.
    ParentLimit,
    /// The node's memory was used up.
    NodePressure,
    /// The nodes of memory that a cpuset or a memory policy allows were used up.
    NumaOrCpuset,
    /// Free memory was there, but no block large enough.
    Fragmentation,
    /// Processes that the killer may not choose held it.
    ProtectedProcesses,
    /// Not known: the facts do not decide it.
    Unknown,
}

impl CauseKind {
    /// Every cause.
    pub const ALL: [Self; 14] = [
        Self::OneProcess,
        Self::ManyProcesses,
        Self::Shmem,
        Self::PageCache,
        Self::KernelMemory,
        Self::Sockets,
        Self::PageTables,
        Self::LimitLowered,
        Self::ParentLimit,
        Self::NodePressure,
        Self::NumaOrCpuset,
        Self::Fragmentation,
        Self::ProtectedProcesses,
        Self::Unknown,
    ];

    /// The word for it in reports and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OneProcess => "one_process",
            Self::ManyProcesses => "many_processes",
            Self::Shmem => "shmem",
            Self::PageCache => "page_cache",
            Self::KernelMemory => "kernel_memory",
            Self::Sockets => "sockets",
            Self::PageTables => "page_tables",
            Self::LimitLowered => "limit_lowered",
            Self::ParentLimit => "parent_limit",
            Self::NodePressure => "node_pressure",
            Self::NumaOrCpuset => "numa_or_cpuset",
            Self::Fragmentation => "fragmentation",
            Self::ProtectedProcesses => "protected_processes",
            Self::Unknown => "unknown",
        }
    }
}
