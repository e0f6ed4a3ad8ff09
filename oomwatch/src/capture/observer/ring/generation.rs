//! Which records of which generation count, and which losses were reported already. Pure.
//!
//! While an agent takes over from another, the programs of both see each kill. The name of the newer generation states the
//! time of the takeover: records before it count in the older generation, records from it on in the newer one.

use std::{ops::Range, sync::Arc};

use oomwatch_ebpf::record::Header;
use zerocopy::FromBytes as _;

use crate::capture::{bpf::pins::GenerationName, observer::cursor::Cursor};

/// The reading state of one generation.
#[derive(Debug)]
pub(super) struct Generation {
    /// Its name, as in a [`Cursor`].
    pub(super) name: Arc<str>,
    /// Boot times of the records that count.
    pub(super) boot_times_ns: Range<u64>,
    /// Position up to which its ring was read.
    pub(super) position: u64,
    /// Absent for the own generation, whose counters are still growing.
    pub(super) previous: Option<Previous>,
}

/// What is known of a previous generation when the next one takes over.
#[derive(Debug)]
pub(super) struct Previous {
    /// Records that its full ring rejected.
    pub(super) rejected: u64,
    /// Those of them that were not reported yet.
    pub(super) unreported: u64,
    /// Whether its records have the layout of this version; others are only counted.
    pub(super) has_current_layout: bool,
    /// Its records, if they have another layout and there are any.
    pub(super) unreadable: Option<Unreadable>,
}

/// Records of another layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// Position at which the first one begins.
    pub(super) position: u64,
    pub(super) records: u64,
}

impl Generation {
    /// A generation whose records count from the time in its name on, and whose ring was read up to `position`.
    pub(super) fn new(name: GenerationName, position: u64) -> Self {
        Self {
            name: name.to_string().into(),
            boot_times_ns: name.since_boot_time_ns..u64::MAX,
            position,
            previous: None,
        }
    }

    /// The cursor, if it is in this generation.
    pub(super) fn own_cursor<'a>(&self, cursor: Option<&'a Cursor>) -> Option<&'a Cursor> {
        cursor.filter(|cursor| *cursor.generation == *self.name)
    }

    /// Whether a record counts in this generation. A record without a time does, so that the decoder reports it.
    pub(super) fn counts(&self, record: &[u8]) -> bool {
        Header::read_from_prefix(record).map_or(true, |(header, _)| {
            self.boot_times_ns.contains(&header.boot_time_ns)
        })
    }
}

/// Number of rejected records that the cursor does not cover.
pub(super) fn unreported(rejected: u64, own_cursor: Option<&Cursor>) -> u64 {
    rejected.saturating_sub(own_cursor.map_or(0, |cursor| cursor.dropped))
}

/// Whether a generation is older than the one of the cursor, so that all of it was reported.
///
/// A cursor from another boot may be ahead of all generations: `now_ns`, the time since boot, excludes it.
pub(super) fn is_reported(name: GenerationName, cursor: Option<&Cursor>, now_ns: u64) -> bool {
    let read: Option<GenerationName> = cursor.and_then(|cursor| cursor.generation.parse().ok());
    read.is_some_and(|read| {
        name.since_boot_time_ns < read.since_boot_time_ns && read.since_boot_time_ns <= now_ns
    })
}

/// Ends the times of each previous generation, oldest first, where those of the next one begin.
pub(super) fn divide<'a>(
    previous: impl DoubleEndedIterator<Item = &'a mut Generation>,
    own_since_boot_time_ns: u64,
) {
    let mut end = own_since_boot_time_ns;
    for generation in previous.rev() {
        generation.boot_times_ns.end = end;
        end = generation.boot_times_ns.start;
    }
}

#[cfg(test)]
mod tests {
    use oomwatch_ebpf::record::ABI_VERSION;
    use zerocopy::IntoBytes as _;

    use super::*;
    use crate::capture::incident::IncidentCheckpoint;

    fn generation(since_boot_time_ns: u64) -> Generation {
        Generation::new(GenerationName::new(since_boot_time_ns), 0)
    }

    fn cursor(since_boot_time_ns: u64, dropped: u64) -> Cursor {
        Cursor {
            generation: GenerationName::new(since_boot_time_ns).to_string(),
            position: 0,
            dropped,
            incident: IncidentCheckpoint::default(),
        }
    }

    #[test]
    fn records_count_from_the_takeover_on_and_before_the_next() {
        let mut generations = [generation(5), generation(10)];
        divide(generations.iter_mut(), 20);
        for (boot_time_ns, expected) in [
            (4, [false, false]),
            (5, [true, false]),
            (9, [true, false]),
            (10, [false, true]),
            (19, [false, true]),
            (20, [false, false]),
        ] {
            let header = Header {
                kind: 1,
                length: 16,
                boot_time_ns,
            };
            let counts = generations
                .each_ref()
                .map(|generation| generation.counts(header.as_bytes()));
            assert_eq!(counts, expected, "{boot_time_ns}");
        }
        assert!(generations[0].counts(b"cut"));
    }

    #[test]
    fn own_generation_counts_every_later_record() {
        assert_eq!(generation(5).boot_times_ns, 5..u64::MAX);
    }

    #[test]
    fn losses_are_those_past_the_cursor_of_the_generation() {
        let generation = generation(5);
        for (cursor, expected) in [
            (None, 7),
            (Some(cursor(5, 0)), 7),
            (Some(cursor(5, 4)), 3),
            (Some(cursor(5, 7)), 0),
            // The counters were unreadable at this start.
            (Some(cursor(5, 9)), 0),
            (Some(cursor(4, 4)), 7),
        ] {
            let own = generation.own_cursor(cursor.as_ref());
            assert_eq!(unreported(7, own), expected, "{cursor:?}");
        }
    }

    #[test]
    fn generations_before_the_cursor_are_reported() {
        let name = GenerationName {
            since_boot_time_ns: 10,
            abi_version: ABI_VERSION,
        };
        for (cursor, expected) in [
            (None, false),
            (Some(9), false),
            (Some(10), false),
            (Some(11), true),
            (Some(100), true),
            // Of another boot.
            (Some(101), false),
        ] {
            let cursor = cursor.map(cursor_of);
            assert_eq!(
                is_reported(name, cursor.as_ref(), 100),
                expected,
                "{cursor:?}"
            );
        }
        let damaged = Cursor {
            generation: "damaged".to_owned(),
            ..cursor(11, 0)
        };
        assert!(!is_reported(name, Some(&damaged), 100));
    }

    fn cursor_of(since_boot_time_ns: u64) -> Cursor {
        cursor(since_boot_time_ns, 0)
    }
}
