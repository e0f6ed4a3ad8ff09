//! What becomes of one more Event on a pod: one object for each pod, container and reason.
//!
//! client-go would call them similar, since no two messages are alike, and combine them across containers. Here the object
//! counts the incidents and has the newest message.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{
    bucket::SECOND_NS,
    object::{Event, Metadata},
};
use crate::deliver::events::{
    event_counter::{ConflictResolution, EventCounter, Ownership},
    lru_table::LruTable,
};
use crate::model::persist::{Change, Entry};

/// Of the journal.
const PART: &str = "series";

/// Objects that are remembered: several for each pod of the largest nodes.
const CAPACITY: usize = 1024;
/// Incidents of an object that are remembered: their victims come one after another, but for what waits for the kernel log.
const INCIDENTS: usize = 8;

/// Between two writes of an object.
const PACE_NS: u64 = 10 * SECOND_NS;
/// The same, when it goes on for long.
const SLOW_PACE_NS: u64 = 60 * SECOND_NS;
/// How long that is.
const LONG_NS: u64 = 300 * SECOND_NS;
/// After so long without an incident it goes on no more.
const PAUSE_NS: u64 = 120 * SECOND_NS;

/// What was recorded before.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pods: LruTable<One>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct One {
    tally: EventCounter,
    incidents: Incidents,
    /// When this stretch of incidents began, and its last one.
    since_ns: u64,
    last_ns: u64,
}

/// One more incident of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    /// With the name, the first time and the count of its object.
    pub(super) event: Event,
    /// Whether the API server can have the object from before.
    pub(super) origin: Ownership,
    /// The time between two writes of it.
    pub(super) pace_ns: u64,
}

impl Series {
    /// What was saved of it.
    pub(super) fn restore(saved: &[Entry]) -> Self {
        Self {
            pods: LruTable::restore(PART, CAPACITY, saved),
        }
    }

    /// Takes an Event with a name of its own, of a kill at `time_ns`; absent if it is of one more victim of the same incident.
    pub(super) fn take(
        &mut self,
        event: Event,
        incident: &str,
        origin: Ownership,
        time_ns: u64,
    ) -> Option<Counted> {
        let object = self.pods.entry(&key(&event), || One {
            tally: EventCounter::of(&event, origin),
            incidents: Incidents::default(),
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
        Some(Counted {
            event: object.tally.add(event, origin),
            origin: object.tally.origin(),
            pace_ns,
        })
    }

    /// Takes what was learnt of an object.
    pub(super) fn learn(&mut self, about: &Metadata, lesson: &ConflictResolution) {
        let object = self.pods.find_mut(|object| object.tally.is_of(about));
        if let Some(object) = object {
            object.tally.learn(lesson);
        }
    }

    /// What has changed since the last call.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        self.pods.changes()
    }

    /// All of it is to be saved anew.
    pub(super) fn mark_all_dirty(&mut self) {
        self.pods.mark_all_dirty();
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

/// The last incidents, so that each is told once, by its first victim.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Incidents {
    last: VecDeque<String>,
}

impl Incidents {
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
