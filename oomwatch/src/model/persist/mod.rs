//! What outlives the agent: rows of its journal, by part and key. Pure: whoever has a state tells what of it has changed, and
//! takes it back at the next start.

pub mod clock;
#[cfg(test)]
pub(crate) mod rows;
pub(crate) mod table;

use serde::{Serialize, de::DeserializeOwned};
use tracing::warn;

/// A row as it was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose it is.
    pub part: String,
    /// What it is about: lines, where there is more than one word for it.
    pub key: String,
    /// JSON.
    pub value: String,
}

/// A row that is to be saved, or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose it is.
    pub part: &'static str,
    /// What it is about.
    pub key: String,
    /// JSON; absent if the row is to be removed.
    pub value: Option<String>,
    /// No earlier change made this row.
    pub is_new: bool,
}

impl Change {
    pub(crate) fn new(part: &'static str, key: String, value: Option<&impl Serialize>) -> Self {
        let value = value.map(to_json);
        Self {
            part,
            key,
            value,
            is_new: false,
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "plain data with string keys always serializes"
)]
fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data")
}

/// The rows of a part whose keys begin so, with what is behind that; a value that cannot be read is told and absent.
pub(crate) fn read<'a, T: DeserializeOwned>(
    entries: &'a [Entry],
    part: &'static str,
    prefix: &'static str,
) -> impl Iterator<Item = (&'a str, Option<T>)> {
    entries.iter().filter_map(move |entry| {
        let key = entry.key.strip_prefix(prefix)?;
        if entry.part != part {
            return None;
        }
        let value = serde_json::from_str(&entry.value);
        let value = value.inspect_err(|error| {
            let key = &entry.key;
            warn!(part, key, %error, "leave out what was saved and cannot be read");
        });
        Some((key, value.ok()))
    })
}
