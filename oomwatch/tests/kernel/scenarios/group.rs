//! What only cgroup v2 has: kills of whole groups, limits that a writer lowers below what is used, and cgroups without the
//! memory controller.

use std::{collections::HashSet, fs, process};

use oomwatch::model::backend::Backend;

use super::MIB;
use crate::{
    Scenario, Skip,
    backends::try_backend,
    cgroups::{Cgroup, Version},
    expected::{Choice, Expected, Trigger, Usage},
    machine::Machine,
    process::{Hog, Process, Victim},
    watcher::Watch,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "group_kill_is_one_incident_with_each_process_once",
        group_kill,
    )
    .needing(cgroup_v2),
    Scenario::new(
        "group_kill_is_one_incident_beside_a_kretprobe",
        beside_kretprobe,
    )
    .needing(has_kprobes),
    Scenario::new(
        "lowered_limit_names_the_writer_as_the_trigger",
        lowered_limit,
    )
    .needing(cgroup_v2),
    Scenario::new(
        "cgroup_without_the_memory_controller_is_told_beside_the_charged_one",
        leaf,
    )
    .needing(cgroup_v2),
];

/// Skips where the memory controller is on cgroup v1.
pub(super) fn cgroup_v2(machine: &Machine) -> Result<(), Skip> {
    match machine.version() {
        Version::V2 => Ok(()),
        Version::V1 => Err(Skip("the memory controller is on cgroup v1".to_owned())),
    }
}

fn has_kprobes(machine: &Machine) -> Result<(), Skip> {
    cgroup_v2(machine)?;
    try_backend(machine, Backend::Kprobe).map_err(Skip)
}

/// The return of `oom_kill_process` is hooked, so that before 5.15 the stack ends there.
fn beside_kretprobe(machine: &Machine) {
    let scene = machine.scene("kretprobe");
    let kprobe = Watch::on(machine, Backend::Kprobe).below(&scene).start();
    let tracepoint = Watch::on(machine, Backend::RawTracepoint)
        .below(&scene)
        .start();
    let kills = group(machine, &scene, 6);
    for watcher in [tracepoint, kprobe] {
        let ended = watcher.interrupt();
        let reports = ended.reports();
        assert_eq!(reports.len(), kills.len(), "{reports:?}");
        let incidents: HashSet<_> = reports
            .iter()
            .map(|report| report.text("/incident"))
            .collect();
        assert_eq!(incidents.len(), 1, "{reports:?}");
        for report in &reports {
            report.is("/group_kill", true);
        }
        ended.sum();
    }
}

/// Kills a group of so many processes, of which the first victim comes first.
pub(super) fn group(machine: &Machine, cgroup: &Cgroup, count: u64) -> Vec<Expected> {
    // What each of them holds, and as much for what it needs to run.
    cgroup.limit(count * 4 * MIB + 16 * MIB);
    cgroup.kill_as_group();
    let inner = cgroup.make("inner");
    let holders: Vec<_> = (1..count)
        .map(|_| {
            let mut holder = Hog::holding(2 * MIB)
                .named(b"member")
                .start(&inner, machine.patience);
            holder.ready();
            holder
        })
        .collect();
    let hog = Hog::plain().named(b"hog").start(&inner, machine.patience);
    let hog = hog.killed();
    let trigger = Trigger::Process(hog.pid, hog.name.clone(), inner.path().to_vec(), inner.id());
    let members = holders.into_iter().map(Process::killed);
    let kill = |victim: Victim| {
        let mut kill = Expected::new(&victim, &inner)
            .out_of(1, "cgroup")
            .triggered_by(trigger.clone());
        kill.group_kill = true;
        kill.min_rss_bytes = 2 * MIB;
        if victim.pid != hog.pid {
            kill.usage = Usage::Freed;
            kill.choice = Choice::None;
        }
        kill
    };
    [hog.clone()].into_iter().chain(members).map(kill).collect()
}

fn group_kill(machine: &Machine) {
    let scene = machine.scene("group");
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
    let kills = group(machine, &scene, 4);
    let ended = json.interrupt();
    let reports = ended.reports();
    assert_eq!(reports.len(), kills.len(), "{reports:?}");
    let incidents: HashSet<_> = reports
        .iter()
        .map(|report| report.text("/incident"))
        .collect();
    assert_eq!(incidents.len(), 1, "{reports:?}");
    assert_eq!(reports[0].pid(), kills[0].victim.pid, "{reports:?}");
    assert_eq!(reports[0].incident_ns(), reports[0].number("/boot_time_ns"));
    for kill in &kills {
        let report = reports
            .iter()
            .find(|report| report.pid() == kill.victim.pid)
            .expect("each process of the group");
        kill.check(report);
    }
    ended.sum();

    let ended = wide.interrupt();
    let pid = kills[0].victim.pid.to_string();
    let hogs: Vec<_> = ended
        .words()
        .into_iter()
        .filter(|words| words[2] == pid)
        .map(|words| words[1])
        .collect();
    assert_eq!(hogs, ["kill", "re-kill"]);
    let sum = ended.sum();
    assert!(sum.kills >= 4 && sum.rekills >= 1, "{sum:?}");
}

/// Lowers a limit below what is used, from outside: from this process.
pub(super) fn lowered(machine: &Machine, cgroup: &Cgroup) -> Expected {
    cgroup.limit(64 * MIB);
    let mut holder = Hog::holding(32 * MIB).start(cgroup, machine.patience);
    holder.ready();
    cgroup.write("memory.max", 8 * MIB);
    let victim = holder.killed();

    let mut name = fs::read("/proc/thread-self/comm").expect("read own name");
    name.pop_if(|byte| *byte == b'\n');
    let (path, id) = cgroup.of_this_process();
    let mut kill = Expected::new(&victim, cgroup).triggered_by(Trigger::Process(
        process::id(),
        name,
        path,
        id,
    ));
    kill.usage = Usage::AboveLimit;
    kill.min_rss_bytes = 16 * MIB;
    kill
}

fn lowered_limit(machine: &Machine) {
    let scene = machine.scene("lowered");
    let watcher = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let kill = lowered(machine, &scene);
    let report = watcher.interrupt().report();
    kill.check(&report);
}

/// What a container makes below itself without the controller is charged to the container.
fn leaf(machine: &Machine) {
    let scene = machine.scene("leaf");
    scene.limit(16 * MIB);
    let leaf = scene
        .make_without_memory("leaf")
        .make_without_memory("lower");
    let watcher = Watch::new(machine, &["-o", "json"]).below(&leaf).start();
    let victim = Hog::plain().start(&leaf, machine.patience).killed();
    let report = watcher.interrupt().report();
    Expected::new(&victim, &scene).check(&report);
    assert_eq!(report.bytes("/victim/leaf_cgroup/path"), leaf.path());
    report.is("/victim/leaf_cgroup/id", leaf.id());
}
