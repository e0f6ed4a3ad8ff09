//! Decides when kills are missing, and what a backfill changes. Pure: counts, log and clock are arguments.
//!
//! For each kill the kernel first counts it, then records it (ring), then logs it, one kill at a time. So one audit is:
//! read the kernel's count, take all available records, read the count again. If the count did not change, every counted
//! kill was captured or is missing, except one that the kernel is about to record. Hence a deficit counts only if two
//! consecutive audits see it. If the kernel has counted others between them, one of the deficit may be another kill in the
//! microseconds between its count and its record, so it is one less. While kills go on without a pause the counts differ
//! during each audit; then only that part of the deficit counts that was there at the last audit and remains even if every
//! record since belongs to it.
//!
//! A backfill is: read the count, read the kernel log, take all available records, then [`AuditState::backfill`]. A kill
//! that is in the log was recorded before, so what the log has and the records lack was lost. Should its record come after
//! all, [`AuditState::kill`] recognises it.

use serde::{Deserialize, Serialize};
use tracing::debug;

use crate::{
    audit::{
        backfill::{Backfill, BackfillRequest, backfill},
        recent_kills::RecentKills,
        totals::{AuditResult, CaptureCounts, Totals},
    },
    capture::{counters::KernelCount, kmsg::snapshot::LogSnapshot},
    model::{
        kill::{Kill, NonKill, NonKillKind},
        losses::Losses,
    },
};

/// The part of the state that is saved as one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AuditSum {
    pub(super) totals: Totals,
    /// Measured offset of the kernel log's clock, see [`SnapshotClock::offset_ns`].
    ///
    /// [`SnapshotClock::offset_ns`]: crate::capture::kmsg::snapshot_clock::SnapshotClock::offset_ns
    #[serde(default)]
    offset_ns: Option<i64>,
    /// Nanoseconds since boot: every kill before it is accounted for.
    pub(super) complete_boot_time_ns: u64,
}

impl AuditSum {
    fn new(start: KernelCount) -> Self {
        Self {
            totals: Totals::new(start.boot_time_ns, start.kills),
            offset_ns: None,
            complete_boot_time_ns: start.boot_time_ns,
        }
    }
}

/// Captured kills and the kernel's count at the last audit.
#[derive(Debug)]
pub(super) struct AuditState {
    pub(super) sum: AuditSum,
    pub(super) recent: RecentKills,
    /// Losses of earlier runs.
    earlier_losses: Losses,
    /// The kernel's count at the last audit.
    pub(super) kernel: KernelCount,
    /// The deficit of the last audit, if the count did not change during it.
    deficit: Option<u64>,
    /// How many kills are missing for certain, so that a backfill may look for them.
    missing: u64,
    /// Kills found in the log by this process.
    pub(super) backfilled: u64,
}

/// Result of a backfill.
#[derive(Debug, Default)]
pub(super) struct BackfillResult {
    /// How many kills were missing.
    pub(super) missing: u64,
    /// What the log has of them.
    pub(super) found: Backfill,
    /// Missing kills that the log lacks, too. Report them, then call [`AuditState::gap`].
    pub(super) unidentified: u64,
}

impl AuditState {
    /// A first start: kills before `now` are not compared.
    pub(super) fn start(now: KernelCount) -> Self {
        Self::resume(AuditSum::new(now), RecentKills::default(), now)
    }

    /// A start on a new boot: every kill since boot is compared. `recent` are the kills of the boot before; they are
    /// removed from what is saved.
    pub(super) fn resume_on_new_boot(mut recent: RecentKills, now: KernelCount) -> Self {
        recent.forget_before(u64::MAX);
        let boot = KernelCount {
            kills: 0,
            boot_time_ns: 0,
        };
        Self::resume(AuditSum::new(boot), recent, now)
    }

    /// A restart on the same boot, from what was saved.
    pub(super) fn resume(sum: AuditSum, recent: RecentKills, now: KernelCount) -> Self {
        let CaptureCounts {
            dropped, undecoded, ..
        } = sum.totals.counts;
        Self {
            sum,
            recent,
            earlier_losses: Losses { dropped, undecoded },
            kernel: now,
            deficit: None,
            missing: 0,
            backfilled: 0,
        }
    }

    /// Counts a captured kill; false if it was reported from the log already, so that it is not to be reported again.
    pub(super) fn kill(&mut self, kill: &Kill) -> bool {
        if !self.recent.kill(kill) {
            return false;
        }
        self.sum.totals.kill(kill.boot_time_ns);
        true
    }

