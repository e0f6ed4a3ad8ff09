//! Drives the audit through arbitrary orders of events, on a simulated kernel, ring, log and disk.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::audit::recent_kills::KnownKill;

/// A process that the kernel kills.
#[derive(Clone, Copy, Debug)]
struct Victim {
    /// Whether its record fits into the ring.
    is_recorded: bool,
    /// Whether its line stays in the log.
    is_logged: bool,
    /// Whether it is killed twice.
    is_killed_again: bool,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Kill(Victim),
    /// The kernel takes the next step of the kill in progress.
    Step,
    /// The agent takes the records in the ring.
    Drain,
    /// An audit, with the steps that the kernel takes before each part of it, and whether the log is readable.
    Audit([u8; 4], bool),
    /// What was reported is saved, with the state of the audit.
    Save,
    /// The agent is killed, and resumes from what was saved.
    Restart,
    Reboot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Kill,
    Rekill,
}

/// A kill or re-kill.
#[derive(Clone, Copy, Debug)]
struct KillRecord {
    kind: Kind,
    pid: u32,
    time_ns: u64,
    victim: Victim,
}

/// How far a kill has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Stage {
    Counted,
    Recorded,
}

/// What was reported.
#[derive(Clone, Debug, Default)]
struct Reports {
    /// By process: kills and re-kills.
    items: BTreeMap<u32, (u32, u32)>,
    unidentified: u64,
}

#[derive(Debug)]
struct Machine {
    now_ns: u64,
    next_pid: u32,
    counted: u64,
    /// Kills to be made, one after the other.
    waiting: VecDeque<KillRecord>,
    current: Option<(KillRecord, Stage)>,
    ring: Vec<KillRecord>,
    log: Vec<KillRecord>,
    /// Every kill of this boot.
    made: Vec<KillRecord>,

    state: AuditState,
    /// Records of the ring that were taken.
    taken: usize,
    reports: Reports,
    /// Whether the current kill was in progress at the last audit or start already.
    is_current_old: bool,

    saved: (AuditSum, BTreeMap<u64, KnownKill>, usize, Reports),
}

impl Machine {
    fn new() -> Self {
        let now = KernelCount {
            kills: 0,
            boot_time_ns: START,
        };
        let state = AuditState::start(now);
        let saved = (state.sum.clone(), BTreeMap::new(), 0, Reports::default());
        Self {
            now_ns: START,
            next_pid: 1,
            counted: 0,
            waiting: VecDeque::new(),
            current: None,
            ring: Vec::new(),
            log: Vec::new(),
            made: Vec::new(),
            state,
            taken: 0,
            reports: Reports::default(),
            is_current_old: false,
            saved,
        }
    }

    fn count(&mut self) -> KernelCount {
        self.now_ns += MILLISECOND;
        KernelCount {
            kills: self.counted,
            boot_time_ns: self.now_ns,
        }
    }

    fn begin(&mut self, victim: Victim) {
        let pid = self.next_pid;
        self.next_pid += 1;
        let record = |kind| KillRecord {
            kind,
            pid,
            time_ns: 0,
            victim,
        };
        self.waiting.push_back(record(Kind::Kill));
        if victim.is_killed_again {
            self.waiting.push_back(record(Kind::Rekill));
        }
    }

    fn step(&mut self) {
        self.now_ns += MILLISECOND;
        self.current = match self.current.take() {
            None => {
                self.is_current_old = false;
                self.waiting.pop_front().map(|record| {
                    let record = KillRecord {
                        time_ns: self.now_ns,
                        ..record
                    };
                    self.counted += 1;
                    self.made.push(record);
                    (record, Stage::Counted)
                })
            }
            Some((record, Stage::Counted)) => {
                self.ring
                    .extend(record.victim.is_recorded.then_some(record));
                Some((record, Stage::Recorded))
            }
            Some((record, Stage::Recorded)) => {
                self.log.extend(record.victim.is_logged.then_some(record));
                None
            }
        };
    }

    fn steps(&mut self, steps: u8) {
        for _ in 0..steps {
            self.step();
        }
    }

    fn drain(&mut self) {
        for at in self.taken..self.ring.len() {
            let record = self.ring[at];
            match record.kind {
                Kind::Kill => {
                    if self.state.kill(&record.kill()) {
                        self.report(record.kind, record.pid);
                    }
                }
                Kind::Rekill => {
                    self.state.non_kill(&record.rekill());
                    self.report(record.kind, record.pid);
                }
            }
        }
        self.taken = self.ring.len();
    }

