//! Decodes the bytes of a record into an [`Observation`]. Pure; any input gives an observation or an error.
//!
//! Whether a `mark_victim` event is a kill is decided in [`crate::capture::incident`].

use std::ops::RangeInclusive;

use oomwatch_ebpf::record::{
    BACKEND_FENTRY, BACKEND_KPROBE, BACKEND_RAW_TRACEPOINT, COMM_LEN, FLAG_CGROUP_V1,
    FLAG_FAR_OOM_GROUP, FLAG_NO_DISTANCE, Header, KIND_SIGNAL, KIND_VICTIM, LEVEL_NO_ID,
    LEVEL_NO_MEMORY, LEVEL_NO_SWAP, LEVEL_OOM_GROUP, LEVEL_OOM_LOCK, Level, MAX_LEVELS,
    MISSING_ANON_RSS, MISSING_CGROUP, MISSING_COMM, MISSING_FILE_RSS, MISSING_LIMITS,
    MISSING_NAMES, MISSING_NS_PID, MISSING_OOM_SCORE_ADJ, MISSING_PGTABLES, MISSING_SHMEM_RSS,
    MISSING_START_TIME, MISSING_SWAP, MISSING_TASK, MISSING_TGID, MISSING_TOTAL_VM,
    MISSING_TRIGGER, MISSING_UID, RELATION_MM_SHARER, RELATION_REKILL, SIGNAL_NONE,
    SIGNAL_REPORTED, SIGNAL_SENT, SignalRecord, Stack, VICTIM_FIXED_LENGTH, VictimRecord,
};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

pub use self::{
    account::{AccountLayout, IncidentAccount, decode_account},
    call::{OomKillCall, OomTarget},
    error::DecodeError,
};
use crate::model::{
    backend::Backend,
    kill::{Cgroup, Limit, Trigger, Victim},
};

mod account;
mod call;
mod error;
pub mod statistics;

/// A decoded record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// A `mark_victim` event.
    Mark(Box<VictimMark>),
    /// A `mark_victim` event of which only the thread id is known: the task was already dying, on a kernel whose tracepoint
    /// carries nothing else.
    ThreadMark {
        /// Nanoseconds since boot.
        boot_time_ns: u64,
        /// Thread id in the initial PID namespace.
        tid: u32,
    },
    /// The kernel sent SIGKILL to an earlier victim, or to a process that shares an earlier victim's memory.
    Signal(Box<Signal>),
}

/// A `mark_victim` event: the OOM killer marked a task as its victim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VictimMark {
    /// Nanoseconds since boot.
    pub boot_time_ns: u64,
    /// The backend that wrote the record.
    pub backend: Backend,
    /// The SIGKILL that the kernel sent to the task just before.
    pub sigkill: Sigkill,
    /// The call of `oom_kill_process` that killed it; absent for raw tracepoints, and for a mark without a kill.
    pub call: Option<OomKillCall>,
    /// Time of the [account](IncidentAccount) of its incident, in nanoseconds since boot; absent if there is none.
    pub account_boot_time_ns: Option<u64>,
    /// The marked process.
    pub victim: Victim,
    /// The task whose allocation invoked the OOM killer (`current`).
    pub trigger: Trigger,
    /// The victim's memory cgroup and its ancestors, innermost first.
    pub limits: Vec<Limit>,
    /// For each of `limits`, the state that shows whether it ran out of memory.
    pub levels: Vec<LevelState>,
    /// Whether the memory controller is on cgroup v1, where `memory.oom.group` does not exist.
    pub cgroup_v1: bool,
    /// Kernel return addresses, innermost first; empty if the stack could not be taken.
    pub stack: Vec<u64>,
    /// Names of the facts that could not be read, as `missing` lists them in a report.
    pub missing: Vec<&'static str>,
}

/// The SIGKILL before a `mark_victim` event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sigkill {
    /// None from the kernel: the task was already dying.
    None,
    /// The kernel sent one: a kill.
    Sent,
    /// The kernel sent one, and a [`Signal`] of its own reports it.
    Reported,
}

