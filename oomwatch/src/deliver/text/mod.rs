//! Text output: one line per kill in fixed columns, the last one of free width. Untrusted bytes are escaped.

use std::cmp::Reverse;

use jiff::tz::TimeZone;

use crate::{
    deliver::color::Color,
    model::{
        gap::{GapCgroup, GapPlace},
        kill::{Cgroup, Kill, MainProcess, NonKill, NonKillKind, Scope},
        limit_owner::LimitOwner,
        report::{Coalesced, Container, GapReport, Report},
    },
    sys::escape::escape,
};

/// Which columns a line has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Few enough for a terminal.
    Text,
    /// The same, with the date in `TIME`.
    Dated,
    /// All columns; non-kill events have lines too.
    Wide,
}

/// The most cgroups that the line of a gap names.
const MAX_GAP_CGROUPS: usize = 3;

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const RESET: &str = "\x1b[0m";

/// A column: title, width and alignment.
struct Column(&'static str, usize, Align);

#[derive(Clone, Copy)]
enum Align {
    Left,
    Right,
}

const TEXT: &[Column] = &[
    Column("TIME", 13, Align::Left),
    Column("PID", 7, Align::Right),
    Column("COMM", 15, Align::Left),
    Column("RSS", 9, Align::Right),
    Column("LIMIT", 9, Align::Right),
    Column("LIMIT OWNER", 11, Align::Left),
    Column("WHERE", 0, Align::Left),
];

const DATED: &[Column] = &[
    Column("TIME", 24, Align::Left),
    Column("PID", 7, Align::Right),
    Column("COMM", 15, Align::Left),
    Column("RSS", 9, Align::Right),
    Column("LIMIT", 9, Align::Right),
    Column("LIMIT OWNER", 11, Align::Left),
    Column("WHERE", 0, Align::Left),
];

const WIDE: &[Column] = &[
    Column("TIME", 24, Align::Left),
    Column("WHAT", 11, Align::Left),
    Column("PID", 7, Align::Right),
    Column("TID", 7, Align::Right),
    Column("NSPID", 7, Align::Right),
    Column("COMM", 15, Align::Left),
    Column("UID", 6, Align::Right),
    Column("ADJ", 5, Align::Right),
    Column("ANON", 9, Align::Right),
    Column("FILE", 9, Align::Right),
    Column("SHMEM", 9, Align::Right),
    Column("SWAP", 9, Align::Right),
    Column("USAGE", 9, Align::Right),
    Column("LIMIT", 9, Align::Right),
    Column("LIMIT OWNER", 11, Align::Left),
    Column("SCOPE", 7, Align::Left),
    Column("MAIN", 4, Align::Left),
    Column("GROUP", 5, Align::Left),
    Column("TRIGGER", 23, Align::Left),
    Column("WHERE", 40, Align::Left),
    Column("CGROUP", 0, Align::Left),
];

/// The header line.
#[must_use]
pub fn header(detail: Detail) -> String {
    let columns = columns(detail);
    row(
        columns,
        columns.iter().map(|Column(title, ..)| (*title).to_owned()),
    )
}

/// The line of a kill.
#[must_use]
pub fn kill(report: &Report, detail: Detail, color: Color) -> String {
    colored(plain(report, detail), report, color)
}

/// The line of several kills: the last one's, with their number.
#[must_use]
pub fn coalesced(report: &Report, coalesced: &Coalesced, detail: Detail, color: Color) -> String {
    let Coalesced {
        kills,
        incidents,
        since,
    } = *coalesced;
    let incidents = match incidents {
        1 => "1 incident".to_owned(),
        incidents => format!("{incidents} incidents"),
    };
    let since = brief_time(since);
    let line = plain(report, detail);
    let line = format!("{line}, the last of {kills} kills since {since}, {incidents}");
    colored(line, report, color)
}

fn plain(report: &Report, detail: Detail) -> String {
    match detail {
        Detail::Text | Detail::Dated => text(report, detail),
        Detail::Wide => wide(report),
    }
}

fn colored(line: String, report: &Report, color: Color) -> String {
    let style = match (report.kill.scope, report.main_process) {
        _ if color == Color::Never => return line,
        (Scope::System, _) => RED,
        (_, MainProcess::Yes) => BOLD,
        _ => return line,
    };
    format!("{style}{line}{RESET}")
}

/// The line of a non-kill event, in the columns of [`Detail::Wide`].
#[must_use]
pub fn non_kill(event: &NonKill, time: Option<jiff::Timestamp>) -> String {
    let NonKill {
        boot_time_ns,
        kind,
        pid,
        tid,
        comm,
        cgroup,
    } = event;
    let (what, of_victim) = match kind {
        NonKillKind::Rekill => ("re-kill", None),
        NonKillKind::Mark => ("mark_victim", None),
        NonKillKind::Sharer { victim_pid } => ("mm_sharer", Some(format!("of {victim_pid}"))),
    };
    let cells = WIDE.iter().map(|Column(title, ..)| match *title {
        "TIME" => full_time(time, *boot_time_ns),
        "WHAT" => what.to_owned(),
        "PID" if *pid != 0 => pid.to_string(),
        "TID" => tid.to_string(),
        "COMM" => name(comm.as_deref()),
        "WHERE" => of_victim.clone().unwrap_or_else(dash),
        "CGROUP" => path(cgroup.as_ref()),
        _ => dash(),
    });
    row(WIDE, cells)
}

/// The line of a gap, in the columns of a kill.
#[must_use]
pub fn gap(report: &GapReport, detail: Detail) -> String {
    let GapReport {
        gap, time, since, ..
    } = report;
    let kills = match gap.kills {
        1 => "1 kill".to_owned(),
        kills => format!("{kills} kills"),
    };
    let counted = format!("{kills} counted since {}", brief_time(*since));
    let cells = columns(detail)
        .iter()
        .map(|Column(title, ..)| match (*title, detail) {
            ("TIME", Detail::Text) => brief_time(*time),
            ("TIME", Detail::Dated | Detail::Wide) => full_time(Some(*time), None),
            ("WHAT", _) => "gap".to_owned(),
            ("WHERE", Detail::Text | Detail::Dated) if !gap.cgroups.is_empty() => {
                format!("{counted}: {}", gap_cgroups(&gap.cgroups))
            }
            ("WHERE", _) => counted.clone(),
            ("CGROUP", _) if !gap.cgroups.is_empty() => gap_cgroups(&gap.cgroups),
            _ => dash(),
        });
    row(columns(detail), cells)
}

/// The cgroups with the most kills.
fn gap_cgroups(cgroups: &[GapCgroup]) -> String {
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
    parts.join(", ")
}

fn text(report: &Report, detail: Detail) -> String {
    let Kill { victim, .. } = &report.kill;
    row(
        columns(detail),
        [
            match report.time {
                Some(time) if detail == Detail::Text => brief_time(time),
                time => full_time(time, report.kill.boot_time_ns),
            },
            victim.pid.to_string(),
            name(victim.comm.as_deref()),
            size(victim.rss_bytes()),
            size(report.oom_limit().and_then(|limit| limit.limit_bytes)),
            limit_owner(report.limit_owner),
            object(report),
        ],
    )
}

fn wide(report: &Report) -> String {
    let Kill {
        victim, trigger, ..
    } = &report.kill;
    let limit = report.oom_limit();
    row(
        WIDE,
        [
            full_time(report.time, report.kill.boot_time_ns),
            "kill".to_owned(),
            victim.pid.to_string(),
            victim.tid.to_string(),
            number(victim.ns_pid),
            name(victim.comm.as_deref()),
            number(victim.uid),
            number(victim.oom_score_adj),
            size(victim.anon_rss_bytes),
            size(victim.file_rss_bytes),
            size(victim.shmem_rss_bytes),
            size(victim.swap_bytes),
            size(limit.and_then(|limit| limit.usage_bytes)),
            size(limit.and_then(|limit| limit.limit_bytes)),
            limit_owner(report.limit_owner),
            report.kill.scope.as_str().to_owned(),
            match report.main_process {
                MainProcess::Yes => "yes".to_owned(),
                MainProcess::No => "no".to_owned(),
                MainProcess::Unknown => dash(),
            },
            match report.kill.group_kill {
                Some(true) => "yes".to_owned(),
                Some(false) => "no".to_owned(),
                None => dash(),
            },
            trigger.as_ref().map_or_else(dash, |trigger| {
                format!("{}/{}", name(trigger.comm.as_deref()), number(trigger.tid))
            }),
            object(report),
            path(victim.leaf_cgroup.as_ref().or(victim.cgroup.as_ref())),
        ],
    )
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

fn container_name(container: &Container) -> String {
    let id = container.id.get(..12).unwrap_or(&container.id);
    escape(container.name.as_deref().unwrap_or(id).as_bytes())
}

fn limit_owner(owner: Option<LimitOwner>) -> String {
    owner.map_or_else(dash, |owner| owner.as_str().to_owned())
}

fn path(cgroup: Option<&Cgroup>) -> String {
    cgroup.map_or_else(dash, |cgroup| escape(&cgroup.path))
}

fn name(comm: Option<&[u8]>) -> String {
    match comm {
        None | Some([]) => dash(),
        Some(comm) => escape(comm),
    }
}

fn number(value: Option<impl ToString>) -> String {
    value.map_or_else(dash, |value| value.to_string())
}

fn brief_time(time: jiff::Timestamp) -> String {
    time.to_zoned(TimeZone::UTC)
        .strftime("%H:%M:%S%.3fZ")
        .to_string()
}

fn full_time(time: Option<jiff::Timestamp>, boot_time_ns: Option<u64>) -> String {
    time.map_or_else(|| since_boot(boot_time_ns), |time| format!("{time:.3}"))
}

/// The time in the format of `dmesg`.
fn since_boot(boot_time_ns: Option<u64>) -> String {
    boot_time_ns.map_or_else(dash, |time| {
        let (seconds, microseconds) = (time / 1_000_000_000, time / 1000 % 1_000_000);
        format!("[{seconds}.{microseconds:06}]")
    })
}

fn dash() -> String {
    "-".to_owned()
}

/// A size in binary units with at most one decimal place, such as `39.5MiB`; `-` if it is not known.
#[must_use]
pub fn size(bytes: Option<u64>) -> String {
    let Some(bytes) = bytes else { return dash() };
    let mut unit = "B";
    let mut tenths = u128::from(bytes) * 10;
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        // 1024 of a unit are written as 1 of the next.
        if tenths < 10_240 {
            break;
        }
        tenths = (tenths + 512) / 1024;
        unit = larger;
    }
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole}{unit}"),
        (whole, tenth) => format!("{whole}.{tenth}{unit}"),
    }
}

fn columns(detail: Detail) -> &'static [Column] {
    match detail {
        Detail::Text => TEXT,
        Detail::Dated => DATED,
        Detail::Wide => WIDE,
    }
}

/// Pads cells to their columns, two spaces apart. A cell that is too wide is not cut but moves the rest to the right.
fn row(columns: &[Column], cells: impl IntoIterator<Item = String>) -> String {
    let padded = columns
        .iter()
        .zip(cells)
        .map(|(Column(_, width, align), cell)| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests;