    fn report(&mut self, kind: Kind, pid: u32) {
        let (kills, rekills) = self.reports.items.entry(pid).or_default();
        match kind {
            Kind::Kill => *kills += 1,
            Kind::Rekill => *rekills += 1,
        }
    }

    /// As `Auditor` and its callers do it.
    fn audit(&mut self, steps: [u8; 4], is_log_readable: bool) {
        // A kill takes microseconds; two audits are a second apart.
        while self.is_current_old && self.current.is_some() {
            self.step();
        }
        let before = self.count();
        self.steps(steps[0]);
        self.drain();
        self.steps(steps[1]);
        let now = self.count();
        let missing = self.state.compare(Some(before), now);
        if self.state.is_complete() {
            self.state.set_complete(10 * SECOND);
        }
        if missing > 0 {
            self.backfill([steps[2], steps[3]], is_log_readable);
        }
        self.is_current_old = true;
    }

    fn backfill(&mut self, steps: [u8; 2], is_log_readable: bool) {
        let before = self.count();
        self.steps(steps[0]);
        let log = is_log_readable.then(|| {
            let lines = self.log.iter().map(KillRecord::line);
            log(lines.collect::<Vec<_>>())
        });
        self.steps(steps[1]);
        self.drain();
        let BackfillResult {
            found,
            unidentified,
            ..
        } = self.state.backfill(before, log);
        self.state.gap(unidentified, before.kills);
        self.reports.unidentified += unidentified;
        for kill in found.kills {
            self.report(Kind::Kill, kill.kill.victim.pid);
        }
        for rekill in found.rekills {
            self.report(Kind::Rekill, rekill.pid);
        }
    }

    fn save(&mut self) {
        self.saved.0 = self.state.sum.clone();
        for (number, known) in self.state.recent.take_changes() {
            match known {
                Some(known) => self.saved.1.insert(number, known),
                None => self.saved.1.remove(&number),
            };
        }
        self.saved.2 = self.taken;
        self.saved.3 = self.reports.clone();
    }

    fn saved_kills(&self) -> RecentKills {
        RecentKills::restored(self.saved.1.clone())
    }

    fn restart(&mut self) {
        // The first audit is due a second later.
        self.is_current_old = true;
        let now = self.count();
        let recent = self.saved_kills();
        self.state = AuditState::resume(self.saved.0.clone(), recent, now);
        self.taken = self.saved.2;
        self.reports = self.saved.3.clone();
    }

    fn reboot(&mut self) {
        self.now_ns = SECOND;
        self.counted = 0;
        self.waiting.clear();
        self.current = None;
        self.ring.clear();
        self.log.clear();
        self.made.clear();
        let now = self.count();
        self.state = AuditState::resume_on_new_boot(self.saved_kills(), now);
        self.taken = 0;
        // Kills of the boot before are not checked.
        self.reports = Reports::default();
        self.save();
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Kill(victim) => self.begin(victim),
            Event::Step => self.step(),
            Event::Drain => self.drain(),
            Event::Audit(steps, is_log_readable) => self.audit(steps, is_log_readable),
            Event::Save => self.save(),
            Event::Restart => self.restart(),
            Event::Reboot => self.reboot(),
        }
    }

    /// Every report is of a kill that was made, once; at most as many kills are accounted for as the kernel counted.
    fn check(&self) {
        for (pid, (kills, rekills)) in &self.reports.items {
            let made = |kind| {
                let is_same = |record: &&KillRecord| record.pid == *pid && record.kind == kind;
                u32::try_from(self.made.iter().filter(is_same).count()).expect("few")
            };
            assert!(
                *kills <= made(Kind::Kill),
                "{pid} was reported {kills} times"
            );
            assert!(*rekills <= made(Kind::Rekill), "{pid}: {rekills} re-kills");
        }
        let accounted = self.state.sum.totals.counts.accounted();
        assert!(accounted <= self.counted, "{accounted} of {}", self.counted);
    }

    /// Audits until no kill is in progress.
    fn settle(&mut self) {
        while self.current.is_some() || !self.waiting.is_empty() {
            self.step();
        }
        for _ in 0..3 {
            self.audit([0; 4], true);
            self.check();
        }
        assert!(self.state.is_complete());
        assert_eq!(self.state.sum.totals.counts.accounted(), self.counted);
    }
}

impl KillRecord {
    fn kill(&self) -> Kill {
        Kill {
            boot_time_ns: Some(self.time_ns),
            ..kill(self.pid)
        }
    }

