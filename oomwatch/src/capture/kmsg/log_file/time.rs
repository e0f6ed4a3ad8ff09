//! Parses the times in the prefixes of saved log lines, in any language.
//!
//! A calendar time is recognised by its clock, `18:54:33`, and by what stands around it: a date in digits, or a day and the
//! name of a month, with or without weekday, year and zone.

use bstr::ByteSlice as _;
use jiff::{
    Timestamp,
    civil::{Date, Time},
    tz::Offset,
};

use crate::capture::kmsg::{log_file::months, number::parse_number};

/// Words before the clock, at most: `Mon`, `23`, `Nov`, `2026`.
const MAX_DATE_WORDS: usize = 4;

/// Completes times without zone or year.
#[derive(Debug)]
pub(super) struct Calendar {
    offset: Offset,
    latest: Timestamp,
    /// A date with its year that another line has.
    known: Option<Date>,
    /// How that line begins, so that each day is looked for once.
    known_for: Vec<u8>,
    /// Whether `offset` was needed.
    pub(super) has_assumed_zone: bool,
    /// Whether `latest` was needed.
    pub(super) has_assumed_year: bool,
}

impl Calendar {
    pub(super) fn new(offset: Offset, latest: Timestamp) -> Self {
        Self {
            offset,
            latest,
            known: None,
            known_for: Vec::new(),
            has_assumed_zone: false,
            has_assumed_year: false,
        }
    }

    /// Remembers a date like `2018-12-11` in a line that begins with a month: it gives the year of times of this day that
    /// have none.
    pub(super) fn learn_year(&mut self, line: &[u8]) {
        if !line.first().is_some_and(u8::is_ascii_alphabetic)
            || self.known_for == line.get(..6).unwrap_or_default()
        {
            return;
        }
        let dates = line
            .find_iter(b"20")
            .filter_map(|at| date_of(line.get(at..at + 10)?));
        if let Some(date) = dates.last() {
            self.known = Some(date);
            line[..6].clone_into(&mut self.known_for);
        }
    }

    /// Splits off a calendar time at the start of the text.
    pub(super) fn split<'a>(&mut self, text: &'a [u8]) -> Option<(Timestamp, &'a [u8])> {
        let (first, rest) = word(text)?;
        if let Some((date, clock_and_zone)) = first.split_once_str(b"T")
            && let Some(date) = date_of(date)
        {
            let (time, zone) = clock_with_zone(clock_and_zone)?;
            return Some((self.timestamp(date, time, zone)?, rest));
        }
        if let Some(time) = unix(first) {
            return Some((time, rest));
        }
        let mut date = DateWords::default();
        let mut rest = text;
        for _ in 0..=MAX_DATE_WORDS {
            let (word, behind) = word(rest)?;
            rest = behind;
            if let Some((time, zone)) = clock_with_zone(word) {
                return self.after_clock(date, time, zone, rest);
            }
            date.add(word)?;
        }
        None
    }

    /// Takes the year and the zone that may follow the clock.
    fn after_clock<'a>(
        &mut self,
        mut date: DateWords,
        time: Time,
        zone: &'a [u8],
        text: &'a [u8],
    ) -> Option<(Timestamp, &'a [u8])> {
        let (mut zone, mut rest) = (zone, text);
        // `2026`, `2026 CET`, `CET 2026`, or after a full date `CET`.
        for _ in 0..2 {
            let Some((word, behind)) = word(rest) else {
                break;
            };
            let is_year = !date.is_complete() && date.add_year(word).is_some();
            let is_zone = !is_year
                && zone.is_empty()
                && (parse_offset(word).is_some() || date.has_weekday && is_zone_name(word));
            if is_zone {
                zone = word;
            } else if !is_year {
                break;
            }
            rest = behind;
        }
        if let Some(full) = date.full {
            return Some((self.timestamp(full, time, zone)?, rest));
        }
        let (month, day) = (date.month?, date.day?);
        let date = match date.year {
            Some(year) => Date::new(year, month, day).ok()?,
            None => self.yearless(month, day, time)?,
        };
        Some((self.timestamp(date, time, zone)?, rest))
    }

    fn timestamp(&mut self, date: Date, time: Time, zone: &[u8]) -> Option<Timestamp> {
        let time = date.to_datetime(time);
        if let Some(offset) = parse_offset(zone) {
            return offset.to_timestamp(time).ok();
        }
        let time = self.offset.to_timestamp(time).ok()?;
        self.has_assumed_zone = true;
        Some(time)
    }

    fn yearless(&mut self, month: i8, day: i8, time: Time) -> Option<Date> {
        if let Some(known) = self.known
            && (known.month(), known.day()) == (month, day)
        {
            return Some(known);
        }
        self.has_assumed_year = true;
        let latest = self.offset.to_datetime(self.latest);
        // Two leap years are at most eight years apart.
        (0..=8)
            .filter_map(|back| Date::new(latest.year() - back, month, day).ok())
            .find(|date| date.to_datetime(time) <= latest)
    }
}

