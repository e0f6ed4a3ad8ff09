//! The ring buffer as a stream of records.

use std::ops::ControlFlow;

use aya::maps::{Map, MapData, RingBuf};
use tokio::io::{Interest, unix::AsyncFd};

use super::ProbeError;

/// Reads records in the order in which the kernel made them.
pub struct Ring {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl Ring {
    pub(super) fn new(map: Map) -> Result<Self, ProbeError> {
        let ring = RingBuf::try_from(map).map_err(|source| ProbeError::Map {
            map: "RECORDS",
            source,
        })?;
        // SAFETY: the map owns its file descriptor, hands out the same one always, and lives as long as the ring.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        Ok(Self {
            ring: ring.map_err(|error| ProbeError::Wait(error.into()))?,
        })
    }

    /// Waits for records and hands over all that are there, until `take` breaks. Cancel safe: nothing is taken before
    /// the wait is over.
    pub async fn drain<B>(
        &mut self,
        mut take: impl FnMut(&[u8]) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, ProbeError> {
        let mut guard = self.ring.readable_mut().await.map_err(ProbeError::Wait)?;
        let taken = drain(guard.get_inner_mut(), &mut take);
        if taken.is_continue() {
            // Edge-triggered: only when nothing is left may the next wake-up be waited for.
            guard.clear_ready();
        }
        Ok(taken)
    }

    /// Hands over all records that are there, without waiting for any.
    pub fn drain_now<B>(
        &mut self,
        mut take: impl FnMut(&[u8]) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        drain(self.ring.get_mut(), &mut take)
    }
}

fn drain<B>(
    ring: &mut RingBuf<MapData>,
    take: &mut impl FnMut(&[u8]) -> ControlFlow<B>,
) -> ControlFlow<B> {
    while let Some(record) = ring.next() {
        take(&record)?;
    }
    ControlFlow::Continue(())
}
