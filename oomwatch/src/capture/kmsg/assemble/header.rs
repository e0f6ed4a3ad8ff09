//! The lines that the kernel writes before a kill, at most ten times in five seconds.

use std::{collections::BTreeMap, sync::Arc};

use super::account::{AccountContext, AccountReader, KernelRelease, LogMachine};
use crate::{
    capture::kmsg::{
        fact_cache::HeaderFacts,
        join::LogFacts,
        line::{Message, OomKill, table::TableLayout},
        record::{Caller, Record, Stamp},
    },
    model::{
        account::Account,
        kill::{Allocation, Constraint, Scope, Victim},
    },
};

/// Rows of the task table that are kept; the process of a thread beyond that is unknown.
const MAX_TASKS: usize = 4096;

/// A path of this length or more may be cut, and then name another cgroup: `printk` cuts each piece of a line at 973 bytes
/// or more (`LOG_LINE_MAX` of `kernel/printk/printk.c`).
const MIN_CUT_PATH: usize = 960;

/// The lines before one kill, as far as they have arrived.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) trigger: Option<HeaderTrigger>,
    pub(super) allocation: Option<Allocation>,
    /// What wrote it, if the log states that.
    caller: Option<Caller>,
    pub(super) account: AccountReader,
    pub(super) tasks: TaskTable,
    pub(super) task_memcg: Option<Vec<u8>>,
    pub(super) oom_memcg: Option<Vec<u8>>,
    pub(super) constraint: Option<Constraint>,
    /// The process that will be killed.
    pub(super) victim: Option<u32>,
    /// Whether the two paths are of a `Task in` line, which names no process.
    has_task_in: bool,
    /// The victim as the `oom-kill:` line names it.
    pub(super) named: Option<NamedVictim>,
    /// What ran out, from the `oom-kill:` line.
    scope: Option<Scope>,
    /// The message of the `Kill process` line, before 5.1.
    message: Option<Message>,
}

/// A victim that the `oom-kill:` line names, for a log that has no more of the kill.
#[derive(Debug)]
pub(super) struct NamedVictim {
    pub(super) comm: Vec<u8>,
    pub(super) uid: u32,
    pub(super) stamp: Stamp,
    pub(super) caller: Option<Caller>,
    pub(super) host: Option<String>,
}

/// The task that invoked the OOM killer.
#[derive(Debug)]
pub(super) struct HeaderTrigger {
    pub(super) comm: Vec<u8>,
    pub(super) tid: Option<u32>,
}

/// The candidate processes, by the thread id that a kill line would name.
#[derive(Debug, Default)]
pub(super) struct TaskTable(BTreeMap<u32, u32>);

impl TaskTable {
    /// Adds a row; false if this thread has one already.
    pub(super) fn insert(&mut self, tid: u32, pid: u32) -> bool {
        let is_new = !self.0.contains_key(&tid);
        if self.0.len() < MAX_TASKS {
            self.0.insert(tid, pid);
        }
        is_new
    }

    /// Whether a process or thread has a row, as far as rows are kept.
    fn may_have(&self, id: u32) -> bool {
        self.0.len() >= MAX_TASKS
            || self.0.contains_key(&id)
            || self.0.values().any(|pid| *pid == id)
    }

    /// The process of a thread.
    pub(super) fn pid_of(&self, tid: u32) -> Option<u32> {
        self.0.get(&tid).copied()
    }

    /// Whether the table holds every candidate.
    pub(super) fn is_complete(&self) -> bool {
        !self.0.is_empty() && self.0.len() < MAX_TASKS
    }
}

/// Whether a path is short enough that it cannot have been cut.
pub(super) fn is_uncut(path: &[u8]) -> bool {
    path.len() < MIN_CUT_PATH
}

/// A copy of the path, unless it may have been cut.
pub(super) fn uncut_path(path: &[u8]) -> Option<Vec<u8>> {
    is_uncut(path).then(|| path.to_vec())
}

