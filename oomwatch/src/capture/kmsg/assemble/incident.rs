//! Which kills belong to one call of the OOM killer, and which process was killed before.

use std::collections::VecDeque;

use jiff::SignedDuration;

use super::{HOLD, REMEMBERED, build::OwnedKilled, header::Header};
use crate::capture::kmsg::{
    line::Message,
    record::{Caller, Stamp},
};

/// A process that dies slowly may be killed again by a later call; one that gets its number may look like it, but hardly
/// so soon.
const SAME_PROCESS: SignedDuration = SignedDuration::from_secs(10);

/// How far apart the lines of one call may be, where a console or the machine is slow.
pub(super) const SLOW_CONSOLE: SignedDuration = SignedDuration::from_secs(5);

/// A kill that was read, but not told yet.
#[derive(Debug)]
pub(super) struct Held {
    /// Which kill of the log it is.
    pub(super) number: u64,
    pub(super) killed: OwnedKilled,
    pub(super) stamp: Stamp,
    pub(super) caller: Option<Caller>,
    pub(super) host: Option<String>,
    /// Its own header.
    pub(super) header: Option<Header>,
}

impl Held {
    /// Whether a header came with it.
    pub(super) fn has_header(&self) -> bool {
        self.header.as_ref().is_some_and(Header::is_told)
    }
}

/// The call of the OOM killer that the last kill belongs to.
#[derive(Debug)]
pub(super) struct Incident {
    /// Which kill of the log was its first.
    pub(super) number: u64,
    /// The thread that was named in it.
    pub(super) tid: u32,
    pub(super) first: Stamp,
    pub(super) last: Stamp,
    caller: Option<Caller>,
    message: Message,
    /// The header of the first kill.
    pub(super) header: Option<Header>,
    /// The cgroup that is killed as a whole.
    pub(super) group: Option<Vec<u8>>,
    /// Whether its kill may have been one of a group that was told before.
    may_be_members: bool,
}

/// Whether a kill is one of a group that was told before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Membership {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// The log does not tell.
    Unknown,
}

impl Incident {
    /// Begins with a kill, whose header it takes.
    pub(super) fn new(held: &mut Held, group: Option<&[u8]>, member: Membership) -> Self {
        Self {
            number: held.number,
            tid: held.killed.tid,
            first: held.stamp,
            last: held.stamp,
            caller: held.caller,
            message: held.killed.message,
            header: held.header.take(),
            group: group.map(<[u8]>::to_vec),
            may_be_members: member == Membership::Unknown,
        }
    }

    /// Whether a kill is one of the group.
    ///
    /// It has no header and is of the same call's making as far as the log tells. Its thread is in the table of tasks, where
    /// there is one: all of a group are killed, and so that is enough, however slowly the lines follow each other. Without a
    /// table only one that follows at once is. All others may be of a later call, whose header was held back.
    pub(super) fn membership(&self, held: &Held) -> Membership {
        let is_alike = held.header.is_none()
            && held.killed.message == self.message
            && held.caller == self.caller
            && self.is_within(SLOW_CONSOLE, held.stamp);
        let is_listed = self
            .header
            .as_ref()
            .filter(|header| header.tasks.is_whole())
            .map(|header| header.pid_of(held.killed.tid).is_some());
        match (&self.group, is_listed) {
            _ if !is_alike => Membership::No,
            (None, _) if self.may_be_members => Membership::Unknown,
            (None, _) => Membership::No,
            (Some(_), Some(true)) => Membership::Yes,
            (Some(_), None) if self.is_within(HOLD, held.stamp) => Membership::Yes,
            (Some(_), _) => Membership::Unknown,
        }
    }

    /// Whether this is so soon before or after its last line.
    fn is_within(&self, time: SignedDuration, stamp: Stamp) -> bool {
        stamp.since(&self.last).is_none_or(|age| age.abs() <= time)
    }

    /// The line came after its first kill had been told.
    pub(super) fn becomes_group(&mut self, group: &[u8], stamp: Stamp) {
        let is_its = stamp
            .since(&self.last)
            .is_none_or(|age| age <= SLOW_CONSOLE);
        if self.group.is_none() && is_its {
            self.group = Some(group.to_vec());
            self.last = stamp;
        }
    }

    /// The process of a victim.
    pub(super) fn pid_of(&self, tid: u32) -> u32 {
        let known = self.header.as_ref().and_then(|header| header.pid_of(tid));
        known.unwrap_or(tid)
    }
}

/// The last victims.
#[derive(Debug, Default)]
pub(super) struct Victims(VecDeque<Victim>);

#[derive(Debug, PartialEq, Eq)]
struct Victim {
    pid: u32,
    /// With these the same process is the same in a later call too.
    comm: Vec<u8>,
    total_vm_bytes: Option<u64>,
    stamp: Stamp,
    /// First kill of its incident.
    incident: u64,
}

impl Victims {
    /// Remembers a victim; false if it had been killed already.
    pub(super) fn insert(&mut self, incident: &Incident, held: &Held, pid: u32) -> bool {
        let Held { killed, stamp, .. } = held;
        let is_first = held.number == incident.number;
        let is_it = |earlier: &Victim| {
            let is_recent = stamp
                .since(&earlier.stamp)
                .is_none_or(|age| age <= SAME_PROCESS);
            let is_alike =
                earlier.comm == killed.comm && earlier.total_vm_bytes == killed.total_vm_bytes;
            let is_in_group = incident.group.is_some() && earlier.incident == incident.number;
            earlier.pid == pid && (is_in_group && !is_first || is_recent && is_alike)
        };
        if self.0.iter().any(is_it) {
            return false;
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(Victim {
            pid,
            comm: killed.comm.clone(),
            total_vm_bytes: killed.total_vm_bytes,
            stamp: *stamp,
            incident: incident.number,
        });
        true
    }
}
