//! Turns observations into kills. Pure.
//!
//! Decides which `mark_victim` events are kills, what ran out of memory, which kills belong to one incident, and which are
//! repeated kills of one process.

mod checkpoint;

use std::collections::VecDeque;

use oomwatch_ebpf::record::MAX_LEVELS;
use serde::{Deserialize, Serialize};

pub use self::checkpoint::IncidentCheckpoint;
use crate::{
    capture::decode::{
        LevelState, Observation, OomKillCall, OomTarget, Relation, Sigkill, Signal, VictimMark,
    },
    model::kill::{Attribution, Constraint, Kill, NonKill, NonKillKind, Scope, Source},
};

/// Pages below its limit at which a cgroup still counts as full: the kernel charges in batches of up to 64 pages
/// (`MEMCG_CHARGE_BATCH` of `include/linux/memcontrol.h`).
const FULL_PAGES: u64 = 64;

/// Number of killed processes, and of processes sharing an mm, that are remembered. Repeated kills happen within one incident.
const REMEMBERED: usize = 4096;

/// Time between two members of a group kill from which on they are two incidents. The kernel kills members microseconds
/// apart; after a longer gap the record of the second group's first victim must have been lost.
const INCIDENT_GAP_NS: u64 = 1_000_000_000;

/// Time within which a process id alone identifies a process: an id is not reused that soon.
const SAME_PROCESS_NS: u64 = 10_000_000_000;

/// What the kernel stack of a record shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OomStack {
    /// A memory cgroup ran out of memory, or else the system; absent if the stack does not reach the caller of the OOM killer.
    pub memcg: Option<bool>,
    /// The OOM killer was killing, not only marking a dying task.
    pub kill: bool,
    /// The victim is a further member of a group kill.
    pub group_member: bool,
    /// The write of a limit called the OOM killer, not an allocation.
    pub limit_lowered: bool,
}

/// What an observation amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A process was killed.
    Kill(Box<Kill>),
    /// A non-kill event.
    NonKill(NonKill),
    /// Not the OOM killer's doing, or reported already.
    Nothing,
}

/// Turns observations into kills, in the order in which the kernel made them.
#[derive(Debug, Default)]
pub struct Incidents {
    last: Option<LastIncident>,
    killed: RecentProcesses,
    sharers: Sharers,
}

/// The incident that the last kill belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct LastIncident {
    /// When its first victim was marked, in nanoseconds since boot.
    boot_time_ns: u64,
    /// When its latest victim was marked, in nanoseconds since boot.
    latest_ns: u64,
    trigger_tid: Option<u32>,
    /// Id of the memory cgroup that ran out of memory, if known.
    oom_id: Option<u64>,
    /// Whether a lowered limit was the reason, if known.
    #[serde(default)]
    limit_lowered: Option<bool>,
}

/// Killed processes that share a victim's memory: the programs count them, and a record has the sum so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sharers {
    /// The sum in the last record.
    total: u64,
    /// When that was written, in nanoseconds since boot.
    boot_time_ns: u64,
    /// The sum in the record before.
    earlier: u64,
}

impl Sharers {
    /// How many were killed since the last record. Other programs begin at 0.
    fn count(&mut self, total: u64, boot_time_ns: u64) -> u64 {
        let count = total.checked_sub(self.total).unwrap_or(total);
        *self = Self {
            total,
            boot_time_ns,
            earlier: self.total,
        };
        count
    }

    fn total_before(&self, boot_time_ns: u64) -> u64 {
        if self.boot_time_ns < boot_time_ns {
            self.total
        } else {
            self.earlier
        }
    }
}

/// A process: its id, and its start in nanoseconds since boot.
type Process = (u32, Option<u64>);

/// Recent processes, oldest first, each with the time at which it was inserted.
#[derive(Debug, Default)]
struct RecentProcesses(VecDeque<(Process, u64)>);

impl RecentProcesses {
    /// Inserts a process. Returns false if it is there already.
    ///
    /// If its start is not known, the same id counts as the same process for [`SAME_PROCESS_NS`] only.
    fn insert(&mut self, process: Process, now_ns: u64) -> bool {
        let is_known = self.0.iter().any(|&(earlier, then_ns)| {
            let is_recent = now_ns.saturating_sub(then_ns) < SAME_PROCESS_NS;
            earlier == process && (process.1.is_some() || is_recent)
        });
        if is_known {
            return false;
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((process, now_ns));
        true
    }
}

impl Incidents {
    /// Handles the next observation. `explain` interprets a kernel stack; it returns nothing where the kernel's symbols cannot
    /// be read.
    pub fn observe(
        &mut self,
        observation: Observation,
        explain: impl FnOnce(&[u64]) -> Option<OomStack>,
    ) -> Outcome {
        match observation {
            Observation::Mark(mark) => {
                let stack = explain(&mark.stack);
                self.mark(*mark, stack)
            }
            Observation::ThreadMark { boot_time_ns, tid } => Outcome::NonKill(NonKill {
                boot_time_ns: Some(boot_time_ns),
                kind: NonKillKind::Mark,
                pid: 0,
                tid,
                comm: None,
                cgroup: None,
            }),
            Observation::Signal(signal) => {
                let stack = explain(&signal.stack);
                self.signal(*signal, stack)
            }
        }
    }

