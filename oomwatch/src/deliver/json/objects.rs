//! Objects that stand in several places of a record.

use serde::Serialize;

use crate::{
    deliver::json::encoding::text,
    model::{
        cgroup::{Qos, Runtime},
        kill::Cgroup,
        report::{Container, ContainerKind, Pod},
        workload::Workload,
    },
};

/// A cgroup.
#[derive(Serialize)]
pub(super) struct CgroupJson {
    pub(super) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<u64>,
}

/// A container.
#[derive(Serialize)]
pub(super) struct ContainerJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<Runtime>,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<ContainerKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'a str>,
}

/// A pod.
#[derive(Serialize)]
pub(super) struct PodJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    uid: &'a str,
    qos: Qos,
}

/// A workload.
#[derive(Serialize)]
pub(super) struct WorkloadJson<'a> {
    kind: &'a str,
    name: &'a str,
}

impl From<&Cgroup> for CgroupJson {
    fn from(Cgroup { path, id }: &Cgroup) -> Self {
        let (path, path_hex) = text(path);
        Self {
            path,
            path_hex,
            id: *id,
        }
    }
}

impl<'a> From<&'a Container> for ContainerJson<'a> {
    fn from(container: &'a Container) -> Self {
        Self {
            runtime: container.runtime,
            id: &container.id,
            user: container.user,
            name: container.name.as_deref(),
            kind: container.kind,
            image: container.image.as_deref(),
        }
    }
}

impl<'a> From<&'a Pod> for PodJson<'a> {
    fn from(pod: &'a Pod) -> Self {
        Self {
            namespace: pod.namespace.as_deref(),
            name: pod.name.as_deref(),
            uid: &pod.uid,
            qos: pod.qos,
        }
    }
}

impl<'a> From<&'a Workload> for WorkloadJson<'a> {
    fn from(Workload { kind, name }: &'a Workload) -> Self {
        Self { kind, name }
    }
}
