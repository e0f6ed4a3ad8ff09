//! Who is that: names for the ids that a cgroup path tells. What is not found stays absent.

mod backoff;
mod cri;
pub mod directory;
mod docker;
pub mod facts;
pub mod fuzzing;
mod kubernetes;
mod memory;
pub mod names;
pub mod pod_logs;
pub mod proc;
pub mod runtimes;
mod shared;
pub mod sockets;
mod waiting;
