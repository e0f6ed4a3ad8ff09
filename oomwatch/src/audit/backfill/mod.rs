//! What is missing, from the kernel log: which of its kills nobody has told. Pure.
//!
//! Every kill that was told takes one line of the log for its own: of its process, as near to its time as can be and no
//! further away than the log's times may be off ([`SnapshotClock::doubt_ns`]), a kill rather a kill's line and a re-kill rather a
//! re-kill's. How far apart the two times of such pairs are tells how the log's clock stands, and so when the others were.
//!
//! Of the lines that are left, and not from before all was known, the newest are what is missing; never more than that. A
//! line without a time is of no use: any kill may be its own.

use std::collections::{HashMap, VecDeque};

use super::recent::{Known, Recent, Told};
use crate::{
    capture::kmsg::{
        assemble::{LogItem, LogKill},
        snapshot::LogSnapshot,
        snapshot_clock::SnapshotClock,
    },
    model::kill::NonKill,
};

/// What is to be found.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// So many kills and re-kills.
    pub missing: u64,
    /// None of them is from before this: nanoseconds since boot.
    pub since_boot_time_ns: u64,
    /// How the log's clock stands ([`SnapshotClock::offset_ns`]), if that is known.
    pub offset_ns: Option<i64>,
}

/// What was found, in the order of the log.
#[derive(Debug, Default)]
pub struct Backfill {
    /// Kills that nobody had told.
    pub kills: Vec<Box<LogKill>>,
    /// Re-kills likewise.
    pub rekills: Vec<NonKill>,
    /// How the log's clock stands, if that is known now.
    pub offset_ns: Option<i64>,
}

/// A kill or re-kill of the log.
struct Line {
    found: LogItem,
    pid: u32,
    tid: u32,
    stamp_ns: u64,
    boot_time_ns: u64,
    is_known: bool,
}

/// Finds what is missing.
#[must_use]
pub fn fill(log: LogSnapshot, recent: &Recent, wanted: Wanted) -> Backfill {
    let LogSnapshot {
        items: found,
        clock: past,
    } = log;
    let doubt = past.uncertainty_ns();
    let likely = past.offset_ns(wanted.offset_ns);
    let mut lines = read(found, &past, likely);
    let correction = take_known(&mut lines, recent, doubt);
    let learned = correction.map(|correction| likely.saturating_add(correction));
    let offset_ns = learned.or(wanted.offset_ns);
    let offset = past.offset_ns(offset_ns);
    // Of an older line nobody knows any more whether it is told.
    let known = match recent.whole_since() {
        0 => 0,
        since => since.saturating_add(doubt),
    };
    let earliest = known.max(wanted.since_boot_time_ns.saturating_sub(doubt));
    let missing = usize::try_from(wanted.missing).unwrap_or(usize::MAX);
    let new: Vec<Line> = lines
        .into_iter()
        .filter(|line| !line.is_known && past.boot_time_ns(line.stamp_ns, offset) >= earliest)
        .collect();
    let mut filling = Backfill {
        offset_ns,
        ..Backfill::default()
    };
    let older = new.len().saturating_sub(missing);
    for Line { found, .. } in new.into_iter().skip(older) {
        match found {
            LogItem::Kill(mut found) => {
                date(&mut found, &past, offset);
                filling.kills.push(found);
            }
            LogItem::Rekill {
                non_kill: mut aside,
                stamp,
            } => {
                let stamp = stamp.boot_time_ns;
                aside.boot_time_ns = stamp.map(|stamp| past.boot_time_ns(stamp, offset));
                filling.rekills.push(aside);
            }
        }
    }
    filling
}

/// The log's kills, as far as they have times.
fn read(found: VecDeque<LogItem>, past: &SnapshotClock, offset_ns: i64) -> Vec<Line> {
    let line = |found| {
        let (stamp, pid, tid) = match &found {
            LogItem::Kill(found) => (found.stamp, found.kill.victim.pid, found.kill.victim.tid),
            LogItem::Rekill {
                non_kill: aside,
                stamp,
            } => (*stamp, aside.pid, aside.tid),
        };
        let stamp_ns = stamp.boot_time_ns?;
        Some(Line {
            found,
            pid,
            tid,
            stamp_ns,
            boot_time_ns: past.boot_time_ns(stamp_ns, offset_ns),
            is_known: false,
        })
    };
    found.into_iter().filter_map(line).collect()
}

/// Gives each known kill its line; gives by how much the kills are later than these, as most of them agree.
fn take_known(lines: &mut [Line], recent: &Recent, doubt_ns: u64) -> Option<i64> {
    let mut of_process: HashMap<u32, Vec<usize>> = HashMap::new();
    for (index, line) in lines.iter().enumerate() {
        of_process.entry(line.tid).or_default().push(index);
        if line.pid != line.tid {
            of_process.entry(line.pid).or_default().push(index);
        }
    }
    let mut corrections = Vec::new();
    for known in recent.iter().rev() {
        let nearest = [known.pid, known.tid]
            .iter()
            .filter_map(|number| of_process.get(number))
            .flatten()
            .copied()
            .filter(|&index| lines[index].may_be(known, doubt_ns))
            .min_by_key(|&index| lines[index].distance(known));
        if let Some(line) = nearest.map(|index| &mut lines[index]) {
            line.is_known = true;
            let later = i128::from(known.boot_time_ns) - i128::from(line.boot_time_ns);
            corrections.extend(i64::try_from(later));
        }
    }
    let middle = corrections.len() / 2;
    // One that took the line of another process of its number must not decide.
    (!corrections.is_empty()).then(|| *corrections.select_nth_unstable(middle).1)
}

impl Line {
    fn may_be(&self, known: &Known, doubt_ns: u64) -> bool {
        !self.is_known
            && known.is_of(self.pid, self.tid)
            && self.boot_time_ns.abs_diff(known.boot_time_ns) <= doubt_ns
    }

    /// What is alike comes first, and then what is near.
    fn distance(&self, known: &Known) -> (bool, u64) {
        let is_rekill = matches!(self.found, LogItem::Rekill { .. });
        (
            is_rekill != (known.told == Told::Rekill),
            self.boot_time_ns.abs_diff(known.boot_time_ns),
        )
    }
}

/// All kills of an incident have its one time, and none is from before it.
fn date(found: &mut LogKill, past: &SnapshotClock, offset_ns: i64) {
    let time = |stamp: Option<u64>| Some(past.boot_time_ns(stamp?, offset_ns));
    let incident = time(found.incident.boot_time_ns);
    found.kill.incident_boot_time_ns = incident;
    found.kill.boot_time_ns = time(found.stamp.boot_time_ns).max(incident);
}

#[cfg(test)]
mod tests;
