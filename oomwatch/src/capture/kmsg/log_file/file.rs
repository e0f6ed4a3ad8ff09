//! Reads a saved log line by line: unwraps structured logs, joins lines that were broken at a width, and sorts what is of
//! the OOM killer by machine.

use bstr::ByteSlice as _;
use jiff::{Timestamp, tz::Offset};

use super::{
    anchor,
    machines::Machines,
    parser::{self, LogFileParser},
    prefix::StatedOrigin,
    structured::{Entry, Structured},
};
use crate::capture::kmsg::{
    MAX_LINE,
    assemble::{LogCounts, LogItem, Trust},
    line::{self, Line, Message},
    record::{Record, RecordOrigin, Stamp},
};
use crate::model::kill::Scope;

/// Narrowest width at which lines are taken to be broken.
const MIN_WIDTH: usize = 40;
/// Lines at the width that do not go on, until lines are not taken to be broken there.
const MAX_UNBROKEN: u32 = 100;
/// Longest prefix that stands alone in a line.
const MAX_PREFIX: usize = 64;
/// Pieces of one broken line, at most.
const MAX_PIECES: usize = 32;
/// Lines that are looked at for one of the kernel's that is not of the OOM killer.
const MAX_UNKNOWN: u64 = 10_000;
/// Longest line that is kept to be shown.
const MAX_SHOWN: usize = 200;

/// A saved log. Pure: lines come in, kills go out.
#[derive(Debug)]
pub struct LogFile {
    parser: LogFileParser,
    machines: Machines,
    structured: Structured,
    held: Option<Held>,
    /// Length of the longest line so far: the width, if lines are broken.
    longest: usize,
    /// Lines of this length that did not go on in the next line.
    unbroken: u32,
    has_prefixes: bool,
    /// Whether the last line with a prefix is the kernel's: only then may one without be its rest.
    follows_kernel: bool,
    seen: LinesSeen,
}

/// What kinds of lines a log has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinesSeen {
    /// Lines that are not blank.
    pub lines: u64,
    /// Whether any line is the kernel's.
    pub has_kernel: bool,
    /// Lines that mention a kill and were not understood.
    pub not_understood: u64,
    /// The first of these.
    pub first_not_understood: Option<Vec<u8>>,
    /// The first line that is not blank.
    pub first: Option<Vec<u8>>,
}

/// A line of the OOM killer whose rest may be in the next line.
#[derive(Debug)]
struct Held {
    pieces: Vec<Vec<u8>>,
    /// Marks before the first piece, such as `> `.
    marks: Vec<u8>,
    has_prefix: bool,
    is_complete: bool,
    /// Whether there is nothing but a prefix: the first word did not fit.
    is_empty: bool,
}

impl LogFile {
    /// `offset` applies to times without a zone. A time without a year is taken as the last such time up to `latest`.
    #[must_use]
    pub fn new(offset: Offset, latest: Timestamp, trust: Trust) -> Self {
        Self {
            parser: LogFileParser::new(offset, latest),
            machines: Machines::new(trust),
            structured: Structured::default(),
            held: None,
            longest: 0,
            unbroken: 0,
            has_prefixes: false,
            follows_kernel: false,
            seen: LinesSeen::default(),
        }
    }

    /// The parser, which knows what it had to assume.
    #[must_use]
    pub fn parser(&self) -> &LogFileParser {
        &self.parser
    }

    /// The next kill or re-kill.
    pub fn next_item(&mut self) -> Option<LogItem> {
        self.machines.next()
    }

    /// Adds a line, without its line end.
    pub fn push(&mut self, line: &[u8]) {
        let plain = line.contains(&b'\x1b').then(|| without_colors(line));
        let line = plain.as_deref().unwrap_or(line);
        let unescaped = is_html(line).then(|| unescape_html(line));
        let line = unescaped.as_deref().unwrap_or(line);
        let unquoted = is_csv(line).then(|| unquote_csv(line));
        let line = unquoted.as_deref().unwrap_or(line);
        if !line.is_empty() {
            self.seen.lines += 1;
            let shown = || line[..line.len().min(MAX_SHOWN)].to_vec();
            self.seen.first.get_or_insert_with(shown);
        }
        let mut entries = Vec::new();
        self.structured.wants_all = self.machines.wants_other_lines();
        if self.structured.push(line, &mut entries) {
            self.release();
            self.seen.has_kernel |= !entries.is_empty();
            self.entries(&entries);
            return;
        }
        self.entries(&entries);
        self.text(line);
    }

