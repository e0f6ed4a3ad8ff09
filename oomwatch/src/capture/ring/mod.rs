//! The ring buffer as a stream of records that stay in it until they are let go.
//!
//! The kernel lends three parts of it (`kernel/bpf/ringbuf.c`): a page with the consumer's position, which is ours to
//! write, a page with the producer's, and the data. What lies between the two is kept, also while nobody runs, if the ring
//! is pinned. So there are two positions here: up to where was *read*, and up to where was *released*, which comes when what
//! was read is in safe hands. Reading on without releasing is the difference to aya's reader.
//!
//! The kernel wakes whoever waits only for a record that is put where the consumer's position stands. So after a
//! [`Ring::release`] the ring has to be drained once more, and while something is not released nobody may wait for it to be
//! readable alone.

mod mapping;
mod records;

use std::{
    io,
    ops::ControlFlow,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use aya::{
    maps::{Map, MapData},
    pin::PinError,
};
use rustix::param::page_size;
use tracing::error;

use self::{
    mapping::{Access, Mapping},
    records::{Found, Records},
};
use crate::capture::bpf::ProbeError;

/// Reads records in the order in which the kernel made them.
#[derive(Debug)]
pub struct Ring {
    map: MapData,
    /// The consumer's position.
    consumer: Mapping,
    /// The producer's position, and from the next page on the data.
    producer: Mapping,
    /// Up to where was read.
    read: u64,
    /// The record that was read last.
    bytes: Vec<u8>,
}

impl Ring {
    pub(super) fn new(map: Map) -> Result<Self, ProbeError> {
        let Map::RingBuf(map) = map else {
            let other = io::Error::new(io::ErrorKind::InvalidData, "it is none");
            return Err(ProbeError::Ring(other));
        };
        let info = map.info().map_err(|source| ProbeError::Map {
            map: "RECORDS",
            source,
        })?;
        Self::map(map, info.max_entries() as usize).map_err(ProbeError::Ring)
    }

    /// Opens a pinned one, of any size; it goes on where it was released.
    pub fn pinned(path: &Path) -> Result<Self, ProbeError> {
        let map = MapData::from_pin(path).and_then(Map::from_map_data);
        Self::new(map.map_err(|source| ProbeError::Map {
            map: "RECORDS",
            source,
        })?)
    }

    fn map(map: MapData, size: usize) -> io::Result<Self> {
        let page = page_size();
        let file = map.fd().as_fd();
        let consumer = Mapping::new(file, 0, page, Access::Write)?;
        // The data is there twice, one behind the other: once is enough.
        let producer = Mapping::new(file, page, page + size, Access::Read)?;
        let read = consumer.words()[0].load(Ordering::Relaxed);
        Ok(Self {
            map,
            consumer,
            producer,
            read,
            bytes: Vec::new(),
        })
    }

    pub(super) fn pin(&self, path: &Path) -> Result<(), PinError> {
        self.map.pin(path)
    }

    /// Hands over all records that are there from where was read, each with the position at which it begins, without
    /// waiting for any, and without releasing them.
    pub fn drain<B>(
        &mut self,
        mut take: impl FnMut(u64, &[u8]) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut producer = self.produced();
        loop {
            let begin = self.read;
            let records = Records::new(&self.producer.words()[page_size() / size_of::<u64>()..]);
            match records.look(begin, producer, &mut self.bytes) {
                Found::Record(end) => {
                    self.read = end;
                    take(begin, &self.bytes)?;
                }
                Found::Discarded(end) => self.read = end,
                Found::Busy => return ControlFlow::Continue(()),
                Found::Nothing => {
                    producer = self.produced();
                    if producer == begin {
                        return ControlFlow::Continue(());
                    }
                }
                Found::Broken => {
                    error!(
                        position = begin,
                        producer,
                        "the kernel's ring buffer is not as it should be: records were lost"
                    );
                    self.read = producer;
                }
            }
        }
    }

    /// Up to where was read.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.read
    }

    /// Goes on reading from here; false if there is no such place between what was released and what was produced.
    pub fn skip_to(&mut self, position: u64) -> bool {
        let is_there = (self.released()..=self.produced()).contains(&position);
        if is_there {
            self.read = position;
        }
        is_there
    }

    /// Lets the kernel have the room up to a position that was read. What is behind it must be looked for once more.
    pub fn release(&mut self, position: u64) {
        let position = position.min(self.read);
        if position > self.released() {
            self.consumer.words()[0].store(position, Ordering::Release);
            // Either the kernel sees this position and wakes us, or we see its record.
            fence(Ordering::SeqCst);
        }
    }

    /// Up to where was released.
    #[must_use]
    pub fn released(&self) -> u64 {
        self.consumer.words()[0].load(Ordering::Relaxed)
    }

    /// Whether there is something that was not read, be it that it is still being written.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        self.produced() != self.read
    }

    /// Bytes that are not released.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.produced().saturating_sub(self.released())
    }

    /// Bytes that it has room for.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        (self.producer.words().len() * size_of::<u64>() - page_size()) as u64
    }

    /// Up to where the kernel has made records.
    #[must_use]
    pub fn produced(&self) -> u64 {
        let producer: &AtomicU64 = &self.producer.words()[0];
        let position = producer.load(Ordering::Relaxed);
        // The headers of those records are there from here on.
        fence(Ordering::Acquire);
        position
    }
}

/// To be waited for.
impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.fd().as_fd()
    }
}
