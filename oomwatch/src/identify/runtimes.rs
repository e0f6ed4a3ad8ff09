//! Questions to the container runtimes, one at a time, and their answers into the directory.

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
        cri::{self, Cri, CriError},
        directory::{Directory, Reply},
        docker,
        facts::Instance,
        shared::{Question, Shared},
        sockets::{self, SocketChoice},
    },
    sys::error_chain::chain,
};

/// With so many questions at once all containers are asked for instead.
const MANY: usize = 8;
/// Of `/proc/PID/cgroup`: a line for each hierarchy, and a path is 4 KiB at most.
const CGROUP_BYTES_MAX: u64 = 64 << 10;

/// Which runtimes to ask, and what they are asked for beforehand.
#[derive(Clone, Debug)]
pub struct Runtimes {
    /// The socket that speaks CRI.
    pub cri: SocketChoice,
    /// Docker's.
    pub docker: SocketChoice,
    /// The host's `/proc`, where a first process is seen to be in its container.
    pub proc_root: PathBuf,
    /// When to ask for all containers.
    pub listing: Listing,
}

/// When all containers are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// At once, and when a runtime is back: a container may be gone with its kill.
    AtStart,
    /// Never: nothing is asked, or connected to, before a kill in a container.
    Never,
}

/// Answers questions, for good.
pub(super) async fn serve(runtimes: Runtimes, shared: Arc<Shared>) {
    let mut worker = Worker {
        runtimes,
        shared,
        cri: None,
        is_known_down: false,
    };
    if worker.runtimes.listing == Listing::AtStart {
        worker.list().await;
    }
    loop {
        let question = worker.shared.question().await;
        worker.answer(question).await;
    }
}

struct Worker {
    runtimes: Runtimes,
    shared: Arc<Shared>,
    cri: Option<Cri>,
    /// Whether it was said that CRI cannot be asked.
    is_known_down: bool,
}

impl Worker {
    async fn answer(&mut self, question: Question) {
        let at = Instant::now();
        match question {
            Question::Docker(id) => self.docker(&id, at).await,
            Question::Container(id) => {
                let others = self.shared.take_containers(MANY);
                if others.is_empty() {
                    self.container(&id, at).await;
                } else {
                    let reply = self.list().await;
                    self.shared.update(|directory| {
                        for id in others.iter().chain([&id]) {
                            let reply = reply.unwrap_or(directory.reply_of(id));
                            directory.cri_replied(id, at, reply);
                        }
                    });
                }
            }
            Question::Pod(uid) => self.pod(&uid, at).await,
        }
    }

    async fn container(&mut self, id: &str, at: Instant) {
        let found = match self.cri().await {
            Some(cri) => cri.find(id).await,
            None => return self.replied(id, at, Reply::Failed),
        };
        let reply = match found {
            Ok(cri::Found::Container(instance, pid)) => {
                let instance = self.with_init(id, *instance, pid);
                self.shared.update(|directory| {
                    directory.insert_instance(id.to_owned(), instance, Instant::now());
                });
                Reply::Found
            }
            Ok(cri::Found::Sandbox(sandbox)) => {
                self.shared
                    .update(|directory| insert_sandboxes(directory, vec![sandbox]));
                Reply::Found
            }
            Ok(cri::Found::NotFound) => Reply::NotFound,
            Err(error) => self.failed(&error),
        };
        self.replied(id, at, reply);
    }

    async fn pod(&mut self, uid: &str, at: Instant) {
        let found = match self.cri().await {
            Some(cri) => cri.sandboxes_of(uid).await,
            None => return self.replied(uid, at, Reply::Failed),
        };
        let reply = match found {
            Ok(sandboxes) if sandboxes.is_empty() => Reply::NotFound,
            Ok(sandboxes) => {
                self.shared
                    .update(|directory| insert_sandboxes(directory, sandboxes));
                Reply::Found
            }
            Err(error) => self.failed(&error),
        };
        self.replied(uid, at, reply);
    }

