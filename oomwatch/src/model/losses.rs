//! Records that capture could not report.

/// Counts of records that were lost or unreadable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Records that a full ring refused, or that the kernel log overwrote before they were read.
    pub dropped: u64,
    /// Records that could not be decoded.
    pub undecoded: u64,
}
