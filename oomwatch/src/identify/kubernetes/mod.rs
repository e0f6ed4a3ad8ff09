//! Watches the node's pods in the Kubernetes API and puts them into the directory.
//!
//! A watch begins with all existing pods, one at a time, from the API server's cache, and then a bookmark that says so
//! (`sendInitialEvents`): it replaces a list, needs no read of etcd, and holds one pod in memory at a time. A server that does not
//! have this answers 422; then the pods are listed, a few at a time, before the watch. The watch is up when these pods have
//! arrived. It does not say which earlier pods were deleted meanwhile: those that are not among them are removed. An
//! interrupted watch resumes at its last version. (Kubernetes, "API Concepts": streaming lists, watch bookmarks.)

mod error;
mod pod;
mod quantity;
mod response;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Request as HttpRequest, header};
use kube::{
    Client,
    api::{ListParams, WatchEvent, WatchParams},
    core::Request,
};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use self::{error::WatchError, pod::PodJson, response::WatchLines};
use crate::identify::{
    backoff::Backoff,
    directory::{Directory, WatchState},
    resolution::Query,
    shared::Shared,
};

/// The `User-Agent` of every request. The API server names the field manager after the part before the slash.
pub(crate) const USER_AGENT: &str = concat!("oomwatch/", env!("CARGO_PKG_VERSION"));

/// How long the server is asked to keep a watch open.
const WATCH_SECONDS: u32 = 290;
/// How long the server may send nothing. It sends bookmarks every minute.
const IDLE_TIMEOUT: Duration = Duration::from_secs(150);
/// How long the server may take to start its response, and for each of the existing pods.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// The path of all pods.
const PODS: &str = "/api/v1/pods";
/// How many pods are listed at a time.
const PAGE: u32 = 20;
/// A watch that lasted this long resets the delay between retries.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// The HTTP status for a resource version that has expired.
const GONE: u16 = 410;
/// The HTTP status of a server that does not have `sendInitialEvents`.
const UNPROCESSABLE: u16 = 422;
/// The annotation of the bookmark after the existing pods.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Watches the pods of a node; never returns.
pub(super) async fn watch_pods(client: Client, node: String, shared: Arc<Shared>) {
    let mut cursor = WatchCursor::default();
    let mut backoff = Backoff::new();
    let mut is_down_logged = false;
    loop {
        let began = Instant::now();
        let ended = watch_once(&client, &node, &mut cursor, &shared, &mut is_down_logged).await;
        if began.elapsed() >= HEALTHY_AFTER {
            backoff.reset();
        }
        match ended {
            Ok(()) => debug!(node, "the watch of the pods reached its time limit"),
            Err(error) => {
                cursor.on_error(&error);
                shared.update(|directory| directory.set_watch(WatchState::Down));
                let error = error.describe();
                if is_down_logged {
                    debug!(error, node, "failed to watch the node's pods");
                } else {
                    warn!(
                        error,
                        node,
                        "failed to watch the node's pods; kills are named by the other sources"
                    );
                    is_down_logged = true;
                }
            }
        }
        sleep(backoff.next()).await;
    }
}

/// Runs one watch until it ends.
async fn watch_once(
    client: &Client,
    node: &str,
    cursor: &mut WatchCursor,
    shared: &Shared,
    is_down_logged: &mut bool,
) -> Result<(), WatchError> {
    let mut lines = begin(client, node, cursor, shared).await?;
    let mut is_up = false;
    loop {
        if cursor.resume.is_some() && !is_up {
            is_up = true;
            shared.update(|directory| directory.set_watch(WatchState::Up));
            if std::mem::take(is_down_logged) {
                info!(node, "the watch of the node's pods is up again");
            }
        }
        let event = match timeout(cursor.silence(), lines.next()).await {
            Err(_) => return Err(WatchError::Timeout),
            Ok(Ok(Some(event))) => event,
            Ok(Ok(None)) if is_up => return Ok(()),
            Ok(Ok(None)) => return Err(WatchError::Incomplete),
            Ok(Err(error)) => return Err(error),
        };
        let without_init_pid = shared.update(|directory| {
            cursor.handle(event, directory, Instant::now())?;
            Ok::<_, WatchError>(directory.containers_without_init_pid())
        })?;
        for id in without_init_pid {
            shared.add_query(Query::CriContainer(id));
        }
    }
}

/// Begins a watch: from the cursor's version, or with all pods, which are listed if the server does not send them.
async fn begin(
    client: &Client,
    node: &str,
    cursor: &mut WatchCursor,
    shared: &Shared,
) -> Result<WatchLines, WatchError> {
    let params = WatchParams::default()
        .fields(&format!("spec.nodeName={node}"))
        .timeout(WATCH_SECONDS);
    if cursor.resume.is_none() {
        shared.update(|directory| cursor.begin(directory));
        match open(client, &params.clone().initial_events(), "0").await {
            Err(WatchError::Client(kube::Error::Api(status))) if status.code == UNPROCESSABLE => {
                debug!(
                    node,
                    "the API server does not send existing pods, listing them"
                );
                list(client, node, cursor, shared).await?;
            }
            opened => {
                let lines = opened?;
                shared.update(|directory| directory.set_watch(WatchState::Listing));
                return Ok(lines);
            }
        }
    }
    open(client, &params, cursor.version()).await
}

