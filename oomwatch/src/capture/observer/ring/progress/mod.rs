//! The order in which records are read, delivered and released: a state machine without rings, files or a clock.
//!
//! Records of the previous generations come first, oldest generation first, then those of the own one. An item is *pending*
//! until it is delivered; a kill may wait there for the kernel log. A [`Cursor`] states up to where items were delivered.
//! Once the caller has stored it, [`RingProgress::release`] says which room of the rings, and which previous generations,
//! are no longer needed.
//!
//! The IO shell reads the ring of generation [`RingProgress::reading`], passes each record to [`RingProgress::record`], then
//! calls [`RingProgress::drained`] and does what that says.

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::error;

use super::{
    decoder::{Decoded, Decoder},
    generation::Generation,
};
use crate::{
    capture::{
        bpf::symbols::Symbols,
        incident::IncidentCheckpoint,
        observer::{
            cursor::{Cursor, Progress},
            item::CaptureItem,
        },
    },
    model::{account::Account, kill::Kill, losses::Losses},
};

/// Time after its links were removed in which a program may still write a record: usually microseconds, but more than 10 ms
/// where a hypervisor stops the CPU in between.
const SETTLE: Duration = Duration::from_millis(200);
/// Further time after which a record of such a program that is still being written is given up. It is written with
/// interrupts disabled.
const GIVE_UP: Duration = Duration::from_secs(5);
/// Interval at which a ring is polled while the kernel does not wake its reader.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// What happens to records after they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReleaseMode {
    /// They are released at once.
    WhenRead,
    /// They stay in the ring until [`RingProgress::release`].
    WhenStored,
}

/// Reads, delivers and releases records in order.
pub(super) struct RingProgress {
    /// The previous generations that are not released completely, oldest first, and the own one, last.
    generations: VecDeque<Generation>,
    /// Index of the generation that is being read.
    reading: usize,
    /// Time after which no program of a previous generation begins a record.
    settled: Instant,
    release: ReleaseMode,
    decoder: Decoder,
    /// Items that were read and not delivered, in order.
    pending: VecDeque<Pending>,
    /// Delivered number of records that could not be decoded.
    undecoded: u64,
    /// Records rejected by the rings of removed generations.
    rejected: u64,
    poll: Poll,
    /// Whether records were read since the last delivery that are released later.
    has_passed: bool,
}

/// When to read the rings without being woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Poll {
    Now,
    At(Instant),
    Never,
}

/// An item that was read and not delivered.
struct Pending {
    decoded: Decoded,
    at: RecordPosition,
    /// Set for a kill that waits for the kernel log: the time at which it is delivered anyway.
    due: Option<Instant>,
}

/// Position at which a record begins, and its generation.
#[derive(Clone)]
struct RecordPosition {
    generation: Arc<str>,
    position: u64,
}

/// State of a ring after all its complete records were read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drained {
    /// Position up to which it was read.
    pub(super) position: u64,
    /// Position up to which it was released.
    pub(super) released: u64,
    /// Whether a record is still being written.
    pub(super) has_unread: bool,
}

/// What the IO shell does after a ring was drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Read the ring of the next generation.
    ReadNext,
    /// Release the own ring up to this position, and read it again.
    Release(u64),
    /// Wait.
    Wait,
}

/// What the IO shell releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Released {
    /// Number of previous generations to remove, from the oldest on.
    pub(super) generations: usize,
    /// Position up to which the ring of the first remaining generation is released.
    pub(super) position: u64,
}

impl RingProgress {
    /// `detached` is the time at which the previous generations were detached.
    pub(super) fn new(
        previous: impl IntoIterator<Item = Generation>,
        own: Generation,
        decoder: Decoder,
        release: ReleaseMode,
        detached: Instant,
    ) -> Self {
        Self {
            generations: previous.into_iter().chain([own]).collect(),
            reading: 0,
            settled: detached + SETTLE,
            release,
            decoder,
            pending: VecDeque::new(),
            undecoded: 0,
            rejected: 0,
            poll: Poll::Now,
            has_passed: false,
        }
    }

