//! Pins the own generation and takes over from the previous ones, so that each kill is reported once.
//!
//! The own programs are attached while those of the last agent still are. The time of the takeover is one at which no process
//! is being killed; the name of the own generation states it, for later starts. The previous programs are detached once the
//! own ones are pinned.

use std::{path::Path, thread, time::Duration};

use tracing::{debug, info, warn};

use super::{
    generation::{divide, is_reported},
    previous_generation::PreviousGeneration,
};
use crate::{
    capture::{
        bpf::{
            Probe, ProbeError, describe,
            pins::{Generation, GenerationName, PinError, Pins, Rings},
        },
        decode::AccountLayout,
        observer::cursor::Cursor,
        ring::Ring,
    },
    sys::clock::since_boot_ns,
};

/// Time without a kill around the takeover. The programs of two generations see one kill microseconds apart.
const QUIET: Duration = Duration::from_millis(2);
/// Number of attempts to find such a time.
const ATTEMPTS: u32 = 100;

/// The result of a start.
pub(super) struct Start {
    /// Name of the own generation, pinned or not.
    pub(super) name: GenerationName,
    /// Previous generations, oldest first.
    pub(super) previous: Vec<PreviousGeneration>,
    /// The lock on the pins; absent if neither the own nor a previous generation is pinned.
    pub(super) pins: Option<Pins>,
}

impl Start {
    /// A start without pins. `attaching` is a time before the programs were attached.
    pub(super) fn unpinned(attaching: u64) -> Self {
        Self {
            name: GenerationName::new(attaching),
            previous: Vec::new(),
            pins: None,
        }
    }
}

/// Pins the own generation, if possible, and takes over from previous ones. `attaching` is a time before the programs were
/// attached. `pins` is where to pin, or why that is not possible.
pub(super) fn start(
    probe: &mut Probe,
    rings: Rings<'_>,
    attaching: u64,
    layout: &AccountLayout,
    pins: Result<Pins, PinError>,
    cursor: Option<&Cursor>,
) -> Result<Start, ProbeError> {
    let found = pins.and_then(|pins| {
        let found = unreported_generations(&pins, cursor)?;
        Ok((pins, found))
    });
    let (pins, found) = match found {
        Ok(found) => found,
        Err(error) => {
            warn_unpinned(&error);
            return Ok(Start::unpinned(attaching));
        }
    };
    let takeover = if found.is_empty() {
        attaching
    } else {
        quiet_time(rings.records)
    };
    let mut previous: Vec<_> = found
        .iter()
        .filter_map(|generation| open(generation, cursor, layout))
        .collect();
    // If no previous ring is readable, the own generation counts from its attachment on.
    let mut name = GenerationName::new(if previous.is_empty() {
        attaching
    } else {
        takeover
    });
    let is_pinned = match pins.pin(probe, rings, name) {
        Ok(generation) => {
            info!(
                folder = %generation.folder().display(),
                "programs and ring are pinned: kills while no agent runs are kept"
            );
            true
        }
        Err(PinError::Probe(error)) => return Err(error),
        Err(error) => {
            warn_unpinned(&error);
            // The failed pin may have detached the own programs for a moment.
            if !previous.is_empty() {
                name = GenerationName::new(quiet_time(rings.records));
            }
            false
        }
    };
    divide(
        previous.iter_mut().map(|previous| &mut previous.state),
        name.since_boot_time_ns,
    );
    for PreviousGeneration { pins, .. } in previous.iter().rev() {
        if let Err(error) = pins.detach() {
            warn!(
                error = describe(&error),
                "failed to detach the programs of a previous agent"
            );
        }
    }
    let is_needed = is_pinned || !previous.is_empty();
    Ok(Start {
        name,
        previous,
        pins: is_needed.then_some(pins),
    })
}

/// The previous generations that are not reported completely; the others are removed.
fn unreported_generations(
    pins: &Pins,
    cursor: Option<&Cursor>,
) -> Result<Vec<Generation>, PinError> {
    let contents = pins.contents()?;
    for name in &contents.unknown {
        warn!(
            name = %name.display(),
            folder = %pins.folder().display(),
            "ignoring a file that no agent has pinned"
        );
    }
    let now = since_boot_ns();
    let (unreported, obsolete): (Vec<_>, Vec<_>) = contents
        .generations
        .into_iter()
        .partition(|found| found.is_complete() && !is_reported(found.name, cursor, now));
    for generation in obsolete {
        debug!(folder = %generation.folder().display(), "removing a generation that is incomplete or reported");
        remove(&generation);
    }
    Ok(unreported)
}

/// Removes all generations of previous agents, where kills do not come from a ring. The kernel log has the same kills.
pub(in crate::capture::observer) fn remove_previous(bpffs: &Path) {
    let removed = Pins::find(bpffs).and_then(|pins| {
        let Some(pins) = pins else { return Ok(()) };
        for generation in pins.contents()?.generations {
            warn!(
                folder = %generation.folder().display(),
                "discarding the ring of a previous agent: its kills are read from the kernel log"
            );
            generation.remove()?;
        }
        Ok(())
    });
    if let Err(error) = removed {
        warn!(
            error = describe(&error),
            "failed to remove the pins of a previous agent"
        );
    }
}

fn open(
    generation: &Generation,
    cursor: Option<&Cursor>,
    layout: &AccountLayout,
) -> Option<PreviousGeneration> {
    match PreviousGeneration::open(generation.clone(), cursor, layout) {
        Ok(previous) => Some(previous),
        Err(error) => {
            warn!(
                folder = %generation.folder().display(),
                error = describe(&error),
                "failed to read the ring of a previous agent: its kills are lost"
            );
            remove(generation);
            None
        }
    }
}

/// Removes a generation. The next start retries what fails.
pub(super) fn remove(generation: &Generation) {
    if let Err(error) = generation.remove() {
        warn!(
            error = describe(&error),
            "failed to remove the pins of a previous agent"
        );
    }
}

/// A time in nanoseconds since boot around which nothing was written to the ring.
fn quiet_time(ring: &Ring) -> u64 {
    for _ in 0..ATTEMPTS {
        let (begin, produced) = (since_boot_ns(), ring.produced());
        thread::sleep(QUIET);
        if ring.produced() == produced {
            return begin.midpoint(since_boot_ns());
        }
    }
    debug!("no pause between kills was found: a kill may be reported twice");
    since_boot_ns()
}

fn warn_unpinned(error: &PinError) {
    warn!(
        error = describe(error),
        "programs and ring are not pinned: kills while no agent runs are read from the kernel log"
    );
}
