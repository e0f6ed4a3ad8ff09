//! Lines that arrive in several records: written with `pr_cont`, or broken by a newline in a name.

use super::item::GROUP_LINE_WAIT;
use crate::capture::kmsg::{
    MAX_LINE,
    record::{Caller, Part, Record, Stamp},
};

/// The beginnings of the pieces that the kernel writes with `pr_cont`, for logs that do not flag them.
const PIECES: &[&[u8]] = &[
    b",",
    b"/",
    b" killed as a result of ",
    b" are going to be killed ",
];

/// The part of a line that has arrived.
#[derive(Debug)]
pub(super) struct OpenLine {
    pub(super) text: Vec<u8>,
    pub(super) stamp: Stamp,
    pub(super) caller: Option<Caller>,
}

impl OpenLine {
    /// Whether a record is a further piece of this line.
    pub(super) fn is_continued_by(&self, record: &Record<'_>) -> bool {
        let is_late = record
            .stamp
            .since(&self.stamp)
            .is_some_and(|age| age > GROUP_LINE_WAIT);
        if is_late || record.caller != self.caller {
            return false;
        }
        record.part == Part::Continuation
            || record.sequence.is_none() && (is_piece(record) || self.is_broken_by_newline(record))
    }

    /// In a text log, a newline in a name breaks the line and the rest has no time; in the text of `syslog(2)` the rest has
    /// the same time since boot. A time in whole seconds says nothing, and a line that ends with dots was cut.
    fn is_broken_by_newline(&self, record: &Record<'_>) -> bool {
        let is_cut = self.text.ends_with(b"...") || self.text.ends_with("…".as_bytes());
        let has_time = self.stamp != Stamp::default();
        let has_none = record.stamp == Stamp::default();
        let is_same = record.stamp == self.stamp && record.stamp.boot_time_ns.is_some();
        !is_cut && has_time && (has_none || is_same && !is_piece(record))
    }

    /// Appends a piece, up to [`MAX_LINE`].
    pub(super) fn joined(mut self, record: &Record<'_>) -> Self {
        if record.part == Part::Line && self.is_broken_by_newline(record) {
            self.text.push(b'\n');
        }
        let room = MAX_LINE.saturating_sub(self.text.len());
        let piece = record.text.get(..room).unwrap_or(&record.text);
        self.text.extend_from_slice(piece);
        self
    }
}

/// Whether the text begins like one of the kernel's own pieces.
fn is_piece(record: &Record<'_>) -> bool {
    PIECES.iter().any(|start| record.text.starts_with(start))
}
