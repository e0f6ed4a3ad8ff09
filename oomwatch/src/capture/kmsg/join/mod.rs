//! Adds facts of the kernel log to a kill that a BPF program recorded. Pure.
//!
//! A record of the tracepoint backend has no constraint and no allocation and, without the kernel's symbols, no scope; the
//! cgroup that ran out is inferred. The log has all of these. Absent facts are filled in and inferred ones replaced. If the
//! log contradicts what the record knows, the record is kept unchanged and the line is taken to be of another kill.

use std::sync::Arc;

use tracing::debug;

use crate::model::{
    account::Account,
    kill::{Allocation, Constraint, Kill, Scope},
};

/// The facts of one kill in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFacts {
    /// What ran out.
    pub scope: Scope,
    /// What the allocation was confined to.
    pub constraint: Option<Constraint>,
    /// The allocation that failed.
    pub allocation: Option<Allocation>,
    /// Path of the cgroup that ran out.
    pub oom_path: Option<Vec<u8>>,
    /// Path of the victim's memory cgroup; absent for further members of a group.
    pub victim_path: Option<Vec<u8>>,
    /// The thread whose allocation invoked the killer.
    pub trigger_tid: Option<u32>,
    /// Whether a lowered limit invoked the killer.
    pub limit_lowered: Option<bool>,
    /// The account of the incident.
    pub account: Option<Arc<Account>>,
}

impl LogFacts {
    /// The facts of the kill line alone: what ran out.
    #[must_use]
    pub fn scope(scope: Scope) -> Self {
        Self {
            scope,
            constraint: None,
            allocation: None,
            oom_path: None,
            victim_path: None,
            trigger_tid: None,
            limit_lowered: None,
            account: None,
        }
    }

    /// The facts that also hold for a further member of the same group.
    fn of_member(&self) -> Self {
        Self {
            victim_path: None,
            ..self.clone()
        }
    }
}

/// Which of the victim's memory cgroups have `memory.oom.group` set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomGroup {
    /// The innermost one that has it set, as an index into [`Kill::limits`].
    At(usize),
    /// None of those in [`Kill::limits`].
    Unset,
    /// They could not be read.
    Unknown,
}

/// Joins kills with their facts in the log. Members of a group have no header; they get the facts of the first victim.
#[derive(Debug, Default)]
pub struct Joiner {
    /// Time of the last incident (nanoseconds since boot), and its facts.
    incident: Option<(u64, LogFacts)>,
}

impl Joiner {
    /// Joins a kill with its facts, or with those of its incident.
    pub fn join(&mut self, kill: &mut Kill, facts: Option<LogFacts>, oom_group: OomGroup) {
        let facts = match (facts, &self.incident) {
            (Some(facts), _) => facts,
            (None, Some((incident, facts))) if kill.incident_boot_time_ns == Some(*incident) => {
                facts.of_member()
            }
            (None, _) => return,
        };
        if join(kill, &facts, oom_group) {
            let incident = kill.incident_boot_time_ns;
            self.incident = incident.map(|incident| (incident, facts));
        }
    }
}

/// Fills in what is absent or inferred in a kill; false, with the kill unchanged, if the facts contradict it.
pub fn join(kill: &mut Kill, facts: &LogFacts, oom_group: OomGroup) -> bool {
    let pid = kill.victim.pid;
    if contradicts(kill, facts) {
        debug!(
            pid,
            "facts of the kernel log contradict the record of this kill, ignoring them"
        );
        return false;
    }
    if kill.scope == Scope::Unknown {
        kill.scope = facts.scope;
    }
    let constraint = match kill.scope {
        Scope::Memcg => Some(Constraint::Memcg),
        Scope::System => facts.constraint,
        Scope::Unknown => None,
    };
    kill.constraint = kill.constraint.or(constraint);
    kill.allocation = kill.allocation.or(facts.allocation);
    kill.limit_lowered = kill.limit_lowered.or(facts.limit_lowered);
    kill.account = Account::completed(kill.account.take(), facts.account.as_ref());
    if kill.backend.is_function() {
        // What ran out is known exactly.
        return true;
    }
    let oom_path = facts.oom_path.as_deref();
    let level = kill
        .limits
        .iter()
        .position(|limit| Some(limit.cgroup.path.as_slice()) == oom_path);
    if level.is_some() && kill.oom_level != level && kill.scope == Scope::Memcg {
        if kill.oom_level.is_some() {
            debug!(
                pid,
                "the kernel log names another cgroup as the one that ran out, using it"
            );
        }
        kill.oom_level = level;
        // It was inferred from the level.
        kill.group_kill = group_kill(oom_group, kill.scope, level).or(kill.group_kill);
    }
    kill.group_kill = kill
        .group_kill
        .or_else(|| group_kill(oom_group, kill.scope, kill.oom_level));
    true
}

/// Whether `memory.oom.group` extends a kill to a whole cgroup; absent if that cannot be determined.
///
/// `mem_cgroup_get_oom_group` of `mm/memcontrol.c` looks from the victim's own cgroup up to the one that ran out.
#[must_use]
pub fn group_kill(oom_group: OomGroup, scope: Scope, oom_level: Option<usize>) -> Option<bool> {
    match (oom_group, scope, oom_level) {
        (OomGroup::At(_), Scope::System, _) => Some(true),
        (OomGroup::At(group), Scope::Memcg, Some(oom)) => Some(group <= oom),
        (OomGroup::Unset, Scope::Memcg, Some(_)) => Some(false),
        // Cgroups above those that were read may have it set.
        (OomGroup::Unset | OomGroup::At(_) | OomGroup::Unknown, _, _) => None,
    }
}

/// Whether the facts cannot be of this kill.
fn contradicts(kill: &Kill, facts: &LogFacts) -> bool {
    let differs = |recorded: Option<&[u8]>, logged: Option<&[u8]>| {
        recorded
            .zip(logged)
            .is_some_and(|(recorded, logged)| recorded != logged)
    };
    let cgroup = kill.victim.cgroup.as_ref();
    let is_other_scope =
        kill.scope != Scope::Unknown && facts.scope != Scope::Unknown && kill.scope != facts.scope;
    is_other_scope
        || differs(
            cgroup.map(|cgroup| cgroup.path.as_slice()),
            facts.victim_path.as_deref(),
        )
}

#[cfg(test)]
mod tests;
