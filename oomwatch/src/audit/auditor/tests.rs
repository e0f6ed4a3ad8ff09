use std::{collections::BTreeMap, fs};

use tempfile::TempDir;

use super::*;
use crate::{
    capture::kmsg::testing::{at, killed},
    model::{
        gap::{GapCgroup, GapPlace},
        kill::Cgroup,
    },
    testing,
};

const BOOT: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// A `/proc` and a cgroup file system of v2 in a temporary folder, and what auditors have saved.
struct Kernel {
    folder: TempDir,
    saved: BTreeMap<String, String>,
}

impl Kernel {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("make a folder");
        fs::create_dir(folder.path().join("a")).expect("make a cgroup");
        fs::write(folder.path().join("cgroup.controllers"), "memory\n").expect("write");
        let kernel = Self {
            folder,
            saved: BTreeMap::new(),
        };
        kernel.counts(7);
        kernel.counts_in_a(2);
        kernel
    }

    fn args(&self) -> CaptureConfig {
        let root = self.folder.path().to_owned();
        CaptureConfig {
            backend: None,
            btf: root.join("btf"),
            proc_root: root.clone(),
            cgroup_root: root.clone(),
            kmsg: root.join("kmsg"),
        }
    }

    fn counts(&self, kills: u64) {
        let text = format!("pgfault 1\noom_kill {kills}\n");
        fs::write(self.folder.path().join("vmstat"), text).expect("write vmstat");
    }

    /// In the cgroup `/a`.
    fn counts_in_a(&self, kills: u64) {
        for file in ["memory.events.local", "memory.events"] {
            let path = self.folder.path().join("a").join(file);
            fs::write(path, format!("oom_kill {kills}\n")).expect("write a count");
        }
    }

    fn auditor(&self) -> Auditor {
        Auditor::start(&self.args(), BOOT, Schedule::Steady).expect("read vmstat")
    }

    fn save(&mut self, auditor: &mut Auditor) {
        for change in auditor.changes() {
            let Change {
                part, key, value, ..
            } = change;
            assert_eq!(part, "audit");
            match value {
                Some(value) => self.saved.insert(key, value),
                None => self.saved.remove(&key),
            };
        }
    }

    /// The next one, on this boot or another.
    fn resume(&self, boot_id: &str) -> Auditor {
        let entries: Vec<_> = (self.saved.iter())
            .map(|(key, value)| Entry {
                part: "audit".to_owned(),
                key: key.clone(),
                value: value.clone(),
            })
            .collect();
        Auditor::resume(&self.args(), boot_id, Schedule::Steady, &entries).expect("read vmstat")
    }
}

fn kill(pid: u32, boot_time_ns: u64) -> Kill {
    let mut kill = testing::kill();
    (kill.victim.pid, kill.victim.tid) = (pid, pid);
    kill.boot_time_ns = Some(boot_time_ns);
    kill.victim.cgroup = Some(Cgroup {
        path: b"/a".to_vec(),
        id: None,
    });
    kill
}

fn see(auditor: &mut Auditor, pid: u32) {
    assert!(auditor.kill(&kill(pid, clock::since_boot_ns())));
}

/// A log with these kills at these times since boot, in milliseconds.
fn log(kills: &[(u32, u64)]) -> Whole {
    let lines = kills
        .iter()
        .map(|(pid, time)| at(*time, &killed(*pid, "v")));
    let text: String = lines.flat_map(|line| ["<3>".to_owned(), line]).collect();
    // On this machine's clocks: a machine that never slept.
    let now = Moment::now();
    let now = Moment {
        raw_ns: now.boot_time_ns,
        ..now
    };
    Whole::of_text(text.as_bytes(), now)
}

fn now_ms() -> u64 {
    clock::since_boot_ns() / 1_000_000
}

/// Nothing was killed while all records were taken.
fn missing(auditor: &mut Auditor) -> u64 {
    let before = auditor.count().expect("read vmstat");
    let audited = auditor.compare(Some(before), Losses::default());
    audited.expect("read vmstat").missing
}

