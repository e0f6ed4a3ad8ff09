//! Names for kills as they come: everything that tells who is who, joined.
//!
//! A kill of nobody's container leaves at once; one whose container is known, too. Any other waits for the watch of the pods
//! and for the runtime, half a second at most, and then leaves with what is known; where there is no runtime to ask, fifteen
//! seconds for the pod's status.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use kube::Client;
use parking_lot::Mutex;
use tokio::{task::JoinHandle, time::sleep_until};

use crate::{
    identify::{
        directory::{Answer, Arrival, Ask, Directory, Standing},
        facts::PodName,
        kubernetes,
        pending_queue::PendingQueue,
        pod_logs::PodLogs,
        runtimes::{self, Runtimes},
        shared::{Question, Shared},
        sockets::SocketChoice,
    },
    model::{
        persist::{Change, Entry},
        report::Report,
    },
    sys::clock,
};

/// Where names come from, besides the API.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The container runtimes.
    pub runtimes: Runtimes,
    /// The host's `/var/log`.
    pub log_root: PathBuf,
}

/// Names kills.
pub struct Names {
    shared: Arc<Shared>,
    logs: PodLogs,
    room: Mutex<PendingQueue>,
    tasks: Vec<JoinHandle<()>>,
}

impl Names {
    /// Needs a tokio runtime.
    #[must_use]
    pub fn new(sources: Sources) -> Self {
        let Sources { runtimes, log_root } = sources;
        let shared = Arc::new(Shared::default());
        let uses = |choice: &SocketChoice| *choice != SocketChoice::Off;
        shared.update(|directory| {
            if uses(&runtimes.cri) {
                directory.use_cri();
            }
            if uses(&runtimes.docker) {
                directory.use_docker();
            }
        });
        let mut tasks = Vec::new();
        if uses(&runtimes.cri) || uses(&runtimes.docker) {
            tasks.push(tokio::spawn(runtimes::serve(runtimes, shared.clone())));
        }
        Self {
            shared,
            logs: PodLogs::new(&log_root),
            room: Mutex::default(),
            tasks,
        }
    }

    /// Takes what was saved, before anything else: who was there then, and who was just gone. Whoever tells of them now is
    /// believed instead.
    pub fn restore(&self, saved: &[Entry]) {
        self.shared
            .keep(|directory| directory.restore(saved, Instant::now()));
    }

    /// What differs from what was saved, of all who are known. To be saved now and then rather than each time that something
    /// happens: pods that come and go in between are then not written at all.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        self.shared.keep(Directory::changes)
    }

    /// What was saved is lost: all of it is a change again.
    pub fn mark_all_dirty(&self) {
        self.shared.keep(Directory::mark_all_dirty);
    }

    /// Watches the pods of a node as well.
    pub fn watch_pods(&mut self, client: Client, node: &str) {
        self.shared
            .update(|directory| directory.set_kubernetes(Standing::Down));
        let watch = kubernetes::follow(client, node.to_owned(), self.shared.clone());
        self.tasks.push(tokio::spawn(watch));
    }

    /// Whether the watch of the pods is up; absent if there is none.
    #[must_use]
    pub fn is_watch_up(&self) -> Option<bool> {
        match self.shared.read(Directory::kubernetes) {
            Standing::Off => None,
            Standing::Down => Some(false),
            Standing::Up => Some(true),
        }
    }

    /// Whether a container runtime answers; absent if none is to be asked.
    #[must_use]
    pub fn is_runtime_up(&self) -> Option<bool> {
        self.shared.read(Directory::is_runtime_up)
    }

    /// The node's pods that are there; absent if their watch is not up.
    #[must_use]
    pub fn pods(&self) -> Option<HashSet<PodName>> {
        self.shared.read(Directory::pod_names)
    }

    /// Takes a kill of this boot, to be named. Never waits.
    pub fn push(&self, report: Report) {
        let now = Instant::now();
        let age = report
            .kill
            .boot_time_ns
            .map(|ns| Duration::from_nanos(clock::since_boot_ns().saturating_sub(ns)));
        let killed = age.and_then(|age| now.checked_sub(age));
        self.enter(report, Arrival { at: now, killed });
    }

    /// Takes a kill that was seen before the start, on whichever boot: what a runtime says now tells nothing of then.
    pub fn push_again(&self, report: Report) {
        let at = Instant::now();
        self.enter(report, Arrival { at, killed: None });
    }

    fn enter(&self, report: Report, arrival: Arrival) {
        self.know_pod(&report);
        self.room.lock().push(report, arrival, |report, arrival| {
            name(&self.shared, report, arrival)
        });
        self.shared.wake();
    }

    /// The next kill that is named as far as it can be.
    pub fn pop(&self) -> Option<Report> {
        let mut report = self.room.lock().pop()?;
        self.logs.name(&mut report);
        Some(report)
    }

    /// Waits until there is one more to pop. Cancel safe.
    pub async fn ready(&self) {
        loop {
            let deadline = {
                let mut room = self.room.lock();
                room.look(Instant::now(), |report, arrival| {
                    name(&self.shared, report, arrival)
                });
                if room.has_named() {
                    return;
                }
                room.deadline()
            };
            let end = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.shared.changed() => {}
                () = end => {}
            }
        }
    }

    /// At the end: nobody waits for longer than half a second any more.
    pub fn close(&self) {
        self.room.lock().close();
        self.shared.wake();
    }

    /// Whether kills are on their way.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        let room = self.room.lock();
        room.has_named() || room.deadline().is_some()
    }
}

impl Names {
    /// Looks up the names of a pod that nobody else knows: the kubelet makes the folder of its logs before its sandbox.
    fn know_pod(&self, report: &Report) {
        if let Some(pod) = &report.pod
            && !self.shared.read(|directory| directory.knows_pod(&pod.uid))
            && let Some(name) = self.logs.pod(&pod.uid)
        {
            let now = Instant::now();
            self.shared
                .update(|directory| directory.insert_name(&pod.uid, name, now));
        }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Names a report, and puts the question that would name more of it.
fn name(shared: &Shared, report: &mut Report, arrival: Arrival) -> Answer {
    let answer = shared.read(|directory| directory.name(report, arrival));
    if let Answer::Wait(Some(ask)) = answer
        && let Some(question) = question(ask, report)
    {
        shared.ask(question);
    }
    answer
}

fn question(ask: Ask, report: &Report) -> Option<Question> {
    let container = report
        .container
        .as_ref()
        .map(|container| container.id.clone());
    let pod = report.pod.as_ref().map(|pod| pod.uid.clone());
    match ask {
        Ask::Container => container.map(Question::Container),
        Ask::Docker => container.map(Question::Docker),
        Ask::Pod => pod.map(Question::Pod),
    }
}
