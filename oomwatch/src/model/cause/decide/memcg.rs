//! A memory cgroup ran out.

use super::{
    finding::{Finding, is_half, memory, permille},
    kinds::{Group, is_or_are, largest},
    processes::{by_processes, held_bytes, processes, protected},
    sentence::size,
};
use crate::model::{
    account::{AccountSource, Memory, MemoryOf},
    cause::CauseKind,
    kill::Kill,
    limit_owner::LimitOwner,
    report::Report,
};

/// The kernel charges in batches of up to 64 pages per CPU (`MEMCG_CHARGE_BATCH`), so usage may be a little above a limit that
/// was not lowered.
const CHARGE_SLACK_BYTES: u64 = 4 << 20;

pub(super) fn find(report: &Report) -> Finding<'_> {
    let limit = report.oom_limit();
    let memory = memory(report, MemoryOf::Cgroup);
    let limit_bytes = limit
        .and_then(|limit| limit.limit_bytes)
        .or(memory.and_then(|memory| memory.limit_bytes));
    let usage_bytes = memory
        .filter(|memory| memory.source != AccountSource::After)
        .and_then(|memory| memory.usage_bytes)
        .or(limit.and_then(|limit| limit.usage_bytes));
    if is_limit_lowered(&report.kill, usage_bytes, limit_bytes) {
        return limit_lowered(usage_bytes, limit_bytes);
    }
    let Some(whole_bytes) = limit_bytes.or(usage_bytes) else {
        return Finding::unknown("A memory limit was reached; which one is not known.");
    };
    if is_parent_limit(report) {
        return parent_limit(report, whole_bytes);
    }
    if let Some(found) = protected(report, whole_bytes) {
        return found;
    }
    match memory {
        Some(memory) if memory.source == AccountSource::After => {
            outlived(report, &memory, whole_bytes)
                .unwrap_or_else(|| by_processes(report, whole_bytes))
        }
        // Statistics that lag behind say nothing of what was charged last.
        Some(memory) if memory.unflushed && is_mostly_other(&memory) => {
            by_processes(report, whole_bytes)
        }
        Some(memory) if memory.parts.iter().next().is_some() => {
            by_kind(report, &with_page_tables(report, memory), whole_bytes)
        }
        _ => by_processes(report, whole_bytes),
    }
}

fn is_mostly_other(memory: &Memory) -> bool {
    let of_all = memory.other_bytes().zip(memory.usage_bytes);
    of_all.is_some_and(|(other, usage)| is_half(other, usage))
}

/// A writer that lowers a limit is seldom in the cgroup, and the usage is above the new limit.
fn is_limit_lowered(kill: &Kill, usage_bytes: Option<u64>, limit_bytes: Option<u64>) -> bool {
    if let Some(is_lowered) = kill.limit_lowered {
        return is_lowered;
    }
    let ran_out = kill.oom_level.and_then(|level| kill.limits.get(level));
    let trigger = kill
        .trigger
        .as_ref()
        .and_then(|trigger| trigger.cgroup.as_ref());
    let (Some(ran_out), Some(trigger)) = (ran_out, trigger) else {
        return false;
    };
    let is_inside = trigger
        .path
        .strip_prefix(ran_out.cgroup.path.as_slice())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
    let is_above = usage_bytes
        .zip(limit_bytes)
        .is_some_and(|(usage, limit)| usage > limit.saturating_add(CHARGE_SLACK_BYTES));
    !is_inside && is_above
}

fn limit_lowered<'a>(usage_bytes: Option<u64>, limit_bytes: Option<u64>) -> Finding<'a> {
    let share = usage_bytes
        .zip(limit_bytes)
        .and_then(|(usage, limit)| permille(usage, limit));
    Finding::new(CauseKind::LimitLowered, share, move |_, _| {
        match (usage_bytes, limit_bytes) {
            (Some(usage), Some(limit)) if usage > limit => format!(
                "The limit was lowered to {} while {} were in use.",
                size(limit),
                size(usage)
            ),
            (_, Some(limit)) => format!(
                "The limit was lowered to {}, below what was in use.",
                size(limit)
            ),
            _ => "The limit was lowered below what was in use.".to_owned(),
        }
    })
}

