//! The outcomes of incidents and requests, as metrics count them.

use serde::{Deserialize, Serialize};

use super::response::Cause;

/// The kind of object that an Event is about; the `object` label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Object {
    /// The node.
    Node,
    /// A pod.
    Pod,
}

impl Object {
    /// The label value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Pod => "pod",
        }
    }
}

/// The final outcome of an incident; the `outcome` label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The API server has the Event.
    Accepted,
    /// The API server refused the Event for good.
    Refused,
    /// The namespace does not exist, or is terminating.
    NoNamespace,
    /// It could not be delivered in time (`--events-max-age`).
    Expired,
    /// The event queue was full.
    Overflow,
    /// It could not be delivered before shutdown.
    Abandoned,
    /// The pod's namespace or name is not known.
    Unnamed,
    /// The pod's annotation opts out of Events.
    OptedOut,
    /// The namespace is excluded, or this kind of Event is off.
    Excluded,
}

impl Outcome {
    /// All outcomes, so that their counters can start at 0.
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

    /// The label value.
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

/// Something that happened to incidents, to be counted and logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryStat {
    /// Incidents reached their outcome.
    Settled {
        /// The kind of object they were about.
        object: Object,
        /// Its namespace and name; a node's name; the UID of a pod without a name.
        about: String,
        /// Their outcome.
        outcome: Outcome,
        /// Their number.
        incidents: u32,
        /// Age of the first of them in nanoseconds; the others happened less than a second later (a minute, if many wait).
        age_ns: u64,
    },
    /// A request failed and will be repeated.
    Delayed {
        /// The object it was about.
        object: Object,
        /// Why it failed.
        cause: Cause,
    },
}
