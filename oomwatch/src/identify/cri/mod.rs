//! Containers and sandboxes from a runtime that speaks CRI, `runtime.v1`, over a unix socket.

mod messages;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, path::Path, time::Duration};

use prost::Message as _;
use serde::Deserialize;
use thiserror::Error;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use self::messages::{
    CONTAINER_EXITED, ContainerFilter, ContainerStatusRequest, ContainerStatusResponse, ImageSpec,
    ListContainersRequest, ListContainersResponse, ListPodSandboxRequest, ListPodSandboxResponse,
    PodSandbox, PodSandboxFilter, VersionRequest, VersionResponse,
};
use crate::{
    identify::facts::{Instance, PodName},
    model::cgroup::Runtime,
};

/// Longest answer that is taken: a container has two kilobytes or so, its verbose status tens.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// How long a connection and a call may take while a kill waits.
const CALL: Duration = Duration::from_millis(400);

/// The label by which the kubelet finds a pod's sandboxes.
const LABEL_POD_UID: &str = "io.kubernetes.pod.uid";
const LABEL_POD_NAME: &str = "io.kubernetes.pod.name";
const LABEL_POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";

/// Why a runtime did not tell.
#[derive(Debug, Error)]
pub(super) enum CriError {
    /// It cannot be reached.
    #[error("connect to it")]
    Connect(#[source] tonic::transport::Error),
    /// It refuses, or does not answer.
    #[error("ask it for {method}")]
    Refused {
        /// What was asked.
        method: &'static str,
        /// What it said.
        #[source]
        status: Box<Status>,
    },
}

impl CriError {
    /// Whether nobody answered: the next call would fare no better.
    pub(super) fn is_no_answer(&self) -> bool {
        match self {
            Self::Connect(_) => true,
            Self::Refused { status, .. } => matches!(
                status.code(),
                Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unimplemented
            ),
        }
    }
}

/// A connection to a runtime.
pub(super) struct Cri {
    calls: Grpc<Channel>,
}

/// A sandbox, with its pod's UID and names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sandbox {
    pub(super) id: String,
    pub(super) uid: String,
    pub(super) name: PodName,
}

/// What a runtime says of an id.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is a container, whose first process has this number for the runtime.
    Container(Box<Instance>, Option<u32>),
    /// It is a sandbox.
    Sandbox(Sandbox),
    /// It has nobody of that id.
    NotFound,
}

impl Cri {
    /// Connects, and asks who it is.
    pub(super) async fn connect(socket: &Path) -> Result<(Self, Option<Runtime>), CriError> {
        let endpoint = endpoint(socket).map_err(CriError::Connect)?;
        let channel = endpoint.connect().await.map_err(CriError::Connect)?;
        let mut cri = Self {
            calls: Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX),
        };
        let version: VersionResponse = cri
            .call(
                "/runtime.v1.RuntimeService/Version",
                VersionRequest::default(),
            )
            .await?;
        let runtime = match version.runtime_name.as_str() {
            "containerd" => Some(Runtime::Containerd),
            "cri-o" => Some(Runtime::CriO),
            "docker" => Some(Runtime::Docker),
            _ => None,
        };
        Ok((cri, runtime))
    }

    /// All containers, by id.
    pub(super) async fn containers(&mut self) -> Result<Vec<(String, Instance)>, CriError> {
        let all: ListContainersResponse = self
            .call(
                "/runtime.v1.RuntimeService/ListContainers",
                ListContainersRequest::default(),
            )
            .await?;
        Ok(all
            .containers
            .into_iter()
            .filter_map(messages::Container::into_instance)
            .collect())
    }

    /// All sandboxes.
    pub(super) async fn sandboxes(&mut self) -> Result<Vec<Sandbox>, CriError> {
        self.list_sandboxes(None).await
    }

    /// The sandboxes of a pod.
    pub(super) async fn sandboxes_of(&mut self, uid: &str) -> Result<Vec<Sandbox>, CriError> {
        self.list_sandboxes(Some(PodSandboxFilter {
            label_selector: HashMap::from([(LABEL_POD_UID.to_owned(), uid.to_owned())]),
            ..PodSandboxFilter::default()
        }))
        .await
    }

    /// Whoever has this id.
    pub(super) async fn find(&mut self, id: &str) -> Result<Found, CriError> {
        let request = ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: true,
        };
        let status = self
            .call("/runtime.v1.RuntimeService/ContainerStatus", request)
            .await;
        let refused = match status.map(ContainerStatusResponse::into_instance) {
            Ok(Some((instance, pid))) => return Ok(Found::Container(Box::new(instance), pid)),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        // Runtimes do not agree on the code for a container that is not there: a list of none is plain.
        let filter = PodSandboxFilter {
            id: id.to_owned(),
            ..PodSandboxFilter::default()
        };
        let mut sandboxes = self.list_sandboxes(Some(filter)).await?;
        // The filter takes the beginning of an id, too.
        sandboxes.retain(|sandbox| sandbox.id == id);
        if let Some(sandbox) = sandboxes.pop() {
            return Ok(Found::Sandbox(sandbox));
        }
        let filter = ContainerFilter { id: id.to_owned() };
        let containers: ListContainersResponse = self
            .call(
                "/runtime.v1.RuntimeService/ListContainers",
                ListContainersRequest {
                    filter: Some(filter),
                },
            )
            .await?;
        let mut found = containers
            .containers
            .into_iter()
            .filter_map(messages::Container::into_instance)
            .filter(|(found, _)| found == id);
        match (found.next(), refused) {
            (Some((_, instance)), _) => Ok(Found::Container(Box::new(instance), None)),
            (None, Some(error)) if error.is_no_answer() => Err(error),
            (None, _) => Ok(Found::NotFound),
        }
    }

    async fn list_sandboxes(
        &mut self,
        filter: Option<PodSandboxFilter>,
    ) -> Result<Vec<Sandbox>, CriError> {
        let all: ListPodSandboxResponse = self
            .call(
                "/runtime.v1.RuntimeService/ListPodSandbox",
                ListPodSandboxRequest { filter },
            )
            .await?;
        Ok(all
            .items
            .into_iter()
            .filter_map(PodSandbox::into_sandbox)
            .collect())
    }

    async fn call<Q, A>(&mut self, method: &'static str, request: Q) -> Result<A, CriError>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let refused = |status| CriError::Refused {
            method,
            status: Box::new(status),
        };
        self.calls
            .ready()
            .await
            .map_err(|error| refused(Status::from_error(error.into())))?;
        let codec = ProstCodec::<Q, A>::default();
        let path = PathAndQuery::from_static(method);
        let answer = self.calls.unary(Request::new(request), path, codec).await;
        answer.map(tonic::Response::into_inner).map_err(refused)
    }
}

