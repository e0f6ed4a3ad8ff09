mod simulation;

use std::{collections::VecDeque, time::Instant};

use super::*;
use crate::{
    capture::kmsg::{
        assemble::{LogItem, LogKill},
        record::Stamp,
        snapshot_clock::SnapshotClock,
    },
    sys::clock::ClockSample,
    testing,
};

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;
/// When the audits of these tests start, since boot.
const START: u64 = 100 * SECOND;

fn count(kills: u64) -> KernelCount {
    KernelCount {
        kills,
        boot_time_ns: START,
    }
}

/// A kill of process `pid`, `pid` milliseconds after the start.
fn kill(pid: u32) -> Kill {
    let mut kill = testing::kill();
    (kill.victim.pid, kill.victim.tid) = (pid, pid);
    kill.boot_time_ns = Some(time(pid));
    kill
}

fn time(pid: u32) -> u64 {
    START + u64::from(pid) * MILLISECOND
}

fn stamp(boot_time_ns: u64) -> Stamp {
    Stamp {
        boot_time_ns: Some(boot_time_ns),
        calendar: None,
    }
}

/// The line of a kill in the log.
fn line(pid: u32) -> LogItem {
    LogItem::Kill(Box::new(LogKill {
        kill: kill(pid),
        stamp: stamp(time(pid)),
        incident: stamp(time(pid)),
        incident_tid: pid,
        number: u64::from(pid),
        incident_number: u64::from(pid),
        host: None,
    }))
}

/// A log, read long after the start on a machine that was never suspended.
fn log(items: impl IntoIterator<Item = LogItem>) -> LogSnapshot {
    let items: VecDeque<_> = items.into_iter().collect();
    let now = ClockSample {
        instant: Instant::now(),
        raw_ns: 1000 * SECOND,
        boot_time_ns: 1000 * SECOND,
        unix_ns: 0,
    };
    LogSnapshot {
        items,
        clock: SnapshotClock::new(0, now),
    }
}

/// A state of a kernel that had counted 7 kills before.
fn state() -> AuditState {
    AuditState::start(count(7))
}

fn capture(state: &mut AuditState, pid: u32) {
    assert!(state.kill(&kill(pid)));
}

/// An audit during which no process is killed.
fn audit(state: &mut AuditState, kills: u64) -> u64 {
    state.compare(Some(count(kills)), count(kills))
}

/// A backfill: pids that were found, and the size of the gap.
fn find_missing(state: &mut AuditState, kills: u64, log: Option<LogSnapshot>) -> (Vec<u32>, u64) {
    let BackfillResult {
        found,
        unidentified,
        ..
    } = state.backfill(count(kills), log);
    state.gap(unidentified, kills);
    let pids = found.kills.iter().map(|kill| kill.kill.victim.pid);
    (pids.collect(), unidentified)
}

#[test]
fn kill_that_is_counted_and_not_recorded_yet_is_not_missing() {
    let mut state = state();
    assert_eq!(audit(&mut state, 8), 0);
    capture(&mut state, 1);
    assert_eq!(audit(&mut state, 8), 0);
    assert!(state.is_complete());
    assert_eq!(audit(&mut state, 8), 0);
}

#[test]
fn records_that_are_taken_late_in_a_storm_are_not_missing() {
    let mut state = state();
    for round in 1..=50 {
        // Those of each round are taken in the next.
        let before = count(7 + 10 * (round - 1));
        assert_eq!(state.compare(Some(before), count(7 + 10 * round)), 0);
        for _ in 0..10 {
            capture(&mut state, 1);
        }
    }
    assert_eq!(audit(&mut state, 507), 0);
    // Neither are pending ones.
    assert_eq!(audit(&mut state, 508), 0);
    capture(&mut state, 1);
    assert_eq!(state.compare(None, count(509)), 0);
}

