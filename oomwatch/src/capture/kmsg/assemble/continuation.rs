//! Lines that the kernel wrote in pieces, or that a newline in a name broke.

use super::HOLD;
use crate::capture::kmsg::{
    MAX_LINE,
    record::{Caller, Part, Record, Stamp},
};

/// How the pieces begin that the kernel writes with `pr_cont`, where the log does not flag them.
const PIECES: &[&[u8]] = &[
    b",",
    b"/",
    b" killed as a result of ",
    b" are going to be killed ",
];

/// A line as far as it has come.
#[derive(Debug)]
pub(super) struct OpenLine {
    pub(super) text: Vec<u8>,
    pub(super) stamp: Stamp,
    pub(super) caller: Option<Caller>,
}

impl OpenLine {
    /// Whether a record is a further piece of this line.
    pub(super) fn goes_on_with(&self, record: &Record<'_>) -> bool {
        let is_late = record
            .stamp
            .since(&self.stamp)
            .is_some_and(|age| age > HOLD);
        if is_late || record.caller != self.caller {
            return false;
        }
        record.part == Part::Continuation
            || record.sequence.is_none() && (is_piece(record) || self.is_broken_by_newline(record))
    }

    /// In text a newline in a name breaks the line, and what follows has no time; from `syslog(2)` it has the very same.
    fn is_broken_by_newline(&self, record: &Record<'_>) -> bool {
        let has_time = self.stamp != Stamp::default();
        let has_none = record.stamp == Stamp::default();
        has_time && (has_none || record.stamp == self.stamp && !is_piece(record))
    }

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

/// Whether it begins as the kernel's own pieces do.
fn is_piece(record: &Record<'_>) -> bool {
    PIECES.iter().any(|start| record.text.starts_with(start))
}