/// Where a socket is connected to.
pub(super) fn endpoint(socket: &Path) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
    Ok(endpoint.connect_timeout(CALL).timeout(CALL))
}

/// The containers in a message that is a list or a status, whichever it can be.
pub(super) fn read_containers(message: &[u8]) -> Vec<(String, Instance)> {
    let list = ListContainersResponse::decode(message).unwrap_or_default();
    let listed = list.containers.into_iter();
    let status = ContainerStatusResponse::decode(message).unwrap_or_default();
    let id = status.status.as_ref().map(|status| status.id.clone());
    let instance = status.into_instance().map(|(instance, _)| instance);
    listed
        .filter_map(messages::Container::into_instance)
        .chain(id.zip(instance))
        .collect()
}

/// The sandboxes in a list.
pub(super) fn read_sandboxes(message: &[u8]) -> Vec<Sandbox> {
    let list = ListPodSandboxResponse::decode(message).unwrap_or_default();
    let sandboxes = list.items.into_iter();
    sandboxes.filter_map(PodSandbox::into_sandbox).collect()
}

impl messages::Container {
    fn into_instance(self) -> Option<(String, Instance)> {
        let Self {
            id,
            pod_sandbox_id,
            metadata,
            image,
            labels,
        } = self;
        let metadata = metadata?;
        let instance = Instance {
            name: metadata.name,
            attempt: Some(metadata.attempt),
            pod: pod_of(&labels),
            sandbox_id: Some(pod_sandbox_id),
            image: image.and_then(name_of_image),
            init_pid: None,
            exit_code: None,
        };
        Some((id, instance))
    }
}

impl ContainerStatusResponse {
    /// The container and its first process, by the runtime's count; absent in an answer that has no container.
    fn into_instance(self) -> Option<(Instance, Option<u32>)> {
        let Self { status, info } = self;
        let status = status?;
        let metadata = status.metadata?;
        let has_ended = status.state == CONTAINER_EXITED;
        let pid = info
            .get("info")
            .and_then(|info| serde_json::from_str::<Info>(info).ok())
            .and_then(|info| info.pid)
            .filter(|pid| *pid > 0);
        let instance = Instance {
            name: metadata.name,
            attempt: Some(metadata.attempt),
            pod: pod_of(&status.labels),
            sandbox_id: None,
            image: status.image.and_then(name_of_image),
            init_pid: None,
            exit_code: has_ended.then_some(status.exit_code),
        };
        Some((instance, pid))
    }
}

impl PodSandbox {
    fn into_sandbox(self) -> Option<Sandbox> {
        let Self { id, metadata } = self;
        let metadata = metadata?;
        Some(Sandbox {
            id,
            uid: metadata.uid,
            name: PodName {
                namespace: metadata.namespace,
                name: metadata.name,
            },
        })
    }
}

/// What containerd and CRI-O add to a verbose status, under `info`; a small part of it.
#[derive(Deserialize)]
struct Info {
    pid: Option<u32>,
}

/// UID and names of the pod that the kubelet made a container for.
fn pod_of(labels: &HashMap<String, String>) -> Option<(String, PodName)> {
    let name = PodName {
        namespace: labels.get(LABEL_POD_NAMESPACE)?.clone(),
        name: labels.get(LABEL_POD_NAME)?.clone(),
    };
    Some((labels.get(LABEL_POD_UID)?.clone(), name))
}

/// What a person would call the image: the kubelet asks for it by digest.
fn name_of_image(image: ImageSpec) -> Option<String> {
    let ImageSpec {
        image,
        user_specified_image,
    } = image;
    [user_specified_image, image]
        .into_iter()
        .find(|name| !name.is_empty() && !name.starts_with("sha256:"))
}
