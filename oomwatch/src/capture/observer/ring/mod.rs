//! Kills from the ring of the attached programs, enriched from the kernel log, after those in the rings of previous agents.
//!
//! This is the IO shell of [`progress`]: it reads rings and log, waits, and removes pins.

mod accounts;
mod decoder;
mod generation;
mod log_enrichment;
mod previous_generation;
mod progress;
mod start;

use std::{
    cell::Cell, collections::VecDeque, convert::Infallible, io, ops::ControlFlow, path::Path,
    time::Instant,
};

use tracing::warn;

use self::{
    accounts::Accounts,
    decoder::Decoder,
    generation::Generation,
    log_enrichment::{LogEnrichment, open_sources},
    previous_generation::PreviousGeneration,
    progress::{Drained, ReleaseMode, RingProgress, Step},
    start::{Start, remove, start},
};
use super::{
    cursor::{Cursor, Progress, RingUsage},
    error::ObserveError,
    item::CaptureItem,
    log::{Log, until},
};
use crate::{
    capture::{
        bpf::{
            Dropped, Probe, ProbeError, describe,
            pins::{self, Pins, Rings},
            symbols::Symbols,
        },
        config::CaptureConfig,
        decode::AccountLayout,
        ring::{Ring, ready::Ready},
    },
    model::backend::Backend,
};

pub(super) use self::start::remove_previous;

/// Whether records stay in the ring after they were read.
pub(super) enum Retention<'a> {
    /// Their room is released at once.
    Nothing,
    /// They stay until they are released. If they can be pinned at `bpffs`, they also stay while no agent runs.
    Records {
        bpffs: &'a Path,
        /// Up to where a previous agent has reported records.
        cursor: Option<&'a Cursor>,
    },
}

/// Attached programs, and the state of reading their ring and the rings of previous generations.
pub(super) struct RingSource {
    progress: RingProgress,
    /// The previous generations of `progress`, in the same order.
    previous: VecDeque<PreviousRing>,
    probe: Probe,
    ring: Ring,
    accounts: Accounts,
    ready: Ready,
    enrichment: LogEnrichment,
    /// Rejected records when the counters could be read last.
    rejected: Cell<Dropped>,
    /// Whether the counters could be read last time.
    is_countable: Cell<bool>,
    pins: Option<Pins>,
}

/// The ring of a previous generation, and its pins.
struct PreviousRing {
    ring: Ring,
    accounts: Option<Accounts>,
    pins: pins::Generation,
}

impl RingSource {
    /// `attaching` is a time before the programs were attached, in nanoseconds since boot.
    pub(super) fn new(
        backend: Backend,
        mut probe: Probe,
        attaching: u64,
        config: &CaptureConfig,
        retention: &Retention<'_>,
    ) -> Result<Self, ObserveError> {
        let ring = probe.ring()?;
        let accounts = probe.accounts()?;
        let page_bytes = rustix::param::page_size() as u64;
        let layout = AccountLayout {
            page_bytes,
            statistics: probe.statistics().clone(),
        };
        let ready = Ready::new(&ring).map_err(ProbeError::Wait)?;
        let (pins, cursor, mode) = match retention {
            Retention::Nothing => (None, None, ReleaseMode::WhenRead),
            Retention::Records { bpffs, cursor } => {
                (Some(Pins::open(bpffs)), *cursor, ReleaseMode::WhenStored)
            }
        };
        let Start {
            name,
            previous,
            pins,
        } = match pins {
            Some(pins) => {
                let rings = Rings {
                    records: &ring,
                    accounts: &accounts,
                };
                start(&mut probe, rings, attaching, &layout, pins, cursor)?
            }
            None => Start::unpinned(attaching),
        };
        // Kills wait in the ring meanwhile.
        let (symbols, log) = if backend == Backend::RawTracepoint {
            open_sources(config)
        } else {
            // Previous generations may have used raw tracepoints.
            let symbols = (!previous.is_empty())
                .then(|| Symbols::load(&config.proc_root).ok())
                .flatten();
            (symbols, Log::open(&config.kmsg).ok())
        };
        let decoder = Decoder::new(
            page_bytes,
            symbols,
            cursor
                .map(|cursor| cursor.incident.clone())
                .unwrap_or_default(),
        );
        let own = Generation::new(name, ring.position());
        let (states, previous): (Vec<_>, VecDeque<_>) = previous
            .into_iter()
            .map(
                |PreviousGeneration {
                     pins,
                     ring,
                     accounts,
                     state,
                 }| {
                    (
                        state,
                        PreviousRing {
                            ring,
                            accounts,
                            pins,
                        },
                    )
                },
            )
            .unzip();
        Ok(Self {
            progress: RingProgress::new(states, own, decoder, mode, Instant::now()),
            previous,
            probe,
            ring,
            accounts: Accounts::new(accounts, layout),
            ready,
            enrichment: LogEnrichment::new(log),
            rejected: Cell::default(),
            is_countable: Cell::new(true),
            pins,
        })
    }

