//! How old rows are: by a clock that counts what the agent has lived through. Pure.
//!
//! The calendar can be set years ahead, and all history would be too old at once. So within a boot the time since boot
//! counts, and from one boot to the next the calendar's difference, but at most a day.

/// The most that counts of the time between two boots.
const MAX_AWAY_NS: i64 = 24 * 60 * 60 * 1_000_000_000;

/// A moment by the clocks that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds since boot, suspend included.
    pub boot_time_ns: i64,
    /// Nanoseconds since 1970.
    pub unix_ns: i64,
}

/// A moment as it was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Saved {
    /// By this clock.
    pub(super) age_ns: i64,
    pub(super) now: Now,
}

/// The clock on this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AgeClock {
    /// What it showed at boot.
    offset_ns: i64,
}

impl AgeClock {
    /// Goes on from what was saved, on the same boot or on another.
    pub(super) fn resume(saved: Option<Saved>, is_same_boot: bool, now: Now) -> Self {
        let shown = match saved {
            None => 0,
            Some(Saved { age_ns, now: then }) => {
                let away = if is_same_boot {
                    now.boot_time_ns.saturating_sub(then.boot_time_ns)
                } else {
                    let away = now.unix_ns.saturating_sub(then.unix_ns);
                    away.min(MAX_AWAY_NS)
                };
                age_ns.saturating_add(away.max(0))
            }
        };
        Self {
            offset_ns: shown.saturating_sub(now.boot_time_ns),
        }
    }

    /// What it shows.
    pub(super) fn at_ns(self, now: Now) -> i64 {
        now.boot_time_ns.saturating_add(self.offset_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000_000;
    const THEN: Now = Now {
        boot_time_ns: 10 * HOUR,
        unix_ns: 500_000 * HOUR,
    };

    fn elapsed(is_same_boot: bool, boot_hours: i64, calendar_hours: i64) -> i64 {
        let now = Now {
            boot_time_ns: boot_hours * HOUR,
            unix_ns: THEN.unix_ns + calendar_hours * HOUR,
        };
        let saved = Saved {
            age_ns: 100 * HOUR,
            now: THEN,
        };
        AgeClock::resume(Some(saved), is_same_boot, now).at_ns(now) / HOUR - 100
    }

    #[test]
    fn it_begins_at_nothing_and_goes_as_time_does() {
        let clock = AgeClock::resume(None, false, THEN);
        assert_eq!(clock.at_ns(THEN), 0);
        let later = Now {
            boot_time_ns: 13 * HOUR,
            unix_ns: 0,
        };
        assert_eq!(clock.at_ns(later), 3 * HOUR);
    }

    #[test]
    fn calendar_that_is_set_makes_nothing_old() {
        for calendar in [0, -1_000_000, 1_000_000] {
            assert_eq!(elapsed(true, 12, calendar), 2, "{calendar}");
        }
    }

    #[test]
    fn from_boot_to_boot_the_calendar_counts_a_day_at_most() {
        for (calendar, hours) in [(3, 3), (24, 24), (1_000_000, 24), (-5, 0)] {
            assert_eq!(elapsed(false, 1, calendar), hours, "{calendar}");
        }
    }
}
