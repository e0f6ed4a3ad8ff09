//! Reads the kernel log in an event loop: as the source of kills, or to enrich kills from the programs.

use std::{collections::VecDeque, io, ops::ControlFlow, path::Path};

use tokio::time::{Instant, sleep_until};

use super::{error::ObserveError, item::CaptureItem};
use crate::{
    capture::{
        kmsg::{
            assemble::LogItem,
            reader::ReadError,
            tail::{Drained, LogTail},
        },
        ring::ready::Ready,
    },
    model::losses::Losses,
};

/// The log, registered with the runtime.
pub(super) struct Log {
    pub(super) live: LogTail,
    ready: Ready,
    drained: Drained,
}

impl Log {
    /// Opens the log at its end.
    pub(super) fn open(path: &Path) -> Result<Self, ObserveError> {
        let live = LogTail::open(path)?;
        let ready = Ready::new(&live).map_err(ObserveError::Wait)?;
        Ok(Self {
            live,
            ready,
            drained: Drained::Empty,
        })
    }

    /// Waits until the log is readable.
    pub(super) async fn readable(&self) -> io::Result<()> {
        if self.drained == Drained::Empty {
            self.ready.readable().await?;
        }
        Ok(())
    }

    /// Reads all lines that are there.
    pub(super) fn drain(&mut self, handle: impl FnMut(LogItem)) -> Result<(), ReadError> {
        self.drained = self.live.drain(handle)?;
        Ok(())
    }
}

/// Kills from the log.
pub(super) struct LogSource {
    log: Log,
    /// Items that were read and not delivered.
    pending: VecDeque<LogItem>,
}

impl LogSource {
    pub(super) fn open(path: &Path) -> Result<Self, ObserveError> {
        Ok(Self {
            log: Log::open(path)?,
            pending: VecDeque::new(),
        })
    }

    pub(super) async fn drain<B>(
        &mut self,
        mut handle: impl FnMut(CaptureItem) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, ObserveError> {
        let Self { log, pending } = self;
        while pending.is_empty() {
            let due = log.live.flush_due().map(Instant::from_std);
            tokio::select! {
                readable = log.readable() => {
                    readable.map_err(ObserveError::Wait)?;
                    log.drain(|kill| pending.push_back(kill))?;
                }
                () = until(due) => {
                    log.live.flush(|kill| pending.push_back(kill))?;
                }
            }
        }
        Ok(deliver(pending, &mut handle))
    }

    pub(super) fn drain_ready<B>(
        &mut self,
        mut handle: impl FnMut(CaptureItem) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, ObserveError> {
        let Self { log, pending } = self;
        log.live.flush(|kill| pending.push_back(kill))?;
        Ok(deliver(pending, &mut handle))
    }

    /// Whether a kill is held back because it may be the first of a group.
    pub(super) fn is_holding(&self) -> bool {
        self.log.live.flush_due().is_some() || !self.pending.is_empty()
    }

    /// Delivers everything, also a kill that may be the first of a group.
    pub(super) fn drain_now<B>(
        &mut self,
        mut handle: impl FnMut(CaptureItem) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, ObserveError> {
        let Self { log, pending } = self;
        log.live.drain_all(|kill| pending.push_back(kill))?;
        Ok(deliver(pending, &mut handle))
    }

    pub(super) fn losses(&self) -> Losses {
        Losses {
            dropped: self.log.live.losses().records,
            undecoded: self.log.live.counts().unreadable,
        }
    }
}

/// Sleeps until a time; forever if there is none.
pub(super) async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn deliver<B>(
    pending: &mut VecDeque<LogItem>,
    handle: &mut impl FnMut(CaptureItem) -> ControlFlow<B>,
) -> ControlFlow<B> {
    while let Some(next) = pending.pop_front() {
        handle(match next {
            LogItem::Kill(kill) => CaptureItem::Kill(Box::new(kill.into_kill())),
            LogItem::Rekill { non_kill, .. } => CaptureItem::NonKill(non_kill),
        })?;
    }
    ControlFlow::Continue(())
}