    /// Ends the log. What is left is available from [`Self::next_item`].
    pub fn finish(&mut self) -> (LogCounts, LinesSeen) {
        let mut entries = Vec::new();
        self.structured.finish(&mut entries);
        self.entries(&entries);
        self.release();
        (self.machines.finish(), self.seen.clone())
    }

    fn text(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > self.longest {
            self.longest = line.len();
            self.unbroken = 0;
        }
        self.parser.learn_year(line);
        if let Some(held) = &mut self.held {
            let rest = line.strip_prefix(&*held.marks).unwrap_or(line);
            if held.pieces.len() < MAX_PIECES && continues(held, rest, self.longest) {
                held.pieces.push(rest.to_vec());
                return;
            }
            self.release();
        }
        let is_possible = anchor::is_possible(line);
        // At the width, or with nothing behind its prefix, a line may be the beginning of one.
        let is_at_width =
            line.len() == self.longest && line.len() >= MIN_WIDTH && self.unbroken < MAX_UNBROKEN;
        let is_short = line.len() < MAX_PREFIX && (line.ends_with(b"]") || line.ends_with(b":"));
        let may_begin = (is_at_width || is_short) && self.parser.parse_line(line).1;
        if !is_possible && !may_begin {
            self.other(line);
            return;
        }
        let (record, has_prefix) = self.parser.parse_line(line);
        let parsed = line::parse(&record.text);
        let is_complete = parsed.is_some_and(|line| is_complete(&line));
        let marks = line.find_not_byteset(b" >|").unwrap_or(0);
        self.held = Some(Held {
            pieces: vec![line.to_vec()],
            marks: line[..marks].to_vec(),
            has_prefix,
            is_complete,
            is_empty: record.text.trim_ascii().is_empty(),
        });
    }

    /// A line that is not of the OOM killer.
    fn other(&mut self, line: &[u8]) {
        if self.machines.wants_other_lines() {
            let (record, has_prefix) = self.parser.parse_line(line);
            if has_prefix {
                self.follows_kernel = record.origin == RecordOrigin::Kernel;
            }
            if has_prefix {
                self.machines.push(record);
            } else if !self.has_prefixes || self.follows_kernel {
                self.machines.push(Record::bare(line));
            }
            self.machines.pass();
        } else if !self.seen.has_kernel && self.seen.lines < MAX_UNKNOWN && !line.is_empty() {
            let (record, has_prefix) = self.parser.parse_line(line);
            self.seen.has_kernel =
                has_prefix && record.origin == RecordOrigin::Kernel || Record::parse(line).is_ok();
        }
    }

    /// Reads the line that was held, with as many of the lines behind it as make a line of the kernel.
    fn release(&mut self) {
        let Some(held) = self.held.take() else {
            return;
        };
        let is_at_width = held.pieces[0].len() == self.longest;
        self.unbroken = match held.pieces.len() {
            1 => self.unbroken.saturating_add(u32::from(is_at_width)),
            _ => 0,
        };
        for count in (2..=held.pieces.len()).rev() {
            for whole in joined(&held.pieces[..count], self.longest) {
                let (record, _) = self.parser.parse_line(&whole);
                if is_whole(line::parse(&record.text)) {
                    self.record(&whole);
                    return;
                }
            }
        }
        self.record(&held.pieces[0]);
        // Where lines have times, one without is no line of the kernel.
        for piece in held.pieces.iter().skip(1).filter(|_| !held.has_prefix) {
            self.record(piece);
        }
    }

