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

/// The captured kills since a start, and the kernel's count at that start. Only later kills are compared.
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

    /// Counts a kill, unless it is older than the start.
    pub fn kill(&mut self, boot_time_ns: Option<u64>) {
        self.counts.kills += u64::from(self.is_after_start(boot_time_ns));
    }

    /// Counts a non-kill event; a re-kill only if it is not older than the start.
    pub fn non_kill(&mut self, non_kill: &NonKill) {
        match non_kill.kind {
            NonKillKind::Rekill => {
                self.counts.rekills += u64::from(self.is_after_start(non_kill.boot_time_ns));
            }
            NonKillKind::Mark => self.counts.marks += 1,
            NonKillKind::Sharer { .. } => self.counts.sharers += 1,
        }
    }

    /// Compares with the kernel's count now.
    #[must_use]
    pub fn compare(&self, kernel_count: u64) -> AuditResult {
        let growth = kernel_count.saturating_sub(self.kernel_count);
        self.counts.compare(growth)
    }

    fn is_after_start(&self, boot_time_ns: Option<u64>) -> bool {
        boot_time_ns > Some(self.since_boot_time_ns)
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
    fn kills_before_the_start_are_not_counted() {
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
}
