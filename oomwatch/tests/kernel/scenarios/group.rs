//! What only cgroup v2 has: kills of whole groups, limits that a writer lowers below what is used, and cgroups without the
//! memory controller.

use std::{collections::HashSet, fs, process};

use super::MIB;
use crate::{
    Scenario, Skip,
    cgroups::Version,
    expected::{Expected, Trigger, Usage},
    machine::Machine,
    process::Hog,
    watcher::Watch,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "group_kill_is_one_incident_with_each_process_once",
        group_kill,
    )
    .needing(cgroup_v2),
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

fn cgroup_v2(machine: &Machine) -> Result<(), Skip> {
    match machine.version() {
        Version::V2 => Ok(()),
        Version::V1 => Err(Skip("the memory controller is on cgroup v1".to_owned())),
    }
}

fn group_kill(machine: &Machine) {
    let scene = machine.scene("group");
    scene.limit(32 * MIB);
    scene.write("memory.oom.group", 1);
    let inner = scene.make("inner");
    let json = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let wide = Watch::new(machine, &["-o", "wide", "--no-header"]).start();
    let holders = [(); 3].map(|()| {
        let mut holder = Hog::holding(2 * MIB)
            .named(b"member")
            .start(&inner, machine.patience);
        holder.ready();
        holder
    });
    let hog = Hog::plain().named(b"hog").start(&inner, machine.patience);
    let hog = hog.killed();
    let mut victims = vec![hog.clone()];
    victims.extend(holders.map(crate::process::Process::killed));

    let ended = json.interrupt();
    let reports = ended.reports();
    assert_eq!(reports.len(), 4, "{reports:?}");
    let incidents: HashSet<_> = reports
        .iter()
        .map(|report| report.text("/incident"))
        .collect();
    assert_eq!(incidents.len(), 1, "{reports:?}");
    assert_eq!(reports[0].pid(), hog.pid, "{reports:?}");
    assert_eq!(reports[0].incident_ns(), reports[0].number("/boot_time_ns"));
    for victim in &victims {
        let report = reports
            .iter()
            .find(|report| report.pid() == victim.pid)
            .expect("each process of the group");
        let mut kill = Expected::new(victim, &inner)
            .out_of(1, "cgroup")
            .triggered_by(Trigger::Process(
                hog.pid,
                hog.name.clone(),
                inner.path().to_vec(),
                inner.id(),
            ));
        kill.group_kill = true;
        if victim.pid != hog.pid {
            kill.usage = Usage::Freed;
        }
        kill.held_bytes = 2 * MIB;
        kill.check(report);
    }
    ended.sum();

    let ended = wide.interrupt();
    let pid = hog.pid.to_string();
    let hogs: Vec<_> = ended
        .text()
        .into_iter()
        .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>())
        .filter(|words| words[2] == pid)
        .map(|words| words[1])
        .collect();
    assert_eq!(hogs, ["kill", "re-kill"]);
    let sum = ended.sum();
    assert!(sum.kills >= 4 && sum.rekills >= 1, "{sum:?}");
}

fn lowered_limit(machine: &Machine) {
    let scene = machine.scene("lowered");
    scene.limit(64 * MIB);
    let watcher = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let mut holder = Hog::holding(32 * MIB).start(&scene, machine.patience);
    holder.ready();
    scene.write("memory.max", 8 * MIB);
    let victim = holder.killed();
    let report = watcher.interrupt().report();

    let mut name = fs::read("/proc/thread-self/comm").expect("read own name");
    name.pop_if(|byte| *byte == b'\n');
    let own = fs::read_to_string("/proc/self/cgroup").expect("read own cgroup");
    let path = own
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .expect("a cgroup of v2");
    let id = report.number("/trigger/cgroup/id");
    let mut kill = Expected::new(&victim, &scene).triggered_by(Trigger::Process(
        process::id(),
        name,
        path.as_bytes().to_vec(),
        id,
    ));
    kill.usage = Usage::AboveLimit;
    kill.held_bytes = 16 * MIB;
    kill.check(&report);
    assert_ne!(id, scene.id(), "{report:?}");
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
