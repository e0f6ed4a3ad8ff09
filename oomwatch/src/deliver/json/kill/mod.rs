//! The record of a kill, or of several kills in a row of the history.

use serde::Serialize;

use crate::{
    deliver::json::{
        account::AccountJson,
        encoding::{RecordKind, SCHEMA, hex, optional_text, rfc3339},
        objects::{CgroupJson, ContainerJson, PodJson, WorkloadJson},
    },
    model::{
        backend::Backend,
        kill::{
            Allocation, Attribution, Constraint, Kill, Limit, MainProcess, Scope, Source, Trigger,
            Victim,
        },
        limit_owner::{LimitOwner, LimitSource},
        report::{Coalesced, Report},
    },
    sys::escape::escape_json,
};

/// A kill as one line of JSON without the newline, safe to print on a terminal.
pub fn kill_to_json(report: &Report) -> Result<String, serde_json::Error> {
    serde_json::to_string(&ReportJson::from(report)).map(|json| escape_json(&json))
}

/// Several kills as one line of JSON: the last one's report, and how many there were.
pub fn coalesced_to_json(
    report: &Report,
    coalesced: &Coalesced,
) -> Result<String, serde_json::Error> {
    let Coalesced {
        kills,
        incidents,
        since,
    } = *coalesced;
    let json = CoalescedJson {
        report: ReportJson::from(report),
        since: rfc3339(since),
        kills,
        incidents,
    };
    serde_json::to_string(&json).map(|json| escape_json(&json))
}

#[derive(Serialize)]
struct CoalescedJson<'a> {
    #[serde(flatten)]
    report: ReportJson<'a>,
    since: String,
    kills: u64,
    incidents: u64,
}

#[derive(Serialize)]
struct ReportJson<'a> {
    schema: &'static str,
    kind: RecordKind,
    id: &'a str,
    incident: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    boot_time_ns: Option<u64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    node: &'a str,
    source: Source,
    backend: Backend,
    #[serde(skip_serializing_if = "Option::is_none")]
    attribution: Option<Attribution>,
    scope: Scope,
    #[serde(skip_serializing_if = "Option::is_none")]
    constraint: Option<Constraint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_owner: Option<LimitOwner>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_source: Option<LimitSource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oom_cgroup: Option<OomCgroupJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    limits: Vec<LimitJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allocation: Option<AllocationJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_kill: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_cgroup: Option<CgroupJson>,
    missing: &'a [&'static str],
    main_process: MainProcess,
    victim: VictimJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger: Option<TriggerJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<ContainerJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<PodJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<WorkloadJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sandbox: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<AccountJson<'a>>,
}

#[derive(Serialize)]
struct AllocationJson {
    order: i32,
    gfp_mask: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_pages: Option<u64>,
}

#[derive(Serialize)]
struct OomCgroupJson {
    #[serde(flatten)]
    cgroup: CgroupJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_bytes: Option<u64>,
}

#[derive(Serialize)]
struct LimitJson {
    #[serde(flatten)]
    oom: OomCgroupJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap_usage_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap_limit_bytes: Option<u64>,
}

#[derive(Serialize)]
struct VictimJson {
    pid: u32,
    tid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ns_pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comm_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmdline: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmdline_hex: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oom_score_adj: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oom_points: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_vm_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anon_rss_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_rss_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shmem_rss_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pgtables_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<CgroupJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leaf_cgroup: Option<CgroupJson>,
}

#[derive(Serialize)]
struct TriggerJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comm_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<CgroupJson>,
}

