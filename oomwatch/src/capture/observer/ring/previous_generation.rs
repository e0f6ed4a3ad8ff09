//! What an earlier agent has left in its ring: read to its end, and then removed.

use std::{convert::Infallible, ops::ControlFlow, ops::Range, sync::Arc};

use oomwatch_ebpf::record::{ABI_VERSION, Header};
use tracing::warn;
use zerocopy::FromBytes as _;

use crate::capture::{
    bpf::{
        ProbeError, Ring, describe,
        pins::{Generation, Name},
    },
    observer::cursor::Cursor,
};

/// An earlier generation.
pub(super) struct PreviousGeneration {
    pub(super) generation: Generation,
    /// Its name, as cursors have it.
    pub(super) name: Arc<str>,
    pub(super) ring: Ring,
    /// Boot times of the records that count: a newer generation has seen the later ones.
    pub(super) counts: Range<u64>,
    /// Records of another layout, which nobody can read, and where they begin.
    pub(super) unread: Option<Unread>,
    /// How many records it had refused when the next generation took over.
    pub(super) dropped: u64,
    /// Those of them that were not told before.
    pub(super) lost: u64,
}

/// Records that nobody can read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unread {
    pub(super) position: u64,
    pub(super) records: u64,
}

impl PreviousGeneration {
    /// Opens it, at the moment at which another takes over from it; `cursor` is up to where it was read before.
    pub(super) fn open(
        generation: Generation,
        cursor: Option<&Cursor>,
    ) -> Result<Self, ProbeError> {
        let Name {
            since_boot_time_ns,
            abi_version,
        } = generation.name;
        let name: Arc<str> = generation.name.to_string().into();
        let mut ring = generation.ring()?;
        let dropped = generation.dropped().unwrap_or_else(|error| {
            warn!(
                generation = &*name,
                error = describe(&error),
                "it is not known what the ring of an earlier agent has refused"
            );
            0
        });
        let mut told = 0;
        if let Some(cursor) = cursor
            && *cursor.generation == *name
        {
            // What was released is passed already.
            ring.skip_to(cursor.position);
            told = cursor.dropped.min(dropped);
        }
        let lost = dropped - told;
        if lost > 0 {
            warn!(
                generation = &*name,
                dropped = lost,
                "the ring was full while no agent read it"
            );
        }
        Ok(Self {
            unread: (abi_version != ABI_VERSION)
                .then(|| count(&mut ring, &name))
                .flatten(),
            counts: since_boot_time_ns..u64::MAX,
            generation,
            name,
            ring,
            dropped,
            lost,
        })
    }
}

/// Counts the records of a ring by their own headers, which are the kernel's and always the same.
fn count(ring: &mut Ring, name: &str) -> Option<Unread> {
    let position = ring.position();
    let mut records = 0;
    let ControlFlow::Continue(()) = ring.drain(|_, _| {
        records += 1;
        ControlFlow::<Infallible>::Continue(())
    });
    (records > 0).then(|| {
        warn!(
            generation = name,
            records, "the records of an agent of another version cannot be read, and are lost"
        );
        Unread { position, records }
    })
}

/// Whether a record is of these times; one without a time is for the decoder to refuse.
pub(super) fn is_of(times: &Range<u64>, record: &[u8]) -> bool {
    Header::read_from_prefix(record)
        .map_or(true, |(header, _)| times.contains(&header.boot_time_ns))
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes as _;

    use super::*;

    #[test]
    fn records_count_from_a_time_on_and_before_the_next() {
        for (boot_time_ns, expected) in [(9, false), (10, true), (19, true), (20, false)] {
            let header = Header {
                kind: 1,
                length: 16,
                boot_time_ns,
            };
            assert_eq!(is_of(&(10..20), header.as_bytes()), expected);
        }
        assert!(is_of(&(10..20), b"cut"));
    }
}
