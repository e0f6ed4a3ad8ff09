//! What the sources tell of pods and containers: the little of it that names a kill. It is also what is saved of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::report::ContainerKind;

/// A pod's names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PodName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A pod, as the Kubernetes API has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its names.
    pub name: PodName,
    /// `metadata.uid`, which is in its cgroup's path unless it is a static pod's mirror.
    pub uid: String,
    /// Annotation `kubernetes.io/config.mirror`, else `config.hash`: what a static pod has in its cgroup's path instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_hash: Option<String>,
    /// Annotation `oomwatch.dev/events: "off"`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub events_off: bool,
    /// Whether its containers share a PID namespace with each other or with the node: then pid 1 tells nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub shares_pids: bool,
    /// `spec.resources.limits.memory`: a limit of the pod's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    /// All of its containers.
    pub containers: Vec<Container>,
}

/// A container of a pod, as the Kubernetes API has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its name in the pod.
    pub name: String,
    /// What it is in the pod.
    pub kind: ContainerKind,
    /// Its image, as the specification names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// `resources.limits.memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit_bytes: Option<u64>,
    /// The ids it has now and had before, as far as its status tells.
    pub ids: Vec<String>,
}

/// A container, as its runtime has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its name: in its pod, if it has one.
    pub name: String,
    /// How often it was started before; absent where the runtime does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Its pod; absent for a container of nobody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<(String, PodName)>,
    /// The sandbox that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_id: Option<String>,
    /// Its image, where the runtime tells more than a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Its first process, in the initial PID namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_pid: Option<u32>,
    /// How it ended, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Pod {
    /// Roughly what it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        let Self {
            name: PodName { namespace, name },
            uid,
            config_hash,
            events_off: _,
            shares_pids: _,
            memory_limit_bytes: _,
            containers,
        } = self;
        let hash = config_hash.as_ref().map_or(0, String::len);
        let names = namespace.len() + name.len() + uid.len() + hash;
        let containers = containers.iter().map(Container::bytes);
        size_of::<Self>() + names + containers.sum::<usize>()
    }
}

impl Container {
    fn bytes(&self) -> usize {
        let Self {
            name,
            kind: _,
            image,
            memory_limit_bytes: _,
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
