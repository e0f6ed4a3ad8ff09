//! The workload that a pod belongs to, from its controlling owner.
//!
//! A pod's owner is often only a step: a Deployment owns `ReplicaSets`, a `CronJob` owns Jobs. What stands above the owner is read
//! from how these controllers name what they create, and without a further request. The user who creates a pod chooses its
//! owner, labels and name, and with them the workload that it claims, in its own namespace.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Longest kind that is taken; the API server limits the kind of a resource to this, but not that of an owner.
const KIND_MAX: usize = 63;
/// Longest name that is taken.
const NAME_MAX: usize = 253;
/// The letters of a `pod-template-hash` (Kubernetes `apimachinery/pkg/util/rand`, `SafeEncodeString`).
const HASH_LETTERS: &str = "bcdfghjklmnpqrstvwxz2456789";
/// How long before its pod's creation a Job may have been scheduled: it may wait, and create pods for a long time.
const SCHEDULED_BEFORE_MINUTES: i64 = 7 * 24 * 60;
/// How long after it, since the clocks of two machines differ.
const SCHEDULED_AFTER_MINUTES: i64 = 5;

/// What controls a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `Job`, `CronJob`, `ReplicaSet`, or any other kind.
    pub kind: String,
    /// Its name, in the pod's namespace.
    pub name: String,
}

/// What a pod says of its owner.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// `apiVersion` of the controlling owner.
    pub api_version: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The pod's label `pod-template-hash`.
    pub template_hash: Option<&'a str>,
    /// When the pod was created.
    pub created: Option<Timestamp>,
}

impl Workload {
    /// The workload above a pod's owner. Absent for a kind or name that no object can have, and for the Node of a static pod.
    #[must_use]
    pub fn of(owner: Owner<'_>) -> Option<Self> {
        let Owner {
            api_version,
            kind,
            name,
            template_hash,
            created,
        } = owner;
        let is_kind = (1..=KIND_MAX).contains(&kind.len())
            && kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        let is_name = (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(is_name_byte);
        if !is_kind || !is_name {
            return None;
        }
        let above = match (api_version, kind) {
            ("v1", "Node") => return None,
            ("apps/v1", "ReplicaSet") => {
                deployment(name, template_hash).map(|name| ("Deployment", name))
            }
            ("batch/v1", "Job") => cron_job(name, created).map(|name| ("CronJob", name)),
            _ => None,
        };
        let (kind, name) = above.unwrap_or((kind, name));
        Some(Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Its approximate size in memory, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let Self { kind, name } = self;
        kind.len() + name.len()
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name } = self;
        write!(f, "{kind}/{name}")
    }
}

/// The Deployment of a `ReplicaSet` `NAME-HASH` (Kubernetes `pkg/controller/deployment/sync.go`).
fn deployment<'a>(replica_set: &'a str, template_hash: Option<&str>) -> Option<&'a str> {
    let hash = template_hash?;
    let is_hash = !hash.is_empty() && hash.chars().all(|letter| HASH_LETTERS.contains(letter));
    let name = replica_set.strip_suffix(hash)?.strip_suffix('-')?;
    (is_hash && !name.is_empty()).then_some(name)
}

/// The `CronJob` of a Job `NAME-MINUTES`, the minutes from the epoch to its schedule (Kubernetes `pkg/controller/cronjob/utils.go`,
/// `getTimeHashInMinutes`).
fn cron_job(job: &str, created: Option<Timestamp>) -> Option<&str> {
    let (name, suffix) = job.rsplit_once('-')?;
    let is_number = suffix.bytes().all(|byte| byte.is_ascii_digit()) && !suffix.starts_with('0');
    let scheduled: i64 = suffix.parse().ok().filter(|_| is_number)?;
    let created = created?.as_second().div_euclid(60);
    let near = created - SCHEDULED_BEFORE_MINUTES..=created + SCHEDULED_AFTER_MINUTES;
    (near.contains(&scheduled) && !name.is_empty()).then_some(name)
}

/// Selects workloads: `KIND/NAME` or `NAME`; the kind in either case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadPattern {
    kind: Option<String>,
    name: String,
}

/// The text selects no workload.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not KIND/NAME or NAME, such as Deployment/web")]
pub struct WorkloadPatternError;

impl FromStr for WorkloadPattern {
    type Err = WorkloadPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, name) = match text.split_once('/') {
            Some((kind, name)) => (Some(kind), name),
            None => (None, text),
        };
        if kind == Some("") || name.is_empty() || name.contains('/') {
            return Err(WorkloadPatternError);
        }
        Ok(Self {
            kind: kind.map(str::to_owned),
            name: name.to_owned(),
        })
    }
}

