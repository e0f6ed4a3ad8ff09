//! When which Event is sent to the API server, and what comes of its answer.
//!
//! Each object has at most one request under way, and waits for nobody but itself; what happens meanwhile is one more count
//! of its next request. All of it is plain data: written down and read back it goes on where it was.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    answer::{Answer, Method, Refusal},
    bucket::{Bucket, Rate},
    correlate::Verdict,
    letter::{Letter, Sent},
    notice::{Notice, Object, Outcome},
    object::{Event, Metadata},
    retry,
    waiting::{Run, Waiting},
};

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
    pub(super) verdict: Verdict,
    /// When it happened.
    pub(super) time_ns: u64,
    /// Not to be sent before.
    pub(super) not_before_ns: u64,
    /// The time between two writes of its object.
    pub(super) pace_ns: u64,
}

/// All that is to be told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Outbox {
    max_age_ns: u64,
    /// By namespace and name of the Event.
    letters: BTreeMap<String, Letter>,
    budget: Bucket,
    /// No more is taken, and each gets one more try.
    closing: bool,
    #[serde(skip)]
    notices: Vec<Notice>,
}

impl Outbox {
    pub(super) fn new(max_age_ns: u64, now_ns: u64) -> Self {
        Self {
            max_age_ns,
            letters: BTreeMap::new(),
            budget: Bucket::full(BUDGET, now_ns),
            closing: false,
            notices: Vec::new(),
        }
    }

    /// Takes one more incident.
    pub(super) fn put(&mut self, incident: Incident, now_ns: u64) {
        let Incident {
            object,
            event,
            verdict,
            time_ns,
            not_before_ns,
            pace_ns,
        } = incident;
        let key = event.metadata.key();
        if !self.letters.contains_key(&key) && !self.has_room() {
            self.settle(object, Outcome::Overflow, 1, now_ns.saturating_sub(time_ns));
            return;
        }
        let letter = self.letters.entry(key);
        let letter = letter.or_insert_with(|| Letter::new(object, event.clone()));
        letter.event = event;
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
        self.letters.retain(|_, letter| !letter.is_over(now_ns));
        let sent = || self.letters.values().filter(|letter| letter.sent.is_some());
        if sent().count() >= MAX_REQUESTS {
            return Next::Wait(None);
        }
        let may_retry = sent().filter(|letter| letter.failures > 0).count() < MAX_RETRIES;
        let may_go = |letter: &Letter| may_retry || letter.failures == 0;
        let due = self.letters.values_mut().filter(|letter| may_go(letter));
        let due = due.filter(|letter| letter.due_ns.is_some_and(|due| due <= now_ns));
        let Some(letter) = due.min_by_key(|letter| letter.precedence_ns()) else {
            let letters = || self.letters.values();
            let expires = letters().filter_map(|letter| letter.waiting.expires_ns(self.max_age_ns));
            let due = letters().filter(|letter| may_go(letter));
            let due = due.filter_map(|letter| letter.due_ns);
            return Next::Wait(due.chain(expires).min());
        };
        if !self.budget.take(BUDGET, now_ns) {
            return Next::Wait(Some(self.budget.ready_ns(BUDGET, now_ns)));
        }
        Next::Send(Box::new(letter.send(now_ns)))
    }

