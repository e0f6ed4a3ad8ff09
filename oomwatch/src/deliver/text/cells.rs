//! What a record has in each column. Untrusted bytes are escaped.

use std::cmp::Reverse;

use jiff::{Timestamp, tz::TimeZone};

use super::{
    columns::Column,
    size::{brief_size, size},
};
use crate::{
    model::{
        gap::{Gap, GapCgroup, GapPlace},
        kill::{Cgroup, MainProcess, NonKill, NonKillKind, Scope},
        limit_owner::LimitOwner,
        report::{Coalesced, Container, GapReport, Report},
    },
    sys::escape::escape,
};

/// The most cgroups that a gap names.
const MAX_GAP_CGROUPS: usize = 3;

/// A record that has a line.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row<'a> {
    /// A kill, or the last of several.
    Kill {
        report: &'a Report,
        coalesced: Option<&'a Coalesced>,
        /// The line before is of the same incident.
        continues: bool,
    },
    NonKill {
        event: &'a NonKill,
        time: Option<Timestamp>,
    },
    Gap(&'a GapReport),
}

impl Row<'_> {
    /// When it happened.
    pub(super) fn time(self) -> Option<Timestamp> {
        match self {
            Self::Kill { report, .. } => report.time,
            Self::NonKill { time, .. } => time,
            Self::Gap(report) => Some(report.time),
        }
    }

    fn boot_time_ns(self) -> Option<u64> {
        match self {
            Self::Kill { report, .. } => report.kill.boot_time_ns,
            Self::NonKill { event, .. } => event.boot_time_ns,
            Self::Gap(_) => None,
        }
    }
}

/// What cells depend on besides their record.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) zone: TimeZone,
    /// Size of a page on this machine.
    pub(super) page_bytes: u64,
    /// Times without the date, sizes of three digits.
    pub(super) is_brief: bool,
}

impl Context {
    /// What a record has in a column.
    pub(super) fn cell(&self, column: Column, row: Row<'_>) -> String {
        if column == Column::Time {
            return self.time(row);
        }
        match row {
            Row::Kill {
                report,
                coalesced,
                continues,
            } => match column {
                Column::Note => self.note(report, coalesced, continues),
                Column::Object if continues && self.is_brief => format!("└ {}", object(report)),
                _ => self.kill(column, report),
            },
            Row::NonKill { event, .. } => non_kill(column, event),
            Row::Gap(report) => match column {
                Column::What | Column::Object => "gap".to_owned(),
                Column::Node => escape(report.node.as_bytes()),
                Column::Note => self.gap(report),
                Column::Cause => String::new(),
                _ => dash(),
            },
        }
    }

    fn kill(&self, column: Column, report: &Report) -> String {
        let victim = &report.kill.victim;
        let trigger = report.kill.trigger.as_ref();
        match column {
            Column::What => "kill".to_owned(),
            Column::Object => object(report),
            Column::Workload => report
                .workload()
                .map_or_else(dash, |workload| escape(workload.to_string().as_bytes())),
            Column::Process => process(victim.comm.as_deref(), victim.pid),
            Column::Rss => self.rss(report),
            Column::Limit => self.size(self.limit_bytes(report)),
            Column::LimitOwner => limit_owner(report),
            Column::Pid => victim.pid.to_string(),
            Column::Tid => victim.tid.to_string(),
            Column::NsPid => number(victim.ns_pid),
            Column::Comm => comm(victim.comm.as_deref()),
            Column::Uid => number(victim.uid),
            Column::Adj => number(victim.oom_score_adj),
            Column::Anon => size(victim.anon_rss_bytes),
            Column::File => size(victim.file_rss_bytes),
            Column::Shmem => size(victim.shmem_rss_bytes),
            Column::Swap => size(victim.swap_bytes),
            Column::Usage => size(report.oom_limit().and_then(|limit| limit.usage_bytes)),
            Column::Scope => report.kill.scope.as_str().to_owned(),
            Column::Main => yes_or_no(match report.main_process {
                MainProcess::Yes => Some(true),
                MainProcess::No => Some(false),
                MainProcess::Unknown => None,
            }),
            Column::Group => yes_or_no(report.kill.group_kill),
            Column::Trigger => trigger.map_or_else(dash, |trigger| {
                format!("{}/{}", comm(trigger.comm.as_deref()), number(trigger.tid))
            }),
            Column::Cgroup => path(victim.leaf_cgroup.as_ref().or(victim.cgroup.as_ref())),
            Column::Node => match &*report.node {
                "" => dash(),
                node => escape(node.as_bytes()),
            },
            Column::Incident => escape(report.incident.as_bytes()),
            Column::Cause => cause(report),
            Column::Time | Column::Note => String::new(),
        }
    }

