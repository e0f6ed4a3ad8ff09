//! When the kernel's count is compared with what was seen, and what is told of what was not.

use std::path::{Path, PathBuf};

use tokio::time::{Duration, Instant, sleep_until};
use tracing::{debug, warn};

use crate::{
    audit::{Tally, Verdict},
    clock,
    counters::Gap,
    host::{self, HostError},
    kill::Aside,
    observe::Losses,
};

/// How often it is compared at least.
const EVERY: Duration = Duration::from_secs(30);
/// How long after a kill: others of its incident may follow, and what is late is no loss.
const AFTER_A_KILL: Duration = Duration::from_secs(1);

/// Compares now and then.
#[derive(Debug)]
pub(super) struct Auditor {
    proc_root: PathBuf,
    tally: Tally,
    due: Instant,
    /// The kernel's count when it was compared last: those kills must have been seen by now.
    last_count: u64,
    /// When the sum was right last: nanoseconds since boot.
    complete_boot_time_ns: u64,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Audited {
    /// The kernel's count since boot.
    pub(super) kernel_count: u64,
    /// Kills that have been missing twice in a row.
    pub(super) gap: Option<Gap>,
}

impl Auditor {
    /// From now on.
    pub(super) fn start(proc_root: &Path) -> Result<Self, HostError> {
        let now = clock::since_boot_ns();
        let kernel_count = host::oom_kill_count(proc_root)?;
        Ok(Self {
            proc_root: proc_root.to_owned(),
            tally: Tally::new(now, kernel_count),
            due: Instant::now() + EVERY,
            last_count: kernel_count,
            complete_boot_time_ns: now,
        })
    }

    /// A kill was seen.
    pub(super) fn kill(&mut self, boot_time_ns: Option<u64>) {
        self.tally.kill(boot_time_ns);
        self.soon();
    }

    /// Something else was.
    pub(super) fn aside(&mut self, aside: &Aside) {
        self.tally.aside(aside);
        self.soon();
    }

    /// So many were only counted.
    pub(super) fn gap(&mut self, kills: u64) {
        self.tally.counts.unidentified += kills;
    }

    fn soon(&mut self) {
        self.due = self.due.min(Instant::now() + AFTER_A_KILL);
    }

    /// Waits until it is time to compare.
    pub(super) async fn due(&self) {
        sleep_until(self.due).await;
    }

    /// Compares. A kill is counted before its record can be read: what is told as missing was counted by the last time.
    pub(super) fn compare(&mut self, losses: Losses) -> Result<Audited, HostError> {
        let now = clock::since_boot_ns();
        let kernel_count = host::oom_kill_count(&self.proc_root)?;
        self.tally.counts.dropped = losses.dropped;
        self.tally.counts.undecoded = losses.undecoded;
        let told = missing(self.tally.verdict(self.last_count));
        self.last_count = kernel_count;
        let gap = (told > 0).then(|| {
            warn!(
                missing = told,
                dropped = losses.dropped,
                undecoded = losses.undecoded,
                "the kernel counted OOM kills that were not seen"
            );
            self.tally.counts.unidentified += told;
            Gap {
                kills: told,
                kernel_count,
                since_boot_time_ns: self.complete_boot_time_ns,
                boot_time_ns: now,
                cgroups: Vec::new(),
            }
        });
        let verdict = self.tally.verdict(kernel_count);
        if let Verdict::Excess(excess) = verdict {
            debug!(excess, "more OOM kills were seen than the kernel counted");
        }
        self.due = Instant::now();
        if missing(verdict) == 0 {
            self.complete_boot_time_ns = now;
            self.due += EVERY;
        } else {
            self.due += AFTER_A_KILL;
        }
        Ok(Audited { kernel_count, gap })
    }
}

fn missing(verdict: Verdict) -> u64 {
    match verdict {
        Verdict::Unobserved(missing) | Verdict::Lost(missing) => missing,
        Verdict::Complete | Verdict::Excess(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    struct Kernel(TempDir);

    impl Kernel {
        fn new() -> Self {
            let kernel = Self(tempfile::tempdir().expect("make a folder"));
            kernel.counts(7);
            kernel
        }

        fn counts(&self, kills: u64) {
            let text = format!("pgfault 1\noom_kill {kills}\n");
            fs::write(self.0.path().join("vmstat"), text).expect("write vmstat");
        }

        fn auditor(&self) -> Auditor {
            Auditor::start(self.0.path()).expect("read vmstat")
        }
    }

    fn compare(auditor: &mut Auditor) -> Option<u64> {
        let audited = auditor.compare(Losses::default()).expect("read vmstat");
        audited.gap.map(|gap| gap.kills)
    }

    #[test]
    fn kill_whose_record_is_late_is_no_gap() {
        let kernel = Kernel::new();
        let mut auditor = kernel.auditor();
        kernel.counts(8);
        assert_eq!(compare(&mut auditor), None);
        auditor.kill(Some(u64::MAX));
        assert_eq!(compare(&mut auditor), None);
        assert_eq!(compare(&mut auditor), None);
    }

    #[test]
    fn late_records_of_a_storm_are_no_gap() {
        let kernel = Kernel::new();
        let mut auditor = kernel.auditor();
        for round in 1..=50 {
            kernel.counts(7 + 10 * round);
            assert_eq!(compare(&mut auditor), None);
            // Some of each round are read in the next.
            for _ in 0..10 {
                auditor.kill(Some(u64::MAX));
            }
        }
        assert_eq!(compare(&mut auditor), None);
    }

    #[test]
    fn kill_that_stays_missing_is_told_once() {
        let kernel = Kernel::new();
        let mut auditor = kernel.auditor();
        kernel.counts(10);
        assert_eq!(compare(&mut auditor), None);
        auditor.kill(Some(u64::MAX));
        assert_eq!(compare(&mut auditor), Some(2));
        assert_eq!(compare(&mut auditor), None);
        kernel.counts(11);
        assert_eq!(compare(&mut auditor), None);
        assert_eq!(compare(&mut auditor), Some(1));
    }

    #[test]
    fn gap_lasts_from_when_the_sum_was_right() {
        let kernel = Kernel::new();
        let mut auditor = kernel.auditor();
        assert_eq!(compare(&mut auditor), None);
        let complete = auditor.complete_boot_time_ns;
        kernel.counts(8);
        assert_eq!(compare(&mut auditor), None);
        let audited = auditor.compare(Losses::default()).expect("read vmstat");
        let gap = audited.gap.expect("a gap");
        assert_eq!(gap.since_boot_time_ns, complete);
        assert!(gap.boot_time_ns > complete);
        assert_eq!((gap.kernel_count, audited.kernel_count), (8, 8));
    }
}
