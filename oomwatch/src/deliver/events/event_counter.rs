//! What an object of the API server has been told: its name, and how many incidents.

use serde::{Deserialize, Serialize};

use super::object::{Event, MAX_COUNT, Metadata, Seconds};

/// Whether the API server can have an object of that name from before.
///
/// A recorder that was restored knows whatever it has sent. One that begins anew, since there is no journal any more, does not:
/// the kills from before it began may have been told by an agent that is not remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ownership {
    /// If it is there it is ours, with no higher count than ours.
    Ours,
    /// If it is there its count is not known, and nothing may be written to it.
    Unknown,
}

/// What the API server's answer tells of an object of unknown origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ConflictResolution {
    /// It was not there.
    Ours,
    /// It was: it has the first incident, and the others get an object of this name.
    Others(Metadata),
}

/// What an object has been told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EventCounter {
    name: Metadata,
    first: Seconds,
    count: u32,
    origin: Ownership,
}

impl EventCounter {
    /// Nothing yet: the next incident names it.
    pub(super) fn of(event: &Event, origin: Ownership) -> Self {
        Self {
            name: event.metadata.clone(),
            first: event.first_timestamp,
            count: 0,
            origin,
        }
    }

    pub(super) fn origin(&self) -> Ownership {
        self.origin
    }

    /// One more incident: its Event, with a name of its own, becomes that of the object. `origin` is what it would have alone.
    pub(super) fn add(&mut self, event: Event, origin: Ownership) -> Event {
        if self.count == 0 {
            *self = Self::of(&event, origin);
        }
        self.count = self.count.saturating_add(1).min(MAX_COUNT);
        Event {
            metadata: self.name.clone(),
            first_timestamp: self.first,
            count: self.count,
            ..event
        }
    }

    /// Whether it is of this object.
    pub(super) fn is_of(&self, name: &Metadata) -> bool {
        self.name == *name
    }

    pub(super) fn learn(&mut self, lesson: &ConflictResolution) {
        match lesson {
            ConflictResolution::Ours => self.origin = Ownership::Ours,
            ConflictResolution::Others(next) => {
                self.name = next.clone();
                self.count = self.count.saturating_sub(1);
            }
        }
    }
}