    /// Where the kernel does not count shared memory apart, it is among the file pages: then it is at least this much.
    fn rss(&self, report: &Report) -> String {
        let victim = &report.kill.victim;
        match (victim.rss_bytes(), victim.anon_rss_bytes) {
            (None, Some(anon)) => format!("{}+", self.size(Some(anon))),
            (rss, _) => self.size(rss),
        }
    }

    /// The limit of the cgroup that ran out; for a system OOM the memory that the allocation could have come from.
    fn limit_bytes(&self, report: &Report) -> Option<u64> {
        if report.kill.scope != Scope::System {
            return report.oom_limit().and_then(|limit| limit.limit_bytes);
        }
        let allocation = report
            .kill
            .allocation
            .filter(|allocation| allocation.order >= 0)?;
        allocation.total_pages?.checked_mul(self.page_bytes)
    }

    /// What is unusual; empty if nothing is. The trigger is that of the incident, so it is in its first line alone.
    fn note(&self, report: &Report, coalesced: Option<&Coalesced>, continues: bool) -> String {
        let mut parts = Vec::new();
        if let Some(Coalesced {
            kills,
            incidents,
            since,
        }) = coalesced
        {
            let kills = counted(*kills, "kill");
            let incidents = counted(*incidents, "incident");
            let since = self.brief_time(*since);
            parts.push(format!("the last of {kills} since {since}, {incidents}"));
        }
        match report.kill.group_kill {
            Some(true) if continues => parts.push("same group".to_owned()),
            Some(true) => parts.push("group kill".to_owned()),
            _ => {}
        }
        if report.sandbox {
            parts.push("pod sandbox".to_owned());
        }
        let victim_pid = report.kill.victim.pid;
        if !continues
            && let Some(trigger) = &report.kill.trigger
            && let Some(pid) = trigger.pid.filter(|pid| *pid != victim_pid)
        {
            parts.push(format!("trigger {}", process(trigger.comm.as_deref(), pid)));
        }
        parts.join(", ")
    }

    /// How many kills were only counted, and the cgroups with the most of them.
    fn gap(&self, report: &GapReport) -> String {
        let Gap { kills, cgroups, .. } = &report.gap;
        let since = self.brief_time(report.since);
        let counted = format!("{} counted since {since}", counted(*kills, "kill"));
        if cgroups.is_empty() {
            return counted;
        }
        let mut cgroups: Vec<&GapCgroup> = cgroups.iter().collect();
        cgroups.sort_by_key(|cgroup| Reverse(cgroup.kills));
        let mut parts: Vec<String> = cgroups
            .iter()
            .take(MAX_GAP_CGROUPS)
            .map(|GapCgroup { path, kills, place }| {
                let place = match place {
                    GapPlace::Own => "in",
                    GapPlace::Descendants => "below",
                };
                format!("{kills} {place} {}", escape(path))
            })
            .collect();
        let more = cgroups.len().saturating_sub(MAX_GAP_CGROUPS);
        if more > 0 {
            parts.push(format!("and in {more} more"));
        }
        format!("{counted}: {}", parts.join(", "))
    }

    fn size(&self, bytes: Option<u64>) -> String {
        if self.is_brief {
            brief_size(bytes)
        } else {
            size(bytes)
        }
    }

    /// Of a record without a calendar time, the seconds since boot, as `dmesg` prints them.
    fn time(&self, row: Row<'_>) -> String {
        match (row.time(), row.boot_time_ns()) {
            (Some(time), _) if self.is_brief => self.brief_time(time),
            (Some(time), _) => self.full_time(time),
            (None, Some(time)) if self.is_brief => format!("[{}]", time / 1_000_000_000),
            (None, Some(time)) => {
                let (seconds, microseconds) = (time / 1_000_000_000, time / 1000 % 1_000_000);
                format!("[{seconds}.{microseconds:06}]")
            }
            (None, None) => dash(),
        }
    }

    fn brief_time(&self, time: Timestamp) -> String {
        let zoned = time.to_zoned(self.zone.clone());
        zoned.strftime("%H:%M:%S").to_string()
    }

