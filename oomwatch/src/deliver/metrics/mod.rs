//! What happened, as Prometheus metrics: facts are counted as they come, and rendered when somebody asks.
//!
//! The clock is handed in. No label is a process's number, name or user: such labels would be without number, and tell
//! one tenant of another's processes. What each metric means stands in `docs/metrics.md`.

mod containers;
mod process;
mod render;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tracing::debug;

pub use self::render::Format;
use self::{
    containers::{Containers, Names, Reason},
    process::Process,
};
use crate::{
    deliver::events::{Cause, DeliveryStat, Object, Outcome},
    model::{backend::Backend, losses::Losses},
    model::{
        kill::{Attribution, NonKill, NonKillKind, Scope},
        limit_owner::LimitOwner,
        report::{GapReport, Report},
    },
};

/// The word for a limit whose owner is not known.
const UNKNOWN: &str = "unknown";

/// What can have run out, and whose limit that can have been.
const REASONS: [Reason; 8] = [
    (Scope::Memcg.as_str(), LimitOwner::Container.as_str()),
    (Scope::Memcg.as_str(), LimitOwner::Pod.as_str()),
    (Scope::Memcg.as_str(), LimitOwner::Qos.as_str()),
    (Scope::Memcg.as_str(), LimitOwner::Kubepods.as_str()),
    (Scope::Memcg.as_str(), LimitOwner::Cgroup.as_str()),
    (Scope::Memcg.as_str(), UNKNOWN),
    (Scope::System.as_str(), LimitOwner::Node.as_str()),
    (Scope::Unknown.as_str(), UNKNOWN),
];

/// Where victims' cgroups can come from.
const ATTRIBUTIONS: [Attribution; 3] = [Attribution::Kernel, Attribution::Proc, Attribution::Kmsg];

/// Upper bounds of the times from a kill to its Event, in seconds: below a second when all is well, an hour at most.
const DELIVERY_SECONDS: [f64; 13] = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
];

/// Incidents whose further victims are known as such. They never overlap in the kernel; what is told late may be of one
/// or two before.
const INCIDENTS: usize = 64;

/// What an Event can be about.
const OBJECTS: [Object; 2] = [Object::Node, Object::Pod];

/// Why a request can have to be made again.
const CAUSES_OF_RETRIES: [Cause; 6] = [
    Cause::Unauthorized,
    Cause::Forbidden,
    Cause::TooMany,
    Cause::ServerError,
    Cause::Unreachable,
    Cause::Unreadable,
];

/// The metrics; a clone is another handle to the same.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Mutex<State>>);

/// What has been counted.
#[derive(Debug)]
struct State {
    incidents: BTreeMap<Reason, u64>,
    /// The last of them, newest last.
    last_incidents: VecDeque<String>,
    kills: u64,
    kernel_kills: u64,
    unobserved: u64,
    rekills: u64,
    marks: u64,
    sharers: u64,
    ring_dropped: u64,
    ring_undecoded: u64,
    kmsg_overruns: u64,
    attributions: BTreeMap<&'static str, u64>,
    /// By object and outcome.
    events: BTreeMap<(&'static str, &'static str), u64>,
    /// By object and cause.
    event_retries: BTreeMap<(&'static str, &'static str), u64>,
    outbox_pending: u64,
    delivery: Delivery,
    backend: Option<Backend>,
    /// Absent if nobody wants to watch.
    is_api_watch_up: Option<bool>,
    last_audit: Option<Timestamp>,
    journal_bytes: u64,
    journal_errors: u64,
    containers: Containers,
}

