//! The same kills on every backend of the hook ladder.

use super::{MIB, group, storm, threads};
use oomwatch::model::backend::Backend;

use crate::{
    Scenario, Skip,
    backends::{Backends, Kill, try_backend},
    cgroups::Cgroup,
    expected::{Expected, Trigger, Usage},
    kernel::kretprobes_hide_callers,
    machine::Machine,
    process::Hog,
    watcher::Watch,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("backends_agree_on_one_process", one_process),
    Scenario::new("backends_agree_on_threads_and_sharers", threads_and_sharers),
    Scenario::new("kprobes_that_hide_the_stack_agree_too", kprobes_alone).needing(hiding),
    Scenario::new("backends_agree_on_groups", groups).needing(group::cgroup_v2),
    Scenario::new(
        "group_of_memory_sharers_is_counted_once_each",
        group_of_sharers,
    )
    .needing(group::cgroup_v2),
    Scenario::new("backends_agree_on_a_storm", a_storm),
];

const LIMIT_BYTES: u64 = 16 * MIB;
/// Kills in the storm, where the machine can bear them.
const STORM: usize = 300;

/// What a process may call itself to be taken for another, or for a line of the kernel's.
const HOSTILE_NAMES: [&[u8]; 5] = [
    b"a\nb",
    b"a) total-vm:1kB",
    b",pid=1,uid=0",
    b"\xff\xfe\\x41%s",
    b"",
];

fn one_process(machine: &Machine) {
    let scene = machine.scene("backends");
    let mut backends = Backends::start(machine);
    plain_kills(machine, &scene, &mut backends);
    backends.end();
}

fn plain_kills(machine: &Machine, scene: &Cgroup, backends: &mut Backends<'_>) {
    backends.saw("own-limit", [own_limit(machine, &scene.make("own"))]);
    backends.saw("pod-limit", [pod_limit(machine, scene)]);
    backends.saw(
        "other-trigger",
        other_trigger(machine, &scene.make("other")),
    );
    backends.saw(
        "hostile-comm",
        hostile_names(machine, &scene.make("hostile")),
    );
    if group::cgroup_v2(machine).is_ok() {
        let lowered = group::lowered(machine, &scene.make("lowered"));
        backends.saw("limit-lowered-below-usage", [lowered]);
    }
}

fn own_limit(machine: &Machine, cgroup: &Cgroup) -> Expected {
    cgroup.limit(LIMIT_BYTES);
    let victim = Hog::plain()
        .set("adj", 500)
        .set("uid", 12345)
        .named(b"named by itself")
        .start(cgroup, machine.patience)
        .killed();
    Expected::new(&victim, cgroup)
}

/// A pod's limit, hit by one of its containers, which has none.
fn pod_limit(machine: &Machine, scene: &Cgroup) -> Expected {
    let pod = scene.make_all("kubepods/burstable/pod8a4e6bd2-0f35-4c1b-9a77-2b1d5e6f7081");
    pod.limit(LIMIT_BYTES);
    let id = "3f1c0e7ab2d94c5586a1f7e2d0b9c8a7f6e5d4c3b2a190817263544536271809";
    let container = pod.make(id);
    let victim = Hog::plain().start(&container, machine.patience).killed();
    let mut kill = Expected::new(&victim, &container).out_of(1, "pod");
    kill.min_rss_bytes = LIMIT_BYTES / 2;
    kill
}

/// A neighbour's allocation kills the one that is more willing; then it goes on until it is killed itself.
fn other_trigger(machine: &Machine, cgroup: &Cgroup) -> [Expected; 2] {
    cgroup.limit(2 * LIMIT_BYTES);
    let (willing, allocating) = (cgroup.make("willing"), cgroup.make("allocating"));
    let mut holder = Hog::holding(LIMIT_BYTES)
        .set("adj", 1000)
        .named(b"willing")
        .start(&willing, machine.patience);
    holder.ready();
    let hog = Hog::plain()
        .named(b"allocating")
        .start(&allocating, machine.patience);
    let (first, second) = (holder.killed(), hog.killed());
    let trigger = Trigger::Process(
        second.pid,
        second.name.clone(),
        allocating.path().to_vec(),
        allocating.id(),
    );
    let [mut first, mut second] = [(first, willing), (second, allocating)]
        .map(|(victim, own)| Expected::new(&victim, &own).out_of(1, "cgroup"));
    first.trigger = trigger;
    first.min_rss_bytes = LIMIT_BYTES;
    second.min_rss_bytes = LIMIT_BYTES;
    // The killer may have come to it while the first one's memory was not given back yet.
    second.usage = Usage::Freed;
    [first, second]
}

