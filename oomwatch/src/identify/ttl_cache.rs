//! What is there, what was there until minutes ago, and what was there before the start: bounded in number, size and time,
//! with the clock handed in.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::model::persist::{self, Change, Entry, table::Table};

/// Of the journal.
const PART: &str = "who";
/// How long the gone are remembered.
const GONE_KEPT: Duration = Duration::from_mins(10);
/// How many of the gone are remembered.
const GONE_MAX: usize = 1024;
/// How many there can be at once: far more than a node has.
const LIVING_MAX: usize = 8192;
/// How large all that says its size may be together: a thousand pods take a tenth of it.
const BYTES_MAX: usize = 8 << 20;
/// How long those from before the start are, if nobody says who of them is there.
const RESTORED_KEPT: Duration = Duration::from_hours(7 * 24);

/// Values by key, each there or gone.
#[derive(Debug)]
pub(super) struct TtlCache<T> {
    entries: Table<Known<T>>,
    /// Who is gone since when, in that order; some are back by now.
    gone: VecDeque<(Instant, String)>,
    /// Grows with each listing.
    listing: u64,
    /// When there were some from before the start.
    restored: Option<Instant>,
    /// How large all are, save those from before the start, which were as large then.
    bytes: usize,
}

#[derive(Debug)]
struct Known<T> {
    value: T,
    presence: Presence,
    bytes: usize,
    /// The listing that had it.
    listing: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Live,
    Removed(Instant),
    /// It is from before the start, and nobody has yet said who is there.
    Restored,
}

impl<T> Default for TtlCache<T> {
    fn default() -> Self {
        Self {
            entries: Table::default(),
            gone: VecDeque::new(),
            listing: 0,
            restored: None,
            bytes: 0,
        }
    }
}

impl<T: PartialEq> TtlCache<T> {
    pub(super) fn get(&self, key: &str) -> Option<&T> {
        self.entries.get(key).map(|known| &known.value)
    }

    pub(super) fn is_there(&self, key: &str) -> bool {
        let known = self.entries.get(key);
        known.is_some_and(|known| known.presence == Presence::Live)
    }

    pub(super) fn there(&self) -> impl Iterator<Item = (&str, &T)> {
        self.entries
            .iter()
            .filter(|(_, known)| known.presence == Presence::Live)
            .map(|(key, known)| (key, &known.value))
    }

    /// Those that are there, and those that are not.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &T)> {
        self.entries.iter().map(|(key, known)| (key, &known.value))
    }

    /// Takes what is there, and is small; false if there is no room.
    pub(super) fn insert(&mut self, key: String, value: T) -> bool {
        self.insert_sized(key, value, 0)
    }

    /// Takes what is there and may be large; false if there is no room, and what was there stays.
    pub(super) fn insert_sized(&mut self, key: String, value: T, bytes: usize) -> bool {
        self.take(key, value, Presence::Live, bytes)
    }

    /// Takes what is remembered for its time and no longer, as who is gone is.
    pub(super) fn insert_expiring(&mut self, key: &str, value: T, now: Instant) {
        if self.insert(key.to_owned(), value) {
            self.forget(key, now);
        }
    }

    /// Takes what was there before the start.
    pub(super) fn insert_restored(&mut self, key: &str, value: T, now: Instant) {
        if self.entries.get(key).is_none() {
            self.take(key.to_owned(), value, Presence::Restored, 0);
            self.restored = Some(now);
        }
    }

    /// It is gone.
    pub(super) fn forget(&mut self, key: &str, now: Instant) {
        if let Some(known) = self.entries.get_unsaved_mut(key)
            && !matches!(known.presence, Presence::Removed(_))
        {
            known.presence = Presence::Removed(now);
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
        self.forget_all(now, |known| {
            known.presence == Presence::Live && known.listing != listing
        });
        self.forget_restored(now);
    }

    /// Who is there is known: those from before the start that are not are gone.
    pub(super) fn forget_restored(&mut self, now: Instant) {
        if self.restored.take().is_some() {
            self.forget_all(now, |known| known.presence == Presence::Restored);
        }
        self.expire(now);
    }

    /// Forgets who was gone for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        let is_over = |since| now.saturating_duration_since(since) > RESTORED_KEPT;
        if self.restored.is_some_and(is_over) {
            self.restored = None;
            self.entries
                .retain(|known| known.presence != Presence::Restored);
        }
        while let Some((since, _)) = self.gone.front()
            && (self.gone.len() > GONE_MAX || now.saturating_duration_since(*since) > GONE_KEPT)
        {
            let Some((since, key)) = self.gone.pop_front() else {
                return;
            };
            let known = self.entries.get(&key);
            if known.is_some_and(|known| known.presence == Presence::Removed(since))
                && let Some(known) = self.entries.remove(&key)
            {
                self.bytes -= known.bytes;
            }
        }
    }

    /// All of it is to be saved anew.
    pub(super) fn mark_all_dirty(&mut self) {
        self.entries.mark_all_dirty();
    }

    fn take(&mut self, key: String, value: T, presence: Presence, bytes: usize) -> bool {
        let listing = self.listing;
        let before = self.entries.get(&key).map(|known| known.bytes);
        let others = self.bytes - before.unwrap_or(0);
        let is_full = self.entries.len() >= LIVING_MAX + GONE_MAX && before.is_none();
        if is_full || bytes > BYTES_MAX - others {
            return false;
        }
        self.bytes = others + bytes;
        if let Some(known) = self.entries.get_unsaved_mut(&key)
            && known.value == value
        {
            known.presence = presence;
            known.bytes = bytes;
            known.listing = listing;
            return true;
        }
        let known = Known {
            value,
            presence,
            bytes,
            listing,
        };
        self.entries.insert(key, known);
        true
    }

    fn forget_all(&mut self, now: Instant, is_gone: impl Fn(&Known<T>) -> bool) {
        let gone = self.entries.iter().filter(|(_, known)| is_gone(known));
        let gone: Vec<String> = gone.map(|(key, _)| key.to_owned()).collect();
        for key in gone {
            self.forget(&key, now);
        }
        self.expire(now);
    }
}

