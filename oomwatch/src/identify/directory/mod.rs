//! Everything that is known of pods and containers: what the sources report goes in, names for kills come out. Pure: the
//! caller passes the clock.
//!
//! A kill's pod is found by the UID in its cgroup path, or by the configuration hash of a static pod; its container by the id.
//! Removed objects are remembered for minutes, since a pod may be deleted together with the kill. Objects restored from the
//! history are kept until their source has listed what exists now.
//!
//! What is trusted: the API for a pod's specification, the runtime for a process and its image. An unknown id is a pod
//! sandbox's only if a runtime that has this pod was queried shortly after the kill and has no such container; else it stays
//! unknown.

mod account;
mod identity;
mod lookup;
mod persist;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use self::identity::Identity;
use crate::{
    identify::{
        objects::{ApiPod, PodName, RuntimeContainer, container_key},
        resolution::{Arrival, Query, Resolution},
        runtime_health::RuntimeHealth,
        ttl_cache::TtlCache,
    },
    model::{cgroup::Runtime, report::Report},
};

/// How long after a kill a runtime's `NotFound` proves that it never had the container: later, an ended container may have
/// been removed.
const NOT_FOUND_TTL: Duration = Duration::from_secs(2);
/// The same for a pod whose status has no container yet.
const UNSTARTED_NOT_FOUND_TTL: Duration = Duration::from_secs(20);
/// How old the reply to a query may be when a kill arrives that it is used for.
const REPLY_TTL: Duration = Duration::from_secs(1);

/// The state of the watch of the node's pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WatchState {
    /// Not used.
    #[default]
    Off,
    /// Used, and not connected.
    Down,
    /// Connected, and the existing pods are arriving.
    Listing,
    /// All existing pods have arrived.
    Up,
}

/// All pods and containers that are known.
#[derive(Debug, Default)]
pub struct Directory {
    watch: WatchState,
    /// Absent if CRI is not used.
    cri: Option<RuntimeHealth>,
    /// Absent if Docker is not used.
    docker: Option<RuntimeHealth>,
    /// Absent if Podman is not used.
    podman: Option<RuntimeHealth>,
    /// From the API, by UID.
    pods: TtlCache<ApiPod>,
    /// Pod UID and container name from the pods' statuses, by container id.
    statuses: TtlCache<(String, String)>,
    /// From CRI, Docker or Podman, by container key.
    runtime_containers: TtlCache<RuntimeContainer>,
    /// Pod UID and names, by sandbox id.
    sandboxes: TtlCache<(String, PodName)>,
    /// Names of pods from other sources than the API, by the UID in the cgroup path.
    names: TtlCache<PodName>,
    /// The last reply of CRI about an id or UID.
    cri_replies: TtlCache<TimedReply>,
    /// The last reply of Docker or Podman about a container key: no container is both's.
    docker_replies: TtlCache<TimedReply>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TimedReply {
    queried_at: Instant,
    reply: Reply,
}

/// A runtime's reply to a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The object exists; what the runtime said of it is in the directory.
    Found,
    /// The runtime has no such object.
    NotFound,
    /// The query failed.
    Failed,
}

impl Directory {
    /// Sets the state of the watch of the pods.
    pub fn set_watch(&mut self, watch: WatchState) {
        self.watch = watch;
    }

    /// Lets kills wait for CRI.
    pub fn enable_cri(&mut self) {
        self.cri = Some(RuntimeHealth::default());
    }

    /// Lets kills wait for Docker.
    pub fn enable_docker(&mut self) {
        self.docker = Some(RuntimeHealth::default());
    }

    /// Lets kills wait for Podman.
    pub fn enable_podman(&mut self) {
        self.podman = Some(RuntimeHealth::default());
    }

    /// CRI is connected; `runtime` is what it calls itself, if that is known.
    pub fn set_cri_up(&mut self, runtime: Option<Runtime>) {
        self.cri.get_or_insert_default().set_up(runtime);
    }

    /// CRI does not answer.
    pub fn set_cri_down(&mut self, now: Instant) {
        if let Some(cri) = &mut self.cri {
            cri.set_down(now);
        }
    }

    /// Docker does not answer.
    pub fn set_docker_down(&mut self, now: Instant) {
        if let Some(docker) = &mut self.docker {
            docker.set_down(now);
        }
    }

    /// Podman does not answer.
    pub fn set_podman_down(&mut self, now: Instant) {
        if let Some(podman) = &mut self.podman {
            podman.set_down(now);
        }
    }

