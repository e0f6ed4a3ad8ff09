//! Lines of the kernel log to kills, one for each `Killed process` line, which the kernel never holds back.
//!
//! What stands before it (the header: trigger, allocation, cgroups, table of tasks) comes for 10 kills in 5 s only. A
//! header counts for a kill only if it names the same process: by its own number, or by the thread's in the table of
//! tasks. All else is left out rather than taken from another kill's header.
//!
//! **The number of the process.** The line has that of a *thread*, the one that still had the process's memory. It is
//! the process's own in all but rare cases: where the first thread is gone. Header and table then tell the process; with
//! neither, [`Victim::pid`] is the thread's number.
//!
//! **Group kills** (`memory.oom.group`). The line that says so follows the first kill, so that a kill is held back until
//! the next line of the OOM killer's, a later line by [`HOLD`], or [`Assembler::flush`]. The first victim is killed once
//! more with its group: a re-kill, as is any process that is killed twice.
//!
//! Bounded: whatever comes, what is kept is one header, one kill, and the last [`REMEMBERED`] victims.

mod build;
mod continuation;
mod header;
mod incident;

use jiff::SignedDuration;

use self::{
    build::OwnedKilled,
    continuation::OpenLine,
    header::{Header, whole_path},
    incident::{Held, Incident, Membership, SLOW_CONSOLE, Victims},
};
use super::{
    line::{self, Killed, Line},
    record::{Origin, Record, Stamp},
};
#[cfg(doc)]
use crate::model::kill::Victim;
use crate::model::kill::{Kill, NonKill};
use crate::{
    capture::kmsg::fact_cache::{News, ToldKill},
    model::kill::LogKey,
};

/// How long after a kill the line may come that makes it a group's. The two are written microseconds apart, but a slow
/// console may stand between them.
pub const HOLD: SignedDuration = SignedDuration::from_millis(200);

/// Victims that are remembered, to tell a re-kill.
pub const REMEMBERED: usize = 4096;

/// Time that goes back this far is that of another boot; records of several CPUs may be out of order by less.
const REBOOT: SignedDuration = SignedDuration::from_secs(-1);

/// Whose records are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The kernel alone
    Kernel,
    /// What a process wrote to /dev/kmsg too, as the kubelet does: whoever can write there can then forge kills
    Everyone,
}

/// What the log told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogItem {
    /// A process was killed.
    Kill(Box<LogKill>),
    /// A process was killed that had been killed already.
    Rekill {
        /// Which.
        aside: NonKill,
        /// When.
        stamp: Stamp,
    },
}

/// A kill, and what only a log has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKill {
    /// The facts.
    pub kill: Kill,
    /// When its line was written, by the clocks that the log has.
    pub stamp: Stamp,
    /// The same for the first victim of its incident.
    pub incident: Stamp,
    /// The thread that was named as the first victim of its incident: with the time it names an incident.
    pub incident_tid: u32,
    /// Counts the kills of the log, re-kills included, from 1.
    pub number: u64,
    /// The same of the first victim of its incident.
    pub incident_number: u64,
    /// Name of the machine, where the log has it.
    pub host: Option<String>,
}

impl LogKill {
    /// The kill, with what identifies it in the log.
    #[must_use]
    pub fn into_kill(self) -> Kill {
        let Self {
            mut kill,
            stamp,
            incident,
            incident_tid,
            number,
            incident_number,
            host,
        } = self;
        kill.log_key = Some(LogKey {
            kill: stamp.key().unwrap_or(number),
            incident: incident.key().unwrap_or(incident_number),
            incident_tid,
            time: stamp.calendar,
            host,
        });
        kill
    }
}

/// What was seen, and what was not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Processes killed.
    pub kills: u64,
    /// Processes killed once more.
    pub rekills: u64,
    /// Kills whose header is not in the log: held back by the kernel, or cut off.
    pub kills_without_header: u64,
    /// Headers without their kill, where the log does not say why.
    pub headers_without_kill: u64,
    /// Headers that the kernel says it held back.
    pub suppressed_headers: u64,
    /// Lines of the OOM killer's that cannot be read.
    pub unreadable: u64,
    /// Kills that a process wrote into the log, and that were not believed.
    pub untrusted: u64,
}

/// Puts lines together.
#[derive(Debug)]
pub struct Assembler {
    trust: Trust,
    counts: Counts,
    /// A line whose end has not come.
    open: Option<OpenLine>,
    /// Of the report that the kernel is writing.
    header: Option<Header>,
    /// The last kill, until it is known whether it begins a group kill.
    held: Option<Held>,
    /// What the last kill that was told belongs to.
    incident: Option<Incident>,
    victims: Victims,
    last: Stamp,
    /// Whether lines of level info have been seen, so that the absence of one means something.
    has_info: bool,
    /// What the kernel means by kB in `pgtables`.
    pgtables_unit_bytes: u64,
    /// Kills that were read.
    read: u64,
    /// What the last line says at once, before it is known what comes of it.
    news: Option<News>,
}

