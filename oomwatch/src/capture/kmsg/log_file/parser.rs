//! Parses one line of a saved log into a record.

use std::borrow::Cow;

use bstr::ByteSlice as _;
use jiff::{Timestamp, tz::Offset};

use super::{
    anchor::{self, words},
    prefix::{Prefix, PrefixReader, StatedOrigin},
    time::Calendar,
};
use crate::capture::kmsg::{
    line::{self, Line},
    record::{Record, RecordOrigin},
};

/// Parses lines of saved logs.
#[derive(Debug)]
pub struct LogFileParser {
    calendar: Calendar,
}

impl LogFileParser {
    /// `offset` applies to times without a zone. A time without a year is taken as the last such time up to `latest`.
    #[must_use]
    pub fn new(offset: Offset, latest: Timestamp) -> Self {
        Self {
            calendar: Calendar::new(offset, latest),
        }
    }

    /// Whether any time so far had no zone.
    #[must_use]
    pub fn has_assumed_zone(&self) -> bool {
        self.calendar.has_assumed_zone
    }

    /// Whether the year of any time so far was neither in the line nor in another one of its day.
    #[must_use]
    pub fn has_assumed_year(&self) -> bool {
        self.calendar.has_assumed_year
    }

    /// Takes the year of this line's dates for times of the same day that have none.
    pub(super) fn learn_year(&mut self, line: &[u8]) {
        self.calendar.learn_year(line);
    }

    /// Parses a line.
    pub fn parse<'a>(&mut self, line: &'a [u8]) -> Record<'a> {
        self.parse_line(line).0
    }

    /// Parses a line. Also whether it begins as a log's line does, with a time, a tag or a priority.
    pub(super) fn parse_line<'a>(&mut self, line: &'a [u8]) -> (Record<'a>, bool) {
        if line.first().is_some_and(u8::is_ascii_digit)
            && let Ok(record) = Record::parse(line)
        {
            return (record, true);
        }
        let line = line.trim_end_with(|character| character == '\r');
        let anchor = anchor::find(line);
        let end = anchor.unwrap_or(line.len());
        let prefix = PrefixReader::read(&mut self.calendar, line, end);
        let text = message(line, end, &prefix);
        let Prefix {
            stamp,
            host,
            caller,
            origin,
            is_log_line,
            ..
        } = prefix;
        let record = Record {
            stamp,
            caller,
            host: host.map(Cow::Borrowed),
            origin: match origin {
                StatedOrigin::Kernel | StatedOrigin::Unstated => RecordOrigin::Kernel,
                StatedOrigin::Program => RecordOrigin::User,
            },
            ..Record::bare(text)
        };
        (record, is_log_line)
    }
}

/// Whether a line begins as a log's line does.
pub(super) fn has_prefix(line: &[u8]) -> bool {
    let mut calendar = Calendar::new(Offset::UTC, Timestamp::MAX);
    PrefixReader::read(&mut calendar, line, line.len()).is_log_line || Record::parse(line).is_ok()
}

/// The kernel's text in a line: all that is behind the prefix, or what is behind marks that no log writes (`> `, `12. `).
fn message<'a>(line: &'a [u8], end: usize, prefix: &Prefix<'a>) -> &'a [u8] {
    let text = prefix.text;
    let unnamed = without_name(text);
    // Kernels of phones write the CPU and the thread behind the time: `.(3)[42:a b]`.
    let is_of_phone = [&b"["[..], b".(", b"-("]
        .iter()
        .any(|start| text.starts_with(start));
    if (!prefix.is_log_line || is_of_phone) && is_invoked(unnamed) {
        return unnamed;
    }
    let trimmed = text.trim_start_with(|character| character == ' ');
    if line::parse(trimmed).is_some() {
        return trimmed;
    }
    let anchored = line.get(end..).filter(|anchored| !anchored.is_empty());
    let before = anchored.and_then(|anchored| text.strip_suffix(anchored));
    let is_marks = before.is_some_and(|before| is_marks(before, prefix.is_log_line));
    let behind_marks = without_marks(text);
    if is_marks && !anchored.is_some_and(|text| text.starts_with(b" ")) {
        anchored.unwrap_or(text)
    } else if line::parse(behind_marks).is_some() {
        behind_marks
    } else {
        text
    }
}

/// The text without marks, and without a name with a colon, as several programs put before each line.
fn without_name(text: &[u8]) -> &[u8] {
    let text = without_marks(text);
    let (first, rest) = text.split_once_str(" ").unwrap_or((text, b""));
    if first.ends_with(b":") { rest } else { text }
}

/// Whether a text is the line with the trigger, with a name.
fn is_invoked(text: &[u8]) -> bool {
    matches!(line::parse(text), Some(Line::Invoked { comm, .. }) if !comm.is_empty())
}

/// Whether the text before a message is only marks: no word, or in a line without a time one that ends with a colon.
fn is_marks(text: &[u8], is_log_line: bool) -> bool {
    let text = without_marks(text);
    let is_name = |text: &[u8]| {
        let mut words = words(text);
        let first = words.next().unwrap_or_default();
        let second = words.next().unwrap_or_default();
        let is_named = first.ends_with(b":") || matches!(second, b"|" | b"#");
        is_named && without_marks(second).is_empty() && words.next().is_none()
    };
    text.is_empty() || !is_log_line && is_name(text)
}

/// The text without marks, numbers and text in brackets at its start.
fn without_marks(text: &[u8]) -> &[u8] {
    let mut rest = text;
    loop {
        let before = rest;
        rest = rest.trim_start_with(|character| {
            matches!(
                character,
                ' ' | '\t' | '.' | '-' | '*' | '|' | '>' | '#' | '`' | '+' | '•' | '»' | '│' | ':'
            )
        });
        let closing = match rest.first() {
            Some(b'[') => b']',
            Some(b'(') => b')',
            _ => 0,
        };
        if let Some(end) = rest.iter().take(64).position(|&byte| byte == closing) {
            rest = &rest[end + 1..];
        }
        let digits = rest.find_not_byteset(b"0123456789").unwrap_or(rest.len());
        if matches!(
            rest.get(digits),
            None | Some(b'.' | b':' | b')' | b' ' | b'|' | b'\t')
        ) {
            rest = &rest[digits..];
        }
        if rest == before {
            return rest;
        }
    }
}

#[cfg(test)]
mod tests;
