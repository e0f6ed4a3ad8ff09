//! How far what was seen has been handed over: what has to be kept to go on there after a restart.

use serde::{Deserialize, Serialize};

use super::Losses;
use crate::capture::incident::IncidentCheckpoint;

/// A place in the records of the kernel's rings, and what the ring had refused by then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Which ring: the name of its [generation](crate::capture::bpf::pins).
    pub generation: String,
    /// Everything before this position was handed over.
    pub position: u64,
    /// How many records the ring had refused, since it was made.
    pub dropped: u64,
    /// What is remembered of the incident that may not be over.
    #[serde(default)]
    pub incident: IncidentCheckpoint,
}

/// What was handed over, and what can never be. Both belong together: a loss is told once if they are kept together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Absent where kills do not come from a ring.
    pub cursor: Option<Cursor>,
    /// Since the start, up to the cursor; what was lost while nobody ran is among it.
    pub losses: Losses,
}

/// How much of the ring is taken by records that were not released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingUsage {
    /// Bytes that are taken.
    pub used_bytes: u64,
    /// Bytes that there are.
    pub size_bytes: u64,
}
