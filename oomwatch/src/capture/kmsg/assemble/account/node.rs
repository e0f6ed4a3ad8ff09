//! The node's memory, from `Mem-Info:` (`show_mem` of `lib/show_mem.c` and `mm/show_mem.c`) of a system OOM.

use bstr::ByteSlice as _;

use super::numbers::{Numbers, kilobytes};
use crate::{
    capture::kmsg::number::{parse_number, words},
    model::account::{AccountSource, Memory, MemoryOf, MemoryParts, Zone},
};

/// Zones that are kept.
const MAX_ZONES: usize = 256;
/// Orders of free blocks that are kept.
const MAX_ORDERS: usize = 24;
const ZONES: &[&str] = &["DMA", "DMA32", "Normal", "HighMem", "Movable", "Device"];

/// Totals of the node, in pages.
const TOTALS: &[&str; 17] = &[
    "active_anon",
    "inactive_anon",
    "isolated_anon",
    "active_file",
    "inactive_file",
    "isolated_file",
    "unevictable",
    "slab_reclaimable",
    "slab_unreclaimable",
    "shmem",
    "pagetables",
    "sec_pagetables",
    "free",
    "free_pcp",
    // Lines of their own.
    "total pagecache pages",
    "pages in swap cache",
    "pages RAM",
];
const ANON_LISTS: &[&str] = &["active_anon", "inactive_anon", "isolated_anon"];
const FILE_LISTS: &[&str] = &["active_file", "inactive_file", "isolated_file"];

/// What has arrived.
#[derive(Debug)]
pub(super) struct NodeStatistics {
    totals: Numbers<17>,
    reserved_pages: Option<u64>,
    total_swap_bytes: Option<u64>,
    free_swap_bytes: Option<u64>,
    kernel_stack_bytes: Option<u64>,
    hugetlb_bytes: Option<u64>,
    page_bytes: Option<u64>,
    pub(super) zones: Vec<Zone>,
}

impl Default for NodeStatistics {
    fn default() -> Self {
        Self {
            totals: Numbers::new(TOTALS),
            reserved_pages: None,
            total_swap_bytes: None,
            free_swap_bytes: None,
            kernel_stack_bytes: None,
            hugetlb_bytes: None,
            page_bytes: None,
            zones: Vec::new(),
        }
    }
}

impl NodeStatistics {
    /// Adds a line, or several in one record.
    pub(super) fn add(&mut self, text: &[u8]) {
        let text = text.trim_ascii();
        if let Some(rest) = text.strip_prefix(b"Node ") {
            let digits = rest.find_byte(b' ').unwrap_or(rest.len());
            if let Some(node) = parse_number(&rest[..digits]) {
                self.add_of_node(node, rest[digits..].trim_ascii_start());
            }
        } else if zone_name(text).is_some() {
            // Without NUMA there is no number.
            self.add_of_node(0, text);
        } else if text.first().is_some_and(u8::is_ascii_digit) {
            let split = text.split_once_str(b" ");
            let counted = split.and_then(|(digits, what)| Some((parse_number(digits)?, what)));
            match counted {
                // The latter forms are of 2.6 and 3.x on some architectures.
                Some((pages, b"pages reserved" | b"reserved pages")) => {
                    self.reserved_pages = Some(pages);
                }
                Some((pages, b"pages of RAM")) => self.set(b"pages RAM", pages),
                Some((pages, b"pages swap cached")) => self.set(b"pages in swap cache", pages),
                Some((pages, what)) => self.set(what, pages),
                None => {}
            }
        } else if let Some((name, size)) = text.split_once_str(b" = ") {
            match name.trim_ascii() {
                b"Free swap" => self.free_swap_bytes = kilobytes(size),
                b"Total swap" => self.total_swap_bytes = kilobytes(size),
                _ => {}
            }
        } else {
            let total = |word| {
                let (name, pages) = <[u8]>::split_once_str(word, b":")?;
                Some((name, parse_number(pages)?))
            };
            if words(text).all(|word| total(word).is_some()) {
                for (name, pages) in words(text).filter_map(total) {
                    self.set(name, pages);
                }
            }
        }
    }

    /// The first number of a name counts.
    fn set(&mut self, name: &[u8], pages: u64) {
        if let Some(slot) = self.totals.slot(name) {
            slot.get_or_insert(pages);
        }
    }

    /// Adds the text behind `Node 0 `.
    fn add_of_node(&mut self, node: u32, text: &[u8]) {
        let add = |sum: &mut Option<u64>, bytes: u64| {
            *sum = Some(sum.unwrap_or(0).saturating_add(bytes));
        };
        if text.starts_with(b"hugepages_total=") {
            let field = |name: &[u8]| {
                words(text).find_map(|word| word.strip_prefix(name)?.strip_prefix(b"="))
            };
            let pages = field(b"hugepages_total").and_then(parse_number::<u64>);
            let size = field(b"hugepages_size").and_then(kilobytes);
            if let (Some(pages), Some(size)) = (pages, size) {
                add(&mut self.hugetlb_bytes, pages.saturating_mul(size));
            }
            return;
        }
        // In the line of a zone up to 5.9, then in that of a node.
        if let Some(bytes) = size_of(text, b"kernel_stack") {
            add(&mut self.kernel_stack_bytes, bytes);
        }
        let Some((name, rest)) = zone_name(text) else {
            return;
        };
        if let Some(blocks) = rest.strip_prefix(b":") {
            self.add_free_blocks(node, name, blocks);
        } else if let Some(free_bytes) = size_of(rest, b"free")
            && self.zones.len() < MAX_ZONES
            && self.zone(node, name).is_none()
        {
            self.zones.push(Zone {
                node,
                name: name.to_owned(),
                free_bytes,
                min_bytes: size_of(rest, b"min"),
                managed_bytes: size_of(rest, b"managed"),
                free_blocks: Vec::new(),
            });
        }
    }

