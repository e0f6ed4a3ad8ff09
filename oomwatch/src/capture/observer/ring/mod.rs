//! Kills from the programs' ring, with what the kernel log adds to them; before them those that earlier agents have left in
//! theirs.

mod decoder;
mod log_enrichment;
mod previous_generation;
mod start;

use std::{
    collections::VecDeque, convert::Infallible, io, ops::ControlFlow, ops::Range, path::Path,
    sync::Arc, time::Duration,
};

use tokio::time::Instant;
use tracing::error;

use self::{
    decoder::{Decoded, Decoder},
    log_enrichment::{LogEnrichment, additions},
    previous_generation::{PreviousGeneration, Unread, is_of},
    start::{Start, remove, start},
};
use super::{
    CaptureItem, Losses, ObserveError,
    cursor::{Cursor, Progress, RingUsage},
    log::{Log, until},
};
use crate::{
    capture::{
        bpf::{Probe, ProbeError, Ring, pins::Pins, symbols::Symbols},
        config::CaptureConfig,
        incident::IncidentCheckpoint,
        ready::Ready,
    },
    model::backend::Backend,
};

pub(super) use self::start::remove_earlier;

/// How long after its links are gone a program may still be about to write a record: microseconds, but more than 10 ms were
/// seen where a hypervisor stops the CPU in between.
const SETTLED: Duration = Duration::from_millis(200);
/// How long a record that was begun may stay so, after that: it is written with interrupts off.
const GIVEN_UP: Duration = Duration::from_secs(5);
/// How often a ring is looked at of which the kernel tells nothing.
const LOOK: Duration = Duration::from_millis(20);

/// What becomes of records that were read.
pub(super) enum Retention<'a> {
    /// Their room is given back at once.
    Nothing,
    /// They stay until they are released, also while nobody runs, if they can be pinned here.
    Records {
        bpffs: &'a Path,
        /// Up to where those of an earlier agent were handed over.
        cursor: Option<&'a Cursor>,
    },
}

/// Attached programs, and what their records are turned into.
pub(super) struct RingSource {
    own: Own,
    /// Earlier generations that are not removed yet.
    older: VecDeque<PreviousGeneration>,
    /// How many of those are read to their end.
    read_out: usize,
    /// When no program of theirs can be about to write any more.
    settled: Instant,
    is_deferred: bool,
    decoder: Decoder,
    addition: LogEnrichment,
    /// What was read and not handed over yet.
    held: VecDeque<Pending>,
    /// Records that could not be read, among those that were handed over.
    undecoded: u64,
    /// What the rings of removed generations had refused.
    dropped: u64,
    /// Whether to look at the rings although the kernel has not said so: now, or at a time.
    look: Poll,
    /// Whether something was passed since the last time something was handed over.
    has_passed: bool,
    _pins: Option<Pins>,
}

/// One's own generation.
struct Own {
    probe: Probe,
    name: Arc<str>,
    ring: Ring,
    ready: Ready,
    /// Boot times of the records that count: an older generation has seen the earlier ones.
    counts: Range<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Poll {
    Now,
    At(Instant),
    WhenTold,
}

/// What was read, in its order.
struct Pending {
    what: Decoded,
    place: Place,
    /// A kill that waits for the log, and until when.
    due: Option<Instant>,
}

/// Where a record begins.
#[derive(Clone)]
struct Place {
    generation: Arc<str>,
    position: u64,
}

impl RingSource {
    /// `attaching` is a time before the programs were attached.
    pub(super) fn new(
        backend: Backend,
        mut probe: Probe,
        attaching: u64,
        config: &CaptureConfig,
        keeping: &Retention<'_>,
    ) -> Result<Self, ObserveError> {
        let records = probe.ring()?;
        let ready = Ready::new(&records).map_err(ProbeError::Wait)?;
        let (pins, cursor, is_deferred) = match keeping {
            Retention::Nothing => (None, None, false),
            Retention::Records { bpffs, cursor } => (Some(Pins::open(bpffs)), *cursor, true),
        };
        let Start { name, older, pins } = match pins {
            Some(pins) => start(&mut probe, &records, attaching, pins, cursor)?,
            None => Start::alone(attaching),
        };
        // Kills wait in the ring meanwhile.
        let (symbols, log) = match backend {
            Backend::RawTracepoint => additions(config),
            _ if older.is_empty() => (None, None),
            // An earlier generation may have used raw tracepoints.
            _ => (Symbols::load(&config.proc_root).ok(), None),
        };
        Ok(Self {
            own: Own {
                probe,
                name: name.to_string().into(),
                ring: records,
                ready,
                counts: name.since_boot_time_ns..u64::MAX,
            },
            older,
            read_out: 0,
            settled: Instant::now() + SETTLED,
            is_deferred,
            decoder: Decoder::new(
                symbols,
                cursor.map_or_else(IncidentCheckpoint::default, |cursor| {
                    cursor.incident.clone()
                }),
            ),
            addition: LogEnrichment::new(log),
            held: VecDeque::new(),
            undecoded: 0,
            dropped: 0,
            look: Poll::Now,
            has_passed: false,
            _pins: pins,
        })
    }

