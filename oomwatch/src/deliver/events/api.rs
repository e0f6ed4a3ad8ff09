//! Sends requests to the API server over HTTP. Every request has a [`Response`]; so has a transport error.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request as HttpRequest, header};
use http_body_util::{BodyExt as _, Limited};
use kube::{Client, client::Body};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{
    bucket::{Bucket, Rate, SECOND_NS},
    name::is_subdomain,
    object::Event,
    pending_event::Request,
    record::NodeUid,
    response::{Cause, Method, Refusal, Response, classify_response},
    stats::Object,
};
use crate::{
    identify::kubernetes::USER_AGENT,
    sys::{clock, error_chain::error_chain, escape::escape},
};

/// Maximum size of a response body; larger than any that is expected.
const MAX_BODY_BYTES: usize = 1 << 20;
/// Maximum length of a logged response body.
const MAX_LOGGED_BYTES: usize = 512;
/// Timeout for reading the node's UID, which an Event on the node waits for.
const NODE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a UID is cached. A Node object can be deleted and created again.
const NODE_UID_MAX_AGE_NS: u64 = 600 * SECOND_NS;
/// Maximum rate of warnings about refused requests.
const REFUSAL_LOG: Rate = Rate {
    per_second: 1.0 / 15.0,
    burst: 20.0,
};
/// Requests only the metadata of an object, because a Node object is large.
const METADATA_ONLY: &str =
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json";

/// A client of the API server.
pub(super) struct Api {
    client: Client,
    /// The node's name.
    node: String,
    node_uid: NodeUid,
    request_timeout: Duration,
    cached_uid: Mutex<CachedUid>,
    refusal_log: Mutex<Bucket>,
}

/// The UID of the Node object.
#[derive(Default)]
struct CachedUid {
    /// Absent if the node does not exist or must not be read.
    uid: Option<String>,
    /// Time of the last response, in nanoseconds since boot.
    read_ns: Option<u64>,
}

/// A response that is not classified yet.
struct RawResponse {
    status: u16,
    retry_after: Option<String>,
    body: Vec<u8>,
}

#[derive(Deserialize)]
struct PartialObject {
    metadata: PartialMetadata,
}

#[derive(Deserialize)]
struct PartialMetadata {
    uid: String,
}

impl CachedUid {
    fn is_fresh(&self) -> bool {
        let now_ns = clock::since_boot_ns();
        self.read_ns
            .is_some_and(|read_ns| now_ns.saturating_sub(read_ns) < NODE_UID_MAX_AGE_NS)
    }
}

impl Api {
    pub(super) fn new(
        client: Client,
        node: String,
        node_uid: NodeUid,
        request_timeout: Duration,
    ) -> Self {
        Self {
            client,
            node,
            node_uid,
            request_timeout,
            cached_uid: Mutex::default(),
            refusal_log: Mutex::new(Bucket::full(REFUSAL_LOG, clock::since_boot_ns())),
        }
    }

    /// Creates an Event or updates its count.
    pub(super) async fn write(&self, request: Request) -> Response {
        let Request {
            object,
            method,
            mut event,
        } = request;
        let uid = match (object, method) {
            (Object::Node, Method::Create) => self.node_uid().await,
            (Object::Node, Method::Patch) | (Object::Pod, _) => None,
        };
        if uid.is_some() {
            event.involved_object.uid = uid;
        }
        let Some(request) = to_http(method, &event) else {
            return Response::Refused(Refusal::Invalid);
        };
        let name = &event.metadata.name;
        match self.send(request, self.request_timeout).await {
            Ok(raw) => {
                let response =
                    classify_response(method, raw.status, raw.retry_after.as_deref(), &raw.body);
                if response == Response::Accepted {
                    debug!(event = name, ?method, "the API server accepted an Event");
                } else {
                    self.log_response(&event, &raw, &response);
                }
                response
            }
            Err(error) => {
                debug!(event = name, ?method, %error, "failed to send an Event");
                Response::RetryLater {
                    cause: Cause::Unreachable,
                    retry_after: None,
                }
            }
        }
    }

