//! Stamps of the kernel log to time since boot, as everything else is told in. Pure.
//!
//! A record is stamped with `local_clock` (`kernel/sched/clock.c`), which has a beginning of its own, runs free, where
//! `CLOCK_BOOTTIME` is slewed by NTP, and stands still in suspend on most machines. What is known is when the record was
//! *read*: at once or, on a machine that is out of memory, after a while. So the stamp is first placed on
//! `CLOCK_MONOTONIC_RAW`, which runs free too: between the two there is a difference that hardly changes, and the smallest
//! that was seen is the nearest to it, since reading can only be late. How long ago that was then counts back from now.
//!
//! A record from before a suspend that is read after it is told as after it.

use crate::sys::clock::ClockSample;

/// How fast the difference may grow, one part in this many: crystals, and the two clocks' ideas of their frequency, are
/// apart by less.
const DRIFT: u64 = 1000;

/// What is known of the log's clock.
#[derive(Debug, Default)]
pub(super) struct Times {
    last: Option<Difference>,
}

/// How much later than a record's stamp `CLOCK_MONOTONIC_RAW` is.
#[derive(Clone, Copy, Debug)]
struct Difference {
    nanoseconds: i128,
    /// When this was so.
    raw_ns: u64,
}

impl Times {
    /// Learns from a record that was read now.
    pub(super) fn see(&mut self, stamp_ns: u64, now: &ClockSample) {
        let seen = i128::from(now.raw_ns) - i128::from(stamp_ns);
        let nanoseconds = match self.last {
            Some(last) => {
                let passed = now.raw_ns.saturating_sub(last.raw_ns);
                seen.min(last.nanoseconds + i128::from(passed / DRIFT))
            }
            None => seen,
        };
        self.last = Some(Difference {
            nanoseconds,
            raw_ns: now.raw_ns,
        });
    }

    /// When a record was written, never later than now; absent before any was seen.
    pub(super) fn boot_time_ns(&self, stamp_ns: u64, now: &ClockSample) -> Option<u64> {
        let written_raw_ns = i128::from(stamp_ns) + self.last?.nanoseconds;
        let age = (i128::from(now.raw_ns) - written_raw_ns).max(0);
        let boot_time_ns = (i128::from(now.boot_time_ns) - age).max(0);
        u64::try_from(boot_time_ns).ok()
    }
}

#[cfg(test)]
mod tests;
