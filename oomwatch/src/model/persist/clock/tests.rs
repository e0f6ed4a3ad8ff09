use proptest::prelude::*;

use super::*;
use crate::testing;

const SECOND: u64 = 1_000_000_000;
/// Seconds since 1970.
const CALENDAR: u64 = 1_790_000_000;

/// A machine, and the clock that its agent saved last.
struct Machine {
    boot: u32,
    /// Seconds since boot, and since 1970.
    up: u64,
    calendar: u64,
    saved: Option<String>,
}

impl Machine {
    fn new() -> Self {
        Self {
            boot: 1,
            up: 1000,
            calendar: CALENDAR,
            saved: None,
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.up += seconds;
        self.calendar += seconds;
    }

    /// Boots; the agent starts `up` seconds later.
    fn reboot(&mut self, up: u64) {
        self.boot += 1;
        self.up = up;
    }

    fn now(&self) -> ClockSample {
        ClockSample {
            boot_time_ns: self.up * SECOND,
            unix_ns: self.calendar * SECOND,
            ..ClockSample::now()
        }
    }

    fn boot_id(&self) -> String {
        format!("{:08x}4b5a69788796a5b4c3d2e1f0", self.boot)
    }

    fn start(&self) -> PersistentClock {
        PersistentClock::restore(self.saved.as_deref(), &self.boot_id(), self.now())
    }

    fn save(&mut self, clock: &PersistentClock) {
        self.saved = Some(clock.to_json(self.now()));
    }

    /// The clock's value in seconds.
    fn shows(&self, clock: &PersistentClock) -> u64 {
        clock.at_ns(self.up * SECOND) / SECOND
    }

    /// A kill that happens now.
    fn kill(&self) -> Report {
        let mut report = testing::report();
        report.id = format!("{}-1-1", boot_prefix(&self.boot_id()));
        report.kill.boot_time_ns = Some(self.up * SECOND);
        let second = i64::try_from(self.calendar).expect("a date");
        report.time = Some(testing::timestamp(second, 0));
        report
    }
}

#[test]
fn new_clock_shows_the_calendars_time() {
    let machine = Machine::new();
    assert_eq!(machine.shows(&machine.start()), CALENDAR);
}

#[test]
fn new_clock_is_not_before_the_boot() {
    let mut machine = Machine::new();
    machine.calendar = 10;
    assert_eq!(machine.shows(&machine.start()), 1000);
}

#[test]
fn within_a_boot_the_calendar_has_no_effect_and_suspend_counts() {
    let mut machine = Machine::new();
    let clock = machine.start();
    machine.save(&clock);
    // Suspended or running.
    machine.pass(3600);
    machine.calendar -= 1_000_000;
    let clock = machine.start();
    assert_eq!(machine.shows(&clock), CALENDAR + 3600);
    machine.save(&clock);
    machine.calendar += 9_000_000;
    machine.pass(1);
    assert_eq!(machine.shows(&machine.start()), CALENDAR + 3601);
}

#[test]
fn after_a_reboot_it_advances_with_the_calendar() {
    let mut machine = Machine::new();
    machine.save(&machine.start());
    machine.pass(500);
    machine.reboot(20);
    let clock = machine.start();
    assert_eq!(machine.shows(&clock), CALENDAR + 500);
    machine.pass(5);
    assert_eq!(machine.shows(&clock), CALENDAR + 505);
}

#[test]
fn calendar_set_back_over_a_reboot_does_not_stop_it() {
    let mut machine = Machine::new();
    machine.save(&machine.start());
    machine.calendar = 0;
    machine.reboot(20);
    assert_eq!(machine.shows(&machine.start()), CALENDAR + 20);
}

#[test]
fn calendar_set_far_ahead_over_a_reboot_advances_it_by_a_day() {
    const YEARS: u64 = 1_000_000_000;
    const DAY: u64 = 86_400;
    let mut machine = Machine::new();
    machine.save(&machine.start());
    machine.calendar += YEARS;
    machine.reboot(20);
    let clock = machine.start();
    assert_eq!(machine.shows(&clock), CALENDAR + DAY);
    machine.save(&clock);
    machine.calendar -= YEARS;
    machine.pass(20);
    machine.reboot(10);
    assert_eq!(machine.shows(&machine.start()), CALENDAR + DAY + 10);
    // The time since boot is known to have passed.
    machine.save(&machine.start());
    machine.reboot(3 * DAY);
    assert_eq!(machine.shows(&machine.start()), CALENDAR + 4 * DAY + 10);
}

#[test]
fn kill_of_an_earlier_boot_keeps_its_time() {
    let mut machine = Machine::new();
    let clock = machine.start();
    machine.save(&clock);
    machine.pass(100);
    let kill = machine.kill();
    assert_eq!(
        clock.of_kill_ns(&kill, machine.now()) / SECOND,
        CALENDAR + 100
    );
    machine.pass(500);
    // The kill was 1100 s after its boot, which would be in the future on this boot.
    machine.reboot(20);
    let clock = machine.start();
    let after = clock.of_kill_ns(&kill, machine.now()) / SECOND;
    assert_eq!(after, CALENDAR + 100);
    assert_eq!(machine.shows(&clock), CALENDAR + 600);
}

#[test]
fn kill_of_an_unknown_boot_is_before_this_boot() {
    let mut machine = Machine::new();
    let kill = machine.kill();
    machine.pass(600);
    machine.reboot(20);
    let clock = machine.start();
    let age = |machine: &Machine, kill: &Report| {
        let now = machine.now();
        let ns = clock.at_ns(now.boot_time_ns) - clock.of_kill_ns(kill, now);
        ns / SECOND
    };
    assert_eq!(age(&machine, &kill), 600);
    machine.calendar -= 5000;
    assert_eq!(age(&machine, &kill), 20);
    let timeless = Report { time: None, ..kill };
    assert_eq!(age(&machine, &timeless), 20);
    let mut now = machine.kill();
    now.kill.boot_time_ns = None;
    assert_eq!(age(&machine, &now), 0);
}

#[test]
fn malformed_saved_clock_is_a_new_clock() {
    let mut machine = Machine::new();
    machine.save(&machine.start());
    machine.saved = Some("{\"boots\":".to_owned());
    machine.pass(10);
    assert_eq!(machine.shows(&machine.start()), CALENDAR + 10);
}

proptest! {
    #[test]
    fn clock_never_goes_back(
        steps in proptest::collection::vec((0..4_u8, 0..3_000_000_000_u64), 1..40),
    ) {
        let mut machine = Machine::new();
        let mut clock = machine.start();
        let mut shown = machine.shows(&clock);
        let mut kill = (machine.kill(), shown);
        for (what, number) in steps {
            match what {
                0 => machine.pass(number % 100_000),
                1 => machine.calendar = number,
                2 => machine.reboot(number % 1000),
                _ => kill = (machine.kill(), machine.shows(&clock)),
            }
            if what == 2 {
                clock = machine.start();
                let before = clock.of_kill_ns(&kill.0, machine.now()) / SECOND;
                prop_assert!(before <= shown, "the kill was before the reboot");
            }
            let now = machine.shows(&clock);
            prop_assert!(now >= shown, "{} {}", now, shown);
            shown = now;
            machine.save(&clock);
        }
        prop_assert!(clock.boots.len() <= BOOTS);
    }
}
