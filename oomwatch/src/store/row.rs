//! Converts reports to rows of the table `kills`.

use jiff::Timestamp;

use crate::{
    model::report::{GapReport, Report},
    store::codec,
};

/// The columns of `kills` that are derived from a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) time_ns: i64,
    /// Start of the interval in which counted kills happened; absent for a single kill.
    pub(super) since_ns: Option<i64>,
    pub(super) kills: i64,
    pub(super) incidents: i64,
    pub(super) source: &'static str,
    pub(super) scope: Option<&'static str>,
    pub(super) namespace: Option<String>,
    pub(super) pod: Option<String>,
    pub(super) container: Option<String>,
    /// The key by which kills are coalesced: the container id, else the cgroup path, else empty. Absent for counted kills.
    pub(super) owner: Option<String>,
    pub(super) incident: Option<String>,
    /// The report as [`codec`] encodes it.
    pub(super) report: String,
    /// The account of the incident, likewise.
    pub(super) account: Option<String>,
}

/// Value of `source` for kills that were counted, not observed.
pub(super) const AUDIT: &str = "audit";

impl Row {
    /// The row of one kill.
    pub(super) fn from_report(report: &Report) -> serde_json::Result<Self> {
        let pod = report.pod.as_ref();
        let container = report.container.as_ref();
        let cgroup = report.cgroup().or(report.kill.group_cgroup.as_ref());
        let owner = container
            .map(|container| container.id.clone())
            .or_else(|| cgroup.map(|cgroup| String::from_utf8_lossy(&cgroup.path).into_owned()));
        Ok(Self {
            id: report.id.clone(),
            time_ns: nanoseconds(report.time.unwrap_or_else(Timestamp::now)),
            since_ns: None,
            kills: 1,
            incidents: 1,
            source: report.kill.source.as_str(),
            scope: Some(report.kill.scope.as_str()),
            namespace: pod.and_then(|pod| pod.namespace.clone()),
            pod: pod.and_then(|pod| pod.name.clone()),
            container: container.and_then(|container| container.name.clone()),
            owner: Some(owner.unwrap_or_default()),
            incident: Some(report.incident.clone()),
            report: codec::from_report(report)?,
            account: codec::from_account(report)?,
        })
    }

    /// The row of kills that were counted, not observed.
    pub(super) fn from_gap(report: &GapReport) -> serde_json::Result<Self> {
        Ok(Self {
            id: report.id.clone(),
            time_ns: nanoseconds(report.time),
            since_ns: Some(nanoseconds(report.since)),
            kills: i64::try_from(report.gap.kills).unwrap_or(i64::MAX),
            incidents: 0,
            source: AUDIT,
            scope: None,
            namespace: None,
            pod: None,
            container: None,
            owner: None,
            incident: None,
            report: codec::from_gap(report)?,
            account: None,
        })
    }
}

/// Nanoseconds since 1970, clamped to the range of an `i64` (until 2262).
pub(super) fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(if time < Timestamp::UNIX_EPOCH {
        i64::MIN
    } else {
        i64::MAX
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn owner_is_the_container_else_the_cgroup() {
        let mut report = testing::report();
        let owner = |report: &Report| Row::from_report(report).expect("serialize").owner;
        assert_eq!(owner(&report).as_deref(), Some(testing::CONTAINER_ID));
        report.container = None;
        assert_eq!(owner(&report), Some(testing::container_path()));
        report.kill.victim.cgroup = None;
        assert_eq!(owner(&report).as_deref(), Some(testing::POD));
        assert_eq!(owner(&testing::minimal_report()).as_deref(), Some(""));
        let gap = Row::from_gap(&testing::gap_report()).expect("serialize");
        assert_eq!((gap.owner, gap.kills, gap.incidents), (None, 3, 0));
    }

    #[test]
    fn times_out_of_range_are_clamped() {
        assert_eq!(nanoseconds(testing::timestamp(1, 5)), 1_000_000_005);
        assert_eq!(nanoseconds(Timestamp::MAX), i64::MAX);
        assert_eq!(nanoseconds(Timestamp::MIN), i64::MIN);
    }
}
