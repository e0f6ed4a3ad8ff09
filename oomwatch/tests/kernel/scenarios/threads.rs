//! Victims that are more than one thread or one process: still one kill.

use super::MIB;
use crate::{
    Scenario,
    cgroups::Cgroup,
    ended::Ended,
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

/// Kills a process of many threads that all allocate.
pub(super) fn of_many_threads(machine: &Machine, cgroup: &Cgroup) -> Expected {
    cgroup.limit(16 * MIB);
    let hog = Hog::new("threads").set("count", THREADS).gated();
    let mut process = hog.start(cgroup, machine.patience);
    process.ready();
    process.go();
    let mut kill = Expected::new(&process.killed(), cgroup).triggered_by(Trigger::VictimsAny);
    kill.other_thread = None;
    kill.threads = THREADS;
    kill
}

/// Kills a process whose first thread is gone, and so many others are not.
pub(super) fn without_leader(machine: &Machine, cgroup: &Cgroup, count: u64) -> Expected {
    cgroup.limit(32 * MIB);
    let hog = Hog::new("leader-exits")
        .set("count", count)
        .named(b"gone leader");
    let victim = hog.start(cgroup, machine.patience).killed();
    let mut kill = Expected::new(&victim, cgroup).triggered_by(Trigger::VictimsThread(b"worker"));
    kill.other_thread = Some(true);
    kill.threads = count;
    kill
}

/// Kills a process and its child that have the same memory, of which the child allocates more. The kernel kills both, but
/// marks, logs and counts one; which of the two is its own affair.
pub(super) fn sharing(machine: &Machine, cgroup: &Cgroup, mode: &str) -> [Expected; 2] {
    cgroup.limit(32 * MIB);
    let mut process = Hog::new(mode)
        .named(b"sharing")
        .start(cgroup, machine.patience);
    let child = process.descendant(cgroup);
    process.go();
    let parent = process.killed();
    // The parent's memory went with it, but the child may be on its way out.
    while !cgroup.processes().is_empty() {
        std::thread::yield_now();
    }
    let allocating = Trigger::Process(
        child.pid,
        child.name.clone(),
        cgroup.path().to_vec(),
        cgroup.id(),
    );
    [child, parent].map(|victim| Expected::new(&victim, cgroup).triggered_by(allocating.clone()))
}

/// On newer kernels the dying threads are marked too, which is no kill.
fn many_threads(machine: &Machine) {
    let scene = machine.scene("threads");
    let json = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let wide = Watch::new(
        machine,
        &[
            "-o",
            "wide",
            "--columns",
            "time,what,pid,note",
            "--no-header",
        ],
    )
    .start();
    let kills = [(); 6].map(|()| of_many_threads(machine, &scene));
    let ended = json.interrupt();
    check_all(&kills, &ended);

    let ended = wide.interrupt();
    for kill in &kills {
        let pid = kill.victim.pid.to_string();
        let what: Vec<_> = ended
            .words()
            .into_iter()
            .filter(|words| words[2] == pid)
            .map(|words| words[1])
            .collect();
        let kills = what.iter().filter(|&&what| what == "kill").count();
        assert_eq!(kills, 1, "{what:?}");
        assert!(
            what.iter()
                .all(|&what| what == "kill" || what == "mark_victim"),
            "{what:?}"
        );
    }
    ended.sum();
}

fn leader_exited(machine: &Machine) {
    let scene = machine.scene("leader-exits");
    let watcher = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let kills = [1, 4].map(|count| without_leader(machine, &scene, count));
    let ended = watcher.interrupt();
    check_all(&kills, &ended);
}

fn check_all(kills: &[Expected], ended: &Ended) {
    let reports = ended.reports();
    assert_eq!(reports.len(), kills.len(), "{reports:?}");
    for (kill, report) in kills.iter().zip(&reports) {
        kill.check(report);
    }
    ended.sum();
}

fn memory_sharer(machine: &Machine) {
    sharer(machine, "share");
}

fn vfork_parent(machine: &Machine) {
    sharer(machine, "vfork");
}

fn sharer(machine: &Machine, mode: &str) {
    let scene = machine.scene(mode);
    let json = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let wide = Watch::new(
        machine,
        &[
            "-o",
            "wide",
            "--columns",
            "time,what,pid,note",
            "--no-header",
        ],
    )
    .start();
    let mut kills = sharing(machine, &scene, mode);
    let ended = json.interrupt();
    let report = ended.report();
    // The victim first.
    kills.sort_by_key(|kill| kill.victim.pid != report.pid());
    kills[0].check(&report);
    ended.sum();

    let ended = wide.interrupt();
    let [victim, other] = kills.map(|kill| kill.victim.pid.to_string());
    let lines: Vec<Vec<_>> = ended
        .words()
        .into_iter()
        .filter(|words| words[2] == victim || words[2] == other)
        .collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0][1..3], ["kill", &victim], "{lines:?}");
    assert_eq!(lines[1][1..3], ["mm_sharer", &other], "{lines:?}");
    let of = lines[1]
        .iter()
        .position(|&word| word == "of")
        .expect("whose memory");
    assert_eq!(lines[1][of + 1], victim, "{lines:?}");
    assert!(ended.sum().sharers >= 1);
}
