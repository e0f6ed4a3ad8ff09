//! Runs the audits: reads the kernel's count, its log and the cgroups' counts, and says when the next audit is due. The
//! decisions are in `audit/state`.
//!
//! An audit: [`Auditor::count`], take all available records, [`Auditor::compare`]. If that finds missing kills:
//! [`Auditor::count`], [`Auditor::read_log`], take all available records, [`Auditor::backfill`].
//!
//! [`Auditor::resume`] continues from what [`Auditor::changes`] gave, so that kills between two runs are missing at the
//! first audit. On a new boot the kernel's count starts at 0, and all kills it counted are missing.

use std::{path::PathBuf, thread};

use tokio::time::{Duration, Instant, sleep_until};
use tracing::warn;

use crate::{
    audit::{
        saved::{self, CgroupsRow, SavedRows, SumRow},
        state::{AuditState, BackfillResult},
        totals::{AuditResult, CaptureCounts},
    },
    capture::{
        bpf::describe,
        config::CaptureConfig,
        counters::{CgroupKillTracker, KernelCount},
        kmsg::{assemble::LogKill, snapshot::LogSnapshot, snapshot_clock::SnapshotClock},
    },
    model::{
        gap::Gap,
        kill::{Kill, NonKill, NonKillKind},
        losses::Losses,
        persist::{Change, Entry},
    },
    sys::{
        clock::{self, ClockSample},
        proc::HostError,
    },
};

/// Time between periodic audits, and shortest time between samples of the cgroups.
const PERIOD: Duration = Duration::from_secs(30);
/// Time from a kill to its audit: further kills of its incident, and late records, arrive in it.
const AFTER_KILL: Duration = Duration::from_secs(1);

/// Time without a kill around the first count, longer than a kill takes from its count to its record.
const PAUSE: Duration = Duration::from_millis(4);

/// When to audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// After kills, and periodically.
    Periodic,
    /// Only after kills: no wake-ups without kills.
    AfterKills,
}

impl Schedule {
    /// When the next audit is due without a kill.
    fn next(self) -> Option<Instant> {
        match self {
            Self::Periodic => Some(Instant::now() + PERIOD),
            Self::AfterKills => None,
        }
    }
}

/// Compares captured kills with the kernel's count, and finds missing ones.
#[derive(Debug)]
pub struct Auditor {
    proc_root: PathBuf,
    kmsg: PathBuf,
    boot_id: String,
    schedule: Schedule,
    due: Option<Instant>,
    state: AuditState,
    cgroups: CgroupKillTracker,
    /// When the cgroups were sampled last.
    sampled: Instant,
    /// Kills accounted for when the cgroups were sampled last.
    accounted_at_sample: u64,
    saved: SavedRows,
}

/// Result of an audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audited {
    /// The kernel's count since boot.
    pub kernel_count: u64,
    /// Missing kills; if there are any, call [`Auditor::backfill`].
    pub missing: u64,
}

/// The missing kills, to be reported. They are counted already.
#[derive(Debug, Default)]
pub struct Backfilled {
    /// Kills that only the kernel log has.
    pub kills: Vec<Box<LogKill>>,
    /// Re-kills that only the kernel log has.
    pub rekills: Vec<NonKill>,
    /// Kills that the log lacks, too.
    pub gap: Option<Gap>,
}

impl Auditor {
    /// Starts now: earlier kills are not compared. `boot_id` is the host's.
    pub fn start(
        config: &CaptureConfig,
        boot_id: &str,
        schedule: Schedule,
    ) -> Result<Self, HostError> {
        let now = KernelCount::read_in_pause(
            || KernelCount::read(&config.proc_root),
            || {
                thread::sleep(PAUSE);
            },
        )?;
        let cgroups = CgroupKillTracker::start(&config.proc_root, &config.cgroup_root)?;
        let state = AuditState::start(now);
        Ok(Self::new(config, boot_id, schedule, state, cgroups, 0))
    }

    /// Continues from saved rows; like [`Auditor::start`] if there are none.
    pub fn resume(
        config: &CaptureConfig,
        boot_id: &str,
        schedule: Schedule,
        entries: &[Entry],
    ) -> Result<Self, HostError> {
        let Some(SumRow {
            boot_id: last_boot_id,
            sum,
        }) = SumRow::read(entries)
        else {
            return Self::start(config, boot_id, schedule);
        };
        let now = KernelCount::read(&config.proc_root)?;
        let recent = saved::recent_kills(entries);
        let (state, cgroups) = if last_boot_id == boot_id {
            let cgroups = CgroupsRow::read(entries).unwrap_or_default();
            (AuditState::resume(sum, recent, now), cgroups)
        } else {
            let state = AuditState::resume_on_new_boot(recent, now);
            (state, CgroupsRow::at_boot())
        };
        let CgroupsRow {
            baseline,
            accounted,
        } = cgroups;
        let since = state
            .sum
            .totals
            .counts
            .accounted()
            .saturating_sub(accounted);
        let tracker =
            CgroupKillTracker::resume(&config.proc_root, &config.cgroup_root, baseline, since);
        let mut auditor = Self::new(config, boot_id, schedule, state, tracker, accounted);
        auditor.audit_soon();
        Ok(auditor)
    }

    fn new(
        config: &CaptureConfig,
        boot_id: &str,
        schedule: Schedule,
        state: AuditState,
        cgroups: CgroupKillTracker,
        accounted_at_sample: u64,
    ) -> Self {
        Self {
            proc_root: config.proc_root.clone(),
            kmsg: config.kmsg.clone(),
            boot_id: boot_id.to_owned(),
            schedule,
            due: schedule.next(),
            state,
            cgroups,
            sampled: Instant::now(),
            accounted_at_sample,
            saved: SavedRows::default(),
        }
    }

