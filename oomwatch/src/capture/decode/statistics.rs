//! Which numbers of a record are which statistics of a memory cgroup. Pure.
//!
//! Up to 6.10 `vmstats->state` is indexed by enumerators, whose values differ from kernel to kernel. Since 6.11 it holds the
//! statistics of memory cgroups alone, and `mem_cgroup_stats_index` has the index of each enumerator.

use oomwatch_ebpf::account::{CgroupMemory, INDEX_LENGTH, MEMORY_INDEX, MEMORY_STATE};

/// Enumerator, name in `memory.stat`, and unit.
type Statistic = (&'static str, &'static str, Unit);

/// The statistics that are read.
pub const STATISTICS: [Statistic; 15] = [
    ("NR_ANON_MAPPED", "anon", Unit::Pages),
    ("NR_FILE_PAGES", "file", Unit::Pages),
    ("NR_SHMEM", "shmem", Unit::Pages),
    ("NR_SLAB_RECLAIMABLE_B", "slab_reclaimable", Unit::Bytes),
    ("NR_SLAB_UNRECLAIMABLE_B", "slab_unreclaimable", Unit::Bytes),
    ("NR_KERNEL_STACK_KB", "kernel_stack", Unit::Kibibytes),
    ("NR_PAGETABLE", "pagetables", Unit::Pages),
    ("NR_SECONDARY_PAGETABLE", "sec_pagetables", Unit::Pages),
    ("NR_HUGETLB", "hugetlb", Unit::Pages),
    ("MEMCG_SWAP", "swap", Unit::Pages),
    ("MEMCG_SOCK", "sock", Unit::Pages),
    ("MEMCG_PERCPU_B", "percpu", Unit::Bytes),
    ("MEMCG_VMALLOC", "vmalloc", Unit::Pages),
    ("MEMCG_KMEM", "kernel", Unit::Pages),
    ("MEMCG_ZSWAP_B", "zswap", Unit::Bytes),
];

/// Unit of a statistic in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Pages.
    Pages,
    /// Bytes.
    Bytes,
    /// 1024 bytes.
    Kibibytes,
}

/// The statistics of a kernel, from its BTF.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatisticsLayout {
    /// Values of the enumerators of [`STATISTICS`]; absent for one that the kernel does not have.
    pub enumerators: [Option<usize>; STATISTICS.len()],
    /// `MEMCG_NR_STAT`: all enumerators are below.
    pub count: usize,
    /// Whether the index of a statistic is in the kernel's table, not its enumerator.
    pub is_indexed: bool,
}

impl StatisticsLayout {
    /// The statistics in a record, by their names in `memory.stat`, in bytes. None if the kernel's table is needed and not known.
    pub fn read(
        &self,
        memory: &CgroupMemory,
        page_bytes: u64,
    ) -> impl Iterator<Item = (&'static str, u64)> {
        let index = self.index(memory);
        let read = move |(enumerator, statistic): (&Option<usize>, &Statistic)| {
            let (_, name, unit) = *statistic;
            let number = index.number(memory, (*enumerator)?)?;
            let factor = match unit {
                Unit::Pages => page_bytes,
                Unit::Bytes => 1,
                Unit::Kibibytes => 1024,
            };
            Some((name, number.saturating_mul(factor)))
        };
        self.enumerators.iter().zip(&STATISTICS).filter_map(read)
    }

    fn index(&self, memory: &CgroupMemory) -> Index {
        let has = |flag| memory.flags & flag != 0;
        if !has(MEMORY_STATE) {
            return Index::Unknown;
        }
        if !self.is_indexed {
            return Index::Enumerator;
        }
        let table = memory.index.get(..self.count);
        match table.filter(|_| has(MEMORY_INDEX)) {
            None => Index::Unknown,
            // In 6.11 the indices begin at 1, and 0 stands for none. Later they begin at 0, and `U8_MAX` stands for none.
            Some(table) if table.contains(&u8::MAX) => Index::From(0),
            Some(_) => Index::From(1),
        }
    }
}

