//! When the kernel's count is compared with what was seen, and what becomes of what was not: it is found in the kernel log,
//! or told as a gap.
//!
//! The kernel counts a kill, records it and writes it into its log, in this order and one kill at a time. So, if its count
//! is read ([`Auditor::count`]), then all records that are there are taken, and the count is still the same, all that was
//! counted has been seen ([`Auditor::compare`]), but for one kill that is just being made. What is missing twice in a row is missing. While processes
//! are killed without a pause, only that is which was counted the last time and would be missing even if all that was seen
//! since were of it.
//!
//! Then, again in this order: the count is read, the log ([`Auditor::read_log`]), and all records that are there are
//! taken; the kills of the log that are not among them are what nobody saw ([`Auditor::fill`]). None of these comes out
//! of the ring later. If one did, [`Auditor::kill`] would know it.
//!
//! [`Auditor::changes`] is what [`Auditor::resume`] goes on from, so that what was killed in between is missing at the first
//! comparison. On another boot the kernel has begun to count anew, and all that it counted is missing.

mod saved;

use std::path::{Path, PathBuf};

use tokio::time::{Duration, Instant, sleep_until};
use tracing::{debug, warn};

use self::saved::{Looked, Saved, Sum};
use crate::{
    audit::{
        backfill::{Backfill, Wanted, fill},
        recent::Recent,
        totals::{AuditResult, Counts, Totals},
    },
    capture::{
        bpf::describe,
        config::CaptureConfig,
        counters::CgroupKillTracker,
        kmsg::{assemble::LogKill, snapshot::Whole, snapshot_clock::Past},
    },
    model::{
        gap::Gap,
        kill::{Kill, NonKill, NonKillKind},
        losses::Losses,
        persist::{Change, Entry},
    },
    sys::{
        clock::{self, Moment},
        proc::{self, HostError},
    },
};

/// How often it is compared at least, and the cgroups are looked at, at most.
const EVERY: Duration = Duration::from_secs(30);
/// How long after a kill: others of its incident may follow, and what is late is no loss.
const AFTER_A_KILL: Duration = Duration::from_secs(1);

/// When to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// After kills, and now and then.
    Steady,
    /// After kills alone: nothing wakes up for it where none is killed.
    AfterKills,
}

/// Compares, and finds what is missing.
#[derive(Debug)]
pub struct Auditor {
    proc_root: PathBuf,
    kmsg: PathBuf,
    boot_id: String,
    rhythm: Schedule,
    tally: Totals,
    /// What others had lost before this one began.
    lost_before: Losses,
    recent: Recent,
    cgroups: CgroupKillTracker,
    looked: Instant,
    /// What was told when the cgroups were looked at.
    told_at_look: u64,
    /// How the log's clock stands, once that is known.
    offset_ns: Option<i64>,
    due: Option<Instant>,
    /// The kernel's count when it was compared last.
    last: Count,
    /// How many were missing then, if that could be told.
    exact: Option<u64>,
    /// How many may be looked for.
    missing: u64,
    /// When the sum was right last: nanoseconds since boot.
    complete_boot_time_ns: u64,
    /// Kills that were found in the log.
    filled: u64,
    saved: Saved,
}

/// The kernel's count.
#[derive(Clone, Copy, Debug)]
pub struct Count {
    kills: u64,
    /// Nanoseconds since boot: what was killed before that is counted.
    boot_time_ns: u64,
}

/// What came of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audited {
    /// The kernel's count since boot.
    pub kernel_count: u64,
    /// Kills that should have been seen: it is time to [`Auditor::fill`].
    pub missing: u64,
}

/// What was missing. It is counted already.
#[derive(Debug, Default)]
pub struct Filled {
    /// Kills that the log alone tells.
    pub kills: Vec<Box<LogKill>>,
    /// Re-kills likewise.
    pub rekills: Vec<NonKill>,
    /// Kills that nobody tells.
    pub gap: Option<Gap>,
}

impl Auditor {
    /// From now on: nothing that is older is missing. `boot_id` is the host's.
    pub fn start(
        config: &CaptureConfig,
        boot_id: &str,
        rhythm: Schedule,
    ) -> Result<Self, HostError> {
        let now = count(&config.proc_root)?;
        let tally = Totals::new(now.boot_time_ns, now.kills);
        let sum = Sum::new(boot_id, tally, now.boot_time_ns);
        let cgroups = CgroupKillTracker::now(&config.proc_root, &config.cgroup_root)?;
        let recent = Recent::default();
        Ok(Self::new(config, rhythm, sum, recent, cgroups, now))
    }