/// The state of a memory cgroup that shows whether it ran out of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelState {
    /// Whether `mem_cgroup.oom_lock` was set: this cgroup, or one above it, is out of memory.
    pub oom_lock: bool,
    /// Whether `memory.oom.group` is set.
    pub oom_group: bool,
    /// Pages below its memory limit; absent where it has none.
    pub free_pages: Option<u64>,
    /// Pages below its limit of memory and swap together (cgroup v1); absent where it has none.
    pub memsw_free_pages: Option<u64>,
}

/// A SIGKILL from the kernel to an earlier victim or to a process that shares an earlier victim's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Nanoseconds since boot.
    pub boot_time_ns: u64,
    /// How the target is related to the earlier victim.
    pub relation: Relation,
    /// Process id of the target.
    pub pid: u32,
    /// Thread id of the target.
    pub tid: u32,
    /// `comm` of the target process.
    pub comm: Vec<u8>,
    /// Start of the target process, in nanoseconds since boot.
    pub start_boot_time_ns: u64,
    /// Thread id of the sender.
    pub sender_tid: u32,
    /// Whether the sender was exiting (`PF_EXITING`).
    pub sender_exiting: bool,
    /// Whether the OOM killer is known to be the sender, without a look at the stack.
    pub is_certain: bool,
    /// Kernel return addresses, innermost first.
    pub stack: Vec<u64>,
}

/// How the target of a [`Signal`] is related to an earlier victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// It is an earlier victim.
    Rekill,
    /// It shares the memory (`mm`) of an earlier victim.
    MmSharer {
        /// Process id of that victim.
        victim_pid: u32,
        /// How many such processes were killed since the programs were loaded, this one included.
        total: u64,
    },
}

/// Decodes one record. `page_bytes` is the page size of the machine that wrote it.
pub fn decode(bytes: &[u8], page_bytes: u64) -> Result<Observation, DecodeError> {
    let header = header(bytes, |kind| match kind {
        KIND_VICTIM => Ok(VICTIM_FIXED_LENGTH..=size_of::<VictimRecord>()),
        KIND_SIGNAL => Ok(size_of::<SignalRecord>()..=size_of::<SignalRecord>()),
        kind => Err(DecodeError::Kind(kind)),
    })?;
    if header.kind == KIND_SIGNAL {
        let mut record = SignalRecord::new_zeroed();
        record.as_mut_bytes().copy_from_slice(bytes);
        return signal(&record);
    }
    let mut record = VictimRecord::new_zeroed();
    record.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
    mark(&record, page_bytes)
}

/// Reads the header of a record, and checks that all of it is there. `lengths` are those that a record of its kind may have.
fn header(
    bytes: &[u8],
    lengths: impl FnOnce(u32) -> Result<RangeInclusive<usize>, DecodeError>,
) -> Result<Header, DecodeError> {
    let truncated = |kind, needed| DecodeError::Truncated {
        kind,
        length: bytes.len(),
        needed,
    };
    let (header, _) =
        Header::read_from_prefix(bytes).map_err(|_| truncated(0, size_of::<Header>()))?;
    let lengths = lengths(header.kind)?;
    if bytes.len() < *lengths.start() {
        return Err(truncated(header.kind, *lengths.start()));
    }
    if bytes.len() != header.length as usize || !lengths.contains(&bytes.len()) {
        return Err(DecodeError::Length {
            claimed: header.length,
            length: bytes.len(),
        });
    }
    Ok(header)
}

