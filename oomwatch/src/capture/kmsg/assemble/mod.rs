//! Assembles the lines of the kernel log into kills, one for each `Killed process` line, which the kernel never withholds.
//!
//! The lines before it (the header: trigger, allocation, cgroups, task table) are rate-limited to 10 kills in 5 s. A header
//! is used for a kill only if it names the same process: by its pid, or by the thread id in the task table. A fact that is
//! not certain to belong to a kill is left absent.
//!
//! **Process id.** The kill line has the id of a *thread*, one that still had the process's memory. It differs from the
//! process id only if the main thread is gone. Header and table then give the process; without both, [`Victim::pid`] is
//! the thread id.
//!
//! **Group kills** (`memory.oom.group`). The line that announces them follows the first kill. So a kill is pending until
//! the next line of the OOM killer, a line later by [`GROUP_LINE_WAIT`], or [`Assembler::flush`]. The first victim is
//! killed again with its group: a re-kill, as is any process that is killed twice.
//!
//! Memory is bounded: one header, one pending kill, and the last [`MAX_VICTIMS`] victims.

mod account;
mod build;
mod completion;
mod continuation;
mod header;
mod incident;
mod item;
mod pending;

use jiff::SignedDuration;

pub(crate) use self::account::{parts_of_numbers, parts_of_statistics};
pub use self::{
    account::LogMachine,
    item::{GROUP_LINE_WAIT, LogCounts, LogItem, LogKill, MAX_VICTIMS},
};
use self::{
    account::{CounterUsage, KernelRelease},
    continuation::OpenLine,
    header::{Header, uncut_path},
    incident::{LogIncident, RecentVictims, SLOW_CONSOLE},
    pending::{Evidence, PendingKill, ReapedVictim},
};
use super::{
    line::{self, Line},
    record::{Record, RecordOrigin, Stamp},
};
use crate::capture::kmsg::fact_cache::{KilledFacts, LineFacts};
#[cfg(doc)]
use crate::model::kill::Victim;

/// A time this far before the last one is of another boot; records of several CPUs may be out of order by less.
const REBOOT: SignedDuration = SignedDuration::from_secs(-1);

/// Which records are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The kernel alone
    Kernel,
    /// Also what processes write to /dev/kmsg: any process that may write there can then forge kills
    Everyone,
}

/// Assembles records into kills.
#[derive(Debug)]
pub struct Assembler {
    trust: Trust,
    evidence: Evidence,
    reaped: Vec<ReapedVictim>,
    counts: LogCounts,
    /// A line whose end has not arrived.
    open: Option<OpenLine>,
    /// Header of the kill that the kernel is about to log.
    header: Option<Header>,
    /// The last kill, until it is known whether it begins a group kill.
    pending: Option<PendingKill>,
    /// The incident of the last kill that was yielded.
    incident: Option<LogIncident>,
    victims: RecentVictims,
    /// Stamp of the last record.
    last: Stamp,
    /// Whether the log has lines of level info: only then does the absence of a group line mean that there was none.
    has_info: bool,
    /// Unit of `pgtables`.
    pgtables_unit_bytes: u64,
    /// The kernel that wrote the log, once it is known.
    release: Option<KernelRelease>,
    machine: LogMachine,
    /// Number of the last record.
    last_sequence: Option<u64>,
    /// Kill lines so far.
    kill_lines: u64,
    /// Facts of the last line, available before the kill itself is.
    facts: Option<LineFacts>,
}

impl Assembler {
    /// An assembler at the start of a log.
    #[must_use]
    pub fn new(trust: Trust) -> Self {
        Self {
            trust,
            evidence: Evidence::KillLine,
            reaped: Vec::new(),
            counts: LogCounts::default(),
            open: None,
            header: None,
            pending: None,
            incident: None,
            victims: RecentVictims::default(),
            last: Stamp::default(),
            has_info: false,
            pgtables_unit_bytes: build::pgtables_unit_bytes(b""),
            release: None,
            machine: LogMachine::default(),
            last_sequence: None,
            kill_lines: 0,
            facts: None,
        }
    }

