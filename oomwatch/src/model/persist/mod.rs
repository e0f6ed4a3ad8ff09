//! State that outlives the agent: rows of the history database, by part and key. Pure: the owner of a state returns its
//! changes, and restores it at the next start.

pub mod clock;
#[cfg(test)]
pub(crate) mod rows;
pub(crate) mod table;

use serde::{Serialize, de::DeserializeOwned};
use tracing::warn;

/// A saved row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The state that it belongs to.
    pub part: String,
    /// Key within the part; several words are separated by newlines.
    pub key: String,
    /// JSON.
    pub value: String,
}

/// A row to save or to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The state that it belongs to.
    pub part: &'static str,
    /// Key within the part.
    pub key: String,
    /// JSON; absent to remove the row.
    pub value: Option<String>,
    /// The first change of this row.
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

/// The rows of `part` whose keys start with `prefix`, by the rest of the key. A value that cannot be read is logged and absent.
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
            warn!(part, key, %error, "saved state is not readable, dropped");
        });
        Some((key, value.ok()))
    })
}
