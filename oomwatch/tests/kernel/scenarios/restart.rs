//! Kills while no agent reads, while one agent takes over from another, and around a SIGKILL: each once.

use std::{
    collections::BTreeSet,
    fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    thread,
};

use oomwatch::capture::bpf::{
    Probe, ProbeError, RING_BYTES, offsets,
    pins::{GenerationName, Pins, Rings},
    programs,
};
use oomwatch::model::backend::Backend;

use super::{MIB, storm::kill_many};
use crate::{
    Scenario, Skip,
    backends::try_backend,
    bpffs::{self, Bpffs},
    cgroups::{Cgroup, Scene},
    keeper::{Keeper, Kept, Running, Saves},
    machine::{Machine, boot_time_ns},
    process::{Hog, Victim},
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "kills_while_no_agent_runs_are_reported_by_the_next_start",
        nobody_runs,
    )
    .needing(pins_work),
    Scenario::new("what_was_not_saved_is_reported_again", not_saved)
        .needing(pins_work_and_no_guest),
    Scenario::new(
        "every_kill_is_reported_once_while_agents_are_killed_and_follow_each_other",
        one_after_another,
    )
    .needing(pins_work),
    Scenario::new(
        "kills_that_two_agents_have_seen_are_reported_once",
        two_attached,
    )
    .needing(pins_work),
    Scenario::new(
        "records_of_another_layout_are_counted_and_removed",
        another_layout,
    )
    .needing(pins_work_and_no_guest),
    Scenario::new("start_that_was_not_completed_is_removed", half_made)
        .needing(pins_work_and_no_guest),
    Scenario::new("what_the_ring_had_no_room_for_is_counted_once", full_ring).needing(pins_work),
    Scenario::new("what_no_agent_has_pinned_is_left_alone", not_ours)
        .needing(pins_work_and_no_guest),
    Scenario::new("agent_beside_another_pins_nothing", second_agent)
        .needing(pins_work_and_no_guest),
    Scenario::new("one_backend_takes_over_from_another", other_backend).needing(pins_work),
    Scenario::new(
        "without_bpffs_kills_are_reported_and_nothing_is_pinned",
        no_bpffs,
    ),
];

const LIMIT_BYTES: u64 = 16 * MIB;
/// Agents that follow each other.
const AGENTS: usize = 10;
/// A ring that so many kills fill: a record takes more than a KiB.
const SMALL_BYTES: u32 = 32 << 10;
const FILLING: usize = 60;

pub(super) fn pins_work(_: &Machine) -> Result<(), Skip> {
    bpffs::can_be_mounted()
}

/// For what no kernel has anything to do with: an emulated machine starts an agent in seconds.
pub(super) fn pins_work_and_no_guest(machine: &Machine) -> Result<(), Skip> {
    if machine.is_guest {
        return Err(Skip("the same on every kernel, and slow here".to_owned()));
    }
    pins_work(machine)
}

/// A process that was killed, and when.
type Death = (Victim, RangeInclusive<u64>);

/// Where agents pin, what they have on file, and where there are kills.
struct Node<'a> {
    machine: &'a Machine,
    bpffs: Bpffs,
    folder: tempfile::TempDir,
    scene: Scene,
}

impl<'a> Node<'a> {
    fn new(machine: &'a Machine, name: &str) -> Self {
        let scene = machine.scene(name);
        scene.limit(LIMIT_BYTES);
        Self {
            machine,
            bpffs: Bpffs::mount().expect("mounted before"),
            folder: tempfile::tempdir().expect("make a folder"),
            scene,
        }
    }

    fn keeper(&self) -> Keeper<'_> {
        Keeper {
            machine: self.machine,
            bpffs: &self.bpffs,
            file: self.folder.path().join("kept"),
        }
    }

    fn kill(&self, count: usize) -> Vec<Death> {
        let one = |_| {
            let before = boot_time_ns();
            let victim = Hog::plain()
                .start(&self.scene, self.machine.patience)
                .killed();
            (victim, before..=boot_time_ns())
        };
        (0..count).map(one).collect()
    }

    /// These kills and no others, each with its own time.
    fn check(&self, kept: &Kept, deaths: &[&[Death]]) {
        let kills = kept.below(self.scene.path());
        let deaths = deaths.concat();
        assert_eq!(kills.len(), deaths.len(), "{kills:?} {deaths:?}");
        for (kill, (victim, time)) in kills.iter().zip(&deaths) {
            assert_eq!(kill.pid, victim.pid, "{kills:?} {deaths:?}");
            assert!(time.contains(&kill.boot_time_ns), "{kill:?} {time:?}");
        }
    }

    /// The only generation that there is.
    fn generation(&self) -> PathBuf {
        let generations = self.bpffs.generations();
        let [only] = &generations[..] else {
            panic!("not one generation: {generations:?}");
        };
        only.clone()
    }
}