impl<T: PartialEq + Serialize + DeserializeOwned> TtlCache<T> {
    /// What was saved by keys that begin so, `most` at most, as far as `still` leaves it.
    pub(super) fn restore(
        saved: &[Entry],
        prefix: &'static str,
        most: usize,
        now: Instant,
        still: impl Fn(T) -> T,
    ) -> Self {
        let known = |value| Known {
            value: still(value),
            presence: Presence::Restored,
            bytes: 0,
            listing: 0,
        };
        let saved = persist::read::<T>(saved, PART, prefix).enumerate();
        let bounded = saved.map(|(number, (key, value))| {
            let value = value.filter(|_| number < most);
            (key, value.map(&known))
        });
        Self {
            entries: Table::restore(bounded),
            restored: Some(now),
            ..Self::default()
        }
    }

    /// What differs from what is saved by keys that begin so, `most` at most: whoever is remembered.
    pub(super) fn changes(&mut self, prefix: &str, most: usize) -> Vec<Change> {
        self.entries.changes(most, |key, known| {
            let value = known.map(|known| &known.value);
            Change::new(PART, format!("{prefix}{key}"), value)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_gone_are_remembered_for_minutes_and_no_longer() {
        let start = Instant::now();
        let mut memory = TtlCache::default();
        memory.insert("a".to_owned(), 1);
        memory.forget("a", start);
        assert!(!memory.is_there("a"));
        memory.forget("b", start + GONE_KEPT);
        assert_eq!(memory.get("a"), Some(&1));
        memory.forget("b", start + GONE_KEPT + Duration::from_secs(1));
        assert_eq!(memory.get("a"), None);
    }

    #[test]
    fn whoever_is_restored_is_kept_until_a_listing_and_counts_among_the_gone_from_then_on() {
        let start = Instant::now();
        let later = start + RESTORED_KEPT / 2;
        let mut memory = TtlCache::default();
        memory.insert_restored("a", 1, start);
        memory.insert_restored("b", 1, start);
        memory.expire(later);
        assert_eq!(memory.get("a"), Some(&1));
        memory.begin_listing();
        memory.insert("b".to_owned(), 2);
        memory.insert_restored("b", 1, later);
        memory.end_listing(later);
        assert_eq!(memory.get("b"), Some(&2));
        assert!(memory.is_there("b") && !memory.is_there("a"));
        memory.expire(later + GONE_KEPT);
        assert_eq!(memory.get("a"), Some(&1));
        memory.expire(later + GONE_KEPT + Duration::from_secs(1));
        assert_eq!(memory.get("a"), None);
    }

    #[test]
    fn whoever_came_back_stays() {
        let start = Instant::now();
        let mut memory = TtlCache::default();
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
        let mut memory = TtlCache::default();
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
        let mut memory = TtlCache::default();
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
            let mut memory = TtlCache::default();
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
                let bytes: usize = memory.entries.values().map(|known| known.bytes).sum();
                prop_assert_eq!(memory.bytes, bytes);
                prop_assert!(bytes <= BYTES_MAX);
            }
        }
    }
}
