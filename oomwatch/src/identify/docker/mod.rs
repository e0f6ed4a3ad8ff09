//! Looks up one container over Docker's own socket (`GET /containers/ID/json` of the Docker Engine API).

use std::{collections::HashMap, path::Path, pin::pin, time::Duration};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use thiserror::Error;
use tokio::{net::UnixStream, time::timeout};

use crate::identify::objects::{PodName, RuntimeContainer};

/// Longest response that is read; a usual one has ten kilobytes.
const RESPONSE_BYTES_MAX: usize = 1 << 20;
/// How long a request may take: other containers' queries wait for it.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// The container name that dockershim and cri-dockerd give to a pod's sandbox.
const SANDBOX: &str = "POD";

/// A failed request.
#[derive(Debug, Error)]
pub(super) enum DockerError {
    /// The socket does not accept a connection.
    #[error("failed to connect to Docker's socket")]
    Connect(#[source] std::io::Error),
    /// The peer does not speak HTTP, or closed the connection.
    #[error("failed to exchange HTTP with Docker")]
    Http(#[from] hyper::Error),
    /// The response was cut off, or is longer than [`RESPONSE_BYTES_MAX`].
    #[error("failed to receive Docker's response")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Any other status than 200 and 404.
    #[error("Docker responded with {0}")]
    Status(StatusCode),
    /// The response does not have the documented form.
    #[error("failed to parse Docker's response")]
    Malformed(#[from] serde_json::Error),
    /// No response in time.
    #[error("Docker did not respond within {} ms", CALL_TIMEOUT.as_millis())]
    Timeout,
    /// Another user's process listens on the socket.
    #[error("the socket is not that of the container's user")]
    OtherUser,
    /// The id is not hexadecimal, as all of Docker's are.
    #[error("not the id of a Docker container")]
    InvalidId,
}

/// The object behind an id.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DockerObject {
    /// A container, and the PID of its first process as Docker sees it.
    Container(Box<RuntimeContainer>, Option<u32>),
    /// The sandbox of the pod with this UID and these names.
    Sandbox(String, PodName),
    /// Docker has no such container.
    NotFound,
}

/// Looks up a container by its id, at a process of `user` if there is one.
pub(super) async fn find(
    socket: &Path,
    id: &str,
    user: Option<u32>,
) -> Result<DockerObject, DockerError> {
    timeout(CALL_TIMEOUT, request(socket, id, user))
        .await
        .map_err(|_| DockerError::Timeout)?
}

async fn request(socket: &Path, id: &str, user: Option<u32>) -> Result<DockerObject, DockerError> {
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(DockerError::InvalidId);
    }
    let stream = UnixStream::connect(socket)
        .await
        .map_err(DockerError::Connect)?;
    let peer = stream.peer_cred().map_err(DockerError::Connect)?.uid();
    if user.is_some_and(|user| user != peer) {
        return Err(DockerError::OtherUser);
    }
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(format!("/containers/{id}/json"))
        .header(HOST, "docker")
        .body(Empty::<Bytes>::new())
        .map_err(|error| DockerError::Body(error.into()))?;
    let response = async {
        let response = requests.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), RESPONSE_BYTES_MAX);
        let body = body.collect().await.map_err(DockerError::Body)?;
        Ok::<_, DockerError>((status, body.to_bytes()))
    };
    let mut response = pin!(response);
    let (status, body) = tokio::select! {
        response = &mut response => response?,
        // The response may have arrived before the connection ended.
        _ = connection => response.await?,
    };
    match status {
        StatusCode::OK => parse(&body),
        StatusCode::NOT_FOUND => Ok(DockerObject::NotFound),
        status => Err(DockerError::Status(status)),
    }
}

/// Parses the body of a response with status 200.
pub(super) fn parse(body: &[u8]) -> Result<DockerObject, DockerError> {
    let InspectResponse {
        name,
        state,
        config,
    } = serde_json::from_slice(body)?;
    let labels = config.labels.unwrap_or_default();
    let label = |name: &str| labels.get(&format!("io.kubernetes.{name}")).cloned();
    let pod = (|| {
        let name = PodName {
            namespace: label("pod.namespace")?,
            name: label("pod.name")?,
        };
        Some((label("pod.uid")?, name))
    })();
    let pod_container = label("container.name");
    if pod_container.as_deref() == Some(SANDBOX)
        && let Some((uid, name)) = pod
    {
        return Ok(DockerObject::Sandbox(uid, name));
    }
    let pid = state.pid.filter(|pid| *pid > 0);
    let has_ended = matches!(state.status.as_deref(), Some("exited" | "dead"));
    let found = RuntimeContainer {
        name: pod_container.unwrap_or_else(|| name.trim_start_matches('/').to_owned()),
        pod,
        image: config
            .image
            .filter(|image| !image.is_empty() && !image.starts_with("sha256:")),
        init_pid: None,
        exit_code: state.exit_code.filter(|_| has_ended),
    };
    Ok(DockerObject::Container(Box::new(found), pid))
}

/// The fields that are used of the response.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectResponse {
    name: String,
    state: InspectState,
    config: InspectConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectState {
    status: Option<String>,
    pid: Option<u32>,
    exit_code: Option<i32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectConfig {
    image: Option<String>,
    labels: Option<HashMap<String, String>>,
}

#[cfg(test)]
mod tests;
