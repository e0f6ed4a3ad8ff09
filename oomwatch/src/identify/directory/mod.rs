//! Who is who: what the sources tell of pods and containers, to names in a report. Pure, with the clock handed in.
//!
//! A kill finds its pod by the UID in its cgroup's path, or by the hash of a static pod's configuration, and its container
//! by the id. Who is gone is remembered for minutes: a pod may be deleted together with the kill. Whoever was there before
//! the start, or a little before, is remembered until the source that told of it has told who is there now.
//!
//! What is believed: the API's word on a pod's specification, the runtime's on a process and on what it runs. An id that
//! nobody knows is called a sandbox's only if a runtime that has this pod was asked after the kill, soon after it, and
//! answered that it has no such container; else it is merely not known.

mod find;
mod known;
mod limits;
mod saved;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use self::known::Known;
use crate::{
    identify::{
        facts::{Instance, Pod, PodName},
        ttl_cache::TtlCache,
    },
    model::{cgroup::Runtime, report::Report},
};

/// How long after a kill a runtime can still be asked whether it ever had that container: afterwards an ended one may have
/// been removed.
const FRESH: Duration = Duration::from_secs(2);
/// How old a container's status may be that tells of a kill.
const STATUS_KEPT: Duration = Duration::from_secs(1);
/// How long a runtime that does not answer is left alone.
const RETRY: Duration = Duration::from_secs(5);

/// The line to a runtime.
#[derive(Clone, Copy, Debug, Default)]
struct RuntimeHealth {
    /// Whose containers it has, where it says so.
    runtime: Option<Runtime>,
    /// When it did not answer.
    failed: Option<Instant>,
}

impl RuntimeHealth {
    /// Whether it is worth asking. It is tried anew for a kill after a while, and for nothing else.
    fn is_open(&self, now: Instant) -> bool {
        self.failed
            .is_none_or(|failed| now.saturating_duration_since(failed) > RETRY)
    }
}

/// Whether the watch of the pods can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It is not used.
    #[default]
    Off,
    /// It is, and cannot be reached.
    Down,
    /// It answers.
    Up,
}

/// Whether all is named that can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Pod and container are named, and whoever else was in question.
    Complete,
    /// More may be known soon: from the watch of the pods, or if this is asked.
    Wait(Option<Ask>),
    /// The pod is known, and nothing but its status will say which of its containers it is.
    WaitForStatus,
    /// No more will be known.
    Unknown,
}

/// Who is to be asked of what a report has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// CRI, of the container.
    Container,
    /// CRI, of the pod.
    Pod,
    /// Docker, of the container.
    Docker,
}

/// When a report came, and of when it is.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// When it came.
    pub at: Instant,
    /// When the kill was, on the same clock, if that is known.
    pub killed: Option<Instant>,
}

/// Everyone who is known.
#[derive(Debug, Default)]
pub struct Directory {
    kubernetes: Standing,
    /// Absent if it is not to be asked.
    cri: Option<RuntimeHealth>,
    docker: Option<RuntimeHealth>,
    /// By UID.
    pods: TtlCache<Pod>,
    /// Of the pods' status: UID and container, by container id.
    statuses: TtlCache<(String, String)>,
    /// As CRI or Docker has them, by container id.
    instances: TtlCache<Instance>,
    /// UID and names of the pods, by sandbox id.
    sandboxes: TtlCache<(String, PodName)>,
    /// Names of pods by the UID of their cgroup, from anyone but the API.
    names: TtlCache<PodName>,
    /// By id or UID: when a runtime was asked of it.
    cri_asked: TtlCache<Asked>,
    docker_asked: TtlCache<Asked>,
}

/// What a runtime was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    at: Instant,
    reply: Reply,
}

/// What became of a question to a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It told.
    Found,
    /// It has nobody of that id.
    NotFound,
    /// It did not answer.
    Failed,
}

impl Directory {
    /// Whether the watch of the pods is up.
    pub fn set_kubernetes(&mut self, standing: Standing) {
        self.kubernetes = standing;
    }

    /// CRI may be asked.
    pub fn use_cri(&mut self) {
        self.cri = Some(RuntimeHealth::default());
    }

    /// Docker may be asked.
    pub fn use_docker(&mut self) {
        self.docker = Some(RuntimeHealth::default());
    }

    /// CRI answers, and says whose containers it has.
    pub fn cri_answers(&mut self, runtime: Option<Runtime>) {
        self.cri = Some(RuntimeHealth {
            runtime,
            failed: None,
        });
    }

    /// CRI does not answer.
    pub fn cri_failed(&mut self, now: Instant) {
        if let Some(cri) = &mut self.cri {
            cri.failed = Some(now);
        }
    }

    /// Docker does not answer.
    pub fn docker_failed(&mut self, now: Instant) {
        if let Some(docker) = &mut self.docker {
            docker.failed = Some(now);
        }
    }

