//! Kubernetes Events: on the node as the kubelet's watcher records them, and on the pod.
//!
//! ```text
//! Report --node--> Event --correlate--+
//!    |                                +--> outbox --deliver--> API server
//!    +----pod----> Event --series-----+
//! ```
//!
//! All but `deliver` is pure: no clock, no randomness, no IO. Facts about the kubelet and client-go are those of Kubernetes
//! 1.37 and client-go of July 2026.

mod bucket;
mod correlate;
mod name;
mod node;
mod object;
mod pod;
mod recent;

pub use self::{
    correlate::{Correlated, Correlator, Verdict},
    node::node_event,
    object::{Event, Metadata, ObjectReference, Reporter, Seconds, Source},
    pod::{WithoutEvent, pod_event},
};
