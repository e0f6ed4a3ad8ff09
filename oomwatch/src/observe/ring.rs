//! Kills from the programs' ring, with what the kernel log adds to them.

use std::{
    collections::VecDeque, convert::Infallible, error::Error, io, ops::ControlFlow, time::Duration,
};

use tokio::time::Instant;
use tracing::{debug, error, warn};

use super::{
    Losses, ObserveError, Seen,
    log::{Log, until},
};
use crate::{
    cli::KernelArgs,
    decode::decode,
    host,
    incident::{Incidents, Outcome},
    kill::{Attribution, Cgroup, Hooks, Kill, Limit, Scope},
    kmsg::join::{Joiner, OomGroup, Told},
    probe::{Probe, Ring, Rung, describe, symbols::Symbols},
    resolve::proc::Victims,
};

/// How long a kill may wait for the log: its line is written microseconds after the mark.
const PATIENCE: Duration = Duration::from_millis(200);

/// Attached programs, and what their records are turned into.
pub(super) struct RingSource {
    probe: Probe,
    records: Ring,
    decoder: Decoder,
    addition: Addition,
    /// What was seen and not handed over yet.
    held: VecDeque<Held>,
}

/// Records to outcomes.
struct Decoder {
    page_bytes: u64,
    /// Where the kernel's stacks are needed and can be read.
    symbols: Option<Symbols>,
    incidents: Incidents,
    undecoded: u64,
}

/// What is added to kills of which the programs do not tell all.
struct Addition {
    /// Absent where the log is not needed or cannot be read.
    log: Option<Log>,
    joiner: Joiner,
    /// Where a victim is known by its thread alone.
    victims: Victims,
}

/// What was seen, in its order.
struct Held {
    seen: Seen,
    /// A kill that waits for the log, and until when.
    due: Option<Instant>,
}

impl RingSource {
    pub(super) fn new(
        rung: Rung,
        mut probe: Probe,
        args: &KernelArgs,
    ) -> Result<Self, ObserveError> {
        let records = probe.ring()?;
        // Kills wait in the ring meanwhile.
        let (symbols, log) = match rung {
            Rung::Fentry | Rung::Kprobe => (None, None),
            Rung::Tracepoint | Rung::Format => additions(args),
        };
        Ok(Self {
            probe,
            records,
            decoder: Decoder {
                page_bytes: rustix::param::page_size() as u64,
                symbols,
                incidents: Incidents::default(),
                undecoded: 0,
            },
            addition: Addition {
                log,
                joiner: Joiner::default(),
                victims: Victims::new(&args.proc_root),
            },
            held: VecDeque::new(),
        })
    }

    pub(super) async fn drain<B>(
        &mut self,
        mut take: impl FnMut(Seen) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, ObserveError> {
        while !self.is_ready() {
            let due = self.held.front().and_then(|held| held.due);
            tokio::select! {
                readable = self.records.readable() => readable?,
                readable = readable(self.addition.log.as_ref()) => {
                    self.addition.log_is_readable(readable);
                }
                () = until(due) => self.held.iter_mut().take(1).for_each(|held| held.due = None),
            }
            self.read();
        }
        Ok(self.hand_over(&mut take))
    }

    pub(super) fn drain_ready<B>(
        &mut self,
        mut take: impl FnMut(Seen) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.read();
        self.hand_over(&mut take)
    }

    /// Whether something waits for the log.
    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Also what waits for the log.
    pub(super) fn drain_now<B>(
        &mut self,
        mut take: impl FnMut(Seen) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.read();
        for held in &mut self.held {
            held.due = None;
        }
        self.hand_over(&mut take)
    }

    pub(super) fn losses(&self) -> Result<Losses, ObserveError> {
        Ok(Losses {
            dropped: self.probe.dropped()?,
            undecoded: self.decoder.undecoded,
        })
    }

    /// Takes all records that are there, and gives the kills that wait what the log has told by now.
    fn read(&mut self) {
        let Self {
            records,
            decoder,
            addition,
            held,
            ..
        } = self;
        let ControlFlow::Continue(()) = records.drain(|record| {
            held.extend(decoder.decode(record).map(|seen| addition.complete(seen)));
            ControlFlow::<Infallible>::Continue(())
        });
        for Held { seen, due } in held.iter_mut().filter(|held| held.due.is_some()) {
            if let Seen::Kill(kill) = seen
                && addition.scope_of(kill)
            {
                *due = None;
            }
        }
    }

    /// Whether the next in turn waits for nothing.
    fn is_ready(&self) -> bool {
        self.held.front().is_some_and(|held| held.due.is_none())
    }

    fn hand_over<B>(&mut self, take: &mut impl FnMut(Seen) -> ControlFlow<B>) -> ControlFlow<B> {
        while self.is_ready()
            && let Some(Held { seen, .. }) = self.held.pop_front()
        {
            take(seen)?;
        }
        ControlFlow::Continue(())
    }
}

impl Decoder {
    fn decode(&mut self, record: &[u8]) -> Option<Seen> {
        let observation = match decode(record, self.page_bytes) {
            Ok(observation) => observation,
            Err(error) => {
                self.undecoded += 1;
                error!(%error, "a record from the kernel was lost: are the programs of this version?");
                return None;
            }
        };
        let explain = |frames: &[u64]| self.symbols.as_ref()?.explain(frames);
        match self.incidents.observe(observation, explain) {
            Outcome::Kill(kill) => Some(Seen::Kill(kill)),
            Outcome::Aside(aside) => Some(Seen::Aside(aside)),
            Outcome::Nothing => None,
        }
    }
}

impl Addition {
    /// Adds what is known already. The header of a kill is in the log before its victim is marked; if the kernel withheld
    /// it, the line of the kill, which comes after, still tells what ran out.
    fn complete(&mut self, mut seen: Seen) -> Held {
        let mut due = None;
        if let Seen::Kill(kill) = &mut seen
            && kill.hooks != Hooks::Function
        {
            self.read_log();
            let told = self.log.as_mut().and_then(|log| log.live.take_header(kill));
            if kill.hooks == Hooks::Format {
                if let Some(told) = &told {
                    place(kill, told);
                }
                self.victims.fill(kill);
            }
            self.joiner.join(kill, told, oom_group(kill));
            let is_open = kill.scope == Scope::Unknown && self.log.is_some();
            due = is_open.then(|| Instant::now() + PATIENCE);
        }
        Held { seen, due }
    }

