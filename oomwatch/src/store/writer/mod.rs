//! The thread that writes the journal, and what the rest has of it.

use std::{
    mem,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error, info, warn};

use super::{
    Answer, Batch, Config, Identity, Outcome, Provenance, Restored, Status, Ticket,
    age::Now,
    error::StoreError,
    pending::{Load, Pending},
    row::nanoseconds,
};
use crate::store::database::{OpenMode, Store, Written};
use crate::sys::{clock, error_chain::error_chain, privileges};

/// How often it is tried again to write.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is tried again to open a journal that is not there.
const REOPEN: Duration = Duration::from_secs(10);
/// A transaction that takes longer is told as a failure.
const SLOW: Duration = Duration::from_secs(10);

/// Takes what is to be written. Without it, or with [`History::close`], the thread ends.
#[derive(Debug)]
pub struct History {
    shared: Arc<Shared>,
    ended: oneshot::Receiver<()>,
}

/// What has become of what was to be written.
#[derive(Debug)]
pub struct Answers(mpsc::UnboundedReceiver<Answer>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    /// What came, and what could not be written.
    pending: Pending,
    /// Something came since it was last taken.
    has_news: bool,
    is_closing: bool,
    ticket: u64,
    status: Status,
    writing_since: Option<Instant>,
}

