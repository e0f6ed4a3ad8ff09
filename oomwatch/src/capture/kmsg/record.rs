//! One record of the kernel log, and its form in `/dev/kmsg` (`Documentation/ABI/testing/dev-kmsg`).

use std::borrow::Cow;

use bstr::ByteSlice as _;
use jiff::{SignedDuration, Timestamp};

/// A record: a line of the kernel's or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its number since boot; `/dev/kmsg` alone has it.
    pub sequence: Option<u64>,
    /// When it was written.
    pub stamp: Stamp,
    /// Who wrote it.
    pub origin: Origin,
    /// What the kernel was running when it wrote (`CONFIG_PRINTK_CALLER`).
    pub caller: Option<Caller>,
    /// Name of the machine, where the log has it.
    pub host: Option<&'a str>,
    /// Whether the kernel says that this is a further piece of a line (`pr_cont` that came too late to be joined).
    pub part: Part,
    /// What was written, nothing escaped.
    pub text: Cow<'a, [u8]>,
}

/// When a record was written, by the clocks that the log has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Nanoseconds since boot. The kernel's `local_clock`: microseconds at best, and not counting suspend.
    pub boot_time_ns: Option<u64>,
    /// The calendar's time, at most as exact as the log's format.
    pub calendar: Option<Timestamp>,
}

impl Stamp {
    /// How much later than `earlier` this was; absent if the two have no clock in common.
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

    /// A number that stands for the time in ids: nanoseconds since boot, else since 1970; absent without any time.
    #[must_use]
    pub fn key(&self) -> Option<u64> {
        let since_1970 = || u64::try_from(self.calendar?.as_nanosecond()).ok();
        self.boot_time_ns.or_else(since_1970)
    }
}

/// Who wrote a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The kernel: facility 0, which no write to `/dev/kmsg` can give itself.
    Kernel,
    /// A process.
    User,
}

/// What was running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A thread.
    Thread(u32),
    /// An interrupt on a CPU.
    Cpu(u32),
}

impl Caller {
    /// `T123` or `C0`, as printk writes it.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        match text.split_first()? {
            (b'T', digits) => number(digits).map(Self::Thread),
            (b'C', digits) => number(digits).map(Self::Cpu),
            _ => None,
        }
    }
}

/// Which part of a line a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its beginning; all of it unless a [`Part::Continuation`] follows.
    Line,
    /// A further piece.
    Continuation,
}

/// Bytes that are no record of `/dev/kmsg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kernel log record without {0}")]
pub struct RecordError(&'static str);

impl<'a> Record<'a> {
    /// Text of which nothing else is known.
    #[must_use]
    pub fn bare(text: &'a [u8]) -> Self {
        Self {
            sequence: None,
            stamp: Stamp::default(),
            origin: Origin::Kernel,
            caller: None,
            host: None,
            part: Part::Line,
            text: Cow::Borrowed(text),
        }
    }

    /// Reads `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS[,KEY=VALUE...];TEXT\n`; the dictionary in further lines is left out.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let (prefix, text) = bytes
            .split_once_str(b";")
            .ok_or(RecordError("a semicolon"))?;
        let mut fields = prefix.split(|&byte| byte == b',');
        let mut next = |what| fields.next().ok_or(RecordError(what));
        let priority: u32 = number(next("priority")?).ok_or(RecordError("priority"))?;
        let sequence = number(next("sequence")?).ok_or(RecordError("sequence"))?;
        let boot_time_ns = number::<u64>(next("time")?)
            .and_then(|microseconds| microseconds.checked_mul(1000))
            .ok_or(RecordError("time"))?;
        // `-`, or `c` for a piece of a line; older kernels wrote `+` for what followed a `c`.
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

/// Who writes with a syslog priority: its facility stands above its three bits of level.
#[must_use]
pub(crate) fn origin(priority: u32) -> Origin {
    if priority >> 3 == 0 {
        Origin::Kernel
    } else {
        Origin::User
    }
}

/// Undoes `\xNN`, which `/dev/kmsg` writes for what is not printable ASCII and for `\` itself.
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

/// A number in decimal: digits alone, no sign.
pub(crate) fn number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    text.iter().all(u8::is_ascii_digit).then_some(())?;
    str::from_utf8(text).ok()?.parse().ok()
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
                origin: Origin::Kernel,
                caller: Some(Caller::Thread(123)),
                host: None,
                part: Part::Line,
                text: Cow::Borrowed("NET: \\x2dé;b".as_bytes()),
            })
        );
    }

    #[test]
    fn facility_tells_who_wrote() {
        for (bytes, expected) in [
            (&b"7,1,1,-;x"[..], Origin::Kernel),
            (b"8,1,1,-;x", Origin::User),
            (b"12,1,1,-;x", Origin::User),
            (b"30,1,1,-;x", Origin::User),
        ] {
            assert_eq!(
                Record::parse(bytes).map(|record| record.origin),
                Ok(expected)
            );
        }
    }

    #[test]
    fn piece_of_a_line_is_told_from_its_beginning() {
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
    fn what_is_no_escape_stays() {
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
    fn malformed_records_say_what_they_lack() {
        for (bytes, lack) in [
            (&b""[..], "a semicolon"),
            (b"6,1,1,-", "a semicolon"),
            (b";x", "priority"),
            (b"-6,1,1,-;x", "priority"),
            (b"4294967296,1,1,-;x", "priority"),
            (b"6;x", "sequence"),
            (b"6,;x", "sequence"),
            (b"6,1,x,-;x", "time"),
            (b"6,1,18446744073709551615,-;x", "time"),
            (b"6,1,1;x", "flags"),
        ] {
            assert_eq!(Record::parse(bytes), Err(RecordError(lack)), "{bytes:?}");
        }
    }
}
