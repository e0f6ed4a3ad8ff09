//! Delivery: drives the pure [`Recorder`] with a clock, with chance, and with an API server. Whoever hands over a kill never
//! waits for it.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use kube::Client;
use tokio::{
    sync::Notify,
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tracing::{error, info, warn};

use super::{
    answer::{Answer, Cause},
    api::Api,
    bucket::SECOND_NS,
    notice::{DeliveryStat, Outcome},
    object::Metadata,
    record::{Now, Policy, Recorder},
};
use crate::deliver::events::queue::{Next, Undelivered};
use crate::{
    model::{
        persist::{Change, Entry, clock::PersistentClock},
        report::Report,
    },
    sys::clock,
};

/// The same trouble is told once in so long.
const TOLD_FOR_NS: u64 = 300 * SECOND_NS;

/// Where kills are handed over.
#[derive(Clone)]
pub struct Events {
    shared: Arc<Shared>,
}

struct Shared {
    clock: PersistentClock,
    inner: Mutex<Inner>,
    /// There may be something to do.
    woken: Notify,
}

struct Inner {
    recorder: Recorder,
    observe: Box<dyn FnMut(&DeliveryStat) + Send>,
    /// When which trouble was last told.
    told: BTreeMap<&'static str, u64>,
}

/// Brings to the API server what was handed over.
pub struct Delivery {
    events: Events,
    api: Arc<Api>,
    requests: JoinSet<Done>,
    /// Whose request it is.
    names: HashMap<Id, Metadata>,
}

/// What came of a task.
enum Done {
    Answered(Answer),
    Looked,
}

impl Events {
    /// Goes on from what was saved, if anything was. `observe` is told what becomes of each incident, at once and wherever that
    /// is: it must be quick.
    ///
    /// Nothing is recorded twice if [`Events::changes`] is saved before the first kill is handed over; and what was handed over
    /// and is not in `saved` is handed over again, in the same order, before anything is delivered.
    pub fn new(
        policy: Policy,
        clock: PersistentClock,
        saved: &[Entry],
        observe: impl FnMut(&DeliveryStat) + Send + 'static,
    ) -> Self {
        let now_ns = clock.at_ns(clock::since_boot_ns());
        let inner = Inner {
            recorder: Recorder::restore(policy, saved, now_ns),
            observe: Box::new(observe),
            told: BTreeMap::new(),
        };
        let shared = Arc::new(Shared {
            clock,
            inner: Mutex::new(inner),
            woken: Notify::new(),
        });
        Self { shared }
    }

    /// Takes a kill, of this boot or an earlier one. It takes microseconds, and never waits.
    pub fn take(&self, report: &Report) {
        let reading = clock::sample();
        let journal = &self.shared.clock;
        let now = Now {
            clock_ns: journal.at_ns(reading.boot_time_ns),
            kill_ns: journal.of_kill_ns(report, reading),
            time: Timestamp::now(),
        };
        self.with(|recorder| recorder.take(report, now));
        self.shared.woken.notify_one();
    }

    /// Incidents that are yet to be told.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.with(|recorder| recorder.pending())
    }

    /// Whether anything is to be sent, or is under way.
    #[must_use]
    pub fn is_trying(&self) -> bool {
        self.with(|recorder| recorder.is_trying())
    }

    /// What differs from what was saved: to be saved in one transaction with the fact that the kills taken so far are told.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        let mut changes = self.with(Recorder::changes);
        if !changes.is_empty() {
            changes.push(self.shared.clock.change(clock::sample()));
        }
        changes
    }

    /// What was saved is lost: all of it is a change again.
    pub fn mark_all_dirty(&self) {
        self.with(Recorder::mark_all_dirty);
    }

    /// Delivers to an API server, with so much time for each request. The client must not retry by itself
    /// ([`kube::Config::default_retry`]).
    #[must_use]
    pub fn delivery(&self, client: Client, request_timeout: Duration) -> Delivery {
        let (node, uid) = self.with(|recorder| {
            let Policy {
                reporter, node_uid, ..
            } = recorder.policy();
            (reporter.node.clone(), *node_uid)
        });
        Delivery {
            events: self.clone(),
            api: Arc::new(Api::new(client, node, uid, request_timeout)),
            requests: JoinSet::new(),
            names: HashMap::new(),
        }
    }

    /// Works on the recorder, and tells what that has led to.
    fn with<T>(&self, work: impl FnOnce(&mut Recorder) -> T) -> T {
        let inner = &mut *self.lock();
        let result = work(&mut inner.recorder);
        for notice in inner.recorder.notices() {
            (inner.observe)(&notice);
            inner.tell(&notice, clock::since_boot_ns());
        }
        result
    }

    fn now_ns(&self) -> u64 {
        self.shared.clock.at_ns(clock::since_boot_ns())
    }

    /// Until a time by the journal's clock; for ever without one.
    async fn wait_until(&self, clock_ns: Option<u64>) {
        match clock_ns {
            Some(time_ns) => {
                let left_ns = time_ns.saturating_sub(self.now_ns());
                sleep_until(Instant::now() + Duration::from_nanos(left_ns)).await;
            }
            None => std::future::pending().await,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        let inner = self.shared.inner.lock();
        inner.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Says what an operator should know, but not each time.
    fn tell(&mut self, notice: &DeliveryStat, now_ns: u64) {
        let trouble = match notice {
            DeliveryStat::Delayed { cause, .. } => cause.as_str(),
            DeliveryStat::Settled { outcome, .. } => match outcome {
                Outcome::Accepted => return self.tell_end(),
                Outcome::Unnamed | Outcome::OptedOut | Outcome::Excluded => return,
                Outcome::Refused
                | Outcome::NoNamespace
                | Outcome::Expired
                | Outcome::Overflow
                | Outcome::Abandoned => outcome.as_str(),
            },
        };
        let told = self.told.get(trouble);
        if told.is_some_and(|told| now_ns.saturating_sub(*told) < TOLD_FOR_NS) {
            return;
        }
        self.told.insert(trouble, now_ns);
        match notice {
            DeliveryStat::Delayed { object, cause } => {
                let (object, cause) = (object.as_str(), cause.as_str());
                warn!(object, cause, "Events are delayed");
            }
            DeliveryStat::Settled {
                object, outcome, ..
            } => {
                let (object, outcome) = (object.as_str(), outcome.as_str());
                warn!(object, outcome, "an Event was not recorded");
            }
        }
    }

    /// What stopped all Events is over; what stops only some may not be.
    fn tell_end(&mut self) {
        let unreachable = Cause::Unreachable.as_str();
        if self.told.remove(unreachable).is_some() {
            info!("Events are recorded again");
        }
    }
}

impl Delivery {
    /// Delivers for ever. Where it is dropped, requests that are under way go on, and the next call takes their answers.
    pub async fn run(&mut self) {
        let delay = self.events.with(|recorder| recorder.policy().start_delay);
        let api = self.api.clone();
        // The first Event of the node then has its UID at hand.
        self.requests.spawn(async move {
            sleep(delay).await;
            api.node_uid().await;
            Done::Looked
        });
        loop {
            self.step().await;
        }
    }

    /// Delivers what was handed over, each with one more try at most, for no longer than `patience`. What is left then may be
    /// saved by [`Events::changes`].
    pub async fn drain(&mut self, patience: Duration, undelivered: Undelivered) {
        let deadline = Instant::now() + patience;
        let now_ns = self.events.now_ns();
        self.events
            .with(|recorder| recorder.close(undelivered, now_ns));
        while self.events.is_trying() {
            if timeout_at(deadline, self.step()).await.is_err() {
                break;
            }
        }
        self.requests.shutdown().await;
        match undelivered {
            Undelivered::Abandoned => {
                let now_ns = self.events.now_ns();
                self.events.with(|recorder| recorder.abandon(now_ns));
            }
            Undelivered::Kept => {}
        }
    }

    /// Sends what is due, and waits until something has happened. It may be dropped at any time.
    async fn step(&mut self) {
        let wake = self.send_due();
        tokio::select! {
            Some(done) = self.requests.join_next_with_id() => self.take_answer(done),
            () = self.events.shared.woken.notified() => {}
            () = self.events.wait_until(wake) => {}
        }
    }

    /// When there is more to do.
    fn send_due(&mut self) -> Option<u64> {
        loop {
            let now_ns = self.events.now_ns();
            match self.events.with(|recorder| recorder.next(now_ns)) {
                Next::Wait(wake) => return wake,
                Next::Send(request) => {
                    let name = request.event.metadata.clone();
                    let api = self.api.clone();
                    let task = self
                        .requests
                        .spawn(async move { Done::Answered(api.write(*request).await) });
                    self.names.insert(task.id(), name);
                }
            }
        }
    }

    fn take_answer(&mut self, done: Result<(Id, Done), JoinError>) {
        let (id, answer) = match done {
            Ok((id, Done::Answered(answer))) => (id, answer),
            Ok((_, Done::Looked)) => return,
            Err(failed) => {
                error!(error = %failed, "a request to the API server ended without an answer");
                let (cause, after) = (Cause::Unreachable, None);
                (failed.id(), Answer::Later { cause, after })
            }
        };
        let Some(name) = self.names.remove(&id) else {
            return;
        };
        let now_ns = self.events.now_ns();
        self.events
            .with(|recorder| recorder.answered(&name, &answer, now_ns, random()));
    }
}

/// At least 0 and less than 1: the keys of the standard library's hash tables are random.
#[expect(
    clippy::cast_precision_loss,
    reason = "53 bits are what a float can hold"
)]
fn random() -> f64 {
    const BITS: u32 = f64::MANTISSA_DIGITS;
    let bits = RandomState::new().hash_one(()) >> (u64::BITS - BITS);
    bits as f64 / (1_u64 << BITS) as f64
}
