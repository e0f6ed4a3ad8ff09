use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
};

use tempfile::TempDir;

use super::*;
use crate::{
    model::gap::{GapCgroup, GapPlace},
    testing::HOSTILE,
};

/// A `/proc` and a cgroup file system in a temporary folder.
struct Machine {
    folder: TempDir,
    /// Mount point of the memory controller in it.
    mount: &'static str,
    is_v2: bool,
}

impl Machine {
    fn new(mount: &'static str, is_v2: bool) -> Self {
        let folder = tempfile::tempdir().expect("make a folder");
        fs::create_dir(folder.path().join("proc")).expect("make /proc");
        let machine = Self {
            folder,
            mount,
            is_v2,
        };
        machine.count(10);
        fs::create_dir_all(machine.root()).expect("make the mount");
        if is_v2 {
            fs::write(machine.root().join("cgroup.controllers"), "cpu memory\n").expect("write");
        } else {
            machine.own(b"/", 0);
        }
        machine
    }

    fn v1() -> Self {
        Self::new("cgroup/memory", false)
    }

    fn v2() -> Self {
        Self::new("cgroup", true)
    }

    fn counters(&self) -> Counters {
        let folder = self.folder.path();
        Counters::new(&folder.join("proc"), &folder.join("cgroup")).expect("read the counts")
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join(self.mount)
    }

    fn directory(&self, path: &[u8]) -> PathBuf {
        self.root().join(OsStr::from_bytes(&path[1..]))
    }

    fn make(&self, path: &[u8]) {
        fs::create_dir(self.directory(path)).expect("make a cgroup");
        self.own(path, 0);
        self.all(path, 0);
    }

    fn remove(&self, path: &[u8]) {
        fs::remove_dir_all(self.directory(path)).expect("remove a cgroup");
    }

    /// Sets the kernel's count.
    fn count(&self, kills: u64) {
        let text = format!("pgfault 5\noom_kill {kills}\n");
        fs::write(self.folder.path().join("proc/vmstat"), text).expect("write vmstat");
    }

    fn write(&self, path: &[u8], file: &str, text: String) {
        fs::write(self.directory(path).join(file), text).expect("write a count");
    }

    /// Sets a cgroup's own count.
    fn own(&self, path: &[u8], kills: u64) {
        if self.is_v2 {
            let text = format!("low 0\noom 7\noom_kill {kills}\noom_group_kill 3\n");
            self.write(path, "memory.events.local", text);
        } else {
            let text = format!("oom_kill_disable 0\nunder_oom 1\noom_kill {kills}\n");
            self.write(path, "memory.oom_control", text);
        }
    }

    /// Sets the count of a cgroup's subtree.
    fn all(&self, path: &[u8], kills: u64) {
        if self.is_v2 {
            self.write(path, "memory.events", format!("oom 9\noom_kill {kills}\n"));
        }
    }
}

fn tracker(machine: &Machine) -> CgroupKillTracker {
    let folder = machine.folder.path();
    CgroupKillTracker::start(&folder.join("proc"), &folder.join("cgroup")).expect("read the counts")
}

fn poll(counters: &mut Counters) -> Option<Gap> {
    counters.poll().expect("read the counts")
}

fn cgroup(path: &str, kills: u64, place: GapPlace) -> GapCgroup {
    GapCgroup {
        path: path.as_bytes().to_vec(),
        kills,
        place,
    }
}

#[test]
fn growth_of_the_kernels_count_is_a_gap_once() {
    let machine = Machine::v2();
    let mut counters = machine.counters();
    let started = clock::since_boot_ns();
    assert_eq!(poll(&mut counters), None);
    let before = clock::since_boot_ns();
    machine.count(13);
    let gap = poll(&mut counters).expect("a gap");
    assert_eq!((gap.kills, gap.kernel_count), (3, 13));
    assert_eq!(gap.cgroups, []);
    assert!((started..=before).contains(&gap.since_boot_time_ns));
    assert!(before <= gap.boot_time_ns);
    assert_eq!(poll(&mut counters), None);
    machine.count(14);
    let next = poll(&mut counters).expect("a gap");
    assert_eq!(next.kills, 1);
    assert!(next.since_boot_time_ns > gap.since_boot_time_ns);
}