impl History {
    /// Opens the journal, reads what it holds, and begins to write. A journal that cannot be used is a state like others:
    /// answers and status tell it.
    #[must_use]
    pub fn open(config: Config, identity: Identity) -> (Self, Answers, Restored) {
        let opened = Store::open(&config, &identity, OpenMode::Start, now());
        let shared = Arc::new(Shared::default());
        let (answers, receiver) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        let mut writer = Writer {
            shared: Arc::clone(&shared),
            config,
            identity,
            store: None,
            opened: Instant::now(),
            answers,
            answered: 0,
        };
        let restored = match opened {
            Ok((mut store, restored)) => {
                shared.queue.lock().status.bytes = store.bytes().unwrap_or(0);
                writer.store = Some(store);
                restored
            }
            Err(error) => {
                writer.fail(&error);
                let read = Store::restore_alone(&writer.config, &mut writer.identity);
                read.unwrap_or(Restored {
                    standing: Provenance::Unusable,
                    open: Vec::new(),
                    state: Vec::new(),
                })
            }
        };
        let spawned = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                privileges::drop_all_capabilities();
                writer.run();
                // Nobody may wait for it.
                let _ = end.send(());
            });
        if let Err(error) = spawned {
            shared.queue.lock().status.failure =
                Some(format!("start the journal's thread: {error}"));
        }
        (Self { shared, ended }, Answers(receiver), restored)
    }

    /// Hands on what is to be written, and never waits.
    #[must_use]
    pub fn write(&self, batch: &Batch) -> Ticket {
        let mut queue = self.shared.queue.lock();
        queue.ticket += 1;
        let ticket = queue.ticket;
        let load = queue.pending.add(ticket, batch);
        queue.has_news = true;
        queue.note(load);
        drop(queue);
        self.shared.wake.notify_one();
        Ticket(ticket)
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> Status {
        let queue = self.shared.queue.lock();
        let mut status = queue.status.clone();
        let since = queue.writing_since.map(|since| since.elapsed());
        if let Some(since) = since.filter(|since| *since > SLOW) {
            let seconds = since.as_secs();
            status.failure = Some(format!("a transaction has been under way for {seconds} s"));
        }
        status
    }

    /// Writes what is waiting, if it can be written now, and closes the file.
    pub async fn close(mut self) {
        self.shared.end();
        // An error says that there is no thread.
        let _ = (&mut self.ended).await;
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl Answers {
    /// The next; never comes once the journal is closed. Dropping this future loses none.
    pub async fn next(&mut self) -> Answer {
        match self.0.recv().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

impl Shared {
    fn end(&self) {
        self.queue.lock().is_closing = true;
        self.wake.notify_one();
    }

    /// Waits for something to write, for a time at most, and takes all there is. Whether it is the last.
    fn take(&self, at_most: Option<Duration>) -> (Pending, bool) {
        let is_idle = |queue: &mut Queue| !queue.has_news && !queue.is_closing;
        let mut queue = self.queue.lock();
        match at_most {
            None => self.wake.wait_while(&mut queue, is_idle),
            Some(time) => {
                self.wake.wait_while_for(&mut queue, is_idle, time);
            }
        }
        queue.has_news = false;
        queue.writing_since = Some(Instant::now());
        (mem::take(&mut queue.pending), queue.is_closing)
    }
}

impl Queue {
    fn note(&mut self, load: Load) {
        let Load { kills, lost } = load;
        self.status.waiting = kills;
        if lost > 0 {
            if self.status.lost == 0 {
                error!("kills are given up that cannot be written to the journal");
            }
            self.status.lost += lost;
        }
    }
}

struct Writer {
    shared: Arc<Shared>,
    config: Config,
    identity: Identity,
    store: Option<Store>,
    /// When it was last tried to open it.
    opened: Instant,
    answers: mpsc::UnboundedSender<Answer>,
    /// The newest batch that has an answer.
    answered: u64,
}

impl Writer {
    fn run(mut self) {
        let mut at_most = None;
        loop {
            let (pending, is_last) = self.shared.take(at_most);
            let is_due = is_last || self.store.is_some() || self.opened.elapsed() >= REOPEN;
            at_most = if pending.is_empty() {
                self.prune(0)
            } else if !is_due {
                Some(self.keep(pending))
            } else {
                match self.write(&pending) {
                    Ok((written, is_fresh)) => self.saved(&pending, written, is_fresh),
                    Err(error) => {
                        self.fail(&error);
                        Some(self.keep(pending))
                    }
                }
            };
            self.shared.queue.lock().writing_since = None;
            if is_last {
                break;
            }
        }
    }

    /// Writes it into the journal that there is, or else into a new one.
    fn write(&mut self, pending: &Pending) -> Result<(Written, bool), StoreError> {
        let now = now();
        let mut store = self.take_store(now)?;
        let mut is_fresh = store.is_fresh();
        let mut written = store.write(pending, now);
        if let Err(error @ StoreError::Damaged(_)) = &written {
            store = store.replace(error, &self.config, now)?;
            is_fresh = store.is_fresh();
            written = store.write(pending, now);
        }
        // Whatever else the file system refuses may be well if the file is opened anew.
        if matches!(written, Ok(_) | Err(StoreError::Later(_))) {
            self.store = Some(store);
        }
        Ok((written?, is_fresh))
    }

    fn take_store(&mut self, now: Now) -> Result<Store, StoreError> {
        match self.store.take() {
            Some(store) if store.is_in_place() => return Ok(store),
            Some(_) => warn!("the journal's file is gone or another: begin anew"),
            None => {}
        }
        self.opened = Instant::now();
        let opened = Store::open(&self.config, &self.identity, OpenMode::Resume, now);
        opened.map(|(store, _)| store)
    }

    /// Says that it is written. How long to wait at most for more.
    fn saved(&mut self, pending: &Pending, written: Written, is_fresh: bool) -> Option<Duration> {
        let Written { known, refused } = written;
        let bytes = self.store.as_mut().and_then(|store| store.bytes().ok());
        let mut queue = self.shared.queue.lock();
        let status = &mut queue.status;
        if status.failure.take().is_some() {
            info!("the journal is written again");
        }
        if refused > 0 {
            error!(
                refused,
                "there are more rows of state than the journal takes"
            );
            status.lost += refused;
        }
        status.bytes = bytes.unwrap_or(status.bytes);
        queue.status.waiting = queue.pending.kills();
        drop(queue);
        self.answer(pending.ticket(), Outcome::Saved, known, is_fresh);
        self.prune(pending.kills())
    }

    /// Puts back what could not be written, before what came since. How long to wait at most.
    fn keep(&mut self, mut pending: Pending) -> Duration {
        let ticket = pending.ticket();
        let mut queue = self.shared.queue.lock();
        let load = pending.extend(mem::take(&mut queue.pending));
        queue.pending = pending;
        queue.note(load);
        drop(queue);
        if ticket > self.answered {
            self.answer(ticket, Outcome::Kept, Vec::new(), false);
        }
        RETRY
    }

    fn answer(&mut self, ticket: u64, outcome: Outcome, known: Vec<String>, is_fresh: bool) {
        self.answered = ticket;
        // Nobody may want to know.
        let _ = self.answers.send(Answer {
            ticket: Ticket(ticket),
            outcome,
            known,
            is_fresh,
        });
    }

    fn fail(&self, error: &StoreError) {
        let text = error_chain(error);
        let mut queue = self.shared.queue.lock();
        let status = &mut queue.status;
        status.errors += 1;
        if status.failure.is_none() {
            error!(
                journal = %self.config.folder.display(),
                error = text,
                "the journal cannot be written: kills are kept in memory until it can"
            );
        }
        status.failure = Some(text);
    }

    /// Keeps the bounds, a step at a time. How long to wait at most until the next.
    fn prune(&mut self, written: usize) -> Option<Duration> {
        let mut store = self.store.take()?;
        match store.prune(&self.config, written, now()) {
            Ok(has_more) => {
                self.store = Some(store);
                return has_more.then_some(Duration::ZERO);
            }
            Err(error @ StoreError::Damaged(_)) => {
                match store.replace(&error, &self.config, now()) {
                    Ok(store) => self.store = Some(store),
                    Err(error) => self.fail(&error),
                }
            }
            Err(error) => {
                debug!(error = error_chain(&error), "prune the journal");
                self.store = Some(store);
            }
        }
        None
    }
}

/// By the clocks that the journal needs.
fn now() -> Now {
    Now {
        boot_time_ns: i64::try_from(clock::since_boot_ns()).unwrap_or(i64::MAX),
        unix_ns: nanoseconds(Timestamp::now()),
    }
}

#[cfg(test)]
mod tests;