/// Times from a kill to its Event.
#[derive(Debug, Default)]
struct Delivery {
    /// How many lay between the bound before and this one; the last is without one.
    counts: [u64; DELIVERY_SECONDS.len() + 1],
    sum_seconds: f64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All there from the start, at 0, so that the first kill is a growth.
    #[must_use]
    pub fn new() -> Self {
        let events = OBJECTS.iter().flat_map(|object| {
            let possible = Outcome::ALL
                .iter()
                .filter(|outcome| can_be(*object, **outcome));
            possible.map(|outcome| ((object.as_str(), outcome.as_str()), 0))
        });
        let event_retries = OBJECTS.iter().flat_map(|object| {
            CAUSES_OF_RETRIES.map(|cause| ((object.as_str(), cause.as_str()), 0))
        });
        Self(Arc::new(Mutex::new(State {
            incidents: REASONS.map(|reason| (reason, 0)).into(),
            last_incidents: VecDeque::with_capacity(INCIDENTS),
            kills: 0,
            kernel_kills: 0,
            unobserved: 0,
            rekills: 0,
            marks: 0,
            sharers: 0,
            ring_dropped: 0,
            ring_undecoded: 0,
            kmsg_overruns: 0,
            attributions: ATTRIBUTIONS.map(|method| (method.as_str(), 0)).into(),
            events: events.collect(),
            event_retries: event_retries.collect(),
            outbox_pending: 0,
            delivery: Delivery::default(),
            backend: None,
            is_api_watch_up: None,
            last_audit: None,
            journal_bytes: 0,
            journal_errors: 0,
            containers: Containers::default(),
        })))
    }

    /// A process was killed. Its report is as good as it gets: names that come later are not counted.
    pub fn kill(&self, report: &Report, now: Timestamp) {
        let reason = (
            report.kill.scope.as_str(),
            report.limit_owner.map_or(UNKNOWN, LimitOwner::as_str),
        );
        let state = &mut *self.state();
        state.kills += 1;
        if state.is_new_incident(&report.incident) {
            *state.incidents.entry(reason).or_insert(0) += 1;
        }
        let attribution = report.kill.attribution.as_str();
        *state.attributions.entry(attribution).or_insert(0) += 1;
        if let Some(names) = names(report) {
            let time = report.time.unwrap_or(now);
            state.containers.kill(names, reason, time, now);
        }
    }

    /// Processes were killed, and nobody told which.
    pub fn gap(&self, report: &GapReport) {
        self.unobserved(report.gap.kills);
    }

    /// So many more kills were counted by the kernel and neither seen nor told as a gap.
    pub fn unobserved(&self, kills: u64) {
        self.state().unobserved += kills;
    }

    /// The OOM killer did something besides killing.
    pub fn aside(&self, aside: &NonKill) {
        let state = &mut *self.state();
        let count = match aside.kind {
            NonKillKind::Rekill => &mut state.rekills,
            NonKillKind::Mark => &mut state.marks,
            NonKillKind::Sharer { .. } => &mut state.sharers,
        };
        *count += 1;
    }

    /// So much was lost since the start, on the way that is gone.
    pub fn losses(&self, backend: Backend, losses: Losses) {
        let Losses { dropped, undecoded } = losses;
        let state = &mut *self.state();
        match backend {
            Backend::Kmsg => state.kmsg_overruns = dropped,
            Backend::Counters => {}
            Backend::Fentry | Backend::Kprobe | Backend::RawTracepoint => {
                state.ring_dropped = dropped;
            }
        }
        state.ring_undecoded = undecoded;
    }

    /// The kernel's own count of kills, since it was booted.
    pub fn kernel_kills(&self, count: u64) {
        self.state().kernel_kills = count;
    }

    /// What became of the Events of some incidents, or of a request.
    pub fn notice(&self, notice: &DeliveryStat) {
        let state = &mut *self.state();
        match *notice {
            DeliveryStat::Settled {
                object,
                outcome,
                incidents,
                age_ns,
            } => {
                let key = (object.as_str(), outcome.as_str());
                *state.events.entry(key).or_insert(0) += u64::from(incidents);
                if outcome == Outcome::Accepted {
                    state.delivery.observe(age_ns, u64::from(incidents));
                }
            }
            DeliveryStat::Delayed { object, cause } => {
                let key = (object.as_str(), cause.as_str());
                *state.event_retries.entry(key).or_insert(0) += 1;
            }
        }
    }

