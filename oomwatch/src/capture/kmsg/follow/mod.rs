//! Turns the records of the live log into kills with their time since boot. Pure.
//!
//! Two things come out of the records: kills ([`Assembler`]), for the backend that has only the log; and facts about a kill
//! that a BPF program recorded ([`Follower::take_header`], [`Follower::take_killed`]), available before the kill itself is.

use std::time::{Duration, Instant};

use super::{
    assemble::{Assembler, GROUP_LINE_WAIT, LogCounts, LogItem, LogKill, LogMachine, Trust},
    join::LogFacts,
    record::{Record, Stamp},
};
use crate::capture::kmsg::{clock_offset::ClockOffset, fact_cache::FactCache};
use crate::{
    model::kill::{Kill, Victim},
    sys::clock::ClockSample,
};

/// Follows the log of this boot.
#[derive(Debug)]
pub struct Follower {
    assembler: Assembler,
    facts: FactCache,
    clock_offset: ClockOffset,
    /// Number of the pending kill, and when it was read.
    pending: Option<(u64, Instant)>,
    /// The incident of the last kill: number of its first kill, and its time in nanoseconds since boot.
    incident: Option<(u64, u64)>,
}

impl Follower {
    /// A follower before the first record.
    #[must_use]
    pub fn new() -> Self {
        Self::of_machine(LogMachine::default())
    }

    /// A follower of this machine's log.
    #[must_use]
    pub fn of_machine(machine: LogMachine) -> Self {
        Self {
            assembler: Assembler::of_machine(Trust::Kernel, machine),
            facts: FactCache::default(),
            clock_offset: ClockOffset::default(),
            pending: None,
            incident: None,
        }
    }

    /// Adds the next record, which was read now. Returns the pending kill if this record completes it.
    pub fn push(&mut self, record: &Record<'_>, now: &ClockSample) -> Option<LogItem> {
        if let Some(stamp) = record.stamp.boot_time_ns {
            self.clock_offset.measure(stamp, now);
        }
        let item = self.assembler.push(record);
        if let Some(facts) = self.assembler.take_facts() {
            self.facts.insert(facts, now.instant);
        }
        self.dated(item, now)
    }

    /// The records that follow have been lost. Returns the pending kill.
    pub fn interrupt(&mut self, now: &ClockSample) -> Option<LogItem> {
        let item = self.assembler.interrupt();
        self.dated(item, now)
    }

    /// When to call [`Follower::flush`]; absent if no kill is pending.
    #[must_use]
    pub fn flush_due(&self) -> Option<Instant> {
        let (_, read) = self.pending?;
        Some(read + Duration::try_from(GROUP_LINE_WAIT).unwrap_or_default())
    }

    /// Returns the pending kill if its wait is over.
    pub fn flush(&mut self, now: &ClockSample) -> Option<LogItem> {
        self.flush_due().filter(|due| *due <= now.instant)?;
        let item = self.assembler.flush();
        self.dated(item, now)
    }

    /// Takes the facts of the header of a kill that a BPF program recorded. The header is written before the victim is
    /// marked, so it is here once all records have been read, unless the kernel withheld it.
    pub fn take_header(&mut self, kill: &Kill, now: Instant) -> Option<LogFacts> {
        self.facts.take_header(kill, now)
    }

    /// Takes the facts of a victim's kill line. It is written right after the victim is marked, and never withheld.
    pub fn take_killed(&mut self, victim: &Victim, now: Instant) -> Option<LogFacts> {
        self.facts.take_killed(victim, now)
    }

    /// The counters so far.
    #[must_use]
    pub fn counts(&self) -> LogCounts {
        self.assembler.counts()
    }

    /// Updates the pending kill, and dates the one that is complete.
    fn dated(&mut self, item: Option<LogItem>, now: &ClockSample) -> Option<LogItem> {
        let read = |number| match self.pending {
            Some((pending, read)) if pending == number => (number, read),
            _ => (number, now.instant),
        };
        self.pending = self.assembler.pending_number().map(read);
        Some(match item? {
            LogItem::Kill(mut kill) => {
                self.date(&mut kill, now);
                LogItem::Kill(kill)
            }
            LogItem::Rekill {
                mut non_kill,
                stamp,
            } => {
                non_kill.boot_time_ns = self.boot_time_ns(stamp, now);
                LogItem::Rekill { non_kill, stamp }
            }
        })
    }

    /// Sets the times of a kill. All kills of an incident have the same incident time, and none is earlier.
    fn date(&mut self, kill: &mut LogKill, now: &ClockSample) {
        let incident = match self.incident {
            Some((number, time)) if number == kill.incident_number => Some(time),
            _ => self.boot_time_ns(kill.incident, now),
        };
        self.incident = incident.map(|time| (kill.incident_number, time));
        kill.kill.incident_boot_time_ns = incident;
        kill.kill.boot_time_ns = if kill.number == kill.incident_number {
            incident
        } else {
            self.boot_time_ns(kill.stamp, now).max(incident)
        };
    }

    fn boot_time_ns(&self, stamp: Stamp, now: &ClockSample) -> Option<u64> {
        self.clock_offset.boot_time_ns(stamp.boot_time_ns?, now)
    }
}

impl Default for Follower {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
