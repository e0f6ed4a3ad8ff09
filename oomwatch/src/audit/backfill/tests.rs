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
        aside: rekill(pid, stamp_ns),
        stamp: stamp(stamp_ns),
    }
}

fn recent(kills: &[(u32, u64)]) -> Recent {
    let mut recent = Recent::default();
    for (pid, boot_time_ns) in kills {
        recent.kill(&kill(*pid, *boot_time_ns));
    }
    recent
}

/// A log that is read now, on a machine whose clocks are that far apart.
fn log(found: impl IntoIterator<Item = LogItem>, boot_is_ahead_ns: u64) -> Whole {
    let found: VecDeque<_> = found.into_iter().collect();
    let now = ClockSample {
        instant: Instant::now(),
        raw_ns: NOW - boot_is_ahead_ns,
        boot_time_ns: NOW,
        unix_ns: 0,
    };
    Whole {
        found,
        past: Past::new(0, now),
    }
}

fn wanted(missing: u64, since: u64) -> Wanted {
    Wanted {
        missing,
        since_boot_time_ns: since,
        offset_ns: None,
    }
}

/// Process and time of the kills, processes of the re-kills.
fn told(filling: &Backfill) -> (Vec<(u32, u64)>, Vec<u32>) {
    let kill = |kill: &Kill| (kill.victim.pid, kill.boot_time_ns.expect("a time"));
    let kills = filling.kills.iter();
    (
        kills.map(|found| kill(&found.kill)).collect(),
        filling.rekills.iter().map(|aside| aside.pid).collect(),
    )
}

#[test]
fn line_that_no_known_kill_takes_is_what_is_missing() {
    let lines = [1, 2, 3, 4].map(|pid| line(pid, u64::from(pid) * SECOND));
    let recent = recent(&[(1, SECOND), (3, 3 * SECOND), (4, 4 * SECOND)]);
    let filling = fill(log(lines, 0), &recent, wanted(1, 0));
    assert_eq!(told(&filling), (vec![(2, 2 * SECOND)], vec![]));
}

#[test]
fn never_more_than_are_missing_and_the_newest() {
    let lines = || (1..=5).map(|pid| line(pid, u64::from(pid) * SECOND));
    for (missing, expected) in [(0, vec![]), (2, vec![4, 5]), (9, vec![1, 2, 3, 4, 5])] {
        let filling = fill(log(lines(), 0), &Recent::default(), wanted(missing, 0));
        let pids: Vec<_> = told(&filling).0.iter().map(|(pid, _)| *pid).collect();
        assert_eq!(pids, expected);
    }
}

#[test]
fn what_is_from_before_all_was_known_is_not_missing() {
    let lines = [line(1, 80 * SECOND), line(2, 120 * SECOND)];
    let filling = fill(log(lines, 0), &Recent::default(), wanted(2, 100 * SECOND));
    assert_eq!(told(&filling).0, [(2, 120 * SECOND)]);
}

/// A process may have the number of one that was killed before.
#[test]
fn number_that_was_used_again_is_another_process() {
    let lines = || [line(7, 100 * SECOND), line(7, 200 * SECOND)];
    for (known, missing) in [(100, 200), (200, 100)] {
        let recent = recent(&[(7, known * SECOND)]);
        let filling = fill(log(lines(), 0), &recent, wanted(1, 0));
        assert_eq!(told(&filling).0, [(7, missing * SECOND)]);
    }
    // So soon that the times alone do not tell: the nearer is its own.
    let lines = [line(7, 100 * SECOND), line(7, 101 * SECOND)];
    let recent = recent(&[(7, 101 * SECOND - MILLISECOND)]);
    let filling = fill(log(lines, 0), &recent, wanted(1, 0));
    assert_eq!(told(&filling).0.len(), 1);
    assert_eq!(filling.kills[0].stamp, stamp(100 * SECOND));
}

#[test]
fn kill_takes_a_kills_line_and_a_rekill_a_rekills() {
    let lines = || [line(7, 5 * SECOND), line_of_rekill(7, 5 * SECOND + 9000)];
    let known = [recent(&[(7, 5 * SECOND + 9000)]), {
        let mut recent = Recent::default();
        recent.rekill(&rekill(7, 5 * SECOND));
        recent
    }];
    let expected = [(0, vec![7]), (1, vec![])];
    for (recent, (kills, rekills)) in known.into_iter().zip(expected) {
        let told = told(&fill(log(lines(), 0), &recent, wanted(1, 0)));
        assert_eq!((told.0.len(), told.1), (kills, rekills));
    }
    let mut both = recent(&[(7, 5 * SECOND)]);
    both.rekill(&rekill(7, 5 * SECOND));
    let filling = fill(log(lines(), 0), &both, wanted(1, 0));
    assert_eq!(told(&filling), (vec![], vec![]));
}

#[test]
fn victim_is_known_by_the_thread_that_the_log_names() {
    let mut known = kill(40, 5 * SECOND);
    known.victim.tid = 42;
    let mut recent = Recent::default();
    recent.kill(&known);
    let filling = fill(log([line(42, 5 * SECOND)], 0), &recent, wanted(1, 0));
    assert_eq!(told(&filling).0, []);
}