impl Assembler {
    /// Nothing has been seen.
    #[must_use]
    pub fn new(trust: Trust) -> Self {
        Self {
            trust,
            counts: Counts::default(),
            open: None,
            header: None,
            held: None,
            incident: None,
            victims: Victims::default(),
            last: Stamp::default(),
            has_info: false,
            pgtables_unit_bytes: build::pgtables_unit_bytes(b""),
            read: 0,
            news: None,
        }
    }

    /// What has been seen.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// When the kill was written that is held back, if one is: [`Assembler::flush`] is due [`HOLD`] later.
    #[must_use]
    pub fn held_since(&self) -> Option<Stamp> {
        self.held.as_ref().map(|held| held.stamp)
    }

    /// Which kill of the log is held back.
    pub(super) fn held_number(&self) -> Option<u64> {
        self.held.as_ref().map(|held| held.number)
    }

    /// What the last record said at once; once.
    pub(super) fn take_news(&mut self) -> Option<News> {
        self.news.take()
    }

    /// Takes the next record; gives the kill that it settles, if it does.
    pub fn push(&mut self, record: &Record<'_>) -> Option<LogItem> {
        let found = self.follow_clock(record);
        if record.origin == Origin::User && self.trust == Trust::Kernel {
            let is_kill = matches!(line::parse(&record.text), Some(Line::Killed(_)));
            self.counts.untrusted += u64::from(is_kill);
            return found;
        }
        let taken = match self.open.take() {
            Some(open) if open.goes_on_with(record) => {
                let OpenLine {
                    text,
                    stamp,
                    caller,
                } = open.joined(record);
                let whole = Record {
                    stamp,
                    caller,
                    text: text.into(),
                    ..record.clone()
                };
                self.take(&whole)
            }
            open => {
                let taken = self.take(record);
                match (self.open.is_some(), open) {
                    (true, Some(_)) => self.counts.unreadable += 1,
                    (false, open) => self.open = open,
                    (true, None) => {}
                }
                taken
            }
        };
        // A record that settles a kill by its time has no kill left to settle by what it says.
        found.or(taken)
    }

    /// Tells the kill that is held back: nothing more is expected to follow it at once. But what has not come within a time
    /// may come yet, on a machine that stands still: that it is no group's is not said.
    pub fn flush(&mut self) -> Option<LogItem> {
        let has_info = std::mem::replace(&mut self.has_info, false);
        let found = self.settle(None);
        self.has_info = has_info;
        found
    }

    /// The records that come next have been lost: tells the kill that is held back.
    pub fn interrupt(&mut self) -> Option<LogItem> {
        // Among them could be the line that tells of a group, of this kill or of one that was lost too.
        self.has_info = false;
        let found = self.flush();
        self.drop_header();
        self.incident = None;
        self.counts.unreadable += u64::from(self.open.take().is_some());
        found
    }

    /// The log has ended.
    #[must_use]
    pub fn finish(mut self) -> (Option<LogItem>, Counts) {
        (self.interrupt(), self.counts)
    }

    /// Time that passes settles the last kill; time that goes back is another boot.
    fn follow_clock(&mut self, record: &Record<'_>) -> Option<LogItem> {
        let stamp = record.stamp;
        if stamp == Stamp::default() {
            return None;
        }
        let age = |earlier: Stamp| stamp.since(&earlier);
        let is_reboot =
            stamp.boot_time_ns.is_some() && age(self.last).is_some_and(|age| age < REBOOT);
        self.last = stamp;
        // The line that makes it a group's may be late itself, on a machine that stands still.
        let is_late = self
            .held_since()
            .and_then(age)
            .is_some_and(|age| age > HOLD && !(age <= SLOW_CONSOLE && is_group(record)));
        let found = (is_late || is_reboot).then(|| self.settle(None)).flatten();
        if is_reboot {
            self.drop_header();
            self.incident = None;
            self.victims = Victims::default();
        }
        found
    }

    /// Takes a line.
    fn take(&mut self, record: &Record<'_>) -> Option<LogItem> {
        match line::parse(&record.text)? {
            Line::Invoked {
                comm,
                gfp_mask,
                order,
            } => {
                self.drop_header();
                let header = self.header.get_or_insert_default();
                header.invoked(comm, gfp_mask, order, record.caller);
                self.settle(None)
            }
            Line::OomKill(oom_kill) => {
                self.has_info = true;
                if self.header.as_ref().is_some_and(Header::has_victim) {
                    self.drop_header();
                }
                let header = self.header.get_or_insert_default();
                header.oom_kill(&oom_kill);
                self.news = Some(News::Header(header.told(oom_kill.pid)));
                self.settle(None)
            }
            Line::Chosen { message, pid } => {
                let names_another = |header: &Header| header.names_another(pid);
                if self.header.as_ref().is_some_and(names_another) {
                    self.drop_header();
                }
                let header = self.header.get_or_insert_default();
                let is_news = !header.has_victim();
                header.chosen(message, pid);
                self.news = is_news.then(|| News::Header(header.told(pid)));
                self.settle(None)
            }
            Line::Killed(killed) => {
                let found = self.settle(None);
                self.news = Some(News::Killed(ToldKill::new(&killed)));
                self.hold(&killed, record);
                found
            }
            Line::Group { cgroup } => {
                // Without its first kill no member of it can be told.
                self.has_info |= self.held.is_some() || self.incident.is_some();
                if self.held.is_some() {
                    return self.settle(Some(cgroup));
                }
                // It came late.
                if let Some(incident) = &mut self.incident {
                    incident.becomes_group(cgroup, record.stamp);
                }
                None
            }
            Line::Exiting | Line::NoneKillable => {
                // The log says why there is no kill.
                let named = self.header.take().and_then(|header| header.victim);
                self.news = named.map(|named| News::NoKill { named });
                self.settle(None)
            }
            Line::Incomplete => {
                self.open = Some(OpenLine {
                    text: record.text.to_vec(),
                    stamp: record.stamp,
                    caller: record.caller,
                });
                None
            }
            line => {
                self.note(&line);
                None
            }
        }
    }

