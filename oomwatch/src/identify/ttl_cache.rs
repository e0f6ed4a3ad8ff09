//! A cache of objects that exist, that were removed minutes ago, or that existed before a restart. Bounded in number, size and
//! time. Pure: the caller passes the clock.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::model::persist::{self, Change, Entry, table::Table};

/// The part of the history's state table.
const PART: &str = "names";
/// How long removed entries are kept.
const REMOVED_TTL: Duration = Duration::from_mins(10);
/// Most removed entries.
const REMOVED_MAX: usize = 1024;
/// Most live entries: far more than a node has.
const LIVE_MAX: usize = 8192;
/// Largest total of the sizes passed to [`TtlCache::insert_sized`]: a thousand pods take a tenth of it.
const BYTES_MAX: usize = 8 << 20;
/// How long restored entries are kept if no listing ends.
const RESTORED_TTL: Duration = Duration::from_hours(7 * 24);

/// Values by key; each is live, removed, or restored from before a restart.
#[derive(Debug)]
pub(super) struct TtlCache<T> {
    entries: Table<CacheEntry<T>>,
    /// Times and keys of removals, oldest first; a key may have been inserted since.
    removals: VecDeque<(Instant, String)>,
    /// Number of listings begun.
    listing: u64,
    /// When entries were restored; absent once they are removed.
    restored: Option<Instant>,
    /// Sum of the entries' sizes.
    bytes: usize,
}

#[derive(Debug)]
struct CacheEntry<T> {
    value: T,
    presence: Presence,
    bytes: usize,
    /// The listing during which it was inserted last.
    listing: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Live,
    Removed(Instant),
    /// From before a restart; no listing has ended since.
    Restored,
}

impl<T> Default for TtlCache<T> {
    fn default() -> Self {
        Self {
            entries: Table::default(),
            removals: VecDeque::new(),
            listing: 0,
            restored: None,
            bytes: 0,
        }
    }
}

impl<T: PartialEq> TtlCache<T> {
    pub(super) fn get(&self, key: &str) -> Option<&T> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    pub(super) fn is_live(&self, key: &str) -> bool {
        let entry = self.entries.get(key);
        entry.is_some_and(|entry| entry.presence == Presence::Live)
    }