    /// Whether the watch of the pods is up.
    #[must_use]
    pub fn kubernetes(&self) -> Standing {
        self.kubernetes
    }

    /// Whether a container runtime answers, as far as one was asked; absent if none is to be.
    #[must_use]
    pub fn is_runtime_up(&self) -> Option<bool> {
        let lines = [&self.cri, &self.docker].into_iter().flatten();
        lines
            .map(|line| line.failed.is_none())
            .reduce(|one, other| one || other)
    }

    /// Names of the pods that are there, as the API has them; absent if its watch is not up.
    #[must_use]
    pub fn pod_names(&self) -> Option<HashSet<PodName>> {
        let names = self.pods.there().map(|(_, pod)| pod.name.clone());
        (self.kubernetes == Standing::Up).then(|| names.collect())
    }

    /// Whether the API has a pod of this UID.
    #[must_use]
    pub fn has_pod(&self, uid: &str) -> bool {
        self.pods.is_there(uid)
    }

    /// Whether anyone knows the pod with this UID in its cgroup's path.
    #[must_use]
    pub fn knows_pod(&self, uid: &str) -> bool {
        self.pod(uid).is_some() || self.names.get(uid).is_some()
    }

    /// All pods that are there follow.
    pub fn begin_pods(&mut self) {
        self.pods.begin_listing();
    }

    /// Those were all.
    pub fn end_pods(&mut self, now: Instant) {
        let before: Vec<String> = self.pods.there().map(|(uid, _)| uid.to_owned()).collect();
        self.pods.end_listing(now);
        self.statuses.forget_restored(now);
        for uid in before {
            if !self.pods.is_there(&uid) {
                self.forget_ids(&uid, &[], now);
            }
        }
    }

    /// A pod is there, or has changed. False if there is no room for it.
    pub fn insert_pod(&mut self, pod: Pod, now: Instant) -> bool {
        let ids: Vec<&str> = pod
            .containers
            .iter()
            .flat_map(|container| container.ids.iter().map(String::as_str))
            .collect();
        self.forget_ids(&pod.uid, &ids, now);
        for container in &pod.containers {
            for id in &container.ids {
                let named = (pod.uid.clone(), container.name.clone());
                self.statuses.insert(id.clone(), named);
            }
        }
        let bytes = pod.bytes();
        self.pods.insert_sized(pod.uid.clone(), pod, bytes)
    }

    /// A pod is gone.
    pub fn remove_pod(&mut self, uid: &str, now: Instant) {
        self.pods.forget(uid, now);
        self.forget_ids(uid, &[], now);
    }

    /// The containers of a pod but these are gone.
    fn forget_ids(&mut self, uid: &str, but: &[&str], now: Instant) {
        let old: Vec<String> = self
            .statuses
            .there()
            .filter(|(id, (owner, _))| owner == uid && !but.contains(id))
            .map(|(id, _)| id.to_owned())
            .collect();
        for id in old {
            self.statuses.forget(&id, now);
        }
        self.statuses.expire(now);
    }

    /// Containers whose first process only CRI can tell, and was not asked of yet: those in a PID namespace that they share.
    #[must_use]
    pub fn wants_init_pid(&self) -> Vec<String> {
        if self.cri.is_none() {
            return Vec::new();
        }
        let shares = |uid: &str| self.pods.get(uid).is_some_and(|pod| pod.shares_pids);
        let untold = |id: &str| {
            self.instances
                .get(id)
                .is_none_or(|one| one.init_pid.is_none())
                && self.cri_asked.get(id).is_none()
        };
        self.statuses
            .there()
            .filter(|(id, (uid, _))| shares(uid) && untold(id))
            .map(|(id, _)| id.to_owned())
            .collect()
    }

    /// All containers and sandboxes that CRI has follow.
    pub fn begin_runtime(&mut self) {
        self.instances.begin_listing();
        self.sandboxes.begin_listing();
    }

    /// Those were all.
    pub fn end_runtime(&mut self, now: Instant) {
        self.instances.end_listing(now);
        self.sandboxes.end_listing(now);
    }

    /// A runtime has this container. What was told of it before and is not now stays.
    pub fn insert_instance(&mut self, id: String, mut instance: Instance, now: Instant) {
        if let Some(before) = self.instances.get(&id) {
            instance.init_pid = instance.init_pid.or(before.init_pid);
            instance.image = instance.image.or_else(|| before.image.clone());
        }
        if let Some((uid, name)) = &instance.pod {
            self.insert_name(uid, name.clone(), now);
        }
        self.instances.insert(id, instance);
    }

    /// A runtime has this sandbox.
    pub fn insert_sandbox(&mut self, id: String, uid: String, name: PodName, now: Instant) {
        self.insert_name(&uid, name.clone(), now);
        self.sandboxes.insert(id, (uid, name));
    }

    /// A pod is named by somebody who does not tell when it is gone.
    pub fn insert_name(&mut self, uid: &str, name: PodName, now: Instant) {
        if self.names.get(uid) != Some(&name) {
            self.names.insert_expiring(uid, name, now);
        }
    }