    fn record(&mut self, line: &[u8]) {
        let (record, has_prefix) = self.parser.parse_line(line);
        let parsed = line::parse(&record.text);
        let is_foreign = self.has_prefixes && !has_prefix;
        if has_prefix {
            self.follows_kernel = record.origin == RecordOrigin::Kernel;
        }
        if record.origin == RecordOrigin::Kernel {
            self.has_prefixes |= has_prefix && parsed.is_some();
            self.seen.has_kernel |= has_prefix || parsed.is_some();
            let is_lost = parsed.is_none() || is_foreign;
            if is_lost && mentions_kill(line) {
                note(&mut self.seen, line);
            }
        }
        if !is_foreign && (parsed.is_some() || self.machines.wants_other_lines()) {
            self.machines.push(record);
        }
    }

    fn entries(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.entry(entry);
        }
    }

    /// A message of a structured log, which may have several lines.
    fn entry(&mut self, entry: &Entry) {
        for line in entry.text.lines() {
            let (mut record, _) = match entry.origin {
                StatedOrigin::Kernel => (Record::bare(line), true),
                StatedOrigin::Unstated | StatedOrigin::Program => self.parser.parse_line(line),
            };
            let is_own = !entry.is_output || record.stamp != Stamp::default();
            if entry.origin == StatedOrigin::Program || !is_own {
                record.origin = RecordOrigin::User;
            }
            record.stamp.boot_time_ns = record.stamp.boot_time_ns.or(entry.stamp.boot_time_ns);
            record.stamp.calendar = record.stamp.calendar.or(entry.stamp.calendar);
            record.host = record.host.or(entry.host.as_deref().map(Into::into));
            let is_kernel = record.origin == RecordOrigin::Kernel;
            let parsed = line::parse(&record.text);
            if is_kernel && parsed.is_none() && mentions_kill(line) {
                note(&mut self.seen, line);
            }
            if parsed.is_some() || self.machines.wants_other_lines() {
                self.machines.push(record);
            }
        }
    }
}

fn note(seen: &mut LinesSeen, line: &[u8]) {
    seen.not_understood += 1;
    let shown = || line[..line.len().min(MAX_SHOWN)].to_vec();
    seen.first_not_understood.get_or_insert_with(shown);
}

/// Whether a line may be the rest of the one before it.
fn continues(held: &Held, line: &[u8], longest: usize) -> bool {
    let last = held.pieces.last().map_or(0, Vec::len);
    let is_at_width = last + held.marks.len() >= longest && last >= MIN_WIDTH;
    let total: usize = held.pieces.iter().map(Vec::len).sum();
    let fits = !line.is_empty() && total + line.len() < MAX_LINE;
    let is_of_interest = is_at_width || held.has_prefix && !held.is_complete;
    // It has no time or tag of its own, and is not a whole line.
    fits && is_of_interest
        && !parser::has_prefix(line)
        && ((is_at_width || held.is_empty) && held.has_prefix || anchor::find(line).is_none())
}

/// The pieces as one line, the likeliest way to join them first.
fn joined(pieces: &[Vec<u8>], longest: usize) -> Vec<Vec<u8>> {
    let join = |separator: &[u8], is_trimmed: bool| {
        let (first, rest) = pieces
            .split_first()
            .map_or((&b""[..], pieces), |(first, rest)| (&**first, rest));
        rest.iter().fold(first.to_vec(), |mut whole, piece| {
            whole.extend_from_slice(separator);
            whole.extend_from_slice(if is_trimmed {
                piece.trim_ascii_start()
            } else {
                piece
            });
            whole
        })
    };
    let (first, second) = (&pieces[0], &pieces[1]);
    let word = second.trim_ascii_start();
    let word = word.find_byte(b' ').unwrap_or(word.len());
    let is_indented = pieces[1..]
        .iter()
        .all(|piece| piece.starts_with(b"  ") || piece.starts_with(b"\t"));
    if first.len() == longest && !is_indented {
        vec![join(b"", false), join(b" ", false), join(b"", true)]
    } else if first.len() == longest {
        vec![join(b"", true), join(b" ", true), join(b"", false)]
    } else if first.len() + word >= longest {
        // The next word did not fit.
        vec![join(b" ", true), join(b"", true), join(b"\n", false)]
    } else {
        vec![join(b"\n", false), join(b" ", true), join(b"", true)]
    }
}

