//! Resolves kills as they arrive, from all sources of names.
//!
//! A kill outside a container is ready at once, and so is one whose container is known. Any other waits for its names, from
//! whichever source has them first, at most 15 seconds, and with its names half a second for what else there is; then it
//! leaves with what is known.

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
        cgroup_paths::CgroupPaths,
        directory::{Directory, WatchState},
        kubernetes,
        objects::PodName,
        pending_queue::PendingQueue,
        pod_logs::PodLogs,
        resolution::{Arrival, Resolution},
        runtimes::{self, RuntimeConfig},
        shared::Shared,
        sockets::SocketChoice,
    },
    model::{
        cause::decide,
        cgroup::KubeletRoot,
        kill::Scope,
        persist::{Change, Entry},
        report::{Explanation, Report},
    },
    sys::clock,
};

/// Sources of names besides the API.
#[derive(Clone, Debug)]
pub struct NameSources {
    /// The container runtimes.
    pub runtimes: RuntimeConfig,
    /// The host's `/var/log`.
    pub log_root: PathBuf,
    /// The host's cgroup file system.
    pub cgroup_root: PathBuf,
    /// Where this host's kubelet has its pods.
    pub kubelet: KubeletRoot,
}

/// Resolves kills: takes reports without names, gives them back with names.
pub struct Resolver {
    shared: Arc<Shared>,
    logs: PodLogs,
    cgroups: Mutex<CgroupPaths>,
    queue: Mutex<PendingQueue>,
    tasks: Vec<JoinHandle<()>>,
}

impl Resolver {
    /// Starts the queries to the runtimes in the current tokio runtime.
    #[must_use]
    pub fn new(sources: NameSources) -> Self {
        let NameSources {
            runtimes,
            log_root,
            cgroup_root,
            kubelet,
        } = sources;
        let shared = Arc::new(Shared::default());
        let uses_cri = runtimes.cri != SocketChoice::Off;
        let uses_docker = runtimes.docker != SocketChoice::Off;
        let uses_podman = runtimes.podman.iter().any(|one| *one != SocketChoice::Off);
        shared.update_silently(|directory| {
            if uses_cri {
                directory.enable_cri();
            }
            if uses_docker {
                directory.enable_docker();
            }
            if uses_podman {
                directory.enable_podman();
            }
        });
        let mut tasks = Vec::new();
        if uses_cri || uses_docker || uses_podman {
            tasks.push(tokio::spawn(runtimes::serve(runtimes, shared.clone())));
        }
        Self {
            shared,
            logs: PodLogs::new(&log_root),
            cgroups: Mutex::new(CgroupPaths::new(&cgroup_root, kubelet)),
            queue: Mutex::default(),
            tasks,
        }
    }

    /// Restores the objects known before the restart. Must be called before the sources report; what they report replaces it.
    pub fn restore(&self, saved: &[Entry]) {
        self.shared
            .update_silently(|directory| directory.restore(saved, Instant::now()));
    }

