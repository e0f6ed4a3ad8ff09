//! A map that records which of its rows differ from the saved ones.

use std::collections::{BTreeMap, BTreeSet};

use super::Change;

/// Values by key.
#[derive(Clone, Debug)]
pub(crate) struct Table<V> {
    rows: BTreeMap<String, Row<V>>,
    /// Keys of saved rows that were removed since.
    removed: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Row<V> {
    value: V,
    /// The value differs from the saved one.
    is_touched: bool,
    /// A row with this key is saved.
    is_saved: bool,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            removed: BTreeSet::new(),
        }
    }
}

impl<V> Table<V> {
    /// Takes the saved rows. One without a value could not be read: it is removed by the next changes.
    pub(crate) fn restore<'a>(saved: impl Iterator<Item = (&'a str, Option<V>)>) -> Self {
        let mut table = Self::default();
        for (key, value) in saved {
            if let Some(value) = value {
                let row = Row {
                    value,
                    is_touched: false,
                    is_saved: true,
                };
                table.rows.insert(key.to_owned(), row);
            } else {
                table.removed.insert(key.to_owned());
            }
        }
        table
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&V> {
        self.rows.get(key).map(|row| &row.value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        let rows = self.rows.iter();
        rows.map(|(key, row)| (key.as_str(), &row.value))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.rows.values().map(|row| &row.value)
    }

    /// A value, marked as changed.
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        let row = self.rows.get_mut(key)?;
        row.is_touched = true;
        Some(&mut row.value)
    }

    /// A value of which only fields that are not saved may be changed.
    pub(crate) fn get_unsaved_mut(&mut self, key: &str) -> Option<&mut V> {
        self.rows.get_mut(key).map(|row| &mut row.value)
    }

    /// All values, marked as changed.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.rows.values_mut().map(|row| {
            row.is_touched = true;
            &mut row.value
        })
    }

    /// All values, of which only fields that are not saved may be changed.
    pub(crate) fn values_unsaved_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.rows.values_mut().map(|row| &mut row.value)
    }

    /// A value, marked as changed; made if there is none.
    pub(crate) fn entry(&mut self, key: &str, make: impl FnOnce() -> V) -> &mut V {
        let row = self.rows.entry(key.to_owned());
        let row = row.or_insert_with(|| Row {
            value: make(),
            is_touched: true,
            is_saved: false,
        });
        row.is_touched = true;
        &mut row.value
    }

    pub(crate) fn insert(&mut self, key: String, value: V) {
        let is_saved = self.rows.get(&key).is_some_and(|row| row.is_saved);
        let row = Row {
            value,
            is_touched: true,
            is_saved,
        };
        self.rows.insert(key, row);
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<V> {
        let row = self.rows.remove(key)?;
        if row.is_saved {
            self.removed.insert(key.to_owned());
        }
        Some(row.value)
    }

    /// Removes all others.
    pub(crate) fn retain(&mut self, is_kept: impl Fn(&V) -> bool) {
        let Self { rows, removed } = self;
        rows.retain(|key, row| {
            let is_kept = is_kept(&row.value);
            if !is_kept && row.is_saved {
                removed.insert(key.clone());
            }
            is_kept
        });
    }

    /// The saved rows are lost: the next changes contain every row.
    pub(crate) fn mark_all_dirty(&mut self) {
        self.removed.clear();
        for row in self.rows.values_mut() {
            row.is_touched = true;
            row.is_saved = false;
        }
    }

    /// The rows that changed since the last call, which are taken as saved by then. At most `most` rows are saved at any
    /// time; new rows beyond that wait until others are removed.
    pub(crate) fn changes(
        &mut self,
        most: usize,
        to_change: impl Fn(&str, Option<&V>) -> Change,
    ) -> Vec<Change> {
        let Self { rows, removed } = self;
        let removed = std::mem::take(removed).into_iter();
        let removed = removed.filter(|key| !rows.contains_key(key));
        let mut changes: Vec<Change> = removed.map(|key| to_change(&key, None)).collect();
        let saved = rows.values().filter(|row| row.is_saved).count();
        let mut room = most.saturating_sub(saved);
        for (key, row) in rows.iter_mut().filter(|(_, row)| row.is_touched) {
            let is_new = !row.is_saved;
            if is_new {
                if room == 0 {
                    continue;
                }
                room -= 1;
            }
            row.is_touched = false;
            row.is_saved = true;
            let change = to_change(key, Some(&row.value));
            changes.push(Change { is_new, ..change });
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn changes(table: &mut Table<u32>) -> Vec<(String, Option<u32>)> {
        let changes = table.changes(usize::MAX, to_change).into_iter();
        let value = |text: String| text.parse().expect("a number");
        changes
            .map(|change| (change.key, change.value.map(value)))
            .collect()
    }

    fn to_change(key: &str, value: Option<&u32>) -> Change {
        Change::new("test", key.to_owned(), value)
    }

    #[test]
    fn only_touched_rows_are_changes_and_only_once() {
        let mut table = Table::restore([("a", Some(1)), ("b", Some(2)), ("c", None)].into_iter());
        // An unreadable row is removed, or it would be logged at each start.
        assert_eq!(changes(&mut table), [("c".to_owned(), None)]);
        *table.get_mut("a").expect("a") = 7;
        table.insert("d".to_owned(), 4);
        table.remove("b");
        let changed = [("b", None), ("a", Some(7)), ("d", Some(4))];
        assert_eq!(
            changes(&mut table),
            changed.map(|(key, value)| (key.to_owned(), value))
        );
        assert_eq!(changes(&mut table), []);
    }

    #[test]
    fn what_never_was_saved_leaves_no_trace() {
        let mut table = Table::default();
        for number in 0..100_u32 {
            table.insert(number.to_string(), number);
            table.remove(&number.to_string());
        }
        assert_eq!(table.removed.len(), 0);
        assert_eq!(changes(&mut table), []);
    }

    #[test]
    fn no_more_is_saved_than_there_is_room_for() {
        let mut table = Table::default();
        let changed = |table: &mut Table<u32>| -> Vec<_> {
            let changes = table.changes(2, to_change).into_iter();
            changes
                .map(|change| (change.key, change.value.is_some()))
                .collect()
        };
        for key in ["a", "b", "c"] {
            table.insert(key.to_owned(), 0);
        }
        assert_eq!(
            changed(&mut table),
            [("a".to_owned(), true), ("b".to_owned(), true)]
        );
        assert_eq!(changed(&mut table), []);
        table.remove("a");
        assert_eq!(
            changed(&mut table),
            [("a".to_owned(), false), ("c".to_owned(), true)]
        );
    }

    #[test]
    fn row_is_new_once() {
        let mut table = Table::restore([("a", Some(1))].into_iter());
        let changed = |table: &mut Table<u32>| -> Vec<bool> {
            let changes = table.changes(usize::MAX, to_change).into_iter();
            changes.map(|change| change.is_new).collect()
        };
        *table.entry("a", || 0) += 1;
        table.insert("b".to_owned(), 1);
        assert_eq!(changed(&mut table), [false, true]);
        table.insert("b".to_owned(), 2);
        assert_eq!(changed(&mut table), [false]);
        table.remove("b");
        assert_eq!(changed(&mut table), [false]);
        table.insert("b".to_owned(), 3);
        assert_eq!(changed(&mut table), [true]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u8, u32),
        Change(u8, u32),
        Entry(u8, u32),
        Remove(u8),
        Retain(u32),
        Save,
        Lose,
    }

    fn step() -> impl Strategy<Value = Step> {
        let key = 0..6_u8;
        prop_oneof![
            (key.clone(), any::<u32>()).prop_map(|(key, value)| Step::Insert(key, value)),
            (key.clone(), any::<u32>()).prop_map(|(key, value)| Step::Change(key, value)),
            (key.clone(), any::<u32>()).prop_map(|(key, value)| Step::Entry(key, value)),
            key.prop_map(Step::Remove),
            any::<u32>().prop_map(Step::Retain),
            Just(Step::Save),
            Just(Step::Lose),
        ]
    }

    proptest! {
        #[test]
        fn what_was_saved_is_what_there_is(steps in proptest::collection::vec(step(), 0..60)) {
            let mut table: Table<u32> = Table::default();
            let mut saved: BTreeMap<String, u32> = BTreeMap::new();
            for step in steps.into_iter().chain([Step::Save]) {
                match step {
                    Step::Insert(key, value) => table.insert(key.to_string(), value),
                    Step::Change(key, value) => {
                        if let Some(one) = table.get_mut(&key.to_string()) {
                            *one = value;
                        }
                    }
                    Step::Entry(key, value) => *table.entry(&key.to_string(), || 0) = value,
                    Step::Remove(key) => drop(table.remove(&key.to_string())),
                    Step::Retain(least) => table.retain(|value| *value >= least),
                    Step::Save => for (key, value) in changes(&mut table) {
                        match value {
                            Some(value) => saved.insert(key, value),
                            None => saved.remove(&key),
                        };
                    },
                    Step::Lose => {
                        saved.clear();
                        table.mark_all_dirty();
                    }
                }
                prop_assert!(table.removed.len() <= 6);
            }
            let there: BTreeMap<String, u32> =
                table.iter().map(|(key, value)| (key.to_owned(), *value)).collect();
            prop_assert_eq!(saved, there);
        }
    }
}
