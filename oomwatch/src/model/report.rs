//! A kill with its meaning: when by the calendar, whose limit, whose container; and kills that were only counted. Their
//! JSON is in [`crate::deliver::json`]; their `serde` form is the one in the history ([`crate::store::codec`]).

use std::{borrow::Cow, ops::Not};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    model::{
        cause::Cause,
        cgroup::{CgroupOwner, ContainerRef, KubeletRoot, PodRef, Qos, Runtime},
        gap::Gap,
        kill::{Cgroup, Kill, Limit, MainProcess, Scope},
        limit_owner::{LimitOwner, LimitSource},
        serde_bytes,
        workload::Workload,
    },
    sys::clock::ClockSample,
};

/// Where and on which boot kills are seen: what makes their ids unique.
#[derive(Clone, Debug)]
pub struct Host {
    /// Name of the node.
    pub node: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Where this host's kubelet has its pods.
    pub kubelet: NodeKubelet,
}

/// Where the kubelet of the host has its pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeKubelet {
    /// Its root, from that of the hierarchy, or from `namespace`.
    pub root: KubeletRoot,
    /// Id of the cgroup that is the host's root where the host is itself in a container, as a kind node is.
    pub namespace: Option<u64>,
}

impl NodeKubelet {
    /// The root from that of the hierarchy, for a kill whose levels have these paths and ids.
    fn root_for(&self, limits: &[Limit]) -> Cow<'_, KubeletRoot> {
        let Self { root, namespace } = self;
        let (Some(_), KubeletRoot::At(below)) = (namespace, root) else {
            return Cow::Borrowed(root);
        };
        let node = limits.iter().find(|limit| limit.cgroup.id == *namespace);
        Cow::Owned(node.map_or(KubeletRoot::Unknown, |node| {
            KubeletRoot::At([node.cgroup.path.as_slice(), below].concat())
        }))
    }
}

impl Host {
    /// What ids begin with.
    #[must_use]
    pub fn boot(&self) -> &str {
        boot_prefix(&self.boot_id)
    }
}

/// The part of a boot id that the ids of its kills begin with.
pub(crate) fn boot_prefix(boot_id: &str) -> &str {
    boot_id.get(..8).unwrap_or(boot_id)
}

/// What is reported of a kill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The facts.
    pub kill: Kill,
    /// Name of the node; empty in a saved log that does not tell.
    pub node: String,
    /// The same for every report of the same kill.
    pub id: String,
    /// The same for all victims of one call of the OOM killer.
    pub incident: String,
    /// When the victim was marked; absent in a saved log that does not tell.
    pub time: Option<Timestamp>,
    /// When the victim was started.
    pub start_time: Option<Timestamp>,
    /// Whose limit was hit; decided, as the two fields below, by `identify`.
    pub limit_owner: Option<LimitOwner>,
    /// Where a pod's limit comes from, where its specification is known.
    pub limit_source: Option<LimitSource>,
    /// Whether the victim was its container's main process.
    #[serde(default)]
    pub main_process: MainProcess,
    /// The victim's container.
    pub container: Option<Container>,
    /// The victim's pod.
    pub pod: Option<Pod>,
    /// The victim's systemd unit, where it is in no container.
    pub unit: Option<String>,
    /// Whether it happened in a pod's sandbox that never became a container.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub sandbox: bool,
    /// Arguments of the victim, where they were asked for and could still be read.
    #[serde(default, with = "serde_bytes::optional_list")]
    pub cmdline: Option<Vec<Vec<u8>>>,
    /// What the account of the kill means; absent without an account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
}

/// What the account of a kill means: names, and the cause. Decided by `identify`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Why the memory ran out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Owners of the listed candidates, by index in `Candidates::processes`. Kept beside the account, as it is.
    #[serde(skip)]
    pub owners: Vec<Option<CandidateOwner>>,
    /// For a system OOM, the pods of the node, the one that exceeds its request most first.
    #[serde(skip)]
    pub pods: Vec<PodUsage>,
}

