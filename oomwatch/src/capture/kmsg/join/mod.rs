//! What the kernel log tells of a kill, added to what the kernel's own record has. Pure.
//!
//! A record of the tracepoints has neither constraint nor allocation, nor, without the kernel's symbols, what ran out; and
//! which cgroup it was it has to infer. The log says all of that. What is absent is filled in, and what was inferred gives
//! way; but where the two contradict each other in what the record knows, it stands, and the line is not of this kill.

use tracing::debug;

use crate::model::kill::{Allocation, Constraint, Kill, Scope};

/// What the log told of one kill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFacts {
    /// What ran out.
    pub scope: Scope,
    /// What the allocation was bound to.
    pub constraint: Option<Constraint>,
    /// What was asked for in vain.
    pub allocation: Option<Allocation>,
    /// Path of the cgroup that ran out.
    pub oom_path: Option<Vec<u8>>,
    /// Path of the victim's memory cgroup; not told of a group's further members.
    pub victim_path: Option<Vec<u8>>,
    /// The thread whose allocation invoked the killer.
    pub trigger_tid: Option<u32>,
}

impl LogFacts {
    /// Only what ran out, as the line of the kill itself has it.
    #[must_use]
    pub fn scope(scope: Scope) -> Self {
        Self {
            scope,
            constraint: None,
            allocation: None,
            oom_path: None,
            victim_path: None,
            trigger_tid: None,
        }
    }

    /// What holds for a further member of the same group.
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
    /// The innermost that has it, as an index into [`Kill::limits`].
    At(usize),
    /// None of those in [`Kill::limits`].
    Unset,
    /// They could not be read.
    Unknown,
}

/// Joins kills with what the log told of them: the members of a group with what it told of the first, since they have no
/// header of their own.
#[derive(Debug, Default)]
pub struct Joiner {
    /// When the incident began, and what was told of it.
    incident: Option<(u64, LogFacts)>,
}

impl Joiner {
    /// Joins a kill, `told` being what the log told of this very one.
    pub fn join(&mut self, kill: &mut Kill, told: Option<LogFacts>, oom_group: OomGroup) {
        let told = match (told, &self.incident) {
            (Some(told), _) => told,
            (None, Some((incident, told))) if kill.incident_boot_time_ns == Some(*incident) => {
                told.of_member()
            }
            (None, _) => return,
        };
        if join(kill, &told, oom_group) {
            let incident = kill.incident_boot_time_ns;
            self.incident = incident.map(|incident| (incident, told));
        }
    }
}

/// Fills in what is absent or inferred in a kill and was told; false if what was told contradicts the kill, and is left out.
pub fn join(kill: &mut Kill, told: &LogFacts, oom_group: OomGroup) -> bool {
    let pid = kill.victim.pid;
    if contradicts(kill, told) {
        debug!(
            pid,
            "the kernel log has another story of this kill: left out"
        );
        return false;
    }
    if kill.scope == Scope::Unknown {
        kill.scope = told.scope;
    }
    let constraint = match kill.scope {
        Scope::Memcg => Some(Constraint::Memcg),
        Scope::System => told.constraint,
        Scope::Unknown => None,
    };
    kill.constraint = kill.constraint.or(constraint);
    kill.allocation = kill.allocation.or(told.allocation);
    let oom_path = told.oom_path.as_deref();
    let level = kill
        .limits
        .iter()
        .position(|limit| Some(limit.cgroup.path.as_slice()) == oom_path);
    if level.is_some() && kill.oom_level != level && kill.scope == Scope::Memcg {
        if kill.oom_level.is_some() {
            debug!(pid, "the kernel log says that another cgroup ran out");
        }
        kill.oom_level = level;
        // It was inferred from the same.
        kill.group_kill = group_kill(oom_group, kill.scope, level).or(kill.group_kill);
    }
    kill.group_kill = kill
        .group_kill
        .or_else(|| group_kill(oom_group, kill.scope, kill.oom_level));
    true
}

/// Whether `memory.oom.group` makes a kill take a whole cgroup; absent if that cannot be told.
///
/// `mem_cgroup_get_oom_group` of `mm/memcontrol.c` looks from the victim's own cgroup up to the one that ran out.
#[must_use]
pub fn group_kill(oom_group: OomGroup, scope: Scope, oom_level: Option<usize>) -> Option<bool> {
    match (oom_group, scope, oom_level) {
        (OomGroup::At(_), Scope::System, _) => Some(true),
        (OomGroup::At(group), Scope::Memcg, Some(oom)) => Some(group <= oom),
        (OomGroup::Unset, Scope::Memcg, Some(_)) => Some(false),
        // Above those that were read there may be more.
        (OomGroup::Unset | OomGroup::At(_) | OomGroup::Unknown, _, _) => None,
    }
}

/// Whether what was told cannot be of this kill.
fn contradicts(kill: &Kill, told: &LogFacts) -> bool {
    let differs = |known: Option<&[u8]>, told: Option<&[u8]>| {
        known.zip(told).is_some_and(|(known, told)| known != told)
    };
    let cgroup = kill.victim.cgroup.as_ref();
    let is_other_scope =
        kill.scope != Scope::Unknown && told.scope != Scope::Unknown && kill.scope != told.scope;
    is_other_scope
        || differs(
            cgroup.map(|cgroup| cgroup.path.as_slice()),
            told.victim_path.as_deref(),
        )
}

#[cfg(test)]
mod tests;