#[test]
fn gap_has_its_cgroups_on_v2() {
    let machine = Machine::v2();
    for path in [&b"/a"[..], b"/a/b", b"/a/b/c", b"/d"] {
        machine.make(path);
    }
    let mut counters = machine.counters();
    machine.count(14);
    // Two in `/a/b/c`, which is removed, one in `/a/b` itself, one in `/d`.
    for (path, own, all) in [(&b"/a"[..], 0, 3), (b"/a/b", 1, 3), (b"/d", 1, 1)] {
        machine.own(path, own);
        machine.all(path, all);
    }
    machine.remove(b"/a/b/c");
    let gap = poll(&mut counters).expect("a gap");
    let mut cgroups = gap.cgroups;
    cgroups.sort_by_key(|cgroup| cgroup.path.clone());
    assert_eq!(
        cgroups,
        [
            cgroup("/a/b", 1, GapPlace::Own),
            cgroup("/a/b", 2, GapPlace::Descendants),
            cgroup("/d", 1, GapPlace::Own),
        ]
    );
}

#[test]
fn gap_has_its_existing_cgroups_on_v1() {
    let machine = Machine::v1();
    machine.make(b"/a");
    machine.make(b"/gone");
    let mut counters = machine.counters();
    machine.count(15);
    machine.own(b"/", 1);
    machine.own(b"/a", 2);
    machine.remove(b"/gone");
    machine.make(b"/new");
    machine.own(b"/new", 1);
    let gap = poll(&mut counters).expect("a gap");
    let mut cgroups = gap.cgroups;
    cgroups.sort_by_key(|cgroup| cgroup.path.clone());
    assert_eq!(
        cgroups,
        [
            cgroup("/", 1, GapPlace::Own),
            cgroup("/a", 2, GapPlace::Own),
            cgroup("/new", 1, GapPlace::Own),
        ]
    );
}

#[test]
fn controller_is_found_at_the_conventional_mount_points() {
    for (mount, is_v2) in [
        ("cgroup", true),
        ("cgroup", false),
        ("cgroup/memory", false),
        ("cgroup/unified", true),
    ] {
        let machine = Machine::new(mount, is_v2);
        machine.make(b"/a");
        let mut counters = machine.counters();
        machine.count(11);
        machine.own(b"/a", 1);
        machine.all(b"/a", 1);
        let gap = poll(&mut counters).expect("a gap");
        assert_eq!(gap.cgroups, [cgroup("/a", 1, GapPlace::Own)], "{mount}");
    }
}

#[test]
fn v1_is_used_if_v2_has_no_memory_controller() {
    let machine = Machine::v1();
    machine.make(b"/a");
    let unified = machine.folder.path().join("cgroup/unified");
    fs::create_dir(&unified).expect("make a folder");
    fs::write(unified.join("cgroup.controllers"), "cpu memory_x\n").expect("write");
    let mut counters = machine.counters();
    machine.count(11);
    machine.own(b"/a", 1);
    assert_eq!(poll(&mut counters).expect("a gap").cgroups.len(), 1);
}

#[test]
fn kills_are_counted_without_cgroups() {
    let machine = Machine::v2();
    fs::remove_file(machine.root().join("cgroup.controllers")).expect("remove");
    let mut counters = machine.counters();
    machine.count(12);
    let gap = poll(&mut counters).expect("a gap");
    assert_eq!((gap.kills, gap.cgroups.len()), (2, 0));
}

