//! Prometheus metrics: kills and the agent's state are counted as they come, and encoded as `OpenMetrics` text when
//! `/metrics` is scraped.
//!
//! The clock is passed in. No label is a pid, a process name or a user: such labels are unbounded, and would show one
//! tenant the processes of another. `docs/metrics.md` explains every metric.

mod containers;
mod families;
mod labels;
mod process;
mod time_gauge;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use prometheus_client::{encoding::text, metrics::gauge::ConstGauge, registry::Registry};
use tracing::debug;

use self::{
    containers::Containers,
    families::{AgentFamilies, NodeFamilies, set_total},
    labels::{
        AttributionLabels, BackendLabels, CauseLabels, ContainerLabels, EventLabels, Reason,
        RetryLabels,
    },
    process::ProcessStats,
    time_gauge::unix_seconds,
};
use crate::{
    deliver::events::{DeliveryStat, Outcome},
    model::{
        backend::Backend,
        cause::CauseKind,
        kill::{NonKill, NonKillKind},
        losses::Losses,
        report::{GapReport, Report},
    },
};

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How many incidents are remembered to count each once. Incidents do not overlap in the kernel, but the victims of one
/// can be reported after the next one has begun.
const RECENT_INCIDENTS: usize = 64;

/// The metrics. A clone is another handle to the same values.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    node: NodeFamilies,
    agent: AgentFamilies,
    state: Mutex<State>,
}

