//! The table of candidate tasks (`dump_tasks` of `mm/oom_kill.c`): its head, which names the columns, and its rows.
//!
//! Columns since 2.6.32: `cpu oom_adj`, from 2.6.36 with `oom_score_adj`; since 3.7 `nr_ptes swapents oom_score_adj`; since
//! 4.4 `nr_pmds`; since 4.15 `pgtables_bytes` instead; since 6.8 `rss_anon rss_file rss_shmem` behind `rss`.

use bstr::ByteSlice as _;

use crate::capture::kmsg::number::{parse_number, words};

/// Columns that are read, at most.
const MAX_COLUMNS: usize = 24;
/// Longest name that is kept: 15 bytes, of which a carrier may write each as `\x1b`.
const MAX_NAME: usize = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Uid,
    Tgid,
    TotalVm,
    Rss,
    RssAnon,
    RssFile,
    RssShmem,
    /// Page tables, counted by levels.
    PageTablePages,
    PageTableBytes,
    Swapents,
    OomAdj,
    OomScoreAdj,
    Other,
}

/// The columns of a table, between the thread id and the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableLayout(Vec<Column>);

/// A row of the table. Sizes are in pages, as the kernel writes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableRow {
    /// Thread id.
    pub tid: u32,
    /// Process id.
    pub pid: u32,
    /// User id.
    pub uid: Option<u32>,
    /// Size of the address space.
    pub total_vm: u64,
    /// Resident memory.
    pub rss: u64,
    /// Resident memory by kind: anonymous, of files, shared.
    pub rss_by_kind: Option<[u64; 3]>,
    /// Swapped out; absent before 3.7.
    pub swapents: Option<u64>,
    /// Page tables, in bytes.
    pub pgtables_bytes: Option<u64>,
    /// Page tables; absent before 3.7 and since 4.15.
    pub pgtables: Option<u64>,
    /// -1000 to 1000.
    pub oom_score_adj: i32,
    /// Whether the kernel computes points from these columns.
    pub has_points: bool,
}

impl TableLayout {
    /// Parses the text behind `[  pid  ]`: `   uid  tgid total_vm      rss … name`.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let names = text.trim_ascii().strip_suffix(b" name")?;
        let columns: Vec<Column> = words(names).take(MAX_COLUMNS).map(Column::parse).collect();
        let has = |column| columns.contains(&column);
        let is_table = has(Column::Tgid) && has(Column::TotalVm) && has(Column::Rss);
        is_table.then_some(Self(columns))
    }

    /// Parses a row and the name of its thread, which is any bytes. All columns must be there: a name that begins with a newline is too short to imitate a row.
    #[must_use]
    pub fn parse_row<'a>(&self, text: &'a [u8]) -> Option<(TableRow, &'a [u8])> {
        let (tid, mut rest) = text.strip_prefix(b"[")?.split_once_str(b"]")?;
        let mut row = TableRow {
            tid: parse_number(tid.trim_ascii_start())?,
            ..TableRow::default()
        };
        let mut kinds = [None; 3];
        let mut pgtables = None;
        for column in &self.0 {
            rest = rest.trim_start_with(|character| character == ' ');
            let end = rest.find_byte(b' ').unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            rest = behind;
            let (digits, is_negative) = match word.strip_prefix(b"-") {
                Some(digits) => (digits, true),
                None => (word, false),
            };
            let number: u64 = parse_number(digits)?;
            let signed = || {
                let number = i32::try_from(number).ok()?;
                Some(if is_negative { -number } else { number })
            };
            // The counters of each CPU may sum to less than nothing.
            let size = if is_negative { 0 } else { number };
            match column {
                Column::Uid => row.uid = u32::try_from(size).ok(),
                Column::Tgid => row.pid = u32::try_from(size).ok()?,
                Column::TotalVm => row.total_vm = size,
                Column::Rss => row.rss = size,
                Column::RssAnon => kinds[0] = Some(size),
                Column::RssFile => kinds[1] = Some(size),
                Column::RssShmem => kinds[2] = Some(size),
                Column::PageTablePages => {
                    pgtables = Some(size.saturating_add(pgtables.unwrap_or(0)));
                }
                Column::PageTableBytes => row.pgtables_bytes = Some(size),
                Column::Swapents => row.swapents = Some(size),
                // Where both stand, `oom_score_adj` comes last.
                Column::OomAdj => row.oom_score_adj = from_oom_adj(signed()?),
                Column::OomScoreAdj => row.oom_score_adj = signed()?,
                Column::Other => {}
            }
        }
        row.pgtables = pgtables;
        if let [Some(anon), Some(file), Some(shmem)] = kinds {
            row.rss_by_kind = Some([anon, file, shmem]);
        }
        row.has_points = self.has(Column::OomScoreAdj)
            && row.swapents.is_some()
            && (self.has(Column::PageTableBytes) || pgtables.is_some());
        let name = rest.strip_prefix(b" ").unwrap_or(rest);
        let comm = &name[..name.len().min(MAX_NAME)];
        let is_valid = row.tid > 0 && row.pid > 0 && (-1000..=1000).contains(&row.oom_score_adj);
        is_valid.then_some((row, comm))
    }

    fn has(&self, column: Column) -> bool {
        self.0.contains(&column)
    }
}

