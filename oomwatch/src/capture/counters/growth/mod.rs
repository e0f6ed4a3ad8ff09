//! Computes the kills in each cgroup between two snapshots. Pure.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{
    attributed_kills::{AttributedKills, Growth},
    snapshot::{CgroupEntry, CgroupSnapshot, KillCounts},
};
use crate::model::gap::{GapCgroup, GapPlace};

/// The counts of an earlier snapshot, as far as they are needed for a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Baseline {
    /// By id; cgroups without kills are left out.
    cgroups: HashMap<u64, KillCounts>,
    /// See [`CgroupSnapshot`].
    is_complete: bool,
    is_consistent: bool,
}

impl Baseline {
    /// At boot, when every count is 0.
    #[must_use]
    pub fn at_boot() -> Self {
        Self {
            cgroups: HashMap::new(),
            is_complete: true,
            is_consistent: true,
        }
    }

    /// The counts of a snapshot, of at most `max` cgroups.
    pub(super) fn new(snapshot: &CgroupSnapshot, max: usize) -> Self {
        let has_kills =
            |cgroup: &&CgroupEntry| cgroup.kills.own > Some(0) || cgroup.kills.subtree > Some(0);
        let mut with_kills = snapshot.cgroups.iter().filter(has_kills);
        Self {
            cgroups: with_kills
                .by_ref()
                .take(max)
                .map(|cgroup| (cgroup.id, cgroup.kills))
                .collect(),
            is_complete: snapshot.is_complete && with_kills.next().is_none(),
            is_consistent: snapshot.is_consistent,
        }
    }

    /// Growth of a cgroup's counts since then.
    fn growth(&self, cgroup: &CgroupEntry) -> KillCounts {
        let KillCounts { own, subtree } = cgroup.kills;
        let grown = |now: Option<u64>, then: Option<u64>| {
            now.zip(then).map(|(now, then)| now.saturating_sub(then))
        };
        match self.cgroups.get(&cgroup.id) {
            Some(then) => KillCounts {
                own: grown(own, then.own),
                subtree: grown(subtree, then.subtree),
            },
            // A new cgroup, or one that had no kills.
            None if self.is_complete => KillCounts { own, subtree },
            None => KillCounts::default(),
        }
    }
}

/// The cgroups whose counts have grown by more than the attributed kills.
pub(super) fn growth(
    before: &Baseline,
    now: &CgroupSnapshot,
    attributed: &AttributedKills,
) -> Vec<GapCgroup> {
    let grown: Vec<KillCounts> = now
        .cgroups
        .iter()
        .map(|cgroup| before.growth(cgroup))
        .collect();
    let mut growth: Vec<_> = removed_descendants(before, now, &grown)
        .into_iter()
        .zip(&grown)
        .map(|(descendants, grown)| Growth {
            own: grown.own,
            descendants,
        })
        .collect();
    attributed.subtract(now, &mut growth);
    growth
        .into_iter()
        .enumerate()
        .flat_map(|(index, Growth { own, descendants })| {
            [
                (own.unwrap_or(0), GapPlace::Own),
                (descendants, GapPlace::Descendants),
            ]
            .into_iter()
            .filter(|(kills, _)| *kills > 0)
            .map(move |(kills, place)| GapCgroup {
                path: now.path(index),
                kills,
                place,
            })
        })
        .collect()
}

/// For each cgroup, the growth of its subtree's count that neither it nor its existing children account for.
///
/// The cgroups are read one after the other. If a process was killed meanwhile, a parent may have counted a kill that was
/// read too early in its child; then nothing is known.
fn removed_descendants(before: &Baseline, now: &CgroupSnapshot, grown: &[KillCounts]) -> Vec<u64> {
    let is_exact =
        before.is_complete && before.is_consistent && now.is_complete && now.is_consistent;
    if !is_exact {
        return vec![0; grown.len()];
    }
    let mut left: Vec<u64> = grown
        .iter()
        .map(|grown| {
            let subtree = grown.subtree.unwrap_or(0);
            subtree.saturating_sub(grown.own.unwrap_or(0))
        })
        .collect();
    for (index, (cgroup, grown)) in now.cgroups.iter().zip(grown).enumerate() {
        if cgroup.parent != index
            && let Some(parent) = left.get_mut(cgroup.parent)
        {
            *parent = parent.saturating_sub(grown.subtree.unwrap_or(0));
        }
    }
    left
}

#[cfg(test)]
mod tests;