/// Waits until so many kills below a cgroup are on file.
fn wait_until_kept(keeper: &Keeper<'_>, running: &mut Running, scene: &Cgroup, count: usize) {
    while keeper.kept().below(scene.path()).len() < count {
        running.reported();
    }
}

fn nobody_runs(machine: &Machine) {
    let node = Node::new(machine, "no-agent");
    let keeper = node.keeper();
    let mut running = keeper.start(Saves::Yes);
    let before = node.kill(2);
    wait_until_kept(&keeper, &mut running, &node.scene, 2);
    let first = node.generation();
    drop(running);
    let without = node.kill(3);

    let mut running = keeper.start(Saves::Yes);
    keeper.settle(&mut running);
    let after = node.kill(2);
    running.end();
    let kept = keeper.kept();
    node.check(&kept, &[&before, &without, &after]);
    assert_eq!((kept.dropped, kept.undecoded), (0, 0));
    assert_ne!(node.generation(), first);
}

fn not_saved(machine: &Machine) {
    let node = Node::new(machine, "not-saved");
    let keeper = node.keeper();
    let mut running = keeper.start(Saves::No);
    let deaths = node.kill(3);
    while running.reported() < 3 {}
    drop(running);
    assert_eq!(keeper.kept().kills, []);

    // Also if it dies while it reads what an earlier one has left.
    let mut running = keeper.start(Saves::No);
    while running.reported() < 3 {}
    drop(running);
    assert_eq!(node.bpffs.generations().len(), 2);
    node.check(&keeper.catch_up(), &[&deaths]);
}

fn one_after_another(machine: &Machine) {
    let node = Node::new(machine, "one-after-another");
    let keeper = node.keeper();
    let count = machine.storm.min(300);
    let agents = if machine.is_guest { 3 } else { AGENTS };
    let victims = thread::scope(|scope| {
        let mut running = keeper.start(Saves::Yes);
        let victims = scope.spawn(|| kill_many(machine, &node.scene, count));
        for agent in 1..agents {
            wait_until_kept(&keeper, &mut running, &node.scene, agent * count / agents);
            // By SIGKILL, wherever it is.
            drop(running);
            running = keeper.start(Saves::Yes);
        }
        let victims = victims.join().expect("no panic");
        running.end();
        victims
    });
    let kept = keeper.catch_up();
    let kills = kept.below(node.scene.path());
    let reported: BTreeSet<_> = kills.iter().map(|kill| &kill.cgroup).collect();
    let killed: BTreeSet<_> = victims.iter().map(|kill| &kill.chain[0].path).collect();
    assert_eq!(reported, killed);
    assert_eq!(kills.len(), victims.len(), "some were reported twice");
    // A kill that two agents have seen would look like one.
    assert_eq!((kept.rekills, kept.dropped, kept.undecoded), (0, 0, 0));
    assert!(kills.is_sorted_by_key(|kill| kill.boot_time_ns));
}

/// As after a SIGKILL between the pinning of an agent's programs and the detaching of its predecessor's.
fn two_attached(machine: &Machine) {
    let node = Node::new(machine, "two-attached");
    let keeper = node.keeper();
    drop(keeper.start(Saves::Yes));
    let by_one = node.kill(2);
    leave_a_ring_of(RING_BYTES, &node.bpffs);
    let by_both = node.kill(3);
    let kept = keeper.catch_up();
    node.check(&kept, &[&by_one, &by_both]);
    assert_eq!(kept.rekills, 0);
}

fn another_layout(machine: &Machine) {
    let node = Node::new(machine, "another-layout");
    let keeper = node.keeper();
    drop(keeper.start(Saves::Yes));
    let unreadable = node.kill(3);
    let folder = node.generation();
    let name = folder
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name");
    let (_, time) = name.split_once('-').expect("ABI-TIME");
    let other = folder.with_file_name(format!("4000000000-{time}"));
    fs::rename(&folder, &other).expect("rename a generation");

    let mut running = keeper.start(Saves::Yes);
    keeper.settle(&mut running);
    let after = node.kill(2);
    running.end();
    let kept = keeper.kept();
    node.check(&kept, &[&after]);
    // Others on this machine may kill, too.
    assert!(kept.undecoded >= unreadable.len() as u64, "{kept:?}");
    assert!(!other.exists());

    // Its losses are reported once.
    let again = keeper.catch_up();
    assert_eq!(again.undecoded, kept.undecoded);
    node.check(&again, &[&after]);
}

fn half_made(machine: &Machine) {
    let node = Node::new(machine, "half-made");
    let keeper = node.keeper();
    drop(keeper.start(Saves::Yes));
    let broken = node.generation();
    fs::remove_file(broken.join("records")).expect("unpin the ring");
    node.kill(1);
    let running = keeper.start(Saves::Yes);
    assert!(!broken.exists());
    let after = node.kill(2);
    running.end();
    node.check(&keeper.kept(), &[&after]);
}