    /// Counts a captured kill; false if it was reported from the log already, so that it is not to be reported again.
    #[must_use]
    pub fn kill(&mut self, kill: &Kill) -> bool {
        self.audit_soon();
        let is_new = self.state.kill(kill);
        if is_new {
            self.cgroups.kill(kill.victim.cgroup.as_ref());
        }
        is_new
    }

    /// Counts a captured non-kill event.
    pub fn non_kill(&mut self, non_kill: &NonKill) {
        self.audit_soon();
        self.state.non_kill(non_kill);
        if non_kill.kind == NonKillKind::Rekill {
            self.cgroups.kill(non_kill.cgroup.as_ref());
        }
    }

    /// Counts kills that the backend itself reported as a gap.
    pub fn gap(&mut self, gap: &Gap) {
        self.state.gap(gap.kills, gap.kernel_count);
    }

    /// Sets the records lost since this process started.
    pub fn set_losses(&mut self, losses: Losses) {
        self.state.set_losses(losses);
    }

    fn audit_soon(&mut self) {
        let soon = Instant::now() + AFTER_KILL;
        self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
    }

    /// Waits until the next audit is due. Call again after an event.
    pub fn due(&self) -> impl Future<Output = ()> + use<> {
        let due = self.due;
        async move {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Reads the kernel's count, before all available records are taken.
    pub fn count(&self) -> Result<KernelCount, HostError> {
        KernelCount::read(&self.proc_root)
    }

    /// Audits. `before` is the count before all available records were taken; absent if some are pending.
    pub fn compare(
        &mut self,
        before: Option<KernelCount>,
        losses: Losses,
    ) -> Result<Audited, HostError> {
        self.state.set_losses(losses);
        let missing = self.state.compare(before, self.count()?);
        self.due = None;
        if self.state.is_complete() {
            self.due = self.schedule.next();
            self.complete()?;
        } else {
            self.audit_soon();
        }
        Ok(Audited {
            kernel_count: self.state.kernel.kills,
            missing,
        })
    }

    /// The last audit, after all records were taken. A kill may be in progress even now.
    pub fn compare_final(&mut self, losses: Losses) -> Result<AuditResult, HostError> {
        self.state.set_losses(losses);
        Ok(self.state.compare_final(self.count()?))
    }

    /// Reads the kernel log; absent if it cannot be read, which is logged. Take all available records before
    /// [`Auditor::backfill`].
    #[must_use]
    pub fn read_log(&self) -> Option<LogSnapshot> {
        LogSnapshot::read(&self.kmsg)
            .inspect_err(|error| {
                let error = describe(error);
                warn!(
                    error,
                    "kernel log unreadable, missing kills will be reported as a gap"
                );
            })
            .ok()
    }

    /// Finds missing kills in the log and counts them; those that the log lacks become a gap. `before` is the count before
    /// the log was read.
    pub fn backfill(
        &mut self,
        before: KernelCount,
        log: Option<LogSnapshot>,
    ) -> Result<Backfilled, HostError> {
        let BackfillResult {
            missing,
            found,
            unidentified,
        } = self.state.backfill(before, log);
        if missing == 0 {
            return Ok(Backfilled::default());
        }
        self.audit_soon();
        for kill in &found.kills {
            self.cgroups.kill(kill.kill.victim.cgroup.as_ref());
        }
        for rekill in &found.rekills {
            self.cgroups.kill(rekill.cgroup.as_ref());
        }
        let CaptureCounts {
            dropped, undecoded, ..
        } = self.state.sum.totals.counts;
        warn!(
            missing,
            unidentified,
            dropped,
            undecoded,
            "OOM kills counted by the kernel were not captured, searched the kernel log for them"
        );
        let gap = match unidentified {
            0 => None,
            kills => Some(self.build_gap(kills, before)?),
        };
        Ok(Backfilled {
            kills: found.kills,
            rekills: found.rekills,
            gap,
        })
    }

    /// What was captured.
    #[must_use]
    pub fn counts(&self) -> CaptureCounts {
        self.state.sum.totals.counts
    }

    /// Kills that were found in the log since this process started.
    #[must_use]
    pub fn backfilled_count(&self) -> u64 {
        self.state.backfilled
    }

    /// What changed since the last call, to be saved with the kills that were reported until now.
    pub fn changes(&mut self) -> Vec<Change> {
        let cgroups = (self.cgroups.baseline(), self.accounted_at_sample);
        self.saved.changes(&self.boot_id, &mut self.state, cgroups)
    }

    /// The saved rows were lost: all of them are changes again.
    pub fn mark_all_dirty(&mut self) {
        self.saved = SavedRows::default();
        self.state.recent.mark_all_dirty();
    }

    fn build_gap(&mut self, kills: u64, before: KernelCount) -> Result<Gap, HostError> {
        let cgroups = self.cgroups.unattributed()?;
        self.state.gap(kills, before.kills);
        self.has_sampled();
        Ok(Gap {
            kills,
            kernel_count: before.kills,
            since_boot_time_ns: self.state.sum.complete_boot_time_ns,
            boot_time_ns: clock::since_boot_ns(),
            cgroups,
        })
    }

    /// Every counted kill is accounted for.
    fn complete(&mut self) -> Result<(), HostError> {
        let uncertainty = SnapshotClock::new(0, ClockSample::now()).uncertainty_ns();
        self.state.set_complete(uncertainty);
        if self.cgroups.has_kills() && self.sampled.elapsed() >= PERIOD {
            self.cgroups.sample()?;
            self.has_sampled();
        }
        Ok(())
    }

    fn has_sampled(&mut self) {
        self.sampled = Instant::now();
        self.accounted_at_sample = self.state.sum.totals.counts.accounted();
    }
}

#[cfg(test)]
mod tests;