    fn full_time(&self, time: Timestamp) -> String {
        let zoned = time.to_zoned(self.zone.clone());
        let format = if zoned.offset().is_zero() {
            "%Y-%m-%dT%H:%M:%S%.3fZ"
        } else {
            "%Y-%m-%dT%H:%M:%S%.3f%:z"
        };
        zoned.strftime(format).to_string()
    }
}

fn non_kill(column: Column, event: &NonKill) -> String {
    let NonKill {
        boot_time_ns: _,
        kind,
        pid,
        tid,
        comm: name,
        cgroup,
    } = event;
    let (what, note) = match kind {
        NonKillKind::Rekill => ("re-kill", String::new()),
        NonKillKind::Mark => ("mark_victim", String::new()),
        NonKillKind::Sharer { victim_pid } => ("mm_sharer", format!("of {victim_pid}")),
    };
    match column {
        Column::What => what.to_owned(),
        Column::Pid if *pid != 0 => pid.to_string(),
        Column::Tid => tid.to_string(),
        Column::Comm => comm(name.as_deref()),
        Column::Process => process(name.as_deref(), *pid),
        Column::Cgroup => path(cgroup.as_ref()),
        Column::Note => note,
        Column::Cause => String::new(),
        _ => dash(),
    }
}

/// What the victim belonged to, by the most specific name that is known: a container, a pod, a unit or a cgroup.
fn object(report: &Report) -> String {
    match (&report.pod, &report.container, &report.unit) {
        (Some(pod), container, _) => {
            let pod_name = match (&pod.namespace, &pod.name) {
                (Some(namespace), Some(name)) => escape(format!("{namespace}/{name}").as_bytes()),
                _ => format!("pod {}", escape(pod.uid.as_bytes())),
            };
            match container {
                Some(container) => format!("{pod_name}/{}", container_name(container)),
                None => pod_name,
            }
        }
        (None, Some(container), _) => match container.runtime {
            Some(runtime) => format!("{} {}", runtime.as_str(), container_name(container)),
            None => format!("container {}", container_name(container)),
        },
        (None, None, Some(unit)) => escape(unit.as_bytes()),
        (None, None, None) => path(report.cgroup().or(report.kill.group_cgroup.as_ref())),
    }
}

/// The sentence, which may hold names that a tenant chose; empty where nothing of the account is known.
fn cause(report: &Report) -> String {
    report
        .cause()
        .map_or_else(String::new, |cause| escape(cause.sentence.as_bytes()))
}

fn container_name(container: &Container) -> String {
    let id = container.id.get(..12).unwrap_or(&container.id);
    escape(container.name.as_deref().unwrap_or(id).as_bytes())
}

/// Whose limit was hit; which one, where it is a cgroup above the victim's own that is no pod's.
fn limit_owner(report: &Report) -> String {
    if report
        .kill
        .allocation
        .is_some_and(|allocation| allocation.order < 0)
    {
        return "sysrq".to_owned();
    }
    let Some(owner) = report.limit_owner else {
        return dash();
    };
    let name = match owner {
        LimitOwner::Unit | LimitOwner::Slice | LimitOwner::Cgroup => report
            .oom_limit()
            .map(|limit| &limit.cgroup.path)
            .filter(|path| report.cgroup().is_none_or(|own| own.path != **path))
            .and_then(|path| path.rsplit(|&byte| byte == b'/').next())
            .filter(|name| !name.is_empty()),
        _ => None,
    };
    name.map_or_else(|| owner.as_str().to_owned(), escape)
}

/// The name, and the id in brackets.
fn process(name: Option<&[u8]>, pid: u32) -> String {
    format!("{}[{pid}]", comm(name))
}

fn path(cgroup: Option<&Cgroup>) -> String {
    cgroup.map_or_else(dash, |cgroup| escape(&cgroup.path))
}

fn comm(comm: Option<&[u8]>) -> String {
    match comm {
        None | Some([]) => dash(),
        Some(comm) => escape(comm),
    }
}

fn number(value: Option<impl ToString>) -> String {
    value.map_or_else(dash, |value| value.to_string())
}

fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

fn yes_or_no(value: Option<bool>) -> String {
    match value {
        Some(true) => "yes".to_owned(),
        Some(false) => "no".to_owned(),
        None => dash(),
    }
}

fn dash() -> String {
    "-".to_owned()
}
