//! Reads the kernel's clocks, and converts times since boot to the calendar's.

use std::time::Instant;

use jiff::Timestamp;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// The clocks, read at the same time.
#[derive(Clone, Copy, Debug)]
pub struct ClockSample {
    /// `CLOCK_MONOTONIC`, for timeouts.
    pub instant: Instant,
    /// `CLOCK_MONOTONIC_RAW` in nanoseconds: never slewed, does not advance in suspend.
    pub raw_ns: u64,
    /// Nanoseconds since boot, suspend included.
    pub boot_time_ns: u64,
    /// Nanoseconds since 1970, by the calendar's clock.
    pub unix_ns: u64,
}

impl ClockSample {
    /// Reads the clocks.
    #[must_use]
    pub fn now() -> Self {
        let read = |clock| u64::try_from(nanoseconds(clock_gettime(clock))).unwrap_or(0);
        Self {
            instant: Instant::now(),
            raw_ns: read(ClockId::MonotonicRaw),
            boot_time_ns: read(ClockId::Boottime),
            unix_ns: read(ClockId::Realtime),
        }
    }
}

impl ClockSample {
    /// The calendar time of a time since boot. A calendar clock that was set since then shifts all times alike.
    #[must_use]
    pub fn time_of(self, boot_time_ns: u64) -> Timestamp {
        let age = i128::from(self.boot_time_ns) - i128::from(boot_time_ns);
        Timestamp::from_nanosecond(i128::from(self.unix_ns) - age).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// Nanoseconds since boot, suspend included: the clock of the records.
#[must_use]
pub fn since_boot_ns() -> u64 {
    u64::try_from(nanoseconds(clock_gettime(ClockId::Boottime))).unwrap_or(0)
}

fn nanoseconds(time: Timespec) -> i128 {
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn now_since_boot_is_now() {
        let before = Timestamp::now();
        let time = ClockSample::now().time_of(since_boot_ns());
        assert!(
            time.duration_since(before).abs() < SignedDuration::from_secs(60),
            "{time} {before}"
        );
    }
}
