//! Bytes of the ring to what was seen.

use tracing::error;

use crate::capture::{
    bpf::symbols::Symbols,
    decode::decode,
    incident::{IncidentCheckpoint, Incidents, Outcome},
    observer::CaptureItem,
};

/// Records to outcomes.
pub(super) struct Decoder {
    page_bytes: u64,
    /// Where the kernel's stacks are needed and can be read.
    symbols: Option<Symbols>,
    pub(super) incidents: Incidents,
}

/// What came of records.
pub(super) enum Decoded {
    CaptureItem(CaptureItem),
    /// So many records that cannot be read.
    Lost(u64),
}

impl Decoder {
    /// `memory`: of the incident before the first record.
    pub(super) fn new(symbols: Option<Symbols>, memory: IncidentCheckpoint) -> Self {
        Self {
            page_bytes: rustix::param::page_size() as u64,
            symbols,
            incidents: memory.into(),
        }
    }

    /// What a record tells, if it tells anything.
    pub(super) fn decode(&mut self, record: &[u8]) -> Option<Decoded> {
        let observation = match decode(record, self.page_bytes) {
            Ok(observation) => observation,
            Err(error) => {
                error!(%error, "a record from the kernel was lost: are the programs of this version?");
                return Some(Decoded::Lost(1));
            }
        };
        let explain = |frames: &[u64]| self.symbols.as_ref()?.explain(frames);
        match self.incidents.observe(observation, explain) {
            Outcome::Kill(kill) => Some(Decoded::CaptureItem(CaptureItem::Kill(kill))),
            Outcome::NonKill(aside) => Some(Decoded::CaptureItem(CaptureItem::NonKill(aside))),
            Outcome::Nothing => None,
        }
    }
}