/// Which series exist.
#[derive(Debug)]
struct State {
    /// Ids of the last incidents, newest last.
    recent_incidents: VecDeque<String>,
    containers: Containers,
    api_watch_up: Option<bool>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics with every series of the node at 0.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let node = NodeFamilies::register(&mut registry);
        let agent = AgentFamilies::register(&mut registry);
        let state = Mutex::new(State {
            recent_incidents: VecDeque::with_capacity(RECENT_INCIDENTS),
            containers: Containers::register(&mut registry),
            api_watch_up: None,
        });
        Self(Arc::new(Inner {
            registry,
            node,
            agent,
            state,
        }))
    }

    /// Counts a kill. The report is final: names that are found later are not counted.
    pub fn kill(&self, report: &Report, now: Timestamp) {
        let reason = Reason::new(report.kill.scope, report.limit_owner);
        let node = &self.0.node;
        node.kills.inc();
        let method = report.kill.attribution.as_str();
        let attribution = AttributionLabels { method };
        node.attribution.get_or_create(&attribution).inc();
        let cause = report
            .cause()
            .map_or(CauseKind::Unknown, |cause| cause.kind)
            .as_str();
        node.causes.get_or_create(&CauseLabels { cause }).inc();
        let state = &mut *self.state();
        if state.is_new_incident(&report.incident) {
            node.incidents.get_or_create(&reason).inc();
        }
        if let Some(container) = ContainerLabels::of(report) {
            let time = report.time.unwrap_or(now);
            state.containers.kill(container, reason, time, now);
        }
    }

    /// Counts the kills of a gap: the kernel counted them, and their victims are not known.
    pub fn gap(&self, report: &GapReport) {
        self.unobserved(report.gap.kills);
    }

    /// Counts kills that the kernel counted and that were neither seen nor reported as a gap.
    pub fn unobserved(&self, kills: u64) {
        self.0.node.unobserved_kills.inc_by(kills);
    }

    /// Counts an event of the OOM killer that is not a kill.
    pub fn non_kill(&self, event: &NonKill) {
        let node = &self.0.node;
        let counter = match event.kind {
            NonKillKind::Rekill => &node.rekills,
            NonKillKind::Mark => &node.marks_without_kill,
            NonKillKind::Sharer { .. } => &node.killed_mm_sharers,
        };
        counter.inc();
    }

    /// Sets how many records the backend in use has lost since the start.
    pub fn losses(&self, backend: Backend, losses: Losses) {
        let Losses { dropped, undecoded } = losses;
        let node = &self.0.node;
        match backend {
            Backend::Fentry | Backend::Kprobe | Backend::RawTracepoint => {
                set_total(&node.ring_dropped, dropped);
            }
            Backend::Kmsg => set_total(&node.kmsg_overruns, dropped),
            Backend::Counters => {}
        }
        set_total(&node.ring_undecoded, undecoded);
    }

    /// Sets the kernel's own count of kills since boot.
    pub fn kernel_kills(&self, count: u64) {
        set_total(&self.0.node.kernel_kills, count);
    }

    /// Counts what happened to the Events of some incidents, or to a request.
    pub fn event_delivery(&self, stat: &DeliveryStat) {
        let agent = &self.0.agent;
        match stat {
            DeliveryStat::Settled {
                object,
                outcome,
                incidents,
                age_ns,
                about: _,
            } => {
                let labels = EventLabels {
                    object: object.as_str(),
                    outcome: outcome.as_str(),
                };
                let counter = agent.events.get_or_create(&labels);
                counter.inc_by(u64::from(*incidents));
                if *outcome == Outcome::Accepted {
                    let seconds = Duration::from_nanos(*age_ns).as_secs_f64();
                    // One loop per incident that happened, so that its cost is bounded by theirs.
                    (0..*incidents).for_each(|_| agent.delivery_seconds.observe(seconds));
                }
            }
            DeliveryStat::Delayed { object, cause } => {
                let labels = RetryLabels {
                    object: object.as_str(),
                    cause: cause.as_str(),
                };
                agent.event_retries.get_or_create(&labels).inc();
            }
        }
    }

    /// Sets how many incidents wait for the delivery of their Event.
    pub fn events_pending(&self, incidents: u64) {
        let incidents = i64::try_from(incidents).unwrap_or(i64::MAX);
        self.0.agent.events_pending.set(incidents);
    }

    /// Sets the capture backend in use.
    pub fn backend(&self, backend: Backend) {
        let family = &self.0.agent.backend;
        family.clear();
        let backend = backend.as_str();
        family.get_or_create(&BackendLabels { backend }).set(1);
    }

    /// Counts a backend that was attached, recorded nothing, and was replaced.
    pub fn backend_silent(&self) {
        self.0.agent.backend_silent.inc();
    }

    /// Sets whether the watch on the node's pods is established. The series is absent until the first call.
    pub fn api_watch_up(&self, is_up: bool) {
        self.state().api_watch_up = Some(is_up);
    }

    /// Sets the time of the last comparison with the kernel's count.
    pub fn audit(&self, now: Timestamp) {
        self.0.agent.last_audit.set(unix_seconds(now));
    }

    /// Sets the size of the history database, and how many writes have failed since the start.
    pub fn history(&self, bytes: u64, errors: u64) {
        let agent = &self.0.agent;
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        agent.history_bytes.set(bytes);
        set_total(&agent.history_errors, errors);
    }

    /// Keeps the series of containers whose pods are alive, by namespace and name. Call it at least every few minutes:
    /// otherwise their series are removed half an hour after the last kill.
    pub fn pods(&self, now: Timestamp, is_alive: impl Fn(&str, &str) -> bool) {
        self.state().containers.keep(now, is_alive);
    }

    /// Encodes all metrics, and this process's own, as `OpenMetrics` text.
    #[must_use]
    pub fn encode(&self, now: Timestamp) -> String {
        let process = ProcessStats::read()
            .inspect_err(|error| debug!(%error, "failed to read this process's own statistics"))
            .ok();
        self.encode_with(now, process)
    }

    fn encode_with(&self, now: Timestamp, process: Option<ProcessStats>) -> String {
        let state = &mut *self.state();
        state.containers.expire(now);
        // What is read now, and left out if it is not known: a registered metric cannot be absent.
        let mut read_now = Registry::default();
        if let Some(is_up) = state.api_watch_up {
            read_now.register(
                "oomwatch_api_watch_up",
                "Whether the watch on the node's pods is established",
                ConstGauge::new(i64::from(is_up)),
            );
        }
        if let Some(process) = process {
            process.register(&mut read_now);
        }
        let mut text = String::new();
        for registry in [&self.0.registry, &read_now] {
            // Writing to a String cannot fail.
            let _ = text::encode_registry(&mut text, registry);
        }
        let _ = text::encode_eof(&mut text);
        text
    }

    /// The lock is never held across an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }
}

impl State {
    fn is_new_incident(&mut self, incident: &str) -> bool {
        if self
            .recent_incidents
            .iter()
            .any(|recent| recent == incident)
        {
            return false;
        }
        if self.recent_incidents.len() == RECENT_INCIDENTS {
            self.recent_incidents.pop_front();
        }
        self.recent_incidents.push_back(incident.to_owned());
        true
    }
}

#[cfg(test)]
mod tests;
