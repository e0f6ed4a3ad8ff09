use std::time::Instant;

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;

/// The clocks of a machine, which differ in zero and speed.
#[derive(Clone, Copy)]
struct Machine {
    raw_ns: u64,
    boot_time_ns: u64,
    stamp_ns: u64,
    /// Drift of the log's clock against `CLOCK_MONOTONIC_RAW`, parts per million.
    drift: i64,
    /// Slew of `CLOCK_BOOTTIME`, parts per million.
    slew: i64,
}

impl Machine {
    fn new() -> Self {
        Self {
            raw_ns: 100 * SECOND,
            boot_time_ns: 101 * SECOND,
            stamp_ns: 103 * SECOND,
            drift: 0,
            slew: 0,
        }
    }

    fn run(&mut self, nanoseconds: u64) {
        let with = |parts: i64| {
            let more = i128::from(nanoseconds) * i128::from(parts) / 1_000_000;
            u64::try_from(i128::from(nanoseconds) + more).expect("clocks go forward")
        };
        self.raw_ns += nanoseconds;
        self.boot_time_ns += with(self.slew);
        self.stamp_ns += with(self.drift);
    }

    fn now(&self) -> ClockSample {
        ClockSample {
            instant: Instant::now(),
            raw_ns: self.raw_ns,
            boot_time_ns: self.boot_time_ns,
            unix_ns: 0,
        }
    }

    /// Writes a record and reads it after `delay`. Returns the error of its time.
    fn record(&mut self, offset: &mut ClockOffset, delay: u64) -> i128 {
        let (stamp, written) = (self.stamp_ns, self.boot_time_ns);
        self.run(delay);
        offset.measure(stamp, &self.now());
        let dated = offset.boot_time_ns(stamp, &self.now()).expect("a time");
        assert!(dated <= self.boot_time_ns, "in the future");
        i128::from(dated) - i128::from(written)
    }
}

fn within(error: i128, least: u64, most: u64) {
    assert!(
        -i128::from(least) <= error && error <= i128::from(most),
        "{error} is not within -{least} and {most}"
    );
}

#[test]
fn without_a_record_there_is_no_time() {
    let machine = Machine::new();
    assert_eq!(ClockOffset::default().boot_time_ns(5, &machine.now()), None);
}

#[test]
fn record_that_is_read_late_has_the_time_when_it_was_written() {
    let (mut machine, mut offset) = (Machine::new(), ClockOffset::default());
    within(machine.record(&mut offset, 50_000), 0, 50_000);
    let started = machine.raw_ns;
    for delay in [3 * SECOND, 200 * MILLISECOND, 7 * SECOND] {
        let error = machine.record(&mut offset, delay);
        let allowed_for_drift = (machine.raw_ns - started) / DRIFT + 3;
        within(error, 0, 50_000 + allowed_for_drift);
        machine.run(MILLISECOND);
    }
    within(machine.record(&mut offset, 1000), 0, 1000);
}

#[test]
fn first_record_is_dated_when_it_was_read_until_one_is_read_sooner() {
    let (mut machine, mut offset) = (Machine::new(), ClockOffset::default());
    within(
        machine.record(&mut offset, 2 * SECOND),
        2 * SECOND,
        2 * SECOND,
    );
    let (stamp, written) = (machine.stamp_ns, machine.boot_time_ns);
    within(machine.record(&mut offset, 1000), 0, 1000);
    // The earlier record is dated better, too, once the later one is measured.
    machine.run(SECOND);
    let dated = offset.boot_time_ns(stamp, &machine.now()).expect("a time");
    within(i128::from(dated) - i128::from(written), 0, 1000);
}

#[test]
fn clocks_that_drift_apart_are_followed() {
    for drift in [-500, -20, 20, 500] {
        for pause in [10 * MILLISECOND, 10 * SECOND, 3600 * SECOND] {
            let (mut machine, mut offset) = (Machine::new(), ClockOffset::default());
            machine.drift = drift;
            for _ in 0..1000 {
                within(
                    machine.record(&mut offset, MILLISECOND),
                    1000,
                    MILLISECOND + 1000,
                );
                machine.run(pause);
            }
        }
    }
}

#[test]
fn slewing_causes_no_error() {
    for slew in [-80_000, 80_000] {
        let (mut machine, mut offset) = (Machine::new(), ClockOffset::default());
        machine.slew = slew;
        for _ in 0..1000 {
            within(machine.record(&mut offset, MILLISECOND), 0, 2 * MILLISECOND);
            machine.run(SECOND / 10);
        }
    }
}

#[test]
fn suspend_is_followed_whether_or_not_the_logs_clock_counts_it() {
    const SUSPENDED: u64 = 8 * 3600 * SECOND;
    for counted in [0, SUSPENDED] {
        let (mut machine, mut offset) = (Machine::new(), ClockOffset::default());
        for _ in 0..3 {
            within(machine.record(&mut offset, MILLISECOND), 0, MILLISECOND);
            machine.run(SECOND);
            machine.boot_time_ns += SUSPENDED;
            machine.stamp_ns += counted;
            within(machine.record(&mut offset, MILLISECOND), 0, MILLISECOND);
        }
    }
}

#[test]
fn absurd_stamps_give_a_time_in_the_past() {
    let machine = Machine::new();
    let mut offset = ClockOffset::default();
    for stamp in [0, u64::MAX, 5, u64::MAX] {
        offset.measure(stamp, &machine.now());
        for stamp in [0, u64::MAX] {
            let dated = offset.boot_time_ns(stamp, &machine.now()).expect("a time");
            assert!(dated <= machine.boot_time_ns);
        }
    }
}

proptest! {
    #[test]
    fn time_is_never_too_early_by_more_than_drift_nor_later_than_the_soonest_read(
        records in proptest::collection::vec((0..10 * SECOND, 0..3 * SECOND), 1..50),
        drift in -500_i64..=500,
    ) {
        let (mut machine, mut offset) = (Machine::new(), ClockOffset::default());
        machine.drift = drift;
        let mut soonest = u64::MAX;
        let started = machine.raw_ns;
        for (pause, delay) in records {
            machine.run(pause);
            soonest = soonest.min(delay);
            let error = machine.record(&mut offset, delay);
            let passed = machine.raw_ns - started;
            // The allowance for drift and the drift itself.
            let late = soonest + passed / 500 + 100;
            prop_assert!(error <= i128::from(late), "{error} > {late}");
            let early = 3 * SECOND / 1000 + 100;
            prop_assert!(error >= -i128::from(early), "{error} < -{early}");
        }
    }
}