/// The words before a clock.
#[derive(Debug, Default)]
struct DateWords {
    full: Option<Date>,
    year: Option<i16>,
    month: Option<i8>,
    day: Option<i8>,
    has_weekday: bool,
}

impl DateWords {
    /// Adds a word; absent if it is of no date.
    fn add(&mut self, word: &[u8]) -> Option<()> {
        if let Some(date) = date_of(word) {
            return self.full.is_none().then(|| self.full = Some(date));
        }
        if let Some(month) = months::month(word) {
            // A weekday may look like a month: French `mar.` is Tuesday.
            let is_second = self.month.replace(month).is_some();
            let is_possible = !(is_second && self.has_weekday);
            self.has_weekday |= is_second;
            return is_possible.then_some(());
        }
        if let Some(day) = months::day(word).filter(|_| self.day.is_none()) {
            self.day = Some(day);
            return Some(());
        }
        if self.year.is_none() && self.add_year(word).is_some() {
            return Some(());
        }
        // In Android's logs the date is `05-17`.
        if let Some((month, day)) = word.split_once_str(b"-")
            && self.month.is_none()
            && month.len() == 2
            && day.len() == 2
        {
            (self.month, self.day) = (Some(parse_number(month)?), Some(parse_number(day)?));
            return Some(());
        }
        let is_weekday = !self.has_weekday && self.is_empty() && is_short_word(word);
        self.has_weekday |= is_weekday;
        is_weekday.then_some(())
    }

    fn add_year(&mut self, word: &[u8]) -> Option<()> {
        let word = word.strip_suffix("年".as_bytes()).unwrap_or(word);
        let year = parse_number(word).filter(|year| (1970..2200).contains(year))?;
        self.year = Some(year);
        Some(())
    }

    fn is_empty(&self) -> bool {
        self.full.is_none() && self.month.is_none() && self.day.is_none() && self.year.is_none()
    }

    fn is_complete(&self) -> bool {
        self.full.is_some() || self.year.is_some()
    }
}

/// Whether a word may be the name of a weekday in some language.
fn is_short_word(word: &[u8]) -> bool {
    let letters = word.strip_suffix(b",").unwrap_or(word).chars();
    word.len() <= 20
        && letters
            .clone()
            .all(|letter| letter.is_alphabetic() || matches!(letter, '.' | '(' | ')'))
}

/// Splits the first word off.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_start_with(|character| character == ' ' || character == '\t');
    let end = text.find_byteset(b" \t").unwrap_or(text.len());
    (end > 0).then_some((&text[..end], &text[end..]))
}

/// Whether a word may be the name of a zone, such as `CEST`.
fn is_zone_name(word: &[u8]) -> bool {
    (3..=5).contains(&word.len()) && word.iter().all(u8::is_ascii_uppercase)
}

/// Parses `3507.827545`, not negative, to nanoseconds.
pub(super) fn seconds(text: &[u8]) -> Option<u64> {
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

/// Parses `18:54:33`, with or without a fraction and a zone behind it.
fn clock_with_zone(text: &[u8]) -> Option<(Time, &[u8])> {
    let end = text
        .find_not_byteset(b"0123456789:.,")
        .unwrap_or(text.len());
    let (time, zone) = text.split_at(end);
    // Consoles of virtual machines have a colon behind the zone.
    let zone = zone.strip_suffix(b":").unwrap_or(zone);
    let time = time.strip_suffix(b":").unwrap_or(time);
    let is_zone = zone.is_empty() || parse_offset(zone).is_some();
    let time = time.strip_suffix(b",").unwrap_or(time);
    Some((clock(time)?, zone)).filter(|_| is_zone)
}

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

/// Parses `2026-11-23` or `2026/11/23`.
fn date_of(text: &[u8]) -> Option<Date> {
    let separator = *text.get(4)?;
    (separator == b'-' || separator == b'/').then_some(())?;
    let mut parts = text.split(|&byte| byte == separator);
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