#[test]
fn deficit_counts_only_if_two_consecutive_audits_see_it() {
    let mut state = state();
    assert_eq!(audit(&mut state, 10), 0);
    capture(&mut state, 1);
    assert_eq!(audit(&mut state, 10), 2);
    // The count changed during the audit: only the deficit of the last one counts, and the new kills may belong to it.
    assert_eq!(state.compare(Some(count(10)), count(12)), 2);
    capture(&mut state, 2);
    assert_eq!(state.compare(Some(count(12)), count(13)), 3);
}

#[test]
fn audit_during_which_the_count_changed_gives_no_deficit() {
    let mut state = state();
    assert_eq!(state.compare(Some(count(8)), count(9)), 0);
    capture(&mut state, 1);
    capture(&mut state, 2);
    // Another one is in progress.
    assert_eq!(audit(&mut state, 10), 0);
}

#[test]
fn lines_from_before_the_start_are_not_backfilled() {
    let mut state = state();
    audit(&mut state, 8);
    assert_eq!(audit(&mut state, 8), 1);
    let LogItem::Kill(mut old) = line(1) else {
        panic!("not a kill")
    };
    old.stamp = stamp(START - 11 * SECOND);
    let log = log([LogItem::Kill(old)]);
    assert_eq!(find_missing(&mut state, 8, Some(log)), (vec![], 1));
}

#[test]
fn measured_offset_of_the_log_is_kept() {
    const LATE: u64 = 3 * SECOND;
    let early = |pid| {
        let LogItem::Kill(mut kill) = line(pid) else {
            panic!("not a kill")
        };
        kill.stamp = stamp(time(pid) - LATE);
        kill.incident = kill.stamp;
        LogItem::Kill(kill)
    };
    let mut state = state();
    capture(&mut state, 1);
    for pid in [2, 3] {
        let kills = 7 + u64::from(pid);
        audit(&mut state, kills);
        assert_eq!(audit(&mut state, kills), 1);
        // Only the first log has the line of a known kill.
        let lines = [1, 2, 3]
            .into_iter()
            .filter(|known| pid == 2 && *known < 3 || *known == pid);
        let result = state.backfill(count(kills), Some(log(lines.map(early))));
        let times: Vec<_> = result
            .found
            .kills
            .iter()
            .map(|kill| kill.kill.boot_time_ns)
            .collect();
        assert_eq!(times, [Some(time(pid))]);
    }
}

#[test]
fn kills_are_missing_while_others_go_on() {
    let mut state = state();
    let mut missing = Vec::new();
    for round in 1..=3 {
        for _ in 0..10 {
            capture(&mut state, 1);
        }
        missing.push(audit(&mut state, 10 + 10 * round));
    }
    // Three are, but one of them may have been in progress each time.
    assert_eq!(missing, [0, 2, 2]);
    // A kill captured while the log is read may hide one for one round.
    capture(&mut state, 2);
    assert_eq!(find_missing(&mut state, 40, None), (vec![], 2));
    audit(&mut state, 41);
    assert_eq!(audit(&mut state, 41), 1);
    assert_eq!(find_missing(&mut state, 41, None), (vec![], 1));
    assert_eq!(audit(&mut state, 41), 0);
}

#[test]
fn audits_that_each_meet_another_kill_in_progress_miss_none() {
    let mut state = state();
    for number in 1..=3 {
        assert_eq!(audit(&mut state, 7 + u64::from(number)), 0);
        capture(&mut state, number);
    }
    assert_eq!(audit(&mut state, 10), 0);
    assert!(state.is_complete());
}

#[test]
fn deficit_that_stands_still_is_missing_whatever_is_in_progress_before_it() {
    let mut state = state();
    // The first is lost, the second is in progress.
    assert_eq!(audit(&mut state, 8), 0);
    assert_eq!(audit(&mut state, 9), 1);
    capture(&mut state, 2);
    assert_eq!(find_missing(&mut state, 9, None), (vec![], 1));
    assert_eq!(audit(&mut state, 9), 0);
    assert!(state.is_complete());
}

