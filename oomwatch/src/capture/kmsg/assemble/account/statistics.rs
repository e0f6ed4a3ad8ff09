//! The statistics of the cgroup that ran out.
//!
//! Since 5.3 they are a list of the whole subtree, one statistic a line (`memory_stat_format` of `mm/memcontrol.c`); up to
//! 6.4 the list is one record, which `printk` may cut. Before 5.3 there is a line for each cgroup of the subtree with the numbers
//! of that cgroup alone, which are summed here. Names of cgroup v1 (`cache`, `rss`) stand in the latter, and since 6.6 in a list.

use bstr::ByteSlice as _;

use super::numbers::{Numbers, kilobytes};
use crate::{
    capture::kmsg::{
        line::Counter,
        number::{parse_number, words},
    },
    model::account::{AccountSource, Memory, MemoryOf, MemoryParts},
};

/// A record of this length or more may have been cut (`LOG_LINE_MAX` of `kernel/printk/printk.c`).
const MIN_CUT: usize = 960;

const NAMES: &[&str; 28] = &[
    "anon",
    "file",
    "kernel",
    "kernel_stack",
    "pagetables",
    "sec_pagetables",
    "percpu",
    "sock",
    "vmalloc",
    "shmem",
    "zswap",
    "slab_reclaimable",
    "slab_unreclaimable",
    "hugetlb",
    // cgroup v1
    "cache",
    "rss",
    "swap",
    "inactive_file",
    "active_file",
    "unevictable",
    "total_cache",
    "total_rss",
    "total_shmem",
    "total_swap",
    "total_inactive_file",
    "total_active_file",
    "total_unevictable",
    "hierarchical_memory_limit",
];

/// A counter of a cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct CounterUsage {
    pub(in super::super) usage_bytes: Option<u64>,
    pub(in super::super) limit_bytes: Option<u64>,
    pub(in super::super) failcnt: Option<u64>,
}

/// Memory by kind, from a list of statistics such as the file `memory.stat`, of cgroup v1 or v2.
pub(crate) fn parts_of_statistics(list: &[u8]) -> MemoryParts {
    let mut statistics = CgroupStatistics::default();
    for line in list.split(|&byte| byte == b'\n') {
        statistics.add(line);
    }
    statistics.parts()
}

/// Counters and statistics, as far as they have arrived.
#[derive(Debug)]
pub(super) struct CgroupStatistics {
    pub(super) memory: CounterUsage,
    pub(super) swap: CounterUsage,
    pub(super) memory_and_swap: CounterUsage,
    kernel: CounterUsage,
    numbers: Numbers<28>,
}

impl Default for CgroupStatistics {
    fn default() -> Self {
        Self {
            memory: CounterUsage::default(),
            swap: CounterUsage::default(),
            memory_and_swap: CounterUsage::default(),
            kernel: CounterUsage::default(),
            numbers: Numbers::new(NAMES),
        }
    }
}

impl CgroupStatistics {
    pub(super) fn add_counter(&mut self, counter: Counter, usage: CounterUsage) {
        *match counter {
            Counter::Memory => &mut self.memory,
            Counter::MemoryAndSwap => &mut self.memory_and_swap,
            Counter::Swap => &mut self.swap,
            Counter::Kernel => &mut self.kernel,
        } = usage;
    }

    /// Adds the text behind `Memory cgroup stats for `: a path, and before 5.3 the numbers of that cgroup. The path may hold
    /// anything, so its end is the last colon with a blank.
    pub(super) fn begin(&mut self, rest: &[u8]) {
        let Some((_, numbers)) = rest.rsplit_once_str(b": ") else {
            return;
        };
        let number = |word| {
            let (name, size) = <[u8]>::split_once_str(word, b":")?;
            Some((name, kilobytes(size)?))
        };
        if words(numbers).any(|word| number(word).is_none()) {
            return;
        }
        for (name, bytes) in words(numbers).filter_map(number) {
            if let Some(sum) = self.numbers.slot(name) {
                *sum = Some(sum.unwrap_or(0).saturating_add(bytes));
            }
        }
    }

    /// Adds a line of the list, or several in one record. The last of the same name counts: text of others can only stand
    /// before the list.
    pub(super) fn add(&mut self, text: &[u8]) {
        let mut lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
        if text.len() >= MIN_CUT {
            lines.pop();
        }
        for line in lines {
            let mut words = words(line);
            let (Some(name), Some(digits), None) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            if let (Some(slot), Some(number)) = (self.numbers.slot(name), parse_number(digits)) {
                *slot = Some(number);
            }
        }
    }

