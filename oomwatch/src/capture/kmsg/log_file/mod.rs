//! One line of a saved log to a record. The format is told from each line by itself, so that a file may hold several:
//!
//! | line | format |
//! |---|---|
//! | `6,2092,3507827524,-;text` | `/dev/kmsg`: the only one that is escaped |
//! | `[ 3507.827524] text` | `dmesg`, also with `<6>` (`-r`) or `kern  :info  : ` (`-x`) before it, `[ T123]` or `[ C0]` behind it |
//! | `[Mon Nov 23 18:54:33 2026] text` | `dmesg -T` |
//! | `2026-11-23T18:54:33,827545+00:00 text` | `dmesg --time-format iso` |
//! | `Nov 23 18:54:33 host kernel: text` | `journalctl -k` and syslog, also `short-precise`, `short-iso`, `short-full`, `short-unix` and RFC 3339 |
//! | `[ 3507.827524] host kernel: text` | `journalctl -k -o short-monotonic` |
//! | `text` | `dmesg -t`: no time at all |
//!
//! Anything is text, if nothing else, and most text says nothing of an OOM kill. Lines that syslog has from another
//! program than the kernel are a user's, whatever they quote. Where a format leaves out the zone or the year, [`Saved`]
//! has been told what to take for it.

mod time;

use bstr::ByteSlice as _;
use jiff::{Timestamp, tz::Offset};

use self::time::Calendar;
pub use self::time::parse_offset;
use super::record::{Caller, Origin, Record, number, origin};

/// `LOG_LOCAL7 | LOG_DEBUG`.
const MAX_PRIORITY: u32 = 23 << 3 | 7;

/// Reads lines of saved logs.
#[derive(Debug)]
pub struct Saved {
    calendar: Calendar,
}

impl Saved {
    /// `offset` is for times without a zone; a time without a year is the last such one up to `latest`.
    #[must_use]
    pub fn new(offset: Offset, latest: Timestamp) -> Self {
        Self {
            calendar: Calendar::new(offset, latest),
        }
    }

    /// Whether a time came without a zone.
    #[must_use]
    pub fn has_assumed_zone(&self) -> bool {
        self.calendar.has_assumed_zone
    }

    /// Reads a line.
    pub fn parse<'a>(&mut self, line: &'a [u8]) -> Record<'a> {
        Record::parse(line).unwrap_or_else(|_| self.text_line(line))
    }

    fn text_line<'a>(&mut self, line: &'a [u8]) -> Record<'a> {
        let mut record = Record::bare(line);
        let mut rest = line;
        if let Some((writer, text)) = priority(rest).or_else(|| decoded_priority(rest)) {
            record.origin = writer;
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
                Some((host, Origin::Kernel, text)) => {
                    record.host = Some(host);
                    rest = text;
                }
                // What another program says of the kernel is not the kernel's word.
                _ => record.origin = Origin::User,
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
            // The kernel's own texts look like `host program:` too.
            if let Some((host, Origin::Kernel, text)) = identifier(rest).filter(|_| !is_syslog) {
                record.host = Some(host);
                rest = text;
            }
        }
        record.text = rest.into();
        record
    }
}

/// `<6>`: who wrote, and what follows.
fn priority(text: &[u8]) -> Option<(Origin, &[u8])> {
    let text = text.strip_prefix(b"<")?;
    let end = text.iter().take(5).position(|&byte| byte == b'>')?;
    let priority = number(&text[..end]).filter(|priority| *priority <= MAX_PRIORITY)?;
    Some((origin(priority), &text[end + 1..]))
}

/// `kern  :info  : `: who wrote, and what follows.
fn decoded_priority(text: &[u8]) -> Option<(Origin, &[u8])> {
    const FACILITIES: &str = "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp \
        local0 local1 local2 local3 local4 local5 local6 local7";
    const LEVELS: &str = "emerg alert crit err warn notice info debug";
    let (facility, text) = padded_word(text, FACILITIES)?;
    let (_, text) = padded_word(text, LEVELS)?;
    let origin = if facility == "kern" {
        Origin::Kernel
    } else {
        Origin::User
    };
    Some((origin, text.strip_prefix(b" ")?))
}

/// One of some words, padded up to a colon.
fn padded_word<'a>(text: &'a [u8], words: &str) -> Option<(&'a str, &'a [u8])> {
    let colon = text.iter().take(16).position(|&byte| byte == b':')?;
    let word = str::from_utf8(&text[..colon]).ok()?.trim_end_matches(' ');
    words
        .split_ascii_whitespace()
        .any(|known| known == word)
        .then_some((word, &text[colon + 1..]))
}

/// `host kernel: ` or `host program[42]: `: the machine, who wrote, and what follows.
///
/// A host's name has no colon, comma or slash. The kernel's lines that begin with what a user chose have one before they
/// could be taken for this.
fn identifier(text: &[u8]) -> Option<(&str, Origin, &[u8])> {
    let (host, text) = text.split_once_str(b" ")?;
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if host.is_empty() || !host.iter().copied().all(is_host) {
        return None;
    }
    let host = str::from_utf8(host).ok()?;
    if let Some(text) = text.strip_prefix(b"kernel:") {
        return Some((
            host,
            Origin::Kernel,
            text.strip_prefix(b" ").unwrap_or(text),
        ));
    }
    let (program, text) = text.split_once_str(b" ")?;
    program
        .ends_with(b":")
        .then_some((host, Origin::User, text))
}

/// `[ T123] ` or `[    C0] `, directly behind the time or a space further.
fn bracketed_caller(text: &[u8]) -> Option<(Caller, &[u8])> {
    let inner = text.strip_prefix(b"[")?;
    let end = inner.iter().take(16).position(|&byte| byte == b']')?;
    let caller = Caller::parse(inner[..end].trim_ascii())?;
    let text = &inner[end + 1..];
    Some((caller, text.strip_prefix(b" ").unwrap_or(text)))
}

#[cfg(test)]
mod tests;
