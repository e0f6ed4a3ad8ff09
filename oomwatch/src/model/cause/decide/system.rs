//! The system ran out.

use std::collections::BTreeMap;

use super::{
    finding::{Finding, account, is_half, memory, permille},
    kinds::{Group, is_or_are, largest},
    processes::{held_bytes, protected},
    sentence::size,
};
use crate::model::{
    account::{Memory, MemoryOf, Zone},
    cause::CauseKind,
    kill::Constraint,
    report::Report,
};

pub(super) fn find(report: &Report) -> Finding<'_> {
    let kill = &report.kill;
    let zones = account(report)
        .map(|account| account.zones.as_slice())
        .unwrap_or_default();
    let memory = memory(report, MemoryOf::Node);
    let total_bytes = memory.and_then(|memory| memory.limit_bytes);
    let free_bytes = free_bytes(zones, memory.as_ref());
    if let Some(Constraint::Cpuset | Constraint::MemoryPolicy) = kill.constraint {
        let what = match kill.constraint {
            Some(Constraint::Cpuset) => "cpuset",
            _ => "memory policy",
        };
        return Finding::new(CauseKind::NumaOrCpuset, None, move |_, _| {
            let elsewhere = free_bytes.map_or_else(String::new, |free| {
                let free = size(free);
                format!(
                    ", while {free} were free on the whole machine{}",
                    free_by_node(zones)
                )
            });
            format!("The NUMA nodes that the {what} of the allocation allows ran out{elsewhere}.")
        });
    }
    if let Some(order) = kill
        .allocation
        .map(|allocation| allocation.order)
        .filter(|order| *order > 0)
        && let Some(free) = fragmented(zones, order)
    {
        return Finding::new(CauseKind::Fragmentation, None, move |_, _| {
            format!(
                "The kernel needed {} in one piece; {} were free, but in smaller pieces.",
                size(4096 << order.min(20)),
                size(free)
            )
        });
    }
    let Some(total_bytes) = total_bytes else {
        return node_pressure(report, None);
    };
    if let Some(found) = protected(report, total_bytes) {
        return found;
    }
    if let Some(memory) = memory {
        let [(first, bytes), _] = largest(&memory);
        let is_own_cause = !matches!(first, Group::Processes | Group::PageCache | Group::Huge);
        if is_own_cause && is_half(bytes, total_bytes) {
            return Finding::new(first.kind(), permille(bytes, total_bytes), move |_, _| {
                format!(
                    "{} of the node's {} {} {}.",
                    size(bytes),
                    size(total_bytes),
                    is_or_are(first),
                    first.words()
                )
            });
        }
    }
    node_pressure(report, Some(total_bytes))
}

/// Free memory of the machine.
fn free_bytes(zones: &[Zone], memory: Option<&Memory>) -> Option<u64> {
    if !zones.is_empty() {
        let free = zones.iter().map(|zone| zone.free_bytes);
        return Some(free.fold(0, u64::saturating_add));
    }
    memory.and_then(|memory| memory.limit_bytes?.checked_sub(memory.usage_bytes?))
}

/// The free memory of each NUMA node, if there are a few.
fn free_by_node(zones: &[Zone]) -> String {
    let mut nodes: BTreeMap<u32, u64> = BTreeMap::new();
    for zone in zones {
        let free = nodes.entry(zone.node).or_default();
        *free = free.saturating_add(zone.free_bytes);
    }
    if !(2..=4).contains(&nodes.len()) {
        return String::new();
    }
    let nodes = nodes
        .iter()
        .map(|(node, free)| format!("node {node}: {}", size(*free)));
    format!(" ({})", nodes.collect::<Vec<_>>().join(", "))
}

/// Free memory above the watermarks, if no zone has a free block of this order: then the allocation failed because of that.
fn fragmented(zones: &[Zone], order: i32) -> Option<u64> {
    let order = usize::try_from(order).ok()?;
    let usable = zones.iter().filter(|zone| {
        !zone.free_blocks.is_empty()
            && zone.min_bytes.is_some_and(|min| zone.free_bytes > min)
            // The kernel keeps it for devices.
            && zone.name != "DMA"
    });
    let mut free = 0_u64;
    for zone in usable {
        let blocks = zone.free_blocks.get(order..).unwrap_or_default();
        if blocks.iter().any(|count| *count > 0) {
            return None;
        }
        free = free.saturating_add(zone.free_bytes);
    }
    (free > 0).then_some(free)
}

/// The whole node is full: the pod that exceeds its request most, else the largest process.
fn node_pressure(report: &Report, total_bytes: Option<u64>) -> Finding<'_> {
    let pod = report
        .explanation
        .as_ref()
        .and_then(|explanation| explanation.pods.first())
        .filter(|pod| pod.usage_bytes > pod.request_bytes);
    if let Some(pod) = pod {
        let share = total_bytes.and_then(|total| permille(pod.usage_bytes, total));
        return Finding::new(CauseKind::NodePressure, share, move |names, audience| {
            let used = format!(
                "used {}, {} more than it requests",
                size(pod.usage_bytes),
                size(pod.usage_bytes - pod.request_bytes)
            );
            format!(
                "The node ran out of memory; {} {used}.",
                names.pod(pod, audience)
            )
        });
    }
    let top = report
        .kill
        .candidates()
        .into_iter()
        .flat_map(|candidates| &candidates.processes)
        .filter(|process| process.excluded.is_none())
        .max_by_key(|process| held_bytes(process));
    let share = top
        .zip(total_bytes)
        .and_then(|(top, total)| permille(held_bytes(top), total));
    let is_one = top
        .zip(total_bytes)
        .zip(report.kill.candidates())
        .is_some_and(|((top, total), candidates)| {
            is_half(
                held_bytes(top).saturating_sub(candidates.rss_error_bytes),
                total,
            )
        });
    let kind = if is_one {
        CauseKind::OneProcess
    } else {
        CauseKind::NodePressure
    };
    Finding::new(kind, share, move |names, audience| match top {
        Some(top) => {
            let of =
                total_bytes.map_or_else(String::new, |total| format!(" of its {}", size(total)));
            format!(
                "The node ran out of memory; the largest process{} held {}{of}.",
                names.apposition(top, audience),
                size(held_bytes(top))
            )
        }
        None => "The node ran out of memory.".to_owned(),
    })
}
