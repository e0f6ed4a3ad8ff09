//! Sends queries to the container runtimes, one at a time to each, and puts the replies into the directory.
//!
//! A runtime that is busy answers late. A call is not waited for longer than a short while, so that a container that it cannot
//! answer for delays no other; the query is repeated behind the others, for as long as a kill waits for a name.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bstr::ByteSlice as _;
use tracing::{debug, info, warn};

use crate::{
    identify::{
        cri::{self, CriClient, CriError, CriObject},
        directory::{Directory, Reply},
        docker::{self, DockerError, DockerObject},
        objects::RuntimeContainer,
        podman_storage,
        resolution::Query,
        shared::Shared,
        sockets::{self, SocketChoice},
    },
    model::cgroup::Runtime,
    sys::error_chain::error_chain,
};

/// From so many waiting queries on, all containers are listed instead.
const LISTING_MIN: usize = 8;
/// How long a query is repeated that a busy runtime does not answer: no kill waits for longer.
const RETRY_TIMEOUT: Duration = Duration::from_secs(15);
/// Most bytes read of `/proc/PID/cgroup`: it has a line for each hierarchy, with a path of at most 4 KiB.
const CGROUP_BYTES_MAX: u64 = 64 << 10;

/// Which runtimes to query, and when to list their containers.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// The CRI socket.
    pub cri: SocketChoice,
    /// Docker's socket.
    pub docker: SocketChoice,
    /// Podman's sockets: each names the containers of the user whose process listens there.
    pub podman: Vec<SocketChoice>,
    /// The host's `/proc`, to check that a first process is in its container.
    pub proc_root: PathBuf,
    /// When to list all containers.
    pub listing: Listing,
}

/// A socket that was named does not exist.
#[derive(Debug, thiserror::Error)]
#[error("{flag} {}: no such file; name the socket of a runtime on this host, auto, or off", path.display())]
pub struct MissingSocket {
    flag: &'static str,
    path: PathBuf,
}

impl RuntimeConfig {
    /// Checks that sockets which were named exist: a typing error would cost every name.
    pub fn check(&self) -> Result<(), MissingSocket> {
        let podman = self.podman.iter().map(|choice| ("--podman-socket", choice));
        for (flag, choice) in [
            ("--cri-socket", &self.cri),
            ("--docker-socket", &self.docker),
        ]
        .into_iter()
        .chain(podman)
        {
            if let SocketChoice::Path(path) = choice
                && !path.exists()
            {
                let path = path.clone();
                return Err(MissingSocket { flag, path });
            }
        }
        Ok(())
    }
}

/// When all containers are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// At the start: a container may be removed together with its kill.
    AtStart,
    /// Never: no runtime is connected to before a kill in a container.
    Never,
}

/// Answers queries; never returns.
pub(super) async fn serve(config: RuntimeConfig, shared: Arc<Shared>) {
    let mut worker = Worker {
        config: config.clone(),
        shared: shared.clone(),
        cri: None,
        is_down_logged: false,
    };
    let docker = DockerWorker { config, shared };
    tokio::join!(worker.serve(), docker.serve(), docker.serve_podman());
}

/// Why a call has no reply; it is logged.
#[derive(Clone, Copy)]
enum Failure {
    /// The runtime did not answer in time.
    Slow,
    /// It is unreachable, or answered with an error.
    Down,
}

struct Worker {
    config: RuntimeConfig,
    shared: Arc<Shared>,
    cri: Option<CriClient>,
    /// Whether the log has a warning that CRI is down.
    is_down_logged: bool,
}

impl Worker {
    async fn serve(&mut self) {
        if self.config.listing == Listing::AtStart {
            // A failure is logged already; containers are queried one by one then.
            let _ = self.list().await;
        }
        loop {
            let (query, since) = self.shared.next_cri_query().await;
            self.handle(query, since).await;
        }
    }

    async fn handle(&mut self, query: Query, since: Instant) {
        let queried_at = Instant::now();
        match query {
            Query::CriContainer(id) => {
                let others = self.shared.take_container_queries(LISTING_MIN);
                if others.is_empty() {
                    let reply = self.look_up_container(&id).await;
                    self.record_reply(Query::CriContainer(id), since, queried_at, reply);
                } else {
                    let listed = self.list().await;
                    for id in others.into_iter().chain([id]) {
                        let reply = match listed {
                            Ok(()) => Ok(self.shared.read(|all| all.reply_from_listing(&id))),
                            Err(failure) => Err(failure),
                        };
                        self.record_reply(Query::CriContainer(id), since, queried_at, reply);
                    }
                }
            }
            Query::CriPod(uid) => {
                let reply = self.look_up_pod(&uid).await;
                self.record_reply(Query::CriPod(uid), since, queried_at, reply);
            }
            Query::DockerContainer(_) | Query::PodmanContainer(_) => {}
        }
    }