    /// Takes what ran out from the line of a kill; false if it has not been written yet.
    fn scope_of(&mut self, kill: &mut Kill) -> bool {
        let told = self
            .log
            .as_mut()
            .and_then(|log| log.live.take_killed(&kill.victim));
        let is_told = told.is_some();
        self.joiner.join(kill, told, oom_group(kill));
        is_told
    }

    fn log_is_readable(&mut self, readable: io::Result<()>) {
        match readable {
            Ok(()) => self.read_log(),
            Err(error) => self.lose_log(&error),
        }
    }

    /// The log's own kills are not needed: these are seen already.
    fn read_log(&mut self) {
        if let Some(log) = &mut self.log
            && let Err(error) = log.drain(drop)
        {
            self.lose_log(&error);
        }
    }

    fn lose_log(&mut self, error: &(dyn Error + 'static)) {
        warn!(
            error,
            "the kernel log cannot be read any more: it adds nothing from now on"
        );
        self.log = None;
    }
}

/// Puts a victim of which the thread alone is known into the cgroup that the log names, below the one that ran out.
fn place(kill: &mut Kill, told: &Told) {
    let Some(path) = &told.victim_path else {
        return;
    };
    let cgroup = |path: &Vec<u8>| Cgroup {
        path: path.clone(),
        id: None,
    };
    kill.victim.cgroup = Some(cgroup(path));
    kill.attribution = Attribution::Kmsg;
    kill.missing
        .retain(|name| !matches!(*name, "cgroup" | "limits"));
    let above = told.oom_path.as_ref().filter(|oom| *oom != path);
    kill.limits = [Some(path), above]
        .into_iter()
        .flatten()
        .map(|path| Limit {
            cgroup: cgroup(path),
            usage_bytes: None,
            limit_bytes: None,
            swap_usage_bytes: None,
            swap_limit_bytes: None,
        })
        .collect();
}

/// Which of a kill's cgroups kill as a whole.
fn oom_group(kill: &Kill) -> OomGroup {
    match kill.oom_group_level {
        Some(level) => OomGroup::At(level),
        None if kill.hooks == Hooks::Format || kill.missing.contains(&"limits") => {
            OomGroup::Unknown
        }
        None => OomGroup::Unset,
    }
}

/// The kernel's symbols and its log: either tells what ran out.
fn additions(args: &KernelArgs) -> (Option<Symbols>, Option<Log>) {
    let symbols = host::symbols(&args.proc_root);
    let log = Log::open(&args.kmsg);
    match (&symbols, &log) {
        (Ok(_), Ok(_)) => {}
        (Ok(_), Err(error)) => {
            debug!(
                error = describe(error),
                "constraint and allocation will not be known"
            );
        }
        (Err(error), Ok(_)) => {
            debug!(%error, "what ran out of memory is taken from the kernel log");
        }
        (Err(error), Err(_)) => warn!(%error, "what ran out of memory will not be known"),
    }
    (symbols.ok(), log.ok())
}

async fn readable(log: Option<&Log>) -> io::Result<()> {
    match log {
        Some(log) => log.readable().await,
        None => std::future::pending().await,
    }
}