fn at_end(auditor: &mut Auditor) -> u64 {
    let verdict = auditor.compare_at_end(Losses::default());
    verdict.expect("read vmstat").missing()
}

/// Nothing was killed while the log was read.
fn filled(auditor: &mut Auditor, log: Option<Whole>) -> Filled {
    let before = auditor.count().expect("read vmstat");
    auditor.fill(before, log).expect("read vmstat")
}

/// Processes that were filled in, and the size of the gap.
fn fill(auditor: &mut Auditor, log: Option<Whole>) -> (Vec<u32>, Option<u64>) {
    let Filled {
        kills,
        rekills,
        gap,
    } = filled(auditor, log);
    assert_eq!(rekills, []);
    let pids = kills.iter().map(|found| found.kill.victim.pid).collect();
    (pids, gap.map(|gap| gap.kills))
}

#[test]
fn kill_that_is_just_being_made_is_not_missing() {
    let kernel = Kernel::new();
    let mut auditor = kernel.auditor();
    kernel.counts(8);
    assert_eq!(missing(&mut auditor), 0);
    see(&mut auditor, 1);
    assert_eq!(missing(&mut auditor), 0);
    assert_eq!(missing(&mut auditor), 0);
}

#[test]
fn records_that_are_read_late_in_a_storm_are_not_missing() {
    let kernel = Kernel::new();
    let mut auditor = kernel.auditor();
    for round in 1..=50 {
        // Some of each round are read in the next.
        let before = auditor.count().expect("read vmstat");
        kernel.counts(7 + 10 * round);
        let audited = auditor.compare(Some(before), Losses::default());
        assert_eq!(audited.expect("read vmstat").missing, 0);
        for _ in 0..10 {
            see(&mut auditor, 1);
        }
    }
    assert_eq!(missing(&mut auditor), 0);
    // Nor what is held back.
    kernel.counts(8 + 10 * 50);
    assert_eq!(missing(&mut auditor), 0);
    kernel.counts(9 + 10 * 50);
    see(&mut auditor, 1);
    let audited = auditor.compare(None, Losses::default());
    assert_eq!(audited.expect("read vmstat").missing, 0);
}

/// What was seen since hides none of it, though as many were.
#[test]
fn kill_is_missing_though_others_go_on() {
    let kernel = Kernel::new();
    let mut auditor = kernel.auditor();
    let mut told = Vec::new();
    for round in 1..=3 {
        kernel.counts(8 + 10 * round);
        for _ in 0..10 {
            see(&mut auditor, 1);
        }
        told.push(missing(&mut auditor));
    }
    assert_eq!(told, [0, 1, 1]);
    // When a log is read, what is seen meanwhile may hide it for once.
    let before = auditor.count().expect("read vmstat");
    kernel.counts(8 + 31);
    see(&mut auditor, 2);
    assert!(auditor.fill(before, None).expect("read").gap.is_none());
    missing(&mut auditor);
    assert_eq!(missing(&mut auditor), 1);
    assert_eq!(fill(&mut auditor, None), (vec![], Some(1)));
    assert_eq!(missing(&mut auditor), 0);
}

#[test]
fn kill_that_stays_missing_is_told_once() {
    let kernel = Kernel::new();
    let mut auditor = kernel.auditor();
    kernel.counts(10);
    assert_eq!(missing(&mut auditor), 0);
    see(&mut auditor, 1);
    assert_eq!(missing(&mut auditor), 2);
    assert_eq!(fill(&mut auditor, None), (vec![], Some(2)));
    assert_eq!(missing(&mut auditor), 0);
    kernel.counts(11);
    assert_eq!(missing(&mut auditor), 0);
    assert_eq!(missing(&mut auditor), 1);
    assert_eq!(fill(&mut auditor, None), (vec![], Some(1)));
}

#[test]
fn what_was_seen_while_the_log_was_read_is_not_missing_any_more() {
    let kernel = Kernel::new();
    let mut auditor = kernel.auditor();
    kernel.counts(9);
    assert_eq!(missing(&mut auditor), 0);
    assert_eq!(missing(&mut auditor), 2);
    let log = log(&[(1, now_ms()), (2, now_ms())]);
    see(&mut auditor, 1);
    assert_eq!(fill(&mut auditor, Some(log)), (vec![2], None));
    assert_eq!(fill(&mut auditor, None), (vec![], None));
    assert_eq!(auditor.filled(), 1);
}

