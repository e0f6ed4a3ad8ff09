//! The agent and its history, without an API server: storms that its ring cannot hold, a machine out of memory, a clock that is set.

use std::collections::{BTreeMap, BTreeSet};

use rustix::{
    process::Signal,
    time::{ClockId, Timespec, clock_gettime, clock_settime},
};

use super::{
    MIB, storm,
    system::{guest, hogs_until_all_are_killed},
};
use crate::{
    Scenario, Skip,
    agent::{Home, Row, Setup},
    kernel::oom_kill_count,
    machine::Machine,
    process::Hog,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("agent_has_every_kill_of_a_storm_in_its_history", of_a_storm),
    Scenario::new("agent_counts_what_its_ring_refused", refused).needing(fast),
    Scenario::new("agent_survives_a_machine_out_of_memory", out_of_memory).needing(guest),
    Scenario::new("agent_keeps_its_record_when_the_clock_is_set", clock).needing(guest),
];

/// More than the ring holds while it is not read.
const MANY: usize = 2_000;
/// What the agent may take in all.
const BUDGET_BYTES: u64 = 20 * MIB;
/// How far the clock is set.
const DAY: i64 = 86_400;

/// Skips where so many kills would take minutes.
fn fast(machine: &Machine) -> Result<(), Skip> {
    if machine.is_guest {
        Err(Skip("this machine is emulated".to_owned()))
    } else {
        Ok(())
    }
}

fn home(machine: &Machine) -> Home {
    Home::new(Setup {
        binary: machine.binary.clone(),
        kubeconfig: None,
        patience: machine.patience,
    })
}

/// What the metrics have of the kernel's kills.
fn accounted(metrics: &BTreeMap<String, f64>) -> f64 {
    let names = [
        "oomwatch_node_kills_total",
        "oomwatch_rekills_total",
        "oomwatch_unobserved_kills_total",
    ];
    let values = names.iter().filter_map(|&name| metrics.get(name));
    values.sum()
}

#[expect(clippy::cast_precision_loss, reason = "thousands at most")]
fn as_float(count: u64) -> f64 {
    count as f64
}

fn of_a_storm(machine: &Machine) {
    let scene = machine.scene("agent-storm");
    let home = home(machine);
    let agent = home.start();
    let before = oom_kill_count();
    let kills = storm::kill_many(machine, &scene, machine.storm);
    let counted = oom_kill_count() - before;
    agent.until("all are reported", |metrics| {
        accounted(metrics) >= as_float(counted)
    });
    agent.end();
    let rows = home.history();
    let pids = pids(&rows);
    for kill in &kills {
        assert!(pids.contains(&kill.victim.pid), "{:?}", kill.victim);
    }
    assert_eq!(Row::unidentified(&rows), 0);
    assert_eq!(Row::kills(&rows), counted);
}

fn refused(machine: &Machine) {
    let scene = machine.scene("agent-refused");
    let home = home(machine);
    let agent = home.start();
    let before = oom_kill_count();
    agent.signal(Signal::STOP);
    storm::kill_many(machine, &scene, MANY);
    agent.signal(Signal::CONT);
    let counted = oom_kill_count() - before;
    let mut dropped = 0.0;
    agent.until("all are accounted for", |metrics| {
        dropped = metrics["oomwatch_ring_dropped_total"];
        accounted(metrics) >= as_float(counted)
    });
    assert!(dropped > 0.0, "the ring held all of it");
    agent.end();
    let rows = home.history();
    // Each process once, whether it came from the ring or the log.
    pids(&rows);
    assert_eq!(Row::kills(&rows) + Row::unidentified(&rows), counted);
}

/// The kernel takes everybody else; what the agent needs it has.
fn out_of_memory(machine: &Machine) {
    let scene = machine.scene("agent-system");
    let home = home(machine);
    let agent = home.start();
    agent.protect();
    let before = oom_kill_count();
    hogs_until_all_are_killed(machine, &scene);
    let counted = oom_kill_count() - before;
    assert!(counted > 0);
    agent.until("all are reported", |metrics| {
        accounted(metrics) >= as_float(counted)
    });
    let peak = agent.peak_bytes();
    assert!(peak < BUDGET_BYTES, "{peak} bytes");
    agent.end();
    let rows = home.history();
    pids(&rows);
    assert_eq!(Row::unidentified(&rows), 0);
    assert_eq!(Row::kills(&rows), counted);
    for row in &rows {
        assert_eq!(row.0["scope"], "system", "{}", row.0);
    }
}

/// Ahead by a day, and back, while it runs and while it is down.
fn clock(machine: &Machine) {
    let scene = machine.scene("agent-clock");
    let home = home(machine);
    let agent = home.start();
    let before = oom_kill_count();
    let kill = || {
        scene.limit(16 * MIB);
        Hog::plain().start(&scene, machine.patience).killed().pid
    };
    let mut killed = vec![kill()];
    set_clock(DAY);
    killed.push(kill());
    agent.until("both are reported", |metrics| accounted(metrics) >= 2.0);
    agent.kill();
    set_clock(-2 * DAY);
    killed.push(kill());
    let agent = home.start();
    killed.push(kill());
    agent.until("the others are reported", |metrics| {
        accounted(metrics) >= 2.0
    });
    agent.end();
    set_clock(DAY);
    let counted = oom_kill_count() - before;
    let rows = home.history();
    let expected: BTreeSet<_> = killed.into_iter().collect();
    assert_eq!(pids(&rows), expected);
    assert_eq!(Row::kills(&rows), counted);
}

fn set_clock(seconds: i64) {
    let now = clock_gettime(ClockId::Realtime);
    let then = Timespec {
        tv_sec: now.tv_sec + seconds,
        ..now
    };
    clock_settime(ClockId::Realtime, then).expect("set the clock");
}

/// The victims, each of which is there once.
fn pids(rows: &[Row]) -> BTreeSet<u32> {
    let mut pids = BTreeSet::new();
    for row in rows {
        if let Some(pid) = row.0["victim"]["pid"].as_u64() {
            let is_new = pids.insert(u32::try_from(pid).expect("a process id"));
            assert!(is_new, "twice: {}", row.0);
        }
    }
    pids
}
