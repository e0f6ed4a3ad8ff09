//! What is there, and what was there until minutes ago: bounded in number, size and time, with the clock handed in.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// How long the gone are remembered.
const GONE_KEPT: Duration = Duration::from_mins(10);
/// How many of the gone are remembered.
const GONE_MAX: usize = 1024;
/// How many there can be at once: far more than a node has.
const LIVING_MAX: usize = 8192;
/// How large all that says its size may be together: a thousand pods take a tenth of it.
const BYTES_MAX: usize = 8 << 20;

/// Values by key, each there or gone.
#[derive(Debug)]
pub(super) struct Memory<T> {
    entries: HashMap<String, Entry<T>>,
    /// Who is gone since when, in that order; some are back by now.
    gone: VecDeque<(Instant, String)>,
    /// Grows with each listing.
    listing: u64,
    /// How large all are.
    bytes: usize,
}

#[derive(Debug)]
struct Entry<T> {
    value: T,
    gone: Option<Instant>,
    bytes: usize,
    /// The listing that had it.
    listing: u64,
}

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            gone: VecDeque::new(),
            listing: 0,
            bytes: 0,
        }
    }
}

impl<T> Memory<T> {
    pub(super) fn get(&self, key: &str) -> Option<&T> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    pub(super) fn is_there(&self, key: &str) -> bool {
        self.entries
            .get(key)
            .is_some_and(|entry| entry.gone.is_none())
    }

