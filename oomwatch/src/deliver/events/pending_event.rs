//! What is to be told of one object, and when.

use serde::{Deserialize, Serialize};

use super::{
    answer::Method, bucket::SECOND_NS, notice::Object, object::Event, retry, waiting::Waiting,
};
use crate::deliver::events::{
    event_counter::Ownership,
    queue::{Request, Undelivered},
};

/// What waits so much longer goes first all the same: a count after a new object, what failed before after all others.
const COUNT_YIELDS_NS: u64 = 300 * SECOND_NS;
const RETRY_YIELDS_NS: u64 = 600 * SECOND_NS;

/// What is to be told of one object. What is not saved does not outlive the agent: pauses after a failure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PendingEvent {
    pub(super) object: Object,
    /// As it is to be.
    pub(super) event: Event,
    /// Whether the API server has it, as far as is known; of one that is not new it is tried.
    pub(super) exists: bool,
    pub(super) origin: Ownership,
    pub(super) waiting: Waiting,
    /// Nothing waits but what the correlator holds back.
    pub(super) held: bool,
    #[serde(skip)]
    pub(super) sent: Option<Sent>,
    pub(super) pace_ns: u64,
    pub(super) last_sent_ns: Option<u64>,
    /// Absent if nothing is to be sent.
    #[serde(skip)]
    pub(super) due_ns: Option<u64>,
    /// Since the last success.
    #[serde(skip)]
    pub(super) failures: u32,
    /// The last failure was the server's.
    #[serde(skip)]
    pub(super) outage: bool,
}

/// A request under way.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) count: u32,
    pub(super) waiting: Waiting,
}

impl PendingEvent {
    /// Nothing is told yet.
    pub(super) fn new(object: Object, event: Event, origin: Ownership) -> Self {
        Self {
            object,
            exists: event.count > 1 && origin == Ownership::Ours,
            event,
            origin,
            waiting: Waiting::default(),
            held: false,
            sent: None,
            pace_ns: 0,
            last_sent_ns: None,
            due_ns: None,
            failures: 0,
            outage: false,
        }
    }

    /// As it is saved: of a request under way it is not known what comes of it.
    pub(super) fn to_saved(&self) -> Self {
        let mut saved = self.clone();
        if let Some(Sent { waiting, .. }) = saved.sent.take() {
            saved.put_back(waiting);
        }
        saved
    }

    /// Incidents that are yet to be told.
    pub(super) fn pending(&self) -> u64 {
        let sent = self
            .sent
            .as_ref()
            .map_or(0, |sent| sent.waiting.incidents());
        u64::from(sent) + u64::from(self.waiting.incidents())
    }

    /// What waits is to be sent, at the object's own pace; unless it is due already, after a failure above all.
    pub(super) fn make_due(&mut self, earliest_ns: u64, closing: Option<Undelivered>) {
        let is_idle = self.waiting.is_empty() || self.held || self.sent.is_some();
        if is_idle || self.due_ns.is_some() {
            return;
        }
        let paced = self.last_sent_ns.filter(|_| closing.is_none());
        let paced = paced.map_or(0, |last| last.saturating_add(self.pace_ns));
        self.due_ns = Some(earliest_ns.max(paced));
    }

    /// The least goes first.
    pub(super) fn precedence_ns(&self) -> Option<u64> {
        let yields = match (self.failures, self.exists) {
            (0, false) => 0,
            (0, true) => COUNT_YIELDS_NS,
            (1.., _) => RETRY_YIELDS_NS,
        };
        Some(self.due_ns?.saturating_add(yields))
    }

    pub(super) fn send(&mut self, now_ns: u64) -> Request {
        self.sent = Some(Sent {
            count: self.event.count,
            waiting: self.waiting.take(),
        });
        self.held = false;
        self.last_sent_ns = Some(now_ns);
        self.due_ns = None;
        Request {
            object: self.object,
            method: if self.exists {
                Method::Count
            } else {
                Method::Create
            },
            event: self.event.clone(),
        }
    }

    pub(super) fn put_back(&mut self, waiting: Waiting) {
        self.waiting.put_back(waiting);
        self.held = false;
    }

    /// The other method is to be tried, at once if it was not tried just before.
    pub(super) fn again(&mut self, waiting: Waiting, now_ns: u64, random: f64) {
        self.put_back(waiting);
        self.due_ns = Some(match self.failures {
            0 => now_ns,
            failures => retry::due_ns(now_ns, failures, None, random),
        });
        self.failures = self.failures.saturating_add(1);
    }

    /// Nothing is left to tell, and the next need not wait for the last.
    pub(super) fn is_over(&self, now_ns: u64) -> bool {
        let last = self.last_sent_ns.unwrap_or(0);
        self.pending() == 0 && now_ns >= last.saturating_add(self.pace_ns)
    }
}