    /// Logs a response other than `Accepted`: a refusal as a warning, with the server's reason and the object.
    fn log_response(&self, event: &Event, raw: &RawResponse, response: &Response) {
        let (status, reason) = (raw.status, reason(&raw.body));
        let about = escape(event.about().as_bytes());
        let name = &event.metadata.name;
        let is_refusal = match response {
            Response::Refused(_) => true,
            Response::RetryLater { cause, .. } => {
                matches!(cause, Cause::Forbidden | Cause::Unauthorized)
            }
            Response::Accepted | Response::AlreadyExists | Response::NotFound => false,
        };
        let now_ns = clock::since_boot_ns();
        if is_refusal && self.refusal_log.lock().try_take(REFUSAL_LOG, now_ns) {
            let is_retried = matches!(response, Response::RetryLater { .. });
            warn!(
                about,
                event = name,
                status,
                reason,
                is_retried,
                "the API server refused an Event"
            );
        } else {
            debug!(
                about,
                event = name,
                status,
                reason,
                ?response,
                "the API server did not accept an Event"
            );
        }
    }

    /// The value that stands for the node's UID ([`NodeUid`]); absent if it cannot be read.
    pub(super) async fn node_uid(&self) -> Option<String> {
        if self.node_uid == NodeUid::Name {
            return Some(self.node.clone());
        }
        if !self.cached_uid.lock().is_fresh() {
            self.read_node_uid().await;
        }
        self.cached_uid.lock().uid.clone()
    }

    async fn read_node_uid(&self) {
        if !is_subdomain(&self.node) {
            return;
        }
        let request = HttpRequest::get(format!("/api/v1/nodes/{}", self.node))
            .header(header::ACCEPT, METADATA_ONLY)
            .header(header::USER_AGENT, USER_AGENT)
            .body(Body::empty());
        let Ok(request) = request else { return };
        let raw = match self.send(request, NODE_TIMEOUT).await {
            Ok(raw) => raw,
            Err(error) => return debug!(%error, "failed to read the node's UID"),
        };
        let mut cached = self.cached_uid.lock();
        match raw.status {
            200 => match serde_json::from_slice::<PartialObject>(&raw.body) {
                Ok(node) => cached.uid = Some(node.metadata.uid),
                Err(error) => return debug!(%error, "failed to parse the Node object"),
            },
            404 => cached.uid = None,
            401 | 403 => debug!(status = raw.status, "no permission to read the node's UID"),
            status => return debug!(status, "failed to read the node's UID"),
        }
        cached.read_ns = Some(clock::since_boot_ns());
    }

    async fn send(
        &self,
        request: HttpRequest<Body>,
        time_limit: Duration,
    ) -> Result<RawResponse, String> {
        let response = async {
            let response = self.client.send(request).await;
            let (head, body) = response.map_err(|error| error_chain(&error))?.into_parts();
            let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
            let body = body
                .map_err(|error| error_chain(&*error))?
                .to_bytes()
                .to_vec();
            Ok(RawResponse {
                status: head.status.as_u16(),
                retry_after: retry_after(&head.headers),
                body,
            })
        };
        timeout(time_limit, response)
            .await
            .unwrap_or_else(|_| Err("timed out".to_owned()))
    }
}

/// The message of a response that is a `metav1.Status`, else its first bytes.
fn reason(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Status {
        message: String,
    }
    let status = serde_json::from_slice::<Status>(body);
    let text = status.map_or_else(|_| body.to_vec(), |status| status.message.into_bytes());
    escape(text.get(..MAX_LOGGED_BYTES).unwrap_or(&text))
}

/// The HTTP request for an Event; absent if the namespace or the name is not a valid one.
fn to_http(method: Method, event: &Event) -> Option<HttpRequest<Body>> {
    let (namespace, name) = (&event.metadata.namespace, &event.metadata.name);
    if !is_subdomain(namespace) || !is_subdomain(name) {
        return None;
    }
    let events = format!("/api/v1/namespaces/{namespace}/events");
    let (request, kind, body) = match method {
        Method::Create => (
            HttpRequest::post(events),
            "application/json",
            event.to_create(),
        ),
        Method::Patch => (
            HttpRequest::patch(format!("{events}/{name}")),
            "application/strategic-merge-patch+json",
            event.to_patch(),
        ),
    };
    request
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, kind)
        .header(header::USER_AGENT, USER_AGENT)
        .body(Body::from(body))
        .ok()
}

fn retry_after(headers: &HeaderMap<HeaderValue>) -> Option<String> {
    let value = headers.get(header::RETRY_AFTER)?;
    value.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_is_the_servers_message_and_harmless() {
        let status = br#"{"kind":"Status","message":"denied by policy \u001b[31m"}"#;
        for (body, expected) in [
            (&status[..], r"denied by policy \x1b[31m"),
            (b"<html>\n", r"<html>\x0a"),
            (b"", ""),
        ] {
            assert_eq!(reason(body), expected);
        }
        assert!(reason(&[b'x'; 5000]).len() <= MAX_LOGGED_BYTES);
    }
}
