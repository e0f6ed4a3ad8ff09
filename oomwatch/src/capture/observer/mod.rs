//! Where kills come from: the best backend that works on this kernel, as one stream of [`CaptureItem`]s.
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
mod log;
mod ring;

use std::{io, ops::ControlFlow, path::Path};

use thiserror::Error;
use tracing::{debug, warn};

use self::{
    count::CountSource,
    cursor::{Cursor, Progress, RingUsage},
    log::LogSource,
    ring::{Retention, RingSource, remove_previous},
};
use crate::{
    capture::{
        bpf::{self, ProbeError, offsets},
        config::CaptureConfig,
        kmsg::{assemble::LogKill, reader::ReadError},
    },
    model::{
        backend::Backend,
        gap::Gap,
        kill::{Kill, NonKill},
        losses::Losses,
    },
    sys::{clock::since_boot_ns, proc::HostError},
};

/// Why no kill can be captured.
#[derive(Debug, Error)]
pub enum ObserveError {
    /// The programs, or their maps.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The kernel log.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The kernel log cannot be waited for.
    #[error("wait for the kernel log")]
    Wait(#[source] io::Error),
    /// The kernel's counts.
    #[error(transparent)]
    Counters(#[from] HostError),
    /// Neither of them.
    #[error("see OOM kills on this machine{}", list(.0))]
    NoBackend(Vec<Refusal>),
}

/// A backend that does not work here, and why.
type Refusal = (Backend, ObserveError);

/// Each on a line of its own.
fn list(refused: &[Refusal]) -> String {
    refused
        .iter()
        .fold(String::new(), |text, (backend, error)| {
            text + "\n  " + backend.flag() + ": " + &bpf::describe(error)
        })
}

/// What was seen.
#[derive(Clone, Debug)]
pub enum CaptureItem {
    /// A process was killed.
    Kill(Box<Kill>),
    /// The same, as the kernel log tells it.
    Logged(Box<LogKill>),
    /// Something else happened to a process that belongs to the picture.
    NonKill(NonKill),
    /// Processes were killed, and nobody told which.
    Gap(Gap),
}

/// The capture backend in use.
pub struct Observer {
    backend: Backend,
    source: Source,
}

enum Source {
    Ring(Box<RingSource>),
    Log(Box<LogSource>),
    Count(CountSource),
}

impl Observer {
    /// Takes the best way that is allowed and that works, for as long as this lives: nothing is pinned, and records are
    /// given up when they are read. Needs a tokio runtime.
    pub fn open(config: &CaptureConfig) -> Result<Self, ObserveError> {
        Self::select(config, &Retention::Nothing)
    }

    /// As [`Self::open`], but goes on where an earlier one was: records stay in the kernel until they are
    /// [released](Self::release), also while nobody runs, if they can be pinned in the BPF file system at `bpffs`. What
    /// earlier ones have left there is handed over first, from the cursor on, and then removed.
    pub fn resume(
        config: &CaptureConfig,
        bpffs: &Path,
        cursor: Option<&Cursor>,
    ) -> Result<Self, ObserveError> {
        Self::select(config, &Retention::Records { bpffs, cursor })
    }

    fn select(config: &CaptureConfig, keeping: &Retention<'_>) -> Result<Self, ObserveError> {
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
                    attach(backend, config, keeping, &mut types)
                }
            };
            match source {
                Ok(source) => {
                    log_refused(backend, &refused);
                    if let Retention::Records { bpffs, .. } = keeping
                        && !backend.is_bpf()
                    {
                        remove_previous(bpffs);
                    }
                    return Ok(Self { backend, source });
                }
                // Missing privileges are an error: the log alone would report less without a word.
                Err(error @ ObserveError::Probe(ProbeError::NotPermitted { .. })) => {
                    return Err(error);
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

    /// Waits until there is something, and hands over all that is there until `take` breaks. After [`Self::resume`] it may
    /// also return when there was nothing to hand over, but something to be released. Cancel safe.
    pub async fn drain<B>(
        &mut self,
        take: impl FnMut(CaptureItem) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, ObserveError> {
        match &mut self.source {
            Source::Ring(ring) => ring.drain(take).await,
            Source::Log(log) => log.drain(take).await,
            Source::Count(count) => count.drain(take).await,
        }
    }

    /// Hands over what is there, without waiting for any, but not what is held back for what the kernel log may tell of it.
    pub fn drain_ready<B>(
        &mut self,
        take: impl FnMut(CaptureItem) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, ObserveError> {
        match &mut self.source {
            Source::Ring(ring) => Ok(ring.drain_ready(take)),
            Source::Log(log) => log.drain_ready(take),
            Source::Count(count) => count.drain_now(take),
        }
    }

    /// Whether something is held back.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        match &self.source {
            Source::Ring(ring) => ring.is_holding(),
            Source::Log(log) => log.is_holding(),
            Source::Count(_) => false,
        }
    }

    /// Hands over all that is there, without waiting for any.
    pub fn drain_now<B>(
        &mut self,
        take: impl FnMut(CaptureItem) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, ObserveError> {
        match &mut self.source {
            Source::Ring(ring) => Ok(ring.drain_now(take)),
            Source::Log(log) => log.drain_now(take),
            Source::Count(count) => count.drain_now(take),
        }
    }

    /// What could not be told so far.
    pub fn losses(&self) -> Result<Losses, ObserveError> {
        Ok(self.progress()?.losses)
    }

    /// Reads the counters that are read later on, whatever is still to be handed over before: whether that is allowed.
    pub fn try_counters(&self) -> Result<(), ObserveError> {
        match &self.source {
            Source::Ring(ring) => ring.try_counters(),
            Source::Log(_) | Source::Count(_) => Ok(()),
        }
    }

    /// How far all was handed over, and what could not be told by then.
    pub fn progress(&self) -> Result<Progress, ObserveError> {
        let losses = match &self.source {
            Source::Ring(ring) => return ring.progress(),
            Source::Log(log) => log.losses(),
            Source::Count(_) => Losses::default(),
        };
        Ok(Progress {
            cursor: None,
            losses,
        })
    }

    /// Lets the kernel forget all before a cursor of this observer's. Then it has to be drained once more.
    pub fn release(&mut self, cursor: &Cursor) {
        match &mut self.source {
            Source::Ring(ring) => ring.release(cursor),
            Source::Log(_) | Source::Count(_) => {}
        }
    }

    /// How full the ring is; absent where there is none.
    #[must_use]
    pub fn filling(&self) -> Option<RingUsage> {
        match &self.source {
            Source::Ring(ring) => Some(ring.usage()),
            Source::Log(_) | Source::Count(_) => None,
        }
    }
}

/// The kernel's types, once they were asked for.
type Types = Option<Result<offsets::KernelTypes, String>>;

fn attach(
    backend: Backend,
    config: &CaptureConfig,
    keeping: &Retention<'_>,
    types: &mut Types,
) -> Result<Source, ObserveError> {
    let types = types
        .get_or_insert_with(|| offsets::load(&config.btf).map_err(|error| bpf::describe(&error)));
    let kernel = match types {
        Ok(kernel) => kernel,
        Err(error) => return Err(ProbeError::NoTypes(error.clone()).into()),
    };
    let attaching = since_boot_ns();
    let probe = bpf::attach(backend, kernel)?;
    let source = RingSource::new(backend, probe, attaching, config, keeping)?;
    Ok(Source::Ring(Box::new(source)))
}

/// Logs why better backends do not work: as a warning where much is lost by it.
fn log_refused(backend: Backend, refused: &[Refusal]) {
    for (better, error) in refused {
        let (better, error) = (better.flag(), bpf::describe(error));
        if backend.is_bpf() {
            debug!(backend = better, error, "backend does not work here");
        } else {
            warn!(backend = better, error, "backend does not work here");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_a_line_each() {
        let error = |what| ObserveError::Probe(ProbeError::Lacks(what));
        let refused = vec![
            (Backend::Fentry, error("one")),
            (Backend::Kmsg, error("two")),
        ];
        assert_eq!(
            ObserveError::NoBackend(refused).to_string(),
            "see OOM kills on this machine\n  fentry: this kernel has not one\n  kmsg: this kernel has not two"
        );
    }
}
