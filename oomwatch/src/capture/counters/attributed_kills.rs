//! Subtracts captured kills from the growth of the cgroups' counts; the rest are kills that were not captured. Pure and
//! bounded.

use std::collections::HashMap;

use super::snapshot::CgroupSnapshot;
use crate::model::kill;

/// Cgroups that are kept; kills in further ones count as unplaced.
const MAX_CGROUPS: usize = 1024;

/// Growth of the counts of a cgroup.
#[derive(Clone, Copy, Debug)]
pub(super) struct Growth {
    /// Kills in the cgroup itself; absent if the kernel does not count them separately.
    pub(super) own: Option<u64>,
    /// Kills in removed descendants.
    pub(super) descendants: u64,
}

/// Captured kills, by cgroup.
#[derive(Debug, Default)]
pub(super) struct AttributedKills {
    /// By path and id.
    placed: HashMap<(Vec<u8>, Option<u64>), u64>,
    /// Kills in an unknown cgroup.
    unplaced: u64,
}

impl AttributedKills {
    /// Adds a kill.
    pub(super) fn add(&mut self, cgroup: Option<&kill::Cgroup>) {
        let Some(cgroup) = cgroup else {
            return self.add_unplaced(1);
        };
        let key = (cgroup.path.clone(), cgroup.id);
        if self.placed.len() >= MAX_CGROUPS && !self.placed.contains_key(&key) {
            return self.add_unplaced(1);
        }
        *self.placed.entry(key).or_default() += 1;
    }

    /// Adds kills in an unknown cgroup.
    pub(super) fn add_unplaced(&mut self, kills: u64) {
        self.unplaced += kills;
    }

    /// Whether there are no kills.
    pub(super) fn is_empty(&self) -> bool {
        self.placed.is_empty() && self.unplaced == 0
    }

    /// Subtracts the kills from the growth of each cgroup. A kill in a removed cgroup is subtracted from its nearest existing
    /// ancestor. A kill in an unknown cgroup is subtracted everywhere, so that the rest is certain.
    pub(super) fn subtract(&self, now: &CgroupSnapshot, growth: &mut [Growth]) {
        if self.is_empty() {
            return;
        }
        let index = PathIndex::new(now);
        for ((path, id), kills) in &self.placed {
            let nearest = index.find(path, *id);
            let Some(growth) = growth.get_mut(nearest.index) else {
                continue;
            };
            match &mut growth.own {
                Some(own) if !nearest.is_ancestor => *own = own.saturating_sub(*kills),
                _ => growth.descendants = growth.descendants.saturating_sub(*kills),
            }
        }
        for Growth { own, descendants } in growth {
            *own = own.map(|own| own.saturating_sub(self.unplaced));
            *descendants = descendants.saturating_sub(self.unplaced);
        }
    }
}

/// Finds cgroups by path.
struct PathIndex<'a> {
    now: &'a CgroupSnapshot,
    /// By parent and name.
    children: HashMap<(usize, &'a [u8]), usize>,
}

/// A cgroup, or the nearest existing ancestor of a removed one.
struct Nearest {
    index: usize,
    /// Whether it is an ancestor.
    is_ancestor: bool,
}

impl<'a> PathIndex<'a> {
    fn new(now: &'a CgroupSnapshot) -> Self {
        let cgroups = now.cgroups.iter().enumerate().skip(1);
        Self {
            now,
            children: cgroups
                .map(|(index, cgroup)| ((cgroup.parent, &*cgroup.name), index))
                .collect(),
        }
    }

    /// Finds the cgroup with this path and, if known, this id.
    fn find(&self, path: &[u8], id: Option<u64>) -> Nearest {
        let mut index = 0;
        let names = path.split(|&byte| byte == b'/');
        for name in names.filter(|name| !name.is_empty()) {
            let Some(&child) = self.children.get(&(index, name)) else {
                return Nearest {
                    index,
                    is_ancestor: true,
                };
            };
            index = child;
        }
        let cgroup = self.now.cgroups.get(index);
        // The root has no id here, and always exists.
        match cgroup.filter(|cgroup| index != 0 && id.is_some_and(|id| id != cgroup.id)) {
            Some(other) => Nearest {
                index: other.parent,
                is_ancestor: true,
            },
            None => Nearest {
                index,
                is_ancestor: false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::{CgroupEntry, KillCounts};
    use super::*;

    /// The rest of the growth of `/`, `/a` (id 1), `/a/b` (2) and `/c` (3), each grown by ten own kills and ten of
    /// descendants; the own kills of the last are unknown.
    fn left(kills: &[(&str, Option<u64>)], unplaced: u64) -> Vec<(Option<u64>, u64)> {
        let cgroup = |parent, name: &str, id| CgroupEntry {
            parent,
            name: name.as_bytes().into(),
            id,
            kills: KillCounts::default(),
        };
        let now = CgroupSnapshot {
            cgroups: vec![
                cgroup(0, "", 0),
                cgroup(0, "a", 1),
                cgroup(1, "b", 2),
                cgroup(0, "c", 3),
            ],
            is_complete: true,
            is_consistent: true,
        };
        let growth = |own| Growth {
            own,
            descendants: 10,
        };
        let mut growth = [Some(10), Some(10), Some(10), None].map(growth);
        let mut attributed = AttributedKills::default();
        attributed.add_unplaced(unplaced);
        for (path, id) in kills {
            attributed.add(Some(&kill::Cgroup {
                path: path.as_bytes().to_vec(),
                id: *id,
            }));
        }
        attributed.subtract(&now, &mut growth);
        growth
            .map(|Growth { own, descendants }| (own, descendants))
            .into_iter()
            .collect()
    }

    #[test]
    fn kill_is_subtracted_where_it_was_counted() {
        let nothing = left(&[], 0);
        for (path, id, index, own, descendants) in [
            ("/", None, 0, Some(9), 10),
            ("/", Some(77), 0, Some(9), 10),
            ("/a/b", Some(2), 2, Some(9), 10),
            ("/a/b", None, 2, Some(9), 10),
            // Removed: another cgroup has its name, none has, its parent is gone, too.
            ("/a/b", Some(9), 1, Some(10), 9),
            ("/a/x", None, 1, Some(10), 9),
            ("/x/b", Some(2), 0, Some(10), 9),
            // Before 5.3.
            ("/c", Some(3), 3, None, 9),
        ] {
            let mut expected = nothing.clone();
            expected[index] = (own, descendants);
            assert_eq!(left(&[(path, id)], 0), expected, "{path} {id:?}");
        }
        let twice = left(&[("/a", Some(1)), ("/a", Some(1))], 0);
        assert_eq!(twice[1], (Some(8), 10));
    }

    #[test]
    fn kill_in_an_unknown_cgroup_is_subtracted_everywhere() {
        let some = (Some(7), 7);
        assert_eq!(left(&[], 3), [some, some, some, (None, 7)]);
        assert_eq!(left(&[], 99)[0], (Some(0), 0));
    }

    #[test]
    fn number_of_kept_cgroups_is_bounded() {
        let mut attributed = AttributedKills::default();
        for number in 0..MAX_CGROUPS + 5 {
            let path = format!("/{number}").into_bytes();
            for _ in 0..2 {
                attributed.add(Some(&kill::Cgroup {
                    path: path.clone(),
                    id: None,
                }));
            }
        }
        assert_eq!(attributed.placed.len(), MAX_CGROUPS);
        assert_eq!(attributed.unplaced, 10);
        assert!(attributed.placed.values().all(|kills| *kills == 2));
    }
}
