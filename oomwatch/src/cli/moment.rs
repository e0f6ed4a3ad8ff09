//! Moments on the command line: a duration ago, a day, a date or a time.

use clap::Args;
use jiff::{
    SignedDuration, Timestamp, Zoned,
    civil::{Date, DateTime, Time},
    tz::TimeZone,
};

/// When a kill must have happened to be shown.
#[derive(Clone, Copy, Debug, Args)]
pub struct TimeArgs {
    /// Only kills since then: a duration ago (24h, 2d), a day (today, yesterday), a date or a time (2026-11-23,
    /// 2026-11-23 19:50, 19:50, 2026-11-23T19:50:00Z); times without an offset are local
    #[arg(long, value_name = "AGO|TIME", value_parser = parse_moment)]
    pub since: Option<Moment>,
    /// Only kills until then; also `now`
    #[arg(long, value_name = "AGO|TIME", value_parser = parse_moment)]
    pub until: Option<Moment>,
}

/// A moment as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// This long before now.
    Ago(SignedDuration),
    /// The start of the day so many days before today.
    Day(i64),
    /// A time of today.
    Today(Time),
    /// A date and a time.
    Civil(DateTime),
    /// A point in time.
    At(Timestamp),
}

impl Moment {
    /// The point in time; the earliest one if it lies before the calendar's range.
    #[must_use]
    pub fn resolve(self, now: Timestamp, zone: &TimeZone) -> Timestamp {
        let today = || Zoned::new(now, zone.clone()).date();
        let civil = match self {
            Self::Ago(ago) => return now.checked_sub(ago).unwrap_or(Timestamp::MIN),
            Self::At(time) => return time,
            Self::Day(ago) => {
                let day = today().checked_sub(SignedDuration::from_hours(24 * ago));
                day.unwrap_or(Date::MIN).to_datetime(Time::midnight())
            }
            Self::Today(time) => today().to_datetime(time),
            Self::Civil(time) => time,
        };
        // A time that a change of the clocks skips is the one behind it.
        zone.to_timestamp(civil).unwrap_or(Timestamp::MIN)
    }
}

fn parse_moment(text: &str) -> Result<Moment, &'static str> {
    const ERROR: &str = "neither a duration ago (24h, 2d), nor today, yesterday, now, a date or a time (2026-11-23, \
                         2026-11-23 19:50, 19:50, 2026-11-23T19:50:00Z)";
    match text {
        "now" => return Ok(Moment::Ago(SignedDuration::ZERO)),
        "today" => return Ok(Moment::Day(0)),
        "yesterday" => return Ok(Moment::Day(1)),
        _ => {}
    }
    if let Ok(time) = text.parse() {
        return Ok(Moment::At(time));
    }
    // Without a time, jiff reads midnight.
    if let Ok(time) = text.parse() {
        return Ok(Moment::Civil(time));
    }
    if text.contains(':')
        && let Ok(time) = text.parse()
    {
        return Ok(Moment::Today(time));
    }
    let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
    let ago = match days {
        Some(days) => i64::checked_mul(days, 24).and_then(SignedDuration::try_from_hours),
        None => text.parse().ok(),
    };
    ago.filter(|ago| !ago.is_negative())
        .map(Moment::Ago)
        .ok_or(ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_people_write_them() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().expect("a time");
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        for (text, time) in [
            ("24h", "2026-11-22T12:00:00Z"),
            ("2d", "2026-11-21T12:00:00Z"),
            ("1h30m", "2026-11-23T10:30:00Z"),
            ("0s", "2026-11-23T12:00:00Z"),
            ("now", "2026-11-23T12:00:00Z"),
            ("today", "2026-11-22T22:00:00Z"),
            ("yesterday", "2026-11-21T22:00:00Z"),
            ("2026-11-20", "2026-11-19T22:00:00Z"),
            ("2026-11-20 07:30", "2026-11-20T05:30:00Z"),
            ("2026-11-20T07:30:05", "2026-11-20T05:30:05Z"),
            ("07:30", "2026-11-23T05:30:00Z"),
            ("2026-11-20T07:00:00.5Z", "2026-11-20T07:00:00.5Z"),
            ("2026-11-20 07:00:00+05:00", "2026-11-20T02:00:00Z"),
        ] {
            let moment = parse_moment(text).map(|moment| moment.resolve(now, &zone));
            assert_eq!(moment, Ok(time.parse().expect("a time")), "{text}");
        }
        for text in [
            "",
            "24",
            "-1h",
            "-2d",
            "d",
            "tomorrow",
            "2026-13-20",
            "25:00",
            "99999999999999999d",
        ] {
            assert!(parse_moment(text).is_err(), "{text}");
        }
        let ages = parse_moment("99999999d").expect("a long time");
        assert_eq!(ages.resolve(now, &zone), Timestamp::MIN);
    }
}