/// Whether the cgroup that ran out is above the victim's container, pod or unit, and so shared with others.
fn is_parent_limit(report: &Report) -> bool {
    let is_inside = report.container.is_some() || report.pod.is_some() || report.unit.is_some();
    match report.limit_owner {
        Some(LimitOwner::Qos | LimitOwner::Kubepods | LimitOwner::Slice) => is_inside,
        // One that the victim is in itself is its own, not a parent's.
        Some(LimitOwner::Unit | LimitOwner::Cgroup) => {
            let own = report.cgroup().map(|cgroup| &cgroup.path);
            let ran_out = report.oom_limit().map(|limit| &limit.cgroup.path);
            (report.container.is_some() || report.pod.is_some()) && own != ran_out
        }
        Some(LimitOwner::Container | LimitOwner::Pod | LimitOwner::Node) | None => false,
    }
}

fn parent_limit(report: &Report, limit_bytes: u64) -> Finding<'_> {
    let held = report.kill.victim.rss_bytes();
    let share = held.and_then(|held| permille(held, limit_bytes));
    Finding::new(CauseKind::ParentLimit, share, move |names, audience| {
        let whose = names.limit_owner();
        let mut text = format!(
            "The {} limit of {whose} ran out, which {} shares with others",
            size(limit_bytes),
            names.object(),
        );
        if let Some(held) = held {
            text = format!("{text}; the killed process held {}", size(held));
        }
        // The victim has the most points, which is not to say the most memory.
        let others = report
            .kill
            .candidates()
            .into_iter()
            .flat_map(|candidates| &candidates.processes)
            .filter(|other| other.excluded.is_none() && other.pid != report.kill.victim.pid);
        match others.max_by_key(|other| held_bytes(other)) {
            Some(largest) => format!(
                "{text}, and {} {}.",
                names.process(largest, audience),
                size(held_bytes(largest))
            ),
            None => format!("{text}."),
        }
    })
}

/// What of the kernel's memory are page tables, the processes say: on cgroup v1 the log has one number for all of it, and some kernels
/// (6.18 was seen) count no page tables in the statistics.
fn with_page_tables(report: &Report, mut memory: Memory) -> Memory {
    let parts = &mut memory.parts;
    if let Some(other_bytes) = parts.kernel_other_bytes {
        let of_victim = report.kill.victim.pgtables_bytes;
        let of_all = report
            .kill
            .candidates()
            .map(|candidates| candidates.sum.pgtables_bytes);
        let known_bytes = parts.pagetables_bytes.unwrap_or(0);
        let missing_bytes = of_all
            .or(of_victim)
            .unwrap_or(0)
            .saturating_sub(known_bytes)
            .min(other_bytes);
        parts.pagetables_bytes = Some(known_bytes + missing_bytes);
        parts.kernel_other_bytes = Some(other_bytes - missing_bytes);
    }
    memory
}

/// By where the memory was.
fn by_kind<'a>(report: &'a Report, memory: &Memory, whole_bytes: u64) -> Finding<'a> {
    let [(first, bytes), (second, second_bytes)] = largest(memory);
    // What is in no kind, or not in the statistics yet, may belong to any of them.
    let rest = memory.other_bytes().unwrap_or(0);
    let is_certain = is_half(bytes, memory.usage_bytes.unwrap_or(whole_bytes))
        && second_bytes.saturating_add(rest) < bytes;
    if !is_certain {
        return Finding::unknown(format!(
            "No kind of memory holds most of the {}: {} {}, {} {}.",
            size(whole_bytes),
            size(bytes),
            first.words(),
            size(second_bytes),
            second.words(),
        ));
    }
    if first == Group::Processes {
        return processes(report, bytes, whole_bytes);
    }
    of_kind(report, first, bytes, whole_bytes)
}

/// A kind of memory that still is half of the limit when the victim is gone. Files may have been read in the meantime, and
/// memory of processes may be the victim's own.
fn outlived<'a>(report: &'a Report, memory: &Memory, whole_bytes: u64) -> Option<Finding<'a>> {
    let [(first, bytes), _] = largest(memory);
    let is_telling = match first {
        Group::Shmem | Group::Kernel | Group::Sockets | Group::PageTables => true,
        Group::Processes | Group::PageCache | Group::Huge => false,
    };
    (is_telling && is_half(bytes, whole_bytes)).then(|| of_kind(report, first, bytes, whole_bytes))
}

fn of_kind(report: &Report, first: Group, bytes: u64, whole_bytes: u64) -> Finding<'_> {
    let held = report.kill.victim.rss_bytes();
    Finding::new(first.kind(), permille(bytes, whole_bytes), move |_, _| {
        let text = format!(
            "{} of the {} limit {} {}",
            size(bytes),
            size(whole_bytes),
            is_or_are(first),
            first.words()
        );
        match held {
            Some(held) => format!("{text}; the killed process held {}.", size(held)),
            None => format!("{text}."),
        }
    })
}
