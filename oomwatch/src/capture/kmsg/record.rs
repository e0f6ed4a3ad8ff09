//! A record of the kernel log, parsed from the format of `/dev/kmsg` (`Documentation/ABI/testing/dev-kmsg`).

use std::borrow::Cow;

use bstr::ByteSlice as _;
use jiff::{SignedDuration, Timestamp};

use super::number::parse_number;

/// A record: a line, or a piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Sequence number since boot; only in `/dev/kmsg`.
    pub sequence: Option<u64>,
    /// When it was written.
    pub stamp: Stamp,
    /// Whether the kernel or a process wrote it.
    pub origin: RecordOrigin,
    /// Thread or CPU that wrote it (`CONFIG_PRINTK_CALLER`).
    pub caller: Option<Caller>,
    /// Host name, if the log has one.
    pub host: Option<Cow<'a, str>>,
    /// Whether the kernel flags it as a further piece of a line (a `pr_cont` that came too late to be joined).
    pub part: Part,
    /// The text, unescaped.
    pub text: Cow<'a, [u8]>,
}

/// When a record was written, on the clocks of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Nanoseconds since boot, by the kernel's `local_clock`: a resolution of microseconds at best, suspend not counted.
    pub boot_time_ns: Option<u64>,
    /// Wall-clock time, in the resolution of the log's format.
    pub calendar: Option<Timestamp>,
}

impl Stamp {
    /// Time from `earlier` to this stamp; absent if the two have no clock in common.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Option<SignedDuration> {
        if let (Some(now), Some(then)) = (self.boot_time_ns, earlier.boot_time_ns) {
            let nanoseconds = i128::from(now) - i128::from(then);
            return Some(SignedDuration::from_nanos(
                i64::try_from(nanoseconds).unwrap_or(if nanoseconds < 0 {
                    i64::MIN
                } else {
                    i64::MAX
                }),
            ));
        }
        Some(self.calendar?.duration_since(earlier.calendar?))
    }

    /// The time as a number, for ids: nanoseconds since boot, else since 1970; absent without a time.
    #[must_use]
    pub fn key(&self) -> Option<u64> {
        let since_1970 = || u64::try_from(self.calendar?.as_nanosecond()).ok();
        self.boot_time_ns.or_else(since_1970)
    }
}

/// What wrote a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordOrigin {
    /// The kernel: facility 0, which a write to `/dev/kmsg` cannot set.
    Kernel,
    /// A process.
    User,
}

/// What was running when a record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A thread.
    Thread(u32),
    /// An interrupt on a CPU.
    Cpu(u32),
}

impl Caller {
    /// Parses `T123` or `C0`, as printk writes it.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        match text.split_first()? {
            (b'T', digits) => parse_number(digits).map(Self::Thread),
            (b'C', digits) => parse_number(digits).map(Self::Cpu),
            _ => None,
        }
    }
}

/// Which part of a line a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The beginning of a line, and all of it unless a [`Part::Continuation`] follows.
    Line,
    /// A further piece.
    Continuation,
}

/// The bytes are not a record of `/dev/kmsg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse a kernel log record: no valid {0}")]
pub struct RecordError(&'static str);

impl<'a> Record<'a> {
    /// A record of the kernel that has only a text.
    #[must_use]
    pub fn bare(text: &'a [u8]) -> Self {
        Self {
            sequence: None,
            stamp: Stamp::default(),
            origin: RecordOrigin::Kernel,
            caller: None,
            host: None,
            part: Part::Line,
            text: Cow::Borrowed(text),
        }
    }

    /// The record with a copy of its text.
    #[must_use]
    pub fn into_owned(self) -> Record<'static> {
        let Self {
            sequence,
            stamp,
            origin,
            caller,
            host,
            part,
            text,
        } = self;
        Record {
            sequence,
            stamp,
            origin,
            caller,
            host: host.map(|host| Cow::Owned(host.into_owned())),
            part,
            text: Cow::Owned(text.into_owned()),
        }
    }

    /// Parses `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS[,KEY=VALUE...];TEXT\n`. The dictionary in further lines is ignored.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let (prefix, text) = bytes.split_once_str(b";").ok_or(RecordError("semicolon"))?;
        let mut fields = prefix.split(|&byte| byte == b',');
        let mut next = |what| fields.next().ok_or(RecordError(what));
        let priority: u32 = parse_number(next("priority")?).ok_or(RecordError("priority"))?;
        let sequence = parse_number(next("sequence")?).ok_or(RecordError("sequence"))?;
        let boot_time_ns = parse_number::<u64>(next("time")?)
            .and_then(|microseconds| microseconds.checked_mul(1000))
            .ok_or(RecordError("time"))?;
        // `-` for a line, `c` for a piece of one; older kernels write `+` for the pieces after a `c`.
        let flags = next("flags")?;
        let caller = fields.find_map(|field| Caller::parse(field.strip_prefix(b"caller=")?));
        let text = &text[..text.find_byte(b'\n').unwrap_or(text.len())];
        Ok(Self {
            sequence: Some(sequence),
            stamp: Stamp {
                boot_time_ns: Some(boot_time_ns),
                calendar: None,
            },
            origin: origin(priority),
            caller,
            host: None,
            part: if flags.contains(&b'c') || flags.contains(&b'+') {
                Part::Continuation
            } else {
                Part::Line
            },
            text: unescape(text),
        })
    }
}

