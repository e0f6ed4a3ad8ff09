use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::{
    capture::kmsg::record::Stamp,
    model::kill::{Kill, NonKillKind},
    sys::clock::ClockSample,
    testing,
};

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = 1_000_000;

/// When the log is read.
const NOW: u64 = 1000 * SECOND;

fn stamp(boot_time_ns: u64) -> Stamp {
    Stamp {
        boot_time_ns: Some(boot_time_ns),
        calendar: None,
    }
}

fn kill(pid: u32, boot_time_ns: u64) -> Kill {
    let mut kill = testing::kill();
    (kill.victim.pid, kill.victim.tid) = (pid, pid);
    kill.boot_time_ns = Some(boot_time_ns);
    kill
}

fn rekill(pid: u32, boot_time_ns: u64) -> NonKill {
    NonKill {
        boot_time_ns: Some(boot_time_ns),
        kind: NonKillKind::Rekill,
        pid,
        tid: pid,
        comm: None,
        cgroup: None,
    }
}

/// The log's line of a kill.
fn line(pid: u32, stamp_ns: u64) -> LogItem {
    LogItem::Kill(Box::new(LogKill {
        kill: kill(pid, stamp_ns),
        stamp: stamp(stamp_ns),
        incident: stamp(stamp_ns),
        incident_tid: pid,
        number: 1,
        incident_number: 1,
        host: None,
    }))
}

fn line_of_rekill(pid: u32, stamp_ns: u64) -> LogItem {
    LogItem::Rekill {
        non_kill: rekill(pid, stamp_ns),
        stamp: stamp(stamp_ns),
    }
}

fn recent(kills: &[(u32, u64)]) -> RecentKills {
    let mut recent = RecentKills::default();
    for (pid, boot_time_ns) in kills {
        recent.kill(&kill(*pid, *boot_time_ns));
    }
    recent
}

/// A log that is read at [`NOW`], on a machine that was suspended for `boot_is_ahead_ns`.
fn log(items: impl IntoIterator<Item = LogItem>, boot_is_ahead_ns: u64) -> LogSnapshot {
    let items: VecDeque<_> = items.into_iter().collect();
    let now = ClockSample {
        instant: Instant::now(),
        raw_ns: NOW - boot_is_ahead_ns,
        boot_time_ns: NOW,
        unix_ns: 0,
    };
    LogSnapshot {
        items,
        clock: SnapshotClock::new(0, now),
    }
}

fn request(missing: u64, since: u64) -> BackfillRequest {
    BackfillRequest {
        missing,
        since_boot_time_ns: since,
        offset_ns: None,
    }
}

/// Pid and time of the kills, pids of the re-kills.
fn found(result: &Backfill) -> (Vec<(u32, u64)>, Vec<u32>) {
    let kill = |kill: &Kill| (kill.victim.pid, kill.boot_time_ns.expect("a time"));
    let kills = result.kills.iter();
    (
        kills.map(|log_kill| kill(&log_kill.kill)).collect(),
        result.rekills.iter().map(|non_kill| non_kill.pid).collect(),
    )
}

#[test]
fn line_without_a_known_kill_is_missing() {
    let lines = [1, 2, 3, 4].map(|pid| line(pid, u64::from(pid) * SECOND));
    let recent = recent(&[(1, SECOND), (3, 3 * SECOND), (4, 4 * SECOND)]);
    let result = backfill(log(lines, 0), &recent, request(1, 0));
    assert_eq!(found(&result), (vec![(2, 2 * SECOND)], vec![]));
}

#[test]
fn at_most_the_missing_number_is_found_and_the_newest() {
    let lines = || (1..=5).map(|pid| line(pid, u64::from(pid) * SECOND));
    for (missing, expected) in [(0, vec![]), (2, vec![4, 5]), (9, vec![1, 2, 3, 4, 5])] {
        let result = backfill(
            log(lines(), 0),
            &RecentKills::default(),
            request(missing, 0),
        );
        let pids: Vec<_> = found(&result).0.iter().map(|(pid, _)| *pid).collect();
        assert_eq!(pids, expected);
    }
}

