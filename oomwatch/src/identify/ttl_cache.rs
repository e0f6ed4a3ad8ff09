//! A cache of objects that exist, that were removed minutes ago, or that existed before a restart. Bounded in number, size and
//! time. Pure: the caller passes the clock.
//!
//! Each entry is of a namespace. When there is no more room, the namespace with the most gives way to one with less: none
//! can push out another's entries by having many.

mod usage;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};

use self::usage::{Amount, Usage};
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
    /// How much each namespace has.
    usage: Usage,
}

#[derive(Debug)]
struct CacheEntry<T> {
    value: T,
    namespace: Arc<str>,
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
            usage: Usage::default(),
        }
    }
}

impl<T> CacheEntry<T> {
    fn amount(&self) -> Amount {
        Amount {
            entries: 1,
            removed: usize::from(matches!(self.presence, Presence::Removed(_))),
            bytes: self.bytes,
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
    pub(super) fn insert(&mut self, namespace: &str, key: String, value: T) -> bool {
        self.insert_sized(namespace, key, value, 0)
    }

    /// Inserts a live value of this many bytes. False if there is no room; an existing entry is then unchanged.
    pub(super) fn insert_sized(
        &mut self,
        namespace: &str,
        key: String,
        value: T,
        bytes: usize,
    ) -> bool {
        self.insert_as(namespace, key, value, Presence::Live, bytes)
    }

    /// Inserts a value that expires as a removed entry does.
    pub(super) fn insert_expiring(&mut self, namespace: &str, key: &str, value: T, now: Instant) {
        if self.insert(namespace, key.to_owned(), value) {
            self.remove(key, now);
        }
    }

    /// Inserts a value from before a restart, unless there is one.
    pub(super) fn insert_restored(&mut self, namespace: &str, key: &str, value: T, now: Instant) {
        if self.entries.get(key).is_none() {
            self.insert_as(namespace, key.to_owned(), value, Presence::Restored, 0);
            self.restored = Some(now);
        }
    }

    /// Marks an entry as removed.
    pub(super) fn remove(&mut self, key: &str, now: Instant) {
        if let Some(entry) = self.entries.get_unsaved_mut(key)
            && !matches!(entry.presence, Presence::Removed(_))
        {
            entry.presence = Presence::Removed(now);
            self.usage.add(&entry.namespace, Amount::REMOVAL);
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
            let restored = self.entries.iter();
            let restored = restored.filter(|(_, entry)| entry.presence == Presence::Restored);
            let keys: Vec<String> = restored.map(|(key, _)| key.to_owned()).collect();
            for key in keys {
                self.drop_entry(&key);
            }
        }
        while let Some((since, _)) = self.removals.front()
            && now.saturating_duration_since(*since) > REMOVED_TTL
        {
            self.drop_removal(0);
        }
        while self.removals.len() > REMOVED_MAX {
            let most = self.usage.most(|amount| amount.removed);
            // A removal whose key was inserted since counts for no namespace.
            let is_droppable = |(since, key): &(Instant, String)| {
                let entry = self.entries.get(key);
                entry.is_none_or(|entry| {
                    entry.presence != Presence::Removed(*since)
                        || Some(&entry.namespace) == most.as_ref()
                })
            };
            let oldest = self.removals.iter().position(is_droppable);
            self.drop_removal(oldest.unwrap_or(0));
        }
    }

    /// Drops the removal at this index, and its entry unless that was inserted since.
    fn drop_removal(&mut self, index: usize) {
        if let Some((since, key)) = self.removals.remove(index) {
            let entry = self.entries.get(&key);
            if entry.is_some_and(|entry| entry.presence == Presence::Removed(since)) {
                self.drop_entry(&key);
            }
        }
    }

    fn drop_entry(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.usage.subtract(&entry.namespace, entry.amount());
        }
    }

    /// Makes every entry a change again.
    pub(super) fn mark_all_dirty(&mut self) {
        self.entries.mark_all_dirty();
    }

    fn insert_as(
        &mut self,
        namespace: &str,
        key: String,
        value: T,
        presence: Presence,
        bytes: usize,
    ) -> bool {
        let listing = self.listing;
        let before = self.entries.get(&key).map(|entry| entry.bytes);
        if !self.make_room(namespace, &key, before, bytes) {
            return false;
        }
        let namespace = self.usage.name(namespace);
        if let Some(entry) = self.entries.get_unsaved_mut(&key)
            && entry.value == value
        {
            self.usage.subtract(&entry.namespace, entry.amount());
            entry.namespace = namespace;
            entry.presence = presence;
            entry.bytes = bytes;
            entry.listing = listing;
            self.usage.add(&entry.namespace, entry.amount());
            return true;
        }
        self.drop_usage(&key);
        let entry = CacheEntry {
            value,
            namespace,
            presence,
            bytes,
            listing,
        };
        self.usage.add(&entry.namespace, entry.amount());
        self.entries.insert(key, entry);
        true
    }

    /// Subtracts an entry that is about to be replaced.
    fn drop_usage(&mut self, key: &str) {
        if let Some(entry) = self.entries.get(key) {
            self.usage.subtract(&entry.namespace, entry.amount());
        }
    }

    /// Makes room for an entry of this many bytes in place of one of `before`, at the cost of namespaces that have more.
    fn make_room(
        &mut self,
        namespace: &str,
        key: &str,
        before: Option<usize>,
        bytes: usize,
    ) -> bool {
        loop {
            let all = self.usage.total();
            let others = all.bytes - before.unwrap_or(0);
            let is_full = all.entries >= LIVE_MAX + REMOVED_MAX && before.is_none();
            let is_large = bytes > BYTES_MAX.saturating_sub(others);
            if !is_full && !is_large {
                return true;
            }
            let size: fn(Amount) -> usize = if is_large {
                |amount| amount.bytes
            } else {
                |amount| amount.entries
            };
            let own = self.usage.get(namespace);
            let own = if is_large {
                (own.bytes - before.unwrap_or(0)).saturating_add(bytes)
            } else {
                own.entries + 1
            };
            let Some(most) = self.usage.most(size) else {
                return false;
            };
            if &*most == namespace || size(self.usage.get(&most)) < own {
                return false;
            }
            // What is removed goes first, then the largest.
            let rank = |entry: &CacheEntry<T>| {
                let is_removed = matches!(entry.presence, Presence::Removed(_));
                (is_removed && (!is_large || entry.bytes > 0), entry.bytes)
            };
            let of_most = self
                .entries
                .iter()
                .filter(|(other, entry)| entry.namespace == most && *other != key);
            let Some((victim, _)) = of_most.max_by_key(|(_, entry)| rank(entry)) else {
                return false;
            };
            let victim = victim.to_owned();
            self.drop_entry(&victim);
        }
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
        namespace: impl Fn(&T) -> &str,
    ) -> Self {
        let mut usage = Usage::default();
        let mut restored = |value| {
            let value = convert(value);
            let entry = CacheEntry {
                namespace: usage.name(namespace(&value)),
                value,
                presence: Presence::Restored,
                bytes: 0,
                listing: 0,
            };
            usage.add(&entry.namespace, entry.amount());
            entry
        };
        let saved = persist::read::<T>(saved, PART, prefix).enumerate();
        let bounded = saved.map(|(number, (key, value))| {
            let value = value.filter(|_| number < most);
            (key, value.map(&mut restored))
        });
        let entries = Table::restore(bounded);
        Self {
            entries,
            usage,
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
mod tests;