impl<'a> From<&'a Report> for ReportJson<'a> {
    fn from(report: &'a Report) -> Self {
        let kill = &report.kill;
        Self {
            schema: SCHEMA,
            kind: RecordKind::Kill,
            id: &report.id,
            incident: &report.incident,
            time: report.time.map(rfc3339),
            boot_time_ns: kill.boot_time_ns,
            node: &report.node,
            source: kill.source,
            backend: kill.backend,
            attribution: attribution(kill),
            scope: kill.scope,
            constraint: kill.constraint,
            limit_owner: report.limit_owner,
            limit_source: report.limit_source,
            oom_cgroup: report.oom_limit().map(OomCgroupJson::from),
            limits: kill.limits.iter().map(LimitJson::from).collect(),
            allocation: kill.allocation.map(AllocationJson::from),
            group_kill: kill.group_kill,
            group_cgroup: kill.group_cgroup.as_ref().map(CgroupJson::from),
            missing: &kill.missing,
            main_process: report.main_process,
            victim: victim(report),
            trigger: kill.trigger.as_ref().map(TriggerJson::from),
            container: report.container.as_ref().map(ContainerJson::from),
            pod: report.pod.as_ref().map(PodJson::from),
            workload: report.workload().map(WorkloadJson::from),
            unit: report.unit.as_deref(),
            sandbox: report.sandbox,
            account: AccountJson::new(report),
        }
    }
}

/// Where the victim's cgroup, or that of its group, comes from; absent without a cgroup.
fn attribution(kill: &Kill) -> Option<Attribution> {
    let cgroup = kill.victim.cgroup.as_ref().or(kill.group_cgroup.as_ref());
    cgroup.map(|_| kill.attribution)
}

fn victim(report: &Report) -> VictimJson {
    let Victim {
        pid,
        tid,
        ns_pid,
        comm,
        uid,
        oom_score_adj,
        oom_points,
        total_vm_bytes,
        anon_rss_bytes,
        file_rss_bytes,
        shmem_rss_bytes,
        swap_bytes,
        pgtables_bytes,
        start_boot_time_ns: _,
        cgroup,
        leaf_cgroup,
        is_namespace_init: _,
    } = &report.kill.victim;
    let (comm, comm_hex) = optional_text(comm.as_deref());
    let cmdline = report.cmdline.as_ref();
    VictimJson {
        pid: *pid,
        tid: *tid,
        ns_pid: *ns_pid,
        comm,
        comm_hex,
        cmdline: cmdline.map(|arguments| {
            arguments
                .iter()
                .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
                .collect()
        }),
        cmdline_hex: cmdline
            .filter(|arguments| arguments.iter().any(|bytes| str::from_utf8(bytes).is_err()))
            .map(|arguments| arguments.iter().map(|bytes| hex(bytes)).collect()),
        uid: *uid,
        oom_score_adj: *oom_score_adj,
        oom_points: *oom_points,
        total_vm_bytes: *total_vm_bytes,
        anon_rss_bytes: *anon_rss_bytes,
        file_rss_bytes: *file_rss_bytes,
        shmem_rss_bytes: *shmem_rss_bytes,
        swap_bytes: *swap_bytes,
        pgtables_bytes: *pgtables_bytes,
        start_time: report.start_time.map(rfc3339),
        cgroup: cgroup.as_ref().map(CgroupJson::from),
        leaf_cgroup: leaf_cgroup.as_ref().map(CgroupJson::from),
    }
}

impl From<&Limit> for OomCgroupJson {
    fn from(limit: &Limit) -> Self {
        Self {
            cgroup: CgroupJson::from(&limit.cgroup),
            usage_bytes: limit.usage_bytes,
            limit_bytes: limit.limit_bytes,
        }
    }
}

impl From<&Limit> for LimitJson {
    fn from(limit: &Limit) -> Self {
        Self {
            oom: OomCgroupJson::from(limit),
            swap_usage_bytes: limit.swap_usage_bytes,
            swap_limit_bytes: limit.swap_limit_bytes,
        }
    }
}

impl From<Allocation> for AllocationJson {
    fn from(
        Allocation {
            order,
            gfp_mask,
            total_pages,
        }: Allocation,
    ) -> Self {
        Self {
            order,
            gfp_mask,
            total_pages,
        }
    }
}

impl From<&Trigger> for TriggerJson {
    fn from(
        Trigger {
            pid,
            tid,
            comm,
            cgroup,
        }: &Trigger,
    ) -> Self {
        let (comm, comm_hex) = optional_text(comm.as_deref());
        Self {
            pid: *pid,
            tid: *tid,
            comm,
            comm_hex,
            cgroup: cgroup.as_ref().map(CgroupJson::from),
        }
    }
}

#[cfg(test)]
mod tests;
