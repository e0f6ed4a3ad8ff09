//! What the kernel log adds to kills that the programs saw.

use std::{
    error::Error,
    io,
    time::{Duration, Instant},
};

use tracing::{debug, warn};

use crate::{
    capture::{
        bpf::{describe, symbols::Symbols},
        config::CaptureConfig,
        kmsg::join::{Joiner, OomGroup},
        observer::log::Log,
    },
    model::kill::{Kill, Scope},
};

/// How long a kill may wait for the log: its line is written microseconds after the mark.
const PATIENCE: Duration = Duration::from_millis(200);

/// What is added to kills of which the programs do not tell all.
pub(super) struct LogEnrichment {
    /// Absent where the log is not needed or cannot be read.
    pub(super) log: Option<Log>,
    joiner: Joiner,
}

impl LogEnrichment {
    pub(super) fn new(log: Option<Log>) -> Self {
        Self {
            log,
            joiner: Joiner::default(),
        }
    }

    /// Adds what is known already; until when it may wait for more. The header of a kill is in the log before its victim is
    /// marked; if the kernel withheld it, the line of the kill, which comes after, still tells what ran out.
    pub(super) fn complete(&mut self, kill: &mut Kill) -> Option<Instant> {
        if kill.backend.is_function() {
            return None;
        }
        self.read_log();
        let told = self.log.as_mut().and_then(|log| log.live.take_header(kill));
        self.joiner.join(kill, told, oom_group(kill));
        let is_open = kill.scope == Scope::Unknown && self.log.is_some();
        is_open.then(|| Instant::now() + PATIENCE)
    }

    /// Takes what ran out from the line of a kill; false if it has not been written yet.
    pub(super) fn scope_of(&mut self, kill: &mut Kill) -> bool {
        let told = self
            .log
            .as_mut()
            .and_then(|log| log.live.take_killed(&kill.victim));
        let is_told = told.is_some();
        self.joiner.join(kill, told, oom_group(kill));
        is_told
    }

    pub(super) fn log_is_readable(&mut self, readable: io::Result<()>) {
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

/// Which of a kill's cgroups kill as a whole.
fn oom_group(kill: &Kill) -> OomGroup {
    match kill.oom_group_level {
        Some(level) => OomGroup::At(level),
        None if kill.missing.contains(&"limits") => OomGroup::Unknown,
        None => OomGroup::Unset,
    }
}

/// The kernel's symbols and its log: either tells what ran out.
pub(super) fn additions(config: &CaptureConfig) -> (Option<Symbols>, Option<Log>) {
    let symbols = Symbols::load(&config.proc_root);
    let log = Log::open(&config.kmsg);
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
