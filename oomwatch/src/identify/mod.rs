//! Who is that: names for the ids that a cgroup path tells. What is not found stays absent.

mod backoff;
mod cri;
pub mod directory;
mod docker;
pub mod facts;
pub mod fuzzing;
mod kubernetes;
pub mod names;
mod pending_queue;
pub mod pod_logs;
pub mod runtimes;
mod shared;
pub mod sockets;
mod ttl_cache;
