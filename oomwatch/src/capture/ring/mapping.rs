//! A part of a map, shared with the kernel as words of memory.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr::{self, NonNull},
    slice,
    sync::atomic::AtomicU64,
};

/// Mapped memory; it is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<AtomicU64>,
    words: usize,
}

/// Who writes it, beside the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Access {
    /// Nobody.
    Read,
    /// We.
    Write,
}

impl Mapping {
    /// Maps so many bytes from an offset, both in whole pages.
    pub(super) fn new(
        file: BorrowedFd<'_>,
        offset: usize,
        bytes: usize,
        access: Access,
    ) -> io::Result<Self> {
        let protection = match access {
            Access::Read => libc::PROT_READ,
            Access::Write => libc::PROT_READ | libc::PROT_WRITE,
        };
        let offset = offset.try_into().map_err(io::Error::other)?;
        // SAFETY: a new mapping, where the kernel chooses, which touches none that exists.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                protection,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                offset,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self {
            start,
            words: bytes / size_of::<AtomicU64>(),
        })
    }

    /// Its words. What was mapped for reading must not be stored to.
    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: so many words are mapped at a page's beginning for as long as this lives, of which every bit pattern is a
        // value, and what others write to them they may, since they are atomic.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length, and nothing borrows it any more.
        unsafe {
            libc::munmap(
                self.start.as_ptr().cast(),
                self.words * size_of::<AtomicU64>(),
            )
        };
    }
}

// SAFETY: memory of the process, not of a thread.
unsafe impl Send for Mapping {}
