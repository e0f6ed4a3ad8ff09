//! The thread that writes the history database, and its handle.

use std::{
    mem,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error, info, warn};

use super::{
    Answer, Batch, Config, Identity, Outcome, Provenance, Restored, Status, Ticket,
    error::StoreError,
    meta::OpenMode,
    pending::{Backlog, Pending},
};
use crate::store::database::{Store, Written};
use crate::{
    model::persist::clock::PersistentClock,
    sys::{clock::ClockSample, error_chain::error_chain, privileges},
};

/// Interval between attempts to write.
const RETRY: Duration = Duration::from_secs(1);
/// Interval between attempts to open a database that cannot be used.
const REOPEN: Duration = Duration::from_secs(10);
/// A transaction that takes longer is reported as a failure.
const SLOW: Duration = Duration::from_secs(10);

/// Handle of the thread that writes the history database. The thread ends when this is dropped or closed.
#[derive(Debug)]
pub struct History {
    shared: Arc<Shared>,
    ended: oneshot::Receiver<()>,
}

/// Receives the outcomes of [`History::write`].
#[derive(Debug)]
pub struct Answers(mpsc::UnboundedReceiver<Answer>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    /// Batches that are not written yet.
    pending: Pending,
    /// A batch was added since the thread last took the queue.
    is_changed: bool,
    is_closing: bool,
    ticket: u64,
    status: Status,
    writing_since: Option<Instant>,
}