    /// Goes on where the one before has left off, by what it has saved; as [`Auditor::start`] if that cannot be told.
    pub fn resume(
        config: &CaptureConfig,
        boot_id: &str,
        rhythm: Schedule,
        entries: &[Entry],
    ) -> Result<Self, HostError> {
        let Some(sum) = Sum::read(entries) else {
            return Self::start(config, boot_id, rhythm);
        };
        let now = count(&config.proc_root)?;
        let mut recent = saved::recent(entries);
        let (sum, looked) = if sum.boot_id == boot_id {
            (sum, Looked::read(entries).unwrap_or_default())
        } else {
            recent.forget_before(u64::MAX);
            (Sum::at_boot(boot_id), Looked::at_boot())
        };
        let Looked { before, told } = looked;
        let known = sum.tally.counts.told().saturating_sub(told);
        let cgroups =
            CgroupKillTracker::then(&config.proc_root, &config.cgroup_root, before, known);
        let mut auditor = Self::new(config, rhythm, sum, recent, cgroups, now);
        auditor.told_at_look = told;
        auditor.soon();
        Ok(auditor)
    }

    fn new(
        config: &CaptureConfig,
        rhythm: Schedule,
        sum: Sum,
        recent: Recent,
        cgroups: CgroupKillTracker,
        count: Count,
    ) -> Self {
        let Sum {
            boot_id,
            tally,
            offset_ns,
            complete_boot_time_ns,
        } = sum;
        Self {
            proc_root: config.proc_root.clone(),
            kmsg: config.kmsg.clone(),
            boot_id,
            rhythm,
            tally,
            lost_before: Losses {
                dropped: tally.counts.dropped,
                undecoded: tally.counts.undecoded,
            },
            recent,
            cgroups,
            looked: Instant::now(),
            told_at_look: 0,
            offset_ns,
            due: rhythm.next(),
            last: count,
            exact: None,
            missing: 0,
            complete_boot_time_ns,
            filled: 0,
            saved: Saved::default(),
        }
    }

    /// A kill was seen; false if it has been told already, from the log: then it is none.
    #[must_use]
    pub fn kill(&mut self, kill: &Kill) -> bool {
        self.soon();
        if !self.recent.kill(kill) {
            return false;
        }
        self.tally.kill(kill.boot_time_ns);
        self.cgroups.kill(kill.victim.cgroup.as_ref());
        true
    }

    /// Something else was.
    pub fn aside(&mut self, aside: &NonKill) {
        self.soon();
        self.tally.aside(aside);
        if aside.kind == NonKillKind::Rekill {
            self.recent.rekill(aside);
            self.cgroups.kill(aside.cgroup.as_ref());
        }
    }

    /// So many were only counted.
    pub fn gap(&mut self, kills: u64) {
        self.tally.counts.unidentified += kills;
    }

    fn soon(&mut self) {
        let soon = Instant::now() + AFTER_A_KILL;
        self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
    }

    /// Waits until it is time to compare, as that is now.
    pub fn due(&self) -> impl Future<Output = ()> + use<> {
        let due = self.due;
        async move {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        }
    }

    /// The kernel's count as it is now: before all records that are there are taken.
    pub fn count(&self) -> Result<Count, HostError> {
        count(&self.proc_root)
    }

    /// Compares. `before` is the count before all records were taken; absent if some are held back.
    pub fn compare(&mut self, before: Option<Count>, losses: Losses) -> Result<Audited, HostError> {
        // Even if all that was seen since were of it.
        let certain = self.missing_of(self.last);
        let before_this = self.exact;
        self.look(losses)?;
        self.exact = before
            .filter(|before| before.kills == self.last.kills)
            .map(|before| self.missing_of(before));
        let twice = self.exact.min(before_this);
        self.missing = certain.max(twice.unwrap_or(0));
        self.due = None;
        match self.exact {
            Some(0) => {
                self.due = self.rhythm.next();
                self.is_complete()?;
            }
            _ => self.soon(),
        }
        Ok(Audited {
            kernel_count: self.last.kills,
            missing: self.missing,
        })
    }

    /// Compares at the end: what is missing now may be looked for. All records that are there have been taken; something may
    /// be killed even now.
    pub fn compare_at_end(&mut self, losses: Losses) -> Result<AuditResult, HostError> {
        self.look(losses)?;
        self.missing = u64::MAX;
        Ok(self.tally.verdict(self.last.kills))
    }

    /// The kernel log, if it can be read; all records that are there must be taken afterwards, before [`Auditor::fill`].
    #[must_use]
    pub fn read_log(&self) -> Option<Whole> {
        Whole::read(&self.kmsg)
            .inspect_err(|error| {
                let error = describe(error);
                warn!(error, "what is missing cannot be looked for");
            })
            .ok()
    }

