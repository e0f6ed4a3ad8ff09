//! Drives the pure [`Recorder`] with a clock, random numbers and an API server. Recording a kill never waits for the server.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use kube::Client;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tracing::{error, info, warn};

use super::{
    api::Api,
    bucket::{Bucket, Rate, SECOND_NS},
    object::Metadata,
    pending_event::Undelivered,
    queue::Next,
    record::{Policy, RecordTimes, Recorder},
    response::{Cause, Response},
    stats::{DeliveryStat, Outcome},
};
use crate::{
    model::{
        persist::{Change, Entry, clock::PersistentClock},
        report::Report,
    },
    sys::{
        clock::{self, ClockSample},
        escape::escape,
        random,
    },
};

/// Minimum time between two warnings that requests for the same cause are repeated.
const LOG_INTERVAL_NS: u64 = 300 * SECOND_NS;
/// Maximum rate of warnings about incidents that are not delivered, each of which names its object.
const UNDELIVERED_LOG: Rate = Rate {
    per_second: 1.0 / 15.0,
    burst: 20.0,
};

/// Records kills. A cheap handle: clones share the recorder.
#[derive(Clone)]
pub struct Events {
    shared: Arc<Shared>,
}

struct Shared {
    clock: PersistentClock,
    inner: Mutex<Inner>,
    /// Notified when a kill was recorded.
    woken: Notify,
}

struct Inner {
    recorder: Recorder,
    observe: Box<dyn FnMut(&DeliveryStat) + Send>,
    /// Time of the last warning by problem, in nanoseconds since boot.
    last_warned_ns: BTreeMap<&'static str, u64>,
    undelivered_log: Bucket,
}

/// Sends recorded Events to the API server.
pub struct EventSender {
    events: Events,
    api: Arc<Api>,
    requests: JoinSet<TaskResult>,
    /// The name of the Event that each task sends.
    names: HashMap<Id, Metadata>,
}

/// The result of a task.
enum TaskResult {
    Response(Response),
    NodeUidRead,
}

impl Events {
    /// Restores the saved rows. `observe` is called with every outcome and delay, on whatever task it happens: it must be quick.
    ///
    /// No Event is created twice if [`Events::changes`] is saved before the first kill is recorded, and if kills that were recorded
    /// but are not in `saved` are recorded again, in the same order, before anything is sent.
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
            last_warned_ns: BTreeMap::new(),
            undelivered_log: Bucket::full(UNDELIVERED_LOG, clock::since_boot_ns()),
        };
        let shared = Arc::new(Shared {
            clock,
            inner: Mutex::new(inner),
            woken: Notify::new(),
        });
        Self { shared }
    }

    /// Records a kill of this boot or an earlier one. Takes microseconds and never waits.
    pub fn record(&self, report: &Report) {
        let sample = ClockSample::now();
        let clock = &self.shared.clock;
        let times = RecordTimes {
            now_ns: clock.at_ns(sample.boot_time_ns),
            kill_ns: clock.of_kill_ns(report, sample),
            wall_time: Timestamp::now(),
        };
        self.with(|recorder| recorder.record(report, times));
        self.shared.woken.notify_one();
    }

    /// Number of incidents that are not delivered yet.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.with(|recorder| recorder.pending())
    }

    /// The rows that differ from what is saved; to be saved in one transaction with the delivered state of the kills recorded so far.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        self.with(Recorder::changes)
    }

    /// Makes every row a change, because the saved rows are lost.
    pub fn mark_all_dirty(&self) {
        self.with(Recorder::mark_all_dirty);
    }

    /// A sender to an API server. The client must not retry by itself ([`kube::Config::default_retry`]).
    #[must_use]
    pub fn sender(&self, client: Client, request_timeout: Duration) -> EventSender {
        let (node, uid) = self.with(|recorder| {
            let Policy {
                reporter, node_uid, ..
            } = recorder.policy();
            (reporter.node.clone(), *node_uid)
        });
        EventSender {
            events: self.clone(),
            api: Arc::new(Api::new(client, node, uid, request_timeout)),
            requests: JoinSet::new(),
            names: HashMap::new(),
        }
    }

    /// Calls `work` with the recorder, then reports the outcomes and delays that it led to.
    fn with<T>(&self, work: impl FnOnce(&mut Recorder) -> T) -> T {
        let inner = &mut *self.shared.inner.lock();
        let result = work(&mut inner.recorder);
        for stat in inner.recorder.take_stats() {
            (inner.observe)(&stat);
            inner.log(&stat, clock::since_boot_ns());
        }
        result
    }

    fn now_ns(&self) -> u64 {
        self.shared.clock.at_ns(clock::since_boot_ns())
    }

    /// Waits until a time of the persistent clock; forever if there is none.
    async fn wait_until(&self, clock_ns: Option<u64>) {
        match clock_ns {
            Some(time_ns) => {
                let left_ns = time_ns.saturating_sub(self.now_ns());
                sleep_until(Instant::now() + Duration::from_nanos(left_ns)).await;
            }
            None => std::future::pending().await,
        }
    }
}

