//! A client for container runtimes that speak CRI (`runtime.v1`) over a unix socket.

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
    identify::objects::{PodName, RuntimeContainer},
    model::cgroup::Runtime,
};

/// Longest response that is read; a container in a list has about two kilobytes, a verbose status tens of them.
const RESPONSE_BYTES_MAX: usize = 16 << 20;
/// How long a connection and a call may take: other containers' queries wait for it.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Labels that the kubelet sets on sandboxes and containers.
const LABEL_POD_UID: &str = "io.kubernetes.pod.uid";
const LABEL_POD_NAME: &str = "io.kubernetes.pod.name";
const LABEL_POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";

/// A failed call.
#[derive(Debug, Error)]
pub(super) enum CriError {
    /// The socket does not accept a connection.
    #[error(transparent)]
    Connect(tonic::transport::Error),
    /// The runtime returned an error, or did not respond.
    #[error("{method} failed")]
    Call {
        /// The path of the method.
        method: &'static str,
        /// The returned status.
        #[source]
        status: Box<Status>,
    },
}

impl CriError {
    /// Whether the runtime did not answer in time: it is busy, and may answer later.
    pub(super) fn is_slow(&self) -> bool {
        match self {
            Self::Connect(_) => false,
            Self::Call { status, .. } => {
                matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled)
            }
        }
    }

    /// Whether the runtime is unreachable: further calls over this connection would fail too.
    pub(super) fn is_unreachable(&self) -> bool {
        match self {
            Self::Connect(_) => true,
            Self::Call { status, .. } => matches!(
                status.code(),
                Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unimplemented
            ),
        }
    }
}

/// A connection to a runtime.
pub(super) struct CriClient {
    calls: Grpc<Channel>,
}

/// A pod sandbox, with its pod's UID and names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sandbox {
    pub(super) id: String,
    pub(super) uid: String,
    pub(super) name: PodName,
}

/// The object behind an id.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CriObject {
    /// A container, and the PID of its first process as the runtime sees it.
    Container(Box<RuntimeContainer>, Option<u32>),
    /// A pod's sandbox.
    Sandbox(Sandbox),
    /// The runtime has no such container or sandbox.
    NotFound,
}

