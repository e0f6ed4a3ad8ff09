//! Records as they come, to kills in the time of all others. Pure.
//!
//! Two things are had of each line: the kills that the log tells ([`Assembler`]), for where the log is all there is; and
//! what it says at once of a kill that somebody else has seen ([`Follower::take_header`], [`Follower::take_killed`]).

use std::time::{Duration, Instant};

use super::{
    assemble::{Assembler, Counts, HOLD, LogItem, LogKill, Trust},
    join::LogFacts,
    record::{Record, Stamp},
};
use crate::capture::kmsg::{clock_offset::Times, fact_cache::FactCache};
use crate::{
    model::kill::{Kill, Victim},
    sys::clock::ClockSample,
};

/// Follows the log of this boot.
#[derive(Debug)]
pub struct Follower {
    assembler: Assembler,
    board: FactCache,
    times: Times,
    /// Which kill is held back, and when it was read.
    held: Option<(u64, Instant)>,
    /// The incident of the last kill, by its first kill's number, and when it began.
    incident: Option<(u64, u64)>,
}

impl Follower {
    /// Nothing has been seen.
    #[must_use]
    pub fn new() -> Self {
        Self {
            assembler: Assembler::new(Trust::Kernel),
            board: FactCache::default(),
            times: Times::default(),
            held: None,
            incident: None,
        }
    }

    /// Takes the next record, which was read now; gives the kill that it settles, if it does.
    pub fn push(&mut self, record: &Record<'_>, now: &ClockSample) -> Option<LogItem> {
        if let Some(stamp) = record.stamp.boot_time_ns {
            self.times.see(stamp, now);
        }
        let found = self.assembler.push(record);
        if let Some(news) = self.assembler.take_news() {
            self.board.put(news, now.instant);
        }
        self.settled(found, now)
    }

    /// The records that come next have been lost: gives the kill that is held back, if one is.
    pub fn interrupt(&mut self, now: &ClockSample) -> Option<LogItem> {
        let found = self.assembler.interrupt();
        self.settled(found, now)
    }

    /// When to [`Follower::flush`]; absent if no kill is held back.
    #[must_use]
    pub fn flush_due(&self) -> Option<Instant> {
        let (_, read) = self.held?;
        Some(read + Duration::try_from(HOLD).unwrap_or_default())
    }

    /// Gives the kill that is held back, if it is due: nothing that belongs to it is expected any more.
    pub fn flush(&mut self, now: &ClockSample) -> Option<LogItem> {
        self.flush_due().filter(|due| *due <= now.instant)?;
        let found = self.assembler.flush();
        self.settled(found, now)
    }

    /// What the header of a kill told that somebody else saw; once. Its header is written before the victim is marked, so
    /// that it is here once all records have been taken; unless the kernel withheld it.
    pub fn take_header(&mut self, kill: &Kill, now: Instant) -> Option<LogFacts> {
        self.board.take_header(kill, now)
    }

    /// What the line of a victim's kill told; once. It is written right after the victim is marked, and never withheld.
    pub fn take_killed(&mut self, victim: &Victim, now: Instant) -> Option<LogFacts> {
        self.board.take_killed(victim, now)
    }

    /// What has been seen.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.assembler.counts()
    }

    /// Notes what is held back now, and puts what is not any more into its time.
    fn settled(&mut self, found: Option<LogItem>, now: &ClockSample) -> Option<LogItem> {
        let read = |number| match self.held {
            Some((held, read)) if held == number => (number, read),
            _ => (number, now.instant),
        };
        self.held = self.assembler.held_number().map(read);
        Some(match found? {
            LogItem::Kill(mut found) => {
                self.date(&mut found, now);
                LogItem::Kill(found)
            }
            LogItem::Rekill { mut aside, stamp } => {
                aside.boot_time_ns = self.boot_time_ns(stamp, now);
                LogItem::Rekill { aside, stamp }
            }
        })
    }

    /// All kills of an incident have its one time, and none is from before it.
    fn date(&mut self, found: &mut LogKill, now: &ClockSample) {
        let incident = match self.incident {
            Some((number, time)) if number == found.incident_number => Some(time),
            _ => self.boot_time_ns(found.incident, now),
        };
        self.incident = incident.map(|time| (found.incident_number, time));
        found.kill.incident_boot_time_ns = incident;
        found.kill.boot_time_ns = if found.number == found.incident_number {
            incident
        } else {
            self.boot_time_ns(found.stamp, now).max(incident)
        };
    }

    fn boot_time_ns(&self, stamp: Stamp, now: &ClockSample) -> Option<u64> {
        self.times.boot_time_ns(stamp.boot_time_ns?, now)
    }
}

impl Default for Follower {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
