//! Proof that no kill is missing: what was seen against the kernel's own count. Pure.

/// What came out of the ring, and what did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// What the sum says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every kill that the kernel counted was seen.
    Complete,
    /// So many were not, for which nothing accounts.
    Unobserved(u64),
    /// Records were lost; among them as many kills as this, at most.
    Lost(u64),
    /// So many were seen that the kernel did not count: something was told twice, and may hide a kill that is missing.
    Excess(u64),
}

impl Counts {
    /// Compares with the growth of `/proc/vmstat`'s `oom_kill` in the same time. Records that were lost may have been kills.
    #[must_use]
    pub fn verdict(&self, growth: u64) -> Verdict {
        let seen = self.kills + self.rekills + self.unidentified;
        let lost = self.dropped + self.undecoded;
        let missing = growth.saturating_sub(seen);
        match missing {
            0 if seen > growth => Verdict::Excess(seen - growth),
            0 => Verdict::Complete,
            missing if missing > lost => Verdict::Unobserved(missing),
            missing => Verdict::Lost(missing),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_counts_kills_and_rekills_and_nothing_else() {
        let counts = Counts {
            kills: 4,
            rekills: 1,
            marks: 12,
            sharers: 1,
            ..Counts::default()
        };
        assert_eq!(counts.verdict(5), Verdict::Complete);
        assert_eq!(counts.verdict(6), Verdict::Unobserved(1));
    }

    #[test]
    fn lost_records_account_for_as_many_kills() {
        let counts = Counts {
            kills: 4,
            dropped: 2,
            undecoded: 1,
            ..Counts::default()
        };
        assert_eq!(counts.verdict(7), Verdict::Lost(3));
        assert_eq!(counts.verdict(8), Verdict::Unobserved(4));
        assert_eq!(counts.verdict(4), Verdict::Complete);
        assert_eq!(counts.verdict(3), Verdict::Excess(1));
    }
}
