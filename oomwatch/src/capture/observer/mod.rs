//! Where kills come from: the best rung of the ladder that this kernel gives, as one stream of what was [`CaptureItem`].
//!
//! | rung | what it takes | what it gives |
//! |---|---|---|
//! | fentry, kprobe | the OOM killer's functions, BTF | everything, exactly |
//! | tracepoint | raw tracepoints, BTF | every kill, and what the kernel's stack and memory cgroups tell of it |
//! | format | classic tracepoints, tracefs | every kill's thread |
//! | kmsg | the kernel log | every kill, and of ten in five seconds all that their headers tell |
//! | counters | `/proc/vmstat` and the cgroups' own counts | how many |
//!
//! A rung is chosen by attaching it, never by the kernel's version.

mod count;
pub mod cursor;
mod log;
mod ring;

use std::{io, ops::ControlFlow, path::Path};

use thiserror::Error;
use tracing::{debug, warn};

pub use self::cursor::Losses;
use self::{
    count::CountSource,
    cursor::{Cursor, Progress, RingUsage},
    log::LogSource,
    ring::{Retention, RingSource, remove_previous},
};
use crate::{
    capture::{
        bpf::{self, ProbeError, Rung, offsets},
        counters::Gap,
        kmsg::{assemble::LogKill, reader::ReadError},
    },
    cli::{HooksChoice, KernelArgs},
    model::kill::{Kill, NonKill},
    sys::{clock::since_boot_ns, proc::HostError},
};

/// A way to see kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// BPF programs.
    Programs(Rung),
    /// The kernel log.
    Log,
    /// The kernel's counts.
    Counters,
}

impl Way {
    /// Its word on the command line and in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Programs(rung) => rung.as_str(),
            Self::Log => "kmsg",
            Self::Counters => "counters",
        }
    }
}

/// What a choice allows, best first.
#[must_use]
pub fn ways(choice: HooksChoice) -> &'static [Way] {
    use Way::{Counters, Log, Programs};
    match choice {
        HooksChoice::Auto => &[
            Programs(Rung::Fentry),
            Programs(Rung::Kprobe),
            Programs(Rung::Tracepoint),
            Programs(Rung::Format),
            Log,
            Counters,
        ],
        HooksChoice::Function => &[Programs(Rung::Fentry), Programs(Rung::Kprobe)],
        HooksChoice::Fentry => &[Programs(Rung::Fentry)],
        HooksChoice::Kprobe => &[Programs(Rung::Kprobe)],
        HooksChoice::Tracepoint => &[Programs(Rung::Tracepoint)],
        HooksChoice::Format => &[Programs(Rung::Format)],
        HooksChoice::Kmsg => &[Log],
        HooksChoice::Counters => &[Counters],
    }
}

/// Why no kill can be seen.
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
    NoWay(Vec<Refusal>),
}

/// A way that cannot be gone, and why.
type Refusal = (Way, ObserveError);

