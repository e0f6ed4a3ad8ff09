use proptest::prelude::*;

use super::*;
use crate::{model::persist::rows::Rows, testing};

const SECOND: u64 = 1_000_000_000;
/// A calendar's second.
const DAY: u64 = 1_790_000_000;

/// A machine whose agent saves its clock at each stop.
struct Machine {
    boot: u32,
    /// Seconds since boot, and of the calendar.
    up: u64,
    calendar: u64,
    saved: Rows,
}

impl Machine {
    fn new() -> Self {
        Self {
            boot: 1,
            up: 1000,
            calendar: DAY,
            saved: Rows::default(),
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.up += seconds;
        self.calendar += seconds;
    }

    /// It boots, and is up for so long when the agent is started.
    fn reboot(&mut self, up: u64) {
        self.boot += 1;
        self.up = up;
    }

    fn reading(&self) -> ClockSample {
        ClockSample {
            boot_time_ns: self.up * SECOND,
            unix_ns: self.calendar * SECOND,
        }
    }

    fn host(&self) -> Host {
        Host {
            node: "node-1".to_owned(),
            boot_id: format!("{:08x}4b5a69788796a5b4c3d2e1f0", self.boot),
        }
    }

    fn start(&self) -> PersistentClock {
        PersistentClock::restore(&self.saved.entries(), &self.host(), self.reading())
    }

    fn save(&mut self, clock: &PersistentClock) {
        self.saved.save([clock.change(self.reading())]);
    }

    /// What its clock shows, in seconds.
    fn shows(&self, clock: &PersistentClock) -> u64 {
        clock.at_ns(self.up * SECOND) / SECOND
    }

    /// A kill of now.
    fn kill(&self) -> Report {
        let mut report = testing::report();
        report.id = format!("{}-1-1", self.host().boot());
        report.kill.boot_time_ns = Some(self.up * SECOND);
        let second = i64::try_from(self.calendar).expect("a date");
        report.time = Some(testing::timestamp(second, 0));
        report
    }
}

#[test]
fn first_start_shows_the_calendars_time() {
    let machine = Machine::new();
    assert_eq!(machine.shows(&machine.start()), DAY);
}

#[test]
fn calendar_before_the_boot_is_not_gone_back_to() {
    let mut machine = Machine::new();
    machine.calendar = 10;
    assert_eq!(machine.shows(&machine.start()), 1000);
}

#[test]
fn within_a_boot_the_calendar_changes_nothing_and_suspend_counts() {
    let mut machine = Machine::new();
    let clock = machine.start();
    machine.save(&clock);
    // Asleep or awake.
    machine.pass(3600);
    machine.calendar -= 1_000_000;
    let clock = machine.start();
    assert_eq!(machine.shows(&clock), DAY + 3600);
    machine.save(&clock);
    machine.calendar += 9_000_000;
    machine.pass(1);
    assert_eq!(machine.shows(&machine.start()), DAY + 3601);
}

#[test]
fn after_a_reboot_it_goes_on_as_the_calendar_did() {
    let mut machine = Machine::new();
    machine.save(&machine.start());
    machine.pass(500);
    machine.reboot(20);
    let clock = machine.start();
    assert_eq!(machine.shows(&clock), DAY + 500);
    machine.pass(5);
    assert_eq!(machine.shows(&clock), DAY + 505);
}

#[test]
fn calendar_that_was_set_back_over_a_reboot_does_not_stop_it() {
    let mut machine = Machine::new();
    machine.save(&machine.start());
    machine.calendar = 0;
    machine.reboot(20);
    assert_eq!(machine.shows(&machine.start()), DAY + 20);
}

#[test]
fn calendar_that_was_set_far_ahead_over_a_reboot_brings_it_there_for_good() {
    const YEARS: u64 = 1_000_000_000;
    let mut machine = Machine::new();
    machine.save(&machine.start());
    machine.calendar += YEARS;
    machine.reboot(20);
    let clock = machine.start();
    assert_eq!(machine.shows(&clock), DAY + YEARS);
    machine.save(&clock);
    machine.calendar -= YEARS;
    machine.pass(20);
    machine.reboot(10);
    assert_eq!(machine.shows(&machine.start()), DAY + YEARS + 10);
}

#[test]
fn kill_of_an_earlier_boot_has_its_own_time() {
    let mut machine = Machine::new();
    let clock = machine.start();
    machine.save(&clock);
    machine.pass(100);
    let kill = machine.kill();
    assert_eq!(
        clock.of_kill_ns(&kill, machine.reading()) / SECOND,
        DAY + 100
    );
    machine.pass(500);
    // The kill was at 1100 s since a boot: on this one that is in the future.
    machine.reboot(20);
    let clock = machine.start();
    let after = clock.of_kill_ns(&kill, machine.reading()) / SECOND;
    assert_eq!(after, DAY + 100);
    assert_eq!(machine.shows(&clock), DAY + 600);
}

#[test]
fn kill_of_a_boot_that_is_not_known_is_from_before_this_one() {
    let mut machine = Machine::new();
    let kill = machine.kill();
    machine.pass(600);
    machine.reboot(20);
    let clock = machine.start();
    let age = |machine: &Machine, kill: &Report| {
        let reading = machine.reading();
        let ns = clock.at_ns(reading.boot_time_ns) - clock.of_kill_ns(kill, reading);
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
fn what_cannot_be_read_is_a_first_start() {
    let mut machine = Machine::new();
    machine.save(&machine.start());
    machine.saved.spoil(PART);
    machine.pass(10);
    assert_eq!(machine.shows(&machine.start()), DAY + 10);
}

proptest! {
    #[test]
    fn it_never_goes_back(
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
                let before = clock.of_kill_ns(&kill.0, machine.reading()) / SECOND;
                prop_assert!(before <= shown, "the kill is from before");
            }
            let now = machine.shows(&clock);
            prop_assert!(now >= shown, "{} {}", now, shown);
            shown = now;
            machine.save(&clock);
        }
        prop_assert!(clock.boots.len() <= BOOTS);
    }
}
