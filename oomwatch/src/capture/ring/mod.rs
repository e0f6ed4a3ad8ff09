//! A BPF ring buffer as a stream of records that stay in it until they are released.
//!
//! The kernel lets user space map three parts of it (`kernel/bpf/ringbuf.c`): a page with the consumer position, which user
//! space writes, a page with the producer position, and the data. The kernel keeps what lies between the two positions, in a
//! pinned ring also while no process has it open. [`Ring`] has two positions of its own: up to where it has *read*, and up
//! to where it has *released*, which the caller does once the records are stored. aya's reader releases what it reads.
//!
//! The kernel wakes a waiting reader only for a record that is written at the consumer position. So after [`Ring::release`]
//! the caller must drain once more, and while anything is unreleased the caller must poll as well as wait.

mod mapping;
pub mod number;
pub mod ready;
mod records;

use std::{
    io,
    ops::ControlFlow,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use aya::{
    maps::{Map, MapData, MapError},
    pin::PinError,
};
use rustix::param::page_size;
use tracing::error;

use self::{
    mapping::{Access, Mapping},
    records::{Records, Slot},
};

/// Why a ring cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The map cannot be opened or described.
    #[error("failed to open the ring buffer map")]
    Map(#[from] MapError),
    /// The map is of another type.
    #[error("the map is not a ring buffer")]
    Type,
    /// The map cannot be mapped into memory.
    #[error("failed to map the ring buffer into memory")]
    Mmap(#[source] io::Error),
}

/// Reads records in the order in which the kernel wrote them.
#[derive(Debug)]
pub struct Ring {
    map: MapData,
    /// The page with the consumer position.
    consumer: Mapping,
    /// The page with the producer position, followed by the data.
    producer: Mapping,
    /// Position up to which records were read.
    read: u64,
    /// Bytes of the record that was read last.
    bytes: Vec<u8>,
}

impl Ring {
    pub(super) fn new(map: Map) -> Result<Self, RingError> {
        let Map::RingBuf(map) = map else {
            return Err(RingError::Type);
        };
        let size = map.info()?.max_entries() as usize;
        Self::map(map, size).map_err(RingError::Mmap)
    }

    /// Opens a pinned ring of any size. Reading starts at the position up to which it was released.
    pub fn from_pin(path: &Path) -> Result<Self, RingError> {
        Self::new(Map::from_map_data(MapData::from_pin(path)?)?)
    }

    fn map(map: MapData, size: usize) -> io::Result<Self> {
        let page = page_size();
        let file = map.fd().as_fd();
        let consumer = Mapping::new(file, 0, page, Access::Write)?;
        // The kernel maps the data twice in a row; one copy is enough, since records are read word by word.
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

    /// Passes every unread record, with the position at which it begins, to `handle`, until nothing is left or `handle`
    /// breaks. Neither waits nor releases.
    pub fn drain<B>(
        &mut self,
        mut handle: impl FnMut(u64, &[u8]) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut producer = self.produced();
        loop {
            let begin = self.read;
            let records = Records::new(&self.producer.words()[page_size() / size_of::<u64>()..]);
            match records.read(begin, producer, &mut self.bytes) {
                Slot::Record(end) => {
                    self.read = end;
                    handle(begin, &self.bytes)?;
                }
                Slot::Discarded(end) => self.read = end,
                Slot::Busy => return ControlFlow::Continue(()),
                Slot::Empty => {
                    producer = self.produced();
                    if producer == begin {
                        return ControlFlow::Continue(());
                    }
                }
                Slot::Corrupt => {
                    error!(
                        position = begin,
                        producer,
                        "the kernel's ring buffer is corrupt: its unread records are lost"
                    );
                    self.read = producer;
                }
            }
        }
    }

    /// Position up to which records were read.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.read
    }

    /// Moves the read position. Returns false, and moves nothing, if `position` is not between the released and the
    /// produced position.
    pub fn skip_to(&mut self, position: u64) -> bool {
        let is_in_ring = (self.released()..=self.produced()).contains(&position);
        if is_in_ring {
            self.read = position;
        }
        is_in_ring
    }

    /// Lets the kernel reuse the room up to `position`, or up to where was read if that is less. Drain once more afterwards.
    pub fn release(&mut self, position: u64) {
        let position = position.min(self.read);
        if position > self.released() {
            self.consumer.words()[0].store(position, Ordering::Release);
            // Either the kernel sees the new position and wakes this process, or the next drain sees the kernel's record.
            fence(Ordering::SeqCst);
        }
    }

    /// Position up to which records were released.
    #[must_use]
    pub fn released(&self) -> u64 {
        self.consumer.words()[0].load(Ordering::Relaxed)
    }

    /// Whether there are unread records, including one that is still being written.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        self.produced() != self.read
    }

    /// Bytes of unreleased records.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.produced().saturating_sub(self.released())
    }

    /// Size of the data area in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        (self.producer.words().len() * size_of::<u64>() - page_size()) as u64
    }

    /// Position up to which the kernel has allocated records.
    #[must_use]
    pub fn produced(&self) -> u64 {
        let producer: &AtomicU64 = &self.producer.words()[0];
        let position = producer.load(Ordering::Relaxed);
        // The headers of the records before the position are visible from here on.
        fence(Ordering::Acquire);
        position
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.fd().as_fd()
    }
}
