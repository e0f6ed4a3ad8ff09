//! All of the kernel log that there is, read at once: for kills that nobody saw as they happened.
//!
//! From `/dev/kmsg` or, where that is absent or refused, by `syslog(2)`. What the log has forgotten already is no loss of
//! this reader's: it does not speak of it.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
};

use jiff::{Timestamp, tz::Offset};

use super::{
    assemble::{Assembler, LogItem, REMEMBERED, Trust},
    reader::{Losses, ReadError, Reader, Start},
    record::Record,
};
use crate::capture::kmsg::{log_file::Saved, snapshot_clock::Past};
use crate::sys::{clock::ClockSample, syslog};

/// Kills that are kept, the newest.
const MOST_FOUND: usize = REMEMBERED;

/// Records that are read, so that it ends whatever is written meanwhile: more than any log holds.
const MOST_RECORDS: u32 = 1 << 20;

/// Text that is taken from `syslog(2)`, the newest: a log is rarely larger. What is not used of it takes no memory.
const TEXT_BYTES: usize = 1 << 20;

/// The log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum WholeError {
    /// From its device.
    #[error(transparent)]
    Device(#[from] ReadError),
    /// Nor otherwise.
    #[error("read the kernel log by syslog(2), since {} cannot be opened", .path.display())]
    OomKillCall {
        /// The device.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// The log.
#[derive(Debug)]
pub struct Whole {
    /// Its kills in its order, with the times of its own clock.
    pub found: VecDeque<LogItem>,
    /// What these times mean.
    pub past: Past,
}

impl Whole {
    /// Reads it; `path` is usually `/dev/kmsg`.
    pub fn read(path: &Path) -> Result<Self, WholeError> {
        match Reader::open(path, Start::Oldest) {
            Ok(reader) => Ok(Self::of_device(reader)?),
            Err(error) if error.is_refusal() => Self::of_call(path),
            Err(error) => Err(error.into()),
        }
    }

    fn of_device(mut reader: Reader) -> Result<Self, ReadError> {
        let mut gathered = Gathered::new();
        let mut known = Losses::default();
        for _ in 0..MOST_RECORDS {
            let Some((record, losses)) = reader.next_after_losses()? else {
                break;
            };
            if known != losses {
                known = losses;
                gathered.interrupt();
            }
            gathered.push(&record);
        }
        Ok(gathered.finish(ClockSample::now()))
    }

    fn of_call(path: &Path) -> Result<Self, WholeError> {
        let mut text = vec![0; TEXT_BYTES];
        let length = syslog::read_all(&mut text).map_err(|source| WholeError::OomKillCall {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::of_text(&text[..length], ClockSample::now()))
    }

    /// What `syslog(2)` gave, read now.
    #[must_use]
    pub fn of_text(text: &[u8], now: ClockSample) -> Self {
        let mut gathered = Gathered::new();
        let mut saved = Saved::new(Offset::UTC, Timestamp::UNIX_EPOCH);
        // Every line begins with who wrote it: what does not is none.
        let lines = text.split(|&byte| byte == b'\n');
        for line in lines.filter(|line| line.starts_with(b"<")) {
            gathered.push(&saved.parse(line));
        }
        gathered.finish(now)
    }
}

/// What has been read.
struct Gathered {
    assembler: Assembler,
    found: VecDeque<LogItem>,
    newest_ns: u64,
}

impl Gathered {
    fn new() -> Self {
        Self {
            assembler: Assembler::new(Trust::Kernel),
            found: VecDeque::new(),
            newest_ns: 0,
        }
    }

    fn push(&mut self, record: &Record<'_>) {
        let stamp = record.stamp.boot_time_ns.unwrap_or(0);
        self.newest_ns = self.newest_ns.max(stamp);
        let found = self.assembler.push(record);
        self.keep(found);
    }

    fn interrupt(&mut self) {
        let found = self.assembler.interrupt();
        self.keep(found);
    }

    fn keep(&mut self, found: Option<LogItem>) {
        if found.is_some() && self.found.len() == MOST_FOUND {
            self.found.pop_front();
        }
        self.found.extend(found);
    }

    fn finish(mut self, now: ClockSample) -> Whole {
        self.interrupt();
        Whole {
            found: self.found,
            past: Past::new(self.newest_ns, now),
        }
    }
}

#[cfg(test)]
mod tests;
