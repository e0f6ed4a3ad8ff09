//! Victims that are more than one thread or one process: still one kill.

use super::MIB;
use crate::{
    Scenario,
    expected::{Expected, Trigger},
    machine::Machine,
    process::Hog,
    watcher::Watch,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("multi_threaded_victim_is_one_kill", many_threads),
    Scenario::new(
        "victim_whose_leader_has_exited_is_the_process",
        leader_exited,
    ),
    Scenario::new("memory_sharer_is_shown_beside_one_kill", memory_sharer),
    Scenario::new("parent_waiting_in_vfork_is_a_memory_sharer", vfork_parent),
];

/// Enough for threads to be in the OOM killer together.
const THREADS: u64 = 24;

/// On newer kernels the dying threads are marked too, which is no kill.
fn many_threads(machine: &Machine) {
    let scene = machine.scene("threads");
    scene.limit(16 * MIB);
    let json = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let wide = Watch::new(machine, &["-o", "wide", "--no-header"]).start();
    let victims = [(); 6].map(|()| {
        let hog = Hog::new("threads").set("count", THREADS).gated();
        let mut process = hog.start(&scene, machine.patience);
        process.ready();
        process.go();
        process.killed()
    });
    let ended = json.interrupt();
    let reports = ended.reports();
    assert_eq!(reports.len(), victims.len(), "{reports:?}");
    for (victim, report) in victims.iter().zip(&reports) {
        let mut kill = Expected::new(victim, &scene).triggered_by(Trigger::Anyone);
        kill.other_thread = None;
        kill.threads = THREADS;
        kill.check(report);
        report.is("/trigger/pid", victim.pid);
    }
    ended.sum();

    let ended = wide.interrupt();
    for victim in &victims {
        let pid = victim.pid.to_string();
        let what: Vec<_> = ended
            .text()
            .into_iter()
            .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>())
            .filter(|words| words[2] == pid)
            .map(|words| words[1])
            .collect();
        let kills = what.iter().filter(|&&what| what == "kill").count();
        assert_eq!(kills, 1, "{what:?}");
        assert!(
            what.iter().all(|&what| what == "kill" || what == "mark"),
            "{what:?}"
        );
    }
    ended.sum();
}

fn leader_exited(machine: &Machine) {
    let scene = machine.scene("leader-exits");
    scene.limit(32 * MIB);
    let watcher = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let victims = [1, 4].map(|count| {
        let hog = Hog::new("leader-exits")
            .set("count", count)
            .named(b"gone leader");
        (hog.start(&scene, machine.patience).killed(), count)
    });
    let ended = watcher.interrupt();
    let reports = ended.reports();
    assert_eq!(reports.len(), victims.len(), "{reports:?}");
    for ((victim, threads), report) in victims.iter().zip(&reports) {
        let mut kill =
            Expected::new(victim, &scene).triggered_by(Trigger::VictimsThread(b"worker"));
        kill.other_thread = Some(true);
        kill.threads = *threads;
        kill.check(report);
        assert_ne!(
            report.number("/trigger/tid"),
            u64::from(victim.pid),
            "{report:?}"
        );
    }
    ended.sum();
}

fn memory_sharer(machine: &Machine) {
    sharer(machine, "share");
}

fn vfork_parent(machine: &Machine) {
    sharer(machine, "vfork");
}

/// The kernel kills both, but marks, logs and counts one; which of the two is its own affair.
fn sharer(machine: &Machine, mode: &str) {
    let scene = machine.scene(mode);
    scene.limit(32 * MIB);
    let json = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let wide = Watch::new(machine, &["-o", "wide", "--no-header"]).start();
    let mut process = Hog::new(mode)
        .named(b"sharing")
        .start(&scene, machine.patience);
    let child = process.descendant(&scene);
    process.go();
    let parent = process.killed();
    // The parent's memory went with it, but the child may be on its way out.
    while !scene.processes().is_empty() {
        std::thread::yield_now();
    }
    let ended = json.interrupt();
    let report = ended.report();
    let (victim, other) = if report.pid() == child.pid {
        (child.clone(), parent)
    } else {
        (parent, child.clone())
    };
    let child_allocated = Trigger::Process(
        child.pid,
        child.name.clone(),
        scene.path().to_vec(),
        scene.id(),
    );
    Expected::new(&victim, &scene)
        .triggered_by(child_allocated)
        .check(&report);
    ended.sum();

    let ended = wide.interrupt();
    let (victim, other) = (victim.pid.to_string(), other.pid.to_string());
    let lines: Vec<Vec<_>> = ended
        .text()
        .into_iter()
        .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>())
        .filter(|words| words[2] == victim || words[2] == other)
        .collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0][1..3], ["kill", &victim], "{lines:?}");
    assert_eq!(lines[1][1..3], ["sharer", &other], "{lines:?}");
    let of = lines[1]
        .iter()
        .position(|&word| word == "of")
        .expect("whose memory");
    assert_eq!(lines[1][of + 1], victim, "{lines:?}");
    assert!(ended.sum().sharers >= 1);
}
