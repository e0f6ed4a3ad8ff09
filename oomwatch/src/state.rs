//! What outlives the agent: rows of its journal, by part and key. Pure.

/// A row as it was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose it is.
    pub part: String,
    /// What it is about.
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
}