#[test]
fn lines_before_the_last_complete_audit_are_not_missing() {
    let lines = [line(1, 80 * SECOND), line(2, 120 * SECOND)];
    let result = backfill(
        log(lines, 0),
        &RecentKills::default(),
        request(2, 100 * SECOND),
    );
    assert_eq!(found(&result).0, [(2, 120 * SECOND)]);
}

/// A process may have the pid of one that was killed before.
#[test]
fn reused_pid_is_another_process() {
    let lines = || [line(7, 100 * SECOND), line(7, 200 * SECOND)];
    for (known, missing) in [(100, 200), (200, 100)] {
        let recent = recent(&[(7, known * SECOND)]);
        let result = backfill(log(lines(), 0), &recent, request(1, 0));
        assert_eq!(found(&result).0, [(7, missing * SECOND)]);
    }
    // Also if its own line is not in the log any more.
    let lines = [line(7, 200 * SECOND)];
    let result = backfill(log(lines, 0), &recent(&[(7, 100 * SECOND)]), request(1, 0));
    assert_eq!(found(&result).0, [(7, 200 * SECOND)]);
    // If both are near in time, the nearer one matches.
    let lines = [line(7, 100 * SECOND), line(7, 101 * SECOND)];
    let recent = recent(&[(7, 101 * SECOND - MILLISECOND)]);
    let result = backfill(log(lines, 0), &recent, request(1, 0));
    assert_eq!(found(&result).0.len(), 1);
    assert_eq!(result.kills[0].stamp, stamp(100 * SECOND));
}

#[test]
fn kill_matches_a_kills_line_and_a_rekill_a_rekills() {
    let lines = || [line(7, 5 * SECOND), line_of_rekill(7, 5 * SECOND + 9000)];
    let known = [recent(&[(7, 5 * SECOND + 9000)]), {
        let mut recent = RecentKills::default();
        recent.rekill(&rekill(7, 5 * SECOND));
        recent
    }];
    let expected = [(0, vec![7]), (1, vec![])];
    for (recent, (kills, rekills)) in known.into_iter().zip(expected) {
        let found = found(&backfill(log(lines(), 0), &recent, request(1, 0)));
        assert_eq!((found.0.len(), found.1), (kills, rekills));
    }
    let mut both = recent(&[(7, 5 * SECOND)]);
    both.rekill(&rekill(7, 5 * SECOND));
    let result = backfill(log(lines(), 0), &both, request(1, 0));
    assert_eq!(found(&result), (vec![], vec![]));
}

#[test]
fn victim_is_matched_by_the_thread_in_the_log() {
    let mut known = kill(40, 5 * SECOND);
    known.victim.tid = 42;
    let mut recent = RecentKills::default();
    recent.kill(&known);
    let result = backfill(log([line(42, 5 * SECOND)], 0), &recent, request(1, 0));
    assert_eq!(found(&result).0, []);
}

#[test]
fn backfilled_kill_is_not_found_again() {
    let mut recent = RecentKills::default();
    let result = backfill(log([line(7, 5 * SECOND)], 0), &recent, request(1, 0));
    recent.backfilled(&result.kills[0].kill);
    let result = backfill(log([line(7, 5 * SECOND)], 0), &recent, request(1, 0));
    assert_eq!(found(&result).0, []);
}

#[test]
fn line_without_a_time_is_ignored() {
    let LogItem::Kill(mut timeless) = line(7, SECOND) else {
        panic!("not a kill");
    };
    timeless.stamp = Stamp::default();
    let result = backfill(
        log([LogItem::Kill(timeless)], 0),
        &RecentKills::default(),
        request(1, 0),
    );
    assert_eq!(found(&result).0, []);
}

/// The offset may be up to ten seconds plus the time of suspends.
#[test]
fn known_kills_measure_the_offset_of_the_logs_clock() {
    for (ahead, late) in [(0, 9), (0, -9), (400, 405), (400, 2), (400, -9)] {
        let at = |seconds: i64| u64::try_from((500 + seconds) * 1_000_000_000).expect("after boot");
        let lines = (0..5).map(|pid| line(pid, at(i64::from(pid))));
        // Known kills are later than the log's stamps by `late` seconds.
        let known: Vec<_> = [0, 1, 3, 4]
            .map(|pid| (pid, at(i64::from(pid) + late)))
            .into();
        let log = log(lines, ahead * SECOND);
        let result = backfill(log, &recent(&known), request(1, at(late)));
        assert_eq!(found(&result).0, [(2, at(2 + late))], "{ahead} {late}");
        let raw = late - i64::try_from(ahead).expect("small");
        assert_eq!(result.offset_ns, Some(raw * 1_000_000_000));
    }
}

