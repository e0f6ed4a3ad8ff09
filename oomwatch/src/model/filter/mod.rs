//! Selects the reports to show.

use std::str::FromStr;

use jiff::Timestamp;

use crate::model::{kill::Scope, report::Report, workload::WorkloadPattern};

/// Conditions that a report must all meet to be shown. A report without the field in question meets none.
#[derive(Debug, Default)]
pub struct Filter {
    /// The pod's namespace.
    pub namespace: Option<String>,
    /// The pod's name.
    pub pod: Option<String>,
    /// The workload that the pod belongs to.
    pub workload: Option<WorkloadPattern>,
    /// The container's name, or a prefix of its id.
    pub container: Option<String>,
    /// The systemd unit's name; `.service` may be left out.
    pub unit: Option<String>,
    /// The victim's cgroup or an ancestor of it.
    pub cgroup: Option<CgroupPath>,
    /// What ran out of memory.
    pub scope: Option<Scope>,
    /// The earliest time of the kill.
    pub since: Option<Timestamp>,
    /// The latest time of the kill.
    pub until: Option<Timestamp>,
    /// What the kill's id begins with.
    pub id: Option<String>,
}

/// A cgroup path from the root of its hierarchy, without a final `/`: the root itself is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupPath(Vec<u8>);

/// The text is not a path from the root of a cgroup hierarchy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a path from the root of the cgroup hierarchy, such as /system.slice")]
pub struct CgroupPathError;

impl FromStr for CgroupPath {
    type Err = CgroupPathError;

    /// Rejects relative paths and paths below `/sys/fs/cgroup`: no report contains such a path.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with('/') && !is_below(text.as_bytes(), b"/sys/fs/cgroup") {
            Ok(Self(text.trim_end_matches('/').as_bytes().to_vec()))
        } else {
            Err(CgroupPathError)
        }
    }
}

impl CgroupPath {
    /// The path; empty for the root.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let Self(path) = self;
        path
    }
}

impl Filter {
    /// Whether to show a report.
    #[must_use]
    pub fn matches(&self, report: &Report) -> bool {
        let Self {
            namespace,
            pod,
            workload,
            container,
            unit,
            cgroup,
            scope,
            since,
            until,
            id,
        } = self;
        if id
            .as_ref()
            .is_some_and(|id| !report.id.starts_with(id.as_str()))
        {
            return false;
        }
        namespace.as_ref().is_none_or(|wanted| {
            report
                .pod
                .as_ref()
                .is_some_and(|pod| pod.namespace.as_ref() == Some(wanted))
        }) && pod.as_ref().is_none_or(|wanted| {
            report
                .pod
                .as_ref()
                .is_some_and(|pod| pod.name.as_ref() == Some(wanted))
        }) && workload.as_ref().is_none_or(|wanted| {
            let workload = report.workload();
            workload.is_some_and(|workload| wanted.matches(workload))
        }) && unit.as_ref().is_none_or(|wanted| {
            report
                .unit
                .as_ref()
                .is_some_and(|unit| unit == wanted || unit.strip_suffix(".service") == Some(wanted))
        }) && container.as_ref().is_none_or(|wanted| {
            report.container.as_ref().is_some_and(|container| {
                container.name.as_ref() == Some(wanted) || container.id.starts_with(wanted)
            })
        }) && cgroup.as_ref().is_none_or(|CgroupPath(wanted)| {
            let victim = &report.kill.victim;
            [&victim.leaf_cgroup, &victim.cgroup]
                .into_iter()
                .flatten()
                .any(|cgroup| is_below(&cgroup.path, wanted))
        }) && scope.is_none_or(|wanted| report.kill.scope == wanted)
            && since.is_none_or(|since| report.time.is_some_and(|time| time >= since))
            && until.is_none_or(|until| report.time.is_some_and(|time| time <= until))
    }
}

/// Whether a cgroup is `ancestor` or below it; the root is empty.
fn is_below(path: &[u8], ancestor: &[u8]) -> bool {
    path.strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests;
