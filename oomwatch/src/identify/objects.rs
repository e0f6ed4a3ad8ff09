//! Pods and containers as the API and the runtimes describe them, reduced to what identifies a kill. Also their form in the
//! history.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use crate::model::{limit_owner::LimitSource, report::ContainerKind, workload::Workload};

/// A pod's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PodName {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

/// A pod, as the Kubernetes API describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiPod {
    /// Its namespace and name.
    pub name: PodName,
    /// `metadata.uid`: also in the cgroup path, except for the mirror of a static pod.
    pub uid: String,
    /// Annotation `kubernetes.io/config.mirror`, which the kubelet gives to the mirror of a static pod: what its cgroup path has
    /// instead of the UID. Any pod can be given it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_hash: Option<String>,
    /// Whether the annotation `oomwatch.dev/events` is `off`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub events_off: bool,
    /// Whether its containers share a PID namespace with each other or with the node: then PID 1 is not a container's main
    /// process.
    #[serde(default, skip_serializing_if = "is_false")]
    pub shares_pids: bool,
    /// `spec.resources.limits.memory`: a limit of the pod as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    /// `spec.resources.requests.memory`: a request of the pod as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_request_bytes: Option<u64>,
    /// What it belongs to, as its controlling owner says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// Containers of every kind.
    pub containers: Vec<ApiContainer>,
}

/// A container of a pod, as the Kubernetes API describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiContainer {
    /// Its name in the pod.
    pub name: String,
    /// Its kind.
    pub kind: ContainerKind,
    /// Its image, as in the specification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// `resources.limits.memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    /// `resources.requests.memory`; the API server sets it to the limit where there is only that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_request_bytes: Option<u64>,
    /// Its current and earlier ids, as far as the status has them.
    pub ids: Vec<String>,
}

/// A container, as its runtime describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeContainer {
    /// Its name: that in its pod, if it has one.
    pub name: String,
    /// UID and names of its pod; absent for a container outside a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<(String, PodName)>,
    /// Its image's name; absent where the runtime has only a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Its first process, as a PID in the initial namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_pid: Option<u32>,
    /// Its exit code, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde expects"
)]
fn is_false(value: &bool) -> bool {
    !value
}

impl ApiPod {
    /// Its namespace.
    pub(super) fn namespace(&self) -> &str {
        &self.name.namespace
    }

    /// What of its containers' limits the kubelet sets on its cgroup: the larger of what those need that run together, and what
    /// an init container needs with the sidecars before it (Kubernetes `component-helpers/resource/helpers.go`, `PodLimits`).
    /// Ephemeral containers have no limits.
    pub(super) fn limit_of_containers(&self) -> LimitSource {
        let (together, init) = self.needs(|container| container.memory_limit_bytes);
        if init > together {
            LimitSource::InitContainer
        } else {
            LimitSource::ContainerLimits
        }
    }

    /// The memory that it requests, in bytes; 0 without a request.
    pub(super) fn request_bytes(&self) -> u64 {
        let (together, init) = self.needs(|container| container.memory_request_bytes);
        self.memory_request_bytes.unwrap_or(together.max(init))
    }

    /// What those of its containers need that run together, and the most that an init container needs with the sidecars before
    /// it.
    fn needs(&self, bytes: impl Fn(&ApiContainer) -> Option<u64>) -> (u64, u64) {
        let (mut together, mut sidecars, mut init) = (0_u64, 0_u64, 0_u64);
        for container in &self.containers {
            let bytes = bytes(container).unwrap_or(0);
            match container.kind {
                ContainerKind::Main => together = together.saturating_add(bytes),
                ContainerKind::Sidecar => sidecars = sidecars.saturating_add(bytes),
                ContainerKind::Init => init = init.max(sidecars.saturating_add(bytes)),
                ContainerKind::Ephemeral => {}
            }
        }
        (together.saturating_add(sidecars), init)
    }

    /// Its approximate size in memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let Self {
            name: PodName { namespace, name },
            uid,
            config_hash,
            events_off: _,
            shares_pids: _,
            memory_limit_bytes: _,
            memory_request_bytes: _,
            workload,
            containers,
        } = self;
        let hash = config_hash.as_ref().map_or(0, String::len);
        let workload = workload.as_ref().map_or(0, Workload::bytes);
        let names = namespace.len() + name.len() + uid.len() + hash + workload;
        let containers = containers.iter().map(ApiContainer::bytes);
        size_of::<Self>() + names + containers.sum::<usize>()
    }
}

impl RuntimeContainer {
    /// Its pod's namespace; empty for a container outside a pod.
    pub(super) fn namespace(&self) -> &str {
        let pod = self.pod.as_ref();
        pod.map_or("", |(_, name)| &name.namespace)
    }
}

impl ApiContainer {
    fn bytes(&self) -> usize {
        let Self {
            name,
            kind: _,
            image,
            memory_limit_bytes: _,
            memory_request_bytes: _,
            ids,
        } = self;
        let ids = ids.iter().map(|id| size_of::<String>() + id.len());
        let image = image.as_ref().map_or(0, String::len);
        size_of::<Self>() + name.len() + image + ids.sum::<usize>()
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name } = self;
        write!(f, "{namespace}/{name}")
    }
}

/// What a container is known by: its id, behind its user's where it is in a user's slice. He may give any id there, so that it
/// is never mixed up with root's.
pub(super) fn container_key(id: &str, user: Option<u32>) -> Cow<'_, str> {
    match user {
        None => id.into(),
        Some(user) => format!("{user}/{id}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_of_containers_is_the_larger_of_a_sum_and_an_init_containers() {
        use ContainerKind::{Ephemeral, Init, Main, Sidecar};
        use LimitSource::{ContainerLimits, InitContainer};
        for (containers, expected) in [
            (&[(Main, 40), (Main, 30)][..], ContainerLimits),
            (&[(Main, 30), (Init, 70)], InitContainer),
            (&[(Main, 30), (Init, 30)], ContainerLimits),
            (&[(Main, 30), (Sidecar, 20), (Init, 40)], InitContainer),
            // It ends before that sidecar starts.
            (&[(Main, 30), (Init, 40), (Sidecar, 20)], ContainerLimits),
            (&[(Main, 30), (Ephemeral, 70)], ContainerLimits),
        ] {
            let container = |&(kind, limit)| ApiContainer {
                name: String::new(),
                kind,
                image: None,
                memory_limit_bytes: Some(limit),
                memory_request_bytes: Some(limit),
                ids: vec![],
            };
            let pod = ApiPod {
                name: PodName {
                    namespace: String::new(),
                    name: String::new(),
                },
                uid: String::new(),
                config_hash: None,
                events_off: false,
                shares_pids: false,
                memory_limit_bytes: None,
                memory_request_bytes: None,
                workload: None,
                containers: containers.iter().map(container).collect(),
            };
            assert_eq!(pod.limit_of_containers(), expected, "{containers:?}");
            assert!(pod.request_bytes() > 0);
        }
    }
}
