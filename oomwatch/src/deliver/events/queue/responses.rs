//! Applies the API server's responses to the event queue.

use super::{EventQueue, Outage};
use crate::deliver::events::{
    event_counter::{ConflictResolution, Ownership},
    object::Metadata,
    pending_event::{InFlight, Undelivered},
    response::{Refusal, Response},
    retry,
    stats::{DeliveryStat, Outcome},
};

/// What a response means for the correlator and the series.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::deliver::events) struct ResponseEffect {
    /// The object has no unsent incidents left.
    pub(in crate::deliver::events) is_complete: bool,
    pub(in crate::deliver::events) resolution: Option<ConflictResolution>,
}

impl EventQueue {
    /// Applies the response to the request for an Event. `random` is at least 0 and less than 1.
    pub(in crate::deliver::events) fn handle_response(
        &mut self,
        name: &Metadata,
        response: &Response,
        now_ns: u64,
        random: f64,
    ) -> ResponseEffect {
        let Some(pending) = self.events.get_mut(&name.key()) else {
            return ResponseEffect::default();
        };
        let Some(InFlight { count, incidents }) = pending.in_flight.take() else {
            return ResponseEffect::default();
        };
        let (object, about) = (pending.object, pending.event.about());
        let (mut settled, mut outage, mut resolution) = (None, false, None);
        match response {
            Response::Accepted => {
                pending.exists = true;
                if pending.ownership == Ownership::Unknown {
                    pending.ownership = Ownership::Ours;
                    resolution = Some(ConflictResolution::Ours);
                }
                settled = Some((Outcome::Accepted, incidents));
            }
            Response::AlreadyExists if pending.ownership == Ownership::Unknown => {
                let next = self.start_own_object(name, InFlight { count, incidents }, now_ns);
                self.end_outage(now_ns);
                return ResponseEffect {
                    is_complete: true,
                    resolution: next.map(ConflictResolution::Others),
                };
            }
            // The existing object has the first incident, which is all that this request reports.
            Response::AlreadyExists if count == 1 => {
                pending.exists = true;
                settled = Some((Outcome::Accepted, incidents));
            }
            Response::AlreadyExists => {
                pending.exists = true;
                pending.retry_other_method(incidents, now_ns, random);
            }
            Response::NotFound => {
                pending.exists = false;
                pending.retry_other_method(incidents, now_ns, random);
            }
            Response::Refused(refusal) => {
                let outcome = match refusal {
                    Refusal::Invalid => Outcome::Refused,
                    Refusal::NoNamespace => Outcome::NoNamespace,
                };
                settled = Some((outcome, incidents));
            }
            Response::RetryLater { cause, retry_after } => {
                outage = cause.is_outage();
                pending.failures = pending.failures.saturating_add(1);
                pending.outage = outage;
                pending.put_back(incidents);
                pending.due_ns = Some(retry::due_ns(
                    now_ns,
                    pending.failures,
                    *retry_after,
                    random,
                ));
                let cause = *cause;
                self.stats.push(DeliveryStat::Delayed { object, cause });
                match self.closing {
                    Some(Undelivered::Abandoned) => {
                        settled = Some((Outcome::Abandoned, pending.unsent.take()));
                    }
                    Some(Undelivered::Kept) => pending.due_ns = None,
                    None => {}
                }
            }
        }
        let is_complete = settled.is_some() && pending.unsent.is_empty();
        if settled.is_some() {
            pending.failures = 0;
            pending.outage = false;
            pending.due_ns = None;
            pending.make_due(now_ns, self.closing);
        }
        if let Some((outcome, incidents)) = settled {
            self.settle_runs(object, &about, outcome, incidents.into_runs(), now_ns);
        }
        if outage {
            self.extend_outage(now_ns, random);
        } else {
            self.end_outage(now_ns);
        }
        ResponseEffect {
            is_complete,
            resolution,
        }
    }

    /// Counts the incidents after the first one on an object of this agent's own, because the existing object has the first one
    /// and its count is not known. Returns the name of that object.
    fn start_own_object(
        &mut self,
        name: &Metadata,
        in_flight: InFlight,
        now_ns: u64,
    ) -> Option<Metadata> {
        let mut pending = self.events.remove(&name.key())?;
        let InFlight {
            count,
            mut incidents,
        } = in_flight;
        // With fewer incidents than counted the first one has expired, and has its outcome already.
        if incidents.count() == count
            && let Some(first) = incidents.take_first()
        {
            let runs = std::iter::once(first);
            let about = pending.event.about();
            self.settle_runs(pending.object, &about, Outcome::Accepted, runs, now_ns);
        }
        pending.put_back(incidents);
        pending.event.count = pending.event.count.saturating_sub(1);
        pending.event.metadata = pending.event.next_name();
        pending.failures = 0;
        pending.outage = false;
        pending.last_sent_ns = None;
        pending.make_due(now_ns, self.closing);
        let next = pending.event.metadata.clone();
        if !pending.unsent.is_empty() {
            self.events.insert(next.key(), pending);
        }
        Some(next)
    }

    /// Delays the next attempt, unless the failed one began before the last delay.
    fn extend_outage(&mut self, now_ns: u64, random: f64) {
        let last = self.outage.unwrap_or(Outage {
            attempts: 0,
            next_ns: 0,
        });
        if last.next_ns <= now_ns {
            let attempts = last.attempts.saturating_add(1);
            let next_ns = retry::due_ns(now_ns, attempts, None, random);
            self.outage = Some(Outage { attempts, next_ns });
        }
    }

    /// Makes the requests due at once that wait for the end of a server outage.
    fn end_outage(&mut self, now_ns: u64) {
        self.outage = None;
        let events = self.events.values_unsaved_mut();
        for pending in events.filter(|pending| pending.outage) {
            pending.outage = false;
            pending.due_ns = pending.due_ns.map(|due| due.min(now_ns));
        }
    }
}