#[test]
fn gap_lasts_from_when_the_sum_was_right() {
    let kernel = Kernel::new();
    let mut auditor = kernel.auditor();
    assert_eq!(missing(&mut auditor), 0);
    let complete = auditor.complete_boot_time_ns;
    kernel.counts(8);
    assert_eq!(missing(&mut auditor), 0);
    assert_eq!(missing(&mut auditor), 1);
    let gap = filled(&mut auditor, None).gap.expect("a gap");
    assert_eq!(gap.since_boot_time_ns, complete);
    assert!(gap.boot_time_ns > complete);
    assert_eq!(gap.kernel_count, 8);
    assert_eq!(missing(&mut auditor), 0);
    assert!(auditor.complete_boot_time_ns > complete);
}

#[test]
fn gap_names_the_cgroups_of_what_nobody_told() {
    let kernel = Kernel::new();
    let mut auditor = kernel.auditor();
    kernel.counts(10);
    kernel.counts_in_a(5);
    see(&mut auditor, 1);
    assert_eq!(
        auditor
            .compare_at_end(Losses::default())
            .expect("read")
            .missing(),
        2
    );
    // Its line does not say where it was: so it may have been one of the three, and one is left that is certain.
    let filled = filled(&mut auditor, Some(log(&[(2, now_ms())])));
    assert_eq!(filled.kills.len(), 1);
    let gap = filled.gap.expect("a gap");
    let expected = GapCgroup {
        path: b"/a".to_vec(),
        kills: 1,
        place: GapPlace::Own,
    };
    assert_eq!((gap.kills, gap.cgroups), (1, vec![expected]));
}

#[test]
fn first_start_tells_nothing_old() {
    let kernel = Kernel::new();
    let mut auditor = kernel.resume(BOOT);
    assert_eq!(missing(&mut auditor), 0);
    assert_eq!(auditor.counts(), Counts::default());
}

#[test]
fn what_was_killed_while_nobody_ran_is_found_once() {
    let mut kernel = Kernel::new();
    let mut auditor = kernel.auditor();
    see(&mut auditor, 1);
    kernel.counts(8);
    let before = now_ms();
    assert_eq!(missing(&mut auditor), 0);
    kernel.save(&mut auditor);
    kernel.counts(11);
    kernel.counts_in_a(5);
    for _ in 0..2 {
        // Killed before it could save.
        let mut auditor = kernel.resume(BOOT);
        assert_eq!(missing(&mut auditor), 3);
        // One was in a ring of its own.
        see(&mut auditor, 2);
        let log = log(&[(1, before), (2, now_ms()), (3, now_ms())]);
        assert_eq!(fill(&mut auditor, Some(log)), (vec![3], Some(1)));
    }
    let mut auditor = kernel.resume(BOOT);
    see(&mut auditor, 2);
    assert_eq!(missing(&mut auditor), 2);
    let again = log(&[(1, before), (2, now_ms()), (3, now_ms())]);
    fill(&mut auditor, Some(again));
    kernel.save(&mut auditor);
    let mut auditor = kernel.resume(BOOT);
    assert_eq!(missing(&mut auditor), 0);
    let counts = auditor.counts();
    assert_eq!((counts.kills, counts.unidentified), (3, 1));
    kernel.counts(12);
    missing(&mut auditor);
    assert_eq!(missing(&mut auditor), 1);
    // None of these is it.
    let log = log(&[(1, before), (2, now_ms()), (3, now_ms())]);
    assert_eq!(fill(&mut auditor, Some(log)), (vec![], Some(1)));
}

