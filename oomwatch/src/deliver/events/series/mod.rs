//! Counts the incidents of a pod: one Event object for each pod, container and reason, with the newest message.
//!
//! client-go's correlator would aggregate these Events across containers, because no two messages are equal.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{
    bucket::SECOND_NS,
    event_counter::{ConflictResolution, CountedEvent, EventCounter, Ownership, WriteDecision},
    lru_table::LruTable,
    object::{Event, Metadata},
};
use crate::model::persist::{Change, Entry};

/// The parts of the history that the rows are saved as.
const PART: &str = "series";
const PLACES: &str = "places";

/// Maximum number of objects: more than the containers of the largest nodes. An object that is dropped has its next incident on
/// a new Event.
const CAPACITY: usize = 4096;
/// Incidents that are remembered for an object. The victims of an incident arrive one after another, except those that wait for
/// the kernel log.
const INCIDENTS: usize = 8;

/// Minimum time between two requests for an object.
const PACE_NS: u64 = 10 * SECOND_NS;
/// The same for an object whose incidents continue for longer than `LONG_NS`.
const SLOW_PACE_NS: u64 = 60 * SECOND_NS;
const LONG_NS: u64 = 300 * SECOND_NS;
/// A pause this long starts a new stretch of incidents.
const PAUSE_NS: u64 = 120 * SECOND_NS;

/// The objects of all pods.
#[derive(Clone, Debug)]
pub(super) struct Series {
    objects: LruTable<PodSeries>,
    /// The key of an object, by a container's id or field path that is not in that key: a container whose name became known later,
    /// or was not known when the API server was away, has one object all the same.
    places: LruTable<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct PodSeries {
    counter: EventCounter,
    incidents: RecentIncidents,
    /// Start of the current stretch of incidents.
    since_ns: u64,
    /// Time of the latest incident.
    last_ns: u64,
}

impl Series {
    /// Restores the saved rows.
    pub(super) fn restore(saved: &[Entry]) -> Self {
        Self {
            objects: LruTable::restore(PART, CAPACITY, saved),
            places: LruTable::restore(PLACES, CAPACITY, saved),
        }
    }

    /// Counts the Event of a kill at `time_ns` in the container with this id. Returns nothing for a further victim of an incident that is counted already.
    pub(super) fn count(
        &mut self,
        event: Event,
        container: Option<&str>,
        incident: &str,
        ownership: Ownership,
        time_ns: u64,
    ) -> Option<CountedEvent> {
        let key = self.object_key(&event, container);
        let object = self.objects.entry(&key, || PodSeries {
            counter: EventCounter::new(&event, ownership),
            incidents: RecentIncidents::default(),
            since_ns: time_ns,
            last_ns: time_ns,
        });
        if !object.incidents.is_new(incident) {
            return None;
        }
        if time_ns.saturating_sub(object.last_ns) > PAUSE_NS {
            object.since_ns = time_ns;
        }
        object.last_ns = object.last_ns.max(time_ns);
        let lasts_ns = object.last_ns.saturating_sub(object.since_ns);
        let pace_ns = if lasts_ns > LONG_NS {
            SLOW_PACE_NS
        } else {
            PACE_NS
        };
        Some(CountedEvent {
            event: object.counter.add(event, ownership),
            ownership: object.counter.ownership(),
            decision: WriteDecision::Write,
            pace_ns,
        })
    }

    /// The key of the object that counts an Event: that of the container, by its field path or its id, whichever was known first.
    fn object_key(&mut self, event: &Event, container: Option<&str>) -> String {
        let path = event.involved_object.field_path.as_deref();
        let keys: Vec<String> = [path, container]
            .into_iter()
            .flatten()
            .map(|place| key(event, place))
            .collect();
        let known = keys.iter().find_map(|key| {
            let own = self.objects.peek(key).map(|_| key);
            own.or_else(|| self.places.peek(key)).cloned()
        });
        let of_object = known
            .or_else(|| keys.first().cloned())
            .unwrap_or_else(|| key(event, ""));
        for key in keys.iter().filter(|key| **key != of_object) {
            self.places.entry(key, || of_object.clone());
        }
        of_object
    }

    /// Applies what the API server's response says about an object.
    pub(super) fn resolve_conflict(&mut self, name: &Metadata, resolution: &ConflictResolution) {
        let objects = &mut self.objects;
        if let Some(object) = objects.find_mut(|object| object.counter.has_name(name)) {
            object.counter.resolve_conflict(resolution);
        }
    }

    /// What has changed since the last call.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        [self.objects.changes(), self.places.changes()].concat()
    }

    /// Makes every row a change, because the saved rows are lost.
    pub(super) fn mark_all_dirty(&mut self) {
        self.objects.mark_all_dirty();
        self.places.mark_all_dirty();
    }
}

fn key(event: &Event, place: &str) -> String {
    let about = &event.involved_object;
    [
        event.metadata.namespace.as_str(),
        &about.name,
        about.uid.as_deref().unwrap_or_default(),
        place,
        &event.reason,
    ]
    .join("\n")
}

/// The ids of the latest incidents, so that each is counted once, by its first victim.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct RecentIncidents {
    last: VecDeque<String>,
}

impl RecentIncidents {
    pub(super) fn is_new(&mut self, incident: &str) -> bool {
        let is_new = !self.last.iter().any(|last| last == incident);
        if is_new {
            self.last.truncate(INCIDENTS - 1);
            self.last.push_front(incident.to_owned());
        }
        is_new
    }
}

#[cfg(test)]
mod tests;
