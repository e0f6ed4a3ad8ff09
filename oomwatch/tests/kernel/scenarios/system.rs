//! The whole machine, or one of its nodes, runs out of memory: only where the machine is there for that alone.

use std::{fs, process};

use super::MIB;
use crate::{
    Scenario, Skip,
    backends::{Backends, Kill},
    cgroups::{Cgroup, Hierarchy, Scene, Version},
    expected::{Choice, Expected, System, Trigger},
    kernel::{meminfo_bytes, node_pages, page_bytes},
    machine::Machine,
    process::{Hog, Process},
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("backends_agree_when_the_system_runs_out", system).needing(guest),
    Scenario::new("backends_agree_on_sysrq", sysrq).needing(has_sysrq),
    Scenario::new(
        "backends_agree_when_the_allocating_task_is_killed",
        allocating,
    )
    .needing(guest),
    Scenario::new("backends_agree_when_a_cpuset_runs_out", cpuset).needing(has_cpuset),
    Scenario::new(
        "backends_agree_when_a_memory_policy_runs_out",
        memory_policy,
    )
    .needing(has_two_nodes),
];

/// How often all memory is taken in a storm.
const STORM: usize = 5;
/// The node that runs out while the other does not.
const NODE: u64 = 1;
const SYSRQ: &str = "/proc/sysrq-trigger";
const KILL_ALLOCATING: &str = "/proc/sys/vm/oom_kill_allocating_task";
/// What the killer does not take.
const NEVER: &str = "-1000";
const OWN_ADJ: &str = "/proc/self/oom_score_adj";

/// Skips where the machine is not to run out of memory.
pub(super) fn guest(machine: &Machine) -> Result<(), Skip> {
    if machine.is_guest {
        Ok(())
    } else {
        Err(Skip(
            "this machine is not there for these tests alone".to_owned(),
        ))
    }
}

fn has_sysrq(machine: &Machine) -> Result<(), Skip> {
    guest(machine)?;
    let is_there = fs::exists(SYSRQ).expect("look for sysrq");
    is_there
        .then_some(())
        .ok_or_else(|| Skip("this kernel has no sysrq".to_owned()))
}

fn has_two_nodes(machine: &Machine) -> Result<(), Skip> {
    guest(machine)?;
    node_pages(NODE)
        .map(drop)
        .ok_or_else(|| Skip("this machine has one node of memory".to_owned()))
}

fn has_cpuset(machine: &Machine) -> Result<(), Skip> {
    has_two_nodes(machine)?;
    Hierarchy::find("cpuset").map(drop)
}

/// A file of the kernel's with another value, as long as this lives.
pub(super) struct Changed {
    path: &'static str,
    before: String,
}

impl Changed {
    fn to(path: &'static str, value: &str) -> Self {
        let read = |what| {
            fs::read_to_string(path).unwrap_or_else(|error| panic!("{what} {path}: {error}"))
        };
        let before = read("read");
        fs::write(path, value).unwrap_or_else(|error| panic!("write {path}: {error}"));
        assert_eq!(read("read again").trim_end(), value, "{path}");
        Self { path, before }
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        if let Err(error) = fs::write(self.path, self.before.trim_end()) {
            eprintln!("write {}: {error}", self.path);
        }
    }
}

/// Keeps this process and those that it starts from now on, save the victims, who ask for it.
pub(super) fn never_these_tests() -> Changed {
    Changed::to(OWN_ADJ, NEVER)
}

/// One that takes all memory there is.
fn hog(adj: u64) -> Hog {
    Hog::plain()
        .set("adj", adj)
        .set("cap", 2 * meminfo_bytes("MemTotal"))
}

fn of_all_memory(order: Option<i64>) -> System {
    System {
        constraint: "none",
        pages: meminfo_bytes("MemTotal") / page_bytes(),
        order,
    }
}

/// One that is left for the killer if it comes again before it sees that memory is free: the kernel panics when it finds no process.
struct Spare {
    process: Process,
    cgroup: Cgroup,
}

impl Spare {
    fn start(machine: &Machine, cgroup: &Cgroup) -> Self {
        let mut process = Hog::holding(MIB)
            .named(b"spare")
            .start(cgroup, machine.patience);
        process.ready();
        Self {
            process,
            cgroup: cgroup.clone(),
        }
    }

    /// Whether it was needed is known in the end only.
    fn kill(&self, system: System) -> Kill {
        let victim = self.process.as_victim(self.process.pid());
        Kill::maybe(Expected::of_system(&victim, &self.cgroup, system, MIB))
    }
}

/// Kills the one that takes what is left of all memory.
fn take_all(machine: &Machine, cgroup: &Cgroup) -> [Kill; 2] {
    let spare = Spare::start(machine, cgroup);
    let min_rss_bytes = meminfo_bytes("MemAvailable") / 2;
    let victim = hog(1000).start(cgroup, machine.patience).killed();
    let kill = Expected::of_system(&victim, cgroup, of_all_memory(None), min_rss_bytes);
    [kill.into(), spare.kill(of_all_memory(None))]
}

