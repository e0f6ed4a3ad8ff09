//! The last captured kills: they tell which kills of the kernel log were captured. Pure and bounded.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::{
    capture::kmsg::assemble::MAX_VICTIMS,
    model::kill::{Kill, NonKill},
};

/// Kills that are kept: as many as the log is read for.
const MAX_KILLS: usize = MAX_VICTIMS;

/// How long after a backfilled kill its own record may still arrive; later, the same pid is another process.
const MAX_DELAY_NS: u64 = 10_000_000_000;

/// A kill that is accounted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownKill {
    /// Process id; 0 if only the thread id is known.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Nanoseconds since boot.
    pub boot_time_ns: u64,
    /// How it became known.
    pub kind: KnownAs,
}

/// How a kill became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KnownAs {
    /// Captured as a kill.
    Kill,
    /// Captured or backfilled as a re-kill.
    Rekill,
    /// Backfilled as a kill from the kernel log.
    Backfilled,
}

impl KnownKill {
    /// Absent if the kill has no time.
    fn kill(kill: &Kill, kind: KnownAs) -> Option<Self> {
        Some(Self {
            pid: kill.victim.pid,
            tid: kill.victim.tid,
            boot_time_ns: kill.boot_time_ns?,
            kind,
        })
    }

    fn rekill(non_kill: &NonKill) -> Option<Self> {
        Some(Self {
            pid: non_kill.pid,
            tid: non_kill.tid,
            boot_time_ns: non_kill.boot_time_ns?,
            kind: KnownAs::Rekill,
        })
    }

    /// Whether it is a kill of this process; either id suffices.
    pub(super) fn is_of(&self, pid: u32, tid: u32) -> bool {
        self.pid != 0 && self.pid == pid || self.tid == tid
    }
}

/// The last kills.
#[derive(Debug, Default)]
pub struct RecentKills {
    /// Each with a number that does not change.
    kills: VecDeque<(u64, KnownKill)>,
    next_number: u64,
    /// Time of the newest kill that was dropped to make room: kills up to it may be absent.
    dropped_boot_time_ns: u64,
    /// Numbers of kills added or removed since [`RecentKills::take_changes`].
    changed: BTreeSet<u64>,
}

impl RecentKills {
    /// From saved rows, in any order.
    pub fn restored(kills: impl IntoIterator<Item = (u64, KnownKill)>) -> Self {
        let mut kills: Vec<_> = kills.into_iter().collect();
        kills.sort_by_key(|(number, _)| *number);
        let is_full = kills.len() >= MAX_KILLS;
        let oldest = kills.first().filter(|_| is_full);
        Self {
            // Older ones may have been dropped.
            dropped_boot_time_ns: oldest.map_or(0, |(_, known)| known.boot_time_ns),
            next_number: kills.last().map_or(0, |(number, _)| number + 1),
            kills: kills.into(),
            ..Self::default()
        }
    }

    /// Adds a captured kill; false if it was backfilled before.
    pub fn kill(&mut self, kill: &Kill) -> bool {
        let Some(known) = KnownKill::kill(kill, KnownAs::Kill) else {
            return true;
        };
        let is_same = |(_, earlier): &(u64, KnownKill)| {
            earlier.kind == KnownAs::Backfilled
                && earlier.is_of(known.pid, known.tid)
                && earlier.boot_time_ns.abs_diff(known.boot_time_ns) <= MAX_DELAY_NS
        };
        let backfilled = self.kills.iter().position(is_same);
        if let Some((number, _)) = backfilled.and_then(|index| self.kills.remove(index)) {
            self.changed.insert(number);
        }
        self.push(known);
        backfilled.is_none()
    }

    /// Adds a re-kill.
    pub fn rekill(&mut self, non_kill: &NonKill) {
        if let Some(known) = KnownKill::rekill(non_kill) {
            self.push(known);
        }
    }

    /// Adds a kill that was found in the log.
    pub fn backfilled(&mut self, kill: &Kill) {
        if let Some(known) = KnownKill::kill(kill, KnownAs::Backfilled) {
            self.push(known);
        }
    }

    /// All kills in the order in which they were added.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &KnownKill> {
        self.kills.iter().map(|(_, known)| known)
    }

    /// Nanoseconds since boot: no later kill was dropped to make room.
    #[must_use]
    pub fn complete_since(&self) -> u64 {
        self.dropped_boot_time_ns
    }

    /// Removes the kills before a time in nanoseconds since boot.
    pub fn forget_before(&mut self, boot_time_ns: u64) {
        let changed = &mut self.changed;
        self.kills.retain(|(number, known)| {
            let is_kept = known.boot_time_ns >= boot_time_ns;
            if !is_kept {
                changed.insert(*number);
            }
            is_kept
        });
    }

    /// Takes the changes since the last call: number and kill, absent if it was removed.
    pub fn take_changes(&mut self) -> Vec<(u64, Option<KnownKill>)> {
        let changed = std::mem::take(&mut self.changed);
        let known = |number| {
            let index = self
                .kills
                .binary_search_by_key(&number, |(number, _)| *number);
            (number, index.ok().map(|index| self.kills[index].1))
        };
        changed.into_iter().map(known).collect()
    }

    /// The saved rows were lost: all kills are changes again.
    pub fn mark_all_dirty(&mut self) {
        let numbers = self.kills.iter().map(|(number, _)| *number);
        self.changed.extend(numbers);
    }

    fn push(&mut self, known: KnownKill) {
        if self.kills.len() == MAX_KILLS
            && let Some((number, known)) = self.kills.pop_front()
        {
            self.changed.insert(number);
            self.dropped_boot_time_ns = self.dropped_boot_time_ns.max(known.boot_time_ns);
        }
        self.changed.insert(self.next_number);
        self.kills.push_back((self.next_number, known));
        self.next_number += 1;
    }
}

#[cfg(test)]
mod tests;