    /// Takes a line that tells nothing by itself.
    fn note(&mut self, line: &Line<'_>) {
        match *line {
            Line::Cpu { tid, comm_and_rest } => {
                if let Some(release) = build::release(comm_and_rest) {
                    self.pgtables_unit_bytes = build::pgtables_unit_bytes(release);
                }
                if let Some(header) = &mut self.header {
                    header.cpu(tid, comm_and_rest);
                }
            }
            Line::Version { release_and_rest } => {
                self.pgtables_unit_bytes = build::pgtables_unit_bytes(release_and_rest);
            }
            Line::Usage {
                counter,
                usage_bytes,
                limit_bytes,
            } => {
                let header = self.header.get_or_insert_default();
                header.usage(counter, usage_bytes, limit_bytes);
            }
            Line::Task { tid, pid } => {
                self.has_info = true;
                let header = self.header.get_or_insert_default();
                header.tasks.insert(tid, pid);
            }
            Line::TaskIn {
                task_memcg,
                oom_memcg,
            } => {
                let header = self.header.get_or_insert_default();
                header.task_memcg = whole_path(task_memcg);
                header.oom_memcg = whole_path(oom_memcg);
            }
            Line::LimitReached { oom_memcg } => {
                self.header.get_or_insert_default().oom_memcg = whole_path(oom_memcg);
            }
            Line::Suppressed { headers } => {
                self.counts.suppressed_headers =
                    self.counts.suppressed_headers.saturating_add(headers);
            }
            Line::Invoked { .. }
            | Line::OomKill(_)
            | Line::Chosen { .. }
            | Line::Killed(_)
            | Line::Group { .. }
            | Line::Exiting
            | Line::NoneKillable
            | Line::Reaped
            | Line::Incomplete => {}
        }
    }

    /// Holds a kill back, with its header if what has come is its.
    fn hold(&mut self, killed: &Killed<'_>, record: &Record<'_>) {
        let header = self.header.take();
        let is_its = header
            .as_ref()
            .is_some_and(|header| header.is_of(killed.tid));
        if header.is_some() && !is_its {
            self.counts.headers_without_kill += 1;
        }
        self.read += 1;
        self.held = Some(Held {
            number: self.read,
            killed: OwnedKilled::new(killed, self.pgtables_unit_bytes),
            stamp: record.stamp,
            caller: record.caller,
            host: record.host.map(str::to_owned),
            header: header.filter(|_| is_its),
        });
    }

    /// Forgets a header whose kill has not come.
    fn drop_header(&mut self) {
        self.counts.headers_without_kill += u64::from(self.header.take().is_some());
    }

    /// Tells the kill that is held back, as the first of the processes in `group` where there is one.
    fn settle(&mut self, group: Option<&[u8]>) -> Option<LogItem> {
        let mut held = self.held.take()?;
        let earlier = self.incident.take().map(|incident| {
            let membership = match group {
                Some(_) => Membership::No,
                None => incident.membership(&held),
            };
            (incident, membership)
        });
        let (mut incident, group_kill) = match earlier {
            Some((incident, Membership::Yes)) => (incident, Some(true)),
            earlier => {
                self.counts.kills_without_header += u64::from(!held.has_header());
                let member = earlier.map_or(Membership::No, |(_, membership)| membership);
                let is_told = self.has_info && member == Membership::No;
                let group_kill = match group {
                    Some(_) => Some(true),
                    None => is_told.then_some(false),
                };
                (Incident::new(&mut held, group, member), group_kill)
            }
        };
        incident.last = held.stamp;
        let pid = incident.pid_of(held.killed.tid);
        let found = if self.victims.insert(&incident, &held, pid) {
            self.counts.kills += 1;
            LogItem::Kill(Box::new(build::kill(held, &incident, pid, group_kill)))
        } else {
            self.counts.rekills += 1;
            LogItem::Rekill {
                aside: build::rekill(&held, pid),
                stamp: held.stamp,
            }
        };
        self.incident = Some(incident);
        Some(found)
    }
}

/// Whether it says that a whole cgroup is killed.
fn is_group(record: &Record<'_>) -> bool {
    matches!(line::parse(&record.text), Some(Line::Group { .. }))
}

#[cfg(test)]
mod tests;