    /// The memory of the cgroup that ran out; absent if nothing of it is in the log.
    pub(super) fn memory_of_cgroup(&self) -> Option<Memory> {
        let parts = self.parts();
        let usage_bytes = self.memory.usage_bytes;
        (usage_bytes.is_some() || parts != MemoryParts::default()).then_some(Memory {
            of: MemoryOf::Cgroup,
            source: AccountSource::Log,
            // `mem_cgroup_print_oom_meminfo` flushes before it prints.
            unflushed: false,
            usage_bytes,
            limit_bytes: self.memory.limit_bytes,
            peak_bytes: None,
            swap_bytes: self.swap_bytes(),
            parts,
        })
    }

    fn swap_bytes(&self) -> Option<u64> {
        let of_v1 = || {
            let both = self.memory_and_swap.usage_bytes?;
            Some(both.saturating_sub(self.memory.usage_bytes?))
        };
        let stated = self.numbers.get("total_swap").or(self.numbers.get("swap"));
        self.swap.usage_bytes.or(stated).or_else(of_v1)
    }

    fn parts(&self) -> MemoryParts {
        if self
            .numbers
            .sum(&["cache", "rss", "total_cache", "total_rss"])
            .is_some()
        {
            self.parts_of_v1()
        } else {
            self.parts_of_list()
        }
    }

    fn parts_of_list(&self) -> MemoryParts {
        let get = |name| self.numbers.get(name);
        let shmem_bytes = get("shmem");
        // `sock` is not in `kernel`. Compressed swap is.
        let known = self.numbers.sum(&[
            "kernel_stack",
            "pagetables",
            "sec_pagetables",
            "percpu",
            "vmalloc",
            "zswap",
            "slab_reclaimable",
            "slab_unreclaimable",
        ]);
        MemoryParts {
            anon_bytes: get("anon"),
            shmem_bytes,
            // It contains shmem.
            file_bytes: get("file")
                .zip(shmem_bytes)
                .map(|(file, shmem)| file.saturating_sub(shmem)),
            slab_reclaimable_bytes: get("slab_reclaimable"),
            slab_unreclaimable_bytes: get("slab_unreclaimable"),
            kernel_stack_bytes: get("kernel_stack"),
            pagetables_bytes: self.numbers.sum(&["pagetables", "sec_pagetables"]),
            sock_bytes: get("sock"),
            percpu_bytes: get("percpu"),
            vmalloc_bytes: get("vmalloc"),
            kernel_other_bytes: get("kernel")
                .or(self.kernel.usage_bytes)
                .map(|kernel| kernel.saturating_sub(known.unwrap_or(0))),
            hugetlb_bytes: get("hugetlb"),
            zswap_bytes: get("zswap"),
        }
    }

    /// `cache` and `rss`, and kernel memory as one number. In a list they are of the cgroup alone, and `total_` of its subtree.
    fn parts_of_v1(&self) -> MemoryParts {
        let total = |total, own| self.numbers.get(total).or(self.numbers.get(own));
        let cache = total("total_cache", "cache");
        let stated = self
            .numbers
            .get("total_shmem")
            .or(self.numbers.get("shmem"));
        let shmem_bytes = stated.or_else(|| {
            // Before 4.13 shmem is not stated: it is what of the cache is not on the lists of files. What is locked may be either.
            let inactive = total("total_inactive_file", "inactive_file")?;
            let active = total("total_active_file", "active_file")?;
            let is_known = total("total_unevictable", "unevictable") == Some(0);
            is_known
                .then(|| cache.map(|cache| cache.saturating_sub(inactive.saturating_add(active))))?
        });
        MemoryParts {
            anon_bytes: total("total_rss", "rss"),
            shmem_bytes,
            file_bytes: cache
                .zip(shmem_bytes)
                .map(|(cache, shmem)| cache.saturating_sub(shmem)),
            kernel_other_bytes: self.kernel.usage_bytes,
            ..MemoryParts::default()
        }
    }

    /// How often the limit was reached, on cgroup v1: `failcnt`. On v2 `memory.events` counts differently.
    pub(super) fn limit_hits(&self) -> Option<u64> {
        self.memory_and_swap.usage_bytes?;
        self.memory.failcnt
    }

    /// The limit with the swap that it allows (`mem_cgroup_get_max`); absent if that depends on the machine's swap, which the
    /// header does not have.
    pub(super) fn total_bytes(&self) -> Option<u64> {
        let limit = self.memory.limit_bytes?;
        let without_swap = |counter: CounterUsage, limit| {
            counter.usage_bytes.is_some() && counter.limit_bytes == Some(limit)
        };
        let is_without = without_swap(self.swap, 0) || without_swap(self.memory_and_swap, limit);
        is_without.then_some(limit)
    }
}