fn hostile_names(machine: &Machine, cgroup: &Cgroup) -> [Expected; 5] {
    cgroup.limit(LIMIT_BYTES);
    HOSTILE_NAMES.map(|name| {
        let hog = Hog::plain().named(name);
        Expected::new(&hog.start(cgroup, machine.patience).killed(), cgroup)
    })
}

/// Dying threads are marked too on newer kernels, and no backend takes that for a kill.
fn threads_and_sharers(machine: &Machine) {
    let scene = machine.scene("backends-threads");
    let mut backends = Backends::start(machine);
    unusual_processes(machine, &scene, &mut backends);
    backends.end();
}

fn unusual_processes(machine: &Machine, scene: &Cgroup, backends: &mut Backends<'_>) {
    let [many, gone, sharing] = ["many", "gone", "sharing"].map(|name| scene.make(name));
    let kills = [(); 3].map(|()| threads::of_many_threads(machine, &many));
    backends.saw("24-threads", kills);
    let kills = [1, 4].map(|count| threads::without_leader(machine, &gone, count));
    backends.saw("leader-gone", kills);
    let kills = ["share", "vfork"]
        .map(|mode| Kill::one_of(threads::sharing(machine, &sharing, mode).into()));
    backends.saw("memory-sharers", kills);
}

fn hiding(machine: &Machine) -> Result<(), Skip> {
    if !kretprobes_hide_callers() {
        return Err(Skip("kretprobes hide nothing here".to_owned()));
    }
    try_backend(machine, Backend::Kprobe).map_err(Skip)
}

/// They have no place among the others then.
fn kprobes_alone(machine: &Machine) {
    let scene = machine.scene("backends-kprobe");
    let watches = [
        Backend::Fentry,
        Backend::Kprobe,
        Backend::Kmsg,
        Backend::Counters,
    ]
    .map(|backend| (backend, Watch::on(machine, backend)));
    let mut backends = Backends::start_as(machine, watches);
    plain_kills(machine, &scene, &mut backends);
    unusual_processes(machine, &scene, &mut backends);
    if group::cgroup_v2(machine).is_ok() {
        let group = group::group(machine, &scene.make("group"), 4);
        backends.saw("group-of-4", group);
    }
    backends.end();
}

fn groups(machine: &Machine) {
    let scene = machine.scene("backends-groups");
    let mut backends = Backends::start(machine);
    for (scenario, count) in [("group-of-4", 4), ("group-of-40", 40)] {
        let group = group::group(machine, &scene.make(scenario), count);
        backends.saw(scenario, group);
    }
    backends.end();
}

/// The killer signals them as members of the group and as sharers of each other's memory, and counts only the former: to
/// tracepoints the two look alike.
fn group_of_sharers(machine: &Machine) {
    let scene = machine.scene("backends-group-of-sharers");
    let mut backends = Backends::start(machine);
    for (scenario, mode) in [
        ("group-of-memory-sharers", "share"),
        ("group-of-vfork", "vfork"),
    ] {
        let cgroup = scene.make(mode);
        cgroup.kill_as_group();
        let mut kills = threads::sharing(machine, &cgroup, mode);
        for kill in &mut kills {
            kill.group_kill = true;
            kill.usage = Usage::Freed;
        }
        backends.saw(scenario, [Kill::some_of(kills.into())]);
    }
    backends.end();
}

/// Ten headers in five seconds are all that the log has, but each kill is in it.
fn a_storm(machine: &Machine) {
    let scene = machine.scene("backends-storm");
    let mut backends = Backends::start(machine);
    let kills = storm::kill_many(machine, &scene, machine.storm.min(STORM));
    backends.saw("storm", kills);
    backends.end();
}
