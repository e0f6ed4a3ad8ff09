//! Parses a line of a saved log into a record. Each line's format is recognised on its own, so a file may mix them:
//!
//! | line | format |
//! |---|---|
//! | `6,2092,3507827524,-;text` | `/dev/kmsg`: the only escaped one |
//! | `[ 3507.827524] text` | `dmesg`, also with `<6>` (`-r`) or `kern  :info  : ` (`-x`) before it, `[ T123]` or `[ C0]` after it |
//! | `[Mon Nov 23 18:54:33 2026] text` | `dmesg -T` |
//! | `2026-11-23T18:54:33,827545+00:00 text` | `dmesg --time-format iso` |
//! | `Nov 23 18:54:33 host kernel: text` | `journalctl -k` and syslog, also `short-precise`, `short-iso`, `short-full`, `short-unix` and RFC 3339 |
//! | `[ 3507.827524] host kernel: text` | `journalctl -k -o short-monotonic` |
//! | `text` | `dmesg -t`: no time |
//!
//! A line in no known format is text of the kernel. A syslog line of another program than the kernel is of
//! [`RecordOrigin::User`], whatever it quotes. For formats without time zone or year, [`LogFileParser::new`] takes
//! defaults.

mod time;

use bstr::ByteSlice as _;
use jiff::{Timestamp, tz::Offset};

use self::time::Calendar;
pub use self::time::parse_offset;
use super::{
    number::parse_number,
    record::{Caller, Record, RecordOrigin, origin},
};

/// `LOG_LOCAL7 | LOG_DEBUG`.
const MAX_PRIORITY: u32 = 23 << 3 | 7;

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

    /// Parses a line.
    pub fn parse<'a>(&mut self, line: &'a [u8]) -> Record<'a> {
        Record::parse(line).unwrap_or_else(|_| self.text_line(line))
    }

    fn text_line<'a>(&mut self, line: &'a [u8]) -> Record<'a> {
        let mut record = Record::bare(line);
        let mut rest = line;
        if let Some((origin, text)) = priority(rest).or_else(|| decoded_priority(rest)) {
            record.origin = origin;
            rest = text;
        }
        let mut is_syslog = false;
        if let Some((stamp, text)) = self.calendar.syslog_time(rest) {
            record.stamp.calendar = Some(stamp);
            is_syslog = !time::is_dmesg_iso(rest);
            rest = text;
        }
        if is_syslog {
            match identifier(rest) {
                Some((host, RecordOrigin::Kernel, text)) => {
                    record.host = Some(host);
                    rest = text;
                }
                // Another program may quote the kernel; its lines are not the kernel's.
                _ => record.origin = RecordOrigin::User,
            }
        }
        if let Some((stamp, text)) = self.calendar.bracketed(rest) {
            record.stamp.boot_time_ns = stamp.boot_time_ns;
            record.stamp.calendar = record.stamp.calendar.or(stamp.calendar);
            rest = text;
            if let Some((caller, text)) = bracketed_caller(rest) {
                record.caller = Some(caller);
                rest = text;
            }
            // Only `host kernel:` is split off here: texts of the kernel look like `host program:` too.
            if let Some((host, RecordOrigin::Kernel, text)) =
                identifier(rest).filter(|_| !is_syslog)
            {
                record.host = Some(host);
                rest = text;
            }
        }
        record.text = rest.into();
        record
    }
}

/// Splits off `<6>`: the origin, and the rest.
fn priority(text: &[u8]) -> Option<(RecordOrigin, &[u8])> {
    let text = text.strip_prefix(b"<")?;
    let end = text.iter().take(5).position(|&byte| byte == b'>')?;
    let priority = parse_number(&text[..end]).filter(|priority| *priority <= MAX_PRIORITY)?;
    Some((origin(priority), &text[end + 1..]))
}

/// Splits off `kern  :info  : `: the origin, and the rest.
fn decoded_priority(text: &[u8]) -> Option<(RecordOrigin, &[u8])> {
    const FACILITIES: &str = "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp \
        local0 local1 local2 local3 local4 local5 local6 local7";
    const LEVELS: &str = "emerg alert crit err warn notice info debug";
    let (facility, text) = padded_word(text, FACILITIES)?;
    let (_, text) = padded_word(text, LEVELS)?;
    let origin = if facility == "kern" {
        RecordOrigin::Kernel
    } else {
        RecordOrigin::User
    };
    Some((origin, text.strip_prefix(b" ")?))
}

/// Splits off one of `words`, padded with spaces up to a colon.
fn padded_word<'a>(text: &'a [u8], words: &str) -> Option<(&'a str, &'a [u8])> {
    let colon = text.iter().take(16).position(|&byte| byte == b':')?;
    let word = str::from_utf8(&text[..colon]).ok()?.trim_end_matches(' ');
    words
        .split_ascii_whitespace()
        .any(|known| known == word)
        .then_some((word, &text[colon + 1..]))
}

/// Splits off `host kernel: ` or `host program[42]: `: the host name, the origin, and the rest.
///
/// A host name has no colon, comma or slash. The kernel's lines that begin with text chosen by a user contain one of these
/// before they could be taken for this format.
fn identifier(text: &[u8]) -> Option<(&str, RecordOrigin, &[u8])> {
    let (host, text) = text.split_once_str(b" ")?;
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if host.is_empty() || !host.iter().copied().all(is_host) {
        return None;
    }
    let host = str::from_utf8(host).ok()?;
    if let Some(text) = text.strip_prefix(b"kernel:") {
        return Some((
            host,
            RecordOrigin::Kernel,
            text.strip_prefix(b" ").unwrap_or(text),
        ));
    }
    let (program, text) = text.split_once_str(b" ")?;
    program
        .ends_with(b":")
        .then_some((host, RecordOrigin::User, text))
}

/// Splits off `[ T123] ` or `[    C0] `, which follows the time with or without a space.
fn bracketed_caller(text: &[u8]) -> Option<(Caller, &[u8])> {
    let inner = text.strip_prefix(b"[")?;
    let end = inner.iter().take(16).position(|&byte| byte == b']')?;
    let caller = Caller::parse(inner[..end].trim_ascii())?;
    let text = &inner[end + 1..];
    Some((caller, text.strip_prefix(b" ").unwrap_or(text)))
}

#[cfg(test)]
mod tests;