/// How a statistic is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Index {
    /// Not at all.
    Unknown,
    /// Its enumerator is its index.
    Enumerator,
    /// By the kernel's table, whose first index this is.
    From(usize),
}

impl Index {
    fn number(self, memory: &CgroupMemory, enumerator: usize) -> Option<u64> {
        let index = match self {
            Self::Unknown => return None,
            Self::Enumerator => enumerator,
            Self::From(first) => usize::from(*memory.index.get(enumerator)?).checked_sub(first)?,
        };
        let number = *memory.state.get(index)?;
        // The counters of the CPUs may sum to less than nothing for a moment.
        Some(u64::try_from(number.cast_signed()).unwrap_or(0))
    }
}

const _: () = assert!(INDEX_LENGTH <= u8::MAX as usize);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use zerocopy::FromZeros as _;

    use super::*;

    /// Enumerators 3, 5, 7 and so on; the kernel has no hugetlb statistics.
    fn layout(is_indexed: bool) -> StatisticsLayout {
        let mut enumerators = [None; STATISTICS.len()];
        for (number, (enumerator, (_, name, _))) in
            enumerators.iter_mut().zip(STATISTICS).enumerate()
        {
            *enumerator = (name != "hugetlb").then_some(3 + 2 * number);
        }
        StatisticsLayout {
            enumerators,
            count: 40,
            is_indexed,
        }
    }

    fn read(layout: &StatisticsLayout, memory: &CgroupMemory) -> BTreeMap<&'static str, u64> {
        layout.read(memory, 4096).collect()
    }

    #[test]
    fn statistics_are_indexed_by_their_enumerators() {
        let mut memory = CgroupMemory::new_zeroed();
        memory.flags = MEMORY_STATE;
        memory.state[3] = 10;
        memory.state[9] = 5000;
        memory.state[13] = 16;
        memory.state[5] = u64::MAX;
        let found = read(&layout(false), &memory);
        assert_eq!(found["anon"], 40960);
        assert_eq!(found["file"], 0, "below nothing for a moment");
        assert_eq!(found["slab_reclaimable"], 5000);
        assert_eq!(found["kernel_stack"], 16 << 10);
        assert!(!found.contains_key("hugetlb"));
        memory.flags = 0;
        assert_eq!(read(&layout(false), &memory), BTreeMap::new());
    }

    #[test]
    fn table_of_the_kernel_has_the_indices_in_either_form() {
        for (absent, first) in [(u8::MAX, 0), (0, 1)] {
            let mut memory = CgroupMemory::new_zeroed();
            memory.flags = MEMORY_STATE | MEMORY_INDEX;
            memory.index[..40].fill(absent);
            memory.index[3] = first;
            memory.index[7] = first + 1;
            memory.state[..2].copy_from_slice(&[10, 20]);
            let found = read(&layout(true), &memory);
            let expected = BTreeMap::from([("anon", 40960), ("shmem", 81920)]);
            assert_eq!(found, expected, "{absent}");
            // The loader has not found the table yet.
            memory.flags = MEMORY_STATE;
            assert_eq!(read(&layout(true), &memory), BTreeMap::new());
        }
    }

    #[test]
    fn no_index_is_out_of_bounds() {
        let mut memory = CgroupMemory::new_zeroed();
        memory.flags = MEMORY_STATE | MEMORY_INDEX;
        memory.index.fill(u8::MAX - 1);
        for is_indexed in [false, true] {
            let far = StatisticsLayout {
                enumerators: [Some(usize::MAX); STATISTICS.len()],
                count: usize::MAX,
                is_indexed,
            };
            assert_eq!(read(&far, &memory), BTreeMap::new());
            let wrong = StatisticsLayout {
                count: 80,
                ..layout(is_indexed)
            };
            let _ = read(&wrong, &memory);
        }
    }
}