    fn mark(&mut self, mark: VictimMark, stack: Option<OomStack>) -> Outcome {
        if mark.sigkill == Sigkill::Reported {
            return Outcome::Nothing;
        }
        // Signal and stack are independent evidence; the stack is the better one, but needs the kernel's symbols.
        let is_kill = stack.map_or(mark.sigkill == Sigkill::Sent, |stack| stack.kill);
        let process = (mark.victim.pid, mark.victim.start_boot_time_ns);
        let kind = if !is_kill {
            NonKillKind::Mark
        } else if self.killed.insert(process, mark.boot_time_ns) {
            return Outcome::Kill(Box::new(self.kill(mark, stack)));
        } else {
            NonKillKind::Rekill
        };
        let VictimMark {
            boot_time_ns,
            victim,
            ..
        } = mark;
        Outcome::NonKill(NonKill {
            boot_time_ns: Some(boot_time_ns),
            kind,
            pid: victim.pid,
            tid: victim.tid,
            comm: victim.comm,
            cgroup: victim.cgroup,
        })
    }

    fn signal(&mut self, signal: Signal, stack: Option<OomStack>) -> Outcome {
        // The exit of a PID namespace's init also sends SIGKILL from the kernel, to victims among others.
        let by_oom_killer = signal.is_certain
            || stack.map_or(
                !signal.sender_exiting && self.triggered(signal.sender_tid),
                |stack| stack.kill,
            );
        if !by_oom_killer {
            return Outcome::Nothing;
        }
        let kind = match signal.relation {
            Relation::Rekill => NonKillKind::Rekill,
            Relation::MmSharer { victim_pid, total } => {
                match self.sharers.count(total, signal.boot_time_ns) {
                    0 => return Outcome::Nothing,
                    count => NonKillKind::Sharers { victim_pid, count },
                }
            }
        };
        Outcome::NonKill(NonKill {
            boot_time_ns: Some(signal.boot_time_ns),
            kind,
            pid: signal.pid,
            tid: signal.tid,
            comm: Some(signal.comm),
            cgroup: None,
        })
    }

    fn triggered(&self, tid: u32) -> bool {
        self.last
            .is_some_and(|incident| incident.trigger_tid == Some(tid))
    }