#[test]
fn kill_that_was_filled_takes_its_line_the_next_time() {
    let mut recent = Recent::default();
    let filling = fill(log([line(7, 5 * SECOND)], 0), &recent, wanted(1, 0));
    recent.filled(&filling.kills[0].kill);
    let filling = fill(log([line(7, 5 * SECOND)], 0), &recent, wanted(1, 0));
    assert_eq!(told(&filling).0, []);
}

#[test]
fn line_without_a_time_is_of_no_use() {
    let LogItem::Kill(mut timeless) = line(7, SECOND) else {
        panic!("not a kill");
    };
    timeless.stamp = Stamp::default();
    let filling = fill(
        log([LogItem::Kill(timeless)], 0),
        &Recent::default(),
        wanted(1, 0),
    );
    assert_eq!(told(&filling).0, []);
}

/// By up to ten seconds in any case, and by as much as the clocks are apart.
#[test]
fn known_kills_set_the_logs_clock_right() {
    for (ahead, late) in [(0, 9), (0, -9), (400, 405), (400, 2), (400, -9)] {
        let at = |seconds: i64| u64::try_from((500 + seconds) * 1_000_000_000).expect("after boot");
        let lines = (0..5).map(|pid| line(pid, at(i64::from(pid))));
        // By this much later than the log's stamps say.
        let known: Vec<_> = [0, 1, 3, 4]
            .map(|pid| (pid, at(i64::from(pid) + late)))
            .into();
        let log = log(lines, ahead * SECOND);
        let filling = fill(log, &recent(&known), wanted(1, at(late)));
        assert_eq!(told(&filling).0, [(2, at(2 + late))], "{ahead} {late}");
        let raw = late - i64::try_from(ahead).expect("small");
        assert_eq!(filling.offset_ns, Some(raw * 1_000_000_000));
    }
}

#[test]
fn what_was_learned_is_kept_where_nothing_can_be() {
    let learned = Some(-3_000_000_000);
    let wanted = Wanted {
        offset_ns: learned,
        ..wanted(1, 0)
    };
    let filling = fill(log([line(7, 50 * SECOND)], 0), &Recent::default(), wanted);
    assert_eq!(told(&filling).0, [(7, 47 * SECOND)]);
    assert_eq!(filling.offset_ns, learned);
}

/// A kill, known before or after the machine slept, or not at all, and read after it.
#[test]
fn suspend_makes_no_kill_of_one_that_is_known() {
    const SLEPT: u64 = 300 * SECOND;
    // The log's clock stood still, and so a line from before is told as after it.
    let lines = [line(7, 100 * SECOND), line(8, 200 * SECOND)];
    let recent = recent(&[(7, 100 * SECOND), (8, 200 * SECOND + SLEPT)]);
    let filling = fill(log(lines, SLEPT), &recent, wanted(2, 90 * SECOND));
    assert_eq!(told(&filling).0, []);
}

/// So many were told since that the oldest are not known any more: their lines may be left.
#[test]
fn line_of_which_nobody_knows_whether_it_is_told_is_left_out() {
    let mut recent = Recent::default();
    let mut pid = 100;
    while recent.whole_since() == 0 {
        recent.kill(&kill(pid, 500 * SECOND));
        pid += 1;
    }
    let lines = [line(1, 505 * SECOND), line(2, 511 * SECOND)];
    let filling = fill(log(lines, 0), &recent, wanted(2, 0));
    assert_eq!(told(&filling).0, [(2, 511 * SECOND)]);
}

#[test]
fn incident_is_never_later_than_its_kills() {
    let LogItem::Kill(mut second) = line(8, 6 * SECOND) else {
        panic!("not a kill");
    };
    second.incident = stamp(5 * SECOND);
    let filling = fill(
        log([line(7, 5 * SECOND), LogItem::Kill(second)], 0),
        &Recent::default(),
        wanted(2, 0),
    );
    let incidents = filling
        .kills
        .iter()
        .map(|found| found.kill.incident_boot_time_ns);
    assert_eq!(
        incidents.collect::<Vec<_>>(),
        [Some(5 * SECOND), Some(5 * SECOND)]
    );
}

proptest! {
    /// Whatever of a storm was seen, the rest of it is found, once, whether the log's clock is right or not.
    #[test]
    fn seen_and_found_are_all(
        seen in proptest::collection::vec(any::<bool>(), 1..200),
        off in -9_000_i64..9_000,
    ) {
        let count = u32::try_from(seen.len()).expect("few");
        let at = |pid: u32| 100 * SECOND + u64::from(pid) * 20 * MILLISECOND;
        let lines = (0..count).map(|pid| line(pid + 1, at(pid)));
        let time = |pid: u32| at(pid).saturating_add_signed(off * 1_000_000);
        let known: Vec<_> = (0..count)
            .filter(|pid| seen[*pid as usize])
            .map(|pid| (pid + 1, time(pid)))
            .collect();
        let missing = u64::from(count) - known.len() as u64;
        let filling = fill(log(lines, 0), &recent(&known), wanted(missing, time(0)));
        let mut pids: Vec<_> = told(&filling).0.iter().map(|(pid, _)| *pid).collect();
        pids.extend(known.iter().map(|(pid, _)| *pid));
        pids.sort_unstable();
        prop_assert_eq!(pids, (1..=count).collect::<Vec<_>>());
    }
}
