//! Flags of `oomwatch history`.

use std::path::PathBuf;

use clap::{Args, builder::NonEmptyStringValueParser};
use jiff::{SignedDuration, Timestamp};

use super::shared::{FilterArgs, OutputArgs};
use crate::{commands::history::HistoryConfig, model::filter::Filter, store};

/// `oomwatch history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// How kills are printed.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Only kills since then: a duration ago, such as 24h or 2d, or a time, such as 2026-11-23T19:50:00Z
    #[arg(long, value_name = "AGO|TIME", value_parser = parse_moment)]
    pub since: Option<Moment>,
    /// Only kills until then
    #[arg(long, value_name = "AGO|TIME", value_parser = parse_moment)]
    pub until: Option<Moment>,
    /// Only the newest N kills; 0 for all
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub limit: usize,
    /// The history: its folder, its file, or a copy of the file
    #[arg(long, env = "OOMWATCH_STATE_DIR", value_name = "DIR|FILE", default_value = store::FOLDER)]
    pub state_dir: PathBuf,
    /// Only pods with this name
    #[arg(long, value_name = "NAME", help_heading = "Filters", value_parser = NonEmptyStringValueParser::new())]
    pub pod: Option<String>,
    /// Which kills to show.
    #[command(flatten)]
    pub filter: FilterArgs,
}

impl HistoryArgs {
    /// The configuration; durations ago count back from `now`.
    #[must_use]
    pub fn config(self, now: Timestamp) -> HistoryConfig {
        let Self {
            output,
            since,
            until,
            limit,
            state_dir,
            pod,
            filter,
        } = self;
        HistoryConfig {
            output: output.into(),
            since: since.map(|moment| moment.before(now)),
            until: until.map(|moment| moment.before(now)),
            limit,
            state_dir,
            pod,
            filter: Filter::from(filter),
        }
    }
}

/// A moment as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// This long before now.
    Ago(SignedDuration),
    /// A point in time.
    At(Timestamp),
}

impl Moment {
    /// The point in time; the earliest one if it lies before the calendar's range.
    #[must_use]
    pub fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(Timestamp::MIN),
            Self::At(time) => time,
        }
    }
}

fn parse_moment(text: &str) -> Result<Moment, &'static str> {
    const ERROR: &str =
        "neither a duration ago, such as 24h or 2d, nor a time, such as 2026-11-23T19:50:00Z";
    if let Ok(time) = text.parse() {
        return Ok(Moment::At(time));
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
        for (text, time) in [
            ("24h", "2026-11-22T12:00:00Z"),
            ("2d", "2026-11-21T12:00:00Z"),
            ("1h30m", "2026-11-23T10:30:00Z"),
            ("0s", "2026-11-23T12:00:00Z"),
            ("2026-11-20T07:00:00.5Z", "2026-11-20T07:00:00.5Z"),
            ("2026-11-20T07:00:00+02:00", "2026-11-20T05:00:00Z"),
        ] {
            let moment = parse_moment(text).map(|moment| moment.before(now));
            assert_eq!(moment, Ok(time.parse().expect("a time")), "{text}");
        }
        for text in [
            "",
            "24",
            "-1h",
            "-2d",
            "d",
            "yesterday",
            "2026-11-20",
            "99999999999999999d",
        ] {
            assert!(parse_moment(text).is_err(), "{text}");
        }
        let ages = parse_moment("99999999d").expect("a long time");
        assert_eq!(ages.before(now), Timestamp::MIN);
    }
}