impl Inner {
    /// Logs what an operator should know, at a limited rate. What the API server refuses is logged with its response.
    fn log(&mut self, stat: &DeliveryStat, now_ns: u64) {
        match stat {
            DeliveryStat::Delayed { cause, .. } => match cause {
                Cause::Unauthorized | Cause::Forbidden => {}
                Cause::TooMany | Cause::ServerError | Cause::Unreachable | Cause::Unreadable => {
                    self.log_delay(*cause, now_ns);
                }
            },
            DeliveryStat::Settled {
                object,
                about,
                outcome,
                ..
            } => match outcome {
                Outcome::Accepted => self.log_recovery(),
                Outcome::Refused | Outcome::NoNamespace | Outcome::OptedOut | Outcome::Excluded => {
                }
                Outcome::Unnamed | Outcome::Expired | Outcome::Overflow | Outcome::Abandoned => {
                    if self.undelivered_log.try_take(UNDELIVERED_LOG, now_ns) {
                        let about = escape(about.as_bytes());
                        let (object, outcome) = (object.as_str(), outcome.as_str());
                        warn!(object, about, outcome, "a kill is not recorded as an Event");
                    }
                }
            },
        }
    }

    fn log_delay(&mut self, cause: Cause, now_ns: u64) {
        let cause = cause.as_str();
        let last_ns = self.last_warned_ns.get(cause);
        if last_ns.is_none_or(|last_ns| now_ns.saturating_sub(*last_ns) >= LOG_INTERVAL_NS) {
            self.last_warned_ns.insert(cause, now_ns);
            warn!(cause, "failed to deliver an Event, retrying");
        }
    }

    /// Logs the end of an outage. Other problems may concern some Events only, and are not known to be over.
    fn log_recovery(&mut self) {
        let unreachable = Cause::Unreachable.as_str();
        if self.last_warned_ns.remove(unreachable).is_some() {
            info!("API server is reachable again");
        }
    }
}

impl EventSender {
    /// Sends forever. If the future is dropped, requests in flight continue, and the next call handles their responses.
    pub async fn run(&mut self) {
        let delay = self.events.with(|recorder| recorder.policy().start_delay);
        let api = self.api.clone();
        // Reads the node's UID ahead of the first Event on the node.
        self.requests.spawn(async move {
            sleep(delay).await;
            api.node_uid().await;
            TaskResult::NodeUidRead
        });
        loop {
            self.step().await;
        }
    }

    /// Shuts down: sends at most one more request for each object, for no longer than `patience`. What is left then is saved by
    /// [`Events::changes`], if it is to be kept.
    pub async fn drain(&mut self, patience: Duration, undelivered: Undelivered) {
        let deadline = Instant::now() + patience;
        let now_ns = self.events.now_ns();
        self.events
            .with(|recorder| recorder.close(undelivered, now_ns));
        while self.events.with(|recorder| recorder.has_requests_left()) {
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

    /// Sends what is due, then waits for a response, a kill or the next due time. Cancel-safe.
    async fn step(&mut self) {
        let wake = self.send_due();
        tokio::select! {
            Some(done) = self.requests.join_next_with_id() => self.handle_done(done),
            () = self.events.shared.woken.notified() => {}
            () = self.events.wait_until(wake) => {}
        }
    }

    /// Sends what is due. Returns the next due time.
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
                        .spawn(async move { TaskResult::Response(api.write(*request).await) });
                    self.names.insert(task.id(), name);
                }
            }
        }
    }

    fn handle_done(&mut self, done: Result<(Id, TaskResult), JoinError>) {
        let (id, response) = match done {
            Ok((id, TaskResult::Response(response))) => (id, response),
            Ok((_, TaskResult::NodeUidRead)) => return,
            Err(error) => {
                error!(%error, "a request to the API server panicked or was cancelled, retrying");
                let response = Response::RetryLater {
                    cause: Cause::Unreachable,
                    retry_after: None,
                };
                (error.id(), response)
            }
        };
        let Some(name) = self.names.remove(&id) else {
            return;
        };
        let now_ns = self.events.now_ns();
        let random = random::fraction();
        self.events
            .with(|recorder| recorder.handle_response(&name, &response, now_ns, random));
    }
}