/// Takes all memory there is, a few times, each time by another process.
pub(super) fn hogs_until_all_are_killed(machine: &Machine, cgroup: &Cgroup) {
    let _never = never_these_tests();
    let spare = Spare::start(machine, cgroup);
    for _ in 0..STORM {
        hog(900).start(cgroup, machine.patience).killed();
    }
    drop(spare);
}

fn system(machine: &Machine) {
    let scene = machine.scene("system");
    let pod = scene.make_all("kubepods/besteffort/pod8a4e6bd2-0f35-4c1b-9a77-2b1d5e6f7081");
    let container = pod.make("3f1c0e7ab2d94c5586a1f7e2d0b9c8a7f6e5d4c3b2a190817263544536271809");
    let _never = never_these_tests();
    let mut backends = Backends::start(machine);
    backends.saw("system-in-a-pod", take_all(machine, &container));
    backends.saw("system-outside-of-pods", take_all(machine, &machine.top()));
    backends.end();
}

/// The one who presses the key asks for no memory; a worker of the kernel's looks for the worst.
fn sysrq(machine: &Machine) {
    let scene = machine.scene("sysrq");
    let _never = never_these_tests();
    let mut backends = Backends::start(machine);
    let mut holder = Hog::holding(32 * MIB)
        .set("adj", 1000)
        .start(&scene, machine.patience);
    holder.ready();
    fs::write(SYSRQ, "f").expect("ask for a kill");
    let victim = holder.killed();
    let kill = Expected::of_system(&victim, &scene, of_all_memory(Some(-1)), 32 * MIB)
        .triggered_by(Trigger::Worker);
    backends.saw("sysrq-f", [kill]);
    backends.end();
}

/// Not the worst is killed, but who asks for memory, unless that is one of those that never are.
fn allocating(machine: &Machine) {
    let scene = machine.scene("allocating");
    let _never = never_these_tests();
    let _allocating = Changed::to(KILL_ALLOCATING, "1");
    let mut backends = Backends::start(machine);
    // Someone else may ask in vain before, and then it is this one.
    let mut worst = Hog::holding(MIB)
        .set("adj", 1000)
        .named(b"spare")
        .start(&scene, machine.patience);
    worst.ready();
    let worst = Spare {
        process: worst,
        cgroup: scene.clone(),
    };
    let min_rss_bytes = meminfo_bytes("MemAvailable") / 2;
    let victim = hog(0)
        .named(b"allocating")
        .start(&scene, machine.patience)
        .killed();
    let mut kill = Expected::of_system(&victim, &scene, of_all_memory(None), min_rss_bytes)
        .triggered_by(Trigger::Victim);
    kill.choice = Choice::None;
    let kills = [kill.into(), worst.kill(of_all_memory(None))];
    backends.saw("oom-kill-allocating-task", kills);
    backends.end();
}

/// Kills the one that takes what is left of one node.
fn take_node(machine: &Machine, cgroup: &Cgroup, hog: Hog, constraint: &'static str) -> [Kill; 2] {
    let pages = node_pages(NODE).expect("a node of memory");
    let system = System {
        constraint,
        pages,
        order: None,
    };
    let spare = Spare::start(machine, cgroup);
    let victim = hog.start(cgroup, machine.patience).killed();
    let kill = Expected::of_system(&victim, cgroup, system, pages * page_bytes() / 4)
        .triggered_by(Trigger::Victim);
    [kill.into(), spare.kill(system)]
}

fn cpuset(machine: &Machine) {
    let scene = machine.scene("cpuset");
    let charged = scene.make("charged");
    let cpusets = Hierarchy::find("cpuset").expect("looked for before").root();
    let (hog, _own) = match cpusets.version() {
        Version::V2 => {
            scene.enable("cpuset");
            charged.write("cpuset.mems", NODE);
            (hog(1000), None)
        }
        Version::V1 => {
            let bound = cpusets.make(format!("oomwatch-test-{}", process::id()));
            let bound = Scene::new(bound, machine.patience);
            bound.write("cpuset.mems", NODE);
            bound.write("cpuset.cpus", 0);
            let entrance = bound.entrance_path();
            (hog(1000).set("move", entrance.display()), Some(bound))
        }
    };
    let _never = never_these_tests();
    let mut backends = Backends::start(machine);
    backends.saw("cpuset", take_node(machine, &charged, hog, "cpuset"));
    backends.end();
}

fn memory_policy(machine: &Machine) {
    let scene = machine.scene("memory-policy");
    let _never = never_these_tests();
    let mut backends = Backends::start(machine);
    let hog = hog(1000).set("node", NODE);
    let kills = take_node(machine, &scene, hog, "memory_policy");
    backends.saw("memory-policy", kills);
    backends.end();
}
