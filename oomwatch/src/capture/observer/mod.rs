//! Captures kills with the best backend that works on this kernel, as one stream of [`CaptureItem`]s.
//!
//! | backend | reads | gives |
//! |---|---|---|
//! | fentry, kprobe | the OOM killer's functions, BTF | everything, exactly |
//! | raw-tracepoint | raw tracepoints, BTF | every kill, with what the kernel stack and the memory cgroups show of it |
//! | kmsg | the kernel log | every kill; for ten kills in five seconds all that their headers contain |
//! | counters | `/proc/vmstat` and the cgroups' own counts | the number of kills |
//!
//! A backend is chosen by attaching it, never by the kernel's version.

mod count;
pub mod cursor;
mod error;
mod item;
mod log;
mod ring;

use std::{ops::ControlFlow, path::Path};

use tracing::{debug, warn};

use self::{
    count::CountSource,
    cursor::{Cursor, Progress, RingUsage},
    error::Refusal,
    log::LogSource,
    ring::{Retention, RingSource, remove_previous},
};
pub use self::{error::ObserveError, item::CaptureItem};
use crate::{
    capture::{
        bpf::{self, ProbeError, features, offsets},
        config::CaptureConfig,
    },
    model::{backend::Backend, losses::Losses},
    sys::clock::since_boot_ns,
};

/// A running backend.
pub struct Observer {
    backend: Backend,
    source: Source,
    config: CaptureConfig,
}

enum Source {
    Ring(Box<RingSource>),
    Log(Box<LogSource>),
    Count(CountSource),
}

impl Observer {
    /// Starts the best backend that the configuration allows and that works. Nothing is pinned: capture ends when this is
    /// dropped. Must be called inside a tokio runtime.
    pub fn open(config: &CaptureConfig) -> Result<Self, ObserveError> {
        Self::select(config, &Retention::Nothing, None)
    }

    /// As [`Self::open`], with the programs of an object file that log what they do.
    #[cfg(feature = "bpf-log")]
    pub fn open_with_log(config: &CaptureConfig, object: &Path) -> Result<Self, ObserveError> {
        Self::select(config, &Retention::Nothing, Some(object))
    }

    /// As [`Self::open`], but continues where a previous agent has stopped. Records stay in the kernel until they are
    /// [released](Self::release); if they can be pinned in the BPF file system at `bpffs`, also while no agent runs. The records
    /// that previous agents have left there come first, from the cursor on.
    pub fn resume(
        config: &CaptureConfig,
        bpffs: &Path,
        cursor: Option<&Cursor>,
    ) -> Result<Self, ObserveError> {
        Self::select(config, &Retention::Records { bpffs, cursor }, None)
    }

    fn select(
        config: &CaptureConfig,
        retention: &Retention<'_>,
        debug_object: Option<&Path>,
    ) -> Result<Self, ObserveError> {
        let mut refused: Vec<Refusal> = Vec::new();
        let mut types = None;
        let candidates = Backend::ALL
            .into_iter()
            .filter(|&backend| config.backend.is_none_or(|chosen| chosen == backend));
        for backend in candidates {
            let source = match backend {
                Backend::Kmsg => {
                    LogSource::open(&config.kmsg).map(|log| Source::Log(Box::new(log)))
                }
                Backend::Counters => {
                    CountSource::open(&config.proc_root, &config.cgroup_root).map(Source::Count)
                }
                Backend::Fentry | Backend::Kprobe | Backend::RawTracepoint => {
                    attach(backend, config, retention, debug_object, &mut types)
                }
            };
            match source {
                Ok(source) => {
                    log_refused(backend, &refused);
                    if let Retention::Records { bpffs, .. } = retention
                        && !backend.is_bpf()
                    {
                        remove_previous(bpffs);
                    }
                    let config = config.clone();
                    return Ok(Self {
                        backend,
                        source,
                        config,
                    });
                }
                Err(error) => refused.push((backend, error)),
            }
        }
        match refused.pop() {
            Some((_, only)) if refused.is_empty() => Err(only),
            last => {
                refused.extend(last);
                Err(ObserveError::NoBackend(refused))
            }
        }
    }

    /// The backend in use.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Replaces a backend that is attached and does not record what the kernel counts: functions by the raw tracepoints, which are
    /// attached and dormant, else by the kernel log, else by the counts. Needs no capability but `CAP_SYSLOG`. Drain before,
    /// since what was captured and not delivered is lost. False if there is nothing to replace it with.
    pub fn replace_silent(&mut self) -> bool {
        let Self {
            backend,
            source,
            config,
        } = self;
        let Source::Ring(ring) = source else {
            return false;
        };
        if backend.is_function() && ring.wake(config) {
            *backend = Backend::RawTracepoint;
            return true;
        }
        let log =
            LogSource::open(&config.kmsg).map(|log| (Backend::Kmsg, Source::Log(Box::new(log))));
        let next = log.or_else(|error| {
            warn!(
                error = bpf::describe(&error),
                "failed to open the kernel log, counting kills only"
            );
            CountSource::open(&config.proc_root, &config.cgroup_root)
                .map(|count| (Backend::Counters, Source::Count(count)))
        });
        match next {
            Ok(next) => {
                (*backend, *source) = next;
                true
            }
            Err(error) => {
                warn!(
                    error = bpf::describe(&error),
                    "failed to read the kernel's counts"
                );
                false
            }
        }
    }

