//! Each kill as a line of JSON on stdout, which log collectors read. A thread of its own writes, so that a reader that does not read
//! (a runtime whose disk is full) does not stop the agent.
//!
//! Lines that are not written yet are part of the saved state: where the agent is killed, the next one writes them. A line whose
//! writing was not recorded in time is written twice.

use std::{
    fs::File,
    future::pending,
    io::{self, Write},
    os::fd::AsFd as _,
    sync::mpsc::{self, Receiver, SyncSender, TrySendError},
    thread,
    time::Duration,
};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::timeout,
};
use tracing::{info, warn};

use crate::{
    deliver::json::{gap_to_json, kill_to_json},
    model::{
        persist::{self, Change, Entry, table::Table},
        report::{GapReport, Report},
    },
    sys::privileges,
};

/// Part of the state: lines that are not written yet, by the id of the kill.
pub(super) const PART: &str = "stdout";
/// Most lines that wait for the reader, each of up to 20 KiB with the account of its kill.
const WAITING_MAX: usize = 256;
/// How long to wait for the reader at the end.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait after a failed write.
const RETRY: Duration = Duration::from_millis(100);

/// Queues lines for the thread that writes them.
#[derive(Debug)]
pub(super) struct Lines {
    queue: Option<SyncSender<Line>>,
    /// Ids of the lines that were written. Closed when the thread has ended.
    written: UnboundedReceiver<String>,
    unwritten: Table<String>,
    /// Lines dropped since the queue last had room.
    dropped: u64,
}

#[derive(Debug)]
struct Line {
    id: String,
    text: String,
}

impl Lines {
    /// Writes to stdout, first what the previous agent did not write; or nothing.
    pub(super) fn new(is_on: bool, saved: &[Entry]) -> io::Result<Self> {
        let mut lines = if is_on {
            // Unbuffered: what a failed write has not written is known.
            Self::to(File::from(io::stdout().as_fd().try_clone_to_owned()?))?
        } else {
            Self::none()
        };
        lines.restore(saved);
        Ok(lines)
    }

    fn none() -> Self {
        let (_, written) = unbounded_channel();
        Self {
            queue: None,
            written,
            unwritten: Table::default(),
            dropped: 0,
        }
    }

    fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, lines) = mpsc::sync_channel(WAITING_MAX);
        let (done, written) = unbounded_channel();
        thread::Builder::new()
            .name("lines".to_owned())
            .spawn(move || {
                privileges::drop_all_capabilities();
                write_all(out, &lines, &done);
            })?;
        Ok(Self {
            queue: Some(queue),
            written,
            unwritten: Table::default(),
            dropped: 0,
        })
    }

    fn restore(&mut self, saved: &[Entry]) {
        self.unwritten = Table::restore(persist::read(saved, PART, ""));
        let lines: Vec<Line> = self
            .unwritten
            .iter()
            .map(|(id, text)| Line {
                id: id.to_owned(),
                text: text.clone(),
            })
            .collect();
        for line in lines {
            let id = line.id.clone();
            if !self.send(line) {
                self.unwritten.remove(&id);
            }
        }
    }

    /// Writes a kill.
    pub(super) fn kill(&mut self, report: &Report) {
        self.write(&report.id, || kill_to_json(report));
    }

    /// Writes kills that were only counted.
    pub(super) fn gap(&mut self, report: &GapReport) {
        self.write(&report.id, || gap_to_json(report));
    }

    fn write(&mut self, id: &str, text: impl FnOnce() -> serde_json::Result<String>) {
        if self.queue.is_none() || self.unwritten.get(id).is_some() {
            return;
        }
        let text = match text() {
            Ok(text) => text,
            Err(error) => return warn!(%error, "a kill cannot be written to stdout"),
        };
        let line = Line {
            id: id.to_owned(),
            text: text.clone(),
        };
        if self.send(line) {
            self.unwritten.insert(id.to_owned(), text);
        }
    }

    /// Queues a line. Returns false if it will not be written.
    fn send(&mut self, line: Line) -> bool {
        let Some(queue) = &self.queue else {
            return false;
        };
        let sent = queue.try_send(line);
        match sent {
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
        sent.is_ok()
    }

    /// Waits until a line was written. Cancel safe.
    pub(super) async fn written(&mut self) {
        match self.written.recv().await {
            Some(id) => {
                self.unwritten.remove(&id);
            }
            None => pending().await,
        }
    }

    /// What changed since the last call.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        while let Ok(id) = self.written.try_recv() {
            self.unwritten.remove(&id);
        }
        if self.written.is_closed() {
            // Written by no agent, as those that follow.
            self.unwritten.retain(|_| false);
        }
        self.unwritten.changes(WAITING_MAX, |id, text| {
            Change::new(PART, id.to_owned(), text)
        })
    }

    /// The saved state is lost: the next changes contain all of it.
    pub(super) fn mark_all_dirty(&mut self) {
        self.unwritten.mark_all_dirty();
    }

    /// Writes what is waiting, as far as it is read.
    pub(super) async fn finish(&mut self) {
        self.queue = None;
        // A reader that does not read was logged before.
        let _ = timeout(PATIENCE, async {
            while let Some(id) = self.written.recv().await {
                self.unwritten.remove(&id);
            }
        })
        .await;
    }
}

