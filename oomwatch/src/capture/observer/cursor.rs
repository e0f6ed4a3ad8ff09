//! The state to store so that a restarted agent continues where the last one stopped.

use serde::{Deserialize, Serialize};

use crate::{capture::incident::IncidentCheckpoint, model::losses::Losses};

/// A position in the rings of the programs, and the state at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The ring: the name of its [generation](crate::capture::bpf::pins).
    pub generation: String,
    /// Every record before this position was delivered.
    pub position: u64,
    /// Number of records that the full ring has rejected since it was created.
    pub dropped: u64,
    /// The last incident, which may continue.
    #[serde(default)]
    pub incident: IncidentCheckpoint,
}

/// What was delivered, and what was lost by then. A loss is reported once if both are stored together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Absent if the backend has no ring.
    pub cursor: Option<Cursor>,
    /// Losses since the start and up to the cursor, including those while no agent ran.
    pub losses: Losses,
}

/// How much of the ring is used by unreleased records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingUsage {
    /// Bytes of unreleased records.
    pub used_bytes: u64,
    /// Size of the ring in bytes.
    pub size_bytes: u64,
}
