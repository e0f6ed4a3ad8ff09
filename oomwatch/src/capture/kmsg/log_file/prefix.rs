//! Reads what stands before the kernel's text in a line: time, host, caller, and who wrote it, as far as the carrier says.
//!
//! A prefix is read word by word and may have any of them in any order. What is not recognised is passed over, except
//! directly before the kernel's text: there it is part of another text, which quotes the kernel.

use bstr::ByteSlice as _;

use super::{
    anchor::words,
    time::{Calendar, seconds},
};
use crate::capture::kmsg::{
    number::parse_number,
    record::{Caller, Stamp},
};

/// `LOG_LOCAL7 | LOG_DEBUG`.
const MAX_PRIORITY: u32 = 23 << 3 | 7;
/// Longest text in brackets that is a time or a caller.
const MAX_BRACKETS: usize = 64;

const FACILITIES: &str = "user mail daemon auth security syslog lpr news uucp cron authpriv ftp ntp \
    local0 local1 local2 local3 local4 local5 local6 local7";
const LEVELS: &str = "emerg alert crit err error warn warning notice info debug panic";
/// Labels of Loki, and what they give.
const HOST_LABELS: &[&str] = &[
    "host",
    "hostname",
    "node",
    "node_name",
    "nodename",
    "instance",
    "_hostname",
];

/// Who wrote a line, as the carrier states it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum StatedOrigin {
    /// It states nothing.
    #[default]
    Unstated,
    Kernel,
    Program,
}

/// What a prefix says.
#[derive(Debug, Default)]
pub(super) struct Prefix<'a> {
    pub(super) stamp: Stamp,
    pub(super) host: Option<&'a str>,
    pub(super) caller: Option<Caller>,
    pub(super) origin: StatedOrigin,
    /// The text behind all that was recognised, without what is passed over.
    pub(super) text: &'a [u8],
    /// Whether a time in brackets, a tag or a priority came last: the text behind it is a whole message.
    pub(super) is_at_message: bool,
    /// Whether there is a time, or something else that only a log's line begins with.
    pub(super) is_log_line: bool,
}

/// Reads prefixes.
#[expect(
    clippy::struct_excessive_bools,
    reason = "what has been read, each independent of the others"
)]
pub(super) struct PrefixReader<'a, 'c> {
    calendar: &'c mut Calendar,
    rest: &'a [u8],
    found: Prefix<'a>,
    /// A calendar time without brackets has come: a host, a facility and a tag may follow.
    after_time: bool,
    /// A word before any time, such as `10.0.0.2:` of talosctl.
    named: Option<&'a str>,
    /// Words since the time, without facility and level.
    words: usize,
    /// RFC 5424: the next word without a colon is the program.
    is_5424: bool,
    /// The line is a container's output, with a time of its collector.
    is_container: bool,
    has_facility: bool,
}