/// The origin of a record with this syslog priority: the facility is above the three bits of the level.
#[must_use]
pub(crate) fn origin(priority: u32) -> RecordOrigin {
    if priority >> 3 == 0 {
        RecordOrigin::Kernel
    } else {
        RecordOrigin::User
    }
}

/// Decodes `\xNN`, which `/dev/kmsg` writes for `\` and every byte that is not printable ASCII.
fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'\\') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = match rest {
            [b'\\', b'x', high, low, tail @ ..] => hex(*high)
                .zip(hex(*low))
                .map(|(high, low)| (16 * high + low, tail)),
            _ => None,
        };
        let (byte, tail) = escaped.unwrap_or((byte, tail));
        bytes.push(byte);
        rest = tail;
    }
    Cow::Owned(bytes)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_of_dev_kmsg_gives_all_its_fields() {
        let record = Record::parse(
            b"6,339,5140900,-,caller=T123;NET: \\x5cx2d\\xc3\\xa9;b\n SUBSYSTEM=x\n DEVICE=y\n",
        );
        assert_eq!(
            record,
            Ok(Record {
                sequence: Some(339),
                stamp: Stamp {
                    boot_time_ns: Some(5_140_900_000),
                    calendar: None
                },
                origin: RecordOrigin::Kernel,
                caller: Some(Caller::Thread(123)),
                host: None,
                part: Part::Line,
                text: Cow::Borrowed("NET: \\x2dé;b".as_bytes()),
            })
        );
    }

    #[test]
    fn facility_gives_the_origin() {
        for (bytes, expected) in [
            (&b"7,1,1,-;x"[..], RecordOrigin::Kernel),
            (b"8,1,1,-;x", RecordOrigin::User),
            (b"12,1,1,-;x", RecordOrigin::User),
            (b"30,1,1,-;x", RecordOrigin::User),
        ] {
            assert_eq!(
                Record::parse(bytes).map(|record| record.origin),
                Ok(expected)
            );
        }
    }

    #[test]
    fn flags_mark_a_continuation() {
        for (bytes, expected) in [
            (&b"6,1,1,-;x"[..], Part::Line),
            (b"6,1,1,c;x", Part::Continuation),
            (b"6,1,1,+;x", Part::Continuation),
            (b"6,1,1,c,caller=C1;x", Part::Continuation),
        ] {
            assert_eq!(Record::parse(bytes).map(|record| record.part), Ok(expected));
        }
    }

    #[test]
    fn invalid_escapes_are_kept() {
        for (escaped, expected) in [
            (&b"6,1,1,-;a\\x4"[..], &b"a\\x4"[..]),
            (b"6,1,1,-;\\xzz\\", b"\\xzz\\"),
            (b"6,1,1,-;\\\\x41", b"\\A"),
            (b"6,1,1,-;\\xFF\\x0a", b"\xff\n"),
        ] {
            let record = Record::parse(escaped).expect("record");
            assert_eq!(&*record.text, expected);
        }
    }

    #[test]
    fn error_names_the_invalid_field() {
        for (bytes, field) in [
            (&b""[..], "semicolon"),
            (b"6,1,1,-", "semicolon"),
            (b";x", "priority"),
            (b"-6,1,1,-;x", "priority"),
            (b"4294967296,1,1,-;x", "priority"),
            (b"6;x", "sequence"),
            (b"6,;x", "sequence"),
            (b"6,1,x,-;x", "time"),
            (b"6,1,18446744073709551615,-;x", "time"),
            (b"6,1,1;x", "flags"),
        ] {
            assert_eq!(Record::parse(bytes), Err(RecordError(field)), "{bytes:?}");
        }
    }
}
