//! Which kills belong to one call of the OOM killer, and which process was killed before.

use std::{collections::VecDeque, sync::Arc};

use jiff::SignedDuration;

use super::{
    header::Header,
    item::{GROUP_LINE_WAIT, MAX_VICTIMS},
    pending::PendingKill,
};
use crate::{
    capture::kmsg::{
        line::Message,
        record::{Caller, Stamp},
    },
    model::account::Account,
};

/// A slowly dying process may be killed again by a later call of the OOM killer within this time. A new process with the
/// same pid, name and size this soon is unlikely.
const SAME_PROCESS: SignedDuration = SignedDuration::from_secs(10);

/// Largest distance between two lines of one call, on a slow console or machine.
pub(super) const SLOW_CONSOLE: SignedDuration = SignedDuration::from_secs(5);

/// The call of the OOM killer that the last kill belongs to.
#[derive(Debug)]
pub(super) struct LogIncident {
    /// Number of its first kill.
    pub(super) number: u64,
    /// Thread id in the line of its first kill.
    pub(super) tid: u32,
    pub(super) first: Stamp,
    pub(super) last: Stamp,
    caller: Option<Caller>,
    message: Message,
    /// The header of the first kill.
    pub(super) header: Option<Header>,
    pub(super) account: Option<Arc<Account>>,
    /// The cgroup whose processes are all killed.
    pub(super) group: Option<Vec<u8>>,
    /// Whether its kill may have been a member of the group before it.
    may_be_member: bool,
}

/// Whether a kill belongs to the group of the incident before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Membership {
    Yes,
    No,
    /// The log does not say.
    Unknown,
}

impl LogIncident {
    /// Begins with a kill and takes its header.
    pub(super) fn new(
        pending: &mut PendingKill,
        account: Option<Arc<Account>>,
        group: Option<&[u8]>,
        member: Membership,
    ) -> Self {
        Self {
            number: pending.number,
            tid: pending.victim.tid,
            first: pending.stamp,
            last: pending.stamp,
            caller: pending.caller,
            message: pending.message,
            header: pending.header.take(),
            account,
            group: group.map(<[u8]>::to_vec),
            may_be_member: member == Membership::Unknown,
        }
    }

    /// Whether a kill is a member of the group.
    ///
    /// A member has no header, the same message and the same caller. If the incident has a complete task table, the thread
    /// must be in it; that suffices however slowly the lines follow, since all processes of a group are killed. Without a
    /// table, only a kill that follows at once is a member. Any other kill may be of a later call whose header was withheld.
    pub(super) fn membership(&self, pending: &PendingKill) -> Membership {
        let is_similar = pending.header.is_none()
            && pending.message == self.message
            && pending.caller == self.caller
            && self.is_within(SLOW_CONSOLE, pending.stamp);
        let is_listed = self
            .header
            .as_ref()
            .filter(|header| header.tasks.is_complete())
            .map(|header| header.pid_of(pending.victim.tid).is_some());
        match (&self.group, is_listed) {
            _ if !is_similar => Membership::No,
            (None, _) if self.may_be_member => Membership::Unknown,
            (None, _) => Membership::No,
            (Some(_), Some(true)) => Membership::Yes,
            (Some(_), None) if self.is_within(GROUP_LINE_WAIT, pending.stamp) => Membership::Yes,
            (Some(_), _) => Membership::Unknown,
        }
    }

    /// Whether a stamp is at most this far from the incident's last line, before or after it.
    fn is_within(&self, time: SignedDuration, stamp: Stamp) -> bool {
        stamp.since(&self.last).is_none_or(|age| age.abs() <= time)
    }

    /// The group line came after the first kill was yielded.
    pub(super) fn becomes_group(&mut self, group: &[u8], stamp: Stamp) {
        let is_own = stamp
            .since(&self.last)
            .is_none_or(|age| age <= SLOW_CONSOLE);
        if self.group.is_none() && is_own {
            self.group = Some(group.to_vec());
            self.last = stamp;
        }
    }

    /// The process of a victim; its thread id if the log does not say.
    pub(super) fn pid_of(&self, tid: u32) -> u32 {
        let known = self.header.as_ref().and_then(|header| header.pid_of(tid));
        known.unwrap_or(tid)
    }
}

/// The last [`MAX_VICTIMS`] victims.
#[derive(Debug, Default)]
pub(super) struct RecentVictims(VecDeque<RecentVictim>);

#[derive(Debug, PartialEq, Eq)]
struct RecentVictim {
    pid: u32,
    /// Name and size identify the same process in a later call.
    comm: Option<Vec<u8>>,
    total_vm_bytes: Option<u64>,
    stamp: Stamp,
    /// Number of the first kill of its incident.
    incident: u64,
}

impl RecentVictims {
    /// Adds a victim; false if it had been killed already.
    pub(super) fn insert(
        &mut self,
        incident: &LogIncident,
        pending: &PendingKill,
        pid: u32,
    ) -> bool {
        let PendingKill { victim, stamp, .. } = pending;
        let is_same = |earlier: &RecentVictim| {
            if earlier.pid != pid {
                return false;
            }
            let is_recent = stamp
                .since(&earlier.stamp)
                .is_none_or(|age| age <= SAME_PROCESS);
            let is_similar =
                earlier.comm == victim.comm && earlier.total_vm_bytes == victim.total_vm_bytes;
            let is_in_group = incident.group.is_some() && earlier.incident == incident.number;
            is_in_group || is_recent && is_similar
        };
        if self.0.iter().any(is_same) {
            return false;
        }
        if self.0.len() == MAX_VICTIMS {
            self.0.pop_front();
        }
        self.0.push_back(RecentVictim {
            pid,
            comm: victim.comm.clone(),
            total_vm_bytes: victim.total_vm_bytes,
            stamp: *stamp,
            incident: incident.number,
        });
        true
    }
}
