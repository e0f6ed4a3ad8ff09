//! Each kill as a line of JSON on stdout, which log collectors read. A thread of its own writes, so that a reader that does not read
//! (a runtime whose disk is full) does not stop the agent.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd as _,
    sync::mpsc::{self, Receiver, SyncSender, TrySendError},
    thread,
    time::Duration,
};

use tracing::{info, warn};

use crate::{
    deliver::json::{gap_to_json, kill_to_json},
    model::report::{GapReport, Report},
    sys::privileges,
};

/// Most lines that wait for the reader, of about 2 KiB each.
const WAITING_MAX: usize = 1024;
/// How long to wait for the reader at the end.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait after a failed write.
const RETRY: Duration = Duration::from_millis(100);

/// Queues lines for the thread that writes them.
#[derive(Debug)]
pub(super) struct Lines {
    queue: Option<SyncSender<String>>,
    ended: Receiver<()>,
    /// Lines dropped since the queue last had room.
    dropped: u64,
}

impl Lines {
    /// Writes to stdout.
    pub(super) fn stdout() -> io::Result<Self> {
        // Unbuffered: what a failed write has not written is known.
        Self::to(File::from(io::stdout().as_fd().try_clone_to_owned()?))
    }

    /// Writes nothing.
    pub(super) fn none() -> Self {
        let (_, ended) = mpsc::channel();
        Self {
            queue: None,
            ended,
            dropped: 0,
        }
    }

    fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = mpsc::sync_channel(WAITING_MAX);
        let (end, ended) = mpsc::channel();
        thread::Builder::new()
            .name("lines".to_owned())
            .spawn(move || {
                privileges::drop_all_capabilities();
                write_all(out, &lines);
                // The receiver may be gone.
                let _ = end.send(());
            })?;
        Ok(Self {
            queue: Some(queue),
            ended,
            dropped: 0,
        })
    }

    /// Writes a kill.
    pub(super) fn kill(&mut self, report: &Report) {
        self.write(|| kill_to_json(report));
    }

    /// Writes kills that were only counted.
    pub(super) fn gap(&mut self, report: &GapReport) {
        self.write(|| gap_to_json(report));
    }

    fn write(&mut self, line: impl FnOnce() -> serde_json::Result<String>) {
        let Some(queue) = &self.queue else {
            return;
        };
        let line = match line() {
            Ok(line) => line,
            Err(error) => return warn!(%error, "a kill cannot be written to stdout"),
        };
        match queue.try_send(line) {
            Ok(()) if self.dropped > 0 => {
                let dropped = self.dropped;
                info!(dropped, "kills are written to stdout again");
                self.dropped = 0;
            }
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                if self.dropped == 0 {
                    warn!("stdout is not read: kills are not written there until it is");
                }
                self.dropped += 1;
            }
            Err(TrySendError::Disconnected(_)) => self.queue = None,
        }
    }

    /// Writes what is waiting, if somebody takes it.
    pub(super) fn close(self) {
        let Self { queue, ended, .. } = self;
        if queue.is_some() {
            drop(queue);
            // A reader that does not read was logged before.
            let _ = ended.recv_timeout(PATIENCE);
        }
    }
}

/// The agent has other outputs, so a closed stdout does not end it. Any other failure (`ENOSPC`, `EAGAIN`) is retried.
fn write_all(mut out: impl Write, lines: &Receiver<String>) {
    let mut has_failed = false;
    for line in lines {
        let line = line + "\n";
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            match out.write(rest) {
                Ok(written) => {
                    rest = &rest[written..];
                    has_failed = false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return warn!(%error, "stdout is closed: kills are not written there any more");
                }
                Err(error) => {
                    if !std::mem::replace(&mut has_failed, true) {
                        warn!(%error, "failed to write to stdout, retrying");
                    }
                    thread::sleep(RETRY);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::testing;

    /// Takes so many lines, and none before it is let.
    struct Reader {
        taken: Arc<Mutex<Vec<u8>>>,
        most: usize,
        gate: Receiver<()>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Opens when the sender is dropped.
            let _ = self.gate.recv();
            let mut taken = self.taken.lock().expect("not poisoned");
            if taken.split(|&byte| byte == b'\n').count() > self.most {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            taken.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn to_reader(most: usize) -> (Lines, mpsc::Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let (open, gate) = mpsc::channel();
        let taken = Arc::default();
        let reader = Reader {
            taken: Arc::clone(&taken),
            most,
            gate,
        };
        let lines = Lines::to(reader).expect("start a thread");
        (lines, open, taken)
    }

    fn count(taken: &Mutex<Vec<u8>>) -> usize {
        let taken = taken.lock().expect("not poisoned");
        let lines = str::from_utf8(&taken).expect("text").lines();
        lines
            .inspect(|line| {
                let parsed: serde_json::Value = serde_json::from_str(line).expect("an object");
                assert_eq!(parsed["schema"], "oomwatch/v1");
            })
            .count()
    }

    /// However long it takes.
    fn end(lines: Lines) {
        drop(lines.queue);
        lines.ended.recv().expect("the thread has ended");
    }

    #[test]
    fn all_is_written_by_the_end() {
        let (mut lines, open, taken) = to_reader(usize::MAX);
        drop(open);
        for _ in 0..100 {
            lines.kill(&testing::report());
            lines.gap(&testing::gap_report());
        }
        end(lines);
        assert_eq!(count(&taken), 200);
    }

    #[test]
    fn reader_that_is_gone_is_no_end() {
        let (mut lines, open, taken) = to_reader(2);
        drop(open);
        for _ in 0..5 {
            lines.kill(&testing::report());
        }
        lines.ended.recv().expect("the thread has ended");
        assert_eq!(count(&taken), 2);
        lines.kill(&testing::report());
        assert!(lines.queue.is_none());
        lines.kill(&testing::report());
        lines.close();
    }

    #[test]
    fn reader_that_takes_nothing_holds_nobody_up_and_costs_no_more_than_its_lines() {
        let (mut lines, open, taken) = to_reader(usize::MAX);
        let count_all = 3 * WAITING_MAX;
        for _ in 0..count_all {
            lines.gap(&testing::gap_report());
        }
        let dropped = usize::try_from(lines.dropped).expect("few");
        assert!(dropped >= 2 * WAITING_MAX - 1, "{dropped}");
        drop(open);
        end(lines);
        assert_eq!(count(&taken), count_all - dropped);
    }

    /// Takes a few bytes at a time, and every other time none.
    struct Failing {
        taken: Arc<Mutex<Vec<u8>>>,
        fails: bool,
    }

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.fails = !self.fails;
            if self.fails {
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            let taken = bytes.len().min(1000);
            let mut all = self.taken.lock().expect("not poisoned");
            all.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn write_that_fails_is_retried_and_no_line_is_torn() {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let out = Failing {
            taken: taken.clone(),
            fails: false,
        };
        let (queue, lines) = mpsc::channel();
        let line = "x".repeat(1500);
        queue.send(line.clone()).expect("a receiver");
        drop(queue);
        write_all(out, &lines);
        let taken = taken.lock().expect("not poisoned");
        assert_eq!(*taken, format!("{line}\n").into_bytes());
    }
}
