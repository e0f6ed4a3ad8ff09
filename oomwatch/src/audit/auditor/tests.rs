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

/// `/proc` and a cgroup v2 file system in a temporary folder, and the rows that auditors saved.
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

    /// Sets the kernel's count.
    fn counts(&self, kills: u64) {
        let text = format!("pgfault 1\noom_kill {kills}\n");
        fs::write(self.folder.path().join("vmstat"), text).expect("write vmstat");
    }

    /// Sets the count of the cgroup `/a`.
    fn counts_in_a(&self, kills: u64) {
        for file in ["memory.events.local", "memory.events"] {
            let path = self.folder.path().join("a").join(file);
            fs::write(path, format!("oom_kill {kills}\n")).expect("write a count");
        }
    }

    fn auditor(&self) -> Auditor {
        Auditor::start(&self.args(), BOOT).expect("read vmstat")
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

    /// The next auditor, on this boot or another.
    fn resume(&self, boot_id: &str) -> Auditor {
        let entries: Vec<_> = (self.saved.iter())
            .map(|(key, value)| Entry {
                part: "audit".to_owned(),
                key: key.clone(),
                value: value.clone(),
            })
            .collect();
        Auditor::resume(&self.args(), boot_id, &entries).expect("read vmstat")
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

fn capture(auditor: &mut Auditor, pid: u32) {
    assert!(auditor.kill(&kill(pid, clock::since_boot_ns())));
}

/// A log with these kills at these times since boot, in milliseconds.
fn log(kills: &[(u32, u64)]) -> LogSnapshot {
    let lines = kills
        .iter()
        .map(|(pid, time)| at(*time, &killed(*pid, "v")));
    let text: String = lines.flat_map(|line| ["<3>".to_owned(), line]).collect();
    // A machine that was never suspended.
    let now = ClockSample::now();
    let now = ClockSample {
        raw_ns: now.boot_time_ns,
        ..now
    };
    LogSnapshot::from_text(text.as_bytes(), now)
}

fn now_ms() -> u64 {
    clock::since_boot_ns() / 1_000_000
}

/// An audit during which no process is killed.
fn missing(auditor: &mut Auditor) -> u64 {
    let before = auditor.count().expect("read vmstat");
    let audited = auditor.compare(Some(before), Losses::default());
    audited.expect("read vmstat").missing
}

fn at_end(auditor: &mut Auditor) -> u64 {
    let result = auditor.compare_final(Losses::default());
    result.expect("read vmstat").missing()
}

/// A backfill during which no process is killed.
fn backfilled(auditor: &mut Auditor, log: Option<LogSnapshot>) -> Backfilled {
    let before = auditor.count().expect("read vmstat");
    auditor.backfill(before, log)
}

/// Pids that were found, and the size of the gap.
fn find_missing(auditor: &mut Auditor, log: Option<LogSnapshot>) -> (Vec<u32>, Option<u64>) {
    let Backfilled {
        kills,
        rekills,
        gap,
    } = backfilled(auditor, log);
    assert_eq!(rekills, []);
    let pids = kills.iter().map(|kill| kill.kill.victim.pid).collect();
    (pids, gap.map(|gap| gap.kills))
}

#[test]
fn gap_begins_at_the_last_complete_audit() {
    let kernel = Kernel::new();
    let mut auditor = kernel.auditor();
    assert_eq!(missing(&mut auditor), 0);
    let complete = auditor.state.sum.complete_boot_time_ns;
    kernel.counts(8);
    assert_eq!(missing(&mut auditor), 0);
    assert_eq!(missing(&mut auditor), 1);
    let gap = backfilled(&mut auditor, None).gap.expect("a gap");
    assert_eq!(gap.since_boot_time_ns, complete);
    assert!(gap.boot_time_ns > complete);
    assert_eq!(gap.kernel_count, 8);
    assert_eq!(missing(&mut auditor), 0);
    assert!(auditor.state.sum.complete_boot_time_ns > complete);
}

#[test]
fn gap_names_the_cgroups_of_unidentified_kills() {
    let kernel = Kernel::new();
    let mut auditor = kernel.auditor();
    kernel.counts(10);
    kernel.counts_in_a(5);
    capture(&mut auditor, 1);
    assert_eq!(
        auditor
            .compare_final(Losses::default())
            .expect("read")
            .missing(),
        2
    );
    // Of three kills in `/a` one was captured, and the cgroup of the backfilled one is unknown: one remains for certain.
    let backfilled = backfilled(&mut auditor, Some(log(&[(2, now_ms())])));
    assert_eq!(backfilled.kills.len(), 1);
    let gap = backfilled.gap.expect("a gap");
    let expected = GapCgroup {
        path: b"/a".to_vec(),
        kills: 1,
        place: GapPlace::Own,
    };
    assert_eq!((gap.kills, gap.cgroups), (1, vec![expected]));
}

#[test]
fn first_start_reports_no_older_kills() {
    let kernel = Kernel::new();
    let mut auditor = kernel.resume(BOOT);
    assert_eq!(missing(&mut auditor), 0);
    assert_eq!(auditor.counts(), CaptureCounts::default());
}

#[test]
fn kills_between_two_runs_are_found_once() {
    let mut kernel = Kernel::new();
    let mut auditor = kernel.auditor();
    capture(&mut auditor, 1);
    kernel.counts(8);
    let before = now_ms();
    assert_eq!(missing(&mut auditor), 0);
    kernel.save(&mut auditor);
    kernel.counts(11);
    kernel.counts_in_a(5);
    for _ in 0..2 {
        // The agent is killed before it saves.
        let mut auditor = kernel.resume(BOOT);
        assert_eq!(missing(&mut auditor), 3);
        // One is in the pinned ring.
        capture(&mut auditor, 2);
        let log = log(&[(1, before), (2, now_ms()), (3, now_ms())]);
        assert_eq!(find_missing(&mut auditor, Some(log)), (vec![3], Some(1)));
    }
    let mut auditor = kernel.resume(BOOT);
    capture(&mut auditor, 2);
    assert_eq!(missing(&mut auditor), 2);
    let again = log(&[(1, before), (2, now_ms()), (3, now_ms())]);
    find_missing(&mut auditor, Some(again));
    kernel.save(&mut auditor);
    let mut auditor = kernel.resume(BOOT);
    assert_eq!(missing(&mut auditor), 0);
    let counts = auditor.counts();
    assert_eq!((counts.kills, counts.unidentified), (3, 1));
    kernel.counts(12);
    missing(&mut auditor);
    assert_eq!(missing(&mut auditor), 1);
    // None of these is the missing one.
    let log = log(&[(1, before), (2, now_ms()), (3, now_ms())]);
    assert_eq!(find_missing(&mut auditor, Some(log)), (vec![], Some(1)));
}

#[test]
fn late_record_of_a_backfilled_kill_is_not_reported() {
    let mut kernel = Kernel::new();
    let mut auditor = kernel.auditor();
    kernel.counts(8);
    let time = clock::since_boot_ns();
    assert_eq!(at_end(&mut auditor), 1);
    let log = log(&[(1, now_ms())]);
    assert_eq!(find_missing(&mut auditor, Some(log)), (vec![1], None));
    kernel.save(&mut auditor);
    let mut auditor = kernel.resume(BOOT);
    assert!(!auditor.kill(&kill(1, time)));
    assert_eq!(auditor.counts().kills, 1);
}

#[test]
fn on_a_new_boot_every_counted_kill_is_missing() {
    let mut kernel = Kernel::new();
    let mut auditor = kernel.auditor();
    capture(&mut auditor, 1);
    kernel.counts(8);
    kernel.save(&mut auditor);
    assert!(kernel.saved.keys().any(|key| key.starts_with(saved::KNOWN)));
    kernel.counts(3);
    kernel.counts_in_a(1);
    let mut auditor = kernel.resume("another");
    assert_eq!(missing(&mut auditor), 3);
    // Soon after boot, and one with a pid that a victim had on the boot before.
    let log = log(&[(1, 500), (4, 900)]);
    let backfilled = backfilled(&mut auditor, Some(log));
    assert_eq!(backfilled.kills.len(), 2);
    let gap = backfilled.gap.expect("a gap");
    assert_eq!((gap.kills, gap.since_boot_time_ns), (1, 0));
    assert_eq!(missing(&mut auditor), 0);
    kernel.save(&mut auditor);
    // Neither kills of the boot before nor, after a complete audit, old ones are kept.
    assert!(!kernel.saved.keys().any(|key| key.starts_with(saved::KNOWN)));
    assert_eq!(missing(&mut kernel.resume("another")), 0);
}

#[test]
fn losses_are_added_over_restarts() {
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
fn counts_of_cgroups_are_kept_over_a_restart() {
    let mut kernel = Kernel::new();
    let mut auditor = kernel.auditor();
    capture(&mut auditor, 1);
    kernel.counts(8);
    kernel.counts_in_a(3);
    missing(&mut auditor);
    kernel.save(&mut auditor);
    kernel.counts(10);
    kernel.counts_in_a(5);
    let mut auditor = kernel.resume(BOOT);
    assert_eq!(missing(&mut auditor), 2);
    let gap = backfilled(&mut auditor, None).gap.expect("a gap");
    assert_eq!((gap.kills, gap.cgroups[0].kills), (2, 2));
}

#[test]
fn unchanged_rows_are_not_saved_again() {
    let mut kernel = Kernel::new();
    let mut auditor = kernel.auditor();
    capture(&mut auditor, 1);
    kernel.save(&mut auditor);
    assert_eq!(auditor.changes(), []);
    capture(&mut auditor, 2);
    let keys: Vec<_> = auditor
        .changes()
        .into_iter()
        .map(|change| change.key)
        .collect();
    assert_eq!(keys, ["sum", "known-1"]);
}

#[tokio::test(start_paused = true)]
async fn audits_are_periodic_and_soon_after_a_kill() {
    let kernel = Kernel::new();
    let mut auditor = kernel.auditor();
    let is_due =
        async |auditor: &Auditor, within| tokio::time::timeout(within, auditor.due()).await.is_ok();
    assert!(!is_due(&auditor, PERIOD / 2).await);
    assert!(is_due(&auditor, PERIOD).await);
    capture(&mut auditor, 1);
    kernel.counts(8);
    assert!(is_due(&auditor, 2 * AFTER_KILL).await);
    missing(&mut auditor);
    assert!(!is_due(&auditor, PERIOD / 2).await);
}
