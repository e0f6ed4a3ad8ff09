//! What the log says of a kill at once, kept until somebody who saw the kill itself asks for it. Pure and bounded.
//!
//! The kernel writes the header of a kill *before* it signals and marks the victim, and the line of the kill right
//! *after*: whoever has seen the mark can read the header already, and the line within microseconds.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    join::LogFacts,
    line::{Killed, Message},
};
use crate::model::kill::{Kill, Scope, Victim};

/// How long a line waits for its kill, from when it was read: the number of a process means another process later.
const KEPT: Duration = Duration::from_secs(10);

/// Headers that wait; the kernel writes ten in five seconds at most.
const MAX_HEADERS: usize = 64;

/// Lines of kills that wait.
const MAX_KILLS: usize = 4096;

/// What one line brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The header of a kill, as far as it comes before the kill.
    Header(ToldHeader),
    /// A kill.
    Killed(ToldKill),
    /// What the last header names is not killed after all.
    NoKill {
        /// The process or thread.
        named: u32,
    },
}

/// A header that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ToldHeader {
    /// The process or thread that it names.
    pub(super) named: u32,
    /// The process, as far as the header tells it from the thread.
    pub(super) pid: u32,
    pub(super) trigger_comm: Option<Vec<u8>>,
    pub(super) told: LogFacts,
}

/// A line of a kill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ToldKill {
    tid: u32,
    /// Name of the thread.
    comm: Vec<u8>,
    scope: Scope,
}

impl ToldHeader {
    /// Whether it was written for this kill: it names its process, and its trigger is the kill's.
    fn is_of(&self, kill: &Kill) -> bool {
        let Some(trigger) = &kill.trigger else {
            return false;
        };
        let victim = &kill.victim;
        // `oom_kill_allocating_task` names the trigger, a thread that need not be the one that is marked.
        let is_own_trigger = trigger.tid == Some(self.named) && trigger.pid == Some(victim.pid);
        let names_it = self.pid == victim.pid || self.named == victim.tid || is_own_trigger;
        let is_other_thread = self
            .told
            .trigger_tid
            .zip(trigger.tid)
            .is_some_and(|(told, known)| told != known);
        names_it
            && !is_other_thread
            && self.trigger_comm.is_some()
            && self.trigger_comm == trigger.comm
    }
}

impl ToldKill {
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

    /// Whether it was written of this victim. The line has the name of the thread, the victim that of the process.
    fn is_of(&self, victim: &Victim) -> bool {
        let has_its_name =
            victim.tid != victim.pid || victim.comm.as_ref().is_none_or(|comm| *comm == self.comm);
        self.tid == victim.tid && has_its_name
    }
}

/// Lines that wait for their kills.
#[derive(Debug, Default)]
pub(super) struct FactCache {
    headers: VecDeque<(Instant, ToldHeader)>,
    kills: VecDeque<(Instant, ToldKill)>,
}

impl FactCache {
    /// Takes what a line brought that was read now.
    pub(super) fn put(&mut self, news: News, now: Instant) {
        self.forget(now);
        match news {
            News::Header(header) => push(&mut self.headers, (now, header), MAX_HEADERS),
            News::Killed(kill) => push(&mut self.kills, (now, kill), MAX_KILLS),
            News::NoKill { named } => {
                self.headers
                    .pop_back_if(|(_, header)| header.named == named);
            }
        }
    }

    /// What the header of this kill told; once.
    pub(super) fn take_header(&mut self, kill: &Kill, now: Instant) -> Option<LogFacts> {
        self.forget(now);
        let place = self
            .headers
            .iter()
            .position(|(_, header)| header.is_of(kill))?;
        self.headers.remove(place).map(|(_, header)| header.told)
    }

    /// What the line of this victim's kill told; once.
    pub(super) fn take_killed(&mut self, victim: &Victim, now: Instant) -> Option<LogFacts> {
        self.forget(now);
        let place = self.kills.iter().position(|(_, kill)| kill.is_of(victim))?;
        self.kills
            .remove(place)
            .map(|(_, kill)| LogFacts::scope(kill.scope))
    }

    /// Forgets what is too old.
    fn forget(&mut self, now: Instant) {
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
