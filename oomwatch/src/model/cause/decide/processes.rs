//! Memory of processes: of one, of many, or of those that may not be killed.

use super::{
    finding::{Finding, is_half, permille},
    sentence::size,
};
use crate::model::{
    account::{Candidate, Exclusion},
    cause::CauseKind,
    report::Report,
};

/// What a process holds that goes with it.
pub(super) fn held_bytes(candidate: &Candidate) -> u64 {
    let memory = candidate.memory;
    memory.anon_rss_bytes.saturating_add(memory.shmem_rss_bytes)
}

/// Processes that the killer may not choose, if they hold the most.
pub(super) fn protected(report: &Report, whole_bytes: u64) -> Option<Finding<'_>> {
    let left_out = report
        .kill
        .candidates()?
        .processes
        .iter()
        .filter(|process| process.excluded == Some(Exclusion::OomScoreAdj));
    let (mut count, mut bytes) = (0_u64, 0_u64);
    for process in left_out {
        count += 1;
        bytes = bytes.saturating_add(process.memory.anon_rss_bytes);
    }
    let error = report
        .kill
        .candidates()?
        .rss_error_bytes
        .saturating_mul(count);
    is_half(bytes.saturating_sub(error), whole_bytes).then(|| {
        Finding::new(
            CauseKind::ProtectedProcesses,
            permille(bytes, whole_bytes),
            move |_, _| {
                format!(
                    "{} of {} are held by {} that the OOM killer may not choose (oom_score_adj -1000).",
                    size(bytes),
                    size(whole_bytes),
                    counted(count, "process", "processes"),
                )
            },
        )
    })
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Without statistics by kind, the processes are all that is known.
pub(super) fn by_processes(report: &Report, whole_bytes: u64) -> Finding<'_> {
    let victim = report.kill.victim.rss_bytes();
    let Some(candidates) = report.kill.candidates() else {
        return match victim {
            Some(held) if is_half(held, whole_bytes) => {
                one_process(report, None, held, whole_bytes)
            }
            Some(held) => Finding::unknown(format!(
                "The killed process held {} of the {} limit; what held the rest is not known.",
                size(held),
                size(whole_bytes)
            )),
            None => Finding::unknown("Where the memory was is not known."),
        };
    };
    let sum = candidates
        .sum
        .anon_rss_bytes
        .saturating_add(candidates.sum.shmem_rss_bytes);
    let error = candidates
        .rss_error_bytes
        .saturating_mul(candidates.scored.max(1));
    if is_half(sum.saturating_sub(error), whole_bytes) {
        return processes(report, sum, whole_bytes);
    }
    Finding::unknown(format!(
        "The {} held {} of the {} limit; the rest is shared memory, files or memory of the kernel.",
        counted(candidates.scored, "process", "processes"),
        size(sum),
        size(whole_bytes)
    ))
}

/// Memory of processes: of one or of many.
pub(super) fn processes(report: &Report, bytes: u64, whole_bytes: u64) -> Finding<'_> {
    let victim = &report.kill.victim;
    let Some(candidates) = report.kill.candidates() else {
        return match victim.rss_bytes() {
            Some(held) if is_half(held, whole_bytes) => {
                one_process(report, None, held, whole_bytes)
            }
            held => Finding::unknown(format!(
                "{} of the {} limit is memory of processes; {}.",
                size(bytes),
                size(whole_bytes),
                match held {
                    Some(held) => format!("the killed one held {}", size(held)),
                    None => "of which is not known".to_owned(),
                }
            )),
        };
    };
    let Some(top) = candidates
        .processes
        .iter()
        .filter(|process| process.excluded.is_none())
        .max_by_key(|process| held_bytes(process))
    else {
        return Finding::unknown(format!(
            "{} of the {} limit is memory of processes, of which none is known.",
            size(bytes),
            size(whole_bytes)
        ));
    };
    let is_victim = top.pid == victim.pid;
    let (held, error) = match victim.rss_bytes().filter(|_| is_victim) {
        // The victim's own counters are summed exactly, or are all there is.
        Some(held) => (held, 0),
        None => (held_bytes(top), candidates.rss_error_bytes),
    };
    if is_half(held.saturating_sub(error), whole_bytes) {
        return one_process(report, Some(top), held, whole_bytes);
    }
    if is_half(held.saturating_add(error), whole_bytes) || !candidates.complete {
        return Finding::unknown(format!(
            "{} of the {} limit is memory of processes; whether of one or of many is not known.",
            size(bytes),
            size(whole_bytes)
        ));
    }
    let count = candidates.scored;
    Finding::new(
        CauseKind::ManyProcesses,
        permille(bytes, whole_bytes),
        move |names, audience| {
            format!(
                "{} together held {} of the {} limit; the largest{} held {}.",
                counted(count, "process", "processes"),
                size(bytes),
                size(whole_bytes),
                names.apposition(top, audience),
                size(held)
            )
        },
    )
}

/// One process held the most: the victim, or another one.
fn one_process<'a>(
    report: &'a Report,
    top: Option<&'a Candidate>,
    held: u64,
    whole_bytes: u64,
) -> Finding<'a> {
    let victim = &report.kill.victim;
    let other = top.filter(|top| top.pid != victim.pid);
    let victim_held = victim.rss_bytes();
    Finding::new(
        CauseKind::OneProcess,
        permille(held, whole_bytes),
        move |names, audience| match other {
            None => format!(
                "The killed process held {} of the {} limit.",
                size(held),
                size(whole_bytes)
            ),
            Some(other) => {
                let victim_held = victim_held.map_or_else(
                    || "the killed process held less".to_owned(),
                    |held| format!("the killed process held {}", size(held)),
                );
                format!(
                    "{} held {} of the {} limit; {victim_held}.",
                    names.process(other, audience),
                    size(held),
                    size(whole_bytes)
                )
            }
        },
    )
}