    pub(super) async fn drain<B>(
        &mut self,
        mut take: impl FnMut(CaptureItem) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, ObserveError> {
        if matches!(self.look, Poll::Now) {
            self.read();
        }
        while !self.has_news() {
            let due = self.held.front().and_then(|held| held.due);
            let look = match self.look {
                Poll::At(time) => Some(time),
                Poll::Now | Poll::WhenTold => None,
            };
            tokio::select! {
                readable = self.own.ready.readable() => readable.map_err(ProbeError::Wait)?,
                readable = readable(self.addition.log.as_ref()) => {
                    self.addition.log_is_readable(readable);
                }
                () = until(due) => self.held.iter_mut().take(1).for_each(|held| held.due = None),
                () = until(look) => {}
            }
            self.read();
        }
        Ok(self.hand_over(&mut take))
    }

    pub(super) fn drain_ready<B>(
        &mut self,
        mut take: impl FnMut(CaptureItem) -> ControlFlow<B>,
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
        mut take: impl FnMut(CaptureItem) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.read();
        for held in &mut self.held {
            held.due = None;
        }
        self.hand_over(&mut take)
    }

    /// Reads one's own counters.
    pub(super) fn try_counters(&self) -> Result<(), ObserveError> {
        self.own.probe.dropped()?;
        Ok(())
    }

    /// What was handed over, and what was lost by then.
    pub(super) fn progress(&self) -> Result<Progress, ObserveError> {
        let Place {
            generation,
            position,
        } = match self.held.front() {
            Some(held) => held.place.clone(),
            None => self.place(),
        };
        let mut lost = self.dropped;
        let mut refused = None;
        for older in self.older.iter().take(self.read_out + 1) {
            lost += older.lost;
            if older.name == generation {
                refused = Some(older.dropped);
                break;
            }
        }
        let dropped = if let Some(refused) = refused {
            refused
        } else {
            let own = self.own.probe.dropped()?;
            lost += own;
            own
        };
        Ok(Progress {
            cursor: Some(Cursor {
                generation: generation.to_string(),
                position,
                dropped,
                incident: self.memory(),
            }),
            losses: Losses {
                dropped: lost,
                undecoded: self.undecoded,
            },
        })
    }

    /// Gives back the room of all before a cursor, and removes the generations that end before it.
    pub(super) fn release(&mut self, cursor: &Cursor) {
        let is_own = *self.own.name == *cursor.generation;
        let index = match self
            .older
            .iter()
            .position(|older| *older.name == *cursor.generation)
        {
            Some(index) => index,
            None if is_own => self.older.len(),
            // Not one of this start's.
            None => return,
        };
        if index > self.read_out {
            return;
        }
        self.read_out -= index;
        for older in self.older.drain(..index) {
            self.dropped += older.lost;
            remove(&older.generation);
        }
        if let Some(older) = self.older.front_mut() {
            older.ring.release(cursor.position);
        } else {
            self.own.ring.release(cursor.position);
            self.look = Poll::Now;
        }
    }

    /// What is known of the last incident without what is still to be handed over.
    fn memory(&self) -> IncidentCheckpoint {
        let first = self.held.iter().find_map(|held| match &held.what {
            Decoded::CaptureItem(CaptureItem::Kill(kill)) => kill.boot_time_ns,
            Decoded::CaptureItem(CaptureItem::NonKill(aside)) => aside.boot_time_ns,
            Decoded::CaptureItem(_) | Decoded::Lost(_) => None,
        });
        self.decoder.incidents.memory(first.unwrap_or(u64::MAX))
    }

    /// How full one's own ring is.
    pub(super) fn filling(&self) -> RingUsage {
        RingUsage {
            used_bytes: self.own.ring.used_bytes(),
            size_bytes: self.own.ring.size_bytes(),
        }
    }

    /// Takes all records that are there, and gives the kills that wait what the log has told by now.
    fn read(&mut self) {
        let before = self.place();
        self.read_older();
        if self.read_out == self.older.len() {
            self.read_own();
        }
        let after = self.place();
        let has_moved = after.position != before.position || after.generation != before.generation;
        self.has_passed |= self.is_deferred && has_moved && self.held.is_empty();
        let is_untold = self.read_out < self.older.len()
            || self.own.ring.released() != self.own.ring.position();
        self.look = if is_untold {
            Poll::At(Instant::now() + LOOK)
        } else {
            Poll::WhenTold
        };
        for Pending { what, due, .. } in self.held.iter_mut().filter(|held| held.due.is_some()) {
            if let Decoded::CaptureItem(CaptureItem::Kill(kill)) = what
                && self.addition.scope_of(kill)
            {
                *due = None;
            }
        }
    }

    /// Goes on from one older generation to the next when nothing can come any more.
    fn read_older(&mut self) {
        let Self {
            older,
            read_out,
            decoder,
            held,
            ..
        } = self;
        let now = Instant::now();
        while let Some(older) = older.get_mut(*read_out) {
            let PreviousGeneration {
                name,
                ring,
                counts,
                unread,
                ..
            } = older;
            let hold = |what, position| Pending {
                what,
                place: Place {
                    generation: name.clone(),
                    position,
                },
                // The log of that time is not read, and the victim is no more.
                due: None,
            };
            if let Some(Unread { position, records }) = unread.take() {
                held.push_back(hold(Decoded::Lost(records), position));
            } else if older.generation.is_of_this_layout() {
                let ControlFlow::Continue(()) = ring.drain(|position, record| {
                    if is_of(counts, record) {
                        held.extend(decoder.decode(record).map(|what| hold(what, position)));
                    }
                    ControlFlow::<Infallible>::Continue(())
                });
                if now < self.settled || ring.has_unread() && now < self.settled + GIVEN_UP {
                    return;
                }
                if ring.has_unread() {
                    error!(
                        generation = &**name,
                        "the end of a ring was never written, and is lost"
                    );
                    held.push_back(hold(Decoded::Lost(1), ring.position()));
                }
            }
            *read_out += 1;
        }
    }

    fn read_own(&mut self) {
        let Self {
            own: Own {
                name, ring, counts, ..
            },
            is_deferred,
            decoder,
            addition,
            held,
            ..
        } = self;
        loop {
            let before = ring.position();
            let ControlFlow::Continue(()) = ring.drain(|position, record| {
                if is_of(counts, record)
                    && let Some(mut what) = decoder.decode(record)
                {
                    let due = match &mut what {
                        Decoded::CaptureItem(CaptureItem::Kill(kill)) => addition.complete(kill),
                        Decoded::CaptureItem(_) | Decoded::Lost(_) => None,
                    };
                    let generation = name.clone();
                    held.push_back(Pending {
                        what,
                        place: Place {
                            generation,
                            position,
                        },
                        due,
                    });
                }
                ControlFlow::<Infallible>::Continue(())
            });
            if *is_deferred || ring.position() == before {
                return;
            }
            // What came meanwhile has told nobody.
            ring.release(ring.position());
        }
    }

    /// Up to where was read.
    fn place(&self) -> Place {
        let (name, ring) = match self.older.get(self.read_out) {
            Some(older) => (&older.name, &older.ring),
            None => (&self.own.name, &self.own.ring),
        };
        Place {
            generation: name.clone(),
            position: ring.position(),
        }
    }

    /// Whether the next in turn waits for nothing, or there is nothing to hand over but that others may forget.
    fn has_news(&self) -> bool {
        self.has_passed || self.is_ready()
    }

    fn is_ready(&self) -> bool {
        self.held.front().is_some_and(|held| held.due.is_none())
    }

    fn hand_over<B>(
        &mut self,
        take: &mut impl FnMut(CaptureItem) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.has_passed = false;
        while self.is_ready()
            && let Some(Pending { what, .. }) = self.held.pop_front()
        {
            match what {
                Decoded::CaptureItem(seen) => take(seen)?,
                Decoded::Lost(records) => self.undecoded += records,
            }
        }
        ControlFlow::Continue(())
    }
}

async fn readable(log: Option<&Log>) -> io::Result<()> {
    match log {
        Some(log) => log.readable().await,
        None => std::future::pending().await,
    }
}
