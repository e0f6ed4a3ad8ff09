//! Many at once: nothing is lost, nothing comes twice, and nothing is mixed up.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use super::MIB;
use crate::{
    Scenario, backends::attempt, cgroups::Cgroup, ended::Ended, expected::Expected,
    machine::Machine, process::Hog, watcher::Watch,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("storm_of_kills_is_complete", storm),
    Scenario::new(
        "kills_among_dying_pid_namespaces_are_all_seen",
        dying_namespaces,
    ),
    Scenario::new(
        "kills_at_the_start_are_on_one_side_of_the_sum",
        kills_at_start,
    ),
];

/// Starts while processes are killed.
const STARTS: usize = 6;
/// Victims that run at a time.
const AT_ONCE: usize = 20;
const LIMIT_BYTES: u64 = 8 * MIB;
/// Kills after, and while, PID namespaces die.
const KILLS: usize = 100;

/// Kills so many, each in a cgroup of its own that is removed at once.
pub(super) fn kill_many(machine: &Machine, scene: &Cgroup, count: usize) -> Vec<Expected> {
    let next = AtomicUsize::new(0);
    let kills = Mutex::new(Vec::with_capacity(count));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(count) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    let cgroup = scene.make(format!("victim-{number}"));
                    cgroup.limit(LIMIT_BYTES);
                    let chain = cgroup.chain();
                    let process = Hog::plain().start(&cgroup, machine.patience);
                    let victim = process.killed();
                    cgroup.remove(machine.patience).expect("remove a cgroup");
                    let kill = Expected::in_chain(&victim, chain).among_others();
                    kills.lock().expect("no panic").push(kill);
                }
            });
        }
    });
    kills.into_inner().expect("no panic")
}

/// Each kill has its one report, and there are no others.
fn check_all(kills: &[Expected], ended: &Ended) {
    let reports = ended.reports();
    let by_cgroup: HashMap<_, _> = reports
        .iter()
        .map(|report| (report.bytes("/victim/cgroup/path"), report))
        .collect();
    assert_eq!(
        by_cgroup.len(),
        reports.len(),
        "a cgroup was reported twice"
    );
    for kill in kills {
        let path = &kill.chain[0].path;
        let report = by_cgroup
            .get(path)
            .unwrap_or_else(|| panic!("no report on {}", path.escape_ascii()));
        kill.check(report);
    }
    assert_eq!(reports.len(), kills.len());
}

fn storm(machine: &Machine) {
    let scene = machine.scene("storm");
    let watcher = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let kills = kill_many(machine, &scene, machine.storm);
    let ended = watcher.interrupt();
    check_all(&kills, &ended);
    let sum = ended.sum();
    // Others may kill on this machine too.
    assert!(sum.kills >= machine.storm as u64, "{sum:?}");
}

/// A dying init process has the kernel send SIGKILL to all others of its namespace: what looks like the first half of a kill.
fn dying_namespaces(machine: &Machine) {
    let scene = machine.scene("dying-namespaces");
    let unlimited = scene.make("namespaces");
    let namespaces = |count: usize| {
        let hog = Hog::new("namespaces").set("count", count);
        hog.start(&unlimited, machine.patience * 5)
    };
    let watcher = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let [first, second] = [(); 2].map(|()| namespaces(machine.namespaces / 2));
    first.ended();
    second.ended();
    let count = KILLS.min(machine.storm);
    let mut kills = kill_many(machine, &scene.make("after"), count);
    let others = namespaces(machine.namespaces / 10);
    kills.extend(kill_many(machine, &scene.make("while"), count));
    others.ended();
    let ended = watcher.interrupt();
    check_all(&kills, &ended);
    ended.sum();
}

/// Whatever is reported is in the sum, also what is killed between the attachment and the first count.
fn kills_at_start(machine: &Machine) {
    let scene = machine.scene("at-start");
    scene.limit(LIMIT_BYTES);
    let has_ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !has_ended.load(Ordering::Relaxed) {
                Hog::plain().start(&scene, machine.patience).killed();
            }
        });
        let checked = attempt(|| {
            for _ in 0..STARTS {
                let watcher = Watch::new(machine, &["-o", "json"]).start();
                let ended = watcher.interrupt();
                let hidden = ended.hidden();
                assert_eq!(ended.reports().len() as u64 + hidden, ended.sum().kills);
            }
        });
        has_ended.store(true, Ordering::Relaxed);
        checked.map_or_else(|why| panic!("{why}"), drop);
    });
}
