//! What goes into the journal, and what may go on once it is there.
//!
//! A kill is written down when it is seen, and again when it has its names; only then is it told. What has been handed over
//! by the kernel is let go when all of it is written down. A journal that cannot be written holds nothing up: then kills are
//! told all the same, and the kernel keeps what it has room for.

use std::collections::{HashSet, VecDeque};

use tokio::time::{Duration, Instant, sleep_until};

use crate::{
    capture::observer::cursor::Cursor,
    model::{
        persist::{Change, Entry},
        report::{GapReport, Report},
    },
    store::{Answer, Answers, Batch, History, Outcome, Status, Ticket},
};

/// Of the state: up to where the records of the kernel's ring are in the journal. It holds for a boot.
pub(super) const PART: &str = "ring";
const CURSOR: &str = "cursor";
/// How long an answer is waited for: a disk that hangs is one that cannot be written.
const SLOW: Duration = Duration::from_secs(10);

/// The journal, and what waits for it.
#[derive(Debug)]
pub(super) struct HistoryQueue {
    journal: History,
    answers: Answers,
    /// What is written next, all at once.
    batch: Batch,
    /// Kills with their names, until the journal has them.
    named: VecDeque<(Ticket, Report)>,
    /// Kills that were only counted, likewise.
    gaps: VecDeque<(Ticket, GapReport)>,
    /// Up to where the ring was read, until the journal has all of it.
    read: VecDeque<(Ticket, Cursor)>,
    /// The last of these.
    cursor: Option<Cursor>,
    /// Kills that the journal had already.
    known: HashSet<String>,
    /// The last that was written, and the last that has an answer.
    written: Ticket,
    answered: Ticket,
    /// Since when an answer is waited for.
    since: Instant,
}

/// What may go on.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Kills that were only counted, to be told.
    pub(super) gaps: Vec<GapReport>,
    /// Kills to be told, in this order.
    pub(super) kills: Vec<Report>,
    /// Up to where the ring is in the journal.
    pub(super) saved: Option<Cursor>,
    /// Up to where it is not, and can only be kept by the kernel.
    pub(super) unsaved: Option<Cursor>,
    /// All state has to be written anew.
    pub(super) needs_full_state: bool,
}

/// Where the last agent was in the ring.
pub(super) fn cursor(saved: &[Entry]) -> Option<Cursor> {
    let is_it = |entry: &&Entry| entry.part == PART && entry.key == CURSOR;
    serde_json::from_str(&saved.iter().find(is_it)?.value).ok()
}

impl HistoryQueue {
    pub(super) fn new(journal: History, answers: Answers) -> Self {
        Self {
            journal,
            answers,
            batch: Batch::default(),
            named: VecDeque::new(),
            gaps: VecDeque::new(),
            read: VecDeque::new(),
            cursor: None,
            known: HashSet::new(),
            written: Ticket(0),
            answered: Ticket(0),
            since: Instant::now(),
        }
    }

    /// A kill was seen.
    pub(super) fn seen(&mut self, report: &Report) {
        self.batch.kills.push(report.clone());
    }

    /// Kills were only counted.
    pub(super) fn gap(&mut self, report: GapReport) {
        self.batch.gaps.push(report);
    }

    /// A kill has its names.
    pub(super) fn named(&mut self, report: Report) {
        self.batch.named.push(report);
    }

    /// A kill was told.
    pub(super) fn told(&mut self, id: String) {
        self.batch.delivered.push(id);
    }

    /// What has changed.
    pub(super) fn state(&mut self, changes: Vec<Change>) {
        self.batch.state.extend(changes);
    }

    /// The ring was read up to here, and all that was in it before is part of this.
    pub(super) fn read(&mut self, cursor: Option<Cursor>) {
        if cursor == self.cursor {
            return;
        }
        let change = cursor.as_ref();
        self.batch
            .state
            .push(Change::new(PART, CURSOR.to_owned(), change));
        self.cursor = cursor;
    }

    /// Hands all of it on, in one transaction. Never waits.
    pub(super) fn write(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let ticket = self.journal.write(&self.batch);
        if !self.is_waiting() {
            self.since = Instant::now();
        }
        self.written = ticket;
        let batch = std::mem::take(&mut self.batch);
        let named = batch.named.into_iter().map(|report| (ticket, report));
        self.named.extend(named);
        let gaps = batch.gaps.into_iter().map(|report| (ticket, report));
        self.gaps.extend(gaps);
        let last = self.read.back().map(|(_, cursor)| cursor);
        if let Some(cursor) = &self.cursor
            && last != Some(cursor)
        {
            self.read.push_back((ticket, cursor.clone()));
        }
    }

    /// What has become of what was written; if nobody says so for long, that it is kept. Dropping this future loses none.
    pub(super) async fn answer(&mut self) -> Answer {
        let (since, is_waiting) = (self.since, self.is_waiting());
        let slow = async {
            if is_waiting {
                sleep_until(since + SLOW).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            answer = self.answers.next() => answer,
            () = slow => Answer {
                ticket: self.written,
                outcome: Outcome::Deferred,
                duplicates: Vec::new(),
                needs_full_state: false,
            },
        }
    }

    /// What may go on after an answer.
    pub(super) fn settle(&mut self, answer: Answer) -> Settled {
        let Answer {
            ticket,
            outcome,
            duplicates,
            needs_full_state,
        } = answer;
        self.known.extend(duplicates);
        self.answered = self.answered.max(ticket);
        self.since = Instant::now();
        let mut settled = Settled {
            needs_full_state,
            ..Settled::default()
        };
        while let Some((_, report)) = self.named.pop_front_if(|(named, _)| *named <= ticket) {
            if !self.known.remove(&report.id) {
                settled.kills.push(report);
            }
        }
        while let Some((_, report)) = self.gaps.pop_front_if(|(counted, _)| *counted <= ticket) {
            settled.gaps.push(report);
        }
        let mut last = None;
        while let Some((at, cursor)) = self.read.pop_front_if(|(read, _)| *read <= ticket) {
            last = Some((at, cursor));
        }
        match outcome {
            Outcome::Saved => settled.saved = last.map(|(_, cursor)| cursor),
            Outcome::Deferred => {
                settled.unsaved = last.as_ref().map(|(_, cursor)| cursor.clone());
                // It is saved with what is kept.
                self.read.extend(last);
                self.read
                    .rotate_right(usize::from(settled.unsaved.is_some()));
            }
        }
        settled
    }

    /// Forgets where the ring was, so that it is written again.
    pub(super) fn mark_all_dirty(&mut self) {
        self.cursor = None;
    }

    /// Whether anything waits for it.
    pub(super) fn is_waiting(&self) -> bool {
        self.answered < self.written
    }

    /// Whether it is written, as far as is known.
    pub(super) fn is_saving(&self) -> bool {
        self.status().failure.is_none()
    }

    /// How the journal is.
    pub(super) fn status(&self) -> Status {
        self.journal.status()
    }

    /// Writes what is left.
    pub(super) async fn close(mut self) {
        self.write();
        self.journal.close().await;
    }
}
