//! What was read of a kill to the facts of a report.

use super::{
    LogKill,
    header::{Header, is_whole},
    incident::{Held, Incident},
};
use crate::{
    capture::kmsg::line::{Killed, Message, split_last},
    model::{
        backend::Backend,
        kill::{
            Attribution, Cgroup, Constraint, Kill, Limit, MainProcess, NonKill, NonKillKind, Scope,
            Source, Trigger, Victim,
        },
    },
};

/// A line of a kill that is kept.
#[derive(Debug)]
pub(super) struct OwnedKilled {
    pub(super) message: Message,
    pub(super) tid: u32,
    pub(super) comm: Vec<u8>,
    uid: Option<u32>,
    pub(super) total_vm_bytes: Option<u64>,
    anon_rss_bytes: Option<u64>,
    file_rss_bytes: Option<u64>,
    shmem_rss_bytes: Option<u64>,
    pgtables_bytes: Option<u64>,
    oom_score_adj: Option<i32>,
}

impl OwnedKilled {
    /// Page tables are in bytes already on some kernels.
    pub(super) fn new(killed: &Killed<'_>, pgtables_unit_bytes: u64) -> Self {
        let Killed {
            message,
            tid,
            comm,
            uid,
            total_vm_bytes,
            anon_rss_bytes,
            file_rss_bytes,
            shmem_rss_bytes,
            pgtables_kilobytes,
            oom_score_adj,
        } = *killed;
        Self {
            message,
            tid,
            comm: comm.to_vec(),
            uid,
            total_vm_bytes,
            anon_rss_bytes,
            file_rss_bytes,
            shmem_rss_bytes,
            pgtables_bytes: pgtables_kilobytes
                .map(|pgtables| pgtables.saturating_mul(pgtables_unit_bytes)),
            oom_score_adj,
        }
    }
}

/// The unit of `pgtables` on a kernel of this release: 5.4.0 to 5.4.12
/// wrote bytes with the label kB (`mm/oom_kill.c`, corrected in 5.4.13).
///
/// A distribution's 5.4.0-N is not 5.4.0; whether it has the correction its number does not tell, and most have.
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

/// The kernel's release in `… Not tainted 5.4.7 #1 SMP`.
pub(super) fn release(text: &[u8]) -> Option<&[u8]> {
    let (text, _) = split_last(text, b" #")?;
    text.split(|&byte| byte == b' ').next_back()
}

/// Puts the facts of a kill together. `incident` is its own, `group_kill` what the log says of that.
pub(super) fn kill(held: Held, incident: &Incident, pid: u32, group_kill: Option<bool>) -> LogKill {
    let Held {
        number,
        killed,
        stamp,
        caller: _,
        host,
        header: _,
    } = held;
    let is_first = number == incident.number;
    let header = incident.header.as_ref();
    let scope = match killed.message {
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
        .and_then(|header| header.cgroup_of(killed.tid));
    let group = incident
        .group
        .as_deref()
        .filter(|path| group_kill == Some(true) && is_whole(path));
    let oom = header.filter(|_| scope == Scope::Memcg).and_then(oom_limit);
    let limits = limits(path.or(group), oom);
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
        victim: Victim {
            pid,
            tid: killed.tid,
            ns_pid: None,
            comm: Some(killed.comm),
            uid: killed.uid,
            oom_score_adj: killed.oom_score_adj,
            oom_points: None,
            total_vm_bytes: killed.total_vm_bytes,
            anon_rss_bytes: killed.anon_rss_bytes,
            file_rss_bytes: killed.file_rss_bytes,
            shmem_rss_bytes: killed.shmem_rss_bytes,
            swap_bytes: None,
            pgtables_bytes: killed.pgtables_bytes,
            start_boot_time_ns: None,
            cgroup: path.map(cgroup),
            leaf_cgroup: None,
            main_process: MainProcess::Unknown,
        },
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

/// A process that was killed once more.
pub(super) fn rekill(held: &Held, pid: u32) -> NonKill {
    NonKill {
        boot_time_ns: held.stamp.boot_time_ns,
        kind: NonKillKind::Rekill,
        pid,
        tid: held.killed.tid,
        comm: Some(held.killed.comm.clone()),
        cgroup: None,
    }
}

/// What the kernel's log tells of a kill, but this one did not. Not what it never tells: the cgroup of a group's further
/// members, and before 5.0 cgroup and constraint when the system ran out.
fn missing(kill: &Kill, header: Option<&Header>) -> Vec<&'static str> {
    let is_old = header.is_some_and(Header::is_old);
    let is_untold = is_old && kill.scope == Scope::System;
    let is_member = kill.group_cgroup.is_some() && kill.victim.cgroup.is_none();
    let lacks_cgroup = kill.victim.cgroup.is_none() && !is_untold && !is_member;
    [
        ("cgroup", lacks_cgroup),
        (
            "oom_cgroup",
            kill.scope == Scope::Memcg && kill.oom_level.is_none(),
        ),
        ("constraint", kill.constraint.is_none() && !is_old),
        ("allocation", kill.allocation.is_none()),
        ("trigger", kill.trigger.is_none()),
    ]
    .into_iter()
    .filter_map(|(name, is_missing)| is_missing.then_some(name))
    .collect()
}

/// From the victim's cgroup, or the group's, to the one that ran out; none where that is not known. What is between them
/// the log does not say.
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
    Some(Limit {
        cgroup: cgroup(header.oom_memcg.as_deref()?),
        usage_bytes: header.memory.usage_bytes,
        limit_bytes: header.memory.limit_bytes,
        swap_usage_bytes: header.swap.usage_bytes,
        swap_limit_bytes: header.swap.limit_bytes,
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
