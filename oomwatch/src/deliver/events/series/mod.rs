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

/// The part of the history that the rows are saved as.
const PART: &str = "series";

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
        }
    }

    /// Counts the Event of a kill at `time_ns`. Returns nothing for a further victim of an incident that is counted already.
    pub(super) fn count(
        &mut self,
        event: Event,
        incident: &str,
        ownership: Ownership,
        time_ns: u64,
    ) -> Option<CountedEvent> {
        let object = self.objects.entry(&key(&event), || PodSeries {
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

    /// Applies what the API server's response says about an object.
    pub(super) fn resolve_conflict(&mut self, name: &Metadata, resolution: &ConflictResolution) {
        let objects = &mut self.objects;
        if let Some(object) = objects.find_mut(|object| object.counter.has_name(name)) {
            object.counter.resolve_conflict(resolution);
        }
    }

    /// What has changed since the last call.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        self.objects.changes()
    }

    /// Makes every row a change, because the saved rows are lost.
    pub(super) fn mark_all_dirty(&mut self) {
        self.objects.mark_all_dirty();
    }
}

fn key(event: &Event) -> String {
    let about = &event.involved_object;
    [
        event.metadata.namespace.as_str(),
        &about.name,
        about.uid.as_deref().unwrap_or_default(),
        about.field_path.as_deref().unwrap_or_default(),
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
