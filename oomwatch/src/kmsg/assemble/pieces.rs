//! Lines that the kernel wrote in pieces, or that a newline in a name broke.

use super::HOLD;
use crate::kmsg::{
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
        let is_piece = PIECES.iter().any(|start| record.text.starts_with(start));
        record.part == Part::Continuation
            || record.sequence.is_none() && (is_piece || self.is_broken_by_newline(record))
    }

    /// In text a newline in a name breaks the line, and what follows has no time.
    fn is_broken_by_newline(&self, record: &Record<'_>) -> bool {
        record.stamp == Stamp::default() && self.stamp != Stamp::default()
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