/// The agent has other outputs, so a closed stdout does not end it. Any other failure (`ENOSPC`, `EAGAIN`) is retried.
fn write_all(mut out: impl Write, lines: &Receiver<Line>, done: &UnboundedSender<String>) {
    let mut has_failed = false;
    for Line { id, text } in lines {
        let text = text + "\n";
        let mut rest = text.as_bytes();
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
        // The agent may be gone.
        let _ = done.send(id);
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
    fn end(lines: &mut Lines) {
        lines.queue = None;
        while let Some(id) = lines.written.blocking_recv() {
            lines.unwritten.remove(&id);
        }
    }

    fn report(number: usize) -> Report {
        Report {
            id: number.to_string(),
            ..testing::report()
        }
    }

    /// The ids of the rows that are saved, and of those that are removed.
    fn changed(lines: &mut Lines) -> (Vec<String>, Vec<String>) {
        let changes = lines.changes().into_iter();
        let (put, removed): (Vec<_>, Vec<_>) = changes.partition(|change| change.value.is_some());
        let ids = |changes: Vec<Change>| changes.into_iter().map(|change| change.key).collect();
        (ids(put), ids(removed))
    }

    #[test]
    fn all_is_written_by_the_end() {
        let (mut lines, open, taken) = to_reader(usize::MAX);
        drop(open);
        for number in 0..100 {
            lines.kill(&report(number));
        }
        lines.gap(&testing::gap_report());
        end(&mut lines);
        assert_eq!(count(&taken), 101);
        assert_eq!(changed(&mut lines), Default::default());
    }

    #[test]
    fn reader_that_is_gone_is_no_end() {
        let (mut lines, open, taken) = to_reader(2);
        drop(open);
        for number in 0..5 {
            lines.kill(&report(number));
        }
        while lines.written.blocking_recv().is_some() {}
        assert_eq!(count(&taken), 2);
        assert_eq!(changed(&mut lines), Default::default());
        lines.kill(&report(5));
        assert!(lines.queue.is_none());
        lines.kill(&report(6));
        assert_eq!(changed(&mut lines), Default::default());
    }

    #[test]
    fn reader_that_takes_nothing_costs_no_more_than_its_lines() {
        let (mut lines, open, taken) = to_reader(usize::MAX);
        let count_all = 3 * WAITING_MAX;
        for number in 0..count_all {
            lines.kill(&report(number));
        }
        let dropped = usize::try_from(lines.dropped).expect("few");
        assert!(dropped >= 2 * WAITING_MAX - 1, "{dropped}");
        assert!(lines.unwritten.len() <= WAITING_MAX + 1);
        drop(open);
        end(&mut lines);
        assert_eq!(count(&taken), count_all - dropped);
    }

    #[test]
    fn lines_of_an_agent_that_was_killed_are_written_by_the_next() {
        // Its reader takes nothing.
        let (mut killed, _gate, _) = to_reader(usize::MAX);
        killed.kill(&report(1));
        killed.kill(&report(2));
        let saved: Vec<Entry> = killed
            .changes()
            .into_iter()
            .map(|change| Entry {
                part: change.part.to_owned(),
                key: change.key,
                value: change.value.expect("a value"),
            })
            .collect();
        assert_eq!(saved.len(), 2);

        let (mut next, open, taken) = to_reader(usize::MAX);
        drop(open);
        next.restore(&saved);
        // Its delivery was not recorded.
        next.kill(&report(2));
        next.kill(&report(3));
        end(&mut next);
        assert_eq!(count(&taken), 3);
        let removed = ["1", "2"].map(str::to_owned).to_vec();
        assert_eq!(changed(&mut next), (Vec::new(), removed));

        let mut silent = Lines::none();
        silent.restore(&saved);
        assert_eq!(changed(&mut silent).1.len(), 2);
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
        let (done, mut written) = unbounded_channel();
        let text = "x".repeat(1500);
        let line = Line {
            id: "1".to_owned(),
            text: text.clone(),
        };
        queue.send(line).expect("a receiver");
        drop(queue);
        write_all(out, &lines, &done);
        let taken = taken.lock().expect("not poisoned");
        assert_eq!(*taken, format!("{text}\n").into_bytes());
        assert_eq!(written.try_recv().as_deref(), Ok("1"));
    }
}