    /// The changes of known objects since the last call, to be saved. Meant to be called at intervals rather than at each
    /// change: pods that come and go within an interval are then never written.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        self.shared.update_silently(Directory::changes)
    }

    /// Makes every known object a change again, after the saved entries were lost.
    pub fn mark_all_dirty(&self) {
        self.shared.update_silently(Directory::mark_all_dirty);
    }

    /// Watches the pods of a node as well.
    pub fn watch_pods(&mut self, client: Client, node: &str) {
        self.shared
            .update(|directory| directory.set_watch(WatchState::Listing));
        let watch = kubernetes::watch_pods(client, node.to_owned(), self.shared.clone());
        self.tasks.push(tokio::spawn(watch));
    }

    /// Whether the watch of the pods is up; absent if there is none.
    #[must_use]
    pub fn is_watch_up(&self) -> Option<bool> {
        match self.shared.read(Directory::watch) {
            WatchState::Off => None,
            WatchState::Down | WatchState::Listing => Some(false),
            WatchState::Up => Some(true),
        }
    }

    /// Whether a container runtime answers; absent if none is used.
    #[must_use]
    pub fn is_runtime_up(&self) -> Option<bool> {
        self.shared.read(Directory::is_runtime_up)
    }

    /// The node's pods; absent if the watch is not up.
    #[must_use]
    pub fn pods(&self) -> Option<HashSet<PodName>> {
        self.shared.read(Directory::pod_names)
    }

    /// Adds a kill of this boot. Never waits.
    pub fn push(&self, mut report: Report) {
        self.add_owners(&mut report);
        let now = Instant::now();
        let age = report
            .kill
            .boot_time_ns
            .map(|ns| Duration::from_nanos(clock::since_boot_ns().saturating_sub(ns)));
        let killed = age.and_then(|age| now.checked_sub(age));
        self.enqueue(report, Arrival { at: now, killed });
    }

    /// Adds a kill from the history, of any boot: that a runtime does not have its container now proves nothing.
    pub fn push_restored(&self, report: Report) {
        let at = Instant::now();
        self.enqueue(report, Arrival { at, killed: None });
    }

    fn enqueue(&self, mut report: Report, arrival: Arrival) {
        self.add_logged_pod_name(&report);
        if !self.shared.read(|directory| directory.has_names(&report)) {
            self.logs.add_names(&mut report);
        }
        let mut queue = self.queue.lock();
        queue.push(report, arrival, |report, arrival| {
            self.identify(report, arrival)
        });
        self.shared.wake();
    }

    /// The next kill that is resolved as far as possible.
    pub fn pop(&self) -> Option<Report> {
        let mut report = self.queue.lock().pop()?;
        if self.logs.add_names(&mut report) {
            self.shared.read(|directory| directory.decide(&mut report));
        }
        decide::explain(&mut report);
        Some(report)
    }

    /// Waits until [`Resolver::pop`] has a kill. Cancel safe.
    pub async fn ready(&self) {
        loop {
            let deadline = {
                let mut queue = self.queue.lock();
                queue.poll(Instant::now(), |report, arrival| {
                    self.identify(report, arrival)
                });
                if queue.has_ready() {
                    return;
                }
                queue.deadline()
            };
            let timeout = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.shared.changed() => {}
                () = timeout => {}
            }
        }
    }

    /// Starts the shutdown: no kill waits for more than half a second any more.
    pub fn close(&self) {
        self.queue.lock().close();
        self.shared.wake();
    }

    /// Whether there are kills that were not popped yet.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        let queue = self.queue.lock();
        queue.has_ready() || queue.deadline().is_some()
    }

    /// Takes the pod's names from its log folder if no other source has them: the kubelet creates that folder before the
    /// sandbox.
    fn add_logged_pod_name(&self, report: &Report) {
        if let Some(pod) = &report.pod
            && !self.shared.read(|directory| directory.knows_pod(&pod.uid))
            && let Some(name) = self.logs.pod(&pod.uid)
        {
            let now = Instant::now();
            self.shared
                .update(|directory| directory.insert_name(&pod.uid, name, now));
        }
    }

    /// Adds the owners of the candidates, and the pods of a system OOM. Their cgroups can be found now or never, and their names
    /// are those that are known now: a kill does not wait for its account.
    fn add_owners(&self, report: &mut Report) {
        if report.kill.account.is_none() && report.kill.scope != Scope::System {
            return;
        }
        let mut cgroups = self.cgroups.lock();
        let (paths, pods) = cgroups.look_up(&report.kill);
        let kubelet = cgroups.kubelet();
        let explanation = self.shared.read(|directory| Explanation {
            cause: None,
            owners: paths
                .into_iter()
                .map(|path| Some(directory.candidate_owner(path?, kubelet)))
                .collect(),
            pods: directory.pod_usages(report, pods, kubelet),
        });
        if explanation != Explanation::default() {
            report.explanation = Some(explanation);
        }
    }

    /// Identifies a kill as far as possible, and queries a runtime for the rest.
    fn identify(&self, report: &mut Report, arrival: Arrival) -> Resolution {
        let resolution = self
            .shared
            .read(|directory| directory.identify(report, arrival));
        if let Resolution::Wait(Some(query)) | Resolution::WaitForName(Some(query)) = &resolution {
            self.shared.add_query(query.clone());
        }
        resolution
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        identify::{
            objects::{ApiContainer, ApiPod},
            runtimes::Listing,
        },
        model::report::ContainerKind,
        testing::{self, CONTAINER_ID, POD_UID},
    };

    #[tokio::test]
    async fn name_from_the_log_folder_is_joined_with_the_pods_specification() {
        let logs = tempfile::tempdir().expect("make a folder");
        let containers = logs.path().join("containers");
        fs::create_dir(&containers).expect("make a folder");
        let link = format!("cart-0_shop_app-{CONTAINER_ID}.log");
        fs::write(containers.join(link), "").expect("write a file");
        let names = Resolver::new(NameSources {
            runtimes: RuntimeConfig {
                cri: SocketChoice::Off,
                docker: SocketChoice::Off,
                podman: Vec::new(),
                proc_root: "/proc".into(),
                listing: Listing::Never,
            },
            log_root: logs.path().to_owned(),
            cgroup_root: logs.path().to_owned(),
            kubelet: KubeletRoot::Unknown,
        });
        let app = ApiContainer {
            name: "app".to_owned(),
            kind: ContainerKind::Sidecar,
            image: None,
            memory_limit_bytes: None,
            memory_request_bytes: None,
            // The kubelet has not updated the status yet.
            ids: vec![],
        };
        let (namespace, name) = ("shop".to_owned(), "cart-0".to_owned());
        let pod = ApiPod {
            name: PodName { namespace, name },
            uid: POD_UID.to_owned(),
            config_hash: None,
            events_off: false,
            shares_pids: false,
            memory_limit_bytes: None,
            memory_request_bytes: None,
            workload: None,
            containers: vec![app],
        };
        names.shared.update(|directory| {
            directory.set_watch(WatchState::Up);
            directory.insert_pod(pod, Instant::now());
        });
        let mut report = testing::report();
        let container = report.container.as_mut().expect("the container");
        container.name = None;
        container.kind = None;
        names.push(report);
        let report = names.pop().expect("it is ready at once");
        let container = report.container.expect("the container");
        assert_eq!(container.name.as_deref(), Some("app"));
        assert_eq!(container.kind, Some(ContainerKind::Sidecar));
    }
}
