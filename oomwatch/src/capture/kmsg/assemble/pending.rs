//! A parsed kill that is not yielded yet, because the next line may make it a group kill.

use super::header::Header;
use crate::capture::kmsg::{
    line::{Killed, Message},
    record::{Caller, Stamp},
};

/// A kill that waits for the line after it.
#[derive(Debug)]
pub(super) struct PendingKill {
    /// Number of the kill in the log.
    pub(super) number: u64,
    pub(super) killed: KilledLine,
    pub(super) stamp: Stamp,
    pub(super) caller: Option<Caller>,
    pub(super) host: Option<String>,
    /// The header that was written for it.
    pub(super) header: Option<Header>,
}

impl PendingKill {
    /// Whether the log has the rate-limited header of this kill.
    pub(super) fn has_header(&self) -> bool {
        self.header.as_ref().is_some_and(Header::has_report)
    }
}

/// A kill line, owned.
#[derive(Debug)]
pub(super) struct KilledLine {
    pub(super) message: Message,
    pub(super) tid: u32,
    pub(super) comm: Vec<u8>,
    pub(super) uid: Option<u32>,
    pub(super) total_vm_bytes: Option<u64>,
    pub(super) anon_rss_bytes: Option<u64>,
    pub(super) file_rss_bytes: Option<u64>,
    pub(super) shmem_rss_bytes: Option<u64>,
    pub(super) pgtables_bytes: Option<u64>,
    pub(super) oom_score_adj: Option<i32>,
}

impl KilledLine {
    /// Copies a line. `pgtables_unit_bytes` is the unit of its `pgtables` (1 or 1024).
    pub(super) fn new(killed: &Killed<'_>, pgtables_unit_bytes: u64) -> Self {
        let Killed {
            message,
            tid,
            comm,
            uid,
            total_vm_bytes,
            anon_rss_bytes,
            file_rss_bytes,
            shmem_rss_bytes,
            pgtables_kilobytes,
            oom_score_adj,
        } = *killed;
        Self {
            message,
            tid,
            comm: comm.to_vec(),
            uid,
            total_vm_bytes,
            anon_rss_bytes,
            file_rss_bytes,
            shmem_rss_bytes,
            pgtables_bytes: pgtables_kilobytes
                .map(|pgtables| pgtables.saturating_mul(pgtables_unit_bytes)),
            oom_score_adj,
        }
    }
}