    async fn look_up_container(&mut self, id: &str) -> Result<Reply, Failure> {
        let cri = self.connected_cri().await?;
        let reply = match cri.find(id).await {
            Ok(CriObject::Container(container, pid)) => {
                let container = with_init_pid(&self.config.proc_root, id, *container, pid);
                self.shared.update(|directory| {
                    directory.insert_container(id.to_owned(), container, Instant::now());
                });
                Reply::Found
            }
            Ok(CriObject::Sandbox(sandbox)) => {
                self.shared
                    .update(|directory| insert_sandboxes(directory, vec![sandbox]));
                Reply::Found
            }
            Ok(CriObject::NotFound) => Reply::NotFound,
            Err(error) => return Err(self.handle_error(&error)),
        };
        Ok(reply)
    }

    async fn look_up_pod(&mut self, uid: &str) -> Result<Reply, Failure> {
        let cri = self.connected_cri().await?;
        match cri.sandboxes_of(uid).await {
            Ok(sandboxes) if sandboxes.is_empty() => Ok(Reply::NotFound),
            Ok(sandboxes) => {
                self.shared
                    .update(|directory| insert_sandboxes(directory, sandboxes));
                Ok(Reply::Found)
            }
            Err(error) => Err(self.handle_error(&error)),
        }
    }

    /// Lists all containers and sandboxes into the directory.
    async fn list(&mut self) -> Result<(), Failure> {
        let cri = self.connected_cri().await?;
        let listed = async { Ok((cri.sandboxes().await?, cri.containers().await?)) };
        let (sandboxes, containers) = listed.await.map_err(|error| self.handle_error(&error))?;
        let now = Instant::now();
        self.shared.update(|directory| {
            directory.begin_runtime_listing();
            insert_sandboxes(directory, sandboxes);
            for (id, container) in containers {
                directory.insert_container(id, container, now);
            }
            directory.end_runtime_listing(now);
        });
        Ok(())
    }

    /// The connection, made if there is none.
    async fn connected_cri(&mut self) -> Result<&mut CriClient, Failure> {
        if self.cri.is_none() {
            self.connect().await?;
        }
        self.cri.as_mut().ok_or(Failure::Down)
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        let sockets = self.config.cri.candidates(&sockets::CRI, Path::new("/"));
        let mut last = None;
        for socket in sockets {
            match CriClient::connect(&socket).await {
                Ok((cri, runtime)) => {
                    info!(socket = %socket.display(), "connected to the container runtime's CRI socket");
                    self.cri = Some(cri);
                    self.is_down_logged = false;
                    self.shared
                        .update(|directory| directory.set_cri_up(runtime));
                    return Ok(());
                }
                Err(error) => last = Some((socket, error)),
            }
        }
        let is_slow = matches!(&last, Some((_, error)) if error.is_slow());
        if let Some((socket, error)) = last
            && !self.is_down_logged
        {
            self.is_down_logged = true;
            let error = error_chain(&error);
            warn!(
                error,
                socket = %socket.display(),
                "failed to connect to the CRI socket; containers are named by the other sources"
            );
        }
        if is_slow {
            return Err(Failure::Slow);
        }
        self.set_down();
        Err(Failure::Down)
    }

    fn set_down(&self) {
        self.shared
            .update(|directory| directory.set_cri_down(Instant::now()));
    }

    /// Logs a failed call. If the runtime is unreachable, the next query connects again.
    fn handle_error(&mut self, error: &CriError) -> Failure {
        debug!(error = error_chain(error), "CRI call failed");
        if error.is_slow() {
            return Failure::Slow;
        }
        if error.is_unreachable() {
            self.cri = None;
            self.set_down();
        }
        Failure::Down
    }

    /// Records the reply to a query first made at `since`, or repeats the query.
    fn record_reply(
        &self,
        query: Query,
        since: Instant,
        queried_at: Instant,
        reply: Result<Reply, Failure>,
    ) {
        let (Query::CriContainer(key) | Query::CriPod(key)) = &query else {
            return;
        };
        let reply = match reply {
            Ok(reply) => reply,
            Err(Failure::Slow) if since.elapsed() < RETRY_TIMEOUT => {
                return self.shared.retry_query(query, since);
            }
            Err(Failure::Slow) => {
                self.set_down();
                Reply::Failed
            }
            Err(Failure::Down) => Reply::Failed,
        };
        self.shared
            .update(|directory| directory.record_cri_reply(key, queried_at, reply));
    }
}

/// Queries Docker, and Podman, which speaks its API.
struct DockerWorker {
    config: RuntimeConfig,
    shared: Arc<Shared>,
}

impl DockerWorker {
    async fn serve(&self) {
        loop {
            let (query, since) = self.shared.next_docker_query().await;
            if let Query::DockerContainer(id) = query {
                self.look_up(&id, since).await;
            }
        }
    }