/// Each on a line of its own.
fn list(refused: &[Refusal]) -> String {
    refused.iter().fold(String::new(), |text, (way, error)| {
        text + "\n  " + way.as_str() + ": " + &bpf::describe(error)
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

/// The way that is gone.
pub struct Observer {
    way: Way,
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
    pub fn open(args: &KernelArgs) -> Result<Self, ObserveError> {
        Self::take(args, &Retention::Nothing)
    }

    /// As [`Self::open`], but goes on where an earlier one was: records stay in the kernel until they are
    /// [released](Self::release), also while nobody runs, if they can be pinned in the BPF file system at `bpffs`. What
    /// earlier ones have left there is handed over first, from the cursor on, and then removed.
    pub fn resume(
        args: &KernelArgs,
        bpffs: &Path,
        cursor: Option<&Cursor>,
    ) -> Result<Self, ObserveError> {
        Self::take(args, &Retention::Records { bpffs, cursor })
    }

    fn take(args: &KernelArgs, keeping: &Retention<'_>) -> Result<Self, ObserveError> {
        let mut refused: Vec<Refusal> = Vec::new();
        let mut types = None;
        for &way in ways(args.hooks) {
            let source = match way {
                Way::Programs(rung) => attach(rung, args, keeping, &mut types),
                Way::Log => LogSource::open(&args.kmsg).map(|log| Source::Log(Box::new(log))),
                Way::Counters => {
                    CountSource::open(&args.proc_root, &args.cgroup_root).map(Source::Count)
                }
            };
            match source {
                Ok(source) => {
                    tell(way, &refused);
                    if let (Way::Log | Way::Counters, Retention::Records { bpffs, .. }) =
                        (way, keeping)
                    {
                        remove_previous(bpffs);
                    }
                    return Ok(Self { way, source });
                }
                // Whoever may not load programs is told so, and not served less instead.
                Err(error @ ObserveError::Probe(ProbeError::NotPermitted { .. })) => {
                    return Err(error);
                }
                Err(error) => refused.push((way, error)),
            }
        }
        match refused.pop() {
            Some((_, only)) if refused.is_empty() => Err(only),
            last => {
                refused.extend(last);
                Err(ObserveError::NoWay(refused))
            }
        }
    }

    /// The way that is gone.
    #[must_use]
    pub fn way(&self) -> Way {
        self.way
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
    rung: Rung,
    args: &KernelArgs,
    keeping: &Retention<'_>,
    types: &mut Types,
) -> Result<Source, ObserveError> {
    let known = if rung.needs_types() {
        let types = match types {
            Some(types) => types,
            none => none.insert(offsets::load(&args.btf).map_err(|error| bpf::describe(&error))),
        };
        match types {
            Ok(types) => Some(&*types),
            Err(error) => return Err(ProbeError::NoTypes(error.clone()).into()),
        }
    } else {
        None
    };
    let attaching = since_boot_ns();
    let probe = bpf::attach(rung, known)?;
    let source = RingSource::new(rung, probe, attaching, args, keeping)?;
    Ok(Source::Ring(Box::new(source)))
}

/// Says which better ways could not be gone: loudly where much is lost by it.
fn tell(way: Way, refused: &[Refusal]) {
    for (better, error) in refused {
        let (better, error) = (better.as_str(), bpf::describe(error));
        match way {
            Way::Programs(Rung::Fentry | Rung::Kprobe | Rung::Tracepoint) => {
                debug!(hooks = better, error, "cannot be used here");
            }
            Way::Programs(Rung::Format) | Way::Log | Way::Counters => {
                warn!(hooks = better, error, "cannot be used here");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn auto_tries_every_way_once_and_the_best_first() {
        let words: Vec<_> = ways(HooksChoice::Auto)
            .iter()
            .map(|way| way.as_str())
            .collect();
        let expected = [
            "fentry",
            "kprobe",
            "tracepoint",
            "format",
            "kmsg",
            "counters",
        ];
        assert_eq!(words, expected);
        for rung in Rung::ALL {
            assert!(words.contains(&rung.as_str()), "{rung:?}");
        }
    }

    #[test]
    fn other_choices_force_what_they_name() {
        for choice in HooksChoice::value_variants() {
            let value = choice.to_possible_value().expect("shown in the help");
            let names: Vec<_> = ways(*choice).iter().map(|way| way.as_str()).collect();
            match choice {
                HooksChoice::Auto => {}
                HooksChoice::Function => assert_eq!(names, ["fentry", "kprobe"]),
                _ => assert_eq!(names, [value.get_name()]),
            }
        }
    }

    #[test]
    fn refusals_are_a_line_each() {
        let error = |what| ObserveError::Probe(ProbeError::Lacks(what));
        let refused = vec![
            (Way::Programs(Rung::Fentry), error("one")),
            (Way::Log, error("two")),
        ];
        assert_eq!(
            ObserveError::NoWay(refused).to_string(),
            "see OOM kills on this machine\n  fentry: this kernel has not one\n  kmsg: this kernel has not two"
        );
    }
}