    fn kill(&mut self, mark: VictimMark, stack: Option<OomStack>) -> Kill {
        let evidence = Evidence::new(&mark, stack);
        let scope = evidence.scope;
        let first = self.last.filter(|last| {
            last.trigger_tid == mark.trigger.tid
                && evidence.group_member
                && mark.boot_time_ns.saturating_sub(last.latest_ns) < INCIDENT_GAP_NS
        });
        let oom_level = match (scope, first) {
            _ if mark.call.is_some() => evidence.oom_id.and_then(|id| level_of(&mark, id)),
            (Scope::Memcg, None) => oom_level(&mark.levels, is_cut(&mark)),
            // The first victim's memory is being freed: what was full then need not be full now.
            (
                Scope::Memcg,
                Some(LastIncident {
                    oom_id: Some(id), ..
                }),
            ) => level_of(&mark, id),
            _ => None,
        };
        let mut incident = first.unwrap_or(LastIncident {
            boot_time_ns: mark.boot_time_ns,
            latest_ns: mark.boot_time_ns,
            trigger_tid: mark.trigger.tid,
            oom_id: oom_level.and_then(|level| mark.limits.get(level)?.cgroup.id),
            limit_lowered: limit_lowered(&mark, stack),
        });
        incident.latest_ns = mark.boot_time_ns;
        if let Some(call) = mark.call {
            incident.boot_time_ns = call.first_kill_boot_time_ns;
        }
        self.last = Some(incident);
        let group_kill = group_kill(&mark, scope, oom_level, evidence.group_member);
        let VictimMark {
            boot_time_ns,
            backend,
            call,
            mut victim,
            trigger,
            limits,
            levels,
            mut missing,
            ..
        } = mark;
        // The kernel leaves 0 where it did not choose the victim (`oom_kill_allocating_task`), and scores no further member of a
        // group.
        victim.oom_points = call
            .filter(|call| call.kill_number == 1)
            .and_then(|call| call.points)
            .filter(|&points| points != 0);
        // The id was read, but is none of the victim's cgroups: it is in another hierarchy, or above the levels in the record.
        if evidence.oom_id.is_some() && oom_level.is_none() {
            missing.push("oom_cgroup");
        }
        Kill {
            boot_time_ns: Some(boot_time_ns),
            incident_boot_time_ns: Some(incident.boot_time_ns),
            source: Source::Bpf,
            backend,
            attribution: Attribution::Kernel,
            scope,
            constraint: match call {
                Some(call) => call.constraint,
                None => (scope == Scope::Memcg).then_some(Constraint::Memcg),
            },
            allocation: call.and_then(|call| call.allocation),
            group_kill,
            log_key: None,
            group_cgroup: None,
            oom_level: oom_level.filter(|&level| level < limits.len()),
            oom_group_level: levels
                .iter()
                .position(|level| level.oom_group)
                .filter(|&level| level < limits.len()),
            limits,
            victim,
            trigger: Some(trigger),
            limit_lowered: incident.limit_lowered,
            account: None,
            missing,
        }
    }
}

/// Whether a lowered limit made the killer run: the stack shows it, if it reaches the killer's caller.
fn limit_lowered(mark: &VictimMark, stack: Option<OomStack>) -> Option<bool> {
    let stack = stack.filter(|stack| mark.call.is_none() && stack.memcg.is_some())?;
    Some(stack.limit_lowered)
}

/// What ran out of memory, and whether this is a further victim of the incident: read from `oom_control`, or shown by the
/// stack.
struct Evidence {
    scope: Scope,
    /// Id of the memory cgroup that ran out of memory.
    oom_id: Option<u64>,
    group_member: bool,
}

impl Evidence {
    fn new(mark: &VictimMark, stack: Option<OomStack>) -> Self {
        if let Some(OomKillCall {
            target,
            kill_number,
            ..
        }) = mark.call
        {
            let (scope, oom_id) = match target {
                Some(OomTarget::Memcg(id)) => (Scope::Memcg, Some(id)),
                Some(OomTarget::System) => (Scope::System, None),
                None => (Scope::Unknown, None),
            };
            return Self {
                scope,
                oom_id,
                group_member: kill_number > 1,
            };
        }
        Self {
            scope: match stack {
                Some(OomStack {
                    memcg: Some(true), ..
                }) => Scope::Memcg,
                Some(OomStack {
                    memcg: Some(false), ..
                }) => Scope::System,
                Some(OomStack { memcg: None, .. }) | None => Scope::Unknown,
            },
            oom_id: None,
            group_member: stack.is_some_and(|stack| stack.group_member),
        }
    }
}

/// Index of the victim's memory cgroup with this id.
fn level_of(mark: &VictimMark, id: u64) -> Option<usize> {
    mark.limits
        .iter()
        .position(|limit| limit.cgroup.id == Some(id))
}

/// Whether `memory.oom.group` makes this a kill of a whole cgroup; absent if that depends on which cgroup ran out of memory,
/// and that is not known.
///
/// `mem_cgroup_get_oom_group` of `mm/memcontrol.c` searches from the victim's own cgroup up to the one that ran out of
/// memory. On cgroup v1 there is no group kill.
fn group_kill(
    mark: &VictimMark,
    scope: Scope,
    oom_level: Option<usize>,
    group_member: bool,
) -> Option<bool> {
    if group_member {
        return Some(true);
    }
    // If the memory cgroup could not be read, neither could its cgroup version.
    if mark.levels.is_empty() && mark.missing.contains(&"limits") {
        return None;
    }
    if mark.cgroup_v1 {
        return Some(false);
    }
    let set = mark.levels.iter().position(|level| level.oom_group);
    match (set, scope, oom_level) {
        (None, _, None) if is_cut(mark) => None,
        (None, ..) => Some(false),
        (Some(_), Scope::System, _) => Some(true),
        (Some(set), Scope::Memcg, Some(oom)) => Some(set <= oom),
        (Some(_), Scope::Memcg, None) | (Some(_), Scope::Unknown, _) => None,
    }
}

/// Whether there may be memory cgroups above the levels in the record.
fn is_cut(mark: &VictimMark) -> bool {
    mark.levels.len() == MAX_LEVELS && mark.missing.contains(&"limits")
}

/// Index of the memory cgroup that ran out of memory, 0 being the victim's own; absent if it is not certain. `is_cut` says that
/// there may be levels above the given ones.
///
/// The kernel locks the cgroup that ran out and all below it (`mem_cgroup_oom_trylock`), unless a writer lowered the limit.
/// Kernels without cgroup v1 support have no such lock from 6.12 on; then the level at its limit is the one, if there is
/// exactly one.
fn oom_level(levels: &[LevelState], is_cut: bool) -> Option<usize> {
    if let Some(topmost) = levels.iter().rposition(|level| level.oom_lock) {
        let may_be_higher = is_cut && topmost + 1 == levels.len();
        return (!may_be_higher).then_some(topmost);
    }
    if is_cut {
        return None;
    }
    let is_full = |free: Option<u64>| free.is_some_and(|pages| pages <= FULL_PAGES);
    let mut full_levels = levels
        .iter()
        .enumerate()
        .filter(|(_, level)| is_full(level.free_pages) || is_full(level.memsw_free_pages))
        .map(|(index, _)| index);
    match (full_levels.next(), full_levels.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
