//! Builds a [`Kill`] from the lines of the log.

use bstr::ByteSlice as _;

use super::{
    header::{Header, is_uncut},
    incident::LogIncident,
    item::LogKill,
    pending::PendingKill,
};
use crate::{
    capture::kmsg::line::{Killed, Message},
    model::{
        backend::Backend,
        kill::{
            Attribution, Cgroup, Constraint, Kill, Limit, NonKill, NonKillKind, Scope, Source,
            Trigger, Victim,
        },
    },
};

/// The unit of `pgtables` in the log of a kernel of this release, in bytes. 5.4.0 to 5.4.12 print bytes with the label kB
/// (`mm/oom_kill.c`, fixed in 5.4.13).
///
/// A distribution's 5.4.0-N is not 5.4.0. Its number does not show whether it has the fix; most have it.
pub(super) fn pgtables_unit_bytes(release: &[u8]) -> u64 {
    let patch = release.strip_prefix(b"5.4.").unwrap_or_default();
    let digits = patch
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (number, rest) = patch.split_at(digits);
    let number = str::from_utf8(number)
        .ok()
        .and_then(|number| number.parse::<u32>().ok());
    match number {
        Some(0) if rest.starts_with(b"-") => 1024,
        Some(0..=12) => 1,
        _ => 1024,
    }
}

/// Finds the kernel's release in `… Not tainted 5.4.7 #1 SMP`.
pub(super) fn release(text: &[u8]) -> Option<&[u8]> {
    let (text, _) = text.rsplit_once_str(b" #")?;
    text.rsplit_str(b" ").next()
}

/// A kill of which the log has only the name.
pub(super) fn without_sizes(tid: u32, comm: &[u8]) -> Killed<'_> {
    Killed {
        message: Message::None,
        tid,
        comm,
        uid: None,
        total_vm_bytes: None,
        anon_rss_bytes: None,
        file_rss_bytes: None,
        shmem_rss_bytes: None,
        pgtables_kilobytes: None,
        oom_score_adj: None,
    }
}

/// Builds the victim of a kill line, without process id and cgroup. `pgtables_unit_bytes` is the unit of its `pgtables`.
pub(super) fn victim(killed: &Killed<'_>, pgtables_unit_bytes: u64) -> Victim {
    Victim {
        pid: killed.tid,
        tid: killed.tid,
        ns_pid: None,
        comm: Some(killed.comm.to_vec()),
        uid: killed.uid,
        oom_score_adj: killed.oom_score_adj,
        oom_points: None,
        total_vm_bytes: killed.total_vm_bytes,
        anon_rss_bytes: killed.anon_rss_bytes,
        file_rss_bytes: killed.file_rss_bytes,
        shmem_rss_bytes: killed.shmem_rss_bytes,
        swap_bytes: None,
        pgtables_bytes: killed
            .pgtables_kilobytes
            .map(|pgtables| pgtables.saturating_mul(pgtables_unit_bytes)),
        start_boot_time_ns: None,
        cgroup: None,
        leaf_cgroup: None,
        is_namespace_init: None,
    }
}

