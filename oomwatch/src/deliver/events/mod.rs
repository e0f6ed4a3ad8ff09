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
mod event_counter;
mod lru_table;
mod name;
mod node;
mod notice;
mod object;
mod pending_event;
mod pod;
mod queue;
mod record;
mod retry;
mod series;
mod waiting;

pub use self::{
    answer::{Answer, Cause, Method, Refusal, classify_response},
    correlate::{Correlated, Correlator, Verdict},
    deliver::{Delivery, Events},
    event_counter::Ownership,
    node::node_event,
    notice::{DeliveryStat, Object, Outcome},
    object::{Event, Metadata, ObjectReference, Reporter, Seconds, Source},
    pod::{WithoutEvent, pod_event},
    queue::{Next, Request, Undelivered},
    record::{NodeUid, Now, Policy, Recorder},
};