fn signal(record: &SignalRecord) -> Result<Observation, DecodeError> {
    let relation = match record.relation {
        RELATION_REKILL => Relation::Rekill,
        RELATION_MM_SHARER => Relation::MmSharer {
            victim_pid: record.victim_tgid,
            total: record.total_sharers,
        },
        value => {
            return Err(DecodeError::Value {
                field: "relation",
                value: value.into(),
            });
        }
    };
    Ok(Observation::Signal(Box::new(Signal {
        boot_time_ns: record.header.boot_time_ns,
        relation,
        pid: record.target.tgid,
        tid: record.target.tid,
        comm: comm(&record.target.comm),
        start_boot_time_ns: record.start_time_ns,
        sender_tid: record.sender.tid,
        sender_exiting: record.sender_exiting != 0,
        is_certain: backend(record.backend)?.is_function(),
        stack: stack(&record.stack),
    })))
}

fn mark(record: &VictimRecord, page_bytes: u64) -> Result<Observation, DecodeError> {
    let boot_time_ns = record.header.boot_time_ns;
    if record.missing & MISSING_TASK != 0 {
        return Ok(Observation::ThreadMark {
            boot_time_ns,
            tid: record.victim.tid,
        });
    }
    let backend = backend(record.backend)?;
    if record.missing & MISSING_TGID != 0 {
        return Err(DecodeError::Value {
            field: "missing",
            value: record.missing,
        });
    }
    let sigkill = match record.signal {
        SIGNAL_NONE => Sigkill::None,
        SIGNAL_SENT => Sigkill::Sent,
        SIGNAL_REPORTED => Sigkill::Reported,
        value => {
            return Err(DecodeError::Value {
                field: "signal",
                value: value.into(),
            });
        }
    };
    let levels = record
        .levels
        .get(..record.level_count as usize)
        .ok_or(DecodeError::Value {
            field: "level_count",
            value: record.level_count.into(),
        })?;
    let names = names(record)?;
    let leaf_names = names.victim.as_deref();
    let memcg_names = leaf_names
        .filter(|_| record.flags & FLAG_NO_DISTANCE == 0)
        .and_then(|names| names.get(record.memcg_distance as usize..));

    let mut limits: Option<Vec<_>> = levels
        .iter()
        .enumerate()
        .map(|(depth, level)| limit(level, memcg_names?.get(depth..)?, page_bytes))
        .collect();
    let has = |bit: u64| record.missing & bit == 0;
    let victim = victim(record, leaf_names, memcg_names, page_bytes);
    // Where both are in one memory cgroup, the programs write its names once.
    let trigger_names = if record.trigger.memcg_id == record.victim.memcg_id {
        memcg_names
    } else {
        names.trigger.as_deref()
    };
    let trigger = Trigger {
        pid: Some(record.trigger.tgid),
        tid: Some(record.trigger.tid),
        comm: has(MISSING_TRIGGER).then(|| comm(&record.trigger.comm)),
        cgroup: some_id(record.trigger.memcg_id)
            .and_then(|id| Some(cgroup(trigger_names?, Some(id)))),
    };
    let cgroup_v1 = record.flags & FLAG_CGROUP_V1 != 0;
    let mut missing: Vec<_> = MISSING_NAMES
        .iter()
        .filter(|(bit, _)| record.missing & bit != 0)
        .map(|&(_, name)| name)
        .collect();
    if victim.cgroup.is_none() && has(MISSING_CGROUP) {
        missing.push("cgroup");
    }
    // More ancestors than a record has room for.
    // The one that ran out of memory, with none of those between.
    let far_limit = (record.far_distance as usize >= MAX_LEVELS)
        .then(|| memcg_names?.get(record.far_distance as usize..))
        .flatten()
        .and_then(|names| limit(&record.far_level, names, page_bytes));
    let mut states: Vec<_> = levels
        .iter()
        .map(|level| level_state(level, cgroup_v1, page_bytes))
        .collect();
    if let (Some(far_limit), Some(limits)) = (far_limit, &mut limits) {
        limits.push(far_limit);
        states.push(LevelState {
            oom_group: record.flags & FLAG_FAR_OOM_GROUP != 0,
            ..level_state(&record.far_level, cgroup_v1, page_bytes)
        });
    }
    let is_cut = memcg_names.is_some_and(|names| names.len() > levels.len());
    if (limits.is_none() || is_cut) && has(MISSING_LIMITS) {
        missing.push("limits");
    }
    Ok(Observation::Mark(Box::new(VictimMark {
        boot_time_ns,
        backend,
        sigkill,
        call: call::decode_call(record)?,
        account_boot_time_ns: some_id(record.account_time_ns),
        victim,
        trigger,
        limits: limits.unwrap_or_default(),
        levels: states,
        cgroup_v1,
        stack: stack(&record.stack),
        missing,
    })))
}