    /// Counts a captured non-kill event.
    pub(super) fn non_kill(&mut self, non_kill: &NonKill) {
        self.sum.totals.non_kill(non_kill);
        if non_kill.kind == NonKillKind::Rekill {
            self.recent.rekill(non_kill);
        }
    }

    /// Counts kills that are reported as a gap; the kernel had counted `kernel_count` after them.
    pub(super) fn gap(&mut self, kills: u64, kernel_count: u64) {
        self.sum.totals.unidentified(kills, kernel_count);
    }

    /// Sets the records lost since this process started.
    pub(super) fn set_losses(&mut self, losses: Losses) {
        let counts = &mut self.sum.totals.counts;
        counts.dropped = self.earlier_losses.dropped + losses.dropped;
        counts.undecoded = self.earlier_losses.undecoded + losses.undecoded;
    }

    /// An audit. `before` is the count before all records were taken, absent if some are pending; `now` the count after
    /// that. Returns how many kills are missing.
    pub(super) fn compare(&mut self, before: Option<KernelCount>, now: KernelCount) -> u64 {
        // Remains even if every record since the last audit belongs to kills counted then.
        let certain = self.missing_of(self.kernel);
        let deficit = before
            .filter(|before| before.kills == now.kills)
            .map(|before| self.missing_of(before));
        // If the count moved, one of them may be in progress, as another one may have been at the last audit.
        let in_progress = u64::from(now.kills != self.kernel.kills);
        // `None` is less than any number.
        let twice = deficit
            .map(|deficit| deficit.saturating_sub(in_progress))
            .min(self.deficit)
            .unwrap_or(0);
        self.set_kernel_count(now);
        self.deficit = deficit;
        self.missing = certain.max(twice);
        self.missing
    }

    /// The last audit, after all records were taken. Whatever is missing counts.
    pub(super) fn compare_final(&mut self, now: KernelCount) -> AuditResult {
        self.missing = u64::MAX;
        self.set_kernel_count(now)
    }

    /// Whether every kill counted at the last audit was accounted for.
    pub(super) fn is_complete(&self) -> bool {
        self.deficit == Some(0)
    }

    /// After a complete audit: drops the kills that no line of a missing kill can be confused with. `uncertainty_ns` is that
    /// of the log's clock.
    pub(super) fn set_complete(&mut self, uncertainty_ns: u64) {
        self.sum.complete_boot_time_ns = self.kernel.boot_time_ns;
        let needed = self
            .sum
            .complete_boot_time_ns
            .saturating_sub(2 * uncertainty_ns);
        self.recent.forget_before(needed);
    }

    /// Looks for missing kills in the log and counts those that it has. `before` is the count before the log was read; all
    /// records must have been taken after that.
    pub(super) fn backfill(
        &mut self,
        before: KernelCount,
        log: Option<LogSnapshot>,
    ) -> BackfillResult {
        let missing = self.missing_of(before).min(self.missing);
        if missing == 0 {
            return BackfillResult::default();
        }
        let request = BackfillRequest {
            missing,
            since_boot_time_ns: self.sum.complete_boot_time_ns,
            offset_ns: self.sum.offset_ns,
        };
        let found = log.map_or_else(Backfill::default, |log| {
            backfill(log, &self.recent, request)
        });
        self.sum.offset_ns = found.offset_ns.or(self.sum.offset_ns);
        let counts = &mut self.sum.totals.counts;
        counts.kills += found.kills.len() as u64;
        counts.rekills += found.rekills.len() as u64;
        for kill in &found.kills {
            self.recent.backfilled(&kill.kill);
        }
        for rekill in &found.rekills {
            self.recent.rekill(rekill);
        }
        self.backfilled += found.kills.len() as u64;
        self.deficit = None;
        BackfillResult {
            missing,
            unidentified: missing.saturating_sub((found.kills.len() + found.rekills.len()) as u64),
            found,
        }
    }

    fn set_kernel_count(&mut self, now: KernelCount) -> AuditResult {
        self.kernel = now;
        let result = self.sum.totals.compare(now.kills);
        if let AuditResult::Excess(excess) = result {
            debug!(excess, "more OOM kills captured than the kernel counted");
        }
        result
    }

    fn missing_of(&self, count: KernelCount) -> u64 {
        self.sum.totals.compare(count.kills).missing()
    }
}

#[cfg(test)]
mod tests;
