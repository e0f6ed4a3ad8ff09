//! Compares the captured kills with the kernel's own count: the proof that no kill is missing. Pure.

use serde::{Deserialize, Serialize};

use crate::model::kill::{NonKill, NonKillKind};

/// Numbers of captured and lost records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CaptureCounts {
    /// Kills.
    pub kills: u64,
    /// Victims that were sent SIGKILL again; the kernel counts them again.
    pub rekills: u64,
    /// `mark_victim` events without a kill; the kernel does not count them.
    pub marks: u64,
    /// Killed processes that shared a victim's memory; the kernel does not count them.
    pub sharers: u64,
    /// Kills and re-kills of which only the number is known.
    pub unidentified: u64,
    /// Records that did not fit into the ring, or were overwritten in the kernel log.
    pub dropped: u64,
    /// Records that could not be decoded.
    pub undecoded: u64,
}

impl CaptureCounts {
    /// The kills that are accounted for, as the kernel counts them.
    #[must_use]
    pub fn accounted(&self) -> u64 {
        self.kills + self.rekills + self.unidentified
    }

    /// Compares with the growth of `oom_kill` in `/proc/vmstat` over the same time. Lost records may have been kills.
    #[must_use]
    pub fn compare(&self, growth: u64) -> AuditResult {
        let accounted = self.accounted();
        let lost = self.dropped + self.undecoded;
        match growth.saturating_sub(accounted) {
            0 if accounted > growth => AuditResult::Excess(accounted - growth),
            0 => AuditResult::Complete,
            missing if missing > lost => AuditResult::Unobserved(missing),
            missing => AuditResult::Lost(missing),
        }
    }
}

/// The captured kills, and what the kernel had counted before them. A kill that is captured is on the same side of the start
/// in both: one that was recorded before the start lowers the kernel's count at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    since_boot_time_ns: u64,
    kernel_count: u64,
    /// What was captured since the start.
    pub counts: CaptureCounts,
}

impl Totals {
    /// Starts at a time (nanoseconds since boot) at which the kernel had counted `kernel_count` kills.
    #[must_use]
    pub fn new(since_boot_time_ns: u64, kernel_count: u64) -> Self {
        Self {
            since_boot_time_ns,
            kernel_count,
            counts: CaptureCounts::default(),
        }
    }

    /// Counts a kill.
    pub fn kill(&mut self, boot_time_ns: Option<u64>) {
        self.include(boot_time_ns);
        self.counts.kills += 1;
    }

    /// Counts a non-kill event.
    pub fn non_kill(&mut self, non_kill: &NonKill) {
        match non_kill.kind {
            NonKillKind::Rekill => {
                self.include(non_kill.boot_time_ns);
                self.counts.rekills += 1;
            }
            NonKillKind::Mark => self.counts.marks += 1,
            NonKillKind::Sharers { count, .. } => self.counts.sharers += count,
        }
    }

    /// Counts kills of which only the number is known: those after which the kernel had counted `kernel_count`.
    pub fn unidentified(&mut self, kills: u64, kernel_count: u64) {
        self.kernel_count = self.kernel_count.min(kernel_count.saturating_sub(kills));
        self.counts.unidentified += kills;
    }

    /// Compares with the kernel's count now.
    #[must_use]
    pub fn compare(&self, kernel_count: u64) -> AuditResult {
        let growth = kernel_count.saturating_sub(self.kernel_count);
        self.counts.compare(growth)
    }

    /// A kill from before the start is in the kernel's count at the start.
    fn include(&mut self, boot_time_ns: Option<u64>) {
        let is_earlier = boot_time_ns <= Some(self.since_boot_time_ns);
        self.kernel_count = self.kernel_count.saturating_sub(u64::from(is_earlier));
    }
}

/// Result of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditResult {
    /// Every kill that the kernel counted is accounted for.
    Complete,
    /// This many are missing, more than the number of lost records.
    Unobserved(u64),
    /// This many are missing, at most as many as records were lost.
    Lost(u64),
    /// This many more were captured than the kernel counted. A kill was captured twice, which may hide a missing one.
    Excess(u64),
}

impl AuditResult {
    /// How many kills are missing.
    #[must_use]
    pub fn missing(self) -> u64 {
        match self {
            Self::Unobserved(missing) | Self::Lost(missing) => missing,
            Self::Complete | Self::Excess(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_before_the_start_are_counted_on_both_sides() {
        let rekill = |boot_time_ns| NonKill {
            boot_time_ns: Some(boot_time_ns),
            kind: NonKillKind::Rekill,
            pid: 1,
            tid: 1,
            comm: None,
            cgroup: None,
        };
        let mut totals = Totals::new(100, 7);
        for boot_time_ns in [99, 100] {
            totals.kill(Some(boot_time_ns));
            totals.non_kill(&rekill(boot_time_ns));
        }
        totals.kill(None);
        assert_eq!(totals.compare(7), AuditResult::Complete);
        assert_eq!((totals.counts.kills, totals.counts.rekills), (3, 2));
        totals.kill(Some(101));
        totals.non_kill(&rekill(102));
        assert_eq!(totals.compare(9), AuditResult::Complete);
        assert_eq!(totals.compare(10), AuditResult::Unobserved(1));
    }

    #[test]
    fn kernel_counts_kills_and_rekills_and_nothing_else() {
        let counts = CaptureCounts {
            kills: 4,
            rekills: 1,
            marks: 12,
            sharers: 1,
            ..CaptureCounts::default()
        };
        assert_eq!(counts.compare(5), AuditResult::Complete);
        assert_eq!(counts.compare(6), AuditResult::Unobserved(1));
    }

    #[test]
    fn lost_records_account_for_as_many_kills() {
        let counts = CaptureCounts {
            kills: 4,
            dropped: 2,
            undecoded: 1,
            ..CaptureCounts::default()
        };
        assert_eq!(counts.compare(7), AuditResult::Lost(3));
        assert_eq!(counts.compare(8), AuditResult::Unobserved(4));
        assert_eq!(counts.compare(4), AuditResult::Complete);
        assert_eq!(counts.compare(3), AuditResult::Excess(1));
    }

    #[test]
    fn gap_from_before_the_start_is_counted_on_both_sides() {
        // Of the counts 6, 7 and 8, the start has seen two.
        let mut totals = Totals::new(100, 7);
        totals.unidentified(3, 8);
        assert_eq!(totals.compare(8), AuditResult::Complete);
        assert_eq!(totals.compare(9), AuditResult::Unobserved(1));
        totals.unidentified(1, 9);
        assert_eq!(totals.compare(9), AuditResult::Complete);
    }

    /// Attached at time 0, with the start at 10: whichever side of the start kills are on, each is counted once.
    #[test]
    fn every_order_of_kills_and_start_adds_up() {
        for kills in 0..6_u64 {
            for before in 0..=kills {
                let mut totals = Totals::new(10, 3 + before);
                for number in 0..kills {
                    totals.kill(Some(if number < before { number } else { 11 + number }));
                }
                assert_eq!(totals.compare(3 + kills), AuditResult::Complete);
                assert_eq!(totals.compare(4 + kills), AuditResult::Unobserved(1));
                assert_eq!(totals.counts.kills, kills);
            }
        }
    }
}
