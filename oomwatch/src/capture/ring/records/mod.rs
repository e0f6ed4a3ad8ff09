//! A ring's positions and words to records: pure, but that another may write the words meanwhile.
//!
//! Positions only grow; a ring's size is a power of two. Each record has a header of two 32-bit words before its bytes, the
//! first of which is its length with two flags, and is padded to 8 bytes (`struct bpf_ringbuf_hdr` of
//! `kernel/bpf/ringbuf.c`, the same since 5.8). The kernel sets the length last.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// The record is being written (`BPF_RINGBUF_BUSY_BIT`).
pub(super) const BUSY: u32 = 1 << 31;
/// The record was given up (`BPF_RINGBUF_DISCARD_BIT`).
pub(super) const DISCARDED: u32 = 1 << 30;
/// Bytes of a header, and what records are padded to.
pub(super) const WORD_BYTES: u64 = 8;

/// What stands at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing yet.
    Nothing,
    /// A record that is being written.
    Busy,
    /// A record; it ends at this position.
    Record(u64),
    /// One that was given up; it ends at this position.
    Discarded(u64),
    /// No record that the kernel can have written.
    Broken,
}

/// The data of a ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Records<'a>(&'a [AtomicU64]);

impl<'a> Records<'a> {
    /// `words`: a power of two of them.
    pub(super) fn new(words: &'a [AtomicU64]) -> Self {
        debug_assert!(words.len().is_power_of_two());
        Self(words)
    }

    /// Looks at a position; `producer` is up to where there are records. The bytes of a record are put into `bytes`.
    pub(super) fn look(self, position: u64, producer: u64, bytes: &mut Vec<u8>) -> Found {
        if position == producer {
            return Found::Nothing;
        }
        let [a, b, c, d, ..] = self.word(position).to_ne_bytes();
        // What was written before the length is there from here on.
        fence(Ordering::Acquire);
        let header = u32::from_ne_bytes([a, b, c, d]);
        if header & BUSY != 0 {
            return Found::Busy;
        }
        let length = u64::from(header & !DISCARDED);
        let end = (position + WORD_BYTES + length).next_multiple_of(WORD_BYTES);
        let size = WORD_BYTES * self.0.len() as u64;
        if !position.is_multiple_of(WORD_BYTES) || end > producer || end - position > size {
            return Found::Broken;
        }
        if header & DISCARDED != 0 {
            return Found::Discarded(end);
        }
        bytes.clear();
        for position in (position + WORD_BYTES..end).step_by(size_of::<u64>()) {
            bytes.extend(self.word(position).to_ne_bytes());
        }
        bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        Found::Record(end)
    }

    /// The word at a position. Nothing else is known by it: a relaxed load is one that read-only memory allows.
    fn word(self, position: u64) -> u64 {
        let index = usize::try_from(position / WORD_BYTES).unwrap_or(usize::MAX);
        self.0[index & (self.0.len() - 1)].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