#[test]
fn measured_offset_is_kept_without_known_kills() {
    let measured = Some(-3_000_000_000);
    let request = BackfillRequest {
        offset_ns: measured,
        ..request(1, 0)
    };
    let result = backfill(
        log([line(7, 50 * SECOND)], 0),
        &RecentKills::default(),
        request,
    );
    assert_eq!(found(&result).0, [(7, 47 * SECOND)]);
    assert_eq!(result.offset_ns, measured);
}

/// Kills before and after a suspend, read after it.
#[test]
fn known_kill_before_a_suspend_is_not_missing() {
    const SUSPENDED: u64 = 300 * SECOND;
    // The log's clock stopped, so a line from before the suspend is dated after it.
    let lines = [line(7, 100 * SECOND), line(8, 200 * SECOND)];
    let recent = recent(&[(7, 100 * SECOND), (8, 200 * SECOND + SUSPENDED)]);
    let result = backfill(log(lines, SUSPENDED), &recent, request(2, 90 * SECOND));
    assert_eq!(found(&result).0, []);
}

/// Known kills that were dropped to make room leave their lines unmatched.
#[test]
fn line_that_may_belong_to_a_dropped_kill_is_ignored() {
    let mut recent = RecentKills::default();
    let mut pid = 100;
    while recent.complete_since() == 0 {
        recent.kill(&kill(pid, 500 * SECOND));
        pid += 1;
    }
    let lines = [line(1, 505 * SECOND), line(2, 511 * SECOND)];
    let result = backfill(log(lines, 0), &recent, request(2, 0));
    assert_eq!(found(&result).0, [(2, 511 * SECOND)]);
}

#[test]
fn incident_is_never_later_than_its_kills() {
    let of_incident = |pid, stamp_ns, incident_ns| {
        let LogItem::Kill(mut kill) = line(pid, stamp_ns) else {
            panic!("not a kill");
        };
        kill.incident = stamp(incident_ns);
        LogItem::Kill(kill)
    };
    let lines = [
        of_incident(7, 5 * SECOND, 5 * SECOND),
        of_incident(8, 6 * SECOND, 5 * SECOND),
        // Records of several CPUs may be out of order.
        of_incident(9, 4 * SECOND, 5 * SECOND),
    ];
    let result = backfill(log(lines, 0), &RecentKills::default(), request(3, 0));
    let times = |kill: &Kill| (kill.boot_time_ns, kill.incident_boot_time_ns);
    let times: Vec<_> = result.kills.iter().map(|kill| times(&kill.kill)).collect();
    let expected = [5, 6, 5].map(|seconds| (Some(seconds * SECOND), Some(5 * SECOND)));
    assert_eq!(times, expected);
}

proptest! {
    /// Of many kills, those not captured are found, once, whatever the offset of the log's clock.
    #[test]
    fn captured_and_found_are_all(
        captured in proptest::collection::vec(any::<bool>(), 1..200),
        off in -9_000_i64..9_000,
    ) {
        let count = u32::try_from(captured.len()).expect("few");
        let at = |pid: u32| 100 * SECOND + u64::from(pid) * 20 * MILLISECOND;
        let lines = (0..count).map(|pid| line(pid + 1, at(pid)));
        let time = |pid: u32| at(pid).saturating_add_signed(off * 1_000_000);
        let known: Vec<_> = (0..count)
            .filter(|pid| captured[*pid as usize])
            .map(|pid| (pid + 1, time(pid)))
            .collect();
        let missing = u64::from(count) - known.len() as u64;
        let result = backfill(log(lines, 0), &recent(&known), request(missing, time(0)));
        let mut pids: Vec<_> = found(&result).0.iter().map(|(pid, _)| *pid).collect();
        pids.extend(known.iter().map(|(pid, _)| *pid));
        pids.sort_unstable();
        prop_assert_eq!(pids, (1..=count).collect::<Vec<_>>());
    }
}
