//! A parsed kill that is not yielded yet, because the next line may make it a group kill.

use super::header::Header;
use crate::{
    capture::kmsg::{
        line::Message,
        record::{Caller, Record, Stamp},
    },
    model::kill::Victim,
};

/// Which lines show that a process was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// `Killed process` alone, which the kernel never withholds.
    KillLine,
    /// Also the line before it or the one behind it, in a log that was filtered or cut.
    AnyLine,
}

/// A line of the OOM reaper, in a log that has no other line of a kill.
#[derive(Debug)]
pub(super) struct ReapedVictim {
    pub(super) tid: u32,
    pub(super) comm: Vec<u8>,
    pub(super) record: Record<'static>,
}

/// A kill that waits for the line after it.
#[derive(Debug)]
pub(super) struct PendingKill {
    /// Number of the kill in the log.
    pub(super) number: u64,
    pub(super) message: Message,
    /// From the kill line: its pid is the thread id, its cgroup absent.
    pub(super) victim: Victim,
    pub(super) stamp: Stamp,
    pub(super) caller: Option<Caller>,
    pub(super) host: Option<String>,
    /// The header that was written for it.
    pub(super) header: Option<Header>,
}

impl PendingKill {
    /// Whether the log has the rate-limited header of this kill.
    pub(super) fn has_header(&self) -> bool {
        self.header.as_ref().is_some_and(Header::has_report)
    }
}
