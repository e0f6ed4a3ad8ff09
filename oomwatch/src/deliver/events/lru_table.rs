//! A map that forgets what was not used for longest.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::model::persist::{self, Change, Entry, table::Table};

/// Values by key, at most so many.
#[derive(Clone, Debug)]
pub(super) struct LruTable<V> {
    part: &'static str,
    capacity: usize,
    uses: u64,
    entries: Table<Used<V>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Used<V> {
    /// The number of its last use.
    last: u64,
    value: V,
}

impl<V> LruTable<V> {
    /// The value of a key, which counts as its use; made if there is none, for which another may be forgotten.
    pub(super) fn entry(&mut self, key: &str, make: impl FnOnce() -> V) -> &mut V {
        self.uses = self.uses.saturating_add(1);
        if self.entries.get(key).is_none() && self.entries.len() >= self.capacity {
            self.forget_oldest();
        }
        let last = self.uses;
        let make = || Used {
            last,
            value: make(),
        };
        let used = self.entries.entry(key, make);
        used.last = last;
        &mut used.value
    }

    /// The value of a key, which does not count as its use.
    pub(super) fn peek(&self, key: &str) -> Option<&V> {
        self.entries.get(key).map(|used| &used.value)
    }

    /// A value that is like this, which does not count as its use.
    pub(super) fn find_mut(&mut self, is_it: impl Fn(&V) -> bool) -> Option<&mut V> {
        let like = |(_, used): &(&str, &Used<V>)| is_it(&used.value);
        let key = self.entries.iter().find(like)?.0.to_owned();
        let used = self.entries.get_mut(&key)?;
        Some(&mut used.value)
    }

    /// All of it is to be saved anew.
    pub(super) fn mark_all_dirty(&mut self) {
        self.entries.mark_all_dirty();
    }

    /// A walk over all, which is a few microseconds each time that something is forgotten.
    fn forget_oldest(&mut self) {
        let oldest = self.entries.iter().min_by_key(|(_, used)| used.last);
        if let Some(key) = oldest.map(|(key, _)| key.to_owned()) {
            self.entries.remove(&key);
        }
    }
}

impl<V: Serialize + DeserializeOwned> LruTable<V> {
    /// What was saved of it as `part`, and as much of that as there is room for now.
    pub(super) fn restore(part: &'static str, capacity: usize, saved: &[Entry]) -> Self {
        let entries = Table::<Used<V>>::restore(persist::read(saved, part, ""));
        let uses = entries.values().map(|used| used.last).max();
        let mut recent = Self {
            part,
            capacity,
            uses: uses.unwrap_or(0),
            entries,
        };
        while recent.entries.len() > capacity {
            recent.forget_oldest();
        }
        recent
    }

    /// What has changed since the last call.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        let part = self.part;
        self.entries.changes(usize::MAX, |key, used| {
            Change::new(part, key.to_owned(), used)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::persist::rows::Rows;

    const PART: &str = "part";

    fn used(keys: &str) -> LruTable<char> {
        let mut recent = LruTable::restore(PART, 2, &[]);
        for key in keys.chars() {
            recent.entry(&key.to_string(), || key);
        }
        recent
    }

    fn left(recent: &LruTable<char>) -> String {
        let left = ["a", "b", "c", "d"].map(|key| recent.peek(key).copied());
        left.into_iter().flatten().collect()
    }

    fn saved(recent: &mut LruTable<char>) -> Vec<Entry> {
        let mut rows = Rows::default();
        rows.save(recent.changes());
        rows.entries()
    }

    #[test]
    fn what_was_not_used_for_longest_is_forgotten() {
        assert_eq!(left(&used("abac")), "ac");
    }

    #[test]
    fn restored_it_forgets_the_same() {
        let saved = saved(&mut used("aba"));
        let mut recent = LruTable::<char>::restore(PART, 2, &saved);
        assert_eq!(recent.changes(), []);
        recent.entry("c", || 'c');
        assert_eq!(left(&recent), "ac");
        let told = recent.changes();
        let keys = told
            .iter()
            .map(|change| (change.key.as_str(), change.value.is_some()));
        assert_eq!(keys.collect::<Vec<_>>(), [("b", false), ("c", true)]);
    }

    #[test]
    fn with_less_room_than_before_the_oldest_go() {
        let saved = saved(&mut used("aba"));
        let recent = LruTable::<char>::restore(PART, 1, &saved);
        assert_eq!(left(&recent), "a");
    }
}
