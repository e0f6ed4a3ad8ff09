//! Parses the times at the start of the lines of saved logs.

use bstr::ByteSlice as _;
use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time},
    tz::Offset,
};

use crate::capture::kmsg::{number::parse_number, record::Stamp};

/// Completes times without zone or year.
#[derive(Debug)]
pub(super) struct Calendar {
    offset: Offset,
    latest: Timestamp,
    /// Whether `offset` was needed.
    pub(super) has_assumed_zone: bool,
}

const MONTHS: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
const WEEKDAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];

impl Calendar {
    pub(super) fn new(offset: Offset, latest: Timestamp) -> Self {
        Self {
            offset,
            latest,
            has_assumed_zone: false,
        }
    }

    /// Splits off a time of dmesg in brackets: since boot, wall-clock, or (`dmesg -H`, `-e` and a bare difference) none.
    pub(super) fn bracketed<'a>(&mut self, text: &'a [u8]) -> Option<(Stamp, &'a [u8])> {
        let inner = text.strip_prefix(b"[")?;
        let end = inner.iter().take(64).position(|&byte| byte == b']')?;
        let stamp = self.stamp(inner[..end].trim_ascii())?;
        let text = &inner[end + 1..];
        Some((stamp, text.strip_prefix(b" ").unwrap_or(text)))
    }

    fn stamp(&mut self, text: &[u8]) -> Option<Stamp> {
        let boot_time_ns = |text| Stamp {
            boot_time_ns: Some(text),
            calendar: None,
        };
        if let Some(nanoseconds) = seconds(text) {
            return Some(boot_time_ns(nanoseconds));
        }
        // `dmesg -d` adds the difference to the line before.
        if let Some((time, _)) = text.split_once_str(b" <").filter(|_| text.ends_with(b">")) {
            return seconds(time).map(boot_time_ns);
        }
        if let Some(difference) = text.strip_prefix(b"+") {
            return seconds(difference).map(|_| Stamp::default());
        }
        if let [
            m1,
            m2,
            m3,
            d1,
            d2,
            b' ',
            b'0'..=b'9',
            b'0'..=b'9',
            b':',
            b'0'..=b'9',
            b'0'..=b'9',
        ] = text
        {
            return (month(&[*m1, *m2, *m3]).is_some()
                && parse_number::<u8>(&[*d1, *d2]).is_some())
            .then(Stamp::default);
        }
        self.ctime(text).map(|calendar| Stamp {
            boot_time_ns: None,
            calendar: Some(calendar),
        })
    }

    /// Parses `Mon Nov 23 18:54:33 2026`.
    fn ctime(&mut self, text: &[u8]) -> Option<Timestamp> {
        let mut words = words(text);
        weekday(words.next()?)?;
        let month = month(words.next()?)?;
        let day = parse_number(words.next()?)?;
        let time = clock(words.next()?)?;
        let year = parse_number(words.next()?)?;
        let date = Date::new(year, month, day).ok()?;
        words
            .next()
            .is_none()
            .then(|| self.zoneless(date.to_datetime(time)))?
    }

    /// Splits off a time of syslog or the systemd journal and the space after it.
    pub(super) fn syslog_time<'a>(&mut self, text: &'a [u8]) -> Option<(Timestamp, &'a [u8])> {
        let (first, rest) = text.split_once_str(b" ")?;
        if let Some(time) = self.iso(first).or_else(|| unix(first)) {
            return Some((time, rest));
        }
        if weekday(first).is_some() {
            // short-full: `Mon 2026-11-23 18:54:33 UTC`
            let (date, rest) = rest.split_once_str(b" ")?;
            let (time, rest) = rest.split_once_str(b" ")?;
            let (zone, rest) = rest.split_once_str(b" ")?;
            let time = date_of(date)?.to_datetime(clock(time)?);
            return Some((self.with_zone(time, zone)?, rest));
        }
        let month = month(first)?;
        // The day is padded to two places.
        let (day, rest) = rest
            .strip_prefix(b" ")
            .unwrap_or(rest)
            .split_once_str(b" ")?;
        let (time, rest) = rest.split_once_str(b" ")?;
        Some((
            self.yearless(month, parse_number(day)?, clock(time)?)?,
            rest,
        ))
    }

    /// Parses `2026-11-23T18:54:33[.fraction|,fraction]ZONE`.
    fn iso(&mut self, text: &[u8]) -> Option<Timestamp> {
        let (date, time) = text.split_once_str(b"T")?;
        let end = time
            .find_not_byteset(b"0123456789:.,")
            .unwrap_or(time.len());
        let (time, zone) = time.split_at(end);
        self.with_zone(date_of(date)?.to_datetime(clock(time)?), zone)
    }

    fn with_zone(&mut self, time: DateTime, zone: &[u8]) -> Option<Timestamp> {
        match parse_offset(zone) {
            Some(offset) => offset.to_timestamp(time).ok(),
            None => self.zoneless(time),
        }
    }

    fn zoneless(&mut self, time: DateTime) -> Option<Timestamp> {
        let time = self.offset.to_timestamp(time).ok()?;
        self.has_assumed_zone = true;
        Some(time)
    }

    fn yearless(&mut self, month: i8, day: i8, time: Time) -> Option<Timestamp> {
        let latest = self.offset.to_datetime(self.latest);
        // Two leap years are at most eight years apart.
        let time = (0..=8)
            .filter_map(|back| Date::new(latest.year() - back, month, day).ok())
            .map(|date| date.to_datetime(time))
            .find(|time| *time <= latest)?;
        self.zoneless(time)
    }
}

