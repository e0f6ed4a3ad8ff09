//! For tests: the rows of a history database, without a database.

use std::collections::BTreeMap;

use super::{Change, Entry};

#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    /// By part and key.
    rows: BTreeMap<(String, String), String>,
}

impl Rows {
    pub(crate) fn save(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            let Change {
                part, key, value, ..
            } = change;
            let key = (part.to_owned(), key);
            match value {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        let rows = self.rows.iter();
        let entries = rows.map(|((part, key), value)| Entry {
            part: part.clone(),
            key: key.clone(),
            value: value.clone(),
        });
        entries.collect()
    }

    /// Spoils the rows of a part.
    pub(crate) fn spoil(&mut self, spoilt: &str) {
        for ((part, _), value) in &mut self.rows {
            if part == spoilt {
                value.truncate(value.len() / 2);
            }
        }
    }
}
