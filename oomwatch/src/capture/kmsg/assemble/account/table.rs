//! Sums the rows of the task table, and keeps the most important.
//!
//! A row is a candidate unless its `oom_score_adj` is -1000. The table also has processes that the killer passes over, since
//! they are dying or share the memory of a parent that waits for them: the log does not show which.

use bstr::ByteSlice as _;

use super::release::KernelRelease;
use crate::{
    capture::kmsg::line::table::{TableLayout, TableRow},
    model::account::{AccountSource, Candidate, Candidates, Exclusion, LISTED, ProcessMemory},
};

/// `oom_score_adj` that excludes a process.
const EXCLUDED: i32 = -1000;
/// Texts of what carriers write where lines are missing.
const LOSSES: &[&str] = &[
    "printk messages dropped",
    "kernel messages",
    "messages lost",
    "messages suppressed",
];

/// A table, as far as its rows have arrived.
#[derive(Debug)]
pub(super) struct CandidateTable {
    layout: TableLayout,
    /// Size of a page, by which rows are ranked.
    page_bytes: u64,
    /// What `oom_score_adj` is in thousandths of, by which rows are ranked; absent if not known.
    total_bytes: Option<u64>,
    rows: u64,
    scored: u64,
    excluded: u64,
    sum: Sum,
    by_points: Ranking,
    by_memory: Ranking,
    largest_excluded: Ranking,
    /// Whether the line behind the table has come.
    pub(super) has_end: bool,
    /// Whether rows are missing.
    pub(super) is_cut: bool,
}

/// Sums in pages, and page tables in the unit of the log.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    rss: [u64; 3],
    swapents: u64,
    pgtables: u64,
    pgtables_bytes: u64,
}

/// The first rows by a number, in descending order; of equals the later comes first, which is the one that the kernel chooses.
#[derive(Debug, Default)]
struct Ranking(Vec<Ranked>);

#[derive(Clone, Debug)]
struct Ranked {
    key: i64,
    /// Number of the row in the table.
    number: u64,
    row: TableRow,
    comm: Vec<u8>,
}

impl Sum {
    fn add(&mut self, row: &TableRow) {
        let rss = row.rss_by_kind.unwrap_or([row.rss, 0, 0]);
        for (sum, pages) in self.rss.iter_mut().zip(rss) {
            *sum = sum.saturating_add(pages);
        }
        let Self {
            rss: _,
            swapents,
            pgtables,
            pgtables_bytes,
        } = self;
        for (sum, number) in [
            (swapents, row.swapents),
            (pgtables, row.pgtables),
            (pgtables_bytes, row.pgtables_bytes),
        ] {
            *sum = sum.saturating_add(number.unwrap_or(0));
        }
    }

    fn bytes(&self, page_bytes: u64) -> ProcessMemory {
        let Self {
            rss: [anon, file, shmem],
            swapents,
            pgtables,
            pgtables_bytes,
        } = *self;
        let bytes = |pages: u64| pages.saturating_mul(page_bytes);
        ProcessMemory {
            anon_rss_bytes: bytes(anon),
            file_rss_bytes: bytes(file),
            shmem_rss_bytes: bytes(shmem),
            swap_bytes: bytes(swapents),
            pgtables_bytes: bytes(pgtables).saturating_add(pgtables_bytes),
        }
    }
}

impl Ranking {
    fn insert(&mut self, key: i64, number: u64, row: TableRow, comm: &[u8]) {
        let index = self.0.partition_point(|ranked| ranked.key > key);
        if index >= LISTED {
            return;
        }
        self.0.truncate(LISTED - 1);
        self.0.insert(
            index,
            Ranked {
                key,
                number,
                row,
                comm: comm.to_vec(),
            },
        );
    }
}

impl CandidateTable {
    pub(super) fn new(layout: TableLayout, page_bytes: u64, total_bytes: Option<u64>) -> Self {
        Self {
            layout,
            page_bytes,
            total_bytes,
            rows: 0,
            scored: 0,
            excluded: 0,
            sum: Sum::default(),
            by_points: Ranking::default(),
            by_memory: Ranking::default(),
            largest_excluded: Ranking::default(),
            has_end: false,
            is_cut: false,
        }
    }

    /// Adds a line. `is_repeated`: its task has a row already, in a log that has each line twice.
    pub(super) fn add(&mut self, text: &[u8], is_repeated: bool) {
        let Some((row, comm)) = self.layout.parse_row(text) else {
            let is_loss = LOSSES.iter().any(|loss| text.contains_str(loss));
            // Other lines may stand between the rows, and the rest of a name behind a newline.
            self.is_cut |= is_loss || is_broken_row(text);
            return;
        };
        if is_repeated {
            return;
        }
        self.rows += 1;
        let memory = signed(row.memory_pages(self.page_bytes));
        if row.oom_score_adj == EXCLUDED {
            self.excluded += 1;
            self.largest_excluded.insert(memory, self.rows, row, comm);
            return;
        }
        self.scored += 1;
        self.sum.add(&row);
        self.by_memory.insert(memory, self.rows, row, comm);
        if let Some(total_bytes) = self.total_bytes {
            let points = points(&row, self.page_bytes, total_bytes);
            self.by_points.insert(points, self.rows, row, comm);
        }
    }