fn backend(value: u32) -> Result<Backend, DecodeError> {
    match value {
        BACKEND_RAW_TRACEPOINT => Ok(Backend::RawTracepoint),
        BACKEND_FENTRY => Ok(Backend::Fentry),
        BACKEND_KPROBE => Ok(Backend::Kprobe),
        value => Err(DecodeError::Value {
            field: "backend",
            value: value.into(),
        }),
    }
}

fn victim(
    record: &VictimRecord,
    leaf_names: Option<&[&[u8]]>,
    memcg_names: Option<&[&[u8]]>,
    page_bytes: u64,
) -> Victim {
    let has = |bit: u64| record.missing & bit == 0;
    let pages = |bit: u64, count: i64| {
        has(bit).then(|| u64::try_from(count).unwrap_or(0).saturating_mul(page_bytes))
    };
    Victim {
        pid: record.victim.tgid,
        tid: record.victim.tid,
        ns_pid: has(MISSING_NS_PID).then_some(record.ns_pid),
        comm: has(MISSING_COMM).then(|| comm(&record.victim.comm)),
        uid: has(MISSING_UID).then_some(record.uid),
        oom_score_adj: has(MISSING_OOM_SCORE_ADJ).then_some(record.oom_score_adj),
        oom_points: None,
        total_vm_bytes: has(MISSING_TOTAL_VM)
            .then(|| record.total_vm_pages.saturating_mul(page_bytes)),
        anon_rss_bytes: pages(MISSING_ANON_RSS, record.anon_rss_pages),
        file_rss_bytes: pages(MISSING_FILE_RSS, record.file_rss_pages),
        shmem_rss_bytes: pages(MISSING_SHMEM_RSS, record.shmem_rss_pages),
        swap_bytes: pages(MISSING_SWAP, record.swap_pages),
        pgtables_bytes: has(MISSING_PGTABLES).then_some(record.pgtables_bytes),
        start_boot_time_ns: has(MISSING_START_TIME).then_some(record.start_time_ns),
        cgroup: memcg_names.map(|names| cgroup(names, some_id(record.victim.memcg_id))),
        leaf_cgroup: leaf_names
            .filter(|_| record.memcg_distance > 0)
            .map(|names| cgroup(names, some_id(record.cgroup_id))),
        is_namespace_init: is_namespace_init(record),
    }
}

/// A cgroup id, or a time, that was read; 0 stands for one that was not.
fn some_id(id: u64) -> Option<u64> {
    (id != 0).then_some(id)
}

/// The bytes before the first NUL: the kernel leaves residue after it.
fn comm(bytes: &[u8; COMM_LEN]) -> Vec<u8> {
    bytes
        .split(|&byte| byte == 0)
        .next()
        .unwrap_or_default()
        .to_vec()
}

fn stack(stack: &Stack) -> Vec<u64> {
    let count = usize::try_from(stack.length).unwrap_or(0) / size_of::<u64>();
    stack
        .frames
        .iter()
        .take(count)
        .copied()
        .take_while(|&address| address != 0)
        .collect()
}

/// Directory names of cgroup paths, leaf first, without the root's empty name. Absent if the walk did not reach the root:
/// an incomplete path would name another cgroup.
struct Names<'a> {
    victim: Option<Vec<&'a [u8]>>,
    trigger: Option<Vec<&'a [u8]>>,
}