#[test]
fn names_may_have_any_bytes() {
    let machine = Machine::v2();
    let paths: Vec<Vec<u8>> = HOSTILE
        .iter()
        .filter(|name| !name.contains(&b'/'))
        .map(|name| [b"/", *name].concat())
        .collect();
    assert!(paths.len() > 10);
    for path in &paths {
        machine.make(path);
    }
    let mut counters = machine.counters();
    machine.count(11);
    for path in &paths {
        machine.own(path, 1);
        machine.all(path, 1);
    }
    let gap = poll(&mut counters).expect("a gap");
    let mut paths_in_gap: Vec<_> = gap.cgroups.into_iter().map(|cgroup| cgroup.path).collect();
    paths_in_gap.sort();
    let mut expected = paths;
    expected.sort();
    assert_eq!(paths_in_gap, expected);
}

#[test]
fn links_are_not_followed() {
    let machine = Machine::v2();
    machine.make(b"/a");
    symlink(machine.root(), machine.root().join("a/loop")).expect("make a link");
    let mut counters = machine.counters();
    machine.count(11);
    machine.own(b"/a", 1);
    assert_eq!(poll(&mut counters).expect("a gap").cgroups.len(), 1);
}

#[test]
fn with_paths_that_are_too_long_removed_cgroups_are_unknown() {
    let machine = Machine::v2();
    let mut path = Vec::new();
    let mut left = 3990 - machine.root().as_os_str().len();
    while left > 0 {
        let length = if left > 200 { 100 } else { left };
        path.push(b'/');
        path.resize(path.len() + length - 1, b'x');
        machine.make(&path);
        left -= length;
    }
    let deepest = [&path[..], b"/behind-that-bound"].concat();
    machine.make(&deepest);
    let mut counters = machine.counters();
    assert_ne!(counters.cgroups, Baseline::at_boot());
    machine.count(12);
    machine.all(&path, 2);
    let gap = poll(&mut counters).expect("a gap");
    assert_eq!(gap.cgroups, [], "it may be in a cgroup that was left out");
    machine.remove(&deepest);
    machine.count(14);
    poll(&mut counters).expect("a gap");
    machine.count(16);
    machine.all(&path, 4);
    let gap = poll(&mut counters).expect("a gap");
    assert_eq!(gap.cgroups.len(), 1);
}

#[test]
fn count_that_decreases_is_the_new_start() {
    let machine = Machine::v2();
    let mut counters = machine.counters();
    machine.count(3);
    assert_eq!(poll(&mut counters), None);
    machine.count(4);
    assert_eq!(poll(&mut counters).expect("a gap").kills, 1);
}

#[test]
fn unreadable_count_is_an_error() {
    let machine = Machine::v2();
    let mut counters = machine.counters();
    fs::remove_file(machine.folder.path().join("proc/vmstat")).expect("remove");
    assert!(counters.poll().is_err());
    machine.count(11);
    assert_eq!(poll(&mut counters).expect("a gap").kills, 1);
}

#[test]
fn kills_that_were_not_captured_are_found_since_the_last_sample() {
    let machine = Machine::v2();
    machine.make(b"/a");
    machine.own(b"/a", 5);
    machine.all(b"/a", 5);
    let mut tracker = tracker(&machine);
    assert!(!tracker.has_kills());
    machine.own(b"/a", 8);
    machine.all(b"/a", 8);
    tracker.kill(Some(&crate::model::kill::Cgroup {
        path: b"/a".to_vec(),
        id: None,
    }));
    assert!(tracker.has_kills());
    // Also by a resumed tracker that knows of one kill.
    let (proc_root, cgroup_root) = ["proc", "cgroup"]
        .map(|name| machine.folder.path().join(name))
        .into();
    let mut then =
        CgroupKillTracker::resume(&proc_root, &cgroup_root, tracker.baseline().clone(), 1);
    for tracker in [&mut tracker, &mut then] {
        let cgroups = tracker.unattributed().expect("read the counts");
        assert_eq!(cgroups, [cgroup("/a", 2, GapPlace::Own)]);
        assert_eq!(tracker.unattributed().expect("read the counts"), []);
        assert!(!tracker.has_kills());
    }
}
