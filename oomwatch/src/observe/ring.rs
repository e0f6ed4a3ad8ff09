//! Kills from the programs' ring.

use std::ops::ControlFlow;

use tracing::{error, warn};

use crate::{
    cli::KernelArgs,
    decode::decode,
    host,
    incident::{Incidents, Outcome},
    kill::Hooks,
    probe::{Probe, ProbeError, Ring, Rung, symbols::Symbols},
    resolve::proc::Victims,
};

use super::Losses;

/// Attached programs, and what their records are turned into.
pub(super) struct RingSource {
    probe: Probe,
    records: Ring,
    decoder: Decoder,
}

/// Records to outcomes.
struct Decoder {
    page_bytes: u64,
    /// Where the kernel's stacks are needed and can be read.
    symbols: Option<Symbols>,
    incidents: Incidents,
    /// Where a victim is known by its thread alone.
    victims: Victims,
    undecoded: u64,
}

impl RingSource {
    pub(super) fn new(rung: Rung, mut probe: Probe, args: &KernelArgs) -> Result<Self, ProbeError> {
        let records = probe.ring()?;
        // Kills wait in the ring meanwhile.
        let symbols = match rung {
            Rung::Fentry | Rung::Kprobe => None,
            Rung::Tracepoint | Rung::Format => host::symbols(&args.proc_root)
                .inspect_err(|error| warn!(%error, "what ran out of memory will not be known"))
                .ok(),
        };
        Ok(Self {
            probe,
            records,
            decoder: Decoder {
                page_bytes: rustix::param::page_size() as u64,
                symbols,
                incidents: Incidents::default(),
                victims: Victims::new(&args.proc_root),
                undecoded: 0,
            },
        })
    }

    pub(super) async fn drain<B>(
        &mut self,
        mut take: impl FnMut(Outcome) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, ProbeError> {
        let Self {
            records, decoder, ..
        } = self;
        records
            .drain(|record| decoder.take(record, &mut take))
            .await
    }

    pub(super) fn drain_now<B>(
        &mut self,
        mut take: impl FnMut(Outcome) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let Self {
            records, decoder, ..
        } = self;
        records.drain_now(|record| decoder.take(record, &mut take))
    }

    pub(super) fn losses(&self) -> Result<Losses, ProbeError> {
        Ok(Losses {
            dropped: self.probe.dropped()?,
            undecoded: self.decoder.undecoded,
        })
    }
}

impl Decoder {
    fn take<B>(
        &mut self,
        record: &[u8],
        take: &mut impl FnMut(Outcome) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let observation = match decode(record, self.page_bytes) {
            Ok(observation) => observation,
            Err(error) => {
                self.undecoded += 1;
                error!(%error, "a record from the kernel was lost: are the programs of this version?");
                return ControlFlow::Continue(());
            }
        };
        let Self {
            symbols, incidents, ..
        } = self;
        let explain = |frames: &[u64]| symbols.as_ref()?.explain(frames);
        match incidents.observe(observation, explain) {
            Outcome::Nothing => ControlFlow::Continue(()),
            Outcome::Kill(mut kill) => {
                if kill.hooks == Hooks::Format {
                    self.victims.fill(&mut kill);
                }
                take(Outcome::Kill(kill))
            }
            outcome @ Outcome::Aside(_) => take(outcome),
        }
    }
}