    async fn look_up(&self, id: &str, since: Instant) {
        let queried_at = Instant::now();
        let choice = &self.config.docker;
        let sockets = choice.candidates(&[sockets::DOCKER], Path::new("/"));
        let found = match sockets.first() {
            Some(socket) => docker::find(socket, id, None).await,
            None => {
                return self.shared.update(|directory| {
                    directory.set_docker_down(queried_at);
                    directory.record_docker_reply(Runtime::Docker, id, queried_at, Reply::Failed);
                });
            }
        };
        let now = Instant::now();
        let reply = match found {
            Ok(DockerObject::Container(container, pid)) => {
                let container = with_init_pid(&self.config.proc_root, id, *container, pid);
                self.shared
                    .update(|directory| directory.insert_container(id.to_owned(), container, now));
                Reply::Found
            }
            Ok(DockerObject::Sandbox(uid, name)) => {
                self.shared
                    .update(|directory| directory.insert_sandbox(id.to_owned(), uid, name, now));
                Reply::Found
            }
            Ok(DockerObject::NotFound) => Reply::NotFound,
            Err(DockerError::Timeout) if since.elapsed() < RETRY_TIMEOUT => {
                let query = Query::DockerContainer(id.to_owned());
                return self.shared.retry_query(query, since);
            }
            Err(error) => {
                let error = error_chain(&error);
                debug!(error, id, "failed to query Docker for a container");
                self.shared
                    .update(|directory| directory.set_docker_down(now));
                Reply::Failed
            }
        };
        self.shared.update(|directory| {
            directory.record_docker_reply(Runtime::Docker, id, queried_at, reply);
        });
    }

    async fn serve_podman(&self) {
        loop {
            let (query, since) = self.shared.next_podman_query().await;
            if let Query::PodmanContainer(key) = query {
                self.look_up_podman(&key, since).await;
            }
        }
    }

    /// Only a process of the container's own user may name it: a user's Podman answers what he likes.
    async fn look_up_podman(&self, key: &str, since: Instant) {
        let queried_at = Instant::now();
        let (user, id) = key.split_once('/').unwrap_or(("0", key));
        let choices = self.config.podman.iter();
        let sockets =
            choices.flat_map(|choice| choice.candidates(&[sockets::PODMAN], Path::new("/")));
        let mut reply = Reply::NotFound;
        // It is named at once; the socket also knows its first process and exit code.
        if user == "0"
            && let Some(container) = podman_storage::find(Path::new("/"), id)
        {
            self.shared.update(|directory| {
                directory.insert_container(key.to_owned(), container, queried_at);
            });
            reply = Reply::Found;
        }
        for socket in sockets {
            match docker::find(&socket, id, user.parse().ok()).await {
                Ok(DockerObject::Container(container, pid)) => {
                    // Labels of a pod are whatever the user wrote.
                    let container = RuntimeContainer {
                        pod: None,
                        ..with_init_pid(&self.config.proc_root, id, *container, pid)
                    };
                    let now = Instant::now();
                    self.shared.update(|directory| {
                        directory.insert_container(key.to_owned(), container, now);
                    });
                    reply = Reply::Found;
                    break;
                }
                Ok(DockerObject::Sandbox(..) | DockerObject::NotFound)
                | Err(DockerError::OtherUser) => {}
                Err(DockerError::Timeout) if since.elapsed() < RETRY_TIMEOUT => {
                    let query = Query::PodmanContainer(key.to_owned());
                    return self.shared.retry_query(query, since);
                }
                Err(error) => {
                    let error = error_chain(&error);
                    debug!(error, id, "failed to query Podman for a container");
                    if reply == Reply::NotFound {
                        reply = Reply::Failed;
                    }
                }
            }
        }
        self.shared.update(|directory| {
            // One user's Podman that fails is no reason not to ask root's.
            if reply == Reply::Failed && user == "0" {
                directory.set_podman_down(Instant::now());
            }
            directory.record_docker_reply(Runtime::Podman, key, queried_at, reply);
        });
    }
}

/// Adds the first process if it is seen in the container: a runtime in a PID namespace of its own reports another number than
/// the kernel's hooks.
fn with_init_pid(
    proc_root: &Path,
    id: &str,
    container: RuntimeContainer,
    pid: Option<u32>,
) -> RuntimeContainer {
    let init_pid = pid.filter(|pid| is_in_container(proc_root, *pid, id));
    RuntimeContainer {
        init_pid,
        ..container
    }
}

fn insert_sandboxes(directory: &mut Directory, sandboxes: Vec<cri::Sandbox>) {
    let now = Instant::now();
    for cri::Sandbox { id, uid, name } in sandboxes {
        directory.insert_sandbox(id, uid, name, now);
    }
}

/// Whether a process is in a cgroup whose path contains the container's id.
fn is_in_container(proc_root: &Path, pid: u32, id: &str) -> bool {
    let path = proc_root.join(pid.to_string()).join("cgroup");
    let mut cgroups = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(CGROUP_BYTES_MAX).read_to_end(&mut cgroups));
    read.is_ok() && !id.is_empty() && cgroups.contains_str(id)
}
