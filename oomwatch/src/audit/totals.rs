//! Proof that no kill is missing: what was seen against the kernel's own count. Pure.

use serde::{Deserialize, Serialize};

use crate::model::kill::{NonKill, NonKillKind};

/// What came out of the ring, and what did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Kills.
    pub kills: u64,
    /// Victims that were sent SIGKILL once more; the kernel counts them again.
    pub rekills: u64,
    /// Marks without a kill; the kernel does not count them.
    pub marks: u64,
    /// Killed sharers of a victim's memory; the kernel does not count them.
    pub sharers: u64,
    /// Kills and re-kills of which only the number is known.
    pub unidentified: u64,
    /// Records that a full ring refused, or that the kernel log has overwritten.
    pub dropped: u64,
    /// Records that could not be read.
    pub undecoded: u64,
}

/// What was seen since the hooks were attached, and what the kernel had counted by then: only what came later can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    since_boot_time_ns: u64,
    kernel_count: u64,
    /// What was seen.
    pub counts: Counts,
}

impl Totals {
    /// Begins at a moment, nanoseconds since boot, at which the kernel had counted so many.
    #[must_use]
    pub fn new(since_boot_time_ns: u64, kernel_count: u64) -> Self {
        Self {
            since_boot_time_ns,
            kernel_count,
            counts: Counts::default(),
        }
    }

    /// Counts a kill.
    pub fn kill(&mut self, boot_time_ns: Option<u64>) {
        self.counts.kills += u64::from(self.is_before(boot_time_ns));
    }

    /// Counts what else happened.
    pub fn aside(&mut self, aside: &NonKill) {
        match aside.kind {
            NonKillKind::Rekill => {
                self.counts.rekills += u64::from(self.is_before(aside.boot_time_ns));
            }
            NonKillKind::Mark => self.counts.marks += 1,
            NonKillKind::Sharer { .. } => self.counts.sharers += 1,
        }
    }

    /// Compares with the kernel's count as it is now.
    #[must_use]
    pub fn verdict(&self, kernel_count: u64) -> AuditResult {
        let growth = kernel_count.saturating_sub(self.kernel_count);
        self.counts.verdict(growth)
    }

    fn is_before(&self, boot_time_ns: Option<u64>) -> bool {
        boot_time_ns > Some(self.since_boot_time_ns)
    }
}

/// What the sum says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditResult {
    /// Every kill that the kernel counted was seen.
    Complete,
    /// So many were not, for which nothing accounts.
    Unobserved(u64),
    /// Records were lost; among them as many kills as this, at most.
    Lost(u64),
    /// So many were seen that the kernel did not count: something was told twice, and may hide a kill that is missing.
    Excess(u64),
}

impl AuditResult {
    /// How many are missing.
    #[must_use]
    pub fn missing(self) -> u64 {
        match self {
            Self::Unobserved(missing) | Self::Lost(missing) => missing,
            Self::Complete | Self::Excess(_) => 0,
        }
    }
}

impl Counts {
    /// What the kernel has counted, as far as it is known.
    #[must_use]
    pub fn told(&self) -> u64 {
        self.kills + self.rekills + self.unidentified
    }

    /// Compares with the growth of `/proc/vmstat`'s `oom_kill` in the same time. Records that were lost may have been kills.
    #[must_use]
    pub fn verdict(&self, growth: u64) -> AuditResult {
        let seen = self.told();
        let lost = self.dropped + self.undecoded;
        let missing = growth.saturating_sub(seen);
        match missing {
            0 if seen > growth => AuditResult::Excess(seen - growth),
            0 => AuditResult::Complete,
            missing if missing > lost => AuditResult::Unobserved(missing),
            missing => AuditResult::Lost(missing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_kernels_count_is_not_compared_with_it() {
        let rekill = |boot_time_ns| NonKill {
            boot_time_ns: Some(boot_time_ns),
            kind: NonKillKind::Rekill,
            pid: 1,
            tid: 1,
            comm: None,
            cgroup: None,
        };
        let mut tally = Totals::new(100, 7);
        for boot_time_ns in [99, 100] {
            tally.kill(Some(boot_time_ns));
            tally.aside(&rekill(boot_time_ns));
        }
        tally.kill(None);
        assert_eq!(tally.verdict(7), AuditResult::Complete);
        tally.kill(Some(101));
        tally.aside(&rekill(102));
        assert_eq!(tally.verdict(9), AuditResult::Complete);
        assert_eq!(tally.verdict(10), AuditResult::Unobserved(1));
    }

    #[test]
    fn kernel_counts_kills_and_rekills_and_nothing_else() {
        let counts = Counts {
            kills: 4,
            rekills: 1,
            marks: 12,
            sharers: 1,
            ..Counts::default()
        };
        assert_eq!(counts.verdict(5), AuditResult::Complete);
        assert_eq!(counts.verdict(6), AuditResult::Unobserved(1));
    }

    #[test]
    fn lost_records_account_for_as_many_kills() {
        let counts = Counts {
            kills: 4,
            dropped: 2,
            undecoded: 1,
            ..Counts::default()
        };
        assert_eq!(counts.verdict(7), AuditResult::Lost(3));
        assert_eq!(counts.verdict(8), AuditResult::Unobserved(4));
        assert_eq!(counts.verdict(4), AuditResult::Complete);
        assert_eq!(counts.verdict(3), AuditResult::Excess(1));
    }
}
