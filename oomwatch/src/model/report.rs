//! A kill with its meaning: when by the calendar, whose limit, whose container; and kills that were only counted. Their
//! JSON is in [`crate::deliver::json`]; what `serde` makes of them is how the journal keeps them ([`crate::store::codec`]).

use std::ops::Not;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    capture::kmsg::assemble::LogKill,
    model::{
        cgroup::{CgroupOwner, Qos, Runtime},
        gap::Gap,
        kill::{Cgroup, Kill, Limit},
        limit_owner::{self, LimitOwner, LimitSource},
        serde_bytes,
    },
    sys::clock,
};

/// Where and on which boot kills are seen: what makes their ids unique.
#[derive(Clone, Debug)]
pub struct Host {
    /// Name of the node.
    pub node: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

impl Host {
    /// What ids begin with.
    #[must_use]
    pub fn boot(&self) -> &str {
        self.boot_id.get(..8).unwrap_or(&self.boot_id)
    }
}

/// What is reported of a kill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The facts.
    pub kill: Kill,
    /// Name of the node; empty in a saved log that does not tell.
    pub node: String,
    /// The same for the same kill, whoever reports it and however often.
    pub id: String,
    /// The same for all victims of one call of the OOM killer.
    pub incident: String,
    /// When the victim was marked; absent in a saved log that does not tell.
    pub time: Option<Timestamp>,
    /// When the victim was started.
    pub start_time: Option<Timestamp>,
    /// Whose limit was hit.
    pub limit_owner: Option<LimitOwner>,
    /// Where a pod's limit comes from, where its specification is known.
    pub limit_source: Option<LimitSource>,
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
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its runtime, where the cgroup path tells.
    pub runtime: Option<Runtime>,
    /// Its id.
    pub id: String,
    /// Its name in the pod.
    pub name: Option<String>,
    /// What it is in the pod.
    pub kind: Option<ContainerKind>,
    /// Its image, as the pod's specification or the runtime names it.
    pub image: Option<String>,
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
    pub fn new(gap: Gap, host: &Host) -> Self {
        Self {
            node: host.node.clone(),
            id: format!("{}-audit-{}-{}", host.boot(), gap.kernel_count, gap.kills),
            time: clock::time_of(gap.boot_time_ns),
            since: clock::time_of(gap.since_boot_time_ns),
            gap,
        }
    }
}

impl Report {
    /// Gives a kill its meaning, as far as the kill itself carries it.
    #[must_use]
    pub fn new(kill: Kill, host: &Host) -> Self {
        let boot = host.boot();
        let started = kill.victim.start_boot_time_ns.or(kill.boot_time_ns);
        let id = format!("{boot}-{:x}-{}", started.unwrap_or(0), kill.victim.pid);
        let incident = format!("{boot}-{:x}", kill.incident_boot_time_ns.unwrap_or(0));
        let time = kill.boot_time_ns.map(clock::time_of);
        let start_time = kill.victim.start_boot_time_ns.map(clock::time_of);
        Self {
            start_time,
            ..Self::build(kill, host.node.clone(), id, incident, time)
        }
    }

    /// Gives a kill from a saved log its meaning. `node` is the machine's name, by default as the log has it.
    ///
    /// Which boot it was a log does not say, so that ids begin with `log`: they are the same whenever the same log is
    /// read, and unique within it. What follows is the time since boot, else since 1970, in nanoseconds, else the number
    /// of the kill in the log; then the victim, and for an incident its first.
    #[must_use]
    pub fn from_log(found: LogKill, node: Option<&str>) -> Self {
        let LogKill {
            kill,
            stamp,
            incident,
            incident_tid,
            number,
            incident_number,
            host,
        } = found;
        let node = node.map(str::to_owned).or(host).unwrap_or_default();
        let id = format!(
            "log-{:x}-{}",
            stamp.key().unwrap_or(number),
            kill.victim.pid
        );
        let incident = incident.key().unwrap_or(incident_number);
        let incident = format!("log-{incident:x}-{incident_tid}");
        Self::build(kill, node, id, incident, stamp.calendar)
    }

    /// Gives a kill from this boot's log its meaning.
    ///
    /// Its ids have the time that the line itself has, not the time since boot that was worked out of it: they are the
    /// same for everyone who reads this log.
    #[must_use]
    pub fn from_live_log(found: LogKill, host: &Host) -> Self {
        let LogKill {
            kill,
            stamp,
            incident,
            incident_tid: _,
            number,
            incident_number,
            host: _,
        } = found;
        let boot = host.boot();
        let written = stamp.key().unwrap_or(number);
        let id = format!("{boot}-{written:x}-{}", kill.victim.pid);
        let incident = incident.key().unwrap_or(incident_number);
        let incident = format!("{boot}-{incident:x}");
        let time = kill.boot_time_ns.map(clock::time_of);
        Self::build(kill, host.node.clone(), id, incident, time)
    }

    fn build(
        kill: Kill,
        node: String,
        id: String,
        incident: String,
        time: Option<Timestamp>,
    ) -> Self {
        // The leaf may lie in a container whose memory is charged to a cgroup above it.
        let own = kill
            .victim
            .leaf_cgroup
            .as_ref()
            .or(kill.victim.cgroup.as_ref())
            // A group's container, pod and unit are its members' too.
            .or(kill.group_cgroup.as_ref());
        let owner = own
            .map(|cgroup| CgroupOwner::from_path(&cgroup.path))
            .unwrap_or_default();
        Self {
            node,
            id,
            incident,
            time,
            start_time: None,
            limit_owner: limit_owner::limit_owner(&kill),
            limit_source: None,
            container: owner.container.map(|container| Container {
                runtime: container.runtime,
                id: container.id,
                name: None,
                kind: None,
                image: None,
            }),
            pod: owner.pod.map(|pod| Pod {
                namespace: None,
                name: None,
                uid: pod.uid,
                qos: pod.qos,
                events_off: false,
            }),
            unit: owner.unit,
            sandbox: false,
            cmdline: None,
            kill,
        }
    }

    /// On which boot it was, as [`Host::boot`] tells it.
    #[must_use]
    pub fn boot(&self) -> &str {
        self.id.split('-').next().unwrap_or_default()
    }

    /// The memory cgroup that ran out.
    #[must_use]
    pub fn oom_limit(&self) -> Option<&Limit> {
        self.kill.limits.get(self.kill.oom_level?)
    }

    /// The victim's memory cgroup.
    #[must_use]
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.kill.victim.cgroup.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{capture::kmsg::record::Stamp, testing};

    #[test]
    fn ids_from_this_boots_log_have_the_time_of_the_line_itself() {
        let stamp = |boot_time_ns| Stamp {
            boot_time_ns: Some(boot_time_ns),
            calendar: None,
        };
        let host = Host {
            node: "node-1".to_owned(),
            boot_id: "0f1e2d3c4b5a69788796a5b4c3d2e1f0".to_owned(),
        };
        let mut kill = testing::kill();
        kill.victim.start_boot_time_ns = None;
        let found = LogKill {
            kill: kill.clone(),
            stamp: stamp(0xb2),
            incident: stamp(0xa1),
            incident_tid: 7,
            number: 3,
            incident_number: 2,
            host: None,
        };
        let report = Report::from_live_log(found, &host);
        assert_eq!(report.id, "0f1e2d3c-b2-14665");
        assert_eq!(report.incident, "0f1e2d3c-a1");
        assert_eq!(report.node, "node-1");
        assert_eq!(report.kill, kill);
        assert!(report.time.is_some());
    }
}
