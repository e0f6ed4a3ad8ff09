//! Waiting for a file to be readable.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use tokio::io::{Interest, unix::AsyncFd};

/// A descriptor of its own for a file that somebody else reads.
#[derive(Debug)]
pub struct Ready(AsyncFd<OwnedFd>);

impl Ready {
    /// Needs a tokio runtime.
    pub fn new(file: &impl AsFd) -> io::Result<Self> {
        let descriptor = file.as_fd().try_clone_to_owned()?;
        // SAFETY: the descriptor is owned, is always the same one, and lives as long as what waits for it.
        let ready = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
        Ok(Self(ready?))
    }

    /// Waits until there is something to read, all of which then must be read. Cancel safe.
    pub async fn readable(&self) -> io::Result<()> {
        // Edge-triggered: what comes from here on is told again.
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}
