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

    /// Waits until records are there, which then must be drained. Cancel safe.
    pub async fn readable(&mut self) -> Result<(), ProbeError> {
        // Edge-triggered: what comes from here on is told again.
        let mut guard = self.ring.readable().await.map_err(ProbeError::Wait)?;
        guard.clear_ready();
        Ok(())
    }

    /// Hands over all records that are there, without waiting for any.
    pub fn drain<B>(&mut self, mut take: impl FnMut(&[u8]) -> ControlFlow<B>) -> ControlFlow<B> {
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
