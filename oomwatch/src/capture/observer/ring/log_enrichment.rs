//! Adds facts from the kernel log to kills that programs have recorded: with raw tracepoints what ran out, and in any case the rest of
//! the account.

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

/// Time that a kill may wait for its line in the log, which the kernel writes microseconds after the mark.
const PATIENCE: Duration = Duration::from_millis(200);

/// Enriches kills.
pub(super) struct LogEnrichment {
    /// Absent if the log is not needed or cannot be read.
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

    /// Adds the facts of the kill's header, which the kernel logs before it marks the victim. Returns until when the kill may wait
    /// for its `Killed process` line, which shows what ran out of memory if the header was rate-limited.
    pub(super) fn enrich(&mut self, kill: &mut Kill) -> Option<Instant> {
        self.read_log();
        let facts = self.log.as_mut().and_then(|log| log.live.take_header(kill));
        self.joiner.join(kill, facts, oom_group(kill));
        let is_incomplete = kill.scope == Scope::Unknown && self.log.is_some();
        is_incomplete.then(|| Instant::now() + PATIENCE)
    }

    /// Adds the facts of the kill's `Killed process` line. Returns false if the line is not in the log yet.
    pub(super) fn enrich_late(&mut self, kill: &mut Kill) -> bool {
        let facts = self
            .log
            .as_mut()
            .and_then(|log| log.live.take_killed(&kill.victim));
        let is_found = facts.is_some();
        self.joiner.join(kill, facts, oom_group(kill));
        is_found
    }

    pub(super) fn log_is_readable(&mut self, readable: io::Result<()>) {
        match readable {
            Ok(()) => self.read_log(),
            Err(error) => self.close_log(&error),
        }
    }

    /// Reads the log. Its kills are dropped, since the programs have seen them.
    fn read_log(&mut self) {
        if let Some(log) = &mut self.log
            && let Err(error) = log.drain(drop)
        {
            self.close_log(&error);
        }
    }

    fn close_log(&mut self, error: &(dyn Error + 'static)) {
        warn!(
            error,
            "failed to read the kernel log: kills are not enriched from now on"
        );
        self.log = None;
    }
}

/// Which of the kill's cgroups has `memory.oom.group` set.
fn oom_group(kill: &Kill) -> OomGroup {
    match kill.oom_group_level {
        Some(level) => OomGroup::At(level),
        None if kill.missing.contains(&"limits") => OomGroup::Unknown,
        None => OomGroup::Unset,
    }
}

/// Opens the kernel's symbols and the kernel log. Either shows what ran out of memory.
pub(super) fn open_sources(config: &CaptureConfig) -> (Option<Symbols>, Option<Log>) {
    let symbols = Symbols::load(&config.proc_root);
    let log = Log::open(&config.kmsg);
    match (&symbols, &log) {
        (Ok(_), Ok(_)) => {}
        (Ok(_), Err(error)) => {
            debug!(
                error = describe(error),
                "kernel log unreadable: constraint and allocation stay unknown"
            );
        }
        (Err(error), Ok(_)) => {
            debug!(%error, "kernel symbols unreadable: what ran out of memory is read from the kernel log");
        }
        (Err(error), Err(_)) => {
            warn!(%error, "kernel symbols and kernel log unreadable: what ran out of memory stays unknown");
        }
    }
    (symbols.ok(), log.ok())
}