/// Whether a joined line is one of the kernel's, with the paths that it should have.
fn is_whole(parsed: Option<Line<'_>>) -> bool {
    match parsed {
        None | Some(Line::Incomplete) => false,
        Some(Line::TaskIn { task_memcg, .. }) => task_memcg.is_some(),
        Some(Line::OomKill(line)) => line.task_memcg.is_some() || line.scope == Scope::System,
        Some(_) => true,
    }
}

/// Whether a line cannot go on: a kill line may be broken at each of its blanks.
fn is_complete(line: &Line<'_>) -> bool {
    match line {
        Line::Incomplete => false,
        Line::Killed(killed) => match killed.message {
            Message::None => killed.file_rss_bytes.is_some(),
            _ => killed.oom_score_adj.is_some(),
        },
        _ => true,
    }
}

/// Whether a line has the words of a kill.
fn mentions_kill(line: &[u8]) -> bool {
    let killed = line.find_iter(b"Killed process ").any(|at| {
        let rest = &line[at + b"Killed process ".len()..];
        let digits = rest.find_not_byteset(b"0123456789").unwrap_or(0);
        digits > 0 && rest[digits..].contains_str("(")
    });
    killed || line.contains_str("oom-kill:constraint=")
}

/// Removes the sequences that set a terminal's colors.
fn without_colors(line: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find_byte(b'\x1b') {
        plain.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        rest = match rest.first() {
            Some(b'[') => {
                let end = rest
                    .iter()
                    .skip(1)
                    .position(|byte| (0x40..0x7f).contains(byte));
                rest.get(end.map_or(rest.len(), |end| end + 2)..)
                    .unwrap_or_default()
            }
            Some(b'(' | b')') => rest.get(2..).unwrap_or_default(),
            _ => rest,
        };
    }
    plain.extend_from_slice(rest);
    plain
}

/// Whether a line is of a table whose cells are in quotation marks.
fn is_csv(line: &[u8]) -> bool {
    line.ends_with(b"\"")
        && !line.starts_with(b"{")
        && (line.starts_with(b"\"") || line.contains_str(",\""))
        && anchor::find(line).is_some_and(|at| !line[..at].contains(&b'='))
}

/// The cells of a line of a table, separated by blanks.
fn unquote_csv(line: &[u8]) -> Vec<u8> {
    let text = anchor::find(line).unwrap_or(line.len());
    let (cells, text) = line.split_at(text);
    let mut plain: Vec<u8> = cells
        .iter()
        .map(|byte| {
            if matches!(byte, b'"' | b',' | b';') {
                b' '
            } else {
                *byte
            }
        })
        .collect();
    plain.extend_from_slice(text.strip_suffix(b"\"").unwrap_or(text));
    plain
}

/// Whether a line was copied from the source of a page: marks of its prefix are escaped.
fn is_html(line: &[u8]) -> bool {
    let start = &line[..line.len().min(16)];
    start.contains(&b'&') && (start.contains_str("&gt;") || start.contains_str("&lt;"))
}

fn unescape_html(line: &[u8]) -> Vec<u8> {
    const ENTITIES: &[(&[u8], u8)] = &[
        (b"&lt;", b'<'),
        (b"&gt;", b'>'),
        (b"&quot;", b'"'),
        (b"&#39;", b'\''),
        (b"&amp;", b'&'),
    ];
    let mut plain = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some((&byte, behind)) = rest.split_first() {
        let entity = ENTITIES
            .iter()
            .find_map(|(entity, byte)| Some((*byte, rest.strip_prefix(*entity)?)));
        let (byte, behind) = entity.unwrap_or((byte, behind));
        plain.push(byte);
        rest = behind;
    }
    plain
}
