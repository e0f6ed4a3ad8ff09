//! The event queue: decides when each Event is sent to the API server, and what a response leads to.
//!
//! Each object has at most one request in flight and waits for no other object. Incidents that arrive meanwhile are added to the
//! count of its next request. A request that was in flight when the queue was saved counts as not sent after a restore, because
//! its response is not known.
//!
//! While the server is away there is one request at a time, for all objects together, with growing delays.

mod fairness;
mod responses;

use self::fairness::{CAPACITY, Turns};
use super::{
    bucket::{Bucket, Rate},
    event_counter::{CountedEvent, WriteDecision},
    object::{Event, Metadata},
    pending_event::{PendingEvent, Request, Undelivered},
    stats::{DeliveryStat, Object, Outcome},
    unsent::{IncidentRun, UnsentIncidents},
};
use crate::model::persist::{self, Change, Entry, table::Table};

pub(super) use self::responses::ResponseEffect;

/// The part of the history that the rows are saved as.
const PART: &str = "event_queue";

/// Maximum number of requests in flight, and of retries among them: if the server does not answer the requests for some objects,
/// those for the others go on.
const MAX_REQUESTS: usize = 8;
const MAX_RETRIES: usize = 4;
/// Maximum rate of requests to the API server.
const BUDGET: Rate = Rate {
    per_second: 5.0,
    burst: 25.0,
};

/// What the sender does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// It sends this request.
    Send(Box<Request>),
    /// It waits for a response, a kill, or this time of the persistent clock.
    Wait(Option<u64>),
}

/// An incident to be delivered.
pub(super) struct QueuedIncident {
    pub(super) object: Object,
    /// The state of its object, with the count of all incidents so far.
    pub(super) counted: CountedEvent,
    /// Time of the kill.
    pub(super) time_ns: u64,
    /// Earliest time of the request.
    pub(super) not_before_ns: u64,
}

/// The API server does not answer, or not as one.
#[derive(Clone, Copy, Debug)]
struct Outage {
    /// Failed attempts so far; requests that were in flight together are one.
    attempts: u32,
    /// Time of the next attempt.
    next_ns: u64,
}

/// The Event objects with incidents that the API server does not have yet.
#[derive(Clone, Debug)]
pub(super) struct EventQueue {
    max_age_ns: u64,
    /// By namespace and name of the Event.
    events: Table<PendingEvent>,
    budget: Bucket,
    turns: Turns,
    outage: Option<Outage>,
    /// Set at shutdown, when each object gets one more request.
    closing: Option<Undelivered>,
    stats: Vec<DeliveryStat>,
}

impl EventQueue {
    /// Restores the saved rows; none of them is sent before `not_before_ns`.
    pub(super) fn restore(
        saved: &[Entry],
        max_age_ns: u64,
        now_ns: u64,
        not_before_ns: u64,
    ) -> Self {
        let mut queue = Self {
            max_age_ns,
            events: Table::restore(persist::read(saved, PART, "")),
            budget: Bucket::full(BUDGET, now_ns),
            turns: Turns::default(),
            outage: None,
            closing: None,
            stats: Vec::new(),
        };
        for pending in queue.events.values_unsaved_mut() {
            pending.make_due(not_before_ns, queue.closing);
        }
        queue
    }

    /// Adds an incident.
    pub(super) fn push(&mut self, incident: QueuedIncident, now_ns: u64) {
        let QueuedIncident {
            object,
            counted,
            time_ns,
            not_before_ns,
        } = incident;
        let CountedEvent {
            event,
            ownership,
            decision,
            pace_ns,
        } = counted;
        let key = event.metadata.key();
        let age_ns = now_ns.saturating_sub(time_ns);
        if age_ns > self.max_age_ns {
            // It is part of the count that other incidents of its object are sent with.
            let about = event.about();
            if let Some(pending) = self.events.get_mut(&key) {
                pending.event = event;
            }
            self.settle(object, about, Outcome::Expired, 1, age_ns);
            return;
        }
        if self.events.get(&key).is_none() && !self.make_room(object, &event, now_ns) {
            self.settle(object, event.about(), Outcome::Overflow, 1, age_ns);
            return;
        }
        let new = || PendingEvent::new(object, event.clone(), ownership);
        let pending = self.events.entry(&key, new);
        pending.event = event;
        pending.ownership = ownership;
        pending.pace_ns = pace_ns;
        pending.held =
            decision == WriteDecision::Hold && (pending.held || pending.unsent.is_empty());
        pending.unsent.add(time_ns);
        pending.make_due(now_ns.max(not_before_ns), self.closing);
    }

