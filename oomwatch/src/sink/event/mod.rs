//! Kubernetes Events: on the node as the kubelet's watcher records them, and on the pod.
//!
//! ```text
//! Report --node--> Event --correlate--+
//!    |                                +--> outbox --deliver--> API server
//!    +----pod----> Event --series-----+
//! ```
//!
//! All but `deliver` and `api` is pure: no clock, no randomness, no IO. Facts about the kubelet and client-go are those of Kubernetes
//! 1.37 and client-go of July 2026.

mod answer;
mod api;
mod bucket;
mod correlate;
mod deliver;
mod letter;
mod name;
mod node;
mod notice;
mod object;
mod outbox;
mod pod;
mod recent;
mod record;
mod retry;
mod series;
mod tally;
mod waiting;

pub use self::{
    answer::{Answer, Cause, Method, Refusal, judge},
    correlate::{Correlated, Correlator, Verdict},
    deliver::{Delivery, Events},
    node::node_event,
    notice::{Notice, Object, Outcome},
    object::{Event, Metadata, ObjectReference, Reporter, Seconds, Source},
    outbox::{Next, Request, Undelivered},
    pod::{WithoutEvent, pod_event},
    record::{NodeUid, Now, Policy, Recorder},
    tally::Origin,
};