    /// An assembler of this machine's log.
    #[must_use]
    pub fn of_machine(trust: Trust, machine: LogMachine) -> Self {
        Self {
            machine,
            ..Self::new(trust)
        }
    }

    /// An assembler of a saved log, which may have been filtered or cut.
    pub(super) fn for_saved_log(trust: Trust) -> Self {
        Self {
            evidence: Evidence::AnyLine,
            ..Self::new(trust)
        }
    }

    /// Continues to number kills after this one: several machines share the numbers of a file.
    pub(super) fn continue_numbers(&mut self, kill_lines: u64) {
        self.kill_lines = kill_lines;
    }

    /// The number of the last kill.
    pub(super) fn kill_lines(&self) -> u64 {
        self.kill_lines
    }

    /// Whether a line has begun whose rest may follow.
    pub(super) fn has_open_line(&self) -> bool {
        self.open.is_some()
    }

    /// Whether lines of any kind may be of a report that has begun.
    pub(super) fn wants_report_lines(&self) -> bool {
        self.header
            .as_ref()
            .is_some_and(|header| header.account.wants_lines())
    }

    /// Whether a report has begun whose kill has not come.
    pub(super) fn is_in_report(&self) -> bool {
        self.header.is_some() || self.open.is_some()
    }

    /// The counters so far.
    #[must_use]
    pub fn counts(&self) -> LogCounts {
        self.counts
    }

    /// Stamp of the pending kill, if there is one: [`Assembler::flush`] is due [`GROUP_LINE_WAIT`] later.
    #[must_use]
    pub fn pending_since(&self) -> Option<Stamp> {
        self.pending.as_ref().map(|pending| pending.stamp)
    }

    /// Number of the pending kill.
    pub(super) fn pending_number(&self) -> Option<u64> {
        self.pending.as_ref().map(|pending| pending.number)
    }

    /// Takes the facts of the last record.
    pub(super) fn take_facts(&mut self) -> Option<LineFacts> {
        self.facts.take()
    }

    /// Adds the next record. Returns the pending kill if this record completes it.
    pub fn push(&mut self, record: &Record<'_>) -> Option<LogItem> {
        let item = self.follow_clock(record);
        self.follow_sequence(record);
        if record.origin == RecordOrigin::User && self.trust == Trust::Kernel {
            let is_kill = matches!(line::parse(&record.text), Some(Line::Killed(_)));
            self.counts.untrusted += u64::from(is_kill);
            return item;
        }
        let completed = match self.open.take() {
            Some(open) if open.is_continued_by(record) => {
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
                self.add_line(&whole)
            }
            open => {
                let completed = self.add_line(record);
                match (self.open.is_some(), open) {
                    (true, Some(_)) => self.counts.unreadable += 1,
                    (false, open) => self.open = open,
                    (true, None) => {}
                }
                completed
            }
        };
        // If the time of a record completes the pending kill, its text has none left to complete.
        item.or(completed)
    }

    /// Returns the pending kill after its wait. The group line may still come on a stalled machine, so `group_kill` stays
    /// unknown.
    pub fn flush(&mut self) -> Option<LogItem> {
        let has_info = std::mem::replace(&mut self.has_info, false);
        let item = self.complete(None);
        self.has_info = has_info;
        item
    }

    /// The records that follow have been lost. Returns the pending kill.
    pub fn interrupt(&mut self) -> Option<LogItem> {
        // A group line may be among them, of this kill or of another that was lost.
        self.has_info = false;
        let item = self.flush();
        let item = item.or(self.drop_header());
        self.incident = None;
        self.counts.unreadable += u64::from(self.open.take().is_some());
        item
    }