/// Where a candidate ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateOwner {
    /// Path of its memory cgroup; any bytes but NUL.
    #[serde(with = "serde_bytes")]
    pub cgroup_path: Vec<u8>,
    /// Its container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// Its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
    /// Its systemd unit, where it is in no container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// Memory of a pod at a system OOM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodUsage {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Memory charged to it.
    pub usage_bytes: u64,
    /// The sum of its requests; 0 without any.
    pub request_bytes: u64,
    /// Its limit; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// `oom_score_adj` of its containers, as its QoS class gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its runtime, where the cgroup path tells.
    pub runtime: Option<Runtime>,
    /// Its id.
    pub id: String,
    /// The user in whose slice it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
    /// Its name in the pod.
    pub name: Option<String>,
    /// What it is in the pod.
    pub kind: Option<ContainerKind>,
    /// Its image, as the pod's specification or the runtime names it.
    pub image: Option<String>,
}

impl Container {
    /// Its id as the tools of its runtime show it: 12 of 64 digits, or all of a name.
    #[must_use]
    pub fn short_id(&self) -> &str {
        let digits = self.id.get(..12).filter(|_| self.id.len() == 64);
        digits.unwrap_or(&self.id)
    }
}

impl From<ContainerRef> for Container {
    fn from(ContainerRef { runtime, id, user }: ContainerRef) -> Self {
        Self {
            runtime,
            id,
            user,
            name: None,
            kind: None,
            image: None,
        }
    }
}

impl From<PodRef> for Pod {
    fn from(PodRef { uid, qos }: PodRef) -> Self {
        Self {
            namespace: None,
            name: None,
            uid,
            qos,
            events_off: false,
            workload: None,
        }
    }
}

/// What a container is in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerKind {
    /// One of `spec.containers`.
    Main,
    /// One of `spec.initContainers` that ends before the others start.
    Init,
    /// One of `spec.initContainers` that goes on: its `restartPolicy` is `Always`.
    Sidecar,
    /// One of `spec.ephemeralContainers`.
    Ephemeral,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its namespace.
    pub namespace: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Its UID; for a static pod the hash of its configuration.
    pub uid: String,
    /// Its QoS class, as the cgroup path tells.
    pub qos: Qos,
    /// Whether it asks for no Events of its own.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub events_off: bool,
    /// What it belongs to, as its owner says; absent for a pod of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
}

/// Kills of one container that have one report together: that of the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coalesced {
    /// How many.
    pub kills: u64,
    /// How many calls of the OOM killer they were, without those that other reports tell of.
    pub incidents: u64,
    /// When the first of them was marked.
    pub since: Timestamp,
}

/// What is reported of kills that were only counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapReport {
    /// How many, and where.
    pub gap: Gap,
    /// Name of the node.
    pub node: String,
    /// The same for the same kills.
    pub id: String,
    /// None of them is later than this.
    pub time: Timestamp,
    /// Nor from before this.
    pub since: Timestamp,
}

impl GapReport {
    /// Gives a gap its calendar.
    #[must_use]
    pub fn new(gap: Gap, host: &Host, now: ClockSample) -> Self {
        Self {
            node: host.node.clone(),
            id: format!("{}-audit-{}-{}", host.boot(), gap.kernel_count, gap.kills),
            time: now.time_of(gap.boot_time_ns),
            since: now.time_of(gap.since_boot_time_ns),
            gap,
        }
    }
}

/// Where reported kills happened.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// This boot of this machine; `now` converts times since boot to the calendar.
    Boot {
        /// The machine and its boot.
        host: &'a Host,
        /// The clocks now.
        now: ClockSample,
    },
    /// A saved kernel log, with a name that replaces the log's own.
    SavedLog {
        /// The node; absent for the name in the log.
        node: Option<&'a str>,
        /// Where that node's kubelet has its pods.
        kubelet: &'a KubeletRoot,
    },
}

