//! Where kills come from: the best rung of the ladder that this kernel gives, as one stream of [`Outcome`]s.
//!
//! | rung | what it takes | what it gives |
//! |---|---|---|
//! | fentry, kprobe | the OOM killer's functions, BTF | everything, exactly |
//! | tracepoint | raw tracepoints, BTF | every kill, and what the kernel's stack and memory cgroups tell of it |
//! | format | classic tracepoints, tracefs | every kill's thread |
//!
//! A rung is chosen by attaching it, never by the kernel's version.

mod ring;

use std::ops::ControlFlow;

use thiserror::Error;
use tracing::debug;

use self::ring::RingSource;
use crate::{
    cli::{HooksChoice, KernelArgs},
    incident::Outcome,
    probe::{self, ProbeError, Rung, offsets},
};

/// Why no kill can be seen.
#[derive(Debug, Error)]
pub enum ObserveError {
    /// The programs, or their maps.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// No rung could be attached.
    #[error("attach to the kernel's OOM killer{}", list(.0))]
    NoRung(Vec<(Rung, ProbeError)>),
}

/// Each rung with what the kernel said, on a line of its own.
fn list(refused: &[(Rung, ProbeError)]) -> String {
    refused.iter().fold(String::new(), |text, (rung, error)| {
        text + "\n  " + rung.as_str() + ": " + &probe::describe(error)
    })
}

/// What could not be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Records that a full ring refused.
    pub dropped: u64,
    /// Records that could not be read.
    pub undecoded: u64,
}

/// A rung that is attached.
pub struct Observer {
    rung: Rung,
    ring: RingSource,
}

impl Observer {
    /// Attaches the best rung that is allowed by the choice and that works. Needs a tokio runtime.
    pub fn open(args: &KernelArgs) -> Result<Self, ObserveError> {
        let kernel = offsets::load(&args.btf);
        let mut refused = Vec::new();
        for &rung in rungs(args.hooks) {
            let known = match (&kernel, rung.needs_types()) {
                (Ok(kernel), _) => Some(kernel),
                (Err(_), false) => None,
                (Err(error), true) => {
                    refused.push((rung, ProbeError::NoTypes(probe::describe(error))));
                    continue;
                }
            };
            match probe::attach(rung, known) {
                Ok(probe) => {
                    for (rung, error) in &refused {
                        let error = probe::describe(error);
                        debug!(rung = rung.as_str(), error, "this rung cannot be attached");
                    }
                    let ring = RingSource::new(rung, probe, args)?;
                    return Ok(Self { rung, ring });
                }
                // No other rung needs less.
                Err(error @ ProbeError::NotPermitted { .. }) => return Err(error.into()),
                Err(error) => refused.push((rung, error)),
            }
        }
        match (kernel, refused.len()) {
            (Err(error), _) if refused.iter().all(|(rung, _)| rung.needs_types()) => {
                Err(ProbeError::from(error).into())
            }
            (_, 1) => Err(refused.remove(0).1.into()),
            _ => Err(ObserveError::NoRung(refused)),
        }
    }

    /// What it is attached to.
    #[must_use]
    pub fn rung(&self) -> Rung {
        self.rung
    }

    /// Waits until there is something, and hands over all that is there until `take` breaks. Cancel safe.
    pub async fn drain<B>(
        &mut self,
        take: impl FnMut(Outcome) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, ObserveError> {
        Ok(self.ring.drain(take).await?)
    }

    /// Hands over all that is there, without waiting for any.
    pub fn drain_now<B>(&mut self, take: impl FnMut(Outcome) -> ControlFlow<B>) -> ControlFlow<B> {
        self.ring.drain_now(take)
    }

    /// What could not be told so far.
    pub fn losses(&self) -> Result<Losses, ObserveError> {
        Ok(self.ring.losses()?)
    }
}

/// What a choice allows, best first.
fn rungs(choice: HooksChoice) -> &'static [Rung] {
    match choice {
        HooksChoice::Auto => &Rung::ALL,
        HooksChoice::Function => &[Rung::Fentry, Rung::Kprobe],
        HooksChoice::Fentry => &[Rung::Fentry],
        HooksChoice::Kprobe => &[Rung::Kprobe],
        HooksChoice::Tracepoint => &[Rung::Tracepoint],
        HooksChoice::Format => &[Rung::Format],
    }
}
