//! A container from Docker's own socket: one request for one id (`GET /containers/ID/json` of the Docker Engine API).

use std::{collections::HashMap, path::Path, pin::pin, time::Duration};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use thiserror::Error;
use tokio::{net::UnixStream, time::timeout};

use crate::identify::facts::{Instance, PodName};

/// Longest answer that is taken: it has ten kilobytes or so.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long an answer may take while a kill waits.
const CALL: Duration = Duration::from_millis(400);

/// Name of a pod's sandbox for those who run pods on Docker.
const SANDBOX: &str = "POD";

/// Why Docker did not tell.
#[derive(Debug, Error)]
pub(super) enum DockerError {
    /// It cannot be reached.
    #[error("connect to it")]
    Connect(#[source] std::io::Error),
    /// It speaks no HTTP.
    #[error("talk to it")]
    Http(#[from] hyper::Error),
    /// Its answer broke off, or is longer than any should be.
    #[error("read its answer")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It refuses.
    #[error("it answers {0}")]
    Refused(StatusCode),
    /// Its answer is not what its documentation says.
    #[error("read its answer")]
    Malformed(#[from] serde_json::Error),
    /// It takes too long.
    #[error("it does not answer")]
    Silent,
    /// Docker has no such ids.
    #[error("no id of Docker's")]
    NoId,
}

/// What Docker says of an id.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is a container, whose first process has this number for Docker.
    Container(Box<Instance>, Option<u32>),
    /// It is the sandbox of this pod.
    Sandbox(String, PodName),
    /// It has nobody of that id.
    NotFound,
}

/// Asks Docker for a container.
pub(super) async fn find(socket: &Path, id: &str) -> Result<Found, DockerError> {
    timeout(CALL, ask(socket, id))
        .await
        .map_err(|_| DockerError::Silent)?
}

async fn ask(socket: &Path, id: &str) -> Result<Found, DockerError> {
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(DockerError::NoId);
    }
    let stream = UnixStream::connect(socket)
        .await
        .map_err(DockerError::Connect)?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(format!("/containers/{id}/json"))
        .header(HOST, "docker")
        .body(Empty::<Bytes>::new())
        .map_err(|error| DockerError::Body(error.into()))?;
    let answer = async {
        let answer = requests.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
        let body = body.collect().await.map_err(DockerError::Body)?;
        Ok::<_, DockerError>((status, body.to_bytes()))
    };
    let mut answer = pin!(answer);
    let (status, body) = tokio::select! {
        answer = &mut answer => answer?,
        // It may have brought the answer before it ended.
        _ = connection => answer.await?,
    };
    match status {
        StatusCode::OK => read(&body),
        StatusCode::NOT_FOUND => Ok(Found::NotFound),
        status => Err(DockerError::Refused(status)),
    }
}

/// Reads its answer.
pub(super) fn read(body: &[u8]) -> Result<Found, DockerError> {
    let Inspected {
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
    let container = label("container.name");
    if container.as_deref() == Some(SANDBOX)
        && let Some((uid, name)) = pod
    {
        return Ok(Found::Sandbox(uid, name));
    }
    let pid = state.pid.filter(|pid| *pid > 0);
    let has_ended = matches!(state.status.as_deref(), Some("exited" | "dead"));
    let instance = Instance {
        name: container.unwrap_or_else(|| name.trim_start_matches('/').to_owned()),
        attempt: label("container.attempt").and_then(|attempt| attempt.parse().ok()),
        pod,
        sandbox_id: None,
        image: config
            .image
            .filter(|image| !image.is_empty() && !image.starts_with("sha256:")),
        init_pid: None,
        exit_code: state.exit_code.filter(|_| has_ended),
    };
    Ok(Found::Container(Box::new(instance), pid))
}

/// The little that is used of Docker's answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    name: String,
    state: State,
    config: Config,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: Option<String>,
    pid: Option<u32>,
    exit_code: Option<i32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    image: Option<String>,
    labels: Option<HashMap<String, String>>,
}

#[cfg(test)]
mod tests;
