//! Kubernetes Events: on the Node as the kubelet's OOM watcher records them, and on the Pod.
//!
//! ```text
//! Report --node--> Event --correlate--+
//!    |                                +--> queue --sender--> API server
//!    +----pod----> Event --series-----+
//! ```
//!
//! Everything but `sender` and `api` is pure: times and random numbers are arguments, and there is no IO. Facts about the
//! kubelet and client-go are those of Kubernetes 1.37 and client-go of July 2026.

mod api;
mod bucket;
mod correlate;
mod event_counter;
mod lru_table;
mod name;
mod node;
mod object;
mod pending_event;
mod pod;
mod queue;
mod record;
mod response;
mod retry;
mod sender;
mod series;
mod stats;
mod unsent;

pub use self::{
    object::Reporter,
    pending_event::{Request, Undelivered},
    pod::pod_event,
    queue::Next,
    record::{NodeUid, Policy, RecordTimes, Recorder},
    response::{Cause, Method, classify_response},
    sender::{EventSender, Events},
    stats::{DeliveryStat, Object, Outcome},
};
