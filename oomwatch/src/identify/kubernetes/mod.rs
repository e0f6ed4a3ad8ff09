//! The node's pods from the Kubernetes API, into the directory: one watch, which never ends.
//!
//! A watch from version `0` begins with all pods that there are, from the API server's own cache, one at a time: it is the
//! list, and neither a read of etcd nor ever more than one pod in memory. Which of those known before are gone it does not
//! tell; the first bookmark does, since it comes behind them all, and from then on an interrupted watch goes on where it was.
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
use kube::{
    Client,
    api::{WatchEvent, WatchParams},
    core::Request,
};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use self::pod::Pod;
use crate::{
    identify::{
        backoff::Backoff,
        directory::{Directory, Standing},
        shared::{Question, Shared},
    },
    sys::error_chain::error_chain,
};

/// How long the server keeps a watch open.
const WATCH_SECONDS: u32 = 290;
/// How long it may be silent. Where it sends bookmarks, it does so every minute.
const SILENCE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);
const SILENCE_WITH_BOOKMARKS: Duration = Duration::from_secs(150);
/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// A watch that lasted so long was none that failed.
const LASTED: Duration = Duration::from_secs(10);
/// HTTP's word for a version that is no longer known.
const GONE: u16 = 410;

/// Keeps the directory told of a node's pods, for good.
pub(super) async fn follow(client: Client, node: String, shared: Arc<Shared>) {
    let mut cursor = Cursor::default();
    let mut backoff = Backoff::new();
    let mut is_known_down = false;
    loop {
        let began = Instant::now();
        let ended = watch(&client, &node, &mut cursor, &shared, &mut is_known_down).await;
        if began.elapsed() >= LASTED {
            backoff.reset();
        }
        match ended {
            Ok(()) => debug!(node, "the watch of the pods has ended, as it does"),
            Err(error) => {
                cursor.failed(&error);
                shared.update(|directory| directory.set_kubernetes(Standing::Down));
                let error = error.told();
                if is_known_down {
                    debug!(error, node, "watch the node's pods");
                } else {
                    warn!(
                        error,
                        node, "watch the node's pods; kills are named by what else there is"
                    );
                    is_known_down = true;
                }
            }
        }
        sleep(backoff.next()).await;
    }
}

/// Why a watch ended before its time.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error(transparent)]
    Client(#[from] kube::Error),
    #[error(transparent)]
    Request(#[from] kube::core::request::Error),
    #[error("the server refused: {code} {message}")]
    Refused { code: u16, message: String },
    #[error("the server is silent")]
    Silent,
}

impl WatchError {
    /// With its causes; what the server answered is told as the server words it.
    fn told(&self) -> String {
        match self {
            Self::Client(kube::Error::Api(status)) => {
                format!("the server refused: {} {}", status.code, status.message)
            }
            error => error_chain(error),
        }
    }
}

/// One watch, until it ends.
async fn watch(
    client: &Client,
    node: &str,
    cursor: &mut Cursor,
    shared: &Shared,
    is_known_down: &mut bool,
) -> Result<(), WatchError> {
    let params = WatchParams::default()
        .fields(&format!("spec.nodeName={node}"))
        .timeout(WATCH_SECONDS);
    let request = Request::new("/api/v1/pods").watch(&params, cursor.version())?;
    let events = timeout(ANSWER, client.request_events::<Pod>(request));
    let mut events = pin!(events.await.map_err(|_| WatchError::Silent)??);
    shared.update(|directory| {
        directory.set_kubernetes(Standing::Up);
        cursor.begin(directory);
    });
    if *is_known_down {
        info!(node, "watching the node's pods again");
        *is_known_down = false;
    }
    loop {
        let event = match timeout(cursor.silence(), events.try_next()).await {
            Err(_) => return Err(WatchError::Silent),
            Ok(Ok(Some(event))) => event,
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(kube::Error::SerdeError(error))) => {
                warn!(%error, "leave out a pod that cannot be read");
                continue;
            }
            Ok(Err(error)) => return Err(error.into()),
        };
        let wanted = shared.update(|directory| {
            cursor.take(event, directory, Instant::now())?;
            Ok::<_, WatchError>(directory.wants_init_pid())
        })?;
        for id in wanted {
            shared.ask(Question::Container(id));
        }
    }
}

/// Takes what the server has sent in one watch, a line each; what is none is left out.
pub(super) fn read(lines: &[u8], directory: &mut Directory, now: Instant) {
    let mut cursor = Cursor::default();
    cursor.begin(directory);
    for line in lines.split(|&byte| byte == b'\n') {
        let Ok(event) = serde_json::from_slice(line) else {
            continue;
        };
        if let Err(error) = cursor.take(event, directory, now) {
            cursor.failed(&error);
        }
    }
}

/// Where the watch is in the history of the pods.
#[derive(Debug, Default)]
struct Cursor {
    /// The version to go on from: known once a bookmark said that all before it was told.
    resume: Option<String>,
    /// Whether it was said that there are too many pods: whoever makes them does not fill the log, too.
    is_full_told: bool,
}

impl Cursor {
    fn version(&self) -> &str {
        self.resume.as_deref().unwrap_or("0")
    }

    fn silence(&self) -> Duration {
        if self.resume.is_some() {
            SILENCE_WITH_BOOKMARKS
        } else {
            SILENCE
        }
    }

    /// A watch from [`Cursor::version`] has begun.
    fn begin(&self, directory: &mut Directory) {
        if self.resume.is_none() {
            directory.begin_pods();
        }
    }

    fn take(
        &mut self,
        event: WatchEvent<Pod>,
        directory: &mut Directory,
        now: Instant,
    ) -> Result<(), WatchError> {
        match event {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                self.pass(pod.resource_version());
                let pod = pod.into_facts();
                let name = pod.name.clone();
                if !directory.insert_pod(pod, now) && !self.is_full_told {
                    self.is_full_told = true;
                    warn!(pod = %name, "leave out pods: there are too many, or too large ones; this is the first");
                }
            }
            WatchEvent::Deleted(pod) => {
                self.pass(pod.resource_version());
                let pod = pod.into_facts();
                let uid = pod.uid.clone();
                // Its last status may have an id that is new.
                directory.insert_pod(pod, now);
                directory.remove_pod(&uid, now);
            }
            WatchEvent::Bookmark(bookmark) => {
                if self.resume.is_none() {
                    directory.end_pods(now);
                }
                self.resume = Some(bookmark.metadata.resource_version);
            }
            WatchEvent::Error(status) => {
                return Err(WatchError::Refused {
                    code: status.code,
                    message: status.message,
                });
            }
        }
        Ok(())
    }

    fn pass(&mut self, version: Option<&str>) {
        if let (Some(resume), Some(version)) = (&mut self.resume, version) {
            version.clone_into(resume);
        }
    }

    /// After an error that speaks of the version, all pods are asked for anew.
    fn failed(&mut self, error: &WatchError) {
        let is_of_version = match error {
            WatchError::Client(kube::Error::Api(status)) => status.code == GONE,
            WatchError::Refused { .. } => true,
            WatchError::Client(_) | WatchError::Request(_) | WatchError::Silent => false,
        };
        if is_of_version {
            self.resume = None;
        }
    }
}