    /// Waits until there are items, and passes them to `handle` until it breaks. After [`Self::resume`] it may also return
    /// without an item, if [`Self::progress`] has moved. Cancel safe.
    pub async fn drain<B>(
        &mut self,
        handle: impl FnMut(CaptureItem) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, ObserveError> {
        match &mut self.source {
            Source::Ring(ring) => ring.drain(handle).await,
            Source::Log(log) => log.drain(handle).await,
            Source::Count(count) => count.drain(handle).await,
        }
    }

    /// Passes on the items that are there, without waiting, except those that are held back for the kernel log.
    pub fn drain_ready<B>(
        &mut self,
        handle: impl FnMut(CaptureItem) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, ObserveError> {
        match &mut self.source {
            Source::Ring(ring) => Ok(ring.drain_ready(handle)),
            Source::Log(log) => log.drain_ready(handle),
            Source::Count(count) => count.drain_now(handle),
        }
    }

    /// Whether items are held back.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        match &self.source {
            Source::Ring(ring) => ring.is_holding(),
            Source::Log(log) => log.is_holding(),
            Source::Count(_) => false,
        }
    }

    /// Passes on all items that are there, without waiting.
    pub fn drain_now<B>(
        &mut self,
        handle: impl FnMut(CaptureItem) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, ObserveError> {
        match &mut self.source {
            Source::Ring(ring) => Ok(ring.drain_now(handle)),
            Source::Log(log) => log.drain_now(handle),
            Source::Count(count) => count.drain_now(handle),
        }
    }

    /// Records lost so far.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.progress().losses
    }

    /// Reads the ring's counters once, to check that this is permitted.
    pub fn try_counters(&self) -> Result<(), ObserveError> {
        match &self.source {
            Source::Ring(ring) => ring.try_counters(),
            Source::Log(_) | Source::Count(_) => Ok(()),
        }
    }

    /// Up to where items were delivered, and the losses by then.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let losses = match &self.source {
            Source::Ring(ring) => return ring.progress(),
            Source::Log(log) => log.losses(),
            Source::Count(_) => Losses::default(),
        };
        Progress {
            cursor: None,
            losses,
        }
    }

    /// Releases all records before a cursor of this observer. Drain once more afterwards.
    pub fn release(&mut self, cursor: &Cursor) {
        match &mut self.source {
            Source::Ring(ring) => ring.release(cursor),
            Source::Log(_) | Source::Count(_) => {}
        }
    }

    /// Whether the pins of this start are gone, so that kills while no agent runs are not recorded.
    #[must_use]
    pub fn has_lost_pins(&self) -> bool {
        match &self.source {
            Source::Ring(ring) => ring.has_lost_pins(),
            Source::Log(_) | Source::Count(_) => false,
        }
    }

    /// How full the ring is; `None` if the backend has none.
    #[must_use]
    pub fn ring_usage(&self) -> Option<RingUsage> {
        match &self.source {
            Source::Ring(ring) => Some(ring.usage()),
            Source::Log(_) | Source::Count(_) => None,
        }
    }
}

/// The kernel's types, read on first use, or why they cannot be read.
type Types = Option<Result<offsets::KernelTypes, String>>;

fn attach(
    backend: Backend,
    config: &CaptureConfig,
    retention: &Retention<'_>,
    debug_object: Option<&Path>,
    types: &mut Types,
) -> Result<Source, ObserveError> {
    // Before the types: without privileges a missing BTF file is not what stops the user.
    bpf::require_capabilities("load BPF programs")?;
    let kprobes_enabled = Path::new(features::KPROBES_ENABLED);
    if let Some(switch) = features::switched_off(backend, &config.proc_root, kprobes_enabled) {
        return Err(ProbeError::Silent(switch).into());
    }
    let types = types
        .get_or_insert_with(|| offsets::load(&config.btf).map_err(|error| bpf::describe(&error)));
    let kernel = match types {
        Ok(kernel) => kernel,
        Err(error) => return Err(ProbeError::NoTypes(error.clone()).into()),
    };
    let attaching = since_boot_ns();
    let probe = bpf::attach(backend, kernel, debug_object)?;
    if backend.is_function()
        && let Err(error) = probe.find_statistics(&config.proc_root)
    {
        debug!(%error, "the statistics of memory cgroups are not recorded");
    }
    let source = RingSource::new(backend, probe, attaching, config, retention)?;
    Ok(Source::Ring(Box::new(source)))
}

/// Logs why better backends do not work: as a warning if only the kernel log or the counts are left, or if a switch is off that
/// can be turned on.
fn log_refused(backend: Backend, refused: &[Refusal]) {
    for (better, error) in refused {
        let is_switch = matches!(error, ObserveError::Probe(ProbeError::Silent(_)));
        let (better, error) = (better.flag(), bpf::describe(error));
        if backend.is_bpf() && !is_switch {
            debug!(backend = better, error, "backend does not work here");
        } else {
            warn!(backend = better, error, "backend does not work here");
        }
    }
}
