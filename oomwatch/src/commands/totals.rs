//! The closing line of the commands that audit: what the kernel counted, and what was reported.

use tracing::{info, warn};

use crate::{
    audit::totals::{AuditResult, CaptureCounts},
    commands::pipeline::Pipeline,
};

/// Logs the kernel's count beside what was reported; as a warning if they differ. The kernel counts a re-kill as well: those
/// stand behind, as does everything else that is not zero. `shown` is the number of kills that were printed, where a filter may
/// have hidden others.
pub(super) fn log_totals(pipeline: &Pipeline, shown: Option<u64>, result: AuditResult) {
    let CaptureCounts {
        kills,
        rekills,
        marks,
        sharers,
        unidentified,
        dropped,
        undecoded,
    } = pipeline.counts();
    let excess = match result {
        AuditResult::Excess(excess) => excess,
        _ => 0,
    };
    let missed = unidentified + result.missing();
    let counted = (kills + missed).saturating_sub(excess);
    let kill = if counted == 1 { "kill" } else { "kills" };
    let totals =
        format!("{counted} OOM {kill} counted by the kernel, {kills} reported, {missed} missed");
    let nonzero = |count: u64| (count > 0).then_some(count);
    let hidden = shown.and_then(|shown| nonzero((kills + unidentified).saturating_sub(shown)));
    let from_log = nonzero(pipeline.filled());
    let rekills = nonzero(rekills);
    if missed == 0 && excess == 0 {
        info!(
            rekills,
            hidden,
            from_log,
            mark_victim_without_kill = nonzero(marks),
            mm_sharers = nonzero(sharers),
            "{totals}"
        );
    } else {
        warn!(
            rekills,
            hidden,
            from_log,
            dropped = nonzero(dropped),
            undecoded = nonzero(undecoded),
            excess = nonzero(excess),
            "{totals}"
        );
    }
}