#[test]
fn kill_that_was_filled_is_not_told_when_its_record_comes_after_all() {
    let mut kernel = Kernel::new();
    let mut auditor = kernel.auditor();
    kernel.counts(8);
    let time = clock::since_boot_ns();
    assert_eq!(at_end(&mut auditor), 1);
    let log = log(&[(1, now_ms())]);
    assert_eq!(fill(&mut auditor, Some(log)), (vec![1], None));
    kernel.save(&mut auditor);
    let mut auditor = kernel.resume(BOOT);
    assert!(!auditor.kill(&kill(1, time)));
    assert_eq!(auditor.counts().kills, 1);
}

#[test]
fn on_another_boot_all_that_the_kernel_counted_is_missing() {
    let mut kernel = Kernel::new();
    let mut auditor = kernel.auditor();
    see(&mut auditor, 1);
    kernel.counts(8);
    kernel.save(&mut auditor);
    assert!(kernel.saved.keys().any(|key| key.starts_with(saved::KNOWN)));
    kernel.counts(3);
    kernel.counts_in_a(1);
    let mut auditor = kernel.resume("another");
    assert_eq!(missing(&mut auditor), 3);
    // As early as can be, and with a number that was another's on the boot before.
    let log = log(&[(1, 500), (4, 900)]);
    let filled = filled(&mut auditor, Some(log));
    assert_eq!(filled.kills.len(), 2);
    let gap = filled.gap.expect("a gap");
    assert_eq!((gap.kills, gap.since_boot_time_ns), (1, 0));
    assert_eq!(missing(&mut auditor), 0);
    kernel.save(&mut auditor);
    // Neither the other boot's nor, now that all is known, those of long ago.
    assert!(!kernel.saved.keys().any(|key| key.starts_with(saved::KNOWN)));
    assert_eq!(missing(&mut kernel.resume("another")), 0);
}

#[test]
fn what_was_lost_is_added_up_over_restarts() {
    let mut kernel = Kernel::new();
    let losses = Losses {
        dropped: 2,
        undecoded: 1,
    };
    let mut auditor = kernel.auditor();
    for dropped in [2, 4] {
        auditor.compare(None, losses).expect("read vmstat");
        assert_eq!(auditor.counts().dropped, dropped);
        kernel.save(&mut auditor);
        auditor = kernel.resume(BOOT);
    }
    assert_eq!(auditor.counts().undecoded, 2);
}

#[test]
fn cgroups_are_known_from_before_a_restart() {
    let mut kernel = Kernel::new();
    let mut auditor = kernel.auditor();
    see(&mut auditor, 1);
    kernel.counts(8);
    kernel.counts_in_a(3);
    missing(&mut auditor);
    kernel.save(&mut auditor);
    kernel.counts(10);
    kernel.counts_in_a(5);
    let mut auditor = kernel.resume(BOOT);
    assert_eq!(missing(&mut auditor), 2);
    let gap = filled(&mut auditor, None).gap.expect("a gap");
    assert_eq!((gap.kills, gap.cgroups[0].kills), (2, 2));
}

#[test]
fn nothing_is_saved_twice() {
    let mut kernel = Kernel::new();
    let mut auditor = kernel.auditor();
    see(&mut auditor, 1);
    kernel.save(&mut auditor);
    assert_eq!(auditor.changes(), []);
    see(&mut auditor, 2);
    let keys: Vec<_> = auditor
        .changes()
        .into_iter()
        .map(|change| change.key)
        .collect();
    assert_eq!(keys, ["sum", "known-1"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_wakes_up_for_it_where_none_is_killed() {
    let kernel = Kernel::new();
    let start = |rhythm| Auditor::start(&kernel.args(), BOOT, rhythm).expect("read vmstat");
    let is_due =
        async |auditor: &Auditor, within| tokio::time::timeout(within, auditor.due()).await.is_ok();
    let steady = start(Schedule::Steady);
    assert!(is_due(&steady, EVERY + AFTER_A_KILL).await);
    let mut quiet = start(Schedule::AfterKills);
    assert!(!is_due(&quiet, 100 * EVERY).await);
    see(&mut quiet, 1);
    kernel.counts(8);
    assert!(is_due(&quiet, 2 * AFTER_A_KILL).await);
    missing(&mut quiet);
    assert!(!is_due(&quiet, 100 * EVERY).await);
}
