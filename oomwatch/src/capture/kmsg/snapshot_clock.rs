//! Converts the stamps of a log that is read long after it was written to time since boot. Pure.
//!
//! `clock_offset` measures the log's clock against each record as it is read; here that is not possible. The log's clock,
//! `local_clock`, starts with the machine's other clocks, and then runs with `CLOCK_MONOTONIC_RAW` or, where the CPU's
//! clock is unreliable, with `CLOCK_MONOTONIC`, which NTP slews. So the offset from `CLOCK_MONOTONIC_RAW` is assumed to be
//! zero, unless it was measured on kills of which both times are known. It is limited so that no record is from the future.
//!
//! A result may be wrong by up to [`SnapshotClock::uncertainty_ns`]: usually by a few milliseconds, after a suspend by its
//! length (a record from before the suspend is dated after it), and by the amount that NTP slewed.

use crate::sys::clock::ClockSample;

/// Smallest uncertainty: the clocks start at different times, and the machine may have stalled.
const MIN_UNCERTAINTY_NS: u64 = 10_000_000_000;

/// The clocks at the time when a log was read.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotClock {
    read_at: ClockSample,
    newest_ns: u64,
}

impl SnapshotClock {
    /// `newest_ns` is the stamp of the newest record, `read_at` the time after it was read.
    #[must_use]
    pub fn new(newest_ns: u64, read_at: ClockSample) -> Self {
        Self { read_at, newest_ns }
    }

    /// `CLOCK_MONOTONIC_RAW` minus the log's clock, in nanoseconds: the measured value, else zero.
    #[must_use]
    pub fn offset_ns(&self, measured: Option<i64>) -> i64 {
        let most = signed(self.read_at.raw_ns).saturating_sub(signed(self.newest_ns));
        measured.unwrap_or(0).min(most)
    }

    /// When a record was written, in nanoseconds since boot, given the offset. Never later than the time of reading.
    #[must_use]
    pub fn boot_time_ns(&self, stamp_ns: u64, offset_ns: i64) -> u64 {
        let raw_ns = signed(stamp_ns).saturating_add(offset_ns);
        let age = signed(self.read_at.raw_ns).saturating_sub(raw_ns).max(0);
        let boot_time_ns = signed(self.read_at.boot_time_ns).saturating_sub(age);
        u64::try_from(boot_time_ns).unwrap_or(0)
    }

    /// Largest error of a result, in nanoseconds.
    #[must_use]
    pub fn uncertainty_ns(&self) -> u64 {
        let apart = self.read_at.boot_time_ns.abs_diff(self.read_at.raw_ns);
        apart.saturating_add(MIN_UNCERTAINTY_NS)
    }
}

/// Saturates after 292 years.
fn signed(nanoseconds: u64) -> i64 {
    i64::try_from(nanoseconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn clock(newest: u64, raw: u64, boot: u64) -> SnapshotClock {
        let read_at = ClockSample {
            instant: Instant::now(),
            raw_ns: raw * SECOND,
            boot_time_ns: boot * SECOND,
            unix_ns: 0,
        };
        SnapshotClock::new(newest * SECOND, read_at)
    }

    #[test]
    fn without_a_suspend_stamps_are_times_since_boot() {
        let clock = clock(50, 1000, 1000);
        assert_eq!(clock.offset_ns(None), 0);
        assert_eq!(clock.boot_time_ns(40 * SECOND, 0), 40 * SECOND);
        assert_eq!(clock.uncertainty_ns(), MIN_UNCERTAINTY_NS);
    }

    #[test]
    fn measured_offset_shifts_all_times_equally() {
        let clock = clock(400, 1000, 1007);
        let (offset, later) = (clock.offset_ns(Some(3_000_000_000)), 7 + 3);
        for stamp in [0, 300, 400] {
            let time = clock.boot_time_ns(stamp * SECOND, offset);
            assert_eq!(time, (stamp + later) * SECOND);
        }
    }

    #[test]
    fn record_is_never_from_the_future() {
        let clock = clock(1003, 1000, 1000);
        let offset = clock.offset_ns(None);
        assert_eq!(clock.boot_time_ns(1003 * SECOND, offset), 1000 * SECOND);
        assert_eq!(clock.boot_time_ns(1001 * SECOND, offset), 998 * SECOND);
        let offset = clock.offset_ns(Some(5_000_000_000));
        assert_eq!(clock.boot_time_ns(1003 * SECOND, offset), 1000 * SECOND);
        assert_eq!(clock.boot_time_ns(u64::MAX, i64::MAX), 1000 * SECOND);
        assert_eq!(clock.boot_time_ns(0, i64::MIN), 0);
    }

    #[test]
    fn error_after_a_suspend_is_within_the_uncertainty() {
        // Written at 300, then the machine slept for an hour.
        let clock = clock(300, 1000, 4600);
        let dated = clock.boot_time_ns(300 * SECOND, clock.offset_ns(None));
        assert_eq!(dated, 3900 * SECOND);
        assert!(dated - 300 * SECOND <= clock.uncertainty_ns());
    }
}
