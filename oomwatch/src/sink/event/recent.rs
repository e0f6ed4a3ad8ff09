//! A map that forgets what was not used for longest.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// Values by key, at most so many.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Recent<V> {
    capacity: usize,
    uses: u64,
    entries: HashMap<String, Used<V>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Used<V> {
    /// The number of its last use.
    last: u64,
    value: V,
}

impl<V> Recent<V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            uses: 0,
            entries: HashMap::new(),
        }
    }

    /// The value of a key, which counts as its use; made if there is none, for which another may be forgotten.
    pub(super) fn entry(&mut self, key: &str, make: impl FnOnce() -> V) -> &mut V {
        self.uses += 1;
        if !self.entries.contains_key(key) && self.entries.len() >= self.capacity {
            self.forget_oldest();
        }
        let last = self.uses;
        let used = self.entries.entry(key.to_owned());
        let used = used
            .and_modify(|used| used.last = last)
            .or_insert_with(|| Used {
                last,
                value: make(),
            });
        &mut used.value
    }

    /// The value of a key, which does not count as its use.
    pub(super) fn peek(&self, key: &str) -> Option<&V> {
        self.entries.get(key).map(|used| &used.value)
    }

    /// A walk over all, which is a few microseconds each time that something is forgotten.
    fn forget_oldest(&mut self) {
        let oldest = self.entries.iter().min_by_key(|(_, used)| used.last);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_is_forgotten() {
        let mut recent = Recent::new(2);
        for (key, value) in [("a", 1), ("b", 2), ("a", 9), ("c", 3)] {
            recent.entry(key, || value);
        }
        let left = ["a", "b", "c"].map(|key| recent.peek(key).copied());
        assert_eq!(left, [Some(1), None, Some(3)]);
    }
}
