//! Tracks batches until the history database answers for them, and decides what an answer releases. Pure.

use std::collections::{HashSet, VecDeque};

use crate::{
    capture::observer::cursor::Cursor,
    model::report::Report,
    store::{Answer, Batch, Outcome, Ticket},
};

/// What waits for the answer to its batch, in the order of the batches.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    kills: VecDeque<(Ticket, Report)>,
    cursors: VecDeque<(Ticket, Cursor)>,
    /// Ids of kills that the database had already, until they are named.
    duplicates: HashSet<String>,
    submitted: Ticket,
    answered: Ticket,
}

/// What an answer releases.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::commands::agent) struct Settled {
    /// Kills to deliver, in this order.
    pub(in crate::commands::agent) kills: Vec<Report>,
    /// Ring position up to which everything is in the database.
    pub(in crate::commands::agent) saved: Option<Cursor>,
    /// Ring position up to which everything is in memory, but not in the database.
    pub(in crate::commands::agent) unsaved: Option<Cursor>,
    /// All state must be written again.
    pub(in crate::commands::agent) needs_full_state: bool,
}

impl Unsettled {
    /// Records a batch that was handed to the database, with the ring position up to which it and the earlier ones reach.
    pub(super) fn submit(&mut self, ticket: Ticket, batch: Batch, cursor: Option<&Cursor>) {
        let Batch { named, .. } = batch;
        self.kills
            .extend(named.into_iter().map(|report| (ticket, report)));
        let last = self.cursors.back().map(|(_, cursor)| cursor);
        if cursor != last {
            self.cursors
                .extend(cursor.map(|cursor| (ticket, cursor.clone())));
        }
        self.submitted = ticket;
    }

    /// Applies an answer. Kills are released by any answer; duplicates are left out.
    pub(super) fn settle(&mut self, answer: Answer) -> Settled {
        let Answer {
            ticket,
            outcome,
            duplicates,
            needs_full_state,
        } = answer;
        self.duplicates.extend(duplicates);
        self.answered = self.answered.max(ticket);
        let mut kills = up_to(&mut self.kills, ticket);
        kills.retain(|report| !self.duplicates.remove(&report.id));
        let mut last = None;
        while let Some(newer) = self.cursors.pop_front_if(|(of, _)| *of <= ticket) {
            last = Some(newer);
        }
        let mut settled = Settled {
            kills,
            needs_full_state,
            ..Settled::default()
        };
        match (outcome, last) {
            (_, None) => {}
            (Outcome::Saved, Some((_, cursor))) => settled.saved = Some(cursor),
            (Outcome::Deferred, Some(last)) => {
                settled.unsaved = Some(last.1.clone());
                // Released by the answer that it is saved.
                self.cursors.push_front(last);
            }
        }
        settled
    }

    /// Whether a batch has no answer yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.answered < self.submitted
    }

    /// The newest batch.
    pub(super) fn submitted(&self) -> Ticket {
        self.submitted
    }
}

/// Removes what belongs to batches up to a ticket.
fn up_to<T>(queue: &mut VecDeque<(Ticket, T)>, ticket: Ticket) -> Vec<T> {
    let mut taken = Vec::new();
    while let Some((_, one)) = queue.pop_front_if(|(of, _)| *of <= ticket) {
        taken.push(one);
    }
    taken
}

#[cfg(test)]
mod tests;