impl<'a, 'c> PrefixReader<'a, 'c> {
    /// Reads the prefix of a line whose text begins at `end`, or later.
    pub(super) fn read(calendar: &'c mut Calendar, line: &'a [u8], end: usize) -> Prefix<'a> {
        let mut reader = Self {
            calendar,
            rest: line,
            found: Prefix {
                text: line,
                ..Prefix::default()
            },
            after_time: false,
            named: None,
            words: 0,
            is_5424: false,
            is_container: false,
            has_facility: false,
        };
        let end = line.len() - end.min(line.len());
        while reader.rest.len() > end && reader.step(end).is_some() {}
        reader.finish()
    }

    fn finish(self) -> Prefix<'a> {
        let Self {
            mut found,
            named,
            after_time,
            is_container,
            ..
        } = self;
        found.host = found.host.or(named);
        let has_own_time = found.stamp != Stamp::default();
        // What a program prints about the kernel has no time or tag of the kernel's.
        let is_bare = after_time && !found.is_at_message;
        let is_output = is_container && !(has_own_time && found.is_at_message);
        if found.origin == StatedOrigin::Unstated && (is_bare || is_output) {
            found.origin = StatedOrigin::Program;
        }
        found
    }

    /// Reads one element; absent where none can be read.
    fn step(&mut self, end: usize) -> Option<()> {
        let rest = self
            .rest
            .trim_start_with(|character| matches!(character, ' ' | '\t'));
        if rest.len() <= end {
            return None;
        }
        self.rest = rest;
        if let Some((facility, rest)) = priority(rest) {
            self.facility(facility);
            self.message(rest);
            // RFC 5424 has its version behind the priority.
            if let Some(rest) = rest.strip_prefix(b"1 ") {
                self.is_5424 = true;
                self.rest = rest;
            }
            return Some(());
        }
        if rest.starts_with(b"[") {
            return self.brackets(rest);
        }
        if rest.starts_with(b"{") {
            return self.labels(rest);
        }
        if rest
            .first()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte >= 0x80)
            && let Some((time, behind)) = self.calendar.split(rest)
        {
            self.after_time = true;
            self.words = 0;
            self.found.is_log_line = true;
            self.found.is_at_message = rest.get(19) == Some(&b',') && rest.get(10) == Some(&b'T');
            // A date of `dmesg --time-format iso` has a comma and stands alone.
            self.after_time = !self.found.is_at_message;
            self.found.stamp.calendar = Some(time);
            self.advance(behind);
            return Some(());
        }
        self.word(rest, end)
    }

    /// Continues behind a recognised element.
    fn advance(&mut self, rest: &'a [u8]) {
        let text = rest.strip_prefix(b" ").unwrap_or(rest);
        // RFC 5424 has a byte order mark before the message.
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        self.rest = text;
        self.found.text = text;
    }

    /// Continues at a whole message.
    fn message(&mut self, rest: &'a [u8]) {
        self.advance(rest);
        self.found.is_at_message = true;
        self.found.is_log_line = true;
    }

    fn facility(&mut self, is_kernel: bool) {
        self.has_facility = true;
        let stated = if is_kernel {
            StatedOrigin::Kernel
        } else {
            StatedOrigin::Program
        };
        self.state(stated);
    }

    /// A program is a program whatever else is stated.
    fn state(&mut self, origin: StatedOrigin) {
        if self.found.origin != StatedOrigin::Program {
            self.found.origin = origin;
        }
    }

    /// `[ 3507.827545]`, `[Mon Nov 23 18:54:33 2026]`, `[ T123]`, or anything else in brackets.
    fn brackets(&mut self, text: &'a [u8]) -> Option<()> {
        let end = text
            .iter()
            .take(MAX_BRACKETS)
            .position(|&byte| byte == b']')?;
        let (inner, behind) = (text[1..end].trim_ascii(), &text[end + 1..]);
        // talosctl writes a colon behind the time.
        let behind = behind.strip_prefix(b":").unwrap_or(behind);
        if let Some(caller) = Caller::parse(inner) {
            self.found.caller = Some(caller);
            self.advance(behind);
            return Some(());
        }
        if let Some(stamp) = self.bracketed_time(inner) {
            self.found.stamp.boot_time_ns = stamp.boot_time_ns.or(self.found.stamp.boot_time_ns);
            if let Some(calendar) = stamp.calendar {
                self.found.stamp.calendar = Some(calendar);
            }
            self.message(behind);
            // `journalctl -o short-monotonic` has the host behind the time.
            if let Some((host, text)) = monotonic_host(self.found.text) {
                self.found.host = Some(host);
                self.state(StatedOrigin::Kernel);
                self.message(text);
            }
            return Some(());
        }
        self.rest = behind;
        Some(())
    }

    fn bracketed_time(&mut self, text: &[u8]) -> Option<Stamp> {
        let boot = |boot_time_ns| Stamp {
            boot_time_ns: Some(boot_time_ns),
            calendar: None,
        };
        // `dmesg -d` adds the difference to the line before, other programs a thread or a CPU.
        let first = words(text).next()?;
        if let Some(nanoseconds) = seconds(first.strip_suffix(b",").unwrap_or(first)) {
            return Some(boot(nanoseconds));
        }
        if let Some(difference) = first.strip_prefix(b"+") {
            return seconds(difference).map(|_| Stamp::default());
        }
        if let Some((calendar, behind)) = self.calendar.split(text) {
            return behind.trim_ascii().is_empty().then_some(Stamp {
                boot_time_ns: None,
                calendar: Some(calendar),
            });
        }
        // `dmesg -H`: `Nov23 18:54`.
        let (date, clock) = text.split_once_str(b" ")?;
        let digits = date.find_byteset(b"0123456789")?;
        let is_clock = clock.len() == 5 && clock[2] == b':';
        let is_date = parse_number::<u8>(&date[digits..]).is_some();
        (is_clock && is_date && digits >= 3).then(Stamp::default)
    }

    /// `{host="node-1", job="kernel"}` of Loki.
    fn labels(&mut self, text: &'a [u8]) -> Option<()> {
        let end = text.find_byte(b'}')?;
        for label in text[1..end].split_str(",") {
            let Some((name, value)) = label.split_once_str("=") else {
                continue;
            };
            let name = name.trim_ascii().to_str().unwrap_or_default();
            let value = value.trim_ascii().trim_with(|character| character == '"');
            match name {
                "transport" | "_transport" | "syslog_identifier" | "identifier"
                    if value == b"kernel" =>
                {
                    self.state(StatedOrigin::Kernel);
                }
                "transport" | "_transport" | "syslog_identifier" | "identifier" => {
                    self.state(StatedOrigin::Program);
                }
                name if HOST_LABELS.contains(&name) => {
                    self.found.host = self.found.host.or(value.to_str().ok());
                }
                _ => {}
            }
        }
        self.after_time = false;
        self.found.is_log_line = true;
        self.advance(&text[end + 1..]);
        self.found.is_at_message = self.found.origin == StatedOrigin::Kernel;
        Some(())
    }

    fn word(&mut self, text: &'a [u8], end: usize) -> Option<()> {
        let length = text.find_byteset(b" \t").unwrap_or(text.len());
        let (word, behind) = text.split_at(length);
        // A file's name or a line's number, as grep writes them: `messages:Nov 23`, `12:[ 3507.827545]`.
        if !self.found.is_log_line
            && let Some(colon) = word.find_byte(b':').filter(|colon| colon + 1 < word.len())
            && !word.starts_with(b"\"")
        {
            self.rest = &text[colon + 1..];
            return Some(());
        }
        // What is left may be the beginning of the message itself.
        if behind.len() < end {
            return None;
        }
        if is_klog(word) || is_logfmt(word) {
            self.state(StatedOrigin::Program);
        }
        let colon = word.ends_with(b":");
        let name = word.trim_with(|character| character == ':');
        let name = name.to_str().ok().unwrap_or_default();
        let is_one_of = |words: &str| words.split_ascii_whitespace().any(|known| known == name);
        if let Some((facility, level)) = name.split_once('.')
            && contains(LEVELS, level)
            && (facility == "kern" || contains(FACILITIES, facility))
        {
            self.facility(facility == "kern");
            self.rest = behind;
            return Some(());
        }
        if matches!(name, "stdout" | "stderr") && self.after_time {
            let flag = words(behind).next().unwrap_or_default();
            if flag.starts_with(b"F") || flag.starts_with(b"P") {
                // A container's output: what follows is a line of its own.
                self.is_container = true;
                self.after_time = false;
                self.found.stamp = Stamp::default();
                self.advance(
                    behind
                        .trim_ascii_start()
                        .get(flag.len()..)
                        .unwrap_or_default(),
                );
                return Some(());
            }
        }
        let is_kernel = name == "kernel" || name.starts_with("kernel[");
        if is_kernel && (colon || self.after_time || self.is_5424) {
            self.kernel_tag(behind);
            return Some(());
        }
        if self.found.is_at_message && !self.has_facility {
            return None;
        }
        if name == "kern" && (colon || behind.trim_ascii_start().starts_with(b":")) {
            self.facility(true);
            self.message(behind);
            return Some(());
        }
        let is_column =
            colon || behind.trim_ascii_start().starts_with(b":") || word.starts_with(b":");
        if is_column && is_one_of(FACILITIES) {
            self.facility(false);
            self.rest = behind;
            return Some(());
        }
        if is_column && (name.is_empty() || is_one_of(LEVELS)) {
            let is_message = self.has_facility;
            self.advance(behind);
            self.found.is_at_message |= is_message;
            return Some(());
        }
        if self.found.is_at_message {
            return None;
        }
        // `app 42 - - ` of RFC 5424, and `app  : ` of Android.
        let is_5424 = self.words >= 2 && word == b"-" && behind.starts_with(b" -");
        let is_android = name.len() > 1 && !colon && is_column && word.len() > 1;
        if self.after_time && (is_5424 || is_android && self.words >= 2) {
            self.state(StatedOrigin::Program);
        }
        // Consoles of virtual machines name the machine's output.
        if self.after_time && colon && !word.starts_with(b":") && name != "Guest" {
            // A syslog line of another program than the kernel.
            self.state(StatedOrigin::Program);
            self.message(behind);
            return Some(());
        }
        if self.after_time && self.words == 0 && is_host(name) {
            self.found.host = Some(name);
            self.advance(behind);
        } else if self.is_5424 && self.words == 1 {
            self.state(StatedOrigin::Program);
        } else if colon
            && is_host(name)
            && !self.found.is_log_line
            && name.contains(char::is_alphanumeric)
        {
            let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
            self.named = self.named.or((!is_number).then_some(name));
        }
        self.words += 1;
        self.rest = behind;
        Some(())
    }

    /// `kernel:`, or `kernel - - -` of RFC 5424.
    fn kernel_tag(&mut self, behind: &'a [u8]) {
        if self.words == 0 && !self.after_time {
            self.named = None;
        }
        if !(self.is_container && self.found.stamp == Stamp::default()) {
            self.state(StatedOrigin::Kernel);
        }
        let mut rest = behind;
        let dash = |text: &'a [u8]| {
            text.strip_prefix(b" -")
                .filter(|text| matches!(text, [] | [b' ', ..]))
        };
        while let Some(behind) = dash(rest) {
            rest = behind;
        }
        self.message(rest);
    }
}