    /// The state of the watch of the pods.
    #[must_use]
    pub fn watch(&self) -> WatchState {
        self.watch
    }

    /// Whether a container runtime answers, as of its last query; absent if none is used.
    #[must_use]
    pub fn is_runtime_up(&self) -> Option<bool> {
        let runtimes = [&self.cri, &self.docker, &self.podman]
            .into_iter()
            .flatten();
        runtimes
            .map(RuntimeHealth::is_up)
            .reduce(|one, other| one || other)
    }

    /// Names of the pods that the API has; absent if the watch is not up.
    #[must_use]
    pub fn pod_names(&self) -> Option<HashSet<PodName>> {
        let names = self.pods.live().map(|(_, pod)| pod.name.clone());
        (self.watch == WatchState::Up).then(|| names.collect())
    }

    /// Whether the API has a pod with this UID.
    #[must_use]
    pub fn has_pod(&self, uid: &str) -> bool {
        self.pods.is_live(uid)
    }

    /// Whether a source has named the pod with this UID in its cgroup path. A static pod's annotation does not: any pod may
    /// have it.
    #[must_use]
    pub fn knows_pod(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some() || self.names.get(uid).is_some()
    }

    /// Starts a listing: every pod that exists is inserted before [`Directory::end_pod_listing`].
    pub fn begin_pod_listing(&mut self) {
        self.pods.begin_listing();
    }

    /// Ends the listing; pods not seen in it are removed.
    pub fn end_pod_listing(&mut self, now: Instant) {
        let before: Vec<String> = self.pods.live().map(|(uid, _)| uid.to_owned()).collect();
        self.pods.end_listing(now);
        self.statuses.remove_restored(now);
        for uid in before {
            if !self.pods.is_live(&uid) {
                self.remove_statuses(&uid, &[], now);
            }
        }
    }

    /// Adds or updates a pod. False if there is no room for it.
    pub fn insert_pod(&mut self, pod: ApiPod, now: Instant) -> bool {
        let ids: Vec<&str> = pod
            .containers
            .iter()
            .flat_map(|container| container.ids.iter().map(String::as_str))
            .collect();
        self.remove_statuses(&pod.uid, &ids, now);
        for container in &pod.containers {
            for id in &container.ids {
                let status = (pod.uid.clone(), container.name.clone());
                self.statuses
                    .insert(&pod.name.namespace, id.clone(), status);
            }
        }
        let bytes = pod.bytes();
        let (namespace, uid) = (pod.name.namespace.clone(), pod.uid.clone());
        self.pods.insert_sized(&namespace, uid, pod, bytes)
    }

    /// Removes a deleted pod.
    pub fn remove_pod(&mut self, uid: &str, now: Instant) {
        self.pods.remove(uid, now);
        self.remove_statuses(uid, &[], now);
    }

    /// Removes the statuses of a pod's containers, except those with the ids `keep`.
    fn remove_statuses(&mut self, uid: &str, keep: &[&str], now: Instant) {
        let old: Vec<String> = self
            .statuses
            .live()
            .filter(|(id, (owner, _))| owner == uid && !keep.contains(id))
            .map(|(id, _)| id.to_owned())
            .collect();
        for id in old {
            self.statuses.remove(&id, now);
        }
        self.statuses.expire(now);
    }

    /// Ids of the containers whose first process only CRI knows, because they share a PID namespace, and for which CRI was not
    /// queried yet.
    #[must_use]
    pub fn containers_without_init_pid(&self) -> Vec<String> {
        if self.cri.is_none() {
            return Vec::new();
        }
        let shares_pids = |uid: &str| self.pods.get(uid).is_some_and(|pod| pod.shares_pids);
        let lacks_init_pid = |id: &str| {
            self.runtime_containers
                .get(id)
                .is_none_or(|container| container.init_pid.is_none())
                && self.cri_replies.get(id).is_none()
        };
        self.statuses
            .live()
            .filter(|(id, (uid, _))| shares_pids(uid) && lacks_init_pid(id))
            .map(|(id, _)| id.to_owned())
            .collect()
    }

    /// Starts a listing: every container and sandbox that CRI has is inserted before [`Directory::end_runtime_listing`].
    pub fn begin_runtime_listing(&mut self) {
        self.runtime_containers.begin_listing();
        self.sandboxes.begin_listing();
    }