    /// Adds ` 1*4kB (U) 0*8kB … = 1692kB`.
    fn add_free_blocks(&mut self, node: u32, name: &str, text: &[u8]) {
        let Some((blocks, _)) = text.split_once_str(b"= ") else {
            return;
        };
        let block = |word: &[u8]| {
            let (count, size) = word.split_once_str(b"*")?;
            Some((parse_number(count)?, kilobytes(size)?))
        };
        let blocks: Vec<(u64, u64)> = words(blocks).filter_map(block).take(MAX_ORDERS).collect();
        let Some(&(_, page_bytes)) = blocks.first() else {
            return;
        };
        let doubles = blocks
            .windows(2)
            .all(|pair| pair[1].1 == pair[0].1.saturating_mul(2));
        if !doubles {
            return;
        }
        self.page_bytes.get_or_insert(page_bytes);
        if let Some(zone) = self
            .zone(node, name)
            .filter(|zone| zone.free_blocks.is_empty())
        {
            zone.free_blocks = blocks.into_iter().map(|(count, _)| count).collect();
        }
    }

    fn zone(&mut self, node: u32, name: &str) -> Option<&mut Zone> {
        self.zones
            .iter_mut()
            .find(|zone| zone.node == node && zone.name == name)
    }

    /// Size of a page: that of the smallest free block.
    pub(super) fn page_bytes(&self) -> Option<u64> {
        self.page_bytes
    }

    /// Memory and swap of the machine, which `oom_score_adj` is in thousandths of.
    pub(super) fn total_bytes(&self) -> Option<u64> {
        let memory = self.managed_pages()?.saturating_mul(self.page_bytes?);
        Some(memory.saturating_add(self.total_swap_bytes?))
    }

    fn managed_pages(&self) -> Option<u64> {
        Some(
            self.totals
                .get("pages RAM")?
                .saturating_sub(self.reserved_pages?),
        )
    }

    /// The node's memory; absent if its free memory is.
    pub(super) fn memory(&self, page_bytes: u64) -> Option<Memory> {
        let bytes = |pages: u64| pages.saturating_mul(page_bytes);
        let get = |name| self.totals.get(name).map(bytes);
        let sum = |names: &[&str]| self.totals.sum(names).map(bytes);
        // Pages that a CPU keeps ready are free too.
        let free = get("free")?.saturating_add(get("free_pcp").unwrap_or(0));
        let limit_bytes = self.managed_pages().map(bytes);
        let shmem_bytes = get("shmem");
        let cache = get("total pagecache pages")
            .zip(get("pages in swap cache"))
            .map(|(cache, swap_cache)| cache.saturating_sub(swap_cache));
        // The lists of anonymous memory have shmem too, and what is locked is on a list of its own. With the page cache, which
        // has files and shmem, locked or not, both follow.
        let (file_bytes, anon_bytes) = match (cache, shmem_bytes) {
            (Some(cache), Some(shmem)) => {
                let lists = [sum(ANON_LISTS), sum(FILE_LISTS), get("unevictable")];
                let all = lists.into_iter().flatten().reduce(u64::saturating_add);
                let anon = all.map(|all| all.saturating_sub(cache));
                (Some(cache.saturating_sub(shmem)), anon)
            }
            (None, Some(shmem)) => {
                let anon = sum(ANON_LISTS).map(|anon| anon.saturating_sub(shmem));
                (sum(FILE_LISTS), anon)
            }
            (_, None) => (sum(FILE_LISTS), None),
        };
        let is_whole = self.has_all_zones(page_bytes);
        Some(Memory {
            of: MemoryOf::Node,
            source: AccountSource::Log,
            unflushed: false,
            usage_bytes: limit_bytes.map(|limit| limit.saturating_sub(free)),
            limit_bytes,
            peak_bytes: None,
            swap_bytes: self
                .total_swap_bytes
                .zip(self.free_swap_bytes)
                .map(|(total, free)| total.saturating_sub(free)),
            parts: MemoryParts {
                anon_bytes,
                shmem_bytes,
                file_bytes,
                slab_reclaimable_bytes: get("slab_reclaimable"),
                slab_unreclaimable_bytes: get("slab_unreclaimable"),
                kernel_stack_bytes: self.kernel_stack_bytes.filter(|_| is_whole),
                pagetables_bytes: sum(&["pagetables", "sec_pagetables"]),
                hugetlb_bytes: self.hugetlb_bytes.filter(|_| is_whole),
                ..MemoryParts::default()
            },
        })
    }

    /// Whether the zones are all of the machine's. Those outside of the allocation's nodes are not shown.
    fn has_all_zones(&self, page_bytes: u64) -> bool {
        let managed: Option<u64> = self.zones.iter().map(|zone| zone.managed_bytes).sum();
        match (managed, self.managed_pages()) {
            (Some(managed), Some(pages)) => managed >= pages.saturating_mul(page_bytes) / 100 * 99,
            (None, _) | (_, None) => true,
        }
    }
}

/// Splits the name of a zone off a text.
fn zone_name(text: &[u8]) -> Option<(&'static str, &[u8])> {
    let end = text.find_byteset(b" :")?;
    let name = ZONES.iter().find(|name| name.as_bytes() == &text[..end])?;
    Some((name, &text[end..]))
}

/// The size of `name:42kB`.
fn size_of(text: &[u8], name: &[u8]) -> Option<u64> {
    words(text).find_map(|word| kilobytes(word.strip_prefix(name)?.strip_prefix(b":")?))
}
