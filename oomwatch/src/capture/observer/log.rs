//! The kernel log for an event loop: kills of its own, or what it adds to those of the programs.

use std::{collections::VecDeque, io, ops::ControlFlow, path::Path};

use tokio::time::{Instant, sleep_until};

use super::{CaptureItem, Losses, ObserveError};
use crate::capture::{
    kmsg::{
        assemble::LogItem,
        reader::ReadError,
        tail::{Drained, LogTail},
    },
    ready::Ready,
};

/// The log, with a way to wait for it.
pub(super) struct Log {
    pub(super) live: LogTail,
    ready: Ready,
    drained: Drained,
}

impl Log {
    /// Opens it at its end.
    pub(super) fn open(path: &Path) -> Result<Self, ObserveError> {
        let live = LogTail::open(path)?;
        let ready = Ready::new(&live).map_err(ObserveError::Wait)?;
        Ok(Self {
            live,
            ready,
            drained: Drained::Empty,
        })
    }

    /// Waits until there is something to read.
    pub(super) async fn readable(&self) -> io::Result<()> {
        if self.drained == Drained::Empty {
            self.ready.readable().await?;
        }
        Ok(())
    }

    /// Reads all that is there.
    pub(super) fn drain(&mut self, take: impl FnMut(LogItem)) -> Result<(), ReadError> {
        self.drained = self.live.drain(take)?;
        Ok(())
    }
}

/// Kills that the log tells.
pub(super) struct LogSource {
    log: Log,
    /// Read, but not handed over yet.
    found: VecDeque<LogItem>,
}

impl LogSource {
    pub(super) fn open(path: &Path) -> Result<Self, ObserveError> {
        Ok(Self {
            log: Log::open(path)?,
            found: VecDeque::new(),
        })
    }

    pub(super) async fn drain<B>(
        &mut self,
        mut take: impl FnMut(CaptureItem) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, ObserveError> {
        let Self { log, found } = self;
        while found.is_empty() {
            let due = log.live.flush_due().map(Instant::from_std);
            tokio::select! {
                readable = log.readable() => {
                    readable.map_err(ObserveError::Wait)?;
                    log.drain(|kill| found.push_back(kill))?;
                }
                () = until(due) => {
                    log.live.flush(|kill| found.push_back(kill))?;
                }
            }
        }
        Ok(hand_over(found, &mut take))
    }

    pub(super) fn drain_ready<B>(
        &mut self,
        mut take: impl FnMut(CaptureItem) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, ObserveError> {
        let Self { log, found } = self;
        log.live.flush(|kill| found.push_back(kill))?;
        Ok(hand_over(found, &mut take))
    }

    /// Whether a kill is held back that may be the first of a group.
    pub(super) fn is_holding(&self) -> bool {
        self.log.live.flush_due().is_some() || !self.found.is_empty()
    }

    /// Also the kill that is held back: nobody waits for its group any more.
    pub(super) fn drain_now<B>(
        &mut self,
        mut take: impl FnMut(CaptureItem) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, ObserveError> {
        let Self { log, found } = self;
        log.live.drain_all(|kill| found.push_back(kill))?;
        Ok(hand_over(found, &mut take))
    }

    pub(super) fn losses(&self) -> Losses {
        Losses {
            dropped: self.log.live.losses().records,
            undecoded: self.log.live.counts().unreadable,
        }
    }
}

/// Until then; for ever if there is no such time.
pub(super) async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn hand_over<B>(
    found: &mut VecDeque<LogItem>,
    take: &mut impl FnMut(CaptureItem) -> ControlFlow<B>,
) -> ControlFlow<B> {
    while let Some(next) = found.pop_front() {
        take(match next {
            LogItem::Kill(kill) => CaptureItem::Kill(Box::new(kill.into_kill())),
            LogItem::Rekill { non_kill, .. } => CaptureItem::NonKill(non_kill),
        })?;
    }
    ControlFlow::Continue(())
}