    /// Ends the listing; containers and sandboxes not seen in it are removed.
    pub fn end_runtime_listing(&mut self, now: Instant) {
        self.runtime_containers.end_listing(now);
        self.sandboxes.end_listing(now);
    }

    /// Adds or updates a runtime's container. A first process or image that was known and is absent now is kept.
    pub fn insert_container(&mut self, id: String, mut container: RuntimeContainer, now: Instant) {
        if let Some(before) = self.runtime_containers.get(&id) {
            container.init_pid = container.init_pid.or(before.init_pid);
            container.image = container.image.or_else(|| before.image.clone());
        }
        if let Some((uid, name)) = &container.pod {
            self.insert_name(uid, name.clone(), now);
        }
        let user = id.split_once('/').map(|(user, _)| user);
        let namespace = user.unwrap_or(container.namespace()).to_owned();
        self.runtime_containers.insert(&namespace, id, container);
    }

    /// Adds or updates a sandbox, with its pod's UID and names.
    pub fn insert_sandbox(&mut self, id: String, uid: String, name: PodName, now: Instant) {
        self.insert_name(&uid, name.clone(), now);
        let namespace = name.namespace.clone();
        self.sandboxes.insert(&namespace, id, (uid, name));
    }

    /// Adds the names of a pod from a source that does not report its removal.
    pub fn insert_name(&mut self, uid: &str, name: PodName, now: Instant) {
        if self.names.get(uid) != Some(&name) {
            let namespace = name.namespace.clone();
            self.names.insert_expiring(&namespace, uid, name, now);
        }
    }

    /// Records CRI's reply about a container id or a pod UID.
    pub fn record_cri_reply(&mut self, key: &str, queried_at: Instant, reply: Reply) {
        let timed = TimedReply { queried_at, reply };
        self.cri_replies.insert_expiring("", key, timed, queried_at);
    }

    /// Records a reply of Docker's API, which Podman has too, about a container key. Any but [`Reply::Failed`] proves that the
    /// runtime is up.
    pub fn record_docker_reply(
        &mut self,
        runtime: Runtime,
        key: &str,
        queried_at: Instant,
        reply: Reply,
    ) {
        let timed = TimedReply { queried_at, reply };
        self.docker_replies
            .insert_expiring("", key, timed, queried_at);
        let source = match runtime {
            Runtime::Podman => &mut self.podman,
            _ => &mut self.docker,
        };
        if reply != Reply::Failed
            && let Some(source) = source
        {
            source.set_up(Some(runtime));
        }
    }

    /// The reply about an id that CRI's last listing amounts to.
    #[must_use]
    pub fn reply_from_listing(&self, id: &str) -> Reply {
        if self.runtime_containers.is_live(id) || self.sandboxes.is_live(id) {
            Reply::Found
        } else {
            Reply::NotFound
        }
    }

    /// Fills in what is known of a kill: names, limit owner and main process. An empty directory decides by the kill's facts
    /// alone, as for a kill in a saved log.
    pub fn decide(&self, report: &mut Report) {
        self.look_up(report).apply(report);
    }

    /// Fills in what is known of a kill as [`Directory::decide`] does, and says whether to wait for more. May be repeated as
    /// more becomes known.
    pub fn identify(&self, report: &mut Report, arrival: Arrival) -> Resolution {
        let identity = self.look_up(report);
        if report.pod.is_none() && report.container.is_none() {
            identity.apply(report);
            return Resolution::Complete;
        }
        let resolution = match self.resolution(report, &identity, arrival) {
            Resolution::Wait(query) if !identity.is_complete(report) => {
                Resolution::WaitForName(query)
            }
            resolution => resolution,
        };
        let is_unstarted = resolution == Resolution::Unknown
            && self.is_unstarted_sandbox(report, &identity, arrival);
        let is_sandbox = identity.is_sandbox || is_unstarted;
        report.sandbox |= is_sandbox;
        identity.apply(report);
        if is_sandbox {
            report.container = None;
        }
        match resolution {
            Resolution::Unknown if is_sandbox && identity.pod_name.is_some() => {
                Resolution::Complete
            }
            resolution => resolution,
        }
    }

    /// Whether the sources have names for a kill's pod and container.
    #[must_use]
    pub fn has_names(&self, report: &Report) -> bool {
        self.look_up(report).is_complete(report)
    }

