//! Keeps the facts of log lines until a BPF program reports the same kill. Pure and bounded.
//!
//! The kernel writes the header of a kill *before* it signals and marks the victim, and the kill line right *after*. So
//! when a `mark_victim` event arrives the header can be read already, and the kill line within microseconds.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    join::LogFacts,
    line::{Killed, Message},
};
use crate::model::kill::{Kill, Scope, Victim};

/// How long facts are kept after they were read: later, the same pid may be another process.
const KEPT: Duration = Duration::from_secs(10);

/// Headers that are kept; the kernel writes at most ten in five seconds.
const MAX_HEADERS: usize = 64;

/// Kill lines that are kept.
const MAX_KILLS: usize = 4096;

/// The facts of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LineFacts {
    /// The last line of a header.
    Header(HeaderFacts),
    /// A kill line.
    Killed(KilledFacts),
    /// The process that the last header names is not killed.
    NoKill {
        /// The process or thread id.
        named: u32,
    },
}

/// The facts of a complete header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeaderFacts {
    /// The process or thread id that it names.
    pub(super) named: u32,
    /// The process id, if the header allows to derive it from the thread id; else the same as `named`.
    pub(super) pid: u32,
    pub(super) trigger_comm: Option<Vec<u8>>,
    pub(super) facts: LogFacts,
}

/// The facts of a kill line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KilledFacts {
    tid: u32,
    /// Name of the thread.
    comm: Vec<u8>,
    scope: Scope,
}

impl HeaderFacts {
    /// Whether it was written for this kill: it names the same process and has the same trigger.
    fn is_of(&self, kill: &Kill) -> bool {
        let Some(trigger) = &kill.trigger else {
            return false;
        };
        let victim = &kill.victim;
        // With `oom_kill_allocating_task` it names the triggering thread, which may differ from the marked one.
        let is_own_trigger = trigger.tid == Some(self.named) && trigger.pid == Some(victim.pid);
        let names_it = self.pid == victim.pid || self.named == victim.tid || is_own_trigger;
        let is_other_thread = self
            .facts
            .trigger_tid
            .zip(trigger.tid)
            .is_some_and(|(logged, recorded)| logged != recorded);
        names_it
            && !is_other_thread
            && self.trigger_comm.is_some()
            && self.trigger_comm == trigger.comm
    }
}

impl KilledFacts {
    pub(super) fn new(killed: &Killed<'_>) -> Self {
        Self {
            tid: killed.tid,
            comm: killed.comm.to_vec(),
            scope: match killed.message {
                Message::Memcg => Scope::Memcg,
                Message::System => Scope::System,
                Message::Other | Message::None => Scope::Unknown,
            },
        }
    }

    /// Whether it is the kill line of this victim. The line has the name of the thread, the victim that of the process.
    fn is_of(&self, victim: &Victim) -> bool {
        let has_same_name =
            victim.tid != victim.pid || victim.comm.as_ref().is_none_or(|comm| *comm == self.comm);
        self.tid == victim.tid && has_same_name
    }
}

/// The facts of recent lines, each returned once.
#[derive(Debug, Default)]
pub(super) struct FactCache {
    headers: VecDeque<(Instant, HeaderFacts)>,
    kills: VecDeque<(Instant, KilledFacts)>,
}

impl FactCache {
    /// Adds the facts of a line that was read now.
    pub(super) fn insert(&mut self, facts: LineFacts, now: Instant) {
        self.expire(now);
        match facts {
            LineFacts::Header(header) => push(&mut self.headers, (now, header), MAX_HEADERS),
            LineFacts::Killed(kill) => push(&mut self.kills, (now, kill), MAX_KILLS),
            LineFacts::NoKill { named } => {
                self.headers
                    .pop_back_if(|(_, header)| header.named == named);
            }
        }
    }

    /// Takes the facts of the header of this kill.
    pub(super) fn take_header(&mut self, kill: &Kill, now: Instant) -> Option<LogFacts> {
        self.expire(now);
        let index = self
            .headers
            .iter()
            .position(|(_, header)| header.is_of(kill))?;
        self.headers.remove(index).map(|(_, header)| header.facts)
    }

    /// Takes the facts of the kill line of this victim.
    pub(super) fn take_killed(&mut self, victim: &Victim, now: Instant) -> Option<LogFacts> {
        self.expire(now);
        let index = self.kills.iter().position(|(_, kill)| kill.is_of(victim))?;
        self.kills
            .remove(index)
            .map(|(_, kill)| LogFacts::scope(kill.scope))
    }

    /// Drops what is older than [`KEPT`].
    fn expire(&mut self, now: Instant) {
        let is_old = |read: Instant| now.duration_since(read) > KEPT;
        while self
            .headers
            .pop_front_if(|(read, _)| is_old(*read))
            .is_some()
        {}
        while self.kills.pop_front_if(|(read, _)| is_old(*read)).is_some() {}
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T, bound: usize) {
    if queue.len() == bound {
        queue.pop_front();
    }
    queue.push_back(item);
}

#[cfg(test)]
mod tests;