    pub(super) fn live(&self) -> impl Iterator<Item = (&str, &T)> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.presence == Presence::Live)
            .map(|(key, entry)| (key, &entry.value))
    }

    /// Live, removed and restored entries.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &T)> {
        self.entries.iter().map(|(key, entry)| (key, &entry.value))
    }

    /// Inserts a small live value. False if there is no room.
    pub(super) fn insert(&mut self, key: String, value: T) -> bool {
        self.insert_sized(key, value, 0)
    }

    /// Inserts a live value of this many bytes. False if there is no room; an existing entry is then unchanged.
    pub(super) fn insert_sized(&mut self, key: String, value: T, bytes: usize) -> bool {
        self.insert_as(key, value, Presence::Live, bytes)
    }

    /// Inserts a value that expires as a removed entry does.
    pub(super) fn insert_expiring(&mut self, key: &str, value: T, now: Instant) {
        if self.insert(key.to_owned(), value) {
            self.remove(key, now);
        }
    }

    /// Inserts a value from before a restart, unless there is one.
    pub(super) fn insert_restored(&mut self, key: &str, value: T, now: Instant) {
        if self.entries.get(key).is_none() {
            self.insert_as(key.to_owned(), value, Presence::Restored, 0);
            self.restored = Some(now);
        }
    }

    /// Marks an entry as removed.
    pub(super) fn remove(&mut self, key: &str, now: Instant) {
        if let Some(entry) = self.entries.get_unsaved_mut(key)
            && !matches!(entry.presence, Presence::Removed(_))
        {
            entry.presence = Presence::Removed(now);
            self.removals.push_back((now, key.to_owned()));
        }
        self.expire(now);
    }

    /// Starts a listing: all that exists is inserted before [`TtlCache::end_listing`].
    pub(super) fn begin_listing(&mut self) {
        self.listing += 1;
    }

    /// Ends the listing; entries not seen in it are removed.
    pub(super) fn end_listing(&mut self, now: Instant) {
        let listing = self.listing;
        self.remove_all(now, |entry| {
            entry.presence == Presence::Live && entry.listing != listing
        });
        self.remove_restored(now);
    }

    /// Marks all restored entries as removed: a source has listed what exists.
    pub(super) fn remove_restored(&mut self, now: Instant) {
        if self.restored.take().is_some() {
            self.remove_all(now, |entry| entry.presence == Presence::Restored);
        }
        self.expire(now);
    }

    /// Drops the entries whose time is over.
    pub(super) fn expire(&mut self, now: Instant) {
        let is_over = |since| now.saturating_duration_since(since) > RESTORED_TTL;
        if self.restored.is_some_and(is_over) {
            self.restored = None;
            self.entries
                .retain(|entry| entry.presence != Presence::Restored);
        }
        while let Some((since, _)) = self.removals.front()
            && (self.removals.len() > REMOVED_MAX
                || now.saturating_duration_since(*since) > REMOVED_TTL)
        {
            let Some((since, key)) = self.removals.pop_front() else {
                return;
            };
            let entry = self.entries.get(&key);
            if entry.is_some_and(|entry| entry.presence == Presence::Removed(since))
                && let Some(entry) = self.entries.remove(&key)
            {
                self.bytes -= entry.bytes;
            }
        }
    }

    /// Makes every entry a change again.
    pub(super) fn mark_all_dirty(&mut self) {
        self.entries.mark_all_dirty();
    }

    fn insert_as(&mut self, key: String, value: T, presence: Presence, bytes: usize) -> bool {
        let listing = self.listing;
        let before = self.entries.get(&key).map(|entry| entry.bytes);
        let others = self.bytes - before.unwrap_or(0);
        let is_full = self.entries.len() >= LIVE_MAX + REMOVED_MAX && before.is_none();
        if is_full || bytes > BYTES_MAX - others {
            return false;
        }
        self.bytes = others + bytes;
        if let Some(entry) = self.entries.get_unsaved_mut(&key)
            && entry.value == value
        {
            entry.presence = presence;
            entry.bytes = bytes;
            entry.listing = listing;
            return true;
        }
        let entry = CacheEntry {
            value,
            presence,
            bytes,
            listing,
        };
        self.entries.insert(key, entry);
        true
    }

    fn remove_all(&mut self, now: Instant, is_removed: impl Fn(&CacheEntry<T>) -> bool) {
        let removed = self.entries.iter().filter(|(_, entry)| is_removed(entry));
        let keys: Vec<String> = removed.map(|(key, _)| key.to_owned()).collect();
        for key in keys {
            self.remove(&key, now);
        }
        self.expire(now);
    }
}

impl<T: PartialEq + Serialize + DeserializeOwned> TtlCache<T> {
    /// Restores the first `most` entries saved with this key prefix, each through `convert`.
    pub(super) fn restore(
        saved: &[Entry],
        prefix: &'static str,
        most: usize,
        now: Instant,
        convert: impl Fn(T) -> T,
    ) -> Self {
        let restored = |value| CacheEntry {
            value: convert(value),
            presence: Presence::Restored,
            bytes: 0,
            listing: 0,
        };
        let saved = persist::read::<T>(saved, PART, prefix).enumerate();
        let bounded = saved.map(|(number, (key, value))| {
            let value = value.filter(|_| number < most);
            (key, value.map(&restored))
        });
        Self {
            entries: Table::restore(bounded),
            restored: Some(now),
            ..Self::default()
        }
    }

