//! When which Event is sent to the API server, and what comes of its answer.
//!
//! Each object has at most one request under way, and waits for nobody but itself; what happens meanwhile is one more count
//! of its next request. What is saved of it goes on where it was; a request under way at that time counts as not sent, as its
//! answer is not known.

mod answered;

use super::{
    answer::Method,
    bucket::{Bucket, Rate},
    correlate::Verdict,
    notice::{DeliveryStat, Object, Outcome},
    object::{Event, Metadata},
    waiting::{Run, Waiting},
};
use crate::deliver::events::{event_counter::Ownership, pending_event::PendingEvent};
use crate::model::persist::{self, Change, Entry, table::Table};

pub(super) use self::answered::Answered;

/// Of the journal.
const PART: &str = "outbox";

/// Objects with something to be told, or told a moment ago.
pub(super) const CAPACITY: usize = 1024;
/// Requests under way at once, and those of them that may be for what failed before: a server that lets one object's
/// requests wait must not let the others' wait too.
const MAX_REQUESTS: usize = 8;
const MAX_RETRIES: usize = 4;
/// Requests to the API server.
const BUDGET: Rate = Rate {
    per_second: 5.0,
    burst: 25.0,
};

/// A request to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it is about.
    pub object: Object,
    /// What is asked.
    pub method: Method,
    /// The Event as it is now.
    pub event: Event,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send this.
    Send(Box<Request>),
    /// Wait for an answer or a kill, or until then.
    Wait(Option<u64>),
}

/// One more incident to be told.
pub(super) struct Incident {
    pub(super) object: Object,
    /// With the count of all so far.
    pub(super) event: Event,
    pub(super) origin: Ownership,
    pub(super) verdict: Verdict,
    /// When it happened.
    pub(super) time_ns: u64,
    /// Not to be sent before.
    pub(super) not_before_ns: u64,
    /// The time between two writes of its object.
    pub(super) pace_ns: u64,
}

/// What becomes of what cannot be delivered before the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// It is given up.
    Abandoned,
    /// It waits for the next start, as it is saved.
    Kept,
}

/// All that is to be told.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    max_age_ns: u64,
    /// By namespace and name of the Event.
    letters: Table<PendingEvent>,
    budget: Bucket,
    /// Each gets one more try.
    closing: Option<Undelivered>,
    notices: Vec<DeliveryStat>,
}

impl Outbox {
    /// What was saved of it, nothing of which is sent before `not_before_ns`.
    pub(super) fn restore(
        saved: &[Entry],
        max_age_ns: u64,
        now_ns: u64,
        not_before_ns: u64,
    ) -> Self {
        let letters: Table<PendingEvent> = Table::restore(persist::read(saved, PART, ""));
        let mut outbox = Self {
            max_age_ns,
            letters,
            budget: Bucket::full(BUDGET, now_ns),
            closing: None,
            notices: Vec::new(),
        };
        for letter in outbox.letters.values_unsaved_mut() {
            letter.make_due(not_before_ns, outbox.closing);
        }
        outbox
    }

    /// Takes one more incident.
    pub(super) fn put(&mut self, incident: Incident, now_ns: u64) {
        let Incident {
            object,
            event,
            origin,
            verdict,
            time_ns,
            not_before_ns,
            pace_ns,
        } = incident;
        let key = event.metadata.key();
        let age_ns = now_ns.saturating_sub(time_ns);
        if age_ns > self.max_age_ns {
            // It is part of what is told of others.
            if let Some(letter) = self.letters.get_mut(&key) {
                letter.event = event;
            }
            self.settle(object, Outcome::Expired, 1, age_ns);
            return;
        }
        if self.letters.get(&key).is_none() && !self.has_room() {
            self.settle(object, Outcome::Overflow, 1, age_ns);
            return;
        }
        let new = || PendingEvent::new(object, event.clone(), origin);
        let letter = self.letters.entry(&key, new);
        letter.event = event;
        letter.origin = origin;
        letter.pace_ns = pace_ns;
        letter.held = verdict == Verdict::Hold && (letter.held || letter.waiting.is_empty());
        letter.waiting.add(time_ns);
        letter.make_due(now_ns.max(not_before_ns), self.closing);
    }

    /// The correlator no longer holds this back.
    pub(super) fn release(&mut self, name: &Metadata, now_ns: u64) {
        if let Some(letter) = self.letters.get_mut(&name.key()) {
            letter.held = false;
            letter.make_due(now_ns, self.closing);
        }
    }

    /// What to do now.
    pub(super) fn next(&mut self, now_ns: u64) -> Next {
        self.expire(now_ns);
        self.letters.retain(|letter| !letter.is_over(now_ns));
        let sent = || self.letters.values().filter(|letter| letter.sent.is_some());
        if sent().count() >= MAX_REQUESTS {
            return Next::Wait(None);
        }
        let may_retry = sent().filter(|letter| letter.failures > 0).count() < MAX_RETRIES;
        let may_go = |letter: &PendingEvent| may_retry || letter.failures == 0;
        let due = self.letters.iter().filter(|(_, letter)| may_go(letter));
        let due = due.filter(|(_, letter)| letter.due_ns.is_some_and(|due| due <= now_ns));
        let first = due.min_by_key(|(_, letter)| letter.precedence_ns());
        let Some(key) = first.map(|(key, _)| key.to_owned()) else {
            let letters = || self.letters.values();
            let expires = letters().filter_map(|letter| letter.waiting.expires_ns(self.max_age_ns));
            let due = letters().filter(|letter| may_go(letter));
            let due = due.filter_map(|letter| letter.due_ns);
            return Next::Wait(due.chain(expires).min());
        };
        if !self.budget.take(BUDGET, now_ns) {
            return Next::Wait(Some(self.budget.ready_ns(BUDGET, now_ns)));
        }
        match self.letters.get_mut(&key) {
            Some(letter) => Next::Send(Box::new(letter.send(now_ns))),
            None => Next::Wait(None),
        }
    }

