//! What the agent writes to the history database, and what continues once it is written.
//!
//! A kill is written when it is captured, and again when it has its names; only then is it delivered. The kernel's ring is
//! released up to a position once everything before it is written. A database that cannot be written delays nothing: kills are
//! delivered all the same, and the kernel keeps the records it has room for.

mod unsettled;

use tokio::time::{Duration, Instant, sleep_until};

pub(super) use self::unsettled::Settled;
use self::unsettled::Unsettled;
use crate::{
    capture::observer::cursor::Cursor,
    model::{
        persist::{Change, Entry},
        report::{GapReport, Report},
    },
    store::{Answer, Answers, Batch, History, Outcome, Status},
};

/// Part of the state: how far the kernel's ring is in the database. Void after a reboot.
pub(super) const PART: &str = "ring";
const CURSOR: &str = "cursor";
/// How long to wait for an answer before the database counts as one that cannot be written.
const SLOW: Duration = Duration::from_secs(10);
/// A wait that ends so much later was one of a stopped process, whose database was stopped too.
const LATE: Duration = Duration::from_secs(2);

/// The history database and the kills that wait for it.
#[derive(Debug)]
pub(super) struct HistoryQueue {
    history: History,
    answers: Answers,
    /// The next batch.
    batch: Batch,
    /// The ring position last put into a batch.
    cursor: Option<Cursor>,
    /// Batches without an answer.
    unsettled: Unsettled,
    /// Since when an answer is awaited.
    since: Instant,
}

/// The position in the kernel's ring from which the previous agent's records are not in the database.
pub(super) fn cursor(state: &[Entry]) -> Option<Cursor> {
    let is_cursor = |entry: &&Entry| entry.part == PART && entry.key == CURSOR;
    serde_json::from_str(&state.iter().find(is_cursor)?.value).ok()
}

impl HistoryQueue {
    pub(super) fn new(history: History, answers: Answers) -> Self {
        Self {
            history,
            answers,
            batch: Batch::default(),
            cursor: None,
            unsettled: Unsettled::default(),
            since: Instant::now(),
        }
    }

    /// Adds a kill that was captured.
    pub(super) fn captured(&mut self, report: &Report) {
        self.batch.kills.push(report.clone());
    }

    /// Adds kills that were counted, not observed.
    pub(super) fn gap(&mut self, report: GapReport) {
        self.batch.gaps.push(report);
    }

    /// Adds a kill that got its names.
    pub(super) fn named(&mut self, report: Report) {
        self.batch.named.push(report);
    }

    /// Marks a kill as delivered.
    pub(super) fn delivered(&mut self, id: String) {
        self.batch.delivered.push(id);
    }

    /// Adds changes of the state.
    pub(super) fn state(&mut self, changes: Vec<Change>) {
        self.batch.state.extend(changes);
    }

    /// Sets the ring position up to which all records are in this batch or earlier ones; absent without a ring.
    pub(super) fn read(&mut self, cursor: Option<Cursor>) {
        if cursor == self.cursor {
            return;
        }
        let change = Change::new(PART, CURSOR.to_owned(), cursor.as_ref());
        self.batch.state.push(change);
        self.cursor = cursor;
    }

    /// Submits the batch as one transaction. Never blocks.
    pub(super) fn write(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let ticket = self.history.write(&batch);
        if !self.is_waiting() {
            self.since = Instant::now();
        }
        self.unsettled.submit(ticket, batch, self.cursor.as_ref());
    }

    /// The next answer. If none comes for [`SLOW`], an answer that the batches are deferred. Cancel safe.
    pub(super) async fn answer(&mut self) -> Answer {
        let is_waiting = self.is_waiting();
        let slow = async {
            if is_waiting {
                wait(&mut self.since).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            answer = self.answers.next() => answer,
            () = slow => Answer {
                ticket: self.unsettled.submitted(),
                outcome: Outcome::Deferred,
                duplicates: Vec::new(),
                needs_full_state: false,
            },
        }
    }

    /// Applies an answer.
    pub(super) fn settle(&mut self, answer: Answer) -> Settled {
        self.since = Instant::now();
        if answer.needs_full_state {
            // Written again with the next batch.
            self.cursor = None;
        }
        self.unsettled.settle(answer)
    }

    /// Whether a batch has no answer yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.unsettled.is_waiting()
    }

    /// Whether the database can be written, as far as is known.
    pub(super) fn is_saving(&self) -> bool {
        self.status().failure.is_none()
    }

    /// The health of the database.
    pub(super) fn status(&self) -> Status {
        self.history.status()
    }

    /// Writes the last batch and closes the database.
    pub(super) async fn close(mut self) {
        self.write();
        self.history.close().await;
    }
}

/// Waits until [`SLOW`] after `since`. After a stop (`SIGSTOP`) the time begins again.
async fn wait(since: &mut Instant) {
    loop {
        sleep_until(*since + SLOW).await;
        if since.elapsed() < SLOW + LATE {
            return;
        }
        *since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stopped_process_makes_no_database_slow() {
        let start = Instant::now();
        let mut since = start;
        wait(&mut since).await;
        assert!((SLOW..SLOW + LATE).contains(&start.elapsed()));
        // Stopped for a minute, with an answer on its way.
        since = Instant::now();
        advance(Duration::from_mins(1)).await;
        assert!(timeout(SLOW / 2, wait(&mut since)).await.is_err());
        assert!(timeout(SLOW, wait(&mut since)).await.is_ok());
    }
}
