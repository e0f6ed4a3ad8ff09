//! Parses a memory cgroup's path: which container, pod and systemd unit own it, and which level of the tree it is.
//!
//! Pure and total: every byte string gets an answer, in one pass; what is not recognised is absent. The path is as the
//! kernel has it: absolute, `/` between names, nothing escaped. Names are compared byte for byte: `..`, `.` and empty
//! names are names like any other, and nothing is resolved. The ` (deleted)` that `/proc/<pid>/cgroup` appends must be
//! removed by the caller.
//!
//! A path does not contain the names of pod or container, the pod's namespace, whether a container is the pod's sandbox
//! (pause), whose cgroup has exactly a container's shape, or which runtime created a bare 64-digit id.
//!
//! **What is trusted.** A process may be allowed to create cgroups below its own, under any name. So the path is read
//! from the root down:
//! - a kubelet's tree is believed only where the node's kubelet has its root ([`KubeletRoot`]), and where that is not
//!   known, only where root alone can have created it: never below a container, a unit or a user's slice;
//! - names below a container change neither container, pod nor unit. Where the kubelet's root is in a plain container, as
//!   on a kind, k3d or minikube node, [`CgroupOwner::node`] names that container;
//! - below a unit, only the service of a container runtime has containers, except for what Podman puts into a unit
//!   (Quadlet) and Slurm into its own scope;
//! - a user's containers are marked with that user ([`ContainerRef::user`]): he may give any id to a cgroup in his slice.

mod container;
mod kubelet;
mod layout;
mod owner;
mod segment;
#[cfg(test)]
mod tests;
mod unit;

pub use self::{
    kubelet::KubeletRoot,
    layout::{Level, container_prefix, level, pod_prefix},
    owner::{CgroupOwner, ContainerRef, Driver, PodRef, Qos, Runtime},
};