fn contains(words: &str, word: &str) -> bool {
    words.split_ascii_whitespace().any(|known| known == word)
}

/// Splits off `<6>`: whether the facility is the kernel's, and the rest.
fn priority(text: &[u8]) -> Option<(bool, &[u8])> {
    let inner = text.strip_prefix(b"<")?;
    let end = inner.iter().take(5).position(|&byte| byte == b'>')?;
    let priority =
        parse_number::<u32>(&inner[..end]).filter(|priority| *priority <= MAX_PRIORITY)?;
    Some((priority >> 3 == 0, &inner[end + 1..]))
}

/// Splits off `host kernel: `.
fn monotonic_host(text: &[u8]) -> Option<(&str, &[u8])> {
    let (host, text) = text.split_once_str(b" ")?;
    let host = host.to_str().ok().filter(|host| is_host(host))?;
    let text = text.strip_prefix(b"kernel:")?;
    Some((host, text.strip_prefix(b" ").unwrap_or(text)))
}

/// A host name has no colon, comma or slash. The kernel's lines that begin with text chosen by a user contain one of these
/// before they could be taken for this format.
fn is_host(text: &str) -> bool {
    let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    text.bytes().all(is_of_host)
        && text.contains(|character: char| character.is_ascii_alphanumeric())
}

/// `I1123`, `E1123`: the first word of a line of Kubernetes's components.
fn is_klog(word: &[u8]) -> bool {
    matches!(word, [b'I' | b'W' | b'E' | b'F', digits @ ..] if digits.len() == 4 && digits.iter().all(u8::is_ascii_digit))
}

/// `level=info`, `msg="…`: a line of a program that logs fields.
fn is_logfmt(word: &[u8]) -> bool {
    word.split_once_str("=").is_some_and(|(name, value)| {
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.".contains(byte);
        !name.is_empty() && name.iter().all(is_name) && !value.is_empty()
    })
}
