//! Follows the kernel log in an event loop.
//!
//! The file descriptor is readable if records are available; call [`LogTail::drain`] until it returns [`Drained::Empty`].
//! With a pending kill, call [`LogTail::flush`] at [`LogTail::flush_due`].

use std::{
    fs,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    path::Path,
    time::Instant,
};

use rustix::param::page_size;

use super::{
    assemble::{LogCounts, LogItem, LogMachine},
    follow::Follower,
    join::LogFacts,
    reader::{LogLosses, ReadError, Reader, Start},
};
use crate::{
    model::kill::{Kill, Victim},
    sys::clock::ClockSample,
};

/// Records read per call, so that a flood of them does not block the event loop. A log of default size holds fewer
/// (`log_buf_len=` enlarges it).
const MAX_RECORDS: u32 = 1 << 16;

/// The CPUs that are in use.
const ONLINE_CPUS: &str = "/sys/devices/system/cpu/online";

/// Whether all available records have been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// All have been read: wait for the next.
    Empty,
    /// More are available.
    More,
}

/// Reads the log from its end onwards.
#[derive(Debug)]
pub struct LogTail {
    reader: Reader,
    follower: Follower,
    losses: LogLosses,
}

impl LogTail {
    /// Opens `path`, usually `/dev/kmsg`, at its end.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Ok(Self {
            reader: Reader::open(path, Start::End)?,
            follower: Follower::of_machine(machine()),
            losses: LogLosses::default(),
        })
    }

    /// Reads the available records, and passes completed kills to `handle`.
    pub fn drain(&mut self, mut handle: impl FnMut(LogItem)) -> Result<Drained, ReadError> {
        for _ in 0..MAX_RECORDS {
            let Some((record, losses)) = self.reader.next_after_losses()? else {
                return Ok(Drained::Empty);
            };
            let now = ClockSample::now();
            if self.losses != losses {
                self.losses = losses;
                self.follower.interrupt(&now).map(&mut handle);
            }
            self.follower.push(&record, &now).map(&mut handle);
        }
        Ok(Drained::More)
    }

    /// When to call [`LogTail::flush`]; absent if no kill is pending.
    #[must_use]
    pub fn flush_due(&self) -> Option<Instant> {
        self.follower.flush_due()
    }

    /// Like [`LogTail::drain`], and passes on the pending kill if its wait is over.
    pub fn flush(&mut self, mut handle: impl FnMut(LogItem)) -> Result<Drained, ReadError> {
        let drained = self.drain(&mut handle)?;
        self.follower.flush(&ClockSample::now()).map(handle);
        Ok(drained)
    }

    /// Like [`LogTail::drain`], and passes on the pending kill without waiting for a group line.
    pub fn drain_all(&mut self, mut handle: impl FnMut(LogItem)) -> Result<Drained, ReadError> {
        let drained = self.drain(&mut handle)?;
        self.follower.interrupt(&ClockSample::now()).map(handle);
        Ok(drained)
    }

    /// [`LogTail::drain_all`] for the last time. Returns the counters.
    pub fn finish(
        mut self,
        handle: impl FnMut(LogItem),
    ) -> Result<(LogCounts, LogLosses), ReadError> {
        self.drain_all(handle)?;
        Ok((self.follower.counts(), self.reader.losses()))
    }

    /// Takes the facts of the header of a kill that a BPF program recorded; absent if the kernel withheld it. Drain first:
    /// the header is written before the victim is marked.
    pub fn take_header(&mut self, kill: &Kill) -> Option<LogFacts> {
        self.follower.take_header(kill, Instant::now())
    }

    /// Takes the facts of a victim's kill line. It is written right after the victim is marked, and never withheld.
    pub fn take_killed(&mut self, victim: &Victim) -> Option<LogFacts> {
        self.follower.take_killed(victim, Instant::now())
    }

    /// The losses so far.
    #[must_use]
    pub fn losses(&self) -> LogLosses {
        self.reader.losses()
    }

    /// The counters so far.
    #[must_use]
    pub fn counts(&self) -> LogCounts {
        self.follower.counts()
    }
}

impl AsFd for LogTail {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

impl AsRawFd for LogTail {
    fn as_raw_fd(&self) -> RawFd {
        self.reader.as_raw_fd()
    }
}

/// This machine: its log is being read.
fn machine() -> LogMachine {
    LogMachine {
        page_bytes: u64::try_from(page_size()).ok(),
        cpus: fs::read_to_string(ONLINE_CPUS)
            .ok()
            .and_then(|text| count_cpus(&text)),
    }
}

/// Counts the CPUs of a list such as `0-3,8`.
fn count_cpus(text: &str) -> Option<u64> {
    text.trim()
        .split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            last.checked_sub(first)?.checked_add(1)
        })
        .try_fold(0_u64, |sum, cpus| sum.checked_add(cpus?))
}

#[cfg(test)]
mod tests;
