//! Two looks at the counts to what was killed between them. Pure.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::capture::counters::attributed_kills::AttributedKills;
use crate::model::gap::{GapCgroup, GapPlace};

/// The counts of all cgroups.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// A cgroup comes behind the one that it is in; the first is the root.
    pub(super) cgroups: Vec<Cgroup>,
    /// None was left out.
    pub(super) is_whole: bool,
    /// No process was killed between the first and the last that was read.
    pub(super) is_of_one_moment: bool,
}

/// A cgroup and its counts.
#[derive(Debug)]
pub(super) struct Cgroup {
    /// Index of the one that it is in; the root is in itself.
    pub(super) parent: usize,
    /// Empty for the root.
    pub(super) name: Box<[u8]>,
    /// Inode number of its directory, which no other gets in the same boot.
    pub(super) id: u64,
    pub(super) kills: Kills,
}

/// Counts of a cgroup; absent where the kernel has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Kills {
    /// Of its own processes.
    pub(super) own: Option<u64>,
    /// Of those below it, too.
    pub(super) all: Option<u64>,
}

/// What is kept of the counts of all cgroups, to compare later ones with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Baseline {
    /// By id; a cgroup in which nothing was killed is left out.
    cgroups: HashMap<u64, Kills>,
    /// As of a [`Snapshot`].
    is_whole: bool,
    is_of_one_moment: bool,
}

impl Baseline {
    /// From before anything was killed, as at boot.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            cgroups: HashMap::new(),
            is_whole: true,
            is_of_one_moment: true,
        }
    }

    /// Of so many cgroups at most.
    pub(super) fn of(snapshot: &Snapshot, most: usize) -> Self {
        let counts = |cgroup: &&Cgroup| cgroup.kills.own > Some(0) || cgroup.kills.all > Some(0);
        let mut counting = snapshot.cgroups.iter().filter(counts);
        Self {
            cgroups: counting
                .by_ref()
                .take(most)
                .map(|cgroup| (cgroup.id, cgroup.kills))
                .collect(),
            is_whole: snapshot.is_whole && counting.next().is_none(),
            is_of_one_moment: snapshot.is_of_one_moment,
        }
    }

    /// By how much a cgroup's counts have grown since.
    fn growth(&self, cgroup: &Cgroup) -> Kills {
        let Kills { own, all } = cgroup.kills;
        match self.cgroups.get(&cgroup.id) {
            Some(before) => Kills {
                own: own
                    .zip(before.own)
                    .map(|(now, then)| now.saturating_sub(then)),
                all: all
                    .zip(before.all)
                    .map(|(now, then)| now.saturating_sub(then)),
            },
            // All that it has counted is new.
            None if self.is_whole => Kills { own, all },
            None => Kills::default(),
        }
    }
}

impl Snapshot {
    /// Path of a cgroup.
    pub(super) fn path(&self, index: usize) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = index;
        while let Some(cgroup) = self.cgroups.get(at).filter(|cgroup| cgroup.parent != at) {
            names.push(&cgroup.name);
            at = cgroup.parent;
        }
        if names.is_empty() {
            return b"/".to_vec();
        }
        let mut path = Vec::new();
        for name in names.into_iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        path
    }
}

/// The cgroups whose counts have grown, by more than is explained.
pub(super) fn growth(
    before: &Baseline,
    now: &Snapshot,
    explained: &AttributedKills,
) -> Vec<GapCgroup> {
    let growths: Vec<Kills> = now
        .cgroups
        .iter()
        .map(|cgroup| before.growth(cgroup))
        .collect();
    let mut counts: Vec<_> = below(before, now, &growths)
        .into_iter()
        .zip(&growths)
        .map(|(below, growth)| Growth {
            here: growth.own,
            below,
        })
        .collect();
    explained.subtract(now, &mut counts);
    counts
        .into_iter()
        .enumerate()
        .flat_map(|(index, Growth { here, below })| {
            [
                (here.unwrap_or(0), GapPlace::Own),
                (below, GapPlace::Descendants),
            ]
            .into_iter()
            .filter(|(kills, _)| *kills > 0)
            .map(move |(kills, place)| (index, kills, place))
        })
        .map(|(index, kills, place)| GapCgroup {
            path: now.path(index),
            kills,
            place,
        })
        .collect()
}

/// What was killed in a cgroup since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Growth {
    /// In itself; absent where the kernel does not tell it from those below.
    pub(super) here: Option<u64>,
    /// Below it, in cgroups that are gone.
    pub(super) below: u64,
}

/// By how much the count of each cgroup and all below it has grown beyond what it and those below it account for.
///
/// Cgroups are read one after the other: unless no process was killed meanwhile, one may have counted a kill that the one
/// above it had not yet.
fn below(before: &Baseline, now: &Snapshot, growths: &[Kills]) -> Vec<u64> {
    let is_exact = [before.is_whole, before.is_of_one_moment]
        .into_iter()
        .chain([now.is_whole, now.is_of_one_moment])
        .all(|holds| holds);
    if !is_exact {
        return vec![0; growths.len()];
    }
    let mut left: Vec<u64> = growths
        .iter()
        .map(|growth| {
            growth
                .all
                .unwrap_or(0)
                .saturating_sub(growth.own.unwrap_or(0))
        })
        .collect();
    for (index, (cgroup, growth)) in now.cgroups.iter().zip(growths).enumerate() {
        if cgroup.parent != index
            && let Some(above) = left.get_mut(cgroup.parent)
        {
            *above = above.saturating_sub(growth.all.unwrap_or(0));
        }
    }
    left
}

#[cfg(test)]
mod tests;
