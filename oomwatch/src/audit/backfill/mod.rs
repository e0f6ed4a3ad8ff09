//! Finds the kills of the kernel log that were not captured. Pure.
//!
//! Every known kill is matched with one line of the log: same process, a kill preferably with a kill's line and a re-kill
//! with a re-kill's, nearest in time, and no further away than [`SnapshotClock::uncertainty_ns`]. The time difference of
//! the matches measures the offset of the log's clock, which dates the other lines.
//!
//! Of the unmatched lines after the last complete audit, the newest are the missing kills, never more than are missing.
//! Lines without a time are ignored: any known kill may be theirs.

use std::collections::{HashMap, VecDeque};

use super::recent_kills::{KnownAs, KnownKill, RecentKills};
use crate::{
    capture::kmsg::{
        assemble::{LogItem, LogKill},
        snapshot::LogSnapshot,
        snapshot_clock::SnapshotClock,
    },
    model::kill::NonKill,
};

/// What to look for.
#[derive(Clone, Copy, Debug)]
pub struct BackfillRequest {
    /// Missing kills and re-kills.
    pub missing: u64,
    /// Nanoseconds since boot: none of them is earlier.
    pub since_boot_time_ns: u64,
    /// Measured offset of the log's clock ([`SnapshotClock::offset_ns`]), if known.
    pub offset_ns: Option<i64>,
}

/// What was found, in the order of the log.
#[derive(Debug, Default)]
pub struct Backfill {
    /// Kills.
    pub kills: Vec<Box<LogKill>>,
    /// Re-kills.
    pub rekills: Vec<NonKill>,
    /// Offset of the log's clock, if known now.
    pub offset_ns: Option<i64>,
}

/// A kill or re-kill of the log.
struct LogLine {
    item: LogItem,
    pid: u32,
    tid: u32,
    stamp_ns: u64,
    boot_time_ns: u64,
    is_known: bool,
}

/// Finds missing kills.
#[must_use]
pub fn backfill(log: LogSnapshot, recent: &RecentKills, request: BackfillRequest) -> Backfill {
    let LogSnapshot { items, clock } = log;
    let uncertainty = clock.uncertainty_ns();
    let assumed = clock.offset_ns(request.offset_ns);
    let mut lines = dated_lines(items, &clock, assumed);
    let correction = match_known(&mut lines, recent, uncertainty);
    let measured = correction.map(|correction| assumed.saturating_add(correction));
    let offset_ns = measured.or(request.offset_ns);
    let offset = clock.offset_ns(offset_ns);
    // Known kills before this time may have been dropped to make room.
    let known_since = match recent.complete_since() {
        0 => 0,
        since => since.saturating_add(uncertainty),
    };
    let earliest = known_since.max(request.since_boot_time_ns.saturating_sub(uncertainty));
    let missing = usize::try_from(request.missing).unwrap_or(usize::MAX);
    let unknown: Vec<LogLine> = lines
        .into_iter()
        .filter(|line| !line.is_known && clock.boot_time_ns(line.stamp_ns, offset) >= earliest)
        .collect();
    let mut backfill = Backfill {
        offset_ns,
        ..Backfill::default()
    };
    let older = unknown.len().saturating_sub(missing);
    for LogLine { item, .. } in unknown.into_iter().skip(older) {
        match item {
            LogItem::Kill(mut kill) => {
                date(&mut kill, &clock, offset);
                backfill.kills.push(kill);
            }
            LogItem::Rekill {
                mut non_kill,
                stamp,
            } => {
                let stamp = stamp.boot_time_ns;
                non_kill.boot_time_ns = stamp.map(|stamp| clock.boot_time_ns(stamp, offset));
                backfill.rekills.push(non_kill);
            }
        }
    }
    backfill
}

/// The kills and re-kills that have a time.
fn dated_lines(items: VecDeque<LogItem>, clock: &SnapshotClock, offset_ns: i64) -> Vec<LogLine> {
    let line = |item| {
        let (stamp, pid, tid) = match &item {
            LogItem::Kill(kill) => (kill.stamp, kill.kill.victim.pid, kill.kill.victim.tid),
            LogItem::Rekill { non_kill, stamp } => (*stamp, non_kill.pid, non_kill.tid),
        };
        let stamp_ns = stamp.boot_time_ns?;
        Some(LogLine {
            item,
            pid,
            tid,
            stamp_ns,
            boot_time_ns: clock.boot_time_ns(stamp_ns, offset_ns),
            is_known: false,
        })
    };
    items.into_iter().filter_map(line).collect()
}

/// Matches each known kill with a line. Returns the median of known time minus line time, in nanoseconds.
fn match_known(lines: &mut [LogLine], recent: &RecentKills, uncertainty_ns: u64) -> Option<i64> {
    let mut by_id: HashMap<u32, Vec<usize>> = HashMap::new();
    for (index, line) in lines.iter().enumerate() {
        by_id.entry(line.tid).or_default().push(index);
        if line.pid != line.tid {
            by_id.entry(line.pid).or_default().push(index);
        }
    }
    let mut corrections = Vec::new();
    for known in recent.iter().rev() {
        let nearest = [known.pid, known.tid]
            .iter()
            .filter_map(|id| by_id.get(id))
            .flatten()
            .copied()
            .filter(|&index| lines[index].may_be(known, uncertainty_ns))
            .min_by_key(|&index| lines[index].distance(known));
        if let Some(line) = nearest.map(|index| &mut lines[index]) {
            line.is_known = true;
            let later = i128::from(known.boot_time_ns) - i128::from(line.boot_time_ns);
            corrections.extend(i64::try_from(later));
        }
    }
    let middle = corrections.len() / 2;
    // The median ignores a kill that was matched with the line of another process with the same id.
    (!corrections.is_empty()).then(|| *corrections.select_nth_unstable(middle).1)
}

impl LogLine {
    /// Whether it may be the line of a known kill.
    fn may_be(&self, known: &KnownKill, uncertainty_ns: u64) -> bool {
        !self.is_known
            && known.is_of(self.pid, self.tid)
            && self.boot_time_ns.abs_diff(known.boot_time_ns) <= uncertainty_ns
    }

    /// Orders candidates: same kind first, then nearest in time.
    fn distance(&self, known: &KnownKill) -> (bool, u64) {
        let is_rekill = matches!(self.item, LogItem::Rekill { .. });
        (
            is_rekill != (known.kind == KnownAs::Rekill),
            self.boot_time_ns.abs_diff(known.boot_time_ns),
        )
    }
}

/// Sets the times of a kill. All kills of an incident have the same incident time, and none is earlier.
fn date(kill: &mut LogKill, clock: &SnapshotClock, offset_ns: i64) {
    let time = |stamp: Option<u64>| Some(clock.boot_time_ns(stamp?, offset_ns));
    let incident = time(kill.incident.boot_time_ns);
    kill.kill.incident_boot_time_ns = incident;
    kill.kill.boot_time_ns = time(kill.stamp.boot_time_ns).max(incident);
}

#[cfg(test)]
mod tests;