    fn rekill(&self) -> NonKill {
        NonKill {
            boot_time_ns: Some(self.time_ns),
            kind: NonKillKind::Rekill,
            pid: self.pid,
            tid: self.pid,
            comm: None,
            cgroup: None,
        }
    }

    fn line(&self) -> LogItem {
        let stamp = stamp(self.time_ns);
        match self.kind {
            Kind::Kill => LogItem::Kill(Box::new(LogKill {
                kill: self.kill(),
                stamp,
                incident: stamp,
                incident_tid: self.pid,
                number: 1,
                incident_number: 1,
                host: None,
            })),
            Kind::Rekill => LogItem::Rekill {
                non_kill: self.rekill(),
                stamp,
            },
        }
    }
}

fn any_victim() -> impl Strategy<Value = Victim> {
    (
        prop::bool::weighted(0.7),
        prop::bool::weighted(0.7),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(is_recorded, is_logged, is_killed_again)| Victim {
            is_recorded,
            is_logged,
            is_killed_again,
        })
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => any_victim().prop_map(Event::Kill),
        6 => Just(Event::Step),
        2 => Just(Event::Drain),
        4 => ([0..4_u8, 0..4, 0..4, 0..4], prop::bool::weighted(0.8))
            .prop_map(|(steps, is_readable)| Event::Audit(steps, is_readable)),
        2 => Just(Event::Save),
        1 => Just(Event::Restart),
    ]
}

fn run(events: impl IntoIterator<Item = Event>) -> Machine {
    let mut machine = Machine::new();
    for event in events {
        machine.handle(event);
        machine.check();
    }
    machine.settle();
    machine
}

const SEEN: Victim = Victim {
    is_recorded: true,
    is_logged: true,
    is_killed_again: false,
};
const LOST: Victim = Victim {
    is_recorded: false,
    ..SEEN
};
const GONE: Victim = Victim {
    is_logged: false,
    ..LOST
};
const AUDIT: Event = Event::Audit([0; 4], true);

#[test]
fn lost_record_is_found_in_the_log_and_a_kill_in_neither_is_a_gap() {
    let made = [Event::Kill(SEEN), Event::Kill(LOST), Event::Kill(GONE)];
    let machine = run(made.into_iter().chain([Event::Step; 9]));
    assert_eq!(machine.reports.items.len(), 2);
    assert_eq!(machine.reports.unidentified, 1);
    assert_eq!(machine.state.backfilled, 1);
}

#[test]
fn kills_while_no_agent_runs_are_found_after_the_restart() {
    let before = [Event::Kill(SEEN), Event::Step, Event::Step, Event::Step];
    let meanwhile = [Event::Kill(LOST), Event::Step, Event::Step, Event::Step];
    for restart in [Event::Restart, Event::Reboot] {
        let events = (before.into_iter())
            .chain([Event::Drain, Event::Save])
            .chain(meanwhile)
            .chain([restart, AUDIT]);
        let machine = run(events);
        let expected = if matches!(restart, Event::Restart) {
            2
        } else {
            0
        };
        assert_eq!(machine.reports.items.len(), expected);
        assert_eq!(machine.reports.unidentified, 0);
    }
}

#[test]
fn rekill_is_accounted_for_with_its_kill() {
    for victim in [SEEN, LOST] {
        let twice = Victim {
            is_killed_again: true,
            ..victim
        };
        let machine = run([Event::Kill(twice), Event::Step, AUDIT]);
        assert_eq!(machine.reports.items[&1], (1, 1));
        assert_eq!(machine.reports.unidentified, 0);
    }
}

proptest! {
    /// No kill is reported twice, none that was not made, and in the end every kill is accounted for.
    #[test]
    fn every_order_of_events_ends_complete(
        events in prop::collection::vec(any_event(), 0..60),
        reboot in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut events = events;
        if let Some(at) = reboot {
            events.insert(at.index(events.len() + 1), Event::Reboot);
        }
        run(events);
    }

    /// With a readable log, the gap is exactly the kills that were neither recorded nor logged.
    #[test]
    fn gap_is_what_neither_records_nor_log_have(events in prop::collection::vec(any_event(), 0..60)) {
        let readable = events.into_iter().map(|event| match event {
            Event::Audit(steps, _) => Event::Audit(steps, true),
            event => event,
        });
        let machine = run(readable);
        let is_gone = |record: &&KillRecord| !record.victim.is_recorded && !record.victim.is_logged;
        let gone = machine.made.iter().filter(is_gone).count();
        prop_assert_eq!(machine.reports.unidentified, gone as u64);
    }
}
