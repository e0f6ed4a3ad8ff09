//! A bounded map that drops the least recently used entry, and reports what of it must be saved.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::model::persist::{self, Change, Entry, table::Table};

/// At most `capacity` values by key, saved as the rows of `part`. Keys with the same first line are a group, and what is dropped
/// is of the group with the most entries, so that one namespace does not push out the entries of another.
#[derive(Clone, Debug)]
pub(super) struct LruTable<V> {
    part: &'static str,
    capacity: usize,
    /// Number of uses so far: the clock of the entries.
    uses: u64,
    entries: Table<Used<V>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Used<V> {
    /// The value of `LruTable::uses` at its last use.
    last: u64,
    value: V,
}

impl<V> LruTable<V> {
    /// The value of a key, which counts as a use. If there is none it is made, and the least recently used one may be dropped.
    pub(super) fn entry(&mut self, key: &str, make: impl FnOnce() -> V) -> &mut V {
        self.uses = self.uses.saturating_add(1);
        if self.entries.get(key).is_none() && self.entries.len() >= self.capacity {
            self.drop_oldest(Some(key));
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

    /// The value of a key; does not count as a use.
    pub(super) fn peek(&self, key: &str) -> Option<&V> {
        self.entries.get(key).map(|used| &used.value)
    }

    /// The first value that matches; does not count as a use.
    pub(super) fn find_mut(&mut self, matches: impl Fn(&V) -> bool) -> Option<&mut V> {
        let is_match = |(_, used): &(&str, &Used<V>)| matches(&used.value);
        let key = self.entries.iter().find(is_match)?.0.to_owned();
        let used = self.entries.get_mut(&key)?;
        Some(&mut used.value)
    }

    /// Makes every entry a change, because the saved rows are lost.
    pub(super) fn mark_all_dirty(&mut self) {
        self.entries.mark_all_dirty();
    }

    /// Drops an entry of the largest group, to which `new` is about to be added. Searches all entries, which takes a few
    /// microseconds for each entry that is dropped.
    fn drop_oldest(&mut self, new: Option<&str>) {
        let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
        for key in self.entries.iter().map(|(key, _)| key).chain(new) {
            *sizes.entry(group(key)).or_default() += 1;
        }
        let largest = sizes.values().copied().max();
        let is_largest = |key: &str| sizes.get(group(key)).copied() == largest;
        let candidates = self.entries.iter().filter(|(key, _)| is_largest(key));
        let oldest = candidates.min_by_key(|(_, used)| used.last);
        if let Some(key) = oldest.map(|(key, _)| key.to_owned()) {
            self.entries.remove(&key);
        }
    }
}

/// The first line of a key.
fn group(key: &str) -> &str {
    key.split_once('\n').map_or("", |(first, _)| first)
}

impl<V: Serialize + DeserializeOwned> LruTable<V> {
    /// Restores the rows of `part`; drops the least recently used ones if there are more than `capacity`.
    pub(super) fn restore(part: &'static str, capacity: usize, saved: &[Entry]) -> Self {
        let entries = Table::<Used<V>>::restore(persist::read(saved, part, ""));
        let uses = entries.values().map(|used| used.last).max();
        let mut table = Self {
            part,
            capacity,
            uses: uses.unwrap_or(0),
            entries,
        };
        while table.entries.len() > capacity {
            table.drop_oldest(None);
        }
        table
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
        let mut table = LruTable::restore(PART, 2, &[]);
        for key in keys.chars() {
            table.entry(&key.to_string(), || key);
        }
        table
    }

    fn left(table: &LruTable<char>) -> String {
        let left = ["a", "b", "c", "d"].map(|key| table.peek(key).copied());
        left.into_iter().flatten().collect()
    }

    fn saved(table: &mut LruTable<char>) -> Vec<Entry> {
        let mut rows = Rows::default();
        rows.save(table.changes());
        rows.entries()
    }

    #[test]
    fn least_recently_used_is_dropped() {
        assert_eq!(left(&used("abac")), "ac");
    }

    #[test]
    fn group_with_the_most_entries_loses_one() {
        let mut table = LruTable::restore(PART, 3, &[]);
        for key in ["a\n1", "b\n1", "b\n2", "b\n3", "c\n1", "b\n4"] {
            table.entry(key, || ());
        }
        let left: Vec<&str> = table.entries.iter().map(|(key, _)| key).collect();
        assert_eq!(left, ["a\n1", "b\n4", "c\n1"]);
    }

    #[test]
    fn order_of_use_is_restored() {
        let saved = saved(&mut used("aba"));
        let mut table = LruTable::<char>::restore(PART, 2, &saved);
        assert_eq!(table.changes(), []);
        table.entry("c", || 'c');
        assert_eq!(left(&table), "ac");
        let changes = table.changes();
        let keys = changes
            .iter()
            .map(|change| (change.key.as_str(), change.value.is_some()));
        assert_eq!(keys.collect::<Vec<_>>(), [("b", false), ("c", true)]);
        // A use after the restore is later than those before it.
        table.entry("d", || 'd');
        assert_eq!(left(&table), "cd");
    }

    #[test]
    fn smaller_capacity_drops_the_least_recently_used() {
        let saved = saved(&mut used("aba"));
        let table = LruTable::<char>::restore(PART, 1, &saved);
        assert_eq!(left(&table), "a");
    }
}