impl Report {
    /// Why memory ran out; absent where nothing of the account is known.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        self.explanation.as_ref()?.cause.as_ref()
    }

    /// Adds to a kill what its cgroup path and its origin say: ids, calendar time, container, pod and unit.
    #[must_use]
    pub fn new(kill: Kill, origin: Origin<'_>) -> Self {
        let victim = &kill.victim;
        // The start of a process identifies it; for kills from a log, the time of their line does.
        let (key, incident_key) = match &kill.log_key {
            Some(key) => (key.kill, key.incident),
            None => (
                victim.start_boot_time_ns.or(kill.boot_time_ns).unwrap_or(0),
                kill.incident_boot_time_ns.unwrap_or(0),
            ),
        };
        let (prefix, node, time, start_time) = match origin {
            Origin::Boot { host, now } => (
                host.boot(),
                host.node.clone(),
                kill.boot_time_ns.map(|time| now.time_of(time)),
                victim.start_boot_time_ns.map(|time| now.time_of(time)),
            ),
            Origin::SavedLog { node, .. } => {
                let key = kill.log_key.as_ref();
                let host = || key.and_then(|key| key.host.clone());
                (
                    "log",
                    node.map(str::to_owned).or_else(host).unwrap_or_default(),
                    key.and_then(|key| key.time),
                    None,
                )
            }
        };
        let id = format!("{prefix}-{key:x}-{}", victim.pid);
        let mut incident = format!("{prefix}-{incident_key:x}");
        if let (Origin::SavedLog { .. }, Some(key)) = (origin, &kill.log_key) {
            incident = format!("{incident}-{}", key.incident_tid);
        }
        // The leaf may lie in a container whose memory is charged to a cgroup above it.
        let own = victim
            .leaf_cgroup
            .as_ref()
            .or(victim.cgroup.as_ref())
            // A group's container, pod and unit are its members' too.
            .or(kill.group_cgroup.as_ref())
            // The victim is in the cgroup that ran out or below it.
            .or_else(|| {
                let limit = kill.limits.get(kill.oom_level?)?;
                (kill.scope == Scope::Memcg).then_some(&limit.cgroup)
            });
        let kubelet = match origin {
            Origin::Boot { host, .. } => host.kubelet.root_for(&kill.limits),
            Origin::SavedLog { kubelet, .. } => Cow::Borrowed(kubelet),
        };
        let owner = own
            .map(|cgroup| CgroupOwner::from_path(&cgroup.path, &kubelet))
            .unwrap_or_default();
        Self {
            node,
            id,
            incident,
            time,
            start_time,
            limit_owner: None,
            limit_source: None,
            main_process: MainProcess::Unknown,
            container: owner.container.map(Container::from),
            pod: owner.pod.map(Pod::from),
            unit: owner.unit,
            sandbox: false,
            cmdline: None,
            explanation: None,
            kill,
        }
    }

    /// On which boot it was, as [`Host::boot`] tells it.
    #[must_use]
    pub fn boot(&self) -> &str {
        self.id.split('-').next().unwrap_or_default()
    }

    /// Where to believe a kubelet's tree in this kill's paths: a pod in the victim's was believed when the report was made.
    #[must_use]
    pub fn kubelet_root(&self) -> KubeletRoot {
        if self.pod.is_some() {
            KubeletRoot::Believed
        } else {
            KubeletRoot::Unknown
        }
    }

    /// The memory cgroup that ran out.
    #[must_use]
    pub fn oom_limit(&self) -> Option<&Limit> {
        self.kill.limits.get(self.kill.oom_level?)
    }

    /// The workload of the victim's pod.
    #[must_use]
    pub fn workload(&self) -> Option<&Workload> {
        self.pod.as_ref()?.workload.as_ref()
    }

    /// The victim's memory cgroup.
    #[must_use]
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.kill.victim.cgroup.as_ref()
    }
}

#[cfg(test)]
mod tests;