    /// Ends the log. Returns the pending kill and the counters.
    #[must_use]
    pub fn finish(mut self) -> (Option<LogItem>, LogCounts) {
        (self.interrupt(), self.counts)
    }

    /// Ends a saved log. Returns the kills that were not yielded, and the counters.
    #[must_use]
    pub(super) fn finish_saved_log(mut self) -> (Vec<LogItem>, LogCounts) {
        let mut items: Vec<LogItem> = self.interrupt().into_iter().collect();
        if self.counts.kills + self.counts.rekills == 0 {
            for victim in std::mem::take(&mut self.reaped) {
                let ReapedVictim { tid, comm, record } = victim;
                self.set_pending(&build::without_sizes(tid, &comm), &record);
                items.extend(self.complete(None));
            }
        }
        (items, self.counts)
    }

    /// Completes the pending kill if enough time has passed. A time that goes back begins another boot.
    fn follow_clock(&mut self, record: &Record<'_>) -> Option<LogItem> {
        let stamp = record.stamp;
        if stamp == Stamp::default() {
            return None;
        }
        let age = |earlier: Stamp| stamp.since(&earlier);
        let is_reboot =
            stamp.boot_time_ns.is_some() && age(self.last).is_some_and(|age| age < REBOOT);
        self.last = stamp;
        // On a stalled machine the group line itself may be late.
        let is_late = self
            .pending_since()
            .and_then(age)
            .is_some_and(|age| age > GROUP_LINE_WAIT && !(age <= SLOW_CONSOLE && is_group(record)));
        let item = (is_late || is_reboot)
            .then(|| self.complete(None))
            .flatten();
        let item = if is_reboot {
            item.or(self.drop_header())
        } else {
            item
        };
        if is_reboot {
            self.incident = None;
            self.victims = RecentVictims::default();
        }
        item
    }

    /// Notes that records are missing before this one. Several machines may write one log, so the number may go back.
    fn follow_sequence(&mut self, record: &Record<'_>) {
        let Some(sequence) = record.sequence else {
            return;
        };
        let last = self.last_sequence.replace(sequence);
        if last.is_some_and(|last| sequence > last.saturating_add(1))
            && let Some(header) = &mut self.header
        {
            header.account.lose();
        }
    }