    pub(super) fn there(&self) -> impl Iterator<Item = (&str, &T)> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.gone.is_none())
            .map(|(key, entry)| (key.as_str(), &entry.value))
    }

    /// Those that are there, and those that are gone.
    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        self.entries.values().map(|entry| &entry.value)
    }

    /// Takes what is there, and is small; false if there is no room.
    pub(super) fn insert(&mut self, key: String, value: T) -> bool {
        self.insert_sized(key, value, 0)
    }

    /// Takes what is there and may be large; false if there is no room, and what was there stays.
    pub(super) fn insert_sized(&mut self, key: String, value: T, bytes: usize) -> bool {
        let before = self.entries.get(&key).map(|entry| entry.bytes);
        let others = self.bytes - before.unwrap_or(0);
        let is_full = self.entries.len() >= LIVING_MAX + GONE_MAX && before.is_none();
        if is_full || bytes > BYTES_MAX - others {
            return false;
        }
        self.bytes = others + bytes;
        let entry = Entry {
            value,
            gone: None,
            bytes,
            listing: self.listing,
        };
        self.entries.insert(key, entry);
        true
    }

    /// Takes what is remembered for its time and no longer, as who is gone is.
    pub(super) fn insert_passing(&mut self, key: &str, value: T, now: Instant) {
        if self.insert(key.to_owned(), value) {
            self.forget(key, now);
        }
    }

    /// It is gone.
    pub(super) fn forget(&mut self, key: &str, now: Instant) {
        if let Some(entry) = self.entries.get_mut(key)
            && entry.gone.is_none()
        {
            entry.gone = Some(now);
            self.gone.push_back((now, key.to_owned()));
        }
        self.expire(now);
    }

    /// From here on all that is there is inserted.
    pub(super) fn begin_listing(&mut self) {
        self.listing += 1;
    }

    /// All has been inserted: the rest is gone.
    pub(super) fn end_listing(&mut self, now: Instant) {
        let listing = self.listing;
        let unseen: Vec<String> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.gone.is_none() && entry.listing != listing)
            .map(|(key, _)| key.clone())
            .collect();
        for key in unseen {
            self.forget(&key, now);
        }
        self.expire(now);
    }

    /// Forgets who was gone for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((since, _)) = self.gone.front()
            && (self.gone.len() > GONE_MAX || now.saturating_duration_since(*since) > GONE_KEPT)
        {
            let Some((since, key)) = self.gone.pop_front() else {
                return;
            };
            if self
                .entries
                .get(&key)
                .is_some_and(|entry| entry.gone == Some(since))
                && let Some(entry) = self.entries.remove(&key)
            {
                self.bytes -= entry.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_gone_are_remembered_for_minutes_and_no_longer() {
        let start = Instant::now();
        let mut memory = Memory::default();
        memory.insert("a".to_owned(), 1);
        memory.forget("a", start);
        assert!(!memory.is_there("a"));
        memory.forget("b", start + GONE_KEPT);
        assert_eq!(memory.get("a"), Some(&1));
        memory.forget("b", start + GONE_KEPT + Duration::from_secs(1));
        assert_eq!(memory.get("a"), None);
    }

    #[test]
    fn whoever_came_back_stays() {
        let start = Instant::now();
        let mut memory = Memory::default();
        memory.insert("a".to_owned(), 1);
        memory.forget("a", start);
        memory.insert("a".to_owned(), 2);
        memory.forget("b", start + GONE_KEPT * 2);
        assert!(memory.is_there("a"));
        assert_eq!(memory.get("a"), Some(&2));
    }

    #[test]
    fn whoever_a_listing_leaves_out_is_gone() {
        let now = Instant::now();
        let mut memory = Memory::default();
        memory.insert("a".to_owned(), 1);
        memory.insert("b".to_owned(), 1);
        memory.begin_listing();
        memory.insert("b".to_owned(), 2);
        memory.insert("c".to_owned(), 2);
        memory.end_listing(now);
        let mut there: Vec<_> = memory.there().collect();
        there.sort_unstable();
        assert_eq!(there, [("b", &2), ("c", &2)]);
        assert_eq!(memory.get("a"), Some(&1));
    }

    #[test]
    fn the_large_have_room_together_and_no_more() {
        const PART: usize = BYTES_MAX / 4;
        let start = Instant::now();
        let mut memory = Memory::default();
        for key in ["a", "b", "c", "d"] {
            assert!(memory.insert_sized(key.to_owned(), 1, PART), "{key}");
        }
        assert!(!memory.insert_sized("e".to_owned(), 1, 1));
        assert!(!memory.insert_sized("a".to_owned(), 2, PART + 1));
        assert_eq!(memory.get("a"), Some(&1));
        assert!(memory.insert_sized("a".to_owned(), 2, PART - 1));
        assert!(memory.insert_sized("e".to_owned(), 1, 1));
        assert!(memory.insert("small".to_owned(), 1));
        memory.forget("b", start);
        assert!(!memory.insert_sized("f".to_owned(), 1, 1));
        memory.expire(start + GONE_KEPT * 2);
        assert!(memory.insert_sized("f".to_owned(), 1, PART));
        assert!(!memory.insert_sized("g".to_owned(), 1, usize::MAX));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn memory_is_bounded_whatever_happens(
            steps in proptest::collection::vec((0..5u8, 0..20_000u32), 1..60),
        ) {
            let mut now = Instant::now();
            let mut memory = Memory::default();
            for (what, number) in steps {
                now += Duration::from_millis(u64::from(number));
                match what {
                    0 => for key in number..number + 3000 {
                        memory.insert(key.to_string(), key);
                    },
                    1 => for key in number..number + 3000 {
                        memory.forget(&key.to_string(), now);
                    },
                    2 => memory.begin_listing(),
                    3 => for key in number..number + 1000 {
                        memory.insert_sized(key.to_string(), key, 40 * number as usize);
                    },
                    _ => memory.end_listing(now),
                }
                prop_assert!(memory.entries.len() <= LIVING_MAX + GONE_MAX);
                prop_assert!(memory.gone.len() <= GONE_MAX);
                let bytes: usize = memory.entries.values().map(|entry| entry.bytes).sum();
                prop_assert_eq!(memory.bytes, bytes);
                prop_assert!(bytes <= BYTES_MAX);
            }
        }
    }
}
