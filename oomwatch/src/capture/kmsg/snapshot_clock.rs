//! Stamps of a log that is read long after it was written, to time since boot. Pure.
//!
//! What `times` learns from reading each record at once is not to be had here. The log's clock, `local_clock`,
//! begins with the machine's others, and then goes with `CLOCK_MONOTONIC_RAW` or, where the CPU's own clock cannot be
//! trusted, with `CLOCK_MONOTONIC`, which NTP slews. So the offset from the former is taken to be none, unless it was
//! learned from kills of which both times are known. It is never so large that a record were from the future.
//!
//! A time may be off by [`Past::doubt_ns`]: mostly a few milliseconds, after a suspend by as long as that lasted (what is
//! from before it is told as after it), and where NTP had much to slew by that.

use crate::sys::clock::ClockSample;

/// What the two ideas of an offset may be apart in any case: the clocks' beginnings, and a machine that stood still.
const LEAST_DOUBT_NS: u64 = 10_000_000_000;

/// The clocks as they stood when a log was read.
#[derive(Clone, Copy, Debug)]
pub struct Past {
    read: ClockSample,
    newest_ns: u64,
}

impl Past {
    /// `newest_ns` is the stamp of the newest record, `read` when that had been read.
    #[must_use]
    pub fn new(newest_ns: u64, read: ClockSample) -> Self {
        Self { read, newest_ns }
    }

    /// How much later `CLOCK_MONOTONIC_RAW` is than a stamp, where this was learned and else by what is likely: nanoseconds.
    #[must_use]
    pub fn offset_ns(&self, learned: Option<i64>) -> i64 {
        let most = signed(self.read.raw_ns).saturating_sub(signed(self.newest_ns));
        learned.unwrap_or(0).min(most)
    }

    /// When a record was written by this offset, never later than now: nanoseconds since boot.
    #[must_use]
    pub fn boot_time_ns(&self, stamp_ns: u64, offset_ns: i64) -> u64 {
        let raw_ns = signed(stamp_ns).saturating_add(offset_ns);
        let age = signed(self.read.raw_ns).saturating_sub(raw_ns).max(0);
        let boot_time_ns = signed(self.read.boot_time_ns).saturating_sub(age);
        u64::try_from(boot_time_ns).unwrap_or(0)
    }

    /// By how much a time may be off: nanoseconds.
    #[must_use]
    pub fn doubt_ns(&self) -> u64 {
        let apart = self.read.boot_time_ns.abs_diff(self.read.raw_ns);
        apart.saturating_add(LEAST_DOUBT_NS)
    }
}

/// Enough for 292 years.
fn signed(nanoseconds: u64) -> i64 {
    i64::try_from(nanoseconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn past(newest: u64, raw: u64, boot: u64) -> Past {
        let read = ClockSample {
            instant: Instant::now(),
            raw_ns: raw * SECOND,
            boot_time_ns: boot * SECOND,
            unix_ns: 0,
        };
        Past::new(newest * SECOND, read)
    }

    #[test]
    fn log_of_a_machine_that_never_slept_is_on_the_clock_of_all_others() {
        let past = past(50, 1000, 1000);
        assert_eq!(past.offset_ns(None), 0);
        assert_eq!(past.boot_time_ns(40 * SECOND, 0), 40 * SECOND);
        assert_eq!(past.doubt_ns(), LEAST_DOUBT_NS);
    }

    #[test]
    fn offset_that_was_learned_moves_all_times_alike() {
        let past = past(400, 1000, 1007);
        let (offset, later) = (past.offset_ns(Some(3_000_000_000)), 7 + 3);
        for stamp in [0, 300, 400] {
            let time = past.boot_time_ns(stamp * SECOND, offset);
            assert_eq!(time, (stamp + later) * SECOND);
        }
    }

    #[test]
    fn record_is_never_from_the_future() {
        let past = past(1003, 1000, 1000);
        let offset = past.offset_ns(None);
        assert_eq!(past.boot_time_ns(1003 * SECOND, offset), 1000 * SECOND);
        assert_eq!(past.boot_time_ns(1001 * SECOND, offset), 998 * SECOND);
        let offset = past.offset_ns(Some(5_000_000_000));
        assert_eq!(past.boot_time_ns(1003 * SECOND, offset), 1000 * SECOND);
        assert_eq!(past.boot_time_ns(u64::MAX, i64::MAX), 1000 * SECOND);
        assert_eq!(past.boot_time_ns(0, i64::MIN), 0);
    }

    #[test]
    fn time_before_a_suspend_is_off_by_no_more_than_it_is_said_to_be() {
        // Written at 300, then the machine slept for an hour.
        let past = past(300, 1000, 4600);
        let told = past.boot_time_ns(300 * SECOND, past.offset_ns(None));
        assert_eq!(told, 3900 * SECOND);
        assert!(told - 300 * SECOND <= past.doubt_ns());
    }
}
