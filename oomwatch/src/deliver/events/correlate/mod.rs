//! What becomes of one more Event on the node: an object of its own, one more of the same, or one of many alike.
//!
//! This is client-go's `EventCorrelator` (`tools/record/events_cache.go`) with two differences: what the bucket holds back is
//! written later, as a count; and so no count is lost.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{
    bucket::{Bucket, Rate},
    object::{Event, Metadata},
};
use crate::deliver::events::{
    event_counter::{ConflictResolution, EventCounter, Ownership},
    lru_table::LruTable,
};
use crate::model::persist::{Change, Entry};

/// `maxLruCacheEntries`, of each of three caches.
const CAPACITY: usize = 4096;
/// `defaultAggregateMaxEvents`: from so many different messages on they share one object.
const ALIKE: usize = 10;
/// `defaultAggregateIntervalInSeconds`: longer than this after the last one the count of messages begins anew.
const ALIKE_WITHIN_NS: u64 = 600_000_000_000;
/// `defaultSpamQPS` and `defaultSpamBurst`.
const SPAM: Rate = Rate {
    per_second: 1.0 / 300.0,
    burst: 25.0,
};
const COMBINED: &str = "(combined from similar events): ";

/// What was recorded before.
#[derive(Clone, Debug)]
pub struct Correlator {
    alike: LruTable<Alike>,
    counted: LruTable<EventCounter>,
    buckets: LruTable<Bucket>,
    /// Objects with a count that is yet to be written, longest first.
    held: VecDeque<Held>,
}

/// Events that differ in nothing but their message.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Alike {
    messages: VecDeque<String>,
    last_ns: u64,
}

#[derive(Clone, Debug)]
struct Held {
    bucket: String,
    object: Metadata,
}

/// An Event as it is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correlated {
    /// With the name, the first time and the count of its object: with a count of 1 it is new.
    pub event: Event,
    /// Whether the API server can have the object from before.
    pub origin: Ownership,
    /// Whether it may be written now.
    pub verdict: Verdict,
}

/// Whether an Event may be written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Write,
    /// When [`Correlator::release`] names its object.
    Hold,
}

impl Correlator {
    /// What was saved of it; but for [`Correlator::hold`].
    #[must_use]
    pub fn restore(saved: &[Entry]) -> Self {
        Self {
            alike: LruTable::restore("alike", CAPACITY, saved),
            counted: LruTable::restore("counted", CAPACITY, saved),
            buckets: LruTable::restore("buckets", CAPACITY, saved),
            held: VecDeque::new(),
        }
    }

    /// Takes an Event with a name of its own, of a kill at `time_ns`. It is the kill's own time that decides, so that the same
    /// kills make the same objects whenever they are taken.
    pub fn take(&mut self, event: Event, origin: Ownership, time_ns: u64) -> Correlated {
        let bucket_key = bucket_key(&event);
        let (key, event) = self.combine(event, time_ns);
        let tally = self
            .counted
            .entry(&key, || EventCounter::of(&event, origin));
        let event = tally.add(event, origin);
        let origin = tally.origin();
        let bucket = self
            .buckets
            .entry(&bucket_key, || Bucket::full(SPAM, time_ns));
        let verdict = if bucket.take(SPAM, time_ns) {
            self.written(&event.metadata);
            Verdict::Write
        } else {
            self.hold(&event);
            Verdict::Hold
        };
        Correlated {
            event,
            origin,
            verdict,
        }
    }

    /// The count of this Event's object is not to be written until [`Correlator::release`] names it.
    pub fn hold(&mut self, event: &Event) {
        let object = &event.metadata;
        if !self.held.iter().any(|held| held.object == *object) {
            self.held.push_back(Held {
                bucket: bucket_key(event),
                object: object.clone(),
            });
            self.held.truncate(CAPACITY);
        }
    }

    /// The object whose count may be written now, if there is one.
    pub fn release(&mut self, now_ns: u64) -> Option<Metadata> {
        let Self { held, buckets, .. } = self;
        let free = held.iter().position(|held| {
            buckets
                .entry(&held.bucket, || Bucket::full(SPAM, now_ns))
                .take(SPAM, now_ns)
        })?;
        held.remove(free).map(|held| held.object)
    }

    /// When the next object may be written, if one is held back.
    #[must_use]
    pub fn next_release_ns(&self, now_ns: u64) -> Option<u64> {
        let ready = |held: &Held| {
            self.buckets
                .peek(&held.bucket)
                .map_or(now_ns, |bucket| bucket.ready_ns(SPAM, now_ns))
        };
        self.held.iter().map(ready).min()
    }

    /// The object was written with all that is held back.
    pub fn written(&mut self, object: &Metadata) {
        self.held.retain(|held| held.object != *object);
    }

    /// Takes what was learnt of an object.
    pub(super) fn learn(&mut self, about: &Metadata, lesson: &ConflictResolution) {
        if let Some(tally) = self.counted.find_mut(|tally| tally.is_of(about)) {
            tally.learn(lesson);
        }
    }

    /// What has changed since the last call.
    pub fn changes(&mut self) -> Vec<Change> {
        let Self {
            alike,
            counted,
            buckets,
            held: _,
        } = self;
        [alike.changes(), counted.changes(), buckets.changes()].concat()
    }

    /// All of it is to be saved anew.
    pub fn mark_all_dirty(&mut self) {
        self.alike.mark_all_dirty();
        self.counted.mark_all_dirty();
        self.buckets.mark_all_dirty();
    }

    /// `EventAggregate`: the key of the object to be counted, and the Event for it.
    fn combine(&mut self, event: Event, time_ns: u64) -> (String, Event) {
        let key = alike_key(&event);
        let fresh = || Alike {
            messages: VecDeque::new(),
            last_ns: time_ns,
        };
        let alike = self.alike.entry(&key, fresh);
        if time_ns.saturating_sub(alike.last_ns) > ALIKE_WITHIN_NS {
            *alike = fresh();
        }
        alike.last_ns = alike.last_ns.max(time_ns);
        if !alike.messages.contains(&event.message) {
            alike.messages.push_back(event.message.clone());
        }
        if alike.messages.len() < ALIKE {
            return (event_key(&event), event);
        }
        alike.messages.pop_front();
        let combined = Event {
            message: format!("{COMBINED}{}", event.message),
            reporting_component: String::new(),
            reporting_instance: String::new(),
            ..event
        };
        (key, combined)
    }
}

/// `getEventKey`.
fn event_key(event: &Event) -> String {
    let about = &event.involved_object;
    let path = about.field_path.as_deref().unwrap_or_default();
    join(event, &[path, &event.reason, &event.message])
}

/// `EventAggregatorByReasonFunc`.
fn alike_key(event: &Event) -> String {
    let Event {
        reason,
        reporting_component,
        reporting_instance,
        ..
    } = event;
    join(event, &[reason, reporting_component, reporting_instance])
}

/// `getSpamKey`.
fn bucket_key(event: &Event) -> String {
    join(event, &[])
}

/// What all keys begin with, and more. A line break is in none of it.
fn join(event: &Event, more: &[&str]) -> String {
    let about = &event.involved_object;
    let common = [
        &event.source.component,
        &event.source.host,
        &about.kind,
        about.namespace.as_deref().unwrap_or_default(),
        &about.name,
        about.uid.as_deref().unwrap_or_default(),
        &about.api_version,
        &event.kind,
    ];
    [&common, more].concat().join("\n")
}

#[cfg(test)]
mod tests;
