//! Writes to stdout in a thread of its own, so that a reader that does not read keeps neither a signal nor the timeout from ending
//! `watch`. What is printed meanwhile is not much: while text waits for the thread, kills wait in the ring.

use std::{
    cell::RefCell,
    io::{self, Write},
    rc::Rc,
    thread,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::warn;

use crate::sys::privileges;

/// How long to wait for the reader after a signal or the timeout.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait for room in a stdout that does not block.
const RETRY: Duration = Duration::from_millis(10);

/// Text that is printed and not handed to the thread yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Text(Rc<RefCell<Vec<u8>>>);

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread, and what it is to write next.
#[derive(Debug)]
pub(super) struct Stdout {
    text: Text,
    queue: mpsc::Sender<Vec<u8>>,
    /// How the thread ended; absent once that was returned.
    ended: Option<oneshot::Receiver<io::Result<()>>>,
}

/// Why waiting for the reader ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Everything was printed.
    Complete,
    /// A signal or the timeout.
    Asked,
}

impl Stdout {
    /// Starts the thread. `text` is what the printer writes to.
    pub(super) fn start(text: Text, out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, texts) = mpsc::channel(1);
        let (end, ended) = oneshot::channel();
        thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(move || {
                privileges::drop_all_capabilities();
                // The receiver may be gone.
                let _ = end.send(write_all(out, texts));
            })?;
        Ok(Self {
            text,
            queue,
            ended: Some(ended),
        })
    }

    /// Whether something was printed that the thread has not taken.
    pub(super) fn has_text(&self) -> bool {
        !self.text.0.borrow().is_empty()
    }

    /// Hands over what was printed, when the thread has room for it. Without text it waits for a failure. Cancel safe.
    pub(super) async fn write(&mut self) -> io::Result<()> {
        if self.has_text()
            && let Ok(permit) = self.queue.reserve().await
        {
            permit.send(self.text.0.take());
            return Ok(());
        }
        // The thread has ended early, or will.
        self.ended().await
    }

    /// Waits for the end of the thread, and returns how it ended; later calls return nothing new. Cancel safe.
    async fn ended(&mut self) -> io::Result<()> {
        let Some(ended) = &mut self.ended else {
            return Ok(());
        };
        let result = ended.await;
        self.ended = None;
        result.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }

    /// Writes the rest. If it was asked to end, it does not wait long for the reader.
    pub(super) async fn close(mut self, ending: Ending) -> io::Result<()> {
        let written = async {
            if self.has_text() {
                self.write().await?;
            }
            self.queue = mpsc::channel(1).0;
            self.ended().await
        };
        if ending == Ending::Complete {
            return written.await;
        }
        timeout(PATIENCE, written).await.unwrap_or_else(|_| {
            warn!("stdout is not read: the last lines were not written");
            Ok(())
        })
    }
}

fn write_all(mut out: impl Write, mut texts: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    while let Some(text) = texts.blocking_recv() {
        let mut rest = &text[..];
        while !rest.is_empty() {
            match out.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, pipe},
        sync::mpsc as std_mpsc,
    };

    use super::*;

    fn stdout(out: impl Write + Send + 'static) -> (Text, Stdout) {
        let text = Text::default();
        let stdout = Stdout::start(text.clone(), out).expect("start a thread");
        (text, stdout)
    }

    /// Takes nothing before it is let.
    struct Closed(std_mpsc::Receiver<()>);

    impl Write for Closed {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn everything_is_written_in_order() {
        let (mut reader, writer) = pipe().expect("make a pipe");
        let (mut text, mut stdout) = stdout(writer);
        for number in 0..100 {
            writeln!(text, "{number}").expect("print");
            if number % 3 == 0 {
                stdout.write().await.expect("a reader");
                assert!(!stdout.has_text());
            }
        }
        stdout.close(Ending::Complete).await.expect("a reader");
        let mut read = String::new();
        reader.read_to_string(&mut read).expect("read");
        let expected: String = (0..100).map(|number| number.to_string() + "\n").collect();
        assert_eq!(read, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn reader_that_does_not_read_keeps_it_from_nothing() {
        let (open, gate) = std_mpsc::channel();
        let (mut text, mut stdout) = stdout(Closed(gate));
        // One is being written, one waits, and the next has no room.
        for _ in 0..2 {
            writeln!(text, "line").expect("print");
            stdout.write().await.expect("a reader");
        }
        writeln!(text, "line").expect("print");
        let waited = timeout(Duration::from_mins(1), async {
            stdout.write().await?;
            text.write_all(b"line\n")?;
            stdout.write().await
        });
        assert!(waited.await.is_err());
        stdout.close(Ending::Asked).await.expect("no failure");
        drop(open);
    }

    #[tokio::test]
    async fn reader_that_is_gone_is_a_broken_pipe() {
        let (reader, writer) = pipe().expect("make a pipe");
        drop(reader);
        let (mut text, mut stdout) = stdout(writer);
        writeln!(text, "line").expect("print");
        stdout.write().await.expect("a thread");
        // Without another line.
        let failed = stdout.write().await.expect_err("no reader");
        assert_eq!(failed.kind(), io::ErrorKind::BrokenPipe);
        writeln!(text, "line").expect("print");
        stdout.write().await.expect("nothing new");
        stdout.close(Ending::Complete).await.expect("nothing new");
    }
}