#[test]
fn missing_kill_is_reported_once() {
    let mut state = state();
    audit(&mut state, 10);
    capture(&mut state, 1);
    assert_eq!(audit(&mut state, 10), 2);
    assert_eq!(find_missing(&mut state, 10, None), (vec![], 2));
    assert_eq!(find_missing(&mut state, 10, None), (vec![], 0));
    assert_eq!(audit(&mut state, 10), 0);
    assert!(state.is_complete());
    assert_eq!(audit(&mut state, 11), 0);
    assert_eq!(audit(&mut state, 11), 1);
    assert_eq!(find_missing(&mut state, 11, None), (vec![], 1));
    assert_eq!(state.sum.totals.counts.unidentified, 3);
}

#[test]
fn after_a_backfill_a_deficit_needs_two_audits_again() {
    let mut state = state();
    audit(&mut state, 8);
    assert_eq!(audit(&mut state, 8), 1);
    assert_eq!(
        find_missing(&mut state, 9, Some(log([line(1)]))),
        (vec![1], 0)
    );
    // Counted during the backfill, and not recorded yet.
    assert_eq!(audit(&mut state, 9), 0);
    capture(&mut state, 2);
    assert_eq!(audit(&mut state, 9), 0);
    assert!(state.is_complete());
}

#[test]
fn kill_captured_while_the_log_was_read_is_not_backfilled() {
    let mut state = state();
    audit(&mut state, 9);
    assert_eq!(audit(&mut state, 9), 2);
    capture(&mut state, 1);
    let log = log([line(1), line(2)]);
    assert_eq!(find_missing(&mut state, 9, Some(log)), (vec![2], 0));
    assert_eq!(state.backfilled, 1);
}

#[test]
fn never_more_is_backfilled_than_was_confirmed() {
    let mut state = state();
    audit(&mut state, 8);
    assert_eq!(audit(&mut state, 8), 1);
    // Two more were killed meanwhile, and are in the log but not recorded yet.
    let log = log([line(1), line(2), line(3)]);
    assert_eq!(find_missing(&mut state, 10, Some(log)).0.len(), 1);
}

#[test]
fn record_that_comes_after_its_backfill_is_not_reported_again() {
    let mut state = state();
    audit(&mut state, 8);
    audit(&mut state, 8);
    assert_eq!(
        find_missing(&mut state, 8, Some(log([line(1)]))),
        (vec![1], 0)
    );
    assert!(!state.kill(&kill(1)));
    assert_eq!(state.sum.totals.counts.kills, 1);
    assert_eq!(audit(&mut state, 8), 0);
    assert!(state.is_complete());
}

#[test]
fn whatever_is_missing_at_the_end_is_backfilled() {
    let mut state = state();
    assert_eq!(state.compare_final(count(9)).missing(), 2);
    assert_eq!(
        find_missing(&mut state, 9, Some(log([line(1)]))),
        (vec![1], 1)
    );
    assert_eq!(state.compare_final(count(9)), AuditResult::Complete);
}

#[test]
fn losses_of_earlier_runs_are_added() {
    let losses = Losses {
        dropped: 2,
        undecoded: 1,
    };
    let mut state = state();
    for run in 1..=3 {
        state.set_losses(losses);
        state.set_losses(losses);
        assert_eq!(state.sum.totals.counts.dropped, 2 * run);
        assert_eq!(state.sum.totals.counts.undecoded, run);
        state = AuditState::resume(state.sum.clone(), RecentKills::default(), count(7));
    }
}

#[test]
fn kills_on_a_new_boot_are_all_missing() {
    let mut recent = RecentKills::default();
    recent.kill(&kill(1));
    recent.take_changes();
    let mut state = AuditState::resume_on_new_boot(recent, count(2));
    assert_eq!(state.recent.take_changes(), [(0, None)]);
    assert_eq!(audit(&mut state, 2), 2);
    // The first one has the pid of a victim of the boot before.
    let log = log([line(1), line(4)]);
    assert_eq!(find_missing(&mut state, 2, Some(log)), (vec![1, 4], 0));
}
