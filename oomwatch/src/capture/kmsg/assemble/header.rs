//! What the kernel writes before a kill, ten times in five seconds at most.

use std::collections::BTreeMap;

use crate::{
    capture::kmsg::{
        fact_cache::ToldHeader,
        join::LogFacts,
        line::{Counter, Message, OomKill},
        record::Caller,
    },
    model::kill::{Allocation, Constraint, Scope},
};

/// Tasks of a table that are kept; beyond that a thread's process is not known.
const MAX_TASKS: usize = 4096;

/// From this length on a path may be only the beginning of one, and so another cgroup's: `printk` cuts each piece of a line
/// at 973 bytes or more (`LOG_LINE_MAX` of `kernel/printk/printk.c`).
const CUT_PATH: usize = 960;

/// The lines of one report before its kill, as far as they have come.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) trigger: Option<Trigger>,
    pub(super) allocation: Option<Allocation>,
    /// Counters of the cgroup that ran out.
    pub(super) memory: Usage,
    pub(super) swap: Usage,
    pub(super) tasks: Tasks,
    pub(super) task_memcg: Option<Vec<u8>>,
    pub(super) oom_memcg: Option<Vec<u8>>,
    pub(super) constraint: Option<Constraint>,
    /// The process that will be killed.
    pub(super) victim: Option<u32>,
    /// What ran out, as `oom-kill:` says.
    scope: Option<Scope>,
    /// What the line before the kill says, before 5.1.
    message: Option<Message>,
}

#[derive(Debug)]
pub(super) struct Trigger {
    pub(super) comm: Vec<u8>,
    pub(super) tid: Option<u32>,
}

/// A counter of a cgroup.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) usage_bytes: Option<u64>,
    pub(super) limit_bytes: Option<u64>,
}

/// The processes that could have been killed, by the thread that would have been named.
#[derive(Debug, Default)]
pub(super) struct Tasks(BTreeMap<u32, u32>);

impl Tasks {
    pub(super) fn insert(&mut self, tid: u32, pid: u32) {
        if self.0.len() < MAX_TASKS {
            self.0.insert(tid, pid);
        }
    }

    /// The process of a thread.
    pub(super) fn pid_of(&self, tid: u32) -> Option<u32> {
        self.0.get(&tid).copied()
    }

    /// Whether it is known of every thread that could be named that it is here.
    pub(super) fn is_whole(&self) -> bool {
        !self.0.is_empty() && self.0.len() < MAX_TASKS
    }
}

/// Whether a path cannot have been cut.
pub(super) fn is_whole(path: &[u8]) -> bool {
    path.len() < CUT_PATH
}

/// A path, if it cannot have been cut.
pub(super) fn whole_path(path: &[u8]) -> Option<Vec<u8>> {
    is_whole(path).then(|| path.to_vec())
}

impl Header {
    pub(super) fn invoked(
        &mut self,
        comm: &[u8],
        gfp_mask: u64,
        order: i32,
        caller: Option<Caller>,
    ) {
        self.trigger = Some(Trigger {
            comm: comm.to_vec(),
            tid: match caller {
                Some(Caller::Thread(tid)) => Some(tid),
                Some(Caller::Cpu(_)) | None => None,
            },
        });
        self.allocation = Some(Allocation {
            order,
            gfp_mask,
            total_pages: None,
        });
    }

    /// Takes the trigger's thread from the head of its stack dump; another CPU may dump its own in between.
    pub(super) fn cpu(&mut self, tid: u32, comm_and_rest: &[u8]) {
        if let Some(trigger) = &mut self.trigger {
            let rest = comm_and_rest.strip_prefix(trigger.comm.as_slice());
            if rest.is_some_and(|rest| rest.starts_with(b" ")) {
                trigger.tid.get_or_insert(tid);
            }
        }
    }

    pub(super) fn usage(&mut self, counter: Counter, usage_bytes: u64, limit_bytes: Option<u64>) {
        let usage = match counter {
            Counter::Memory => &mut self.memory,
            Counter::Swap => &mut self.swap,
        };
        *usage = Usage {
            usage_bytes: Some(usage_bytes),
            limit_bytes,
        };
    }

    pub(super) fn oom_kill(&mut self, line: &OomKill<'_>) {
        let OomKill {
            constraint,
            oom_memcg,
            task_memcg,
            comm: _,
            pid,
            uid: _,
        } = line;
        self.constraint = match *constraint {
            b"NONE" => Some(Constraint::None),
            b"CPUSET" => Some(Constraint::Cpuset),
            b"MEMORY_POLICY" => Some(Constraint::MemoryPolicy),
            b"MEMCG" => Some(Constraint::Memcg),
            _ => None,
        };
        self.task_memcg = whole_path(task_memcg);
        self.oom_memcg = oom_memcg.and_then(whole_path);
        self.victim = Some(*pid);
        self.scope = Some(match oom_memcg {
            Some(_) => Scope::Memcg,
            None => Scope::System,
        });
    }

    pub(super) fn chosen(&mut self, message: Message, pid: u32) {
        self.message = Some(message);
        self.victim.get_or_insert(pid);
    }

    /// What it tells of the kill of the process or thread that it names.
    pub(super) fn told(&self, named: u32) -> ToldHeader {
        let trigger = self.trigger.as_ref();
        ToldHeader {
            named,
            pid: self.pid_of(named).unwrap_or(named),
            trigger_comm: trigger.map(|trigger| trigger.comm.clone()),
            told: LogFacts {
                scope: self.scope().unwrap_or(Scope::Unknown),
                constraint: self.constraint,
                allocation: self.allocation,
                oom_path: self.oom_memcg.clone(),
                victim_path: self.task_memcg.clone(),
                trigger_tid: trigger.and_then(|trigger| trigger.tid),
            },
        }
    }

    pub(super) fn has_victim(&self) -> bool {
        self.victim.is_some()
    }

    /// Whether it was written before another process was chosen than this one.
    pub(super) fn names_another(&self, pid: u32) -> bool {
        self.message.is_some() || self.victim.is_some_and(|victim| victim != pid)
    }

    /// Whether it was written for the kill of this thread.
    pub(super) fn is_of(&self, tid: u32) -> bool {
        // Nothing comes between `Kill process` and its kill, which may be a child's.
        self.message.is_some() || self.names(tid)
    }

    /// Whether it names the process of this thread.
    fn names(&self, tid: u32) -> bool {
        self.victim == Some(self.pid_of(tid).unwrap_or(tid))
    }

    /// Whether more than the line before the kill is there, which is never held back.
    pub(super) fn is_told(&self) -> bool {
        self.trigger.is_some() || self.scope.is_some() || self.task_memcg.is_some()
    }

    /// Whether the kernel is one before 5.0, which says nothing of constraints, nor of cgroups when the system runs out.
    pub(super) fn is_old(&self) -> bool {
        self.message.is_some() && self.scope.is_none()
    }

    /// The process of a thread.
    pub(super) fn pid_of(&self, tid: u32) -> Option<u32> {
        self.tasks.pid_of(tid)
    }

    /// Cgroup of a victim; unknown of a child that was killed in the place of the process that is named.
    pub(super) fn cgroup_of(&self, tid: u32) -> Option<&[u8]> {
        self.task_memcg.as_deref().filter(|_| self.names(tid))
    }

    /// What ran out, as far as the header says so.
    pub(super) fn scope(&self) -> Option<Scope> {
        self.scope.or(match self.message {
            Some(Message::Memcg) => Some(Scope::Memcg),
            Some(Message::System) => Some(Scope::System),
            Some(Message::Other | Message::None) | None => None,
        })
    }
}
