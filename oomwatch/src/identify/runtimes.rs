//! Sends queries to the container runtimes, one at a time, and puts the replies into the directory.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use bstr::ByteSlice as _;
use tracing::{debug, info, warn};

use crate::{
    identify::{
        cri::{self, CriClient, CriError, CriObject},
        directory::{Directory, Reply},
        docker::{self, DockerObject},
        objects::RuntimeContainer,
        resolution::Query,
        shared::Shared,
        sockets::{self, SocketChoice},
    },
    sys::error_chain::error_chain,
};

/// From so many waiting queries on, all containers are listed instead.
const LISTING_MIN: usize = 8;
/// Most bytes read of `/proc/PID/cgroup`: it has a line for each hierarchy, with a path of at most 4 KiB.
const CGROUP_BYTES_MAX: u64 = 64 << 10;

/// Which runtimes to query, and when to list their containers.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// The CRI socket.
    pub cri: SocketChoice,
    /// Docker's socket.
    pub docker: SocketChoice,
    /// The host's `/proc`, to check that a first process is in its container.
    pub proc_root: PathBuf,
    /// When to list all containers.
    pub listing: Listing,
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
        config,
        shared,
        cri: None,
        is_down_logged: false,
    };
    if worker.config.listing == Listing::AtStart {
        // A failure is logged already; containers are queried one by one then.
        let _ = worker.list().await;
    }
    loop {
        let query = worker.shared.next_query().await;
        worker.handle(query).await;
    }
}

/// A listing that failed, and is logged.
struct ListingFailed;

struct Worker {
    config: RuntimeConfig,
    shared: Arc<Shared>,
    cri: Option<CriClient>,
    /// Whether the log has a warning that CRI is down.
    is_down_logged: bool,
}

impl Worker {
    async fn handle(&mut self, query: Query) {
        let queried_at = Instant::now();
        match query {
            Query::DockerContainer(id) => self.look_up_docker_container(&id, queried_at).await,
            Query::CriContainer(id) => {
                let others = self.shared.take_container_queries(LISTING_MIN);
                if others.is_empty() {
                    let reply = self.look_up_container(&id).await;
                    self.record_reply(&id, queried_at, reply);
                } else {
                    let listed = self.list().await;
                    self.shared.update(|directory| {
                        for id in others.iter().chain([&id]) {
                            let reply = match listed {
                                Ok(()) => directory.reply_from_listing(id),
                                Err(ListingFailed) => Reply::Failed,
                            };
                            directory.record_cri_reply(id, queried_at, reply);
                        }
                    });
                }
            }
            Query::CriPod(uid) => {
                let reply = self.look_up_pod(&uid).await;
                self.record_reply(&uid, queried_at, reply);
            }
        }
    }

    async fn look_up_container(&mut self, id: &str) -> Reply {
        let Some(cri) = self.connected_cri().await else {
            return Reply::Failed;
        };
        match cri.find(id).await {
            Ok(CriObject::Container(container, pid)) => {
                let container = self.with_init_pid(id, *container, pid);
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
            Err(error) => self.handle_error(&error),
        }
    }

    async fn look_up_pod(&mut self, uid: &str) -> Reply {
        let Some(cri) = self.connected_cri().await else {
            return Reply::Failed;
        };
        match cri.sandboxes_of(uid).await {
            Ok(sandboxes) if sandboxes.is_empty() => Reply::NotFound,
            Ok(sandboxes) => {
                self.shared
                    .update(|directory| insert_sandboxes(directory, sandboxes));
                Reply::Found
            }
            Err(error) => self.handle_error(&error),
        }
    }

    async fn look_up_docker_container(&mut self, id: &str, queried_at: Instant) {
        let choice = &self.config.docker;
        let sockets = choice.candidates(&[sockets::DOCKER], Path::new("/"));
        let found = match sockets.first() {
            Some(socket) => docker::find(socket, id).await,
            None => {
                return self.shared.update(|directory| {
                    directory.set_docker_down(queried_at);
                    directory.record_docker_reply(id, queried_at, Reply::Failed);
                });
            }
        };
        let now = Instant::now();
        let reply = match found {
            Ok(DockerObject::Container(container, pid)) => {
                let container = self.with_init_pid(id, *container, pid);
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
            Err(error) => {
                let error = error_chain(&error);
                debug!(error, id, "failed to query Docker for a container");
                self.shared
                    .update(|directory| directory.set_docker_down(now));
                Reply::Failed
            }
        };
        self.shared
            .update(|directory| directory.record_docker_reply(id, queried_at, reply));
    }

    /// Lists all containers and sandboxes into the directory.
    async fn list(&mut self) -> Result<(), ListingFailed> {
        let cri = self.connected_cri().await.ok_or(ListingFailed)?;
        let listed = async { Ok((cri.sandboxes().await?, cri.containers().await?)) };
        let (sandboxes, containers) = listed.await.map_err(|error| {
            self.handle_error(&error);
            ListingFailed
        })?;
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

    /// The connection, made if there is none; absent if that fails.
    async fn connected_cri(&mut self) -> Option<&mut CriClient> {
        if self.cri.is_none() {
            self.connect().await;
        }
        self.cri.as_mut()
    }

    async fn connect(&mut self) {
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
                    return;
                }
                Err(error) => last = Some((socket, error)),
            }
        }
        self.shared
            .update(|directory| directory.set_cri_down(Instant::now()));
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
    }

    /// Logs a failed call. If the runtime is unreachable, the next query connects again.
    fn handle_error(&mut self, error: &CriError) -> Reply {
        debug!(error = error_chain(error), "CRI call failed");
        if error.is_unreachable() {
            self.cri = None;
            self.shared
                .update(|directory| directory.set_cri_down(Instant::now()));
        }
        Reply::Failed
    }

    fn record_reply(&self, key: &str, queried_at: Instant, reply: Reply) {
        self.shared
            .update(|directory| directory.record_cri_reply(key, queried_at, reply));
    }

    /// Adds the first process if it is seen in the container: a runtime in a PID namespace of its own reports another number
    /// than the kernel's hooks.
    fn with_init_pid(
        &self,
        id: &str,
        container: RuntimeContainer,
        pid: Option<u32>,
    ) -> RuntimeContainer {
        let init_pid = pid.filter(|pid| is_in_container(&self.config.proc_root, *pid, id));
        RuntimeContainer {
            init_pid,
            ..container
        }
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