    /// Sets the kernel's symbols, which explain the stacks of the records that follow.
    pub(super) fn set_symbols(&mut self, symbols: Option<Symbols>) {
        self.decoder.set_symbols(symbols);
    }

    /// Index of the generation whose ring is to be read; the own one is the last.
    pub(super) fn reading(&self) -> usize {
        self.reading
    }

    fn is_reading_own(&self) -> bool {
        self.reading + 1 == self.generations.len()
    }

    /// Handles a record of the generation that is being read. `account` finds an account of it by its time. `enrich` adds to a kill of the own generation what the kernel
    /// log has by now, and returns until when the kill may wait for more. Kills of previous generations never wait: the log of
    /// that time is not read.
    pub(super) fn record(
        &mut self,
        position: u64,
        record: &[u8],
        account: impl FnOnce(u64) -> Option<Arc<Account>>,
        enrich: impl FnOnce(&mut Kill) -> Option<Instant>,
    ) {
        let generation = &self.generations[self.reading];
        let is_readable = generation
            .previous
            .as_ref()
            .is_none_or(|previous| previous.has_current_layout);
        if !is_readable || !generation.counts(record) {
            return;
        }
        let Some(mut decoded) = self.decoder.decode(record, account) else {
            return;
        };
        let due = match &mut decoded {
            Decoded::Item(CaptureItem::Kill(kill)) if self.is_reading_own() => enrich(kill),
            Decoded::Item(_) | Decoded::Undecodable(_) => None,
        };
        self.push(decoded, position, due);
    }

    fn push(&mut self, decoded: Decoded, position: u64, due: Option<Instant>) {
        self.pending.push_back(Pending {
            decoded,
            at: RecordPosition {
                generation: self.generations[self.reading].name.clone(),
                position,
            },
            due,
        });
    }

    /// Handles the end of the records that are there.
    pub(super) fn drained(&mut self, ring: Drained, now: Instant) -> Step {
        let is_own = self.is_reading_own();
        let generation = &mut self.generations[self.reading];
        let has_moved = generation.position != ring.position;
        generation.position = ring.position;
        let step = if is_own {
            match self.release {
                ReleaseMode::WhenRead if has_moved => Step::Release(ring.position),
                ReleaseMode::WhenRead | ReleaseMode::WhenStored => Step::Wait,
            }
        } else {
            self.drained_previous(ring, now)
        };
        self.has_passed |=
            self.release == ReleaseMode::WhenStored && (has_moved || step == Step::ReadNext);
        // The kernel does not wake the reader of a previous ring, nor of one with unreleased records.
        self.poll = if is_own && ring.released == ring.position {
            Poll::Never
        } else {
            Poll::At(now + POLL_INTERVAL)
        };
        step
    }

    /// Goes on to the next generation when nothing can be written any more.
    fn drained_previous(&mut self, ring: Drained, now: Instant) -> Step {
        let generation = &mut self.generations[self.reading];
        let Some(previous) = &mut generation.previous else {
            return Step::Wait;
        };
        if let Some(unreadable) = previous.unreadable.take() {
            self.push(
                Decoded::Undecodable(unreadable.records),
                unreadable.position,
                None,
            );
        } else if previous.has_current_layout {
            if now < self.settled || ring.has_unread && now < self.settled + GIVE_UP {
                return Step::Wait;
            }
            if ring.has_unread {
                error!(
                    generation = &*generation.name,
                    "the last record of a previous agent is incomplete, and is lost"
                );
                self.push(Decoded::Undecodable(1), ring.position, None);
            }
        }
        self.reading += 1;
        Step::ReadNext
    }

    /// Enriches the kills that wait for the kernel log; `enrich` returns whether the kill need not wait any longer.
    pub(super) fn enrich(&mut self, mut enrich: impl FnMut(&mut Kill) -> bool) {
        for Pending { decoded, due, .. } in &mut self.pending {
            if due.is_some()
                && let Decoded::Item(CaptureItem::Kill(kill)) = decoded
                && enrich(kill)
            {
                *due = None;
            }
        }
    }

    /// Whether the rings are to be read now, without waiting.
    pub(super) fn is_read_due(&self) -> bool {
        self.poll == Poll::Now
    }

