//! The kernel log as it is written: for an event loop.
//!
//! Readable when records are there; then [`Live::drain`] until it says that nothing is left. With a kill held back,
//! [`Live::flush`] when [`Live::flush_due`] says.

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    path::Path,
    time::Instant,
};

use super::{
    assemble::{Counts, LogItem},
    follow::Follower,
    join::LogFacts,
    reader::{Losses, ReadError, Reader, Start},
};
use crate::{
    model::kill::{Kill, Victim},
    sys::clock::ClockSample,
};

/// Records that are read in one go, so that a flood of them holds nobody up: more than any log holds that is not asked to
/// be larger (`log_buf_len=`).
const AT_ONCE: u32 = 1 << 16;

/// Whether all records have been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// There are none: wait for the next.
    Empty,
    /// They come faster than they can be read.
    More,
}

/// Reads the log from its end on.
#[derive(Debug)]
pub struct Live {
    reader: Reader,
    follower: Follower,
    losses: Losses,
}

impl Live {
    /// Opens the log, usually `/dev/kmsg`.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Ok(Self {
            reader: Reader::open(path, Start::End)?,
            follower: Follower::new(),
            losses: Losses::default(),
        })
    }

    /// Reads what is there, and hands over the kills that it settles.
    pub fn drain(&mut self, mut take: impl FnMut(LogItem)) -> Result<Drained, ReadError> {
        for _ in 0..AT_ONCE {
            let Some((record, losses)) = self.reader.next_after_losses()? else {
                return Ok(Drained::Empty);
            };
            let now = ClockSample::now();
            if self.losses != losses {
                self.losses = losses;
                self.follower.interrupt(&now).map(&mut take);
            }
            self.follower.push(&record, &now).map(&mut take);
        }
        Ok(Drained::More)
    }

    /// When to call [`Live::flush`]; absent if no kill is held back.
    #[must_use]
    pub fn flush_due(&self) -> Option<Instant> {
        self.follower.flush_due()
    }

    /// Reads what is there, and hands over the kill that is held back too, if it is due.
    pub fn flush(&mut self, mut take: impl FnMut(LogItem)) -> Result<Drained, ReadError> {
        let drained = self.drain(&mut take)?;
        self.follower.flush(&ClockSample::now()).map(take);
        Ok(drained)
    }

    /// Reads what is there, and hands over the kill that is held back too, due or not: nobody waits for its group.
    pub fn settle(&mut self, mut take: impl FnMut(LogItem)) -> Result<Drained, ReadError> {
        let drained = self.drain(&mut take)?;
        self.follower.interrupt(&ClockSample::now()).map(take);
        Ok(drained)
    }

    /// Reads what is there for the last time, and hands over the kill that is held back too. Gives what has been seen.
    pub fn finish(mut self, mut take: impl FnMut(LogItem)) -> Result<(Counts, Losses), ReadError> {
        self.drain(&mut take)?;
        self.follower.interrupt(&ClockSample::now()).map(take);
        Ok((self.follower.counts(), self.reader.losses()))
    }

    /// What the header of a kill told that somebody else saw; once. Drain before: it is written before the victim is
    /// marked. Absent if the kernel withheld it.
    pub fn take_header(&mut self, kill: &Kill) -> Option<LogFacts> {
        self.follower.take_header(kill, Instant::now())
    }

    /// What the line of a victim's kill told; once. It is written right after the victim is marked, and never withheld.
    pub fn take_killed(&mut self, victim: &Victim) -> Option<LogFacts> {
        self.follower.take_killed(victim, Instant::now())
    }

    /// What was not read so far.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.reader.losses()
    }

    /// What has been seen.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.follower.counts()
    }
}

impl AsFd for Live {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

impl AsRawFd for Live {
    fn as_raw_fd(&self) -> RawFd {
        self.reader.as_raw_fd()
    }
}

#[cfg(test)]
mod tests;