    /// From now on each has one more try, at once.
    pub(super) fn close(&mut self, undelivered: Undelivered, now_ns: u64) {
        self.closing = Some(undelivered);
        for letter in self.letters.values_mut() {
            letter.held = false;
            letter.due_ns = None;
            letter.make_due(now_ns, self.closing);
        }
    }

    /// Whether anything is under way, or is to be sent at a time.
    pub(super) fn is_trying(&self) -> bool {
        let mut letters = self.letters.values();
        letters.any(|letter| letter.sent.is_some() || letter.due_ns.is_some())
    }

    /// Gives up what is left.
    pub(super) fn abandon(&mut self, now_ns: u64) {
        let keys: Vec<String> = self.letters.iter().map(|(key, _)| key.to_owned()).collect();
        let letters = keys.iter().filter_map(|key| self.letters.remove(key));
        for letter in letters.collect::<Vec<_>>() {
            let sent = letter.sent.map(|sent| sent.waiting);
            let runs = sent.into_iter().chain([letter.waiting]);
            let runs = runs.flat_map(Waiting::into_runs);
            self.settle_runs(letter.object, Outcome::Abandoned, runs, now_ns);
        }
    }

    /// Incidents that are yet to be told.
    pub(super) fn pending(&self) -> u64 {
        let pending = self.letters.values().map(PendingEvent::pending);
        pending.sum()
    }

    /// Counts an incident that is not told.
    pub(super) fn settle(&mut self, object: Object, outcome: Outcome, incidents: u32, age_ns: u64) {
        self.notices.push(DeliveryStat::Settled {
            object,
            outcome,
            incidents,
            age_ns,
        });
    }

    /// What is held back until the correlator releases it.
    pub(super) fn held(&self) -> impl Iterator<Item = &Event> {
        let held = self.letters.values().filter(|letter| letter.held);
        held.map(|letter| &letter.event)
    }

    /// Forgets what is not `wanted` any more.
    pub(super) fn keep(&mut self, is_wanted: impl Fn(Object, &Event) -> bool, now_ns: u64) {
        let all = self.letters.iter();
        let unwanted = all.filter(|(_, letter)| !is_wanted(letter.object, &letter.event));
        let unwanted: Vec<String> = unwanted.map(|(key, _)| key.to_owned()).collect();
        for key in unwanted {
            if let Some(letter) = self.letters.remove(&key) {
                let runs = letter.waiting.into_runs();
                self.settle_runs(letter.object, Outcome::Excluded, runs, now_ns);
            }
        }
    }

    /// What has changed since the last call.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        self.letters.changes(usize::MAX, |key, letter| {
            let saved = letter.map(PendingEvent::to_saved);
            Change::new(PART, key.to_owned(), saved.as_ref())
        })
    }

    /// All of it is to be saved anew.
    pub(super) fn mark_all_dirty(&mut self) {
        self.letters.mark_all_dirty();
    }

    /// What happened since the last call.
    pub(super) fn notices(&mut self) -> Vec<DeliveryStat> {
        std::mem::take(&mut self.notices)
    }

    fn settle_runs(
        &mut self,
        object: Object,
        outcome: Outcome,
        runs: impl Iterator<Item = Run>,
        now_ns: u64,
    ) {
        for run in runs {
            let age_ns = now_ns.saturating_sub(run.first_ns);
            self.settle(object, outcome, run.incidents, age_ns);
        }
    }

    fn expire(&mut self, now_ns: u64) {
        let age_ns = self.max_age_ns;
        let is_old = |letter: &PendingEvent| {
            let expires = letter.waiting.expires_ns(age_ns);
            expires.is_some_and(|expires| expires <= now_ns)
        };
        let old = self.letters.iter().filter(|(_, letter)| is_old(letter));
        let old: Vec<String> = old.map(|(key, _)| key.to_owned()).collect();
        for key in old {
            let Some(letter) = self.letters.get_mut(&key) else {
                continue;
            };
            let object = letter.object;
            let runs = letter.waiting.expire(age_ns, now_ns);
            if letter.waiting.is_empty() {
                letter.due_ns = None;
            }
            self.settle_runs(object, Outcome::Expired, runs.into_iter(), now_ns);
        }
    }

    /// Room for one more object, for which one that has nothing to tell is forgotten.
    fn has_room(&mut self) -> bool {
        if self.letters.len() < CAPACITY {
            return true;
        }
        let idle = self
            .letters
            .iter()
            .find(|(_, letter)| letter.pending() == 0);
        let Some(name) = idle.map(|(name, _)| name.to_owned()) else {
            return false;
        };
        self.letters.remove(&name).is_some()
    }
}

#[cfg(test)]
mod tests;
