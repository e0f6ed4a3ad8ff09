//! One Event object with the incidents that the API server does not have yet, and the time of its next request.

use serde::{Deserialize, Serialize};

use super::{
    bucket::SECOND_NS, event_counter::Ownership, object::Event, response::Method, retry,
    stats::Object, unsent::UnsentIncidents,
};

/// A count or a retry that has been due for this long is sent like a first Event.
const COUNT_YIELDS_NS: u64 = 300 * SECOND_NS;
const FIRST_RETRY_YIELDS_NS: u64 = 60 * SECOND_NS;
const COUNT_RETRY_YIELDS_NS: u64 = 600 * SECOND_NS;

/// What is sent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// A first Event, or a request that has waited long enough.
    First,
    Count,
    Retry,
}

/// A request to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The kind of object that the Event is about.
    pub object: Object,
    /// Whether the Event is created or its count updated.
    pub method: Method,
    /// The Event in its current state.
    pub event: Event,
}

/// What happens at shutdown to Events that could not be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// They are dropped and counted.
    Abandoned,
    /// They are saved and sent after the next start.
    Kept,
}

/// An Event object and its delivery state. Requests in flight and retry delays are not saved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PendingEvent {
    pub(super) object: Object,
    /// The Event with the count of all incidents so far.
    pub(super) event: Event,
    /// Whether the API server is believed to have the object. If it does not, a PATCH fails and the object is created.
    pub(super) exists: bool,
    pub(super) ownership: Ownership,
    pub(super) unsent: UnsentIncidents,
    /// All unsent incidents are held back by the correlator.
    pub(super) held: bool,
    #[serde(skip)]
    pub(super) in_flight: Option<InFlight>,
    pub(super) pace_ns: u64,
    pub(super) last_sent_ns: Option<u64>,
    /// Time of the next request; absent if none is due.
    #[serde(skip)]
    pub(super) due_ns: Option<u64>,
    /// Failed requests since the last success.
    #[serde(skip)]
    pub(super) failures: u32,
    /// Whether the last request failed because of a server outage.
    #[serde(skip)]
    pub(super) outage: bool,
}

/// A request without a response so far.
#[derive(Clone, Debug)]
pub(super) struct InFlight {
    /// The count it carries.
    pub(super) count: u32,
    /// The incidents it reports.
    pub(super) incidents: UnsentIncidents,
}

impl PendingEvent {
    /// An object with no incidents yet.
    pub(super) fn new(object: Object, event: Event, ownership: Ownership) -> Self {
        Self {
            object,
            exists: event.count > 1 && ownership == Ownership::Ours,
            event,
            ownership,
            unsent: UnsentIncidents::default(),
            held: false,
            in_flight: None,
            pace_ns: 0,
            last_sent_ns: None,
            due_ns: None,
            failures: 0,
            outage: false,
        }
    }

    /// The value to save: a request in flight counts as not sent, because its response is not known.
    pub(super) fn to_saved(&self) -> Self {
        let mut saved = self.clone();
        if let Some(InFlight { incidents, .. }) = saved.in_flight.take() {
            saved.put_back(incidents);
        }
        saved
    }

    /// Number of incidents that are not delivered, those in flight included.
    pub(super) fn undelivered(&self) -> u64 {
        let in_flight = self
            .in_flight
            .as_ref()
            .map_or(0, |in_flight| in_flight.incidents.count());
        u64::from(in_flight) + u64::from(self.unsent.count())
    }

    /// Schedules the unsent incidents at the object's pace, unless a request is scheduled already (a retry above all). At
    /// shutdown the pace is ignored.
    pub(super) fn make_due(&mut self, earliest_ns: u64, closing: Option<Undelivered>) {
        let is_idle = self.unsent.is_empty() || self.held || self.in_flight.is_some();
        if is_idle || self.due_ns.is_some() {
            return;
        }
        let paced = self.last_sent_ns.filter(|_| closing.is_none());
        let paced = paced.map_or(0, |last| last.saturating_add(self.pace_ns));
        self.due_ns = Some(earliest_ns.max(paced));
    }

    /// The rank of the object's request, and the time until which it yields to first Events.
    pub(super) fn rank(&self, now_ns: u64) -> (Rank, u64) {
        let (rank, yields_ns) = match (self.failures, self.exists) {
            (0, false) => (Rank::First, 0),
            (0, true) => (Rank::Count, COUNT_YIELDS_NS),
            (1.., false) => (Rank::Retry, FIRST_RETRY_YIELDS_NS),
            (1.., true) => (Rank::Retry, COUNT_RETRY_YIELDS_NS),
        };
        let until_ns = self.due_ns.unwrap_or(u64::MAX).saturating_add(yields_ns);
        let rank = if until_ns <= now_ns {
            Rank::First
        } else {
            rank
        };
        (rank, until_ns)
    }

    /// Builds the request for all unsent incidents, which are in flight from now on.
    pub(super) fn send(&mut self, now_ns: u64) -> Request {
        self.in_flight = Some(InFlight {
            count: self.event.count,
            incidents: self.unsent.take(),
        });
        self.held = false;
        self.last_sent_ns = Some(now_ns);
        self.due_ns = None;
        Request {
            object: self.object,
            method: if self.exists {
                Method::Patch
            } else {
                Method::Create
            },
            event: self.event.clone(),
        }
    }

    /// Makes incidents of a failed request unsent again.
    pub(super) fn put_back(&mut self, incidents: UnsentIncidents) {
        self.unsent.put_back(incidents);
        self.held = false;
    }

    /// Schedules a request with the other method: at once after a first mismatch, with a delay after any failure, so that a
    /// server that contradicts itself is not asked in a loop.
    pub(super) fn retry_other_method(
        &mut self,
        incidents: UnsentIncidents,
        now_ns: u64,
        random: f64,
    ) {
        self.put_back(incidents);
        self.due_ns = Some(match self.failures {
            0 => now_ns,
            failures => retry::due_ns(now_ns, failures, None, random),
        });
        self.failures = self.failures.saturating_add(1);
    }

    /// Whether the object can be forgotten: all incidents are delivered, and the next one need not wait for the pace.
    pub(super) fn is_done(&self, now_ns: u64) -> bool {
        let last = self.last_sent_ns.unwrap_or(0);
        self.undelivered() == 0 && now_ns >= last.saturating_add(self.pace_ns)
    }
}