    /// So many incidents wait to be told in Events.
    pub fn outbox_pending(&self, incidents: u64) {
        self.state().outbox_pending = incidents;
    }

    /// The way in which kills are seen.
    pub fn backend(&self, backend: Backend) {
        self.state().backend = Some(backend);
    }

    /// Whether the node's pods are being watched; to be told from the start if they are to be.
    pub fn api_watch_up(&self, is_up: bool) {
        self.state().is_api_watch_up = Some(is_up);
    }

    /// The kernel's count was compared with what was seen.
    pub fn audit(&self, now: Timestamp) {
        self.state().last_audit = Some(now);
    }

    /// The journal has this size.
    pub fn journal_bytes(&self, bytes: u64) {
        self.state().journal_bytes = bytes;
    }

    /// The journal could not be written.
    pub fn journal_error(&self) {
        self.state().journal_errors += 1;
    }

    /// Keeps the series of containers whose pods live, by namespace and name; to be called every few minutes, at least.
    /// Without it they leave half an hour after the last kill.
    pub fn pods(&self, now: Timestamp, is_alive: impl Fn(&str, &str) -> bool) {
        self.state().containers.keep(now, is_alive);
    }

    /// What Prometheus is told.
    #[must_use]
    pub fn render(&self, format: Format, now: Timestamp) -> String {
        let process = Process::this()
            .inspect_err(|error| debug!(%error, "read what this process uses"))
            .ok();
        self.render_with(format, now, process)
    }

    fn render_with(&self, format: Format, now: Timestamp, process: Option<Process>) -> String {
        self.state().containers.forget(now);
        render::render(format, self.clone(), process)
    }

    /// Never held across an await, and so never waited for.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_new_incident(&mut self, incident: &str) -> bool {
        if self.last_incidents.iter().any(|last| last == incident) {
            return false;
        }
        if self.last_incidents.len() == INCIDENTS {
            self.last_incidents.pop_front();
        }
        self.last_incidents.push_back(incident.to_owned());
        true
    }
}

impl Delivery {
    /// So many took as long as this, about.
    fn observe(&mut self, age_ns: u64, times: u64) {
        let seconds = Duration::from_nanos(age_ns).as_secs_f64();
        let place = DELIVERY_SECONDS
            .iter()
            .position(|bound| seconds <= *bound)
            .unwrap_or(DELIVERY_SECONDS.len());
        self.counts[place] += times;
        let seconds = Duration::from_nanos(age_ns.saturating_mul(times)).as_secs_f64();
        self.sum_seconds += seconds;
    }
}

/// Whether an outcome is one of this object's Events: the node has a name, and nobody asks it for silence.
fn can_be(object: Object, outcome: Outcome) -> bool {
    let is_a_pods = matches!(
        outcome,
        Outcome::Unnamed | Outcome::OptedOut | Outcome::Excluded
    );
    object == Object::Pod || !is_a_pods
}

/// Whose kill it was, by names: those of a pod, and of its container where that is known; or of a container alone.
fn names(report: &Report) -> Option<Names> {
    let container = report.container.as_ref();
    let container = container.and_then(|container| container.name.as_deref());
    let (namespace, pod, container) = match &report.pod {
        Some(pod) => {
            let (namespace, name) = pod.namespace.as_deref().zip(pod.name.as_deref())?;
            (namespace, name, container.unwrap_or_default())
        }
        None => ("", "", container?),
    };
    Some(Names {
        namespace: namespace.to_owned(),
        pod: pod.to_owned(),
        container: container.to_owned(),
    })
}

/// Seconds since 1970.
fn seconds_of(time: Timestamp) -> f64 {
    // Milliseconds: what else would be written has no meaning.
    let milliseconds = time.as_millisecond();
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds are exact for a hundred thousand years"
    )]
    let seconds = milliseconds as f64 / 1000.0;
    seconds
}

#[cfg(test)]
mod tests;
