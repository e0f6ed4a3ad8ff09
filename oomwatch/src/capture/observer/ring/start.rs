//! From earlier generations to one's own: who sees which kill, so that each is seen once.
//!
//! One's own programs are attached while those of the last agent still are. At a moment at which nobody is killed the one
//! takes over from the other: the name of the new generation says when that was, so that whoever comes later divides them
//! there, too. Only when the new one is pinned are the old ones detached.

use std::{collections::VecDeque, path::Path, thread, time::Duration};

use tracing::{debug, info, warn};

use crate::capture::observer::ring::previous_generation::PreviousGeneration;
use crate::{
    capture::{
        bpf::{
            Probe, ProbeError, Ring, describe,
            pins::{Generation, Name, PinError, Pins},
        },
        observer::cursor::Cursor,
    },
    sys::clock::since_boot_ns,
};

/// How long nobody must be killed around the moment. The programs of two generations see one kill microseconds apart.
const QUIET: Duration = Duration::from_millis(2);
/// How often such a moment is tried for.
const TRIES: u32 = 100;

/// What a start came to.
pub(super) struct Start {
    /// Name of one's own generation, pinned or not.
    pub(super) name: Name,
    /// What earlier ones have left, in their order.
    pub(super) older: VecDeque<PreviousGeneration>,
    /// The lock on the pins, if one's own generation is pinned.
    pub(super) pins: Option<Pins>,
}

impl Start {
    /// One that nobody came before.
    pub(super) fn alone(attaching: u64) -> Self {
        Self {
            name: Name::new(attaching),
            older: VecDeque::new(),
            pins: None,
        }
    }
}

/// Pins one's own generation, if it can be, and takes over from earlier ones. `attaching` is a time before the programs were
/// attached, `pins` where to pin, or why that cannot be.
pub(super) fn start(
    probe: &mut Probe,
    ring: &Ring,
    attaching: u64,
    pins: Result<Pins, PinError>,
    cursor: Option<&Cursor>,
) -> Result<Start, ProbeError> {
    let found = pins.and_then(|pins| {
        let earlier = earlier(&pins, cursor)?;
        Ok((pins, earlier))
    });
    let (pins, earlier) = match found {
        Ok(found) => found,
        Err(error) => {
            tell_unpinned(&error);
            return Ok(Start::alone(attaching));
        }
    };
    let moment = if earlier.is_empty() {
        attaching
    } else {
        quiet_moment(ring)
    };
    let mut older: VecDeque<_> = earlier
        .iter()
        .filter_map(|generation| open(generation, cursor))
        .collect();
    // What nobody else can tell is one's own to tell.
    let mut name = Name::new(if older.is_empty() { attaching } else { moment });
    let is_pinned = match pins.keep(probe, ring, name) {
        Ok(generation) => {
            info!(
                folder = %generation.folder().display(),
                "kills are kept while no agent runs"
            );
            true
        }
        Err(PinError::Probe(error)) => return Err(error),
        Err(error) => {
            tell_unpinned(&error);
            // It may have been detached for a moment.
            if !older.is_empty() {
                name = Name::new(quiet_moment(ring));
            }
            false
        }
    };
    let mut end = name.since_boot_time_ns;
    for older in older.iter_mut().rev() {
        older.counts.end = end;
        end = older.counts.start;
        if let Err(error) = older.generation.detach() {
            warn!(
                error = describe(&error),
                "the programs of an earlier agent stay attached"
            );
        }
    }
    let is_needed = is_pinned || !older.is_empty();
    Ok(Start {
        name,
        older,
        pins: is_needed.then_some(pins),
    })
}

/// The earlier generations that have something to tell; the others are removed.
fn earlier(pins: &Pins, cursor: Option<&Cursor>) -> Result<Vec<Generation>, PinError> {
    let contents = pins.contents()?;
    for name in &contents.unknown {
        warn!(
            name = %name.display(),
            folder = %pins.folder().display(),
            "there is something that no agent has pinned: it is left alone"
        );
    }
    let now = since_boot_ns();
    let is_passed = |name: Name| {
        let read: Option<Name> = cursor.and_then(|cursor| cursor.generation.parse().ok());
        // A cursor of another boot may be ahead of all that there is.
        read.is_some_and(|read| {
            name.since_boot_time_ns < read.since_boot_time_ns && read.since_boot_time_ns <= now
        })
    };
    let (earlier, done): (Vec<_>, Vec<_>) = contents
        .generations
        .into_iter()
        .partition(|found| found.is_complete() && !is_passed(found.name));
    for generation in done {
        debug!(folder = %generation.folder().display(), "remove what has nothing to tell");
        remove(&generation);
    }
    Ok(earlier)
}

/// Where kills are not taken from a ring: removes what earlier agents have left, which the kernel log has, too.
pub(in crate::capture::observer) fn remove_earlier(bpffs: &Path) {
    let removed = Pins::find(bpffs).and_then(|pins| {
        let Some(pins) = pins else { return Ok(()) };
        for generation in pins.contents()?.generations {
            warn!(
                folder = %generation.folder().display(),
                "what an earlier agent has seen is left to the kernel log"
            );
            generation.remove()?;
        }
        Ok(())
    });
    if let Err(error) = removed {
        warn!(error = describe(&error), "pins of an earlier agent stay");
    }
}

fn open(generation: &Generation, cursor: Option<&Cursor>) -> Option<PreviousGeneration> {
    match PreviousGeneration::open(generation.clone(), cursor) {
        Ok(older) => Some(older),
        Err(error) => {
            warn!(
                folder = %generation.folder().display(),
                error = describe(&error),
                "what an earlier agent has seen cannot be read, and is lost"
            );
            remove(generation);
            None
        }
    }
}

/// Removes a generation; what stays is removed by the next start.
pub(super) fn remove(generation: &Generation) {
    if let Err(error) = generation.remove() {
        warn!(error = describe(&error), "pins of an earlier agent stay");
    }
}

/// A moment that no kill is near to: none came to the ring in the time around it.
fn quiet_moment(ring: &Ring) -> u64 {
    for _ in 0..TRIES {
        let (begin, produced) = (since_boot_ns(), ring.produced());
        thread::sleep(QUIET);
        if ring.produced() == produced {
            return begin.midpoint(since_boot_ns());
        }
    }
    debug!("there are kills without a pause: one may be told twice");
    since_boot_ns()
}

fn tell_unpinned(error: &PinError) {
    warn!(
        error = describe(error),
        "kills while no agent runs are not kept: they are looked for in the kernel log"
    );
}
