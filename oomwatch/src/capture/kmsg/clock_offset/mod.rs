//! Converts the stamps of the live kernel log to time since boot, the clock of all other records. Pure.
//!
//! A record is stamped with `local_clock` (`kernel/sched/clock.c`). That clock has its own zero, is not slewed by NTP as
//! `CLOCK_BOOTTIME` is, and on most machines stops in suspend. Known is when the record was *read*: at once or, on a
//! machine that is out of memory, later. So the stamp is first converted to `CLOCK_MONOTONIC_RAW`, which is not slewed
//! either: the difference between the two hardly changes, and the smallest one measured is the best estimate, because a
//! read can only be late. The age of the record on that clock is then subtracted from the current time since boot.
//!
//! A record from before a suspend that is read after it is dated after the suspend.

use crate::sys::clock::ClockSample;

/// Largest drift between the two clocks, one part in this many. Real clocks drift less.
const DRIFT: u64 = 1000;

/// The estimated offset of the log's clock.
#[derive(Debug, Default)]
pub(super) struct ClockOffset {
    last: Option<MeasuredOffset>,
}

/// `CLOCK_MONOTONIC_RAW` minus the log's clock.
#[derive(Clone, Copy, Debug)]
struct MeasuredOffset {
    nanoseconds: i128,
    /// When it was measured.
    raw_ns: u64,
}

impl ClockOffset {
    /// Measures the offset on a record that was read now.
    pub(super) fn measure(&mut self, stamp_ns: u64, now: &ClockSample) {
        let measured = i128::from(now.raw_ns) - i128::from(stamp_ns);
        let nanoseconds = match self.last {
            Some(last) => {
                let passed = now.raw_ns.saturating_sub(last.raw_ns);
                measured.min(last.nanoseconds + i128::from(passed / DRIFT))
            }
            None => measured,
        };
        self.last = Some(MeasuredOffset {
            nanoseconds,
            raw_ns: now.raw_ns,
        });
    }

    /// When a record was written, in nanoseconds since boot, never later than now; absent before the first measurement.
    pub(super) fn boot_time_ns(&self, stamp_ns: u64, now: &ClockSample) -> Option<u64> {
        let written_raw_ns = i128::from(stamp_ns) + self.last?.nanoseconds;
        let age = (i128::from(now.raw_ns) - written_raw_ns).max(0);
        let boot_time_ns = (i128::from(now.boot_time_ns) - age).max(0);
        u64::try_from(boot_time_ns).ok()
    }
}

#[cfg(test)]
mod tests;