/// Whether a line begins with the ISO format of dmesg, the only one with a comma in its seconds.
pub(super) fn is_dmesg_iso(text: &[u8]) -> bool {
    text.get(19) == Some(&b',')
}

/// Parses `3507.827545`, not negative, to nanoseconds.
fn seconds(text: &[u8]) -> Option<u64> {
    let (seconds, fraction) = text.split_once_str(b".")?;
    parse_number::<u64>(seconds)?
        .checked_mul(1_000_000_000)?
        .checked_add(u64::from(nanoseconds(fraction)?))
}

/// Parses `1795460073.827545`. At least ten digits are required, so that smaller numbers are not taken for times.
fn unix(text: &[u8]) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once_str(b".")?;
    let fraction = i32::try_from(nanoseconds(fraction)?).ok()?;
    (seconds.len() >= 10).then(|| Timestamp::new(parse_number(seconds)?, fraction).ok())?
}

/// Parses the digits after a decimal point to nanoseconds; digits after the ninth are ignored.
fn nanoseconds(fraction: &[u8]) -> Option<u32> {
    let digits = fraction.get(..9).unwrap_or(fraction);
    let places = u32::try_from(9 - digits.len()).ok()?;
    parse_number::<u64>(fraction.get(..18).unwrap_or(fraction))?;
    Some(parse_number::<u32>(digits)? * 10_u32.pow(places))
}

/// Parses `18:54:33`, with or without a fraction.
fn clock(text: &[u8]) -> Option<Time> {
    let (time, fraction) = match text.find_byteset(b".,") {
        Some(point) => (&text[..point], nanoseconds(&text[point + 1..])?),
        None => (text, 0),
    };
    let mut parts = time.split(|&byte| byte == b':');
    let hour = parse_number(parts.next()?)?;
    let minute = parse_number(parts.next()?)?;
    // A timestamp cannot represent a leap second.
    let second = parse_number::<i8>(parts.next()?)?;
    let second = if second == 60 { 59 } else { second };
    let fraction = i32::try_from(fraction).ok()?;
    parts
        .next()
        .is_none()
        .then(|| Time::new(hour, minute, second, fraction).ok())?
}

/// Parses `2026-11-23`.
fn date_of(text: &[u8]) -> Option<Date> {
    let mut parts = text.split(|&byte| byte == b'-');
    let year = parse_number(parts.next()?)?;
    let month = parse_number(parts.next()?)?;
    let day = parse_number(parts.next()?)?;
    parts
        .next()
        .is_none()
        .then(|| Date::new(year, month, day).ok())?
}

/// Parses an offset from UTC: `Z`, `UTC`, `GMT`, `+0200` or `+02:00`. Other names of zones are ambiguous and not accepted.
#[must_use]
pub fn parse_offset(zone: &[u8]) -> Option<Offset> {
    if matches!(zone, b"Z" | b"UTC" | b"GMT") {
        return Some(Offset::UTC);
    }
    let (sign, digits) = match zone.split_first()? {
        (b'+', digits) => (1, digits),
        (b'-', digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits {
        [h1, h2, b':', m1, m2] | [h1, h2, m1, m2] => ([*h1, *h2], [*m1, *m2]),
        _ => return None,
    };
    let seconds = 3600 * parse_number::<i32>(&hours)? + 60 * parse_number::<i32>(&minutes)?;
    Offset::from_seconds(sign * seconds).ok()
}

fn month(text: &[u8]) -> Option<i8> {
    let index = MONTHS.iter().position(|month| *month == text)?;
    i8::try_from(index + 1).ok()
}

fn weekday(text: &[u8]) -> Option<()> {
    WEEKDAYS.contains(&text).then_some(())
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b' ')
        .filter(|word| !word.is_empty())
}
