//! The name of an Event object and the number of incidents it counts.

use serde::{Deserialize, Serialize};

use super::object::{Event, MAX_COUNT, Metadata, Seconds};

/// Whether an object of this name on the API server would be this agent's.
///
/// A recorder that was restored knows every object it has sent. One that starts without a history does not: kills from before
/// its epoch may have been recorded by an agent whose history is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Ownership {
    /// An object of this name is ours, and its count is at most ours.
    Ours,
    /// The count of an object of this name is not known, and the object must not be written to.
    Unknown,
}

/// What the response to a create request says about an object of unknown ownership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ConflictResolution {
    /// The object did not exist: it is ours now.
    Ours,
    /// The object existed and has the first incident. The others are counted on an object of this name.
    Others(Metadata),
}

/// The state of an object after one more incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CountedEvent {
    /// The Event with the name, first time and count of its object. With a count of 1 the object is new.
    pub(super) event: Event,
    /// Whether the object is known to be this agent's.
    pub(super) ownership: Ownership,
    /// Whether the object may be written now.
    pub(super) decision: WriteDecision,
    /// Minimum time between two requests for the object.
    pub(super) pace_ns: u64,
}

/// Whether an object may be written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteDecision {
    /// It may be written at once.
    Write,
    /// It may be written after the correlator has released it.
    Hold,
}

/// The name, first time and count of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EventCounter {
    name: Metadata,
    first: Seconds,
    count: u32,
    ownership: Ownership,
}

impl EventCounter {
    /// A count of 0; the next incident names the object.
    pub(super) fn new(event: &Event, ownership: Ownership) -> Self {
        Self {
            name: event.metadata.clone(),
            first: event.first_timestamp,
            count: 0,
            ownership,
        }
    }

    pub(super) fn ownership(&self) -> Ownership {
        self.ownership
    }

    /// Counts one more incident and turns its Event into the object's next state. `ownership` applies if this incident names
    /// the object.
    pub(super) fn add(&mut self, event: Event, ownership: Ownership) -> Event {
        if self.count == 0 {
            *self = Self::new(&event, ownership);
        }
        self.count = self.count.saturating_add(1).min(MAX_COUNT);
        Event {
            metadata: self.name.clone(),
            first_timestamp: self.first,
            count: self.count,
            ..event
        }
    }

    pub(super) fn has_name(&self, name: &Metadata) -> bool {
        self.name == *name
    }

    pub(super) fn resolve_conflict(&mut self, resolution: &ConflictResolution) {
        match resolution {
            ConflictResolution::Ours => self.ownership = Ownership::Ours,
            ConflictResolution::Others(next) => {
                self.name = next.clone();
                self.count = self.count.saturating_sub(1);
            }
        }
    }
}