impl CriClient {
    /// Connects, and asks which runtime it is; absent if its name is not known.
    pub(super) async fn connect(socket: &Path) -> Result<(Self, Option<Runtime>), CriError> {
        let endpoint = endpoint(socket).map_err(CriError::Connect)?;
        let channel = endpoint.connect().await.map_err(CriError::Connect)?;
        let mut cri = Self {
            calls: Grpc::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX),
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

    /// Lists all containers, with their ids.
    pub(super) async fn containers(&mut self) -> Result<Vec<(String, RuntimeContainer)>, CriError> {
        let all: ListContainersResponse = self
            .call(
                "/runtime.v1.RuntimeService/ListContainers",
                ListContainersRequest::default(),
            )
            .await?;
        Ok(all
            .items
            .into_iter()
            .filter_map(messages::Container::into_container)
            .collect())
    }

    /// Lists all sandboxes.
    pub(super) async fn sandboxes(&mut self) -> Result<Vec<Sandbox>, CriError> {
        self.list_sandboxes(None).await
    }

    /// Lists the sandboxes of the pod with this UID.
    pub(super) async fn sandboxes_of(&mut self, uid: &str) -> Result<Vec<Sandbox>, CriError> {
        self.list_sandboxes(Some(PodSandboxFilter {
            label_selector: HashMap::from([(LABEL_POD_UID.to_owned(), uid.to_owned())]),
            ..PodSandboxFilter::default()
        }))
        .await
    }

    /// Looks up a container or sandbox by its id.
    pub(super) async fn find(&mut self, id: &str) -> Result<CriObject, CriError> {
        let request = ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: true,
        };
        let status = self
            .call("/runtime.v1.RuntimeService/ContainerStatus", request)
            .await;
        let status_error = match status.map(ContainerStatusResponse::into_container) {
            Ok(Some((container, pid))) => {
                return Ok(CriObject::Container(Box::new(container), pid));
            }
            Ok(None) => None,
            Err(error) => Some(error),
        };
        // Runtimes return different codes for a container that does not exist; an empty list is unambiguous.
        let filter = PodSandboxFilter {
            id: id.to_owned(),
            ..PodSandboxFilter::default()
        };
        let mut sandboxes = self.list_sandboxes(Some(filter)).await?;
        // The filter matches prefixes of ids too.
        sandboxes.retain(|sandbox| sandbox.id == id);
        if let Some(sandbox) = sandboxes.pop() {
            return Ok(CriObject::Sandbox(sandbox));
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
            .items
            .into_iter()
            .filter_map(messages::Container::into_container)
            .filter(|(found, _)| found == id);
        match (found.next(), status_error) {
            (Some((_, container)), _) => Ok(CriObject::Container(Box::new(container), None)),
            (None, Some(error)) if error.is_unreachable() => Err(error),
            (None, _) => Ok(CriObject::NotFound),
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
        let call_error = |status| CriError::Call {
            method,
            status: Box::new(status),
        };
        self.calls
            .ready()
            .await
            .map_err(|error| call_error(Status::from_error(error.into())))?;
        let codec = ProstCodec::<Q, A>::default();
        let path = PathAndQuery::from_static(method);
        let response = self.calls.unary(Request::new(request), path, codec).await;
        response
            .map(tonic::Response::into_inner)
            .map_err(call_error)
    }
}

/// The endpoint of a socket.
pub(super) fn endpoint(socket: &Path) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
    Ok(endpoint.connect_timeout(CALL_TIMEOUT).timeout(CALL_TIMEOUT))
}

/// The containers in a message that is decoded both as a list and as a status.
pub(super) fn parse_containers(message: &[u8]) -> Vec<(String, RuntimeContainer)> {
    let list = ListContainersResponse::decode(message).unwrap_or_default();
    let listed = list.items.into_iter();
    let status = ContainerStatusResponse::decode(message).unwrap_or_default();
    let id = status.status.as_ref().map(|status| status.id.clone());
    let container = status.into_container().map(|(container, _)| container);
    listed
        .filter_map(messages::Container::into_container)
        .chain(id.zip(container))
        .collect()
}

/// The sandboxes in a list.
pub(super) fn parse_sandboxes(message: &[u8]) -> Vec<Sandbox> {
    let list = ListPodSandboxResponse::decode(message).unwrap_or_default();
    let sandboxes = list.items.into_iter();
    sandboxes.filter_map(PodSandbox::into_sandbox).collect()
}

impl messages::Container {
    fn into_container(self) -> Option<(String, RuntimeContainer)> {
        let Self {
            id,
            metadata,
            image,
            labels,
        } = self;
        let metadata = metadata?;
        let container = RuntimeContainer {
            name: metadata.name,
            pod: pod_of(&labels),
            image: image.and_then(image_name),
            init_pid: None,
            exit_code: None,
        };
        Some((id, container))
    }
}

impl ContainerStatusResponse {
    /// The container, and the PID of its first process as the runtime sees it; absent if the response has no container.
    fn into_container(self) -> Option<(RuntimeContainer, Option<u32>)> {
        let Self { status, info } = self;
        let status = status?;
        let metadata = status.metadata?;
        let has_ended = status.state == CONTAINER_EXITED;
        let pid = info
            .get("info")
            .and_then(|info| serde_json::from_str::<Info>(info).ok())
            .and_then(|info| info.pid)
            .filter(|pid| *pid > 0);
        let container = RuntimeContainer {
            name: metadata.name,
            pod: pod_of(&status.labels),
            image: status.image.and_then(image_name),
            init_pid: None,
            exit_code: has_ended.then_some(status.exit_code),
        };
        Some((container, pid))
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

/// The field that is used of what containerd and CRI-O add to a verbose status under the key `info`.
#[derive(Deserialize)]
struct Info {
    pid: Option<u32>,
}

/// UID and names of a container's pod, from the kubelet's labels.
fn pod_of(labels: &HashMap<String, String>) -> Option<(String, PodName)> {
    let name = PodName {
        namespace: labels.get(LABEL_POD_NAMESPACE)?.clone(),
        name: labels.get(LABEL_POD_NAME)?.clone(),
    };
    Some((labels.get(LABEL_POD_UID)?.clone(), name))
}

/// The image's name rather than its digest: the kubelet requests images by digest.
fn image_name(image: ImageSpec) -> Option<String> {
    let ImageSpec {
        image,
        user_specified_image,
    } = image;
    [user_specified_image, image]
        .into_iter()
        .find(|name| !name.is_empty() && !name.starts_with("sha256:"))
}
