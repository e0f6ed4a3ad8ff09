//! The account of a kill: candidates, memory, zones, pods, what came before, and the cause.

use serde::Serialize;

use crate::{
    deliver::json::{
        encoding::text,
        objects::{CgroupJson, ContainerJson, PodJson},
    },
    model::{
        account::{
            Account, AccountSource, Candidate, Candidates, Exclusion, Memory, ProcessMemory, Zone,
        },
        cause::{Cause, CauseKind},
        report::{CandidateOwner, Explanation, PodUsage, Report},
    },
};

#[derive(Serialize)]
pub(super) struct AccountJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    candidates: Option<CandidatesJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<MemoryJson>,
    #[serde(skip_serializing_if = "<[Zone]>::is_empty")]
    zones: &'a [Zone],
    #[serde(skip_serializing_if = "<[PodUsage]>::is_empty")]
    pods: &'a [PodUsage],
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<BeforeJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<CauseJson<'a>>,
}

#[derive(Serialize)]
struct CandidatesJson<'a> {
    source: AccountSource,
    complete: bool,
    scored: u64,
    excluded: u64,
    rss_error_bytes: u64,
    sum: ProcessMemoryJson,
    processes: Vec<CandidateJson<'a>>,
}

/// Where the log gives the resident memory in one number, that number alone.
#[derive(Serialize)]
#[expect(
    clippy::struct_field_names,
    reason = "the names are those of the output"
)]
struct ProcessMemoryJson {
    rss_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    anon_rss_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_rss_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shmem_rss_bytes: Option<u64>,
    swap_bytes: u64,
    pgtables_bytes: u64,
}

#[derive(Serialize)]
struct CandidateJson<'a> {
    pid: u32,
    comm: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    comm_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(flatten)]
    memory: ProcessMemoryJson,
    oom_score_adj: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    oom_points: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    excluded: Option<Exclusion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<CandidateCgroupJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<ContainerJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<PodJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'a str>,
}

/// The path is absent where it could not be found any more.
#[derive(Serialize)]
#[serde(untagged)]
enum CandidateCgroupJson {
    Path(CgroupJson),
    Id { id: u64 },
}

#[derive(Serialize)]
struct MemoryJson {
    #[serde(flatten)]
    memory: Memory,
    #[serde(skip_serializing_if = "Option::is_none")]
    other_bytes: Option<u64>,
}

#[derive(Serialize)]
struct BeforeJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_hits: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stall_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    victim_age_ms: Option<u64>,
}

#[derive(Serialize)]
struct CauseJson<'a> {
    kind: CauseKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
    sentence: &'a str,
}

impl<'a> AccountJson<'a> {
    /// The account of a kill; absent if nothing of it is known.
    pub(super) fn new(report: &'a Report) -> Option<Self> {
        let account = report.kill.account.as_deref();
        let explanation = report.explanation.as_ref();
        if account.is_none_or(Account::is_empty) && explanation.is_none() {
            return None;
        }
        let (owners, pods, cause) = match explanation {
            Some(Explanation {
                cause,
                owners,
                pods,
            }) => (owners.as_slice(), pods.as_slice(), cause.as_ref()),
            None => Default::default(),
        };
        Some(Self {
            candidates: report
                .kill
                .candidates()
                .map(|candidates| CandidatesJson::new(candidates, owners)),
            memory: account
                .and_then(|account| account.memory)
                .map(MemoryJson::from),
            zones: account
                .map(|account| account.zones.as_slice())
                .unwrap_or_default(),
            pods,
            before: before(report),
            cause: cause.map(CauseJson::from),
        })
    }
}

fn before(report: &Report) -> Option<BeforeJson> {
    let kill = &report.kill;
    let before = kill.account.as_ref().and_then(|account| account.before);
    let victim_age_ms = kill
        .boot_time_ns
        .zip(kill.victim.start_boot_time_ns)
        .and_then(|(kill_ns, start_ns)| kill_ns.checked_sub(start_ns))
        .map(|age_ns| age_ns / 1_000_000);
    if before.is_none() && victim_age_ms.is_none() {
        return None;
    }
    let before = before.unwrap_or_default();
    Some(BeforeJson {
        limit_hits: before.limit_hits,
        stall_us: before.stall_us,
        victim_age_ms,
    })
}

impl<'a> CandidatesJson<'a> {
    fn new(candidates: &'a Candidates, owners: &'a [Option<CandidateOwner>]) -> Self {
        let Candidates {
            source,
            complete,
            scored,
            excluded,
            rss_error_bytes,
            sum,
            processes,
        } = candidates;
        let is_rss_split = processes.iter().all(|process| process.is_rss_split);
        let owners = owners
            .iter()
            .map(Option::as_ref)
            .chain([None].into_iter().cycle());
        Self {
            source: *source,
            complete: *complete,
            scored: *scored,
            excluded: *excluded,
            rss_error_bytes: *rss_error_bytes,
            sum: ProcessMemoryJson::new(sum, is_rss_split),
            processes: processes
                .iter()
                .zip(owners)
                .map(|(process, owner)| CandidateJson::new(process, owner))
                .collect(),
        }
    }
}

impl ProcessMemoryJson {
    fn new(memory: &ProcessMemory, is_rss_split: bool) -> Self {
        let split = |bytes| is_rss_split.then_some(bytes);
        Self {
            rss_bytes: memory.rss_bytes(),
            anon_rss_bytes: split(memory.anon_rss_bytes),
            file_rss_bytes: split(memory.file_rss_bytes),
            shmem_rss_bytes: split(memory.shmem_rss_bytes),
            swap_bytes: memory.swap_bytes,
            pgtables_bytes: memory.pgtables_bytes,
        }
    }
}

impl<'a> CandidateJson<'a> {
    fn new(candidate: &Candidate, owner: Option<&'a CandidateOwner>) -> Self {
        let Candidate {
            pid,
            comm,
            uid,
            memory,
            is_rss_split,
            oom_score_adj,
            oom_points,
            excluded,
            cgroup_id,
        } = candidate;
        let (comm, comm_hex) = text(comm);
        Self {
            pid: *pid,
            comm,
            comm_hex,
            uid: *uid,
            memory: ProcessMemoryJson::new(memory, *is_rss_split),
            oom_score_adj: *oom_score_adj,
            oom_points: *oom_points,
            excluded: *excluded,
            cgroup: match (owner, *cgroup_id) {
                (Some(owner), id) => {
                    let (path, path_hex) = text(&owner.cgroup_path);
                    Some(CandidateCgroupJson::Path(CgroupJson { path, path_hex, id }))
                }
                (None, Some(id)) => Some(CandidateCgroupJson::Id { id }),
                (None, None) => None,
            },
            container: owner
                .and_then(|owner| owner.container.as_ref())
                .map(ContainerJson::from),
            pod: owner
                .and_then(|owner| owner.pod.as_ref())
                .map(PodJson::from),
            unit: owner.and_then(|owner| owner.unit.as_deref()),
        }
    }
}

impl From<Memory> for MemoryJson {
    fn from(memory: Memory) -> Self {
        Self {
            memory,
            other_bytes: memory.other_bytes(),
        }
    }
}

impl<'a> From<&'a Cause> for CauseJson<'a> {
    fn from(
        Cause {
            kind,
            share_permille,
            sentence,
            pod_sentence: _,
        }: &'a Cause,
    ) -> Self {
        Self {
            kind: *kind,
            share: share_permille.map(|permille| f64::from(permille) / 1000.0),
            sentence,
        }
    }
}