fn names(record: &VictimRecord) -> Result<Names<'_>, DecodeError> {
    let invalid = |field, value: u32| DecodeError::Value {
        field,
        value: value.into(),
    };
    let used = record.header.length as usize - VICTIM_FIXED_LENGTH;
    let names = record.names.get(..used);
    let names = names
        .filter(|_| record.names_length as usize == used)
        .ok_or_else(|| invalid("names_length", record.names_length))?;
    let (victim, trigger) = names
        .split_at_checked(record.victim_names_length as usize)
        .ok_or_else(|| invalid("victim_names_length", record.victim_names_length))?;
    Ok(Names {
        victim: split_names(victim),
        trigger: split_names(trigger),
    })
}

fn split_names(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut names: Vec<_> = bytes.strip_suffix(&[0])?.split(|&b| b == 0).collect();
    names.pop_if(|name| name.is_empty())?;
    Some(names)
}

fn cgroup(names: &[&[u8]], id: Option<u64>) -> Cgroup {
    let joined = names.iter().rev().flat_map(|name| b"/".iter().chain(*name));
    let path = match names {
        [] => b"/".to_vec(),
        _ => joined.copied().collect(),
    };
    Cgroup { path, id }
}

/// The limit, unless it is `PAGE_COUNTER_MAX` (`LONG_MAX / PAGE_SIZE` pages), which means no limit.
fn limited(pages: u64, page_bytes: u64) -> Option<u64> {
    (pages < i64::MAX.unsigned_abs() / page_bytes).then_some(pages)
}

/// A level's usage and limits in bytes; absent without a name, since the root, which has none, is no level.
fn limit(level: &Level, names: &[&[u8]], page_bytes: u64) -> Option<Limit> {
    let has = |bit: u64| level.flags & bit == 0;
    let bytes = |pages: u64| pages.saturating_mul(page_bytes);
    (!names.is_empty()).then(|| Limit {
        cgroup: cgroup(names, has(LEVEL_NO_ID).then_some(level.id)),
        usage_bytes: has(LEVEL_NO_MEMORY).then(|| bytes(level.usage_pages)),
        limit_bytes: limited(level.limit_pages, page_bytes)
            .filter(|_| has(LEVEL_NO_MEMORY))
            .map(bytes),
        swap_usage_bytes: has(LEVEL_NO_SWAP).then(|| bytes(level.swap_usage_pages)),
        swap_limit_bytes: limited(level.swap_limit_pages, page_bytes)
            .filter(|_| has(LEVEL_NO_SWAP))
            .map(bytes),
    })
}

fn level_state(level: &Level, cgroup_v1: bool, page_bytes: u64) -> LevelState {
    let free = |usage: u64, limit: u64| Some(limited(limit, page_bytes)?.saturating_sub(usage));
    LevelState {
        oom_lock: level.flags & LEVEL_OOM_LOCK != 0,
        oom_group: level.flags & LEVEL_OOM_GROUP != 0,
        free_pages: free(level.usage_pages, level.limit_pages)
            .filter(|_| level.flags & LEVEL_NO_MEMORY == 0),
        memsw_free_pages: free(level.swap_usage_pages, level.swap_limit_pages)
            .filter(|_| cgroup_v1 && level.flags & LEVEL_NO_SWAP == 0),
    }
}

/// Whether the victim was PID 1 of the outermost PID namespace that belongs to its cgroup alone.
///
/// Absent for a namespace whose init process is in another cgroup: it is shared within the pod, or with the host.
fn is_namespace_init(record: &VictimRecord) -> Option<bool> {
    let own = record.victim.memcg_id;
    let known = record.missing & MISSING_NS_PID == 0 && own != 0 && record.ns_init_memcg_id != 0;
    if !known || record.ns_level == 0 || record.ns_init_memcg_id != own {
        return None;
    }
    let is_nested = record.parent_ns_init_memcg_id == own;
    Some(record.ns_pid == 1 && !is_nested)
}

#[cfg(test)]
mod tests;