    /// The changes since the last call, with this key prefix, so that at most `most` entries are saved.
    pub(super) fn changes(&mut self, prefix: &str, most: usize) -> Vec<Change> {
        self.entries.changes(most, |key, entry| {
            let value = entry.map(|entry| &entry.value);
            Change::new(PART, format!("{prefix}{key}"), value)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn removed_entries_are_kept_for_minutes() {
        let start = Instant::now();
        let mut cache = TtlCache::default();
        cache.insert("a".to_owned(), 1);
        cache.remove("a", start);
        assert!(!cache.is_live("a"));
        cache.remove("b", start + REMOVED_TTL);
        assert_eq!(cache.get("a"), Some(&1));
        cache.remove("b", start + REMOVED_TTL + Duration::from_secs(1));
        assert_eq!(cache.get("a"), None);
    }

    #[test]
    fn restored_entries_are_kept_until_a_listing_and_are_removed_by_it() {
        let start = Instant::now();
        let later = start + RESTORED_TTL / 2;
        let mut cache = TtlCache::default();
        cache.insert_restored("a", 1, start);
        cache.insert_restored("b", 1, start);
        cache.expire(later);
        assert_eq!(cache.get("a"), Some(&1));
        cache.begin_listing();
        cache.insert("b".to_owned(), 2);
        cache.insert_restored("b", 1, later);
        cache.end_listing(later);
        assert_eq!(cache.get("b"), Some(&2));
        assert!(cache.is_live("b") && !cache.is_live("a"));
        cache.expire(later + REMOVED_TTL);
        assert_eq!(cache.get("a"), Some(&1));
        cache.expire(later + REMOVED_TTL + Duration::from_secs(1));
        assert_eq!(cache.get("a"), None);
    }

    #[test]
    fn entry_inserted_after_its_removal_stays() {
        let start = Instant::now();
        let mut cache = TtlCache::default();
        cache.insert("a".to_owned(), 1);
        cache.remove("a", start);
        cache.insert("a".to_owned(), 2);
        cache.remove("b", start + REMOVED_TTL * 2);
        assert!(cache.is_live("a"));
        assert_eq!(cache.get("a"), Some(&2));
    }

    #[test]
    fn entries_missing_in_a_listing_are_removed() {
        let now = Instant::now();
        let mut cache = TtlCache::default();
        cache.insert("a".to_owned(), 1);
        cache.insert("b".to_owned(), 1);
        cache.begin_listing();
        cache.insert("b".to_owned(), 2);
        cache.insert("c".to_owned(), 2);
        cache.end_listing(now);
        let mut live: Vec<_> = cache.live().collect();
        live.sort_unstable();
        assert_eq!(live, [("b", &2), ("c", &2)]);
        assert_eq!(cache.get("a"), Some(&1));
    }

    #[test]
    fn sizes_are_bounded_in_total() {
        const PART: usize = BYTES_MAX / 4;
        let start = Instant::now();
        let mut cache = TtlCache::default();
        for key in ["a", "b", "c", "d"] {
            assert!(cache.insert_sized(key.to_owned(), 1, PART), "{key}");
        }
        assert!(!cache.insert_sized("e".to_owned(), 1, 1));
        assert!(!cache.insert_sized("a".to_owned(), 2, PART + 1));
        assert_eq!(cache.get("a"), Some(&1));
        assert!(cache.insert_sized("a".to_owned(), 2, PART - 1));
        assert!(cache.insert_sized("e".to_owned(), 1, 1));
        assert!(cache.insert("small".to_owned(), 1));
        cache.remove("b", start);
        assert!(!cache.insert_sized("f".to_owned(), 1, 1));
        cache.expire(start + REMOVED_TTL * 2);
        assert!(cache.insert_sized("f".to_owned(), 1, PART));
        assert!(!cache.insert_sized("g".to_owned(), 1, usize::MAX));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn cache_is_bounded_after_any_steps(
            steps in proptest::collection::vec((0..5u8, 0..20_000u32), 4..16),
        ) {
            let mut now = Instant::now();
            let mut cache = TtlCache::default();
            for (kind, number) in steps {
                now += Duration::from_millis(u64::from(number));
                match kind {
                    0 => for key in number..number + 4000 {
                        cache.insert(key.to_string(), key);
                    },
                    1 => for key in number..number + 4000 {
                        cache.remove(&key.to_string(), now);
                    },
                    2 => cache.begin_listing(),
                    3 => for key in number..number + 1000 {
                        cache.insert_sized(key.to_string(), key, 40 * number as usize);
                    },
                    _ => cache.end_listing(now),
                }
                prop_assert!(cache.entries.len() <= LIVE_MAX + REMOVED_MAX);
                prop_assert!(cache.removals.len() <= REMOVED_MAX);
                let bytes: usize = cache.entries.values().map(|entry| entry.bytes).sum();
                prop_assert_eq!(cache.bytes, bytes);
                prop_assert!(bytes <= BYTES_MAX);
            }
        }
    }
}