    /// The size of a page, from the size of the address space of a thread in bytes.
    pub(super) fn page_bytes_by(&self, tid: u32, total_vm_bytes: u64) -> Option<u64> {
        let mut rows = self.by_memory.0.iter().chain(&self.by_points.0);
        let ranked = rows.find(|ranked| ranked.row.tid == tid && ranked.row.total_vm > 0)?;
        let total_vm = ranked.row.total_vm;
        [4096, 8192, 16384, 65536]
            .into_iter()
            .find(|page_bytes: &u64| total_vm.checked_mul(*page_bytes) == Some(total_vm_bytes))
    }

    /// The candidates. `total_bytes` is what `oom_score_adj` is in thousandths of; where that is not known, points are known for
    /// an adjustment of 0 only, and the order is that of memory.
    pub(super) fn candidates(
        &self,
        page_bytes: u64,
        total_bytes: Option<u64>,
        release: Option<KernelRelease>,
        cpus: Option<u64>,
    ) -> Candidates {
        let mut listed: Vec<Ranked> = self.by_points.0.clone();
        let is_new = |ranked: &&Ranked| {
            self.by_points
                .0
                .iter()
                .all(|listed| listed.number != ranked.number)
        };
        listed.extend(self.by_memory.0.iter().filter(is_new).cloned());
        for Ranked { key, row, .. } in &mut listed {
            *key = match total_bytes {
                Some(total_bytes) => points(row, page_bytes, total_bytes),
                None => signed(row.memory_pages(page_bytes)),
            };
        }
        listed.sort_by_key(|ranked| std::cmp::Reverse((ranked.key, ranked.number)));
        listed.truncate(LISTED);
        let scored = listed.iter().map(|ranked| Candidate {
            oom_points: oom_points(&ranked.row, page_bytes, total_bytes, release),
            ..candidate(ranked, page_bytes)
        });
        let excluded = self.largest_excluded.0.iter().map(|ranked| Candidate {
            excluded: Some(Exclusion::OomScoreAdj),
            ..candidate(ranked, page_bytes)
        });
        Candidates {
            source: AccountSource::Log,
            complete: self.has_end && !self.is_cut,
            scored: self.scored,
            excluded: self.excluded,
            rss_error_bytes: KernelRelease::rss_error_bytes(release, cpus, page_bytes),
            sum: self.sum.bytes(page_bytes),
            processes: scored.chain(excluded).collect(),
        }
    }
}

/// The points of a row, if the kernel computed them as later ones do and the log has all that goes into them.
fn oom_points(
    row: &TableRow,
    page_bytes: u64,
    total_bytes: Option<u64>,
    release: Option<KernelRelease>,
) -> Option<i64> {
    let has_bonus = release.map_or(row.pgtables.is_some(), KernelRelease::has_root_bonus);
    // Which capabilities a process has is not in the log; that of others than root is unlikely.
    let may_have_bonus = has_bonus && row.uid.is_none_or(|uid| uid == 0);
    if !row.has_points || may_have_bonus {
        return None;
    }
    match (total_bytes, row.oom_score_adj) {
        (Some(total_bytes), _) => Some(points(row, page_bytes, total_bytes)),
        (None, 0) => Some(signed(row.memory_pages(page_bytes))),
        (None, _) => None,
    }
}

/// `oom_badness`, in pages: the division comes first.
fn points(row: &TableRow, page_bytes: u64, total_bytes: u64) -> i64 {
    let thousandth = signed(total_bytes / page_bytes.max(1) / 1000);
    signed(row.memory_pages(page_bytes))
        .saturating_add(i64::from(row.oom_score_adj).saturating_mul(thousandth))
}

fn candidate(ranked: &Ranked, page_bytes: u64) -> Candidate {
    let Ranked { row, comm, .. } = ranked;
    let mut memory = Sum::default();
    memory.add(row);
    Candidate {
        pid: row.pid,
        comm: comm.clone(),
        uid: row.uid,
        memory: memory.bytes(page_bytes),
        is_rss_split: row.rss_by_kind.is_some(),
        oom_score_adj: row.oom_score_adj,
        oom_points: None,
        excluded: None,
        cgroup_id: None,
    }
}

/// Whether a text begins as a row does.
fn is_broken_row(text: &[u8]) -> bool {
    text.strip_prefix(b"[").is_some_and(|text| {
        text.trim_ascii_start()
            .first()
            .is_some_and(u8::is_ascii_digit)
    })
}

fn signed(pages: u64) -> i64 {
    i64::try_from(pages).unwrap_or(i64::MAX)
}