/// Attaches and pins, with a ring of this size, and dies before anything is read or detached.
fn leave_a_ring_of(size_bytes: u32, bpffs: &Bpffs) {
    let kernel = offsets::load(Path::new("/sys/kernel/btf/vmlinux")).expect("the kernel's types");
    let pins = Pins::open(bpffs.path()).expect("lock the pins");
    let is_pinned = |backend: &Backend| -> Result<(), ProbeError> {
        let name = GenerationName::new(boot_time_ns());
        let mut probe = Probe::load(*backend, &kernel, size_bytes)?;
        for program in programs(*backend) {
            probe.attach(*program)?;
        }
        let rings = [probe.ring()?, probe.accounts()?];
        let rings = Rings {
            records: &rings[0],
            accounts: &rings[1],
        };
        let kept = pins.pin(&mut probe, rings, name);
        kept.map(drop)
            .map_err(|error| panic!("{backend:?}: {error}"))
    };
    let backends = [Backend::Fentry, Backend::RawTracepoint];
    assert!(backends.iter().any(|backend| is_pinned(backend).is_ok()));
}

fn full_ring(machine: &Machine) {
    let node = Node::new(machine, "full-ring");
    let keeper = node.keeper();
    leave_a_ring_of(SMALL_BYTES, &node.bpffs);
    let victims = kill_many(machine, &node.scene, FILLING.max(machine.storm / 5));
    let kept = keeper.catch_up();
    let (killed, reported) = (
        victims.len() as u64,
        kept.below(node.scene.path()).len() as u64,
    );
    let words = format!(
        "{killed} killed, {reported} reported, {} dropped",
        kept.dropped
    );
    // A record that had no room may be of a task that was dying already: from 6.16 on each of its threads is marked.
    assert!(
        reported > 0 && reported < killed && reported + kept.dropped >= killed,
        "{words}"
    );
    // What is lost is reported once.
    assert_eq!(keeper.catch_up().dropped, kept.dropped);
}

fn not_ours(machine: &Machine) {
    let node = Node::new(machine, "not-ours");
    let keeper = node.keeper();
    drop(keeper.start(Saves::Yes));
    let other = node.bpffs.pins().join("of-somebody");
    fs::create_dir(&other).expect("make a folder");
    let deaths = node.kill(1);
    let mut running = keeper.start(Saves::Yes);
    wait_until_kept(&keeper, &mut running, &node.scene, 1);
    running.end();
    node.check(&keeper.kept(), &[&deaths]);
    assert!(other.exists());
}

fn second_agent(machine: &Machine) {
    let node = Node::new(machine, "second-agent");
    let first = node.keeper();
    let second = Keeper {
        file: node.folder.path().join("second"),
        ..node.keeper()
    };
    let running = [first.start(Saves::Yes), second.start(Saves::Yes)];
    node.generation();
    let deaths = node.kill(2);
    for running in running {
        running.end();
    }
    for keeper in [first, second] {
        node.check(&keeper.kept(), &[&deaths]);
    }
}

/// Each that this machine has in its turn, and the first once more. Where a program cannot be pinned nothing is kept.
fn other_backend(machine: &Machine) {
    let node = Node::new(machine, "other-backend");
    let keeper = node.keeper();
    let mut backends: Vec<_> = [Backend::Fentry, Backend::Kprobe, Backend::RawTracepoint]
        .into_iter()
        .filter(|backend| try_backend(machine, *backend).is_ok())
        .collect();
    backends.push(backends[0]);
    let mut deaths = Vec::new();
    for backend in backends {
        let earlier = node.bpffs.generations();
        let mut running = keeper.start_on(backend.flag(), Saves::Yes);
        let now = node.bpffs.generations();
        let is_pinned = now.iter().any(|found| !earlier.contains(found));
        deaths.extend(node.kill(1));
        wait_until_kept(&keeper, &mut running, &node.scene, deaths.len());
        drop(running);
        let while_nobody_runs = node.kill(1);
        if is_pinned {
            deaths.extend(while_nobody_runs);
        }
    }
    let kept = keeper.catch_up();
    node.check(&kept, &[&deaths]);
    assert_eq!(kept.rekills, 0);
}

fn no_bpffs(machine: &Machine) {
    let node = Node {
        bpffs: Bpffs::absent(),
        ..Node::new(machine, "no-bpffs")
    };
    let keeper = node.keeper();
    let mut running = keeper.start(Saves::Yes);
    let first = node.kill(2);
    wait_until_kept(&keeper, &mut running, &node.scene, 2);
    drop(running);
    assert_eq!(node.bpffs.generations(), [""; 0].map(PathBuf::from));
    // No program sees it.
    node.kill(1);
    let running = keeper.start(Saves::Yes);
    let second = node.kill(2);
    running.end();
    node.check(&keeper.kept(), &[&first, &second]);
}