    /// Schedules an object that the correlator no longer holds back.
    pub(super) fn release(&mut self, name: &Metadata, now_ns: u64) {
        if let Some(pending) = self.events.get_mut(&name.key()) {
            pending.held = false;
            pending.make_due(now_ns, self.closing);
        }
    }

    /// The request to send now, or the time to wait for.
    pub(super) fn next(&mut self, now_ns: u64) -> Next {
        self.expire(now_ns);
        self.events.retain(|pending| !pending.is_done(now_ns));
        let all = || self.events.values();
        let in_flight = || all().filter(|pending| pending.in_flight.is_some());
        let outage = self.outage.filter(|_| self.closing.is_none());
        let max_requests = outage.map_or(MAX_REQUESTS, |_| 1);
        if in_flight().count() >= max_requests {
            return Next::Wait(None);
        }
        let retries = in_flight().filter(|pending| pending.failures > 0);
        let may_retry = retries.count() < MAX_RETRIES;
        let may_send = |pending: &PendingEvent| may_retry || pending.failures == 0;
        let due = self.events.iter().filter(|(_, pending)| may_send(pending));
        let due = due.filter(|(_, pending)| pending.due_ns.is_some_and(|due| due <= now_ns));
        let first = due.min_by_key(|(_, pending)| self.turns.precedence(pending, now_ns));
        let expires = all()
            .filter_map(|pending| pending.unsent.expires_ns(self.max_age_ns))
            .min();
        if first.is_some()
            && let Some(Outage { next_ns, .. }) = outage
            && next_ns > now_ns
        {
            return Next::Wait(expires.into_iter().chain([next_ns]).min());
        }
        let Some(key) = first.map(|(key, _)| key.to_owned()) else {
            let due = all().filter(|pending| may_send(pending));
            let due = due.filter_map(|pending| pending.due_ns);
            return Next::Wait(due.chain(expires).min());
        };
        if !self.budget.try_take(BUDGET, now_ns) {
            return Next::Wait(Some(self.budget.ready_ns(BUDGET, now_ns)));
        }
        let Some(pending) = self.events.get_mut(&key) else {
            return Next::Wait(None);
        };
        let request = pending.send(now_ns);
        self.turns.take(request.object, &request.event);
        Next::Send(Box::new(request))
    }

    /// Starts the shutdown: each object gets one more request, at once.
    pub(super) fn close(&mut self, undelivered: Undelivered, now_ns: u64) {
        self.closing = Some(undelivered);
        for pending in self.events.values_mut() {
            pending.held = false;
            pending.due_ns = None;
            pending.make_due(now_ns, self.closing);
        }
    }

    /// Whether a request is due or in flight.
    pub(super) fn has_requests_left(&self) -> bool {
        let mut events = self.events.values();
        events.any(|pending| pending.in_flight.is_some() || pending.due_ns.is_some())
    }

    /// Drops and counts the incidents that are not delivered.
    pub(super) fn abandon(&mut self, now_ns: u64) {
        let keys: Vec<String> = self.events.iter().map(|(key, _)| key.to_owned()).collect();
        let events = keys.iter().filter_map(|key| self.events.remove(key));
        for pending in events.collect::<Vec<_>>() {
            let in_flight = pending.in_flight.map(|in_flight| in_flight.incidents);
            let runs = in_flight.into_iter().chain([pending.unsent]);
            let runs = runs.flat_map(UnsentIncidents::into_runs);
            let about = pending.event.about();
            self.settle_runs(pending.object, &about, Outcome::Abandoned, runs, now_ns);
        }
    }

