//! Decides from a kill's facts whose memory limit was hit.

use serde::{Deserialize, Serialize};

use crate::model::{
    cgroup::{self, KubeletRoot, Level},
    kill::{Attribution, Kill, Limit, Scope},
};

/// The object whose memory limit was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitOwner {
    /// The victim's container.
    Container,
    /// The victim's pod: the sum of several containers' limits, or a limit of the pod itself.
    Pod,
    /// The cgroup of the pod's QoS class.
    Qos,
    /// The cgroup of all pods; its limit is the node's allocatable memory.
    Kubepods,
    /// A systemd unit, or a user's manager.
    Unit,
    /// A systemd slice.
    Slice,
    /// Any other cgroup.
    Cgroup,
    /// The node: the whole system ran out of memory.
    Node,
}

/// Where the limit of a pod's cgroup comes from, by the pod's specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitSource {
    /// The sum of the limits of its containers and sidecars.
    ContainerLimits,
    /// The limit of an init container, and of the sidecars before it: together more than that sum.
    InitContainer,
    /// `spec.resources.limits` of the pod as a whole.
    PodResources,
}

impl LimitOwner {
    /// The owner's name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Pod => "pod",
            Self::Qos => "qos",
            Self::Kubepods => "kubepods",
            Self::Unit => "unit",
            Self::Slice => "slice",
            Self::Cgroup => "cgroup",
            Self::Node => "node",
        }
    }
}

/// The memory limits in a pod's specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecifiedLimits {
    /// The limit of the pod as a whole.
    pub pod_bytes: Option<u64>,
    /// What of its containers' limits the kubelet sets on a pod without a limit of its own.
    pub of_containers: LimitSource,
    /// The limit of the victim's container.
    pub container_bytes: Option<u64>,
    /// Whether it is known where in the pod the victim was: in a container of the specification, or in the sandbox.
    pub is_place_known: bool,
}

/// Limits are whole pages in the kernel, and no page is larger.
const LARGEST_PAGE_BYTES: u64 = 64 << 10;

/// Decides whose limit was hit, and where a pod's limit comes from: from the kill's facts, and where the pod's cgroup ran out
/// also from the pod's specification, if that is known.
///
/// The owner is absent if it is not known what ran out, and for a pod's cgroup if the kill is from the kernel log and the
/// specification is not known: the log has only the pod's limit, which may be its own or its only container's.
#[must_use]
pub fn decide(
    kill: &Kill,
    specified: Option<SpecifiedLimits>,
    kubelet: &KubeletRoot,
) -> (Option<LimitOwner>, Option<LimitSource>) {
    let by_kernel = by_kernel(kill, kubelet);
    let Some(specified) = specified else {
        return (by_kernel, None);
    };
    let oom = kill.oom_level.and_then(|level| kill.limits.get(level));
    let Some(pod) = oom.filter(|oom| {
        kill.scope == Scope::Memcg && cgroup::level(&oom.cgroup.path, kubelet) == Level::Pod
    }) else {
        return (by_kernel, None);
    };
    if specified.pod_bytes.is_some() {
        return (Some(LimitOwner::Pod), Some(LimitSource::PodResources));
    }
    // The kubelet sets the sum of the containers' limits on the pod: with one container the pod's cgroup runs out.
    let is_containers = specified
        .container_bytes
        .zip(pod.limit_bytes)
        .is_some_and(|(own, limit)| own >= limit && own - limit < LARGEST_PAGE_BYTES);
    let owner = if is_containers {
        Some(LimitOwner::Container)
    } else {
        by_kernel.or(specified.is_place_known.then_some(LimitOwner::Pod))
    };
    (owner, Some(specified.of_containers))
}

/// Whose limit was hit by the kernel's facts alone.
fn by_kernel(kill: &Kill, kubelet: &KubeletRoot) -> Option<LimitOwner> {
    match kill.scope {
        Scope::System => Some(LimitOwner::Node),
        Scope::Unknown => None,
        Scope::Memcg => {
            let oom = kill.limits.get(kill.oom_level?)?;
            // A kind node is a container too, but not the victim's.
            let container = cgroup::container_prefix(&kill.limits.first()?.cgroup.path, kubelet);
            Some(match cgroup::level(&oom.cgroup.path, kubelet) {
                Level::Container if container == Some(&oom.cgroup.path) => LimitOwner::Container,
                Level::BelowContainer if is_runtimes_own(&oom.cgroup.path, container) => {
                    LimitOwner::Container
                }
                // The log has only the pod's limit.
                Level::Pod if kill.attribution != Attribution::Kernel => return None,
                Level::Pod if is_containers_own(oom, container, &kill.limits) => {
                    LimitOwner::Container
                }
                Level::Pod => LimitOwner::Pod,
                Level::Qos => LimitOwner::Qos,
                Level::Kubepods => LimitOwner::Kubepods,
                Level::Unit => LimitOwner::Unit,
                Level::Slice => LimitOwner::Slice,
                Level::Container | Level::Root | Level::BelowContainer | Level::Other => {
                    LimitOwner::Cgroup
                }
            })
        }
    }
}

/// Whether this is the cgroup that crun creates in the scope of a container of Podman's or CRI-O's, and sets the limit on:
/// `libpod-<id>.scope/container` (`src/libcrun/cgroup-systemd.c`, `run.oci.systemd.subgroup`).
fn is_runtimes_own(path: &[u8], container: Option<&[u8]>) -> bool {
    container.is_some_and(|scope| {
        scope.ends_with(b".scope") && path.strip_prefix(scope) == Some(b"/container")
    })
}

/// Whether a pod's limit equals that of the victim's container.
///
/// The kubelet sets the sum of the containers' limits on the pod, and the pause process is charged to the pod too: the
/// cgroup of a pod with one container runs out before the container's own.
fn is_containers_own(pod: &Limit, container: Option<&[u8]>, limits: &[Limit]) -> bool {
    limits
        .iter()
        .find(|limit| Some(limit.cgroup.path.as_slice()) == container)
        .is_some_and(|container| {
            container.limit_bytes.is_some() && container.limit_bytes == pod.limit_bytes
        })
}

#[cfg(test)]
mod tests;
