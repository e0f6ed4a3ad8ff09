//! Watches the node's pods in the Kubernetes API and puts them into the directory.
//!
//! A watch from version `0` begins with all existing pods, one at a time, from the API server's cache: it replaces a list, needs
//! no read of etcd, and holds one pod in memory at a time. It does not say which earlier pods were deleted meanwhile. The first
//! bookmark follows the existing pods, so it ends the listing; after it, an interrupted watch resumes at its last version.
//! (Kubernetes, "API Concepts": semantics of `resourceVersion` for watch, watch bookmarks.)

mod pod;
mod quantity;
#[cfg(test)]
mod tests;

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::TryStreamExt as _;
use http::{HeaderValue, Request as HttpRequest, header};
use kube::{
    Client,
    api::{WatchEvent, WatchParams},
    core::Request,
};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use self::pod::PodJson;
use crate::{
    identify::{
        backoff::Backoff,
        directory::{Directory, WatchState},
        resolution::Query,
        shared::Shared,
    },
    sys::error_chain::error_chain,
};

/// The `User-Agent` of every request. The API server names the field manager after the part before the slash.
pub(crate) const USER_AGENT: &str = concat!("oomwatch/", env!("CARGO_PKG_VERSION"));

/// How long the server is asked to keep a watch open.
const WATCH_SECONDS: u32 = 290;
/// How long the server may send nothing. A server that sends bookmarks does so every minute.
const IDLE_TIMEOUT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);
const BOOKMARK_IDLE_TIMEOUT: Duration = Duration::from_secs(150);
/// How long the server may take to start its response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// A watch that lasted this long resets the delay between retries.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// The HTTP status for a resource version that has expired.
const GONE: u16 = 410;

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

/// A watch that ended before its time limit.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error(transparent)]
    Client(#[from] kube::Error),
    #[error(transparent)]
    Request(#[from] kube::core::request::Error),
    #[error("the API server responded with {code} {message}")]
    Status { code: u16, message: String },
    #[error("the API server does not respond")]
    Timeout,
}

impl WatchError {
    /// The error with its causes; a status of the API server in the server's words.
    fn describe(&self) -> String {
        match self {
            Self::Client(kube::Error::Api(status)) => {
                format!(
                    "the API server responded with {} {}",
                    status.code, status.message
                )
            }
            error => error_chain(error),
        }
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
    let request = watch_request(node, cursor.version())?;
    let events = timeout(RESPONSE_TIMEOUT, client.request_events::<PodJson>(request));
    let mut events = pin!(events.await.map_err(|_| WatchError::Timeout)??);
    shared.update(|directory| {
        directory.set_watch(WatchState::Up);
        cursor.begin(directory);
    });
    if *is_down_logged {
        info!(node, "the watch of the node's pods is up again");
        *is_down_logged = false;
    }
    loop {
        let event = match timeout(cursor.silence(), events.try_next()).await {
            Err(_) => return Err(WatchError::Timeout),
            Ok(Ok(Some(event))) => event,
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(kube::Error::SerdeError(error))) => {
                warn!(%error, "skipped a pod that cannot be parsed");
                continue;
            }
            Ok(Err(error)) => return Err(error.into()),
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

/// The watch of a node's pods from a version.
fn watch_request(node: &str, version: &str) -> Result<HttpRequest<Vec<u8>>, WatchError> {
    let params = WatchParams::default()
        .fields(&format!("spec.nodeName={node}"))
        .timeout(WATCH_SECONDS);
    let mut request = Request::new("/api/v1/pods").watch(&params, version)?;
    let user_agent = HeaderValue::from_static(USER_AGENT);
    request.headers_mut().insert(header::USER_AGENT, user_agent);
    Ok(request)
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
    /// The version to resume from: known after the first bookmark, which ends the listing.
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
            BOOKMARK_IDLE_TIMEOUT
        } else {
            IDLE_TIMEOUT
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
                let pod = pod.into_object();
                let name = pod.name.clone();
                if !directory.insert_pod(pod, now) && !self.is_full_logged {
                    self.is_full_logged = true;
                    warn!(pod = %name, "there are too many pods, or too large ones; this and further pods are named by the other sources");
                }
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
                if self.resume.is_none() {
                    directory.end_pod_listing(now);
                }
                self.resume = Some(bookmark.metadata.resource_version);
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
            WatchError::Client(_) | WatchError::Request(_) | WatchError::Timeout => false,
        };
        if is_about_version {
            self.resume = None;
        }
    }
}
