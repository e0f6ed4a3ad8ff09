//! Kinds of memory, grouped by the cause that they are.

use crate::model::{
    account::{Memory, MemoryKind},
    cause::CauseKind,
};

/// Groups of the kinds of memory, each with the cause that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Processes,
    Shmem,
    PageCache,
    Kernel,
    Sockets,
    PageTables,
    Huge,
}

const GROUPS: [Group; 7] = [
    Group::Processes,
    Group::Shmem,
    Group::PageCache,
    Group::Kernel,
    Group::Sockets,
    Group::PageTables,
    Group::Huge,
];

fn group(kind: MemoryKind) -> Group {
    match kind {
        MemoryKind::Anon => Group::Processes,
        MemoryKind::Shmem => Group::Shmem,
        MemoryKind::File => Group::PageCache,
        MemoryKind::SlabReclaimable
        | MemoryKind::SlabUnreclaimable
        | MemoryKind::KernelStack
        | MemoryKind::Percpu
        | MemoryKind::Vmalloc
        | MemoryKind::KernelOther
        | MemoryKind::Zswap => Group::Kernel,
        MemoryKind::Sock => Group::Sockets,
        MemoryKind::PageTables => Group::PageTables,
        MemoryKind::Hugetlb => Group::Huge,
    }
}

impl Group {
    pub(super) fn kind(self) -> CauseKind {
        match self {
            Self::Processes => CauseKind::ManyProcesses,
            Self::Shmem => CauseKind::Shmem,
            Self::PageCache => CauseKind::PageCache,
            Self::Kernel => CauseKind::KernelMemory,
            Self::Sockets => CauseKind::Sockets,
            Self::PageTables => CauseKind::PageTables,
            Self::Huge => CauseKind::Unknown,
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Processes => "memory of processes",
            Self::Shmem => "shared memory or tmpfs (memory-backed volumes, /dev/shm)",
            Self::PageCache => "cached files that the kernel could not drop",
            Self::Kernel => "memory of the kernel on behalf of the processes (slab, pipes, stacks)",
            Self::Sockets => "buffers of sockets",
            Self::PageTables => "page tables",
            Self::Huge => "huge pages",
        }
    }
}

/// The largest group of kinds, and the second.
pub(super) fn largest(memory: &Memory) -> [(Group, u64); 2] {
    let mut sums = GROUPS.map(|group| (group, 0_u64));
    for (kind, bytes) in memory.parts.iter() {
        for (sum_of, sum) in &mut sums {
            if *sum_of == group(kind) {
                *sum = sum.saturating_add(bytes);
            }
        }
    }
    sums.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    [sums[0], sums[1]]
}

pub(super) fn is_or_are(group: Group) -> &'static str {
    match group {
        Group::Processes | Group::Shmem | Group::Kernel => "is",
        Group::PageCache | Group::Sockets | Group::PageTables | Group::Huge => "are",
    }
}
