//! Parses a pod's JSON into the fields that identify a kill. A usual pod has ten to twenty kilobytes; most of it is skipped.

use jiff::Timestamp;
use serde::Deserialize;

use super::quantity;
use crate::{
    identify::objects::{ApiContainer, ApiPod, PodName},
    model::{
        report::ContainerKind,
        workload::{Owner, Workload},
    },
};

/// Most containers of a pod that are kept; the runtime names the others. The API server only limits an object to a megabyte
/// and a half, and a user who may create pods may create many of those.
pub(super) const CONTAINERS_MAX: usize = 128;
/// Longest image name that is kept; runtimes have none longer (a name of 255, a tag of 128, a digest).
const IMAGE_MAX: usize = 512;
/// Longest configuration hash that is kept: the kubelet's has 32 characters, but any pod can be given the annotation.
const HASH_MAX: usize = 64;

/// A pod in the API's JSON.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PodJson {
    metadata: Metadata,
    spec: PodSpec,
    status: Option<PodStatus>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    namespace: String,
    name: String,
    uid: String,
    resource_version: Option<String>,
    creation_timestamp: Option<String>,
    labels: Option<Labels>,
    owner_references: Option<Vec<OwnerReference>>,
    annotations: Option<Annotations>,
}

#[derive(Clone, Debug, Deserialize)]
struct Labels {
    #[serde(rename = "pod-template-hash")]
    template_hash: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnerReference {
    api_version: String,
    kind: String,
    name: String,
    controller: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
struct Annotations {
    #[serde(rename = "kubernetes.io/config.mirror")]
    config_mirror: Option<String>,
    #[serde(rename = "oomwatch.dev/events")]
    events: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(rename = "hostPID")]
    host_pid: Option<bool>,
    share_process_namespace: Option<bool>,
    resources: Option<Resources>,
    containers: Option<Vec<ContainerSpec>>,
    init_containers: Option<Vec<ContainerSpec>>,
    ephemeral_containers: Option<Vec<ContainerSpec>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerSpec {
    name: String,
    image: Option<String>,
    resources: Option<Resources>,
    restart_policy: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Resources {
    limits: Option<Amounts>,
    requests: Option<Amounts>,
}

#[derive(Clone, Debug, Deserialize)]
struct Amounts {
    memory: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names in the API")]
struct PodStatus {
    container_statuses: Option<Vec<ContainerStatus>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
    ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    #[serde(rename = "containerID")]
    container_id: Option<String>,
    state: Option<ContainerState>,
    last_state: Option<ContainerState>,
}

#[derive(Clone, Debug, Deserialize)]
struct ContainerState {
    terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Deserialize)]
struct Terminated {
    #[serde(rename = "containerID")]
    container_id: Option<String>,
}

impl PodJson {
    /// `metadata.resourceVersion`.
    pub(super) fn resource_version(&self) -> Option<&str> {
        self.metadata.resource_version.as_deref()
    }

    /// The fields that identify a kill.
    pub(super) fn into_object(self) -> ApiPod {
        let Self {
            metadata,
            spec,
            status,
        } = self;
        let workload = metadata.workload();
        let statuses = status.map_or_else(Vec::new, PodStatus::into_all);
        let annotations = metadata.annotations;
        let annotation = |of: fn(&Annotations) -> &Option<String>| {
            annotations
                .as_ref()
                .and_then(|annotations| of(annotations).clone())
        };
        let kinds = [
            (spec.containers, ContainerKind::Main),
            (spec.init_containers, ContainerKind::Init),
            (spec.ephemeral_containers, ContainerKind::Ephemeral),
        ];
        ApiPod {
            name: PodName {
                namespace: metadata.namespace,
                name: metadata.name,
            },
            uid: metadata.uid,
            config_hash: annotation(|all| &all.config_mirror).filter(|hash| hash.len() <= HASH_MAX),
            events_off: annotation(|all| &all.events).as_deref() == Some("off"),
            shares_pids: spec.host_pid == Some(true) || spec.share_process_namespace == Some(true),
            memory_limit_bytes: memory_limit_bytes(spec.resources.as_ref()),
            memory_request_bytes: memory_request_bytes(spec.resources.as_ref()),
            workload,
            containers: kinds
                .into_iter()
                .flat_map(|(containers, kind)| {
                    let containers = containers.unwrap_or_default().into_iter();
                    containers.map(move |container| (container, kind))
                })
                .take(CONTAINERS_MAX)
                .map(|(container, kind)| container.into_object(kind, &statuses))
                .collect(),
        }
    }
}

impl Metadata {
    /// What controls the pod; at most one owner does.
    fn workload(&self) -> Option<Workload> {
        let mut owners = self.owner_references.iter().flatten();
        let owner = owners.find(|owner| owner.controller == Some(true))?;
        let labels = self.labels.as_ref();
        let created = self.creation_timestamp.as_ref();
        Workload::of(Owner {
            api_version: &owner.api_version,
            kind: &owner.kind,
            name: &owner.name,
            template_hash: labels.and_then(|labels| labels.template_hash.as_deref()),
            created: created.and_then(|created| created.parse::<Timestamp>().ok()),
        })
    }
}

impl ContainerSpec {
    fn into_object(self, kind: ContainerKind, statuses: &[ContainerStatus]) -> ApiContainer {
        let Self {
            name,
            image,
            resources,
            restart_policy,
        } = self;
        let kind = match kind {
            ContainerKind::Init if restart_policy.as_deref() == Some("Always") => {
                ContainerKind::Sidecar
            }
            kind => kind,
        };
        let mut ids: Vec<String> = Vec::new();
        for id in statuses
            .iter()
            .filter(|status| status.name == name)
            .flat_map(ContainerStatus::ids)
        {
            if !ids.iter().any(|known| known == id) {
                ids.push(id.to_owned());
            }
        }
        ApiContainer {
            kind,
            image: image.filter(|image| (1..=IMAGE_MAX).contains(&image.len())),
            memory_limit_bytes: memory_limit_bytes(resources.as_ref()),
            memory_request_bytes: memory_request_bytes(resources.as_ref()),
            ids,
            name,
        }
    }
}

fn memory_limit_bytes(resources: Option<&Resources>) -> Option<u64> {
    memory_bytes(resources?.limits.as_ref())
}

fn memory_request_bytes(resources: Option<&Resources>) -> Option<u64> {
    memory_bytes(resources?.requests.as_ref())
}

fn memory_bytes(amounts: Option<&Amounts>) -> Option<u64> {
    quantity::parse_bytes(amounts?.memory.as_ref()?).filter(|bytes| *bytes > 0)
}

impl PodStatus {
    fn into_all(self) -> Vec<ContainerStatus> {
        let Self {
            container_statuses,
            init_container_statuses,
            ephemeral_container_statuses,
        } = self;
        [
            container_statuses,
            init_container_statuses,
            ephemeral_container_statuses,
        ]
        .into_iter()
        .flatten()
        .flatten()
        .collect()
    }
}

impl ContainerStatus {
    /// The ids in a status, without the prefix such as `containerd://`: the current one and those of ended containers.
    fn ids(&self) -> impl Iterator<Item = &str> {
        let ended = [&self.state, &self.last_state]
            .into_iter()
            .filter_map(|state| state.as_ref()?.terminated.as_ref()?.container_id.as_ref());
        self.container_id
            .iter()
            .chain(ended)
            .filter_map(|id| Some(id.split_once("://")?.1))
            .filter(|id| !id.is_empty())
    }
}
