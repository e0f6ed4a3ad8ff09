//! Finds the record at a position of a BPF ring buffer, in the ring's words. Pure, except that the kernel may write the words
//! at the same time.
//!
//! Positions only grow; the size of a ring is a power of two. A record has a header of two 32-bit words in front of its bytes
//! and is padded to 8 bytes; the first word is the length with two flags (`struct bpf_ringbuf_hdr` of
//! `kernel/bpf/ringbuf.c`, unchanged since 5.8). The kernel writes the length last.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Header flag: the record is being written (`BPF_RINGBUF_BUSY_BIT`).
pub(super) const BUSY: u32 = 1 << 31;
/// Header flag: the program discarded the record (`BPF_RINGBUF_DISCARD_BIT`).
pub(super) const DISCARDED: u32 = 1 << 30;
/// Bytes of a header, and the alignment of records.
pub(super) const WORD_BYTES: u64 = 8;

/// What is at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// The position is the producer's: nothing was written yet.
    Empty,
    /// A record that is being written.
    Busy,
    /// A record that ends at this position.
    Record(u64),
    /// A discarded record that ends at this position.
    Discarded(u64),
    /// No record that the kernel can have written.
    Corrupt,
}

/// The data area of a ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Records<'a>(&'a [AtomicU64]);

impl<'a> Records<'a> {
    /// `words` is the whole data area; its length is a power of two.
    pub(super) fn new(words: &'a [AtomicU64]) -> Self {
        debug_assert!(words.len().is_power_of_two());
        Self(words)
    }

    /// Reads the slot at `position`. Records exist up to `producer`. `bytes` receives the bytes of a [`Slot::Record`].
    pub(super) fn read(self, position: u64, producer: u64, bytes: &mut Vec<u8>) -> Slot {
        if position == producer {
            return Slot::Empty;
        }
        let [a, b, c, d, ..] = self.word(position).to_ne_bytes();
        // Pairs with the kernel's release of the length: what was written before it is visible from here on.
        fence(Ordering::Acquire);
        let header = u32::from_ne_bytes([a, b, c, d]);
        if header & BUSY != 0 {
            return Slot::Busy;
        }
        let length = u64::from(header & !DISCARDED);
        let end = (position + WORD_BYTES + length).next_multiple_of(WORD_BYTES);
        let size = WORD_BYTES * self.0.len() as u64;
        if !position.is_multiple_of(WORD_BYTES) || end > producer || end - position > size {
            return Slot::Corrupt;
        }
        if header & DISCARDED != 0 {
            return Slot::Discarded(end);
        }
        bytes.clear();
        for position in (position + WORD_BYTES..end).step_by(size_of::<u64>()) {
            bytes.extend(self.word(position).to_ne_bytes());
        }
        bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        Slot::Record(end)
    }

    /// The word at a position. A relaxed load, because read-only memory allows no other; callers add the fences.
    fn word(self, position: u64) -> u64 {
        let index = usize::try_from(position / WORD_BYTES).unwrap_or(usize::MAX);
        self.0[index & (self.0.len() - 1)].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
