//! Makes kills from the lines of the log: a kill is pending until the next line shows whether it begins a group kill.

use super::{
    Assembler, build,
    incident::{LogIncident, Membership},
    item::LogItem,
    pending::{Evidence, PendingKill},
};
use crate::capture::kmsg::{
    line::{Killed, Message},
    record::Record,
};

impl Assembler {
    /// Makes a kill the pending one, with the header if it was written for this kill.
    pub(super) fn set_pending(&mut self, killed: &Killed<'_>, record: &Record<'_>) {
        let header = self.header.take();
        let is_own = header
            .as_ref()
            .is_some_and(|header| header.is_of(killed.tid));
        if header.is_some() && !is_own {
            self.counts.headers_without_kill += 1;
        }
        self.kill_lines += 1;
        self.pending = Some(PendingKill {
            number: self.kill_lines,
            message: killed.message,
            victim: build::victim(killed, self.pgtables_unit_bytes),
            stamp: record.stamp,
            caller: record.caller,
            host: record.host.as_deref().map(str::to_owned),
            header: header.filter(|_| is_own),
        });
    }

    /// Drops a header whose kill did not follow. In a saved log its last line names the victim, and the kill is returned.
    pub(super) fn drop_header(&mut self) -> Option<LogItem> {
        let mut header = self.header.take()?;
        let named = header
            .named
            .take()
            .filter(|_| self.evidence == Evidence::AnyLine && self.pending.is_none());
        let (Some(named), Some(pid)) = (named, header.victim) else {
            self.counts.headers_without_kill += 1;
            return None;
        };
        self.kill_lines += 1;
        let mut victim = build::victim(
            &build::without_sizes(pid, &named.comm),
            self.pgtables_unit_bytes,
        );
        victim.uid = Some(named.uid);
        self.pending = Some(PendingKill {
            number: self.kill_lines,
            message: Message::None,
            victim,
            stamp: named.stamp,
            caller: named.caller,
            host: named.host,
            header: Some(header),
        });
        self.complete(None)
    }

    /// Returns the pending kill, as the first victim of `group` if that is given.
    pub(super) fn complete(&mut self, group: Option<&[u8]>) -> Option<LogItem> {
        let mut pending = self.pending.take()?;
        let earlier = self.incident.take().map(|incident| {
            let membership = match group {
                Some(_) => Membership::No,
                None => incident.membership(&pending),
            };
            (incident, membership)
        });
        let (mut incident, group_kill) = match earlier {
            Some((incident, Membership::Yes)) => (incident, Some(true)),
            earlier => {
                self.counts.kills_without_header += u64::from(!pending.has_header());
                let member = earlier.map_or(Membership::No, |(_, membership)| membership);
                let is_known = self.has_info && member == Membership::No;
                let group_kill = match group {
                    Some(_) => Some(true),
                    None => is_known.then_some(false),
                };
                let account = pending.header.as_ref().and_then(|header| {
                    header.account(self.machine, self.release, Some(&pending.victim))
                });
                let incident = LogIncident::new(&mut pending, account, group, member);
                (incident, group_kill)
            }
        };
        incident.last = pending.stamp;
        let pid = incident.pid_of(pending.victim.tid);
        let item = if self.victims.insert(&incident, &pending, pid) {
            self.counts.kills += 1;
            LogItem::Kill(Box::new(build::kill(pending, &incident, pid, group_kill)))
        } else {
            self.counts.rekills += 1;
            LogItem::Rekill {
                non_kill: build::rekill(&pending, pid),
                stamp: pending.stamp,
            }
        };
        self.incident = Some(incident);
        Some(item)
    }
}