    /// CRI was asked at that time of a container or a pod.
    pub fn cri_replied(&mut self, of: &str, at: Instant, reply: Reply) {
        self.cri_asked.insert_expiring(of, Asked { at, reply }, at);
    }

    /// Docker was asked at that time of a container.
    pub fn docker_replied(&mut self, of: &str, at: Instant, reply: Reply) {
        self.docker_asked
            .insert_expiring(of, Asked { at, reply }, at);
    }

    /// What CRI's list says of an id.
    #[must_use]
    pub fn reply_of(&self, id: &str) -> Reply {
        if self.instances.is_there(id) || self.sandboxes.is_there(id) {
            Reply::Found
        } else {
            Reply::NotFound
        }
    }

    /// Names what can be named in a report, and says whether to wait for more.
    pub fn name(&self, report: &mut Report, arrival: Arrival) -> Answer {
        if report.pod.is_none() && report.container.is_none() {
            return Answer::Complete;
        }
        let known = self.find(report);
        let wait = self.lacks(report, &known, arrival);
        let never_was = wait == Answer::Unknown && self.never_was(report, &known, arrival);
        let is_sandbox = known.is_sandbox || never_was;
        report.sandbox |= is_sandbox;
        known.fill(report);
        if is_sandbox {
            report.container = None;
        }
        match wait {
            Answer::Unknown if is_sandbox && known.pod_name.is_some() => Answer::Complete,
            wait => wait,
        }
    }

    /// What there is to wait for.
    fn lacks(&self, report: &Report, known: &Known<'_>, arrival: Arrival) -> Answer {
        let container = report.container.as_ref();
        let uid = report.pod.as_ref().map(|pod| pod.uid.as_str());
        let is_named = known.is_named(report);
        let runtime = container.and_then(|container| container.runtime);
        let is_cris = uid.is_some()
            && self.cri.is_some_and(|cri| {
                cri.is_open(arrival.at)
                    && (runtime.is_none() || cri.runtime.is_none() || runtime == cri.runtime)
            });
        let wants = |asked: Option<&Asked>| {
            let lately = |asked: &Asked| asked.at + STATUS_KEPT >= arrival.at;
            (!is_named || known.lacks_main_process(report)) && !asked.is_some_and(lately)
                || known.lacks_image() && asked.is_none()
        };
        if is_cris {
            match (container, uid) {
                (Some(container), _) if wants(self.cri_asked.get(&container.id)) => {
                    return Answer::Wait(Some(Ask::Container));
                }
                (None, Some(uid))
                    if known.pod_name.is_none() && self.cri_asked.get(uid).is_none() =>
                {
                    return Answer::Wait(Some(Ask::Pod));
                }
                _ => {}
            }
        }
        let cri_reply = container
            .filter(|_| is_cris)
            .and_then(|container| self.cri_asked.get(&container.id))
            .map(|asked| asked.reply);
        if let Some(container) = container
            && self.docker.is_some_and(|docker| docker.is_open(arrival.at))
            && may_be_dockers(runtime)
            && cri_reply != Some(Reply::Found)
            && wants(self.docker_asked.get(&container.id))
        {
            return Answer::Wait(Some(Ask::Docker));
        }
        if uid.is_some() && self.kubernetes == Standing::Up {
            match (known.pod, cri_reply) {
                (None, _) => return Answer::Wait(None),
                (Some(_), None | Some(Reply::Failed)) if !is_named => {
                    return Answer::WaitForStatus;
                }
                (Some(_), Some(Reply::Found)) if !is_named => return Answer::Wait(None),
                (Some(_), _) => {}
            }
        }
        if is_named && (uid.is_none() || known.pod_name.is_some()) {
            Answer::Complete
        } else {
            Answer::Unknown
        }
    }

    /// Whether all who may have this container have said, soon after the kill, that they have not: then the pod's sandbox was
    /// being made.
    fn never_was(&self, report: &Report, known: &Known<'_>, arrival: Arrival) -> bool {
        let (Some(container), Some(killed)) = (&report.container, arrival.killed) else {
            return false;
        };
        let has_not = |asked: Option<&Asked>| {
            asked.is_some_and(|Asked { at, reply }| {
                *reply == Reply::NotFound && at.saturating_duration_since(killed) <= FRESH
            })
        };
        // A node has one runtime for its pods: one that does not answer is not it where another does.
        let not_dockers = self.docker.is_none_or(|docker| docker.failed.is_some())
            || !may_be_dockers(container.runtime)
            || has_not(self.docker_asked.get(&container.id));
        known.pod_name.is_some()
            && !known.is_named(report)
            && has_not(self.cri_asked.get(&container.id))
            && not_dockers
    }
}

/// Whether Docker may have it: of a bare id nobody knows.
fn may_be_dockers(runtime: Option<Runtime>) -> bool {
    matches!(runtime, None | Some(Runtime::Docker))
}
