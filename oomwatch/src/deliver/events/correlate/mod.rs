//! Decides for an Event on the Node whether it is a new object, one more count of an equal Event, or one of an aggregate.
//!
//! This is client-go's `EventCorrelator` (`tools/record/events_cache.go`) with two differences: an Event that the spam bucket
//! holds back is written later, as a count; and therefore no count is lost.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{
    bucket::{Bucket, Rate},
    event_counter::{ConflictResolution, CountedEvent, EventCounter, Ownership, WriteDecision},
    lru_table::LruTable,
    object::{Event, Metadata},
};
use crate::model::persist::{Change, Entry};

/// `maxLruCacheEntries`, for each of the three tables.
const CAPACITY: usize = 4096;
/// `defaultAggregateMaxEvents`: from this many different messages on, Events share one object.
const AGGREGATE_MAX_EVENTS: usize = 10;
/// `defaultAggregateIntervalInSeconds`: a longer pause restarts the count of messages.
const AGGREGATE_INTERVAL_NS: u64 = 600_000_000_000;
/// `defaultSpamQPS` and `defaultSpamBurst`.
const SPAM: Rate = Rate {
    per_second: 1.0 / 300.0,
    burst: 25.0,
};
const AGGREGATE_PREFIX: &str = "(combined from similar events): ";

/// The state of client-go's aggregator, logger and spam filter.
#[derive(Clone, Debug)]
pub(super) struct Correlator {
    aggregates: LruTable<Aggregate>,
    counters: LruTable<EventCounter>,
    buckets: LruTable<Bucket>,
    /// Objects whose count is not written yet, the first one held for the longest time.
    held: VecDeque<HeldObject>,
}

/// The latest different messages of Events that are otherwise equal.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Aggregate {
    messages: VecDeque<String>,
    last_ns: u64,
}

#[derive(Clone, Debug)]
struct HeldObject {
    bucket: String,
    object: Metadata,
}

impl Correlator {
    /// Restores the saved rows. Objects that are held back are not among them: the caller passes them to [`Correlator::hold`].
    pub(super) fn restore(saved: &[Entry]) -> Self {
        Self {
            aggregates: LruTable::restore("aggregates", CAPACITY, saved),
            counters: LruTable::restore("counters", CAPACITY, saved),
            buckets: LruTable::restore("buckets", CAPACITY, saved),
            held: VecDeque::new(),
        }
    }

    /// Correlates the Event of a kill at `time_ns`. Only the times of kills count, so that the same kills lead to the same objects
    /// whenever they are correlated.
    pub(super) fn correlate(
        &mut self,
        event: Event,
        ownership: Ownership,
        time_ns: u64,
    ) -> CountedEvent {
        let bucket_key = bucket_key(&event);
        let (key, event) = self.aggregate(event, time_ns);
        let counter = self
            .counters
            .entry(&key, || EventCounter::new(&event, ownership));
        let event = counter.add(event, ownership);
        let ownership = counter.ownership();
        let bucket = self
            .buckets
            .entry(&bucket_key, || Bucket::full(SPAM, time_ns));
        let decision = if bucket.try_take(SPAM, time_ns) {
            self.mark_written(&event.metadata);
            WriteDecision::Write
        } else {
            self.hold(&event);
            WriteDecision::Hold
        };
        CountedEvent {
            event,
            ownership,
            decision,
            pace_ns: 0,
        }
    }

    /// Holds the Event's object back until [`Correlator::release`] returns its name.
    pub(super) fn hold(&mut self, event: &Event) {
        let object = &event.metadata;
        if !self.held.iter().any(|held| held.object == *object) {
            self.held.push_back(HeldObject {
                bucket: bucket_key(event),
                object: object.clone(),
            });
            self.held.truncate(CAPACITY);
        }
    }

    /// Releases and returns an object that may be written now, if there is one.
    pub(super) fn release(&mut self, now_ns: u64) -> Option<Metadata> {
        let Self { held, buckets, .. } = self;
        let free = held.iter().position(|held| {
            buckets
                .entry(&held.bucket, || Bucket::full(SPAM, now_ns))
                .try_take(SPAM, now_ns)
        })?;
        held.remove(free).map(|held| held.object)
    }

    /// When the next object can be released, if one is held back.
    pub(super) fn next_release_ns(&self, now_ns: u64) -> Option<u64> {
        let ready = |held: &HeldObject| {
            self.buckets
                .peek(&held.bucket)
                .map_or(now_ns, |bucket| bucket.ready_ns(SPAM, now_ns))
        };
        self.held.iter().map(ready).min()
    }

    /// Notes that the object was written with its full count, and need not be released.
    pub(super) fn mark_written(&mut self, object: &Metadata) {
        self.held.retain(|held| held.object != *object);
    }

    /// Applies what the API server's response says about an object.
    pub(super) fn resolve_conflict(&mut self, name: &Metadata, resolution: &ConflictResolution) {
        if let Some(counter) = self.counters.find_mut(|counter| counter.has_name(name)) {
            counter.resolve_conflict(resolution);
        }
    }

    /// What has changed since the last call.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        let Self {
            aggregates,
            counters,
            buckets,
            held: _,
        } = self;
        [aggregates.changes(), counters.changes(), buckets.changes()].concat()
    }

    /// Makes every row a change, because the saved rows are lost.
    pub(super) fn mark_all_dirty(&mut self) {
        self.aggregates.mark_all_dirty();
        self.counters.mark_all_dirty();
        self.buckets.mark_all_dirty();
    }

    /// `EventAggregate`: the key of the object that counts the Event, and the Event for it.
    fn aggregate(&mut self, event: Event, time_ns: u64) -> (String, Event) {
        let key = aggregate_key(&event);
        let fresh = || Aggregate {
            messages: VecDeque::new(),
            last_ns: time_ns,
        };
        let aggregate = self.aggregates.entry(&key, fresh);
        if time_ns.saturating_sub(aggregate.last_ns) > AGGREGATE_INTERVAL_NS {
            *aggregate = fresh();
        }
        aggregate.last_ns = aggregate.last_ns.max(time_ns);
        if !aggregate.messages.contains(&event.message) {
            aggregate.messages.push_back(event.message.clone());
        }
        if aggregate.messages.len() < AGGREGATE_MAX_EVENTS {
            return (event_key(&event), event);
        }
        aggregate.messages.pop_front();
        let aggregated = Event {
            message: format!("{AGGREGATE_PREFIX}{}", event.message),
            reporting_component: String::new(),
            reporting_instance: String::new(),
            ..event
        };
        (key, aggregated)
    }
}

/// `getEventKey`.
fn event_key(event: &Event) -> String {
    let about = &event.involved_object;
    let path = about.field_path.as_deref().unwrap_or_default();
    join(event, &[path, &event.reason, &event.message])
}

/// `EventAggregatorByReasonFunc`.
fn aggregate_key(event: &Event) -> String {
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

/// The common beginning of all keys, and `more`. None of the parts contains a line break.
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
