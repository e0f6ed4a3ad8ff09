//! Reads the whole kernel log at once, to find kills that were missed as they happened.
//!
//! The source is `/dev/kmsg` or, if that is absent or refused, `syslog(2)`. Records that the log had overwritten before
//! are not reported as losses.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
};

use jiff::{Timestamp, tz::Offset};

use super::{
    assemble::{Assembler, LogItem, MAX_VICTIMS, Trust},
    reader::{LogLosses, ReadError, Reader, Start},
    record::Record,
};
use crate::capture::kmsg::{log_file::LogFileParser, snapshot_clock::SnapshotClock};
use crate::sys::{clock::ClockSample, syslog};

/// Kills that are kept; the oldest are dropped.
const MAX_ITEMS: usize = MAX_VICTIMS;

/// Records that are read at most, so that it ends while more are written. No log holds as many.
const MAX_RECORDS: u32 = 1 << 20;

/// Buffer for the newest text of `syslog(2)`. A log is rarely larger. Unused pages take no memory.
const TEXT_BYTES: usize = 1 << 20;

/// The kernel log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The device failed.
    #[error(transparent)]
    Device(#[from] ReadError),
    /// The device is absent or refused, and `syslog(2)` failed.
    #[error(
        "failed to read the kernel log with syslog(2), {} cannot be opened (run as root or grant CAP_SYSLOG)",
        .path.display()
    )]
    Syslog {
        /// The device.
        path: PathBuf,
        /// Error of the system call.
        #[source]
        source: io::Error,
    },
}

/// The kills of the log.
#[derive(Debug)]
pub struct LogSnapshot {
    /// Kills and re-kills in the order of the log, with stamps of its clock.
    pub items: VecDeque<LogItem>,
    /// Converts the stamps.
    pub clock: SnapshotClock,
}

impl LogSnapshot {
    /// Reads the log; `path` is usually `/dev/kmsg`.
    pub fn read(path: &Path) -> Result<Self, SnapshotError> {
        match Reader::open(path, Start::Oldest) {
            Ok(reader) => Ok(Self::from_device(reader)?),
            Err(error) if error.is_refusal() => Self::from_syslog(path),
            Err(error) => Err(error.into()),
        }
    }

    fn from_device(mut reader: Reader) -> Result<Self, ReadError> {
        let mut builder = SnapshotBuilder::new();
        let mut known = LogLosses::default();
        for _ in 0..MAX_RECORDS {
            let Some((record, losses)) = reader.next_after_losses()? else {
                break;
            };
            if known != losses {
                known = losses;
                builder.interrupt();
            }
            builder.push(&record);
        }
        Ok(builder.finish(ClockSample::now()))
    }

    fn from_syslog(path: &Path) -> Result<Self, SnapshotError> {
        let mut text = vec![0; TEXT_BYTES];
        let length = syslog::read_all(&mut text).map_err(|source| SnapshotError::Syslog {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::from_text(&text[..length], ClockSample::now()))
    }

    /// Parses the text that `syslog(2)` returned now.
    #[must_use]
    pub fn from_text(text: &[u8], now: ClockSample) -> Self {
        let mut builder = SnapshotBuilder::new();
        let mut parser = LogFileParser::new(Offset::UTC, Timestamp::UNIX_EPOCH);
        // Every line begins with its priority; a line without one is not a record.
        let lines = text.split(|&byte| byte == b'\n');
        for line in lines.filter(|line| line.starts_with(b"<")) {
            builder.push(&parser.parse(line));
        }
        builder.finish(now)
    }
}

/// Collects the kills of a log.
struct SnapshotBuilder {
    assembler: Assembler,
    items: VecDeque<LogItem>,
    newest_ns: u64,
}

impl SnapshotBuilder {
    fn new() -> Self {
        Self {
            assembler: Assembler::new(Trust::Kernel),
            items: VecDeque::new(),
            newest_ns: 0,
        }
    }

    fn push(&mut self, record: &Record<'_>) {
        let stamp = record.stamp.boot_time_ns.unwrap_or(0);
        self.newest_ns = self.newest_ns.max(stamp);
        let item = self.assembler.push(record);
        self.keep(item);
    }

    fn interrupt(&mut self) {
        let item = self.assembler.interrupt();
        self.keep(item);
    }

    fn keep(&mut self, item: Option<LogItem>) {
        if item.is_some() && self.items.len() == MAX_ITEMS {
            self.items.pop_front();
        }
        self.items.extend(item);
    }

    fn finish(mut self, now: ClockSample) -> LogSnapshot {
        self.interrupt();
        LogSnapshot {
            items: self.items,
            clock: SnapshotClock::new(self.newest_ns, now),
        }
    }
}

#[cfg(test)]
mod tests;