    /// Takes the answer to a request. `random` is at least 0 and less than 1. True if the server has all of the object now.
    pub(super) fn answered(
        &mut self,
        name: &Metadata,
        answer: &Answer,
        now_ns: u64,
        random: f64,
    ) -> bool {
        let Some(letter) = self.letters.get_mut(&name.key()) else {
            return false;
        };
        let Some(Sent { count, waiting }) = letter.sent.take() else {
            return false;
        };
        let object = letter.object;
        let (mut settled, mut outage) = (None, false);
        match answer {
            Answer::Accepted => {
                letter.exists = true;
                settled = Some((Outcome::Accepted, waiting));
            }
            // The first of a series is all there: any more may not be.
            Answer::AlreadyExists if count == 1 => {
                letter.exists = true;
                settled = Some((Outcome::Accepted, waiting));
            }
            Answer::AlreadyExists => {
                letter.exists = true;
                letter.again(waiting, now_ns, random);
            }
            Answer::NoSuchEvent => {
                letter.exists = false;
                letter.again(waiting, now_ns, random);
            }
            Answer::Refused(refusal) => {
                let outcome = match refusal {
                    Refusal::Invalid => Outcome::Refused,
                    Refusal::NoNamespace => Outcome::NoNamespace,
                };
                settled = Some((outcome, waiting));
            }
            Answer::Later { cause, after } => {
                outage = cause.is_outage();
                letter.failures = letter.failures.saturating_add(1);
                letter.outage = outage;
                letter.put_back(waiting);
                letter.due_ns = Some(retry::due_ns(now_ns, letter.failures, *after, random));
                let cause = *cause;
                self.notices.push(Notice::Delayed { object, cause });
                if self.closing {
                    settled = Some((Outcome::Abandoned, letter.waiting.take()));
                }
            }
        }
        let is_done = settled.is_some() && letter.waiting.is_empty();
        if settled.is_some() {
            letter.failures = 0;
            letter.outage = false;
            letter.due_ns = None;
            letter.make_due(now_ns, self.closing);
        }
        if let Some((outcome, waiting)) = settled {
            self.settle_runs(object, outcome, waiting.into_runs(), now_ns);
        }
        if !outage {
            self.outage_is_over(now_ns);
        }
        is_done
    }

    /// From now on each has one more try, at once.
    pub(super) fn close(&mut self, now_ns: u64) {
        self.closing = true;
        for letter in self.letters.values_mut() {
            letter.held = false;
            letter.due_ns = None;
            letter.make_due(now_ns, true);
        }
    }

    /// Gives up what is left.
    pub(super) fn abandon(&mut self, now_ns: u64) {
        for letter in std::mem::take(&mut self.letters).into_values() {
            let sent = letter.sent.map(|sent| sent.waiting);
            let runs = sent.into_iter().chain([letter.waiting]);
            let runs = runs.flat_map(Waiting::into_runs);
            self.settle_runs(letter.object, Outcome::Abandoned, runs, now_ns);
        }
    }

    /// Incidents that are yet to be told.
    pub(super) fn pending(&self) -> u64 {
        let pending = self.letters.values().map(Letter::pending);
        pending.sum()
    }

    /// Counts an incident that is not told.
    pub(super) fn settle(&mut self, object: Object, outcome: Outcome, incidents: u32, age_ns: u64) {
        self.notices.push(Notice::Settled {
            object,
            outcome,
            incidents,
            age_ns,
        });
    }

    /// What happened since the last call.
    pub(super) fn notices(&mut self) -> Vec<Notice> {
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
        let mut expired = Vec::new();
        for letter in self.letters.values_mut() {
            let runs = letter.waiting.expire(self.max_age_ns, now_ns);
            if letter.waiting.is_empty() {
                letter.due_ns = None;
            }
            expired.extend(runs.into_iter().map(|run| (letter.object, run)));
        }
        for (object, run) in expired {
            self.settle_runs(object, Outcome::Expired, std::iter::once(run), now_ns);
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
        let Some(name) = idle.map(|(name, _)| name.clone()) else {
            return false;
        };
        self.letters.remove(&name).is_some()
    }

    /// Whatever waits because the server could not answer need wait no longer.
    fn outage_is_over(&mut self, now_ns: u64) {
        for letter in self.letters.values_mut().filter(|letter| letter.outage) {
            letter.outage = false;
            letter.due_ns = letter.due_ns.map(|due| due.min(now_ns));
        }
    }
}

#[cfg(test)]
mod tests;
