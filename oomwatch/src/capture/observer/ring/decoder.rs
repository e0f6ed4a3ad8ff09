//! Turns the bytes of records into kills and non-kill events. Pure.

use std::sync::Arc;

use tracing::error;

use crate::{
    capture::{
        bpf::symbols::Symbols,
        decode::{Observation, decode},
        incident::{IncidentCheckpoint, Incidents, Outcome},
        observer::item::CaptureItem,
    },
    model::account::Account,
};

/// Decodes records and groups them into incidents.
pub(super) struct Decoder {
    page_bytes: u64,
    /// Absent where kernel stacks are not needed, or cannot be interpreted.
    symbols: Option<Symbols>,
    incidents: Incidents,
}

/// What a record, or several, amount to.
pub(super) enum Decoded {
    Item(CaptureItem),
    /// Number of records that could not be decoded.
    Undecodable(u64),
}

impl Decoder {
    /// `checkpoint` is of the incident before the first record.
    pub(super) fn new(
        page_bytes: u64,
        symbols: Option<Symbols>,
        checkpoint: IncidentCheckpoint,
    ) -> Self {
        Self {
            page_bytes,
            symbols,
            incidents: checkpoint.into(),
        }
    }

    pub(super) fn set_symbols(&mut self, symbols: Option<Symbols>) {
        self.symbols = symbols;
    }

    /// Decodes the next record; `None` if there is nothing to report. `account` finds the account of a time.
    pub(super) fn decode(
        &mut self,
        record: &[u8],
        account: impl FnOnce(u64) -> Option<Arc<Account>>,
    ) -> Option<Decoded> {
        let observation = match decode(record, self.page_bytes) {
            Ok(observation) => observation,
            Err(error) => {
                error!(%error, "failed to decode a record, which is lost (the programs may be of another version)");
                return Some(Decoded::Undecodable(1));
            }
        };
        let account_time = match &observation {
            Observation::Mark(mark) => mark.account_boot_time_ns,
            Observation::ThreadMark { .. } | Observation::Signal(_) => None,
        };
        let explain = |frames: &[u64]| self.symbols.as_ref()?.explain(frames);
        match self.incidents.observe(observation, explain) {
            Outcome::Kill(mut kill) => {
                kill.account = account_time.and_then(account);
                Some(Decoded::Item(CaptureItem::Kill(kill)))
            }
            Outcome::NonKill(event) => Some(Decoded::Item(CaptureItem::NonKill(event))),
            Outcome::Nothing => None,
        }
    }

    /// The state of the last incident before a time, in nanoseconds since boot.
    pub(super) fn checkpoint(&self, before_boot_time_ns: u64) -> IncidentCheckpoint {
        self.incidents.checkpoint(before_boot_time_ns)
    }
}
