//! Observations to kills: which mark was a kill, what ran out, which kills are one incident, which are not the first. Pure.

mod checkpoint;

use std::collections::VecDeque;

use oomwatch_ebpf::record::MAX_LEVELS;
use serde::{Deserialize, Serialize};

pub use self::checkpoint::IncidentCheckpoint;
use crate::{
    capture::decode::{
        LevelState, Mark, Observation, OomKillCall, OomTarget, Relation, Sigkill, Signal,
    },
    model::kill::{Attribution, Constraint, Kill, NonKill, NonKillKind, Scope, Source},
};

/// A level counts as full this near to its limit: the kernel charges in batches of up to 64 pages
/// (`MEMCG_CHARGE_BATCH` of `include/linux/memcontrol.h`).
const FULL_PAGES: u64 = 64;

/// Processes that are remembered as killed or as sharers. A process that is killed twice is so within one incident.
const REMEMBERED: usize = 4096;

/// A group's members follow each other within microseconds; past this gap the first one's record must have been lost.
const INCIDENT_GAP_NS: u64 = 1_000_000_000;

/// A process that dies slowly may be killed again; another one that gets its id may look like it, but hardly so soon.
const SAME_PROCESS_NS: u64 = 10_000_000_000;

/// What the kernel stack at a record says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// A memory cgroup ran out; else the system did.
    pub memcg: bool,
    /// The OOM killer was killing, not only marking.
    pub kill: bool,
    /// A further member of a group kill.
    pub group_member: bool,
}

/// What came of an observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A process was killed.
    Kill(Box<Kill>),
    /// Something else happened to a process that belongs to the picture.
    NonKill(NonKill),
    /// Nothing of the OOM killer's, or told already.
    Nothing,
}

/// Turns observations into kills, in the order in which the kernel made them.
#[derive(Debug, Default)]
pub struct Incidents {
    last: Option<Incident>,
    killed: Recent,
    sharers: Recent,
}

/// The incident that the last kill belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Incident {
    boot_time_ns: u64,
    /// When its latest victim was marked.
    latest_ns: u64,
    trigger_tid: Option<u32>,
    /// Id of the memory cgroup that ran out, where it is known.
    oom_id: Option<u64>,
}

/// A process: its id and when it started.
type Process = (u32, Option<u64>);

/// Processes, each with when it was remembered.
#[derive(Debug, Default)]
struct Recent(VecDeque<(Process, u64)>);