impl WorkloadPattern {
    /// Whether this is the workload.
    #[must_use]
    pub fn matches(&self, workload: &Workload) -> bool {
        let Self { kind, name } = self;
        let is_kind = |kind: &String| kind.eq_ignore_ascii_case(&workload.kind);
        kind.as_ref().is_none_or(is_kind) && *name == workload.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Minute 29833333 since the epoch, and some seconds.
    const CREATED: i64 = 29_833_333 * 60 + 12;

    fn workload(api: &str, kind: &str, name: &str, hash: Option<&str>) -> Option<String> {
        let owner = Owner {
            api_version: api,
            kind,
            name,
            template_hash: hash,
            created: Timestamp::from_second(CREATED).ok(),
        };
        Workload::of(owner).map(|workload| workload.to_string())
    }

    #[test]
    fn deployment_is_known_by_the_hash_in_its_replica_sets_name() {
        let of = |name, hash| workload("apps/v1", "ReplicaSet", name, hash);
        for (name, hash, expected) in [
            ("web-7d4b9c6f5", Some("7d4b9c6f5"), "Deployment/web"),
            ("my-web-7d4b9c6f5", Some("7d4b9c6f5"), "Deployment/my-web"),
            ("web-7d4b9c6f5", None, "ReplicaSet/web-7d4b9c6f5"),
            ("web-7d4b9c6f5", Some(""), "ReplicaSet/web-7d4b9c6f5"),
            (
                "web-7d4b9c6f5",
                Some("7d4b9c6f6"),
                "ReplicaSet/web-7d4b9c6f5",
            ),
            // Not at a hyphen, and nothing before it.
            (
                "web-7d4b9c6f5",
                Some("d4b9c6f5"),
                "ReplicaSet/web-7d4b9c6f5",
            ),
            ("-7d4b9c6f5", Some("7d4b9c6f5"), "ReplicaSet/-7d4b9c6f5"),
            // No hash has such letters.
            ("a-web", Some("web"), "ReplicaSet/a-web"),
        ] {
            assert_eq!(of(name, hash).as_deref(), Some(expected), "{name} {hash:?}");
        }
        let hash = Some("7d4b9c6f5");
        assert_eq!(
            workload("example.org/v1", "ReplicaSet", "web-7d4b9c6f5", hash).as_deref(),
            Some("ReplicaSet/web-7d4b9c6f5")
        );
        assert_eq!(
            workload("apps/v1", "StatefulSet", "web-7d4b9c6f5", hash).as_deref(),
            Some("StatefulSet/web-7d4b9c6f5")
        );
    }

    #[test]
    fn cron_job_is_known_by_the_minute_of_its_schedule() {
        let week = SCHEDULED_BEFORE_MINUTES;
        for (minutes, is_schedule) in [
            (0, true),
            (-1, true),
            (-week, true),
            (-week - 1, false),
            (SCHEDULED_AFTER_MINUTES, true),
            (SCHEDULED_AFTER_MINUTES + 1, false),
        ] {
            let job = format!("nightly-report-{}", 29_833_333 + minutes);
            let expected = if is_schedule {
                "CronJob/nightly-report".to_owned()
            } else {
                format!("Job/{job}")
            };
            assert_eq!(workload("batch/v1", "Job", &job, None), Some(expected));
        }
        for job in [
            "29833333",
            "-29833333",
            "a-029833333",
            "a-20260921",
            "a-1790000012",
            "a-99999999999999999999999",
            "a-",
            "a",
            "a-29833333-b",
        ] {
            let expected = Some(format!("Job/{job}"));
            assert_eq!(workload("batch/v1", "Job", job, None), expected);
        }
        assert_eq!(
            workload("batch.volcano.sh/v1alpha1", "Job", "a-29833333", None).as_deref(),
            Some("Job/a-29833333")
        );
        let without_creation = Owner {
            api_version: "batch/v1",
            kind: "Job",
            name: "a-29833333",
            template_hash: None,
            created: None,
        };
        let job = Workload::of(without_creation).map(|workload| workload.kind);
        assert_eq!(job.as_deref(), Some("Job"));
    }

    #[test]
    fn what_no_object_can_be_named_is_no_workload() {
        let long = "x".repeat(254);
        for (kind, name) in [
            ("", "web"),
            ("Deployment", ""),
            ("Deployment", long.as_str()),
            (&long[..64], "web"),
            ("Deployment", "a/b"),
            ("a/b", "c"),
            ("Deployment", "web\n\u{1b}[2J"),
            ("Deployment", "w\u{f6}b"),
            ("De ployment", "web"),
        ] {
            assert_eq!(workload("apps/v1", kind, name, None), None, "{kind} {name}");
        }
        assert_eq!(workload("v1", "Node", "node-1", None), None);
        assert!(workload("apps/v1", &long[..63], &long[..253], None).is_some());
    }

    #[test]
    fn pattern_selects_by_name_and_kind() {
        let workload = Workload {
            kind: "Deployment".to_owned(),
            name: "web".to_owned(),
        };
        for (text, selects) in [
            ("web", true),
            ("Deployment/web", true),
            ("deployment/web", true),
            ("StatefulSet/web", false),
            ("we", false),
            ("Deployment/web2", false),
        ] {
            let pattern: WorkloadPattern = text.parse().expect("a pattern");
            assert_eq!(pattern.matches(&workload), selects, "{text}");
        }
        for text in ["", "/", "/web", "Deployment/", "a/b/c"] {
            assert_eq!(
                text.parse::<WorkloadPattern>(),
                Err(WorkloadPatternError),
                "{text}"
            );
        }
    }
}
