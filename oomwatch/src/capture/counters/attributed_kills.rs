//! Kills that are known, taken off the growth of the cgroups' counts: what is left nobody has told. Pure and bounded.

use std::collections::HashMap;

use super::gap::{Growth, Snapshot};
use crate::model::kill;

/// Cgroups of which it is remembered how many were killed in them.
const MOST_CGROUPS: usize = 1024;

/// Kills that are known.
#[derive(Debug, Default)]
pub(super) struct AttributedKills {
    /// By path and id.
    placed: HashMap<(Vec<u8>, Option<u64>), u64>,
    /// Those of which nobody knows where they were.
    unplaced: u64,
}

impl AttributedKills {
    /// A kill.
    pub(super) fn add(&mut self, cgroup: Option<&kill::Cgroup>) {
        let Some(cgroup) = cgroup else {
            return self.add_unplaced(1);
        };
        let key = (cgroup.path.clone(), cgroup.id);
        if self.placed.len() >= MOST_CGROUPS && !self.placed.contains_key(&key) {
            return self.add_unplaced(1);
        }
        *self.placed.entry(key).or_default() += 1;
    }

    /// So many of which nobody knows where they were.
    pub(super) fn add_unplaced(&mut self, kills: u64) {
        self.unplaced += kills;
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.placed.is_empty() && self.unplaced == 0
    }

    /// Takes them off. One in a cgroup that is gone has left its count with those above it; one that may have been anywhere
    /// is taken off everywhere, so that what is left is certain.
    pub(super) fn subtract(&self, now: &Snapshot, growth: &mut [Growth]) {
        if self.is_empty() {
            return;
        }
        let places = Places::of(now);
        for ((path, id), kills) in &self.placed {
            let place = places.find(path, *id);
            let Some(growth) = growth.get_mut(place.index) else {
                continue;
            };
            match &mut growth.here {
                Some(here) if !place.is_above => *here = here.saturating_sub(*kills),
                _ => growth.below = growth.below.saturating_sub(*kills),
            }
        }
        for Growth { here, below } in growth {
            *here = here.map(|here| here.saturating_sub(self.unplaced));
            *below = below.saturating_sub(self.unplaced);
        }
    }
}

/// Where the cgroups are.
struct Places<'a> {
    now: &'a Snapshot,
    /// By the one that it is in, and its name.
    children: HashMap<(usize, &'a [u8]), usize>,
}

/// Where a cgroup is, or was.
struct Place {
    index: usize,
    /// It is gone, and this is what it was in.
    is_above: bool,
}

impl<'a> Places<'a> {
    fn of(now: &'a Snapshot) -> Self {
        let cgroups = now.cgroups.iter().enumerate().skip(1);
        Self {
            now,
            children: cgroups
                .map(|(index, cgroup)| ((cgroup.parent, &*cgroup.name), index))
                .collect(),
        }
    }

    /// The cgroup of this path and, if it is known, this id.
    fn find(&self, path: &[u8], id: Option<u64>) -> Place {
        let mut index = 0;
        let names = path.split(|&byte| byte == b'/');
        for name in names.filter(|name| !name.is_empty()) {
            let Some(&below) = self.children.get(&(index, name)) else {
                return Place {
                    index,
                    is_above: true,
                };
            };
            index = below;
        }
        let cgroup = self.now.cgroups.get(index);
        // The root has no number here, and is never another.
        match cgroup.filter(|cgroup| index != 0 && id.is_some_and(|id| id != cgroup.id)) {
            Some(other) => Place {
                index: other.parent,
                is_above: true,
            },
            None => Place {
                index,
                is_above: false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::gap::{Cgroup, Kills};
    use super::*;

    /// `/a` (1), `/a/b` (2), `/c` (3): each has grown by ten in itself and by ten below it; of the last is not known which.
    fn left(kills: &[(&str, Option<u64>)], unplaced: u64) -> Vec<(Option<u64>, u64)> {
        let cgroup = |parent, name: &str, id| Cgroup {
            parent,
            name: name.as_bytes().into(),
            id,
            kills: Kills::default(),
        };
        let now = Snapshot {
            cgroups: vec![
                cgroup(0, "", 0),
                cgroup(0, "a", 1),
                cgroup(1, "b", 2),
                cgroup(0, "c", 3),
            ],
            is_whole: true,
            is_of_one_moment: true,
        };
        let growth = |here| Growth { here, below: 10 };
        let mut growth = [Some(10), Some(10), Some(10), None].map(growth);
        let mut explained = AttributedKills::default();
        explained.add_unplaced(unplaced);
        for (path, id) in kills {
            explained.add(Some(&kill::Cgroup {
                path: path.as_bytes().to_vec(),
                id: *id,
            }));
        }
        explained.subtract(&now, &mut growth);
        growth
            .map(|Growth { here, below }| (here, below))
            .into_iter()
            .collect()
    }

    #[test]
    fn kill_is_taken_off_where_it_was_counted() {
        let nothing = left(&[], 0);
        for (path, id, index, here, below) in [
            ("/", None, 0, Some(9), 10),
            ("/", Some(77), 0, Some(9), 10),
            ("/a/b", Some(2), 2, Some(9), 10),
            ("/a/b", None, 2, Some(9), 10),
            // Gone: another of its name, its name, and what it was in.
            ("/a/b", Some(9), 1, Some(10), 9),
            ("/a/x", None, 1, Some(10), 9),
            ("/x/b", Some(2), 0, Some(10), 9),
            // Before 5.3.
            ("/c", Some(3), 3, None, 9),
        ] {
            let mut expected = nothing.clone();
            expected[index] = (here, below);
            assert_eq!(left(&[(path, id)], 0), expected, "{path} {id:?}");
        }
        let twice = left(&[("/a", Some(1)), ("/a", Some(1))], 0);
        assert_eq!(twice[1], (Some(8), 10));
    }

    #[test]
    fn kill_that_may_have_been_anywhere_is_taken_off_everywhere() {
        let some = (Some(7), 7);
        assert_eq!(left(&[], 3), [some, some, some, (None, 7)]);
        assert_eq!(left(&[], 99)[0], (Some(0), 0));
    }

    #[test]
    fn cgroups_that_are_remembered_are_bounded() {
        let mut explained = AttributedKills::default();
        for number in 0..MOST_CGROUPS + 5 {
            let path = format!("/{number}").into_bytes();
            for _ in 0..2 {
                explained.add(Some(&kill::Cgroup {
                    path: path.clone(),
                    id: None,
                }));
            }
        }
        assert_eq!(explained.placed.len(), MOST_CGROUPS);
        assert_eq!(explained.unplaced, 10);
        assert!(explained.placed.values().all(|kills| *kills == 2));
    }
}