    /// Finds what is still missing in the log, and counts it; what is not there is a gap.
    pub fn fill(&mut self, before: Count, log: Option<Whole>) -> Result<Filled, HostError> {
        let missing = self.missing_of(before).min(self.missing);
        if missing == 0 {
            return Ok(Filled::default());
        }
        self.soon();
        let wanted = Wanted {
            missing,
            since_boot_time_ns: self.complete_boot_time_ns,
            offset_ns: self.offset_ns,
        };
        let Backfill {
            kills,
            rekills,
            offset_ns,
        } = log.map_or_else(Backfill::default, |log| fill(log, &self.recent, wanted));
        self.offset_ns = offset_ns.or(self.offset_ns);
        for found in &kills {
            self.tally.counts.kills += 1;
            self.recent.filled(&found.kill);
            self.cgroups.kill(found.kill.victim.cgroup.as_ref());
        }
        for aside in &rekills {
            self.tally.counts.rekills += 1;
            self.recent.rekill(aside);
            self.cgroups.kill(aside.cgroup.as_ref());
        }
        self.filled += kills.len() as u64;
        let unidentified = missing.saturating_sub((kills.len() + rekills.len()) as u64);
        warn!(
            missing,
            unidentified,
            dropped = self.tally.counts.dropped,
            undecoded = self.tally.counts.undecoded,
            "the kernel counted OOM kills that were not seen, they were looked for in its log"
        );
        let gap = match unidentified {
            0 => None,
            kills => Some(self.tell_gap(kills, before)?),
        };
        self.exact = None;
        Ok(Filled {
            kills,
            rekills,
            gap,
        })
    }

    /// What was seen.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.tally.counts
    }

    /// Kills that were found in the log.
    #[must_use]
    pub fn filled(&self) -> u64 {
        self.filled
    }

    /// What is different since the last time, to be saved with the kills that were told by now.
    pub fn changes(&mut self) -> Vec<Change> {
        let sum = Sum {
            boot_id: self.boot_id.clone(),
            tally: self.tally,
            offset_ns: self.offset_ns,
            complete_boot_time_ns: self.complete_boot_time_ns,
        };
        let looked = (self.cgroups.before(), self.told_at_look);
        self.saved.changes(sum, looked, &mut self.recent)
    }

    fn missing_of(&self, count: Count) -> u64 {
        self.tally.verdict(count.kills).missing()
    }

    fn tell_gap(&mut self, kills: u64, before: Count) -> Result<Gap, HostError> {
        let cgroups = self.cgroups.unexplained()?;
        self.tally.counts.unidentified += kills;
        self.has_looked();
        Ok(Gap {
            kills,
            kernel_count: before.kills,
            since_boot_time_ns: self.complete_boot_time_ns,
            boot_time_ns: clock::since_boot_ns(),
            cgroups,
        })
    }

    /// So much was lost since the start.
    pub fn lost(&mut self, losses: Losses) {
        self.tally.counts.dropped = self.lost_before.dropped + losses.dropped;
        self.tally.counts.undecoded = self.lost_before.undecoded + losses.undecoded;
    }

    /// What was saved is lost: all of it is a change again.
    pub fn mark_all_dirty(&mut self) {
        self.saved = Saved::default();
        self.recent.mark_all_dirty();
    }

    /// Looks at the count once more.
    fn look(&mut self, losses: Losses) -> Result<(), HostError> {
        self.lost(losses);
        self.last = self.count()?;
        let verdict = self.tally.verdict(self.last.kills);
        if let AuditResult::Excess(excess) = verdict {
            debug!(excess, "more OOM kills were seen than the kernel counted");
        }
        Ok(())
    }

    /// All that is counted has been told.
    fn is_complete(&mut self) -> Result<(), HostError> {
        self.complete_boot_time_ns = self.last.boot_time_ns;
        // Their lines cannot be taken for one that is missing.
        let doubt = Past::new(0, Moment::now()).doubt_ns();
        let needed = self.complete_boot_time_ns.saturating_sub(2 * doubt);
        self.recent.forget_before(needed);
        if self.cgroups.has_aged() && self.looked.elapsed() >= EVERY {
            self.cgroups.look()?;
            self.has_looked();
        }
        Ok(())
    }

    fn has_looked(&mut self) {
        self.looked = Instant::now();
        self.told_at_look = self.tally.counts.told();
    }
}

impl Schedule {
    /// When to compare if nothing happens.
    fn next(self) -> Option<Instant> {
        match self {
            Self::Steady => Some(Instant::now() + EVERY),
            Self::AfterKills => None,
        }
    }
}

fn count(proc_root: &Path) -> Result<Count, HostError> {
    let boot_time_ns = clock::since_boot_ns();
    Ok(Count {
        kills: proc::oom_kill_count(proc_root)?,
        boot_time_ns,
    })
}

#[cfg(test)]
mod tests;
