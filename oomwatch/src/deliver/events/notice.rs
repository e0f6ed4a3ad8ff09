//! What becomes of incidents, for metrics.

use serde::{Deserialize, Serialize};

use super::answer::Cause;

/// What an Event is about, as metrics tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Object {
    /// The node.
    Node,
    /// A pod.
    Pod,
}

impl Object {
    /// Its word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Pod => "pod",
        }
    }
}

/// What became of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The API server has it.
    Accepted,
    /// The API server refused it for good.
    Refused,
    /// The namespace does not exist (any more), or is about to go.
    NoNamespace,
    /// It could not be told in time (`--events-max-age`).
    Expired,
    /// There was no room to remember it.
    Overflow,
    /// It could not be told before the end.
    Abandoned,
    /// Nobody told the pod's name.
    Unnamed,
    /// The pod asks for no Events.
    OptedOut,
    /// There are no Events in this namespace.
    Excluded,
}

impl Outcome {
    /// Each of them, so that a metric can begin at 0.
    pub const ALL: [Self; 9] = [
        Self::Accepted,
        Self::Refused,
        Self::NoNamespace,
        Self::Expired,
        Self::Overflow,
        Self::Abandoned,
        Self::Unnamed,
        Self::OptedOut,
        Self::Excluded,
    ];

    /// Its word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::NoNamespace => "no_namespace",
            Self::Expired => "expired",
            Self::Overflow => "overflow",
            Self::Abandoned => "abandoned",
            Self::Unnamed => "unnamed",
            Self::OptedOut => "opted_out",
            Self::Excluded => "excluded",
        }
    }
}

/// What is worth a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryStat {
    /// The end of some incidents.
    Settled {
        /// What they were about.
        object: Object,
        /// What became of them.
        outcome: Outcome,
        /// How many.
        incidents: u32,
        /// Nanoseconds since the first of them. Few are told one by one; of many some within a second of each other, or a minute.
        age_ns: u64,
    },
    /// A request failed, and is made again.
    Delayed {
        /// What it was about.
        object: Object,
        /// Why.
        cause: Cause,
    },
}
