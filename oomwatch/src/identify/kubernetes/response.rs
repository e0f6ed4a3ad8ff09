//! Requests for pods, whose responses are read line by line or as one list, each within bounds.

use futures_util::TryStreamExt as _;
use http::{Request, StatusCode};
use http_body_util::{BodyDataStream, BodyExt as _, Limited};
use kube::{
    Client,
    client::Body,
    core::{Status, WatchEvent},
};
use serde::Deserialize;
use tracing::warn;

use super::{error::WatchError, pod::PodJson};

/// Longest line of a watch: the API server accepts no object that is larger than 1.5 MiB in its own form.
const LINE_BYTES_MAX: usize = 4 << 20;
/// Longest list: a page has few pods.
const LIST_BYTES_MAX: usize = 32 << 20;
/// Longest error.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// Events of a watch.
pub(super) struct WatchLines {
    body: BodyDataStream<Body>,
    buffer: Vec<u8>,
    /// How much of the buffer has no newline.
    scanned: usize,
    /// Whether the rest of a line that was too long is skipped.
    is_skipping: bool,
}

/// A page of pods.
#[derive(Deserialize)]
pub(super) struct PodPage {
    pub(super) metadata: PageMeta,
    #[serde(default)]
    pub(super) items: Vec<serde_json::Value>,
}

/// What a page says of the list.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageMeta {
    pub(super) resource_version: String,
    #[serde(rename = "continue", default)]
    pub(super) next: String,
}

/// Begins a watch. Any other status than 200 is an error, also a redirect, which is not followed.
pub(super) async fn watch(
    client: &Client,
    request: Request<Vec<u8>>,
) -> Result<WatchLines, WatchError> {
    Ok(WatchLines {
        body: send(client, request).await?.into_data_stream(),
        buffer: Vec::new(),
        scanned: 0,
        is_skipping: false,
    })
}

/// Reads a page of a list.
pub(super) async fn page(
    client: &Client,
    request: Request<Vec<u8>>,
) -> Result<PodPage, WatchError> {
    let body = Limited::new(send(client, request).await?, LIST_BYTES_MAX);
    let body = body.collect().await.map_err(WatchError::Body)?.to_bytes();
    serde_json::from_slice(&body).map_err(|error| kube::Error::SerdeError(error).into())
}

async fn send(client: &Client, request: Request<Vec<u8>>) -> Result<Body, WatchError> {
    let response = client.send(request.map(Body::from)).await?;
    let code = response.status();
    if code == StatusCode::OK {
        return Ok(response.into_body());
    }
    let body = Limited::new(response.into_body(), ERROR_BYTES_MAX);
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    let status = body
        .ok()
        .and_then(|body| serde_json::from_slice(&body).ok());
    let mut status = status.unwrap_or_else(|| Status::failure(code.as_str(), ""));
    status.code = code.as_u16();
    Err(kube::Error::Api(status.boxed()).into())
}

impl WatchLines {
    /// The next event; absent at the end. A line that is too long or cannot be parsed is skipped.
    pub(super) async fn next(&mut self) -> Result<Option<WatchEvent<PodJson>>, WatchError> {
        loop {
            let newline = self
                .buffer
                .iter()
                .skip(self.scanned)
                .position(|byte| *byte == b'\n');
            if let Some(newline) = newline {
                let rest = self.buffer.split_off(self.scanned + newline + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                self.scanned = 0;
                if std::mem::take(&mut self.is_skipping) {
                    continue;
                }
                match serde_json::from_slice(&line) {
                    Ok(event) => return Ok(Some(event)),
                    Err(error) => warn!(%error, "skipped a pod that cannot be parsed"),
                }
                continue;
            }
            self.scanned = self.buffer.len();
            if self.buffer.len() > LINE_BYTES_MAX {
                if !self.is_skipping {
                    warn!("skipped a pod that is too large");
                }
                self.is_skipping = true;
                self.buffer = Vec::new();
                self.scanned = 0;
            }
            match self.body.try_next().await? {
                Some(data) => self.buffer.extend_from_slice(&data),
                None => return Ok(None),
            }
        }
    }
}