async fn open(
    client: &Client,
    params: &WatchParams,
    version: &str,
) -> Result<WatchLines, WatchError> {
    let request = with_user_agent(Request::new(PODS).watch(params, version)?);
    let opened = timeout(RESPONSE_TIMEOUT, response::watch(client, request)).await;
    opened.map_err(|_| WatchError::Timeout)?
}

/// Lists the node's pods into the directory, and lets the cursor begin where the list ends.
async fn list(
    client: &Client,
    node: &str,
    cursor: &mut WatchCursor,
    shared: &Shared,
) -> Result<(), WatchError> {
    let mut params = ListParams::default()
        .fields(&format!("spec.nodeName={node}"))
        .limit(PAGE);
    loop {
        let request = with_user_agent(Request::new(PODS).list(&params)?);
        let page = timeout(RESPONSE_TIMEOUT, response::page(client, request)).await;
        let page = page.map_err(|_| WatchError::Timeout)??;
        shared.update(|directory| {
            directory.set_watch(WatchState::Listing);
            for pod in page.items {
                match serde_json::from_value(pod) {
                    Ok(pod) => cursor.insert(pod, directory, Instant::now()),
                    Err(error) => warn!(%error, "skipped a pod that cannot be parsed"),
                }
            }
        });
        if page.metadata.next.is_empty() {
            let version = page.metadata.resource_version;
            shared.update(|directory| cursor.end_listing(version, directory, Instant::now()));
            return Ok(());
        }
        params = params.continue_token(&page.metadata.next);
    }
}

/// States who asks: kube's own requests have the header, raw ones do not.
fn with_user_agent(mut request: HttpRequest<Vec<u8>>) -> HttpRequest<Vec<u8>> {
    let user_agent = HeaderValue::from_static(USER_AGENT);
    request.headers_mut().insert(header::USER_AGENT, user_agent);
    request
}

/// Handles the events of one recorded watch, one per line; malformed lines are skipped.
pub(super) fn replay(lines: &[u8], directory: &mut Directory, now: Instant) {
    let mut cursor = WatchCursor::default();
    cursor.begin(directory);
    for line in lines.split(|&byte| byte == b'\n') {
        let Ok(event) = serde_json::from_slice(line) else {
            continue;
        };
        if let Err(error) = cursor.handle(event, directory, now) {
            cursor.on_error(&error);
        }
    }
}

/// The position of the watch in the history of the pods.
#[derive(Debug, Default)]
struct WatchCursor {
    /// The version to resume from: known when all existing pods have arrived.
    resume: Option<String>,
    /// Whether the log has the warning that there are too many pods: one is enough, whatever a tenant creates.
    is_full_logged: bool,
}

impl WatchCursor {
    fn version(&self) -> &str {
        self.resume.as_deref().unwrap_or("0")
    }

    fn silence(&self) -> Duration {
        if self.resume.is_some() {
            IDLE_TIMEOUT
        } else {
            RESPONSE_TIMEOUT
        }
    }

    /// Begins a watch from [`WatchCursor::version`].
    fn begin(&self, directory: &mut Directory) {
        if self.resume.is_none() {
            directory.begin_pod_listing();
        }
    }

    fn handle(
        &mut self,
        event: WatchEvent<PodJson>,
        directory: &mut Directory,
        now: Instant,
    ) -> Result<(), WatchError> {
        match event {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                self.advance(pod.resource_version());
                self.insert(pod, directory, now);
            }
            WatchEvent::Deleted(pod) => {
                self.advance(pod.resource_version());
                let pod = pod.into_object();
                let uid = pod.uid.clone();
                // The last status may have an id that is not known yet.
                directory.insert_pod(pod, now);
                directory.remove_pod(&uid, now);
            }
            WatchEvent::Bookmark(bookmark) => {
                let metadata = bookmark.metadata;
                let is_end = metadata.annotations.get(INITIAL_EVENTS_END);
                if self.resume.is_some() {
                    self.resume = Some(metadata.resource_version);
                } else if is_end.is_some_and(|is_end| is_end == "true") {
                    self.end_listing(metadata.resource_version, directory, now);
                }
            }
            WatchEvent::Error(status) => {
                return Err(WatchError::Status {
                    code: status.code,
                    message: status.message,
                });
            }
        }
        Ok(())
    }

    fn insert(&mut self, pod: PodJson, directory: &mut Directory, now: Instant) {
        let pod = pod.into_object();
        let name = pod.name.clone();
        if !directory.insert_pod(pod, now) && !self.is_full_logged {
            self.is_full_logged = true;
            warn!(pod = %name, "there are too many pods, or too large ones; this and further pods are named by the other sources");
        }
    }

    /// Ends the listing: these are all pods at this version.
    fn end_listing(&mut self, version: String, directory: &mut Directory, now: Instant) {
        directory.end_pod_listing(now);
        self.resume = Some(version);
    }

    fn advance(&mut self, version: Option<&str>) {
        if let (Some(resume), Some(version)) = (&mut self.resume, version) {
            version.clone_into(resume);
        }
    }

    /// Starts over with a listing if the error concerns the version.
    fn on_error(&mut self, error: &WatchError) {
        let is_about_version = match error {
            WatchError::Client(kube::Error::Api(status)) => status.code == GONE,
            WatchError::Status { .. } => true,
            WatchError::Client(_)
            | WatchError::Request(_)
            | WatchError::Timeout
            | WatchError::Body(_)
            | WatchError::Incomplete => false,
        };
        if is_about_version {
            self.resume = None;
        }
    }
}
