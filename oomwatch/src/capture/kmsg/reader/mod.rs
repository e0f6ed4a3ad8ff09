//! Reads `/dev/kmsg`: one record per read, non-blocking. Counts the records that were overwritten before they were read.
//!
//! Each open file has its own position in the log. If `kernel.dmesg_restrict` is set, opening it needs `CAP_SYSLOG`.

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

/// A record that does not fit is lost, so the buffer has room for the text and the dictionary.
const BUFFER_BYTES: usize = 2 * MAX_LINE;

/// The kernel log cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("failed to {action} {}{}", .path.display(), self.remedy())]
pub struct ReadError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl ReadError {
    /// Whether the device is absent or access is denied, as in many containers; `syslog(2)` may work then.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        let kinds = [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied];
        kinds.contains(&self.source.kind())
    }

    fn remedy(&self) -> &'static str {
        match self.source.kind() {
            io::ErrorKind::PermissionDenied => " (run as root or grant CAP_SYSLOG)",
            io::ErrorKind::NotFound => " (mount the host's /dev/kmsg, or name it with --kmsg)",
            _ => "",
        }
    }
}

/// Where to start reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record in the log.
    Oldest,
    /// After the newest record.
    End,
    /// At this sequence number, or the oldest after it; the records in between are counted as lost. Sequence numbers
    /// restart at boot, so store the boot id with them.
    Sequence(u64),
}

/// Records that could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogLosses {
    /// How often unread records were overwritten.
    pub overruns: u64,
    /// Records missing in the sequence: overwritten, too long, or malformed.
    pub records: u64,
}

/// Reads records. The file descriptor is readable if a record is available; read until there is none.
#[derive(Debug)]
pub struct Reader {
    file: File,
    path: PathBuf,
    buffer: Box<[u8]>,
    /// The sequence number that the next record should have.
    next: Option<u64>,
    losses: LogLosses,
}

impl Reader {
    /// Opens `path`, usually `/dev/kmsg`.
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
        // A new file starts at the oldest record.
        if start == Start::End {
            file.seek(SeekFrom::End(0))
                .map_err(failed("seek to the end of"))?;
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            buffer: vec![0; BUFFER_BYTES].into(),
            next: match start {
                Start::Oldest | Start::End => None,
                Start::Sequence(sequence) => Some(sequence),
            },
            losses: LogLosses::default(),
        })
    }

    /// Reads the next record; absent if there is none yet.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        let next = self.next_after_losses()?;
        Ok(next.map(|(record, _)| record))
    }

    /// Reads the next record, with the losses up to it.
    pub fn next_after_losses(&mut self) -> Result<Option<(Record<'_>, LogLosses)>, ReadError> {
        loop {
            let length = match self.file.read(&mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(length) => length,
                Err(error) => {
                    match error.raw_os_error() {
                        Some(libc::EAGAIN) => return Ok(None),
                        // EINVAL: the record is longer than the buffer. The next read returns the one after it.
                        Some(libc::EINTR | libc::EINVAL) => {}
                        // Overwritten: the next read returns the oldest record that is left.
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
            // A malformed record is counted by the gap that it leaves in the sequence.
            let parsed = Record::parse(&self.buffer[..length]).ok();
            let sequence = parsed.and_then(|record| record.sequence);
            if sequence.is_some_and(|sequence| self.is_new(sequence)) {
                // Parsed again: returning the first result would borrow the buffer across the loop.
                let record = Record::parse(&self.buffer[..length]).ok();
                return Ok(record.map(|record| (record, self.losses)));
            }
        }
    }

    /// The losses so far.
    #[must_use]
    pub fn losses(&self) -> LogLosses {
        self.losses
    }

    /// The sequence number to resume at ([`Start::Sequence`]); absent before the first record.
    #[must_use]
    pub fn next_sequence(&self) -> Option<u64> {
        self.next
    }

    /// Counts the records skipped before this one; false if it is from before the start.
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