    /// Whether more will be known, and from which source.
    fn resolution(&self, report: &Report, identity: &Identity<'_>, arrival: Arrival) -> Resolution {
        let container = report.container.as_ref();
        let is_users = container.is_some_and(|container| container.user.is_some());
        let podmans = container.filter(|own| own.runtime == Some(Runtime::Podman));
        if is_users && podmans.is_none() {
            return Resolution::Unknown;
        }
        let uid = report.pod.as_ref().map(|pod| pod.uid.as_str());
        let is_named = identity.is_named(report);
        let runtime = container.and_then(|container| container.runtime);
        let is_cris = uid.is_some()
            && self
                .cri
                .is_some_and(|cri| cri.is_open(arrival.at) && cri.may_have(runtime));
        let needs_query = |last: Option<&TimedReply>| {
            let is_recent = |last: &TimedReply| last.queried_at + REPLY_TTL >= arrival.at;
            (!is_named || identity.lacks_main_process(report)) && !last.is_some_and(is_recent)
                || identity.lacks_image() && last.is_none()
        };
        if is_cris {
            match (container, uid) {
                (Some(container), _) if needs_query(self.cri_replies.get(&container.id)) => {
                    return Resolution::Wait(Some(Query::CriContainer(container.id.clone())));
                }
                (None, Some(uid))
                    if identity.pod_name.is_none() && self.cri_replies.get(uid).is_none() =>
                {
                    return Resolution::Wait(Some(Query::CriPod(uid.to_owned())));
                }
                _ => {}
            }
        }
        let cri_reply = container
            .filter(|_| is_cris)
            .and_then(|container| self.cri_replies.get(&container.id))
            .map(|last| last.reply);
        if let Some(container) = container
            && self.docker.is_some_and(|docker| docker.is_open(arrival.at))
            && may_be_dockers(runtime)
            && cri_reply != Some(Reply::Found)
            && needs_query(self.docker_replies.get(&container.id))
        {
            return Resolution::Wait(Some(Query::DockerContainer(container.id.clone())));
        }
        if let Some(container) = podmans
            && self.podman.is_some_and(|podman| podman.is_open(arrival.at))
        {
            let key = container_key(&container.id, container.user);
            if needs_query(self.docker_replies.get(&key)) {
                return Resolution::Wait(Some(Query::PodmanContainer(key.into_owned())));
            }
        }
        if uid.is_some() && matches!(self.watch, WatchState::Listing | WatchState::Up) {
            match (identity.pod, cri_reply) {
                (None, _) => return Resolution::Wait(None),
                (Some(_), None | Some(Reply::Failed | Reply::Found)) if !is_named => {
                    return Resolution::Wait(None);
                }
                (Some(_), _) => {}
            }
        }
        if identity.is_complete(report) {
            Resolution::Complete
        } else {
            Resolution::Unknown
        }
    }

    /// Whether every runtime that could have this container replied, shortly after the kill, that it does not: then the kill
    /// happened while the pod's sandbox was being created. A pod that has had no container at all gives a busy runtime more
    /// time: none can have been removed.
    fn is_unstarted_sandbox(
        &self,
        report: &Report,
        identity: &Identity<'_>,
        arrival: Arrival,
    ) -> bool {
        let (Some(container), Some(killed)) = (&report.container, arrival.killed) else {
            return false;
        };
        let is_started = identity
            .pod
            .is_none_or(|pod| pod.containers.iter().any(|own| !own.ids.is_empty()));
        let ttl = if is_started {
            NOT_FOUND_TTL
        } else {
            UNSTARTED_NOT_FOUND_TTL
        };
        let has_not = |last: Option<&TimedReply>| {
            last.is_some_and(|TimedReply { queried_at, reply }| {
                *reply == Reply::NotFound && queried_at.saturating_duration_since(killed) <= ttl
            })
        };
        // A node has one runtime for its pods: if CRI answers, a Docker that does not is not that one.
        let docker_has_not = self.docker.is_none_or(|docker| !docker.is_up())
            || !may_be_dockers(container.runtime)
            || has_not(self.docker_replies.get(&container.id));
        identity.pod_name.is_some()
            && !identity.is_named(report)
            && has_not(self.cri_replies.get(&container.id))
            && docker_has_not
    }
}

/// Whether Docker may have the container: the runtime of a bare id is unknown.
fn may_be_dockers(runtime: Option<Runtime>) -> bool {
    matches!(runtime, None | Some(Runtime::Docker))
}