    /// Wakes the dormant raw-tracepoint programs, whose kills need the kernel's symbols and its log. False if there are none.
    pub(super) fn wake(&mut self, config: &CaptureConfig) -> bool {
        let has_woken = self.probe.wake();
        if has_woken {
            let (symbols, log) = open_sources(config);
            self.progress.set_symbols(symbols);
            self.enrichment = LogEnrichment::new(log);
        }
        has_woken
    }

    /// Waits until there is something to deliver, or to release, and delivers it. Cancel safe.
    pub(super) async fn drain<B>(
        &mut self,
        handle: impl FnMut(CaptureItem) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, ObserveError> {
        if self.progress.is_read_due() {
            self.read();
        }
        while !self.progress.has_news(Instant::now()) {
            tokio::select! {
                readable = self.ready.readable() => readable.map_err(ProbeError::Wait)?,
                readable = readable(self.enrichment.log.as_ref()) => {
                    self.enrichment.log_is_readable(readable);
                }
                () = until(self.progress.wake_at().map(Into::into)) => {}
            }
            self.read();
        }
        Ok(self.progress.deliver(Instant::now(), handle))
    }

    /// Delivers what is there and need not wait for the log.
    pub(super) fn drain_ready<B>(
        &mut self,
        handle: impl FnMut(CaptureItem) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.read();
        self.progress.deliver(Instant::now(), handle)
    }

    /// Whether something waits for the log.
    pub(super) fn is_holding(&self) -> bool {
        self.progress.is_holding()
    }

    /// Delivers what is there, also what waits for the log.
    pub(super) fn drain_now<B>(
        &mut self,
        handle: impl FnMut(CaptureItem) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.read();
        self.progress.stop_waiting();
        self.progress.deliver(Instant::now(), handle)
    }

    /// Reads the counters of the own ring, to check that this is permitted.
    pub(super) fn try_counters(&self) -> Result<(), ObserveError> {
        self.probe.dropped()?;
        Ok(())
    }

    /// Up to where items were delivered, and the losses by then.
    pub(super) fn progress(&self) -> Progress {
        let rejected = || Ok::<_, Infallible>(self.rejected());
        let Ok(progress) = self.progress.progress(rejected);
        progress
    }

    /// Number of kills' records that the own ring has rejected. If the counters cannot be read, as many as the last time.
    fn rejected(&self) -> u64 {
        match self.probe.dropped() {
            Ok(rejected) => {
                let known = self.rejected.replace(rejected);
                self.is_countable.set(true);
                if rejected.accounts > known.accounts {
                    warn!(
                        lost = rejected.accounts,
                        "the ring of accounts was full: kills are reported without what the killer chose from"
                    );
                }
            }
            Err(error) => {
                if self.is_countable.replace(false) {
                    warn!(
                        error = describe(&error),
                        "failed to read the counters of the ring, retrying"
                    );
                }
            }
        }
        self.rejected.get().records
    }

    /// Releases everything before a stored cursor, and removes the generations that end before it.
    pub(super) fn release(&mut self, cursor: &Cursor) {
        let Some(released) = self.progress.release(cursor) else {
            return;
        };
        for PreviousRing { pins, .. } in self.previous.drain(..released.generations) {
            remove(&pins);
        }
        if let Some(previous) = self.previous.front_mut() {
            previous.ring.release(released.position);
            if let Some(accounts) = &mut previous.accounts {
                accounts.release(released.position);
            }
        } else {
            self.ring.release(released.position);
            self.accounts.release(released.position);
        }
    }

    /// Whether the pins are gone, since the BPF file system was unmounted or the folder removed.
    pub(super) fn has_lost_pins(&self) -> bool {
        self.pins.as_ref().is_some_and(Pins::is_gone)
    }

    /// How full the own ring is.
    pub(super) fn usage(&self) -> RingUsage {
        RingUsage {
            used_bytes: self.ring.used_bytes(),
            size_bytes: self.ring.size_bytes(),
        }
    }

    /// Reads all records that are there, and enriches the kills that wait for the log.
    fn read(&mut self) {
        let Self {
            progress,
            previous,
            ring: own,
            accounts: own_accounts,
            enrichment,
            ..
        } = self;
        let now = Instant::now();
        loop {
            let (ring, mut accounts) = match previous.get_mut(progress.reading()) {
                Some(previous) => (&mut previous.ring, previous.accounts.as_mut()),
                None => (&mut *own, Some(&mut *own_accounts)),
            };
            let ControlFlow::Continue(()) = ring.drain(|position, record| {
                let account = |time| accounts.as_mut()?.find(time, position);
                progress.record(position, record, account, |kill| enrichment.enrich(kill));
                ControlFlow::<Infallible>::Continue(())
            });
            let drained = Drained {
                position: ring.position(),
                released: ring.released(),
                has_unread: ring.has_unread(),
            };
            match progress.drained(drained, now) {
                Step::ReadNext => {}
                Step::Release(position) => {
                    ring.release(position);
                    if let Some(accounts) = accounts {
                        accounts.release(position);
                    }
                }
                Step::Wait => break,
            }
        }
        progress.enrich(|kill| enrichment.enrich_late(kill));
    }
}

async fn readable(log: Option<&Log>) -> io::Result<()> {
    match log {
        Some(log) => log.readable().await,
        None => std::future::pending().await,
    }
}
