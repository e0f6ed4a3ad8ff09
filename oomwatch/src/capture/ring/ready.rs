//! Waits until a file descriptor is readable.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use tokio::io::{Interest, unix::AsyncFd};

/// A duplicate of a file descriptor, registered with the runtime. The original is read elsewhere.
#[derive(Debug)]
pub struct Ready(AsyncFd<OwnedFd>);

impl Ready {
    /// Duplicates and registers a descriptor. Must be called inside a tokio runtime.
    pub fn new(file: &impl AsFd) -> io::Result<Self> {
        let descriptor = file.as_fd().try_clone_to_owned()?;
        // SAFETY: an `OwnedFd` returns the same open descriptor until it is dropped, which the `AsyncFd` does itself.
        let ready = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
        Ok(Self(ready?))
    }

    /// Waits until the descriptor is readable. The caller then reads until nothing is left. Cancel safe.
    pub async fn readable(&self) -> io::Result<()> {
        // The registration is edge-triggered: cleared before the read, so that what arrives during the read wakes again.
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}