impl TableRow {
    /// What `oom_badness` counts of a process, in pages, without `oom_score_adj`.
    #[must_use]
    pub fn memory_pages(&self, page_bytes: u64) -> u64 {
        let of_bytes = self.pgtables_bytes.unwrap_or(0) / page_bytes.max(1);
        [self.swapents, self.pgtables, Some(of_bytes)]
            .into_iter()
            .flatten()
            .fold(self.rss, u64::saturating_add)
    }
}

impl Column {
    fn parse(name: &[u8]) -> Self {
        match name {
            b"uid" => Self::Uid,
            b"tgid" => Self::Tgid,
            b"total_vm" => Self::TotalVm,
            b"rss" => Self::Rss,
            b"rss_anon" => Self::RssAnon,
            b"rss_file" => Self::RssFile,
            b"rss_shmem" => Self::RssShmem,
            b"nr_ptes" | b"nr_pmds" | b"nr_puds" => Self::PageTablePages,
            b"pgtables_bytes" => Self::PageTableBytes,
            b"swapents" => Self::Swapents,
            b"oom_adj" => Self::OomAdj,
            b"oom_score_adj" => Self::OomScoreAdj,
            _ => Self::Other,
        }
    }
}

/// `oom_score_adj` for the `oom_adj` of kernels before 2.6.36, as later kernels convert it (`fs/proc/base.c`).
fn from_oom_adj(oom_adj: i32) -> i32 {
    match oom_adj {
        15 => 1000,
        oom_adj => oom_adj.saturating_mul(1000) / 17,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADS: &[(&str, &str)] = &[
        (
            "   uid  tgid total_vm      rss cpu oom_adj name",
            "[ 1234]     5  1230     2000      700   1     -17 ",
        ),
        (
            "   uid  tgid total_vm      rss cpu oom_adj oom_score_adj name",
            "[ 1234]     5  1230     2000      700   1     -17         -1000 ",
        ),
        (
            "   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name",
            "[ 1234]     5  1230     2000      700      11       20         -1000 ",
        ),
        (
            "   uid  tgid total_vm      rss nr_ptes nr_pmds swapents oom_score_adj name",
            "[ 1234]     5  1230     2000      700      8       3       20         -1000 ",
        ),
        (
            "   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
            "[   1234]     5  1230     2000      700    45056       20         -1000 ",
        ),
        (
            "   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name",
            "[   1234]     5  1230     2000      700      600       90        10    45056       20         -1000 ",
        ),
    ];

    #[test]
    fn columns_are_read_from_the_head() {
        for name in ["a", " b ] c", "[1] 2 3", "", "7 8 9", "\u{e9}", " "] {
            for (number, (head, row)) in HEADS.iter().enumerate() {
                let layout = TableLayout::parse(head.as_bytes()).expect("layout");
                let text = format!("{row}{name}");
                let (row, comm) = layout.parse_row(text.as_bytes()).expect("row");
                let expected = TableRow {
                    tid: 1234,
                    pid: 1230,
                    uid: Some(5),
                    total_vm: 2000,
                    rss: 700,
                    rss_by_kind: (number == 5).then_some([600, 90, 10]),
                    swapents: (number > 1).then_some(20),
                    pgtables_bytes: (number > 3).then_some(45056),
                    pgtables: (number == 2 || number == 3).then_some(11),
                    oom_score_adj: -1000,
                    has_points: number > 1,
                };
                assert_eq!((row, comm), (expected, name.as_bytes()), "{text}");
                assert_eq!(row.memory_pages(4096), if number > 1 { 731 } else { 700 });
            }
        }
    }

    #[test]
    fn malformed_heads_and_rows_are_refused() {
        for head in [
            "",
            " name",
            "   uid  tgid total_vm name",
            "   uid  total_vm rss name",
            "   uid  tgid total_vm rss names",
        ] {
            assert_eq!(TableLayout::parse(head.as_bytes()), None, "{head}");
        }
        let (head, _) = HEADS[4];
        let layout = TableLayout::parse(head.as_bytes()).expect("layout");
        for row in [
            "",
            "[",
            "[]",
            "[1]",
            "[1] 0 1 2 3 4096 0",
            "[x] 0 1 2 3 4096 0 0 a",
            "[1] 0 x 2 3 4096 0 0 a",
            "[1] 0 1 2 3 4096 - 0 a",
            "[1] 0 1 2 3 4096 0 a b",
            "[0] 0 1 2 3 4096 0 0 a",
            "[1] 0 0 2 3 4096 0 0 a",
            "[1] 0 1 2 3 4096 0 1001 a",
            "[1] 0 1 2 3 4096 0 -99999999999999999999 a",
            "[99999999999] 0 1 2 3 4096 0 0 a",
        ] {
            assert_eq!(layout.parse_row(row.as_bytes()), None, "{row}");
        }
        let largest = "[1] 0 1 18446744073709551615 18446744073709551615 18446744073709551615 18446744073709551615 0 a";
        let (row, _) = layout.parse_row(largest.as_bytes()).expect("row");
        assert_eq!(row.memory_pages(0), u64::MAX);
        let (negative, _) = layout.parse_row(b"[1] 0 1 2 -3 4096 0 0 a").expect("row");
        assert_eq!(negative.rss, 0);
    }

    #[test]
    fn old_adjustment_is_converted_as_the_kernel_does() {
        assert_eq!(
            [-17, -1, 0, 1, 15].map(from_oom_adj),
            [-1000, -58, 0, 58, 1000]
        );
    }
}