impl Header {
    /// Adds the `invoked oom-killer` line.
    pub(super) fn invoked(
        &mut self,
        comm: &[u8],
        gfp_mask: u64,
        order: i32,
        caller: Option<Caller>,
    ) {
        self.caller = caller;
        self.trigger = Some(HeaderTrigger {
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

    /// Takes the trigger's thread id from the head of its stack dump. The name must match: another CPU may dump its stack
    /// in between.
    pub(super) fn cpu(&mut self, tid: u32, comm_and_rest: &[u8]) {
        if let Some(trigger) = &mut self.trigger {
            let rest = comm_and_rest.strip_prefix(trigger.comm.as_slice());
            if rest.is_some_and(|rest| rest.starts_with(b" ")) {
                trigger.tid.get_or_insert(tid);
            }
        }
    }

    /// Adds the head of the task table.
    pub(super) fn task_table(
        &mut self,
        layout: TableLayout,
        machine: LogMachine,
        caller: Option<Caller>,
    ) {
        if self.may_be_by(caller) {
            self.account.add_table(layout, machine);
        }
    }

    /// Adds a line to the account. `is_repeated`: it is a row of a thread that has one already.
    pub(super) fn add_to_account(&mut self, record: &Record<'_>, is_repeated: bool) {
        if self.may_be_by(record.caller) {
            self.account.add(&record.text, is_repeated);
        }
    }

    /// Whether a line may be of what wrote the header.
    fn may_be_by(&self, caller: Option<Caller>) -> bool {
        let differs = |(own, other)| own != other;
        !self.caller.zip(caller).is_some_and(differs)
    }

    /// The account of the incident. `victim` is what the kill line says, once it is there.
    pub(super) fn account(
        &self,
        machine: LogMachine,
        release: Option<KernelRelease>,
        victim: Option<&Victim>,
    ) -> Option<Arc<Account>> {
        let context = AccountContext {
            machine,
            release,
            scope: self.scope().unwrap_or(Scope::Unknown),
            constraint: self.constraint,
        };
        self.account.account(context, victim)
    }

    /// Adds the `oom-kill:` line.
    pub(super) fn oom_kill(&mut self, line: &OomKill<'_>, record: &Record<'_>) {
        let OomKill {
            constraint,
            scope,
            oom_memcg,
            task_memcg,
            comm,
            pid,
            uid,
        } = line;
        self.named = Some(NamedVictim {
            comm: comm.to_vec(),
            uid: *uid,
            stamp: record.stamp,
            caller: record.caller,
            host: record.host.as_deref().map(str::to_owned),
        });
        self.constraint = match *constraint {
            b"NONE" => Some(Constraint::None),
            b"CPUSET" => Some(Constraint::Cpuset),
            b"MEMORY_POLICY" => Some(Constraint::MemoryPolicy),
            b"MEMCG" => Some(Constraint::Memcg),
            _ => None,
        };
        self.task_memcg = task_memcg.and_then(uncut_path);
        self.oom_memcg = oom_memcg.and_then(uncut_path);
        self.victim = Some(*pid);
        self.scope = Some(*scope);
        self.account.end(self.tasks.may_have(*pid));
    }

    /// Adds the `Task in` line.
    pub(super) fn task_in(&mut self, task_memcg: Option<&[u8]>, oom_memcg: Option<&[u8]>) {
        self.task_memcg = task_memcg.and_then(uncut_path);
        self.oom_memcg = oom_memcg.and_then(uncut_path);
        self.has_task_in = true;
    }

    /// Adds the `Kill process` line.
    pub(super) fn chosen(&mut self, message: Message, pid: u32) {
        self.message = Some(message);
        self.victim.get_or_insert(pid);
        self.account.end(self.tasks.may_have(pid));
    }

    /// The facts for the kill of `named`, the process or thread id in the header's last line.
    pub(super) fn facts(
        &self,
        named: u32,
        machine: LogMachine,
        release: Option<KernelRelease>,
    ) -> HeaderFacts {
        let trigger = self.trigger.as_ref();
        HeaderFacts {
            named,
            pid: self.pid_of(named).unwrap_or(named),
            trigger_comm: trigger.map(|trigger| trigger.comm.clone()),
            facts: LogFacts {
                scope: self.scope().unwrap_or(Scope::Unknown),
                constraint: self.constraint,
                allocation: self.allocation,
                oom_path: self.oom_memcg.clone(),
                victim_path: self.task_memcg.clone(),
                trigger_tid: trigger.and_then(|trigger| trigger.tid),
                limit_lowered: self.account.limit_lowered(),
                account: self.account(machine, release, None),
            },
        }
    }

    pub(super) fn has_victim(&self) -> bool {
        self.victim.is_some()
    }

    /// Whether this header belongs to another selection than the `Kill process` line of `pid`.
    pub(super) fn names_another(&self, pid: u32) -> bool {
        self.message.is_some() || self.victim.is_some_and(|victim| victim != pid)
    }

    /// Whether it was written for the kill of this thread.
    pub(super) fn is_of(&self, tid: u32) -> bool {
        // No line comes between `Kill process` and its kill, which may be that of a child.
        self.message.is_some() || self.names(tid) || self.lacks_name()
    }

    /// Whether the line that names the process is lost: after `Task in` and a table the kill can only be this report's.
    fn lacks_name(&self) -> bool {
        self.has_task_in && self.victim.is_none()
    }

    /// Whether it names the process of this thread.
    fn names(&self, tid: u32) -> bool {
        self.victim == Some(self.pid_of(tid).unwrap_or(tid))
    }

    /// Whether any rate-limited line is here, not only the `Kill process` line.
    pub(super) fn has_report(&self) -> bool {
        self.trigger.is_some() || self.scope.is_some() || self.task_memcg.is_some()
    }

    /// Whether the kernel is older than 5.0: it logs no constraint, and no cgroup if the system runs out.
    pub(super) fn is_before_5_0(&self) -> bool {
        self.message.is_some() && self.scope.is_none()
    }

    /// The process of a thread.
    pub(super) fn pid_of(&self, tid: u32) -> Option<u32> {
        self.tasks.pid_of(tid)
    }

    /// Cgroup of a victim; unknown for a child that was killed instead of the process that is named.
    pub(super) fn cgroup_of(&self, tid: u32) -> Option<&[u8]> {
        let is_named = self.names(tid) || self.lacks_name();
        self.task_memcg.as_deref().filter(|_| is_named)
    }

    /// What ran out, as far as the header says so.
    pub(super) fn scope(&self) -> Option<Scope> {
        let of_paths = self.has_task_in.then_some(Scope::Memcg);
        self.scope.or(of_paths).or(match self.message {
            Some(Message::Memcg) => Some(Scope::Memcg),
            Some(Message::System) => Some(Scope::System),
            Some(Message::Other | Message::None) | None => None,
        })
    }
}
