//! The kills that were told last, to tell the lines of the kernel log that are theirs from those of kills that nobody saw.
//! Pure and bounded.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::{
    capture::kmsg::assemble::MAX_VICTIMS,
    model::kill::{Kill, NonKill},
};

/// Kills that are remembered: as many as the log is read for.
const MOST: usize = MAX_VICTIMS;

/// How long after a kill its record may come that was told from the log before: its number is another process's later.
const LATE_NS: u64 = 10_000_000_000;

/// A kill that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The process; 0 where only its thread is known.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// Nanoseconds since boot.
    pub boot_time_ns: u64,
    /// As what it was told.
    pub told: Told,
}

/// As what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Told {
    /// A kill, by whoever saw it.
    Kill,
    /// A re-kill.
    Rekill,
    /// A kill that nobody saw, from the kernel log.
    Filled,
}

impl Known {
    /// Absent where nobody knows when it was.
    fn kill(kill: &Kill, told: Told) -> Option<Self> {
        Some(Self {
            pid: kill.victim.pid,
            tid: kill.victim.tid,
            boot_time_ns: kill.boot_time_ns?,
            told,
        })
    }

    fn rekill(aside: &NonKill) -> Option<Self> {
        Some(Self {
            pid: aside.pid,
            tid: aside.tid,
            boot_time_ns: aside.boot_time_ns?,
            told: Told::Rekill,
        })
    }

    /// Whether it is of this process, as far as the two numbers of either tell.
    pub(super) fn is_of(&self, pid: u32, tid: u32) -> bool {
        self.pid != 0 && self.pid == pid || self.tid == tid
    }
}

/// The last kills.
#[derive(Debug, Default)]
pub struct Recent {
    /// With a number each, which they keep.
    kills: VecDeque<(u64, Known)>,
    next: u64,
    /// When the newest of those was that there was no room for: of its time, not all are here.
    crowded_out_boot_time_ns: u64,
    /// Numbers that were added or forgotten since [`Recent::take_changes`].
    changed: BTreeSet<u64>,
}

impl Recent {
    /// As they were saved, in any order.
    pub fn restored(kills: impl IntoIterator<Item = (u64, Known)>) -> Self {
        let mut kills: Vec<_> = kills.into_iter().collect();
        kills.sort_by_key(|(number, _)| *number);
        let is_full = kills.len() >= MOST;
        let oldest = kills.first().filter(|_| is_full);
        Self {
            // Before the oldest there may have been more.
            crowded_out_boot_time_ns: oldest.map_or(0, |(_, known)| known.boot_time_ns),
            next: kills.last().map_or(0, |(number, _)| number + 1),
            kills: kills.into(),
            ..Self::default()
        }
    }

    /// Takes a kill that was seen; false if it was told from the log already.
    pub fn kill(&mut self, kill: &Kill) -> bool {
        let Some(known) = Known::kill(kill, Told::Kill) else {
            return true;
        };
        let is_same = |(_, earlier): &(u64, Known)| {
            earlier.told == Told::Filled
                && earlier.is_of(known.pid, known.tid)
                && earlier.boot_time_ns.abs_diff(known.boot_time_ns) <= LATE_NS
        };
        let filled = self.kills.iter().position(is_same);
        if let Some((number, _)) = filled.and_then(|place| self.kills.remove(place)) {
            self.changed.insert(number);
        }
        self.push(known);
        filled.is_none()
    }

    /// Takes a re-kill.
    pub fn rekill(&mut self, aside: &NonKill) {
        if let Some(known) = Known::rekill(aside) {
            self.push(known);
        }
    }

    /// Takes a kill that was found in the log.
    pub fn filled(&mut self, kill: &Kill) {
        if let Some(known) = Known::kill(kill, Told::Filled) {
            self.push(known);
        }
    }

    /// All of them, the oldest first as they came.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Known> {
        self.kills.iter().map(|(_, known)| known)
    }

    /// Since when none is absent for want of room: nanoseconds since boot.
    #[must_use]
    pub fn whole_since(&self) -> u64 {
        self.crowded_out_boot_time_ns
    }

    /// Forgets those that were before that.
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

    /// What is different since the last time: a kill by its number, or that it was forgotten.
    pub fn take_changes(&mut self) -> Vec<(u64, Option<Known>)> {
        let changed = std::mem::take(&mut self.changed);
        let known = |number| {
            let place = self
                .kills
                .binary_search_by_key(&number, |(number, _)| *number);
            (number, place.ok().map(|place| self.kills[place].1))
        };
        changed.into_iter().map(known).collect()
    }

    /// What was saved is lost: all of them are new.
    pub fn mark_all_dirty(&mut self) {
        let numbers = self.kills.iter().map(|(number, _)| *number);
        self.changed.extend(numbers);
    }

    fn push(&mut self, known: Known) {
        if self.kills.len() == MOST
            && let Some((number, known)) = self.kills.pop_front()
        {
            self.changed.insert(number);
            let crowded_out = self.crowded_out_boot_time_ns.max(known.boot_time_ns);
            self.crowded_out_boot_time_ns = crowded_out;
        }
        self.changed.insert(self.next);
        self.kills.push_back((self.next, known));
        self.next += 1;
    }
}

#[cfg(test)]
mod tests;