impl Recent {
    /// Remembers a process; false if it was remembered already.
    ///
    /// Where its start is not known, another may have the same id later: then only one of the last seconds is the same.
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
    /// Takes the next observation. `explain` tells what a kernel stack says, where the kernel's symbols can be read.
    pub fn observe(
        &mut self,
        observation: Observation,
        explain: impl FnOnce(&[u64]) -> Option<Stack>,
    ) -> Outcome {
        match observation {
            Observation::Mark(mark) => {
                let stack = explain(&mark.stack);
                self.mark(*mark, stack)
            }
            Observation::BareMark { boot_time_ns, tid } => Outcome::NonKill(NonKill {
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

    fn mark(&mut self, mark: Mark, stack: Option<Stack>) -> Outcome {
        if mark.sigkill == Sigkill::Reported {
            return Outcome::Nothing;
        }
        // Two independent witnesses; the stack is the better one, but needs the kernel's symbols.
        let killed = stack.map_or(mark.sigkill == Sigkill::Sent, |stack| stack.kill);
        let process = (mark.victim.pid, mark.victim.start_boot_time_ns);
        let kind = if !killed {
            NonKillKind::Mark
        } else if self.killed.insert(process, mark.boot_time_ns) {
            return Outcome::Kill(Box::new(self.kill(mark, stack)));
        } else {
            NonKillKind::Rekill
        };
        let Mark {
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

    fn signal(&mut self, signal: Signal, stack: Option<Stack>) -> Outcome {
        // A dying init process sends SIGKILL to its PID namespace, victims among them.
        let by_oom_killer = signal.is_certain
            || stack.map_or(
                !signal.sender_exiting && self.triggered(signal.sender_tid),
                |stack| stack.kill,
            );
        if !by_oom_killer {
            return Outcome::Nothing;
        }
        let process = (signal.pid, Some(signal.start_boot_time_ns));
        let kind = match signal.relation {
            Relation::Rekill => NonKillKind::Rekill,
            Relation::Sharer { victim_pid }
                if self.sharers.insert(process, signal.boot_time_ns) =>
            {
                NonKillKind::Sharer { victim_pid }
            }
            Relation::Sharer { .. } => return Outcome::Nothing,
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

    fn kill(&mut self, mark: Mark, stack: Option<Stack>) -> Kill {
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
            // The first victim's death has made room: what was full then need not be so now.
            (
                Scope::Memcg,
                Some(Incident {
                    oom_id: Some(id), ..
                }),
            ) => level_of(&mark, id),
            _ => None,
        };
        let mut incident = first.unwrap_or(Incident {
            boot_time_ns: mark.boot_time_ns,
            latest_ns: mark.boot_time_ns,
            trigger_tid: mark.trigger.tid,
            oom_id: oom_level.and_then(|level| mark.limits.get(level)?.cgroup.id),
        });
        incident.latest_ns = mark.boot_time_ns;
        if let Some(call) = mark.call {
            incident.boot_time_ns = call.first_kill_boot_time_ns;
        }
        self.last = Some(incident);
        let group_kill = group_kill(&mark, scope, oom_level, evidence.group_member);
        let Mark {
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
        // The kernel leaves 0 where it did not choose (`oom_kill_allocating_task`); a group's members it never weighs.
        victim.oom_points = call
            .filter(|call| call.kill_number == 1)
            .and_then(|call| call.points)
            .filter(|&points| points != 0);
        // Read, but not among the cgroups of the victim: of another hierarchy, or above what a record has room for.
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
            group_cgroup: None,
            oom_level: oom_level.filter(|&level| level < limits.len()),
            oom_group_level: levels
                .iter()
                .position(|level| level.oom_group)
                .filter(|&level| level < limits.len()),
            limits,
            victim,
            trigger: Some(trigger),
            missing,
        }
    }
}

/// What ran out, and whether this is a further victim of its incident: the kernel's own answer, or what its stack shows.
struct Evidence {
    scope: Scope,
    /// The memory cgroup that ran out.
    oom_id: Option<u64>,
    group_member: bool,
}

impl Evidence {
    fn new(mark: &Mark, stack: Option<Stack>) -> Self {
        if let Some(OomKillCall {
            ran_out,
            kill_number,
            ..
        }) = mark.call
        {
            let (scope, oom_id) = match ran_out {
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
                Some(Stack { memcg: true, .. }) => Scope::Memcg,
                Some(_) => Scope::System,
                None => Scope::Unknown,
            },
            oom_id: None,
            group_member: stack.is_some_and(|stack| stack.group_member),
        }
    }
}

/// Which of the victim's memory cgroups has this id.
fn level_of(mark: &Mark, id: u64) -> Option<usize> {
    mark.limits
        .iter()
        .position(|limit| limit.cgroup.id == Some(id))
}

/// Whether `memory.oom.group` makes this kill take a whole cgroup; absent if that cannot be told without knowing what ran out.
///
/// `mem_cgroup_get_oom_group` of `mm/memcontrol.c` looks from the victim's own cgroup up to the one that ran out, and on
/// cgroup v1 not at all.
fn group_kill(
    mark: &Mark,
    scope: Scope,
    oom_level: Option<usize>,
    group_member: bool,
) -> Option<bool> {
    if group_member {
        return Some(true);
    }
    // Where the memory cgroup could not be read, its version was not either.
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

/// Whether there may be memory cgroups above those that the record had room for.
fn is_cut(mark: &Mark) -> bool {
    mark.levels.len() == MAX_LEVELS && mark.missing.contains(&"limits")
}

/// Which of the victim's memory cgroups ran out, the victim's own being the first; absent if it may be one that was cut.
///
/// The kernel locks the one that ran out and all below it (`mem_cgroup_oom_trylock`), where it still has that lock (cgroup
/// v1 builds, and all before 6.12) and no writer lowered the limit. Else one level alone at its limit is the one.
fn oom_level(levels: &[LevelState], cut: bool) -> Option<usize> {
    if let Some(topmost) = levels.iter().rposition(|level| level.oom_lock) {
        let may_be_higher = cut && topmost + 1 == levels.len();
        return (!may_be_higher).then_some(topmost);
    }
    if cut {
        return None;
    }
    let full = |free: Option<u64>| free.is_some_and(|pages| pages <= FULL_PAGES);
    let mut full_levels = levels
        .iter()
        .enumerate()
        .filter(|(_, level)| full(level.free_pages) || full(level.memsw_free_pages))
        .map(|(index, _)| index);
    match (full_levels.next(), full_levels.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