    /// Adds a complete line. Returns the pending kill if this line completes it.
    fn add_line(&mut self, record: &Record<'_>) -> Option<LogItem> {
        let Some(line) = line::parse(&record.text) else {
            self.add_to_account(record, false);
            return None;
        };
        match line {
            Line::Invoked {
                comm,
                gfp_mask,
                order,
            } => {
                let unnamed = self.drop_header();
                let header = self.header.get_or_insert_default();
                header.invoked(comm, gfp_mask, order, record.caller);
                unnamed.or_else(|| self.complete(None))
            }
            Line::OomKill(oom_kill) => {
                self.has_info = true;
                let has_victim = self.header.as_ref().is_some_and(Header::has_victim);
                let earlier = has_victim.then(|| self.drop_header()).flatten();
                let header = self.header.get_or_insert_default();
                header.oom_kill(&oom_kill, record);
                let facts = header.facts(oom_kill.pid, self.machine, self.release);
                self.facts = Some(LineFacts::Header(facts));
                earlier.or_else(|| self.complete(None))
            }
            Line::Chosen { message, pid } => {
                let names_another = |header: &Header| header.names_another(pid);
                let is_other = self.header.as_ref().is_some_and(names_another);
                let earlier = is_other.then(|| self.drop_header()).flatten();
                let header = self.header.get_or_insert_default();
                let is_first = !header.has_victim();
                header.chosen(message, pid);
                let facts = || header.facts(pid, self.machine, self.release);
                self.facts = is_first.then(|| LineFacts::Header(facts()));
                earlier.or_else(|| self.complete(None))
            }
            Line::Killed(killed) => {
                let item = self.complete(None);
                self.facts = Some(LineFacts::Killed(KilledFacts::new(&killed)));
                self.set_pending(&killed, record);
                item
            }
            Line::Group { cgroup } => {
                // Without the first kill of the group its members cannot be recognised.
                self.has_info |= self.pending.is_some() || self.incident.is_some();
                if self.pending.is_some() {
                    return self.complete(Some(cgroup));
                }
                // The line came late.
                if let Some(incident) = &mut self.incident {
                    incident.becomes_group(cgroup, record.stamp);
                }
                None
            }
            line @ (Line::Exiting | Line::NoneKillable) => {
                // The log says why there is no kill.
                self.counts.no_victim += u64::from(line == Line::NoneKillable);
                let named = self.header.take().and_then(|header| header.victim);
                self.facts = named.map(|named| LineFacts::NoKill { named });
                self.complete(None)
            }
            Line::Reaped { tid, comm } => {
                let is_new = self.reaped.iter().all(|victim| victim.tid != tid);
                if self.evidence == Evidence::AnyLine && is_new && self.reaped.len() < MAX_VICTIMS {
                    self.reaped.push(ReapedVictim {
                        tid,
                        comm: comm.to_vec(),
                        record: record.clone().into_owned(),
                    });
                }
                None
            }
            Line::Incomplete => {
                self.open = Some(OpenLine {
                    text: record.text.to_vec(),
                    stamp: record.stamp,
                    caller: record.caller,
                });
                None
            }
            Line::TaskTable(layout) => {
                let header = self.header.get_or_insert_default();
                header.task_table(layout, self.machine, record.caller);
                None
            }
            line => {
                self.add_detail(&line, record);
                None
            }
        }
    }

    /// Adds a line that completes no kill.
    fn add_detail(&mut self, line: &Line<'_>, record: &Record<'_>) {
        match *line {
            Line::Cpu { tid, comm_and_rest } => {
                if let Some(release) = build::release(comm_and_rest) {
                    self.set_release(release);
                }
                if let Some(header) = &mut self.header {
                    header.cpu(tid, comm_and_rest);
                }
            }
            Line::Version { release_and_rest } => {
                self.set_release(release_and_rest);
            }
            Line::Usage {
                counter,
                usage_bytes,
                limit_bytes,
                failcnt,
            } => {
                let usage = CounterUsage {
                    usage_bytes: Some(usage_bytes),
                    limit_bytes,
                    failcnt,
                };
                let header = self.header.get_or_insert_default();
                header.account.add_counter(counter, usage);
            }
            Line::Task { tid, pid } => {
                self.has_info = true;
                let header = self.header.get_or_insert_default();
                let is_new = header.tasks.insert(tid, pid);
                self.add_to_account(record, !is_new);
            }
            Line::TaskIn {
                task_memcg,
                oom_memcg,
            } => {
                let header = self.header.get_or_insert_default();
                header.task_in(task_memcg, oom_memcg);
            }
            Line::LimitReached { oom_memcg } => {
                self.header.get_or_insert_default().oom_memcg = uncut_path(oom_memcg);
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
            | Line::TaskTable(_)
            | Line::Reaped { .. }
            | Line::Incomplete => {}
        }
    }

    /// Adds a line to the account of the header that has begun.
    fn add_to_account(&mut self, record: &Record<'_>, is_repeated: bool) {
        if let Some(header) = &mut self.header {
            header.add_to_account(record, is_repeated);
        }
    }

    fn set_release(&mut self, release: &[u8]) {
        self.pgtables_unit_bytes = build::pgtables_unit_bytes(release);
        self.release = KernelRelease::parse(release);
    }
}

/// Whether the record says that all processes of a cgroup are killed.
fn is_group(record: &Record<'_>) -> bool {
    matches!(line::parse(&record.text), Some(Line::Group { .. }))
}

#[cfg(test)]
mod tests;