impl History {
    /// Opens the database, reads what the agent resumes from, and starts the thread. A database that cannot be used is not an
    /// error here: status and answers report it, and the thread retries.
    #[must_use]
    pub fn open(config: Config, identity: Identity) -> (Self, Answers, Restored) {
        let now = ClockSample::now();
        let opened = Store::open(&config, &identity, OpenMode::Start, now);
        let shared = Arc::new(Shared::default());
        let (answers, receiver) = mpsc::unbounded_channel();
        let (end, ended) = oneshot::channel();
        let mut writer = Writer {
            shared: Arc::clone(&shared),
            config,
            clock: PersistentClock::restore(None, &identity.boot_id, now),
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
                let read = Store::restore_exclusive(&writer.config, &mut writer.identity, now);
                read.unwrap_or_else(|| Restored {
                    provenance: Provenance::Unusable,
                    clock: writer.clock.clone(),
                    undelivered: Vec::new(),
                    state: Vec::new(),
                })
            }
        };
        writer.clock = restored.clock.clone();
        let spawned = thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || {
                privileges::drop_all_capabilities();
                writer.run();
                // Fails if the handle was dropped instead of closed.
                let _ = end.send(());
            });
        if let Err(error) = spawned {
            shared.queue.lock().status.failure =
                Some(format!("failed to start the history thread: {error}"));
        }
        (Self { shared, ended }, Answers(receiver), restored)
    }

    /// Queues a batch. Never blocks on the disk.
    #[must_use]
    pub fn write(&self, batch: &Batch) -> Ticket {
        let mut queue = self.shared.queue.lock();
        queue.ticket += 1;
        let ticket = queue.ticket;
        let backlog = queue.pending.add(ticket, batch);
        queue.is_changed = true;
        queue.note(backlog);
        drop(queue);
        self.shared.wake.notify_one();
        Ticket(ticket)
    }

    /// The health of the database.
    #[must_use]
    pub fn status(&self) -> Status {
        let queue = self.shared.queue.lock();
        let mut status = queue.status.clone();
        let since = queue.writing_since.map(|since| since.elapsed());
        if let Some(since) = since.filter(|since| *since > SLOW) {
            let seconds = since.as_secs();
            status.failure = Some(format!("a transaction has been running for {seconds} s"));
        }
        status
    }

    /// Tries once to write what is queued, and closes the file.
    pub async fn close(mut self) {
        self.shared.end();
        // Fails if the thread could not be started.
        let _ = (&mut self.ended).await;
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl Answers {
    /// The next answer; pends forever once the database is closed. Cancel safe.
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

    /// Waits until there is something to write, or for `at_most`, and takes the queue. Returns true with the last one.
    fn wait(&self, at_most: Option<Duration>) -> (Pending, bool) {
        let is_idle = |queue: &mut Queue| !queue.is_changed && !queue.is_closing;
        let mut queue = self.queue.lock();
        match at_most {
            None => self.wake.wait_while(&mut queue, is_idle),
            Some(time) => {
                self.wake.wait_while_for(&mut queue, is_idle, time);
            }
        }
        queue.is_changed = false;
        queue.writing_since = Some(Instant::now());
        (mem::take(&mut queue.pending), queue.is_closing)
    }
}

impl Queue {
    fn note(&mut self, backlog: Backlog) {
        let Backlog { kills, dropped } = backlog;
        self.status.pending = kills;
        if dropped > 0 {
            if self.status.dropped == 0 {
                error!("too many kills are waiting for the history database, dropping the oldest");
            }
            self.status.dropped += dropped;
        }
    }
}

struct Writer {
    shared: Arc<Shared>,
    config: Config,
    identity: Identity,
    clock: PersistentClock,
    store: Option<Store>,
    /// When the last attempt to open the database was made.
    opened: Instant,
    answers: mpsc::UnboundedSender<Answer>,
    /// Number of the newest batch that has an answer.
    answered: u64,
}

impl Writer {
    fn run(mut self) {
        let mut at_most = None;
        loop {
            let (pending, is_last) = self.shared.wait(at_most);
            let is_due = is_last || self.store.is_some() || self.opened.elapsed() >= REOPEN;
            at_most = if pending.is_empty() {
                self.prune(0)
            } else if !is_due {
                Some(self.defer(pending))
            } else {
                match self.write(&pending) {
                    Ok((written, needs_full_state)) => {
                        self.saved(&pending, written, needs_full_state)
                    }
                    Err(error) => {
                        self.fail(&error);
                        Some(self.defer(pending))
                    }
                }
            };
            self.shared.queue.lock().writing_since = None;
            if is_last {
                break;
            }
        }
    }

    /// Writes to the open database, else to one that is opened or created now. Also returns whether all state is needed.
    fn write(&mut self, pending: &Pending) -> Result<(Written, bool), StoreError> {
        let now = ClockSample::now();
        let mut store = self.ready_store(now)?;
        let mut needs_full_state = store.needs_full_state();
        let mut written = store.write(pending, now);
        if let Err(error @ StoreError::Damaged(_)) = &written {
            store = store.replace(error, &self.config, now)?;
            needs_full_state = store.needs_full_state();
            written = store.write(pending, now);
        }
        // Other errors may go away when the file is reopened.
        if matches!(written, Ok(_) | Err(StoreError::Temporary(_))) {
            self.store = Some(store);
        }
        Ok((written?, needs_full_state))
    }

    fn ready_store(&mut self, now: ClockSample) -> Result<Store, StoreError> {
        match self.store.take() {
            Some(store) if store.is_in_place() => return Ok(store),
            Some(_) => warn!("the history database was removed or replaced, creating a new one"),
            None => {}
        }
        self.opened = Instant::now();
        let opened = Store::open(
            &self.config,
            &self.identity,
            OpenMode::Reopen(&self.clock),
            now,
        );
        opened.map(|(store, _)| store)
    }

    /// Reports a successful write. Returns how long to wait for the next batch.
    fn saved(
        &mut self,
        pending: &Pending,
        written: Written,
        needs_full_state: bool,
    ) -> Option<Duration> {
        let Written {
            duplicates,
            refused,
        } = written;
        let bytes = self.store.as_mut().and_then(|store| store.bytes().ok());
        let mut queue = self.shared.queue.lock();
        let status = &mut queue.status;
        if status.failure.take().is_some() {
            info!("the history database can be written again");
        }
        if refused > 0 {
            error!(
                refused,
                "too many rows of state for the history database, dropping some"
            );
            status.dropped += refused;
        }
        status.bytes = bytes.unwrap_or(status.bytes);
        queue.status.pending = queue.pending.kills();
        drop(queue);
        self.answer(
            pending.ticket(),
            Outcome::Saved,
            duplicates,
            needs_full_state,
        );
        self.prune(pending.kills())
    }

    /// Returns a batch that could not be written to the queue. Returns how long to wait for the next batch.
    fn defer(&mut self, mut pending: Pending) -> Duration {
        let ticket = pending.ticket();
        let mut queue = self.shared.queue.lock();
        let backlog = pending.extend(mem::take(&mut queue.pending));
        queue.pending = pending;
        queue.note(backlog);
        drop(queue);
        if ticket > self.answered {
            self.answer(ticket, Outcome::Deferred, Vec::new(), false);
        }
        RETRY
    }

    fn answer(
        &mut self,
        ticket: u64,
        outcome: Outcome,
        duplicates: Vec<String>,
        needs_full_state: bool,
    ) {
        self.answered = ticket;
        // Fails if the receiver was dropped.
        let _ = self.answers.send(Answer {
            ticket: Ticket(ticket),
            outcome,
            duplicates,
            needs_full_state,
        });
    }

    fn fail(&self, error: &StoreError) {
        let text = error_chain(error);
        let mut queue = self.shared.queue.lock();
        let status = &mut queue.status;
        status.errors += 1;
        if status.failure.is_none() {
            error!(
                folder = %self.config.folder.display(),
                error = text,
                "the history database cannot be written, keeping kills in memory"
            );
        }
        status.failure = Some(text);
    }

    /// Deletes a limited number of rows beyond the bounds. Returns how long to wait for the next batch before continuing.
    fn prune(&mut self, written: usize) -> Option<Duration> {
        let mut store = self.store.take()?;
        match store.prune(&self.config, written, ClockSample::now()) {
            Ok(has_more) => {
                self.store = Some(store);
                return has_more.then_some(Duration::ZERO);
            }
            Err(error @ StoreError::Damaged(_)) => {
                match store.replace(&error, &self.config, ClockSample::now()) {
                    Ok(store) => self.store = Some(store),
                    Err(error) => self.fail(&error),
                }
            }
            Err(error) => {
                debug!(
                    error = error_chain(&error),
                    "failed to prune the history database"
                );
                self.store = Some(store);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