    /// Number of incidents that are not delivered yet.
    pub(super) fn pending(&self) -> u64 {
        self.events.values().map(PendingEvent::undelivered).sum()
    }

    /// Counts incidents that have an outcome. `age_ns` is the age of the first one.
    pub(super) fn settle(
        &mut self,
        object: Object,
        about: String,
        outcome: Outcome,
        incidents: u32,
        age_ns: u64,
    ) {
        self.stats.push(DeliveryStat::Settled {
            object,
            about,
            outcome,
            incidents,
            age_ns,
        });
    }

    /// The Events of objects that are held back until the correlator releases them.
    pub(super) fn held(&self) -> impl Iterator<Item = &Event> {
        let held = self.events.values().filter(|pending| pending.held);
        held.map(|pending| &pending.event)
    }

    /// Drops and counts the Events that are not wanted.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(Object, &Event) -> bool, now_ns: u64) {
        let all = self.events.iter();
        let unwanted = all.filter(|(_, pending)| !is_wanted(pending.object, &pending.event));
        let unwanted: Vec<String> = unwanted.map(|(key, _)| key.to_owned()).collect();
        for key in unwanted {
            if let Some(pending) = self.events.remove(&key) {
                let about = pending.event.about();
                let runs = pending.unsent.into_runs();
                self.settle_runs(pending.object, &about, Outcome::Excluded, runs, now_ns);
            }
        }
    }

    /// The rows that changed since the last call.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        self.events.changes(usize::MAX, |key, pending| {
            let saved = pending.map(PendingEvent::to_saved);
            Change::new(PART, key.to_owned(), saved.as_ref())
        })
    }

    /// Makes every row a change, because the saved rows are lost.
    pub(super) fn mark_all_dirty(&mut self) {
        self.events.mark_all_dirty();
    }

    /// The outcomes and delays since the last call.
    pub(super) fn take_stats(&mut self) -> Vec<DeliveryStat> {
        std::mem::take(&mut self.stats)
    }

    fn settle_runs(
        &mut self,
        object: Object,
        about: &str,
        outcome: Outcome,
        runs: impl Iterator<Item = IncidentRun>,
        now_ns: u64,
    ) {
        for run in runs {
            let age_ns = now_ns.saturating_sub(run.first_ns);
            self.settle(object, about.to_owned(), outcome, run.incidents, age_ns);
        }
    }

    /// Drops and counts the incidents that are too old.
    fn expire(&mut self, now_ns: u64) {
        let age_ns = self.max_age_ns;
        let is_old = |pending: &PendingEvent| {
            let expires = pending.unsent.expires_ns(age_ns);
            expires.is_some_and(|expires| expires <= now_ns)
        };
        let old = self.events.iter().filter(|(_, pending)| is_old(pending));
        let old: Vec<String> = old.map(|(key, _)| key.to_owned()).collect();
        for key in old {
            let Some(pending) = self.events.get_mut(&key) else {
                continue;
            };
            let (object, about) = (pending.object, pending.event.about());
            let runs = pending.unsent.expire(age_ns, now_ns);
            if pending.unsent.is_empty() {
                pending.due_ns = None;
            }
            self.settle_runs(object, &about, Outcome::Expired, runs.into_iter(), now_ns);
        }
    }

    /// Whether there is room for one more object, for which an idle one may be dropped, or one of a namespace with more objects.
    fn make_room(&mut self, object: Object, event: &Event, now_ns: u64) -> bool {
        if self.events.len() < CAPACITY {
            return true;
        }
        let idle = {
            let mut all = self.events.iter();
            all.find(|(_, pending)| pending.undelivered() == 0)
        };
        let dropped = idle.map(|(key, _)| key);
        let dropped = dropped.or_else(|| fairness::displaced(&self.events, object, event));
        let Some(key) = dropped.map(str::to_owned) else {
            return false;
        };
        let Some(pending) = self.events.remove(&key) else {
            return false;
        };
        let about = pending.event.about();
        let runs = pending.unsent.into_runs();
        self.settle_runs(pending.object, &about, Outcome::Overflow, runs, now_ns);
        true
    }
}

#[cfg(test)]
mod tests;
