//! A part of a BPF map, mapped into memory as atomic words that the kernel reads and writes too.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr::{self, NonNull},
    slice,
    sync::atomic::AtomicU64,
};

/// Mapped memory, unmapped on drop.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<AtomicU64>,
    words: usize,
}

/// What this process may do with the memory.
#[derive(Clone, Copy, Debug)]
pub(super) enum Access {
    /// Read only.
    Read,
    /// Read and write.
    Write,
}

impl Mapping {
    /// Maps `bytes` bytes of the file from `offset` on; both are whole pages.
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
        // SAFETY: a new mapping at an address that the kernel chooses; it replaces no existing one.
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

    /// The mapped words. Memory mapped with [`Access::Read`] must not be stored to.
    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: `words` words are mapped from a page boundary on for as long as `self` lives. Every bit pattern is a valid
        // word, and the words are atomic, so that the kernel may write them at any time.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length, and no borrow of it is left.
        unsafe {
            libc::munmap(
                self.start.as_ptr().cast(),
                self.words * size_of::<AtomicU64>(),
            )
        };
    }
}

// SAFETY: the memory belongs to the process, not to a thread.
unsafe impl Send for Mapping {}
