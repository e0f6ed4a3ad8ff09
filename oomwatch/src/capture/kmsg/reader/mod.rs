//! `/dev/kmsg` as it is written: one record a read, never blocking, with the records counted that were overwritten before
//! they could be read.
//!
//! The device is a character device of the host: its own reader, a place in the log of its own. Reading takes
//! `CAP_SYSLOG` where `kernel.dmesg_restrict` is set.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::fs::OpenOptionsExt as _,
    },
    path::{Path, PathBuf},
};

use super::{MAX_LINE, record::Record};

/// A read with less room than its record has fails, and the record is lost: the dictionary comes on top of the text.
const BUFFER_BYTES: usize = 2 * MAX_LINE;

/// The kernel log cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}", .path.display())]
pub struct ReadError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl ReadError {
    /// Whether the log is not to be had here at all, or not by its device: a container may be without, or not be allowed it.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        let kinds = [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied];
        kinds.contains(&self.source.kind())
    }
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record that is still there.
    Oldest,
    /// With the next that is written.
    End,
    /// With this one, or the oldest after it; those between the two are counted as lost. A sequence number means
    /// nothing after a reboot: keep the boot's id with it.
    Sequence(u64),
}

/// What was not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Times that the log overtook this reader.
    pub overruns: u64,
    /// Records that the sequence numbers leave out: overwritten, or not to be read.
    pub records: u64,
}

/// Reads records. For an event loop: readable when a record is there, and then to be read until there is none.
#[derive(Debug)]
pub struct Reader {
    file: File,
    path: PathBuf,
    buffer: Box<[u8]>,
    /// The sequence number that the next record should have.
    next: Option<u64>,
    losses: Losses,
}

impl Reader {
    /// Opens the log, usually `/dev/kmsg`.
    pub fn open(path: &Path, start: Start) -> Result<Self, ReadError> {
        let failed = |action| {
            move |source| ReadError {
                action,
                path: path.to_owned(),
                source,
            }
        };
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(failed("open"))?;
        // A new reader stands at the oldest record.
        if start == Start::End {
            file.seek(SeekFrom::End(0))
                .map_err(failed("find the end of"))?;
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            buffer: vec![0; BUFFER_BYTES].into(),
            next: match start {
                Start::Oldest | Start::End => None,
                Start::Sequence(sequence) => Some(sequence),
            },
            losses: Losses::default(),
        })
    }

    /// The next record; absent if there is none yet.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        let next = self.next_after_losses()?;
        Ok(next.map(|(record, _)| record))
    }

    /// The next record, and what had not been read before it.
    pub fn next_after_losses(&mut self) -> Result<Option<(Record<'_>, Losses)>, ReadError> {
        loop {
            let length = match self.file.read(&mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(length) => length,
                Err(error) => {
                    match error.raw_os_error() {
                        Some(libc::EAGAIN) => return Ok(None),
                        // Longer than the buffer: the next read gives the one after it, and the gap is counted.
                        Some(libc::EINTR | libc::EINVAL) => {}
                        // The next read gives the oldest that is left.
                        Some(libc::EPIPE) => self.losses.overruns += 1,
                        _ => {
                            return Err(ReadError {
                                action: "read",
                                path: self.path.clone(),
                                source: error,
                            });
                        }
                    }
                    continue;
                }
            };
            // One that is malformed is counted by the gap that it leaves.
            let parsed = Record::parse(&self.buffer[..length]).ok();
            let sequence = parsed.and_then(|record| record.sequence);
            if sequence.is_some_and(|sequence| self.is_new(sequence)) {
                // Parsed once more: the first, if it could be returned, would hold the buffer for the next round.
                let record = Record::parse(&self.buffer[..length]).ok();
                return Ok(record.map(|record| (record, self.losses)));
            }
        }
    }

    /// What was not read so far.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.losses
    }

    /// The sequence number to go on with, by [`Start::Sequence`]; absent before the first record.
    #[must_use]
    pub fn next_sequence(&self) -> Option<u64> {
        self.next
    }

    /// Takes a sequence number; false if it is one from before the start.
    fn is_new(&mut self, sequence: u64) -> bool {
        let lost = match self.next {
            Some(next) if sequence < next => return false,
            Some(next) => sequence - next,
            None => 0,
        };
        self.losses.records += lost;
        self.next = Some(sequence.saturating_add(1));
        true
    }
}

impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for Reader {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

#[cfg(test)]
mod tests;
