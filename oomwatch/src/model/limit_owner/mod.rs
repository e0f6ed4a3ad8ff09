//! Whose limit was hit: pure.

use serde::{Deserialize, Serialize};

use crate::model::{
    cgroup::{self, Level},
    kill::{Attribution, Kill, Limit, Scope},
};

/// Whose limit it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitOwner {
    /// The victim's container's own.
    Container,
    /// Its pod's, shared by several containers or set on the pod itself.
    Pod,
    /// The cgroup of its QoS class.
    Qos,
    /// All pods' together: what the kubelet leaves to them.
    Kubepods,
    /// A cgroup that has nothing to do with Kubernetes or a container.
    Cgroup,
    /// The node: the system ran out.
    Node,
}

/// Where the limit of a pod's cgroup comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitSource {
    /// It is the sum of its containers' limits.
    ContainerLimits,
    /// The pod's specification has limits for the pod as a whole.
    PodResources,
}

impl LimitOwner {
    /// The word for it in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Pod => "pod",
            Self::Qos => "qos",
            Self::Kubepods => "kubepods",
            Self::Cgroup => "cgroup",
            Self::Node => "node",
        }
    }
}

/// Whose limit was hit; absent if the kernel did not tell what ran out, or from the log that it was a pod's cgroup: then
/// it may be the pod's own limit or its only container's.
#[must_use]
pub fn limit_owner(kill: &Kill) -> Option<LimitOwner> {
    match kill.scope {
        Scope::System => Some(LimitOwner::Node),
        Scope::Unknown => None,
        Scope::Memcg => {
            let oom = kill.limits.get(kill.oom_level?)?;
            // A node in a container, as kind makes them, is a container too, but not the victim's.
            let container = cgroup::container_prefix(&kill.limits.first()?.cgroup.path);
            Some(match cgroup::level(&oom.cgroup.path) {
                Level::Container if container == Some(&oom.cgroup.path) => LimitOwner::Container,
                // The log has no limit but the pod's own.
                Level::Pod if kill.attribution != Attribution::Kernel => return None,
                Level::Pod if is_containers_own(oom, container, &kill.limits) => {
                    LimitOwner::Container
                }
                Level::Pod => LimitOwner::Pod,
                Level::Qos => LimitOwner::Qos,
                Level::Kubepods => LimitOwner::Kubepods,
                Level::Container | Level::Root | Level::BelowContainer | Level::Other => {
                    LimitOwner::Cgroup
                }
            })
        }
    }
}

/// Whether a pod's limit is nothing but that of the victim's container: the kubelet sets the sum of the containers' limits
/// on the pod, and the pause process is charged to the pod too, so that with one container it is the pod that runs out.
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