/// Builds a kill. `incident` is the one that the kill belongs to; `group_kill` is absent if the log does not say.
pub(super) fn kill(
    pending: PendingKill,
    incident: &LogIncident,
    pid: u32,
    group_kill: Option<bool>,
) -> LogKill {
    let PendingKill {
        number,
        message,
        mut victim,
        stamp,
        caller: _,
        host,
        header: _,
    } = pending;
    let tid = victim.tid;
    let is_first = number == incident.number;
    let header = incident.header.as_ref();
    let scope = match message {
        Message::Memcg => Some(Scope::Memcg),
        Message::System => Some(Scope::System),
        Message::Other | Message::None => header.and_then(Header::scope),
    }
    .unwrap_or(Scope::Unknown);
    let constraint = match scope {
        Scope::Memcg => Some(Constraint::Memcg),
        Scope::System | Scope::Unknown => header.and_then(|header| header.constraint),
    };
    let path = header
        .filter(|_| is_first)
        .and_then(|header| header.cgroup_of(tid));
    let group = incident
        .group
        .as_deref()
        .filter(|path| group_kill == Some(true) && is_uncut(path));
    let oom = header.filter(|_| scope == Scope::Memcg).and_then(oom_limit);
    let limits = limits(path.or(group), oom);
    victim.pid = pid;
    victim.cgroup = path.map(cgroup);
    let mut kill = Kill {
        boot_time_ns: stamp.boot_time_ns,
        incident_boot_time_ns: incident.first.boot_time_ns,
        source: Source::Kmsg,
        backend: Backend::Kmsg,
        attribution: Attribution::Kmsg,
        scope,
        constraint,
        allocation: header.and_then(|header| header.allocation),
        group_kill,
        log_key: None,
        group_cgroup: group.map(cgroup),
        oom_level: limits.len().checked_sub(1),
        oom_group_level: None,
        limits,
        trigger: header.and_then(trigger),
        limit_lowered: header.and_then(|header| header.account.limit_lowered()),
        account: incident.account.clone(),
        victim,
        missing: Vec::new(),
    };
    kill.missing = missing(&kill, header);
    LogKill {
        kill,
        stamp,
        incident: incident.first,
        incident_tid: incident.tid,
        number,
        incident_number: incident.number,
        host,
    }
}

/// Builds the record of a process that was killed again.
pub(super) fn rekill(pending: &PendingKill, pid: u32) -> NonKill {
    NonKill {
        boot_time_ns: pending.stamp.boot_time_ns,
        kind: NonKillKind::Rekill,
        pid,
        tid: pending.victim.tid,
        comm: pending.victim.comm.clone(),
        cgroup: None,
    }
}

/// Names of the facts that the log usually has and lacks for this kill. Facts that the kernel never logs are not listed:
/// the cgroup of further members of a group, and before 5.0 cgroup and constraint of a system OOM.
fn missing(kill: &Kill, header: Option<&Header>) -> Vec<&'static str> {
    let is_before_5_0 = header.is_some_and(Header::is_before_5_0);
    let is_never_logged = is_before_5_0 && kill.scope == Scope::System;
    let is_member = kill.group_cgroup.is_some() && kill.victim.cgroup.is_none();
    let lacks_cgroup = kill.victim.cgroup.is_none() && !is_never_logged && !is_member;
    [
        ("cgroup", lacks_cgroup),
        (
            "oom_cgroup",
            kill.scope == Scope::Memcg && kill.oom_level.is_none(),
        ),
        ("constraint", kill.constraint.is_none() && !is_before_5_0),
        ("allocation", kill.allocation.is_none()),
        ("trigger", kill.trigger.is_none()),
    ]
    .into_iter()
    .filter_map(|(name, is_missing)| is_missing.then_some(name))
    .collect()
}

/// The victim's cgroup, or the group's, and the one that ran out; empty if the latter is unknown. The log does not have
/// the cgroups in between.
fn limits(innermost: Option<&[u8]>, oom: Option<Limit>) -> Vec<Limit> {
    let Some(oom) = oom else { return Vec::new() };
    let innermost = innermost
        .filter(|path| *path != oom.cgroup.path)
        .map(|path| Limit {
            cgroup: cgroup(path),
            usage_bytes: None,
            limit_bytes: None,
            swap_usage_bytes: None,
            swap_limit_bytes: None,
        });
    innermost.into_iter().chain([oom]).collect()
}

fn oom_limit(header: &Header) -> Option<Limit> {
    let (memory, swap) = (header.account.memory(), header.account.swap());
    Some(Limit {
        cgroup: cgroup(header.oom_memcg.as_deref()?),
        usage_bytes: memory.usage_bytes,
        limit_bytes: memory.limit_bytes,
        swap_usage_bytes: swap.usage_bytes,
        swap_limit_bytes: swap.limit_bytes,
    })
}

fn trigger(header: &Header) -> Option<Trigger> {
    let trigger = header.trigger.as_ref()?;
    Some(Trigger {
        pid: trigger.tid.and_then(|tid| header.pid_of(tid)),
        tid: trigger.tid,
        comm: Some(trigger.comm.clone()),
        cgroup: None,
    })
}

fn cgroup(path: &[u8]) -> Cgroup {
    Cgroup {
        path: path.to_vec(),
        id: None,
    }
}