    async fn docker(&mut self, id: &str, at: Instant) {
        let sockets = self
            .runtimes
            .docker
            .candidates(&[sockets::DOCKER], Path::new("/"));
        let found = match sockets.first() {
            Some(socket) => docker::find(socket, id).await,
            None => {
                return self.shared.update(|directory| {
                    directory.docker_failed(at);
                    directory.docker_replied(id, at, Reply::Failed);
                });
            }
        };
        let now = Instant::now();
        let reply = match found {
            Ok(docker::Found::Container(instance, pid)) => {
                let instance = self.with_init(id, *instance, pid);
                self.shared
                    .update(|directory| directory.insert_instance(id.to_owned(), instance, now));
                Reply::Found
            }
            Ok(docker::Found::Sandbox(uid, name)) => {
                self.shared
                    .update(|directory| directory.insert_sandbox(id.to_owned(), uid, name, now));
                Reply::Found
            }
            Ok(docker::Found::NotFound) => Reply::NotFound,
            Err(error) => {
                debug!(error = chain(&error), "ask Docker for a container");
                self.shared.update(|directory| directory.docker_failed(now));
                Reply::Failed
            }
        };
        self.shared
            .update(|directory| directory.docker_replied(id, at, reply));
    }

    /// All containers and sandboxes; what went wrong if they could not be had.
    async fn list(&mut self) -> Option<Reply> {
        let Some(cri) = self.cri().await else {
            return Some(Reply::Failed);
        };
        let listed = async { Ok((cri.sandboxes().await?, cri.containers().await?)) };
        match listed.await {
            Ok((sandboxes, containers)) => {
                let now = Instant::now();
                self.shared.update(|directory| {
                    directory.begin_runtime();
                    insert_sandboxes(directory, sandboxes);
                    for (id, instance) in containers {
                        directory.insert_instance(id, instance, now);
                    }
                    directory.end_runtime(now);
                });
                None
            }
            Err(error) => Some(self.failed(&error)),
        }
    }

    /// The connection, made if there is none.
    async fn cri(&mut self) -> Option<&mut Cri> {
        if self.cri.is_none() {
            self.connect().await;
        }
        self.cri.as_mut()
    }

    async fn connect(&mut self) {
        let sockets = self.runtimes.cri.candidates(&sockets::CRI, Path::new("/"));
        let mut last = None;
        for socket in sockets {
            match Cri::connect(&socket).await {
                Ok((cri, runtime)) => {
                    info!(socket = %socket.display(), "naming containers through CRI");
                    self.cri = Some(cri);
                    self.is_known_down = false;
                    self.shared
                        .update(|directory| directory.cri_answers(runtime));
                    return;
                }
                Err(error) => last = Some((socket, error)),
            }
        }
        self.shared
            .update(|directory| directory.cri_failed(Instant::now()));
        if let Some((socket, error)) = last
            && !self.is_known_down
        {
            self.is_known_down = true;
            let error = chain(&error);
            warn!(error, socket = %socket.display(), "name containers through CRI");
        }
    }

    /// It did not tell. If nobody answered, it is connected to anew the next time.
    fn failed(&mut self, error: &CriError) -> Reply {
        debug!(error = chain(error), "ask the runtime");
        if error.is_no_answer() {
            self.cri = None;
            self.shared
                .update(|directory| directory.cri_failed(Instant::now()));
        }
        Reply::Failed
    }

    fn replied(&self, of: &str, at: Instant, reply: Reply) {
        self.shared
            .update(|directory| directory.cri_replied(of, at, reply));
    }

    /// A runtime in a PID namespace of its own counts processes otherwise than the kernel's hooks: its number is only
    /// taken if that process is seen in the container.
    fn with_init(&self, id: &str, instance: Instance, pid: Option<u32>) -> Instance {
        let init_pid = pid.filter(|pid| is_in(&self.runtimes.proc_root, *pid, id));
        Instance {
            init_pid,
            ..instance
        }
    }
}

fn insert_sandboxes(directory: &mut Directory, sandboxes: Vec<cri::Sandbox>) {
    let now = Instant::now();
    for cri::Sandbox { id, uid, name } in sandboxes {
        directory.insert_sandbox(id, uid, name, now);
    }
}

/// Whether a process is in a cgroup that has the container's id in its path.
fn is_in(proc_root: &Path, pid: u32, id: &str) -> bool {
    let path = proc_root.join(pid.to_string()).join("cgroup");
    let mut cgroups = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(CGROUP_BYTES_MAX).read_to_end(&mut cgroups));
    read.is_ok() && !id.is_empty() && cgroups.contains_str(id)
}
