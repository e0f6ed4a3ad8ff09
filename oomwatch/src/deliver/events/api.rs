//! Requests to the API server, each with an answer: an error is one too.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request as HttpRequest, header};
use http_body_util::{BodyExt as _, Limited};
use kube::{Client, client::Body};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::timeout;
use tracing::debug;

use super::{
    answer::{Answer, Cause, Method, Refusal, classify_response},
    bucket::SECOND_NS,
    name::is_subdomain,
    notice::Object,
    object::Event,
    record::NodeUid,
};
use crate::deliver::events::queue::Request;
use crate::sys::{clock, error_chain::error_chain, escape::escape};

/// More than any answer to us: what comes behind is not read.
const MAX_BODY_BYTES: usize = 1 << 20;
/// Of an error's text this much is logged.
const MAX_LOGGED_BYTES: usize = 256;
/// An Event of the node does not wait longer for the node's UID.
const NODE_TIMEOUT: Duration = Duration::from_secs(2);
/// A node can be deleted and made anew.
const NODE_MAX_AGE_NS: u64 = 600 * SECOND_NS;
/// For managed fields the API server takes what stands before the slash.
const USER_AGENT: &str = concat!("oomwatch/", env!("CARGO_PKG_VERSION"));
/// Names and UID of an object without the rest of it, which for a node is much.
const METADATA_ALONE: &str =
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json";

/// The API server.
pub(super) struct Api {
    client: Client,
    /// The node's name.
    node: String,
    node_uid: NodeUid,
    /// For each request.
    request_timeout: Duration,
    known: Mutex<Known>,
}

/// What is known of the node's UID, and when it was asked for.
#[derive(Default)]
struct Known {
    uid: Option<String>,
    answered_ns: Option<u64>,
}

/// An answer as it came.
struct Raw {
    status: u16,
    retry_after: Option<String>,
    body: Vec<u8>,
}

#[derive(Deserialize)]
struct Named {
    metadata: NamedMetadata,
}

#[derive(Deserialize)]
struct NamedMetadata {
    uid: String,
}

impl Known {
    fn is_recent(&self) -> bool {
        let now_ns = clock::since_boot_ns();
        let answered = self.answered_ns;
        answered.is_some_and(|answered| now_ns.saturating_sub(answered) < NODE_MAX_AGE_NS)
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
            known: Mutex::default(),
        }
    }

    /// Writes an Event.
    pub(super) async fn write(&self, request: Request) -> Answer {
        let Request {
            object,
            method,
            mut event,
        } = request;
        let uid = match (object, method) {
            (Object::Node, Method::Create) => self.node_uid().await,
            (Object::Node, Method::Count) | (Object::Pod, _) => None,
        };
        if uid.is_some() {
            event.involved_object.uid = uid;
        }
        let Some(request) = to_http(method, &event) else {
            return Answer::Refused(Refusal::Invalid);
        };
        let name = &event.metadata.name;
        match self.send(request, self.request_timeout).await {
            Ok(raw) => {
                let answer =
                    classify_response(method, raw.status, raw.retry_after.as_deref(), &raw.body);
                if answer == Answer::Accepted {
                    debug!(event = name, ?method, "recorded");
                } else {
                    let body = raw.body.get(..MAX_LOGGED_BYTES).unwrap_or(&raw.body);
                    let (status, body) = (raw.status, escape(body));
                    debug!(event = name, ?method, status, body, ?answer, "not recorded");
                }
                answer
            }
            Err(error) => {
                debug!(event = name, ?method, %error, "no answer");
                let (cause, after) = (Cause::Unreachable, None);
                Answer::Later { cause, after }
            }
        }
    }

    /// The UID of the node, without which `kubectl describe node` does not show its Events; absent if it cannot be had.
    pub(super) async fn node_uid(&self) -> Option<String> {
        if self.node_uid == NodeUid::Name {
            return Some(self.node.clone());
        }
        if !self.known.lock().is_recent() {
            self.ask_for_node().await;
        }
        self.known.lock().uid.clone()
    }

    async fn ask_for_node(&self) {
        if !is_subdomain(&self.node) {
            return;
        }
        let request = HttpRequest::get(format!("/api/v1/nodes/{}", self.node))
            .header(header::ACCEPT, METADATA_ALONE)
            .header(header::USER_AGENT, USER_AGENT)
            .body(Body::empty());
        let Ok(request) = request else { return };
        let raw = match self.send(request, NODE_TIMEOUT).await {
            Ok(raw) => raw,
            Err(error) => return debug!(%error, "ask for the node's UID"),
        };
        let mut known = self.known.lock();
        match raw.status {
            200 => match serde_json::from_slice::<Named>(&raw.body) {
                Ok(named) => known.uid = Some(named.metadata.uid),
                Err(error) => return debug!(%error, "read the node's UID"),
            },
            404 => known.uid = None,
            401 | 403 => debug!(status = raw.status, "the node's UID is not told"),
            status => return debug!(status, "ask for the node's UID"),
        }
        known.answered_ns = Some(clock::since_boot_ns());
    }

    async fn send(&self, request: HttpRequest<Body>, patience: Duration) -> Result<Raw, String> {
        let answered = async {
            let response = self.client.send(request).await;
            let (head, body) = response.map_err(|error| error_chain(&error))?.into_parts();
            let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
            let body = body
                .map_err(|error| error_chain(&*error))?
                .to_bytes()
                .to_vec();
            Ok(Raw {
                status: head.status.as_u16(),
                retry_after: retry_after(&head.headers),
                body,
            })
        };
        timeout(patience, answered)
            .await
            .unwrap_or_else(|_| Err("timed out".to_owned()))
    }
}

/// The request for an Event; none can be made if the pod's namespace is none that Kubernetes allows.
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
        Method::Count => (
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
