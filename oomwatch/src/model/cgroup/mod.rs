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
//! from the root down, and names below a container are ignored, with one exception:
//! - below a container *of a pod*, no name changes pod, container or unit;
//! - below a *plain* container (Docker, Podman, `ctr`), the exact layout of a kubelet wins as soon as it names a pod,
//!   because that is a kind, k3d or minikube node. A plain container with write access to its own cgroup can forge it,
//!   so [`CgroupOwner::node`] names the container that the pod's tree is in: trust the pod only if that is the node
//!   oomwatch runs on. Container layouts inside a plain container (Docker in Docker) belong to the outer container;
//! - outside containers a kubelet's tree may begin anywhere (`--cgroup-root`), also below a delegated unit, as a
//!   rootless kubelet's does: then [`CgroupOwner::unit`] names that unit.

mod container;
mod kubelet;
mod layout;
mod owner;
mod segment;
#[cfg(test)]
mod tests;
mod unit;

pub use self::{
    layout::{Level, container_prefix, level, pod_prefix},
    owner::{CgroupOwner, ContainerRef, Driver, PodRef, Qos, Runtime},
};
