//! Resolves pod and container names from the ids in a cgroup path, and decides whose limit was hit and whether the victim
//! was its container's main process. What is not found stays absent.

mod backoff;
mod cgroup_paths;
mod cri;
pub mod directory;
mod docker;
pub mod fuzz;
pub mod kubelet_root;
pub(crate) mod kubernetes;
pub mod objects;
mod pending_queue;
pub mod pod_logs;
mod podman_storage;
pub mod resolution;
pub mod resolver;
mod runtime_health;
pub mod runtimes;
mod shared;
pub mod sockets;
mod ttl_cache;