    /// The time at which to read the rings again, or to deliver, even if nothing becomes readable.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let poll = match self.poll {
            Poll::At(time) => Some(time),
            Poll::Now | Poll::Never => None,
        };
        let due = self.pending.front().and_then(|pending| pending.due);
        [poll, due].into_iter().flatten().min()
    }

    /// Whether [`Self::deliver`] has something to deliver, or [`Self::progress`] has moved without.
    pub(super) fn has_news(&self, now: Instant) -> bool {
        self.is_ready(now) || self.has_passed && self.pending.is_empty()
    }

    fn is_ready(&self, now: Instant) -> bool {
        self.pending
            .front()
            .is_some_and(|pending| pending.due.is_none_or(|due| due <= now))
    }

    /// Whether something is read and not delivered.
    pub(super) fn is_holding(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Makes no kill wait any longer.
    pub(super) fn stop_waiting(&mut self) {
        for pending in &mut self.pending {
            pending.due = None;
        }
    }

    /// Delivers the items in order, up to the first that still waits, or until `handle` breaks.
    pub(super) fn deliver<B>(
        &mut self,
        now: Instant,
        mut handle: impl FnMut(CaptureItem) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.has_passed = false;
        while self.is_ready(now)
            && let Some(Pending { decoded, .. }) = self.pending.pop_front()
        {
            match decoded {
                Decoded::Item(item) => handle(item)?,
                Decoded::Undecodable(records) => self.undecoded += records,
            }
        }
        ControlFlow::Continue(())
    }

    /// Up to where items were delivered, and the losses by then. `own_rejected` reads the counters of the own ring.
    pub(super) fn progress<E>(
        &self,
        own_rejected: impl Fn() -> Result<u64, E>,
    ) -> Result<Progress, E> {
        let RecordPosition {
            generation,
            position,
        } = match self.pending.front() {
            Some(pending) => pending.at.clone(),
            None => self.read_position(),
        };
        let mut lost = self.rejected;
        let mut dropped = 0;
        for reached in self.generations.iter().take(self.reading + 1) {
            if let Some(previous) = &reached.previous {
                lost += previous.unreported;
                dropped = previous.rejected;
            } else {
                dropped = own_rejected()?;
                lost += dropped;
            }
            if reached.name == generation {
                break;
            }
        }
        Ok(Progress {
            cursor: Some(Cursor {
                generation: generation.to_string(),
                position,
                dropped,
                incident: self.checkpoint(),
            }),
            losses: Losses {
                dropped: lost,
                undecoded: self.undecoded,
            },
        })
    }

    /// Up to where was read.
    fn read_position(&self) -> RecordPosition {
        let generation = &self.generations[self.reading];
        RecordPosition {
            generation: generation.name.clone(),
            position: generation.position,
        }
    }

    /// The last incident without the items that are not delivered.
    fn checkpoint(&self) -> IncidentCheckpoint {
        let first = self
            .pending
            .iter()
            .find_map(|pending| match &pending.decoded {
                Decoded::Item(CaptureItem::Kill(kill)) => kill.boot_time_ns,
                Decoded::Item(CaptureItem::NonKill(event)) => event.boot_time_ns,
                Decoded::Item(_) | Decoded::Undecodable(_) => None,
            });
        self.decoder.checkpoint(first.unwrap_or(u64::MAX))
    }

    /// Forgets everything before a stored cursor. `None` if there is nothing to release: the cursor is of another start, or
    /// ahead of what was read.
    pub(super) fn release(&mut self, cursor: &Cursor) -> Option<Released> {
        let index = self
            .generations
            .iter()
            .position(|generation| *generation.name == *cursor.generation)
            .filter(|&index| index <= self.reading)?;
        self.reading -= index;
        for generation in self.generations.drain(..index) {
            self.rejected += generation
                .previous
                .map_or(0, |previous| previous.unreported);
        }
        if self.generations.len() == 1 {
            // A record that was written before the release woke no reader.
            self.poll = Poll::Now;
        }
        Some(Released {
            generations: index,
            position: cursor.position,
        })
    }
}
