//! Turns reports into requests: which Events a kill has, with which counts, and when each of them is sent.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::{
    correlate::Correlator,
    event_counter::{CountedEvent, Ownership},
    lru_table::LruTable,
    node::node_event,
    object::{Event, Metadata, Reporter},
    pending_event::Undelivered,
    pod::{SkipReason, pod_event},
    queue::{EventQueue, Next, QueuedIncident, ResponseEffect},
    response::Response,
    series::{RecentIncidents, Series},
    stats::{DeliveryStat, Object, Outcome},
};
use crate::model::{
    persist::{Change, Entry},
    report::{Pod, Report},
};

/// Parts of the history that rows are saved as.
const INCIDENTS: &str = "incidents";
const EPOCH: &str = "epoch";
/// Keys of the incidents that are counted once, by their first victim: system OOMs, and those without an Event.
const SYSTEM: &str = "system";
const SKIPPED: &str = "skipped";

/// Which Events are recorded, and how.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The component and node that Events are reported as.
    pub reporter: Reporter,
    /// Whether system OOMs are recorded on the node.
    pub node_events: bool,
    /// The node's UID in an Event on the node.
    pub node_uid: NodeUid,
    /// Whether kills are recorded on their pods.
    pub pod_events: bool,
    /// Namespaces whose pods get no Events.
    pub excluded_namespaces: BTreeSet<String>,
    /// Older kills get no Event. The API server itself deletes Events after an hour.
    pub max_age: Duration,
    /// Delay of Events for kills from before the start, so that the agents of many nodes do not send theirs all at once.
    pub start_delay: Duration,
}

/// The value that is used as the node's UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeUid {
    /// The UID of the Node object; absent if it cannot be read. `kubectl describe node` 1.36 looks for it, 1.20 does not.
    Real,
    /// The node's name, as in kubelets up to 1.34. Every version of `kubectl describe node` looks for it.
    Name,
}

/// The times at which a kill happened and is recorded.
#[derive(Clone, Copy, Debug)]
pub struct RecordTimes {
    /// Now, by the persistent clock, which never goes back.
    pub now_ns: u64,
    /// Time of the kill, by the same clock.
    pub kill_ns: u64,
    /// Wall-clock time, for a report that has none.
    pub wall_time: Timestamp,
}

/// Turns reports into requests, and responses into outcomes.
///
/// Names and counts of Events depend on the reports and their order alone. Therefore a recorder that is restored from a save, and
/// records again what was recorded after that save before it sends anything, never creates an Event twice or decreases a count.
#[derive(Debug)]
pub struct Recorder {
    policy: Policy,
    started_ns: u64,
    /// Start of the history. Earlier kills may have been recorded by an agent whose history is lost.
    epoch_ns: u64,
    state: RecorderState,
}

/// The state that is saved.
#[derive(Debug)]
struct RecorderState {
    correlator: Correlator,
    series: Series,
    queue: EventQueue,
    incidents: LruTable<RecentIncidents>,
    epoch: LruTable<u64>,
}

impl Recorder {
    /// Restores the saved rows at a start at `now_ns` of the persistent clock. Rows that cannot be read, and Events that the policy
    /// does not want any more, are left out.
    #[must_use]
    pub fn restore(policy: Policy, saved: &[Entry], now_ns: u64) -> Self {
        let not_before_ns = now_ns.saturating_add(nanoseconds(policy.start_delay));
        let max_age_ns = nanoseconds(policy.max_age);
        let mut epoch = LruTable::restore(EPOCH, 1, saved);
        let epoch_ns = match epoch.peek(EPOCH) {
            Some(epoch_ns) => *epoch_ns,
            None => *epoch.entry(EPOCH, || now_ns),
        };
        let mut queue = EventQueue::restore(saved, max_age_ns, now_ns, not_before_ns);
        let is_wanted = |object, event: &Event| match object {
            Object::Node => policy.node_events,
            Object::Pod => {
                let namespace = &event.metadata.namespace;
                policy.pod_events && !policy.excluded_namespaces.contains(namespace)
            }
        };
        queue.retain(is_wanted, now_ns);
        let mut correlator = Correlator::restore(saved);
        for event in queue.held() {
            correlator.hold(event);
        }
        Self {
            policy,
            started_ns: now_ns,
            epoch_ns,
            state: RecorderState {
                correlator,
                series: Series::restore(saved),
                queue,
                incidents: LruTable::restore(INCIDENTS, 2, saved),
                epoch,
            },
        }
    }

    /// The policy that it was restored with.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Records a kill: queues its Events.
    pub fn record(&mut self, report: &Report, times: RecordTimes) {
        if self.policy.node_events {
            self.record_on_node(report, times);
        }
        if self.policy.pod_events {
            self.record_on_pod(report, times);
        }
    }

    /// The request to send now, or the time to wait for.
    pub fn next(&mut self, now_ns: u64) -> Next {
        let RecorderState {
            correlator, queue, ..
        } = &mut self.state;
        while let Some(object) = correlator.release(now_ns) {
            queue.release(&object, now_ns);
        }
        match (queue.next(now_ns), correlator.next_release_ns(now_ns)) {
            (Next::Wait(Some(wake)), Some(release)) => Next::Wait(Some(wake.min(release))),
            (Next::Wait(None), release) => Next::Wait(release),
            (next, _) => next,
        }
    }

    /// Applies the response to the request for an Event. `random` is at least 0 and less than 1.
    pub fn handle_response(
        &mut self,
        name: &Metadata,
        response: &Response,
        now_ns: u64,
        random: f64,
    ) {
        let RecorderState {
            correlator,
            series,
            queue,
            ..
        } = &mut self.state;
        let ResponseEffect {
            is_complete,
            resolution,
        } = queue.handle_response(name, response, now_ns, random);
        if is_complete {
            correlator.mark_written(name);
        }
        if let Some(resolution) = resolution {
            correlator.resolve_conflict(name, &resolution);
            series.resolve_conflict(name, &resolution);
        }
    }

    /// Starts the shutdown: each object gets one more request, at once.
    pub fn close(&mut self, undelivered: Undelivered, now_ns: u64) {
        self.state.queue.close(undelivered, now_ns);
    }

    /// Whether a request is due or in flight. At shutdown there is none left after each object had its last request.
    #[must_use]
    pub fn has_requests_left(&self) -> bool {
        self.state.queue.has_requests_left()
    }

    /// Drops and counts the incidents that are not delivered.
    pub fn abandon(&mut self, now_ns: u64) {
        self.state.queue.abandon(now_ns);
    }

    /// Number of incidents that are not delivered yet.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.state.queue.pending()
    }

    /// The outcomes and delays since the last call.
    pub fn take_stats(&mut self) -> Vec<DeliveryStat> {
        self.state.queue.take_stats()
    }

    /// The rows that changed since the last call or since they were restored; to be saved in one transaction.
    pub fn changes(&mut self) -> Vec<Change> {
        let RecorderState {
            correlator,
            series,
            queue,
            incidents,
            epoch,
        } = &mut self.state;
        [
            correlator.changes(),
            series.changes(),
            queue.changes(),
            incidents.changes(),
            epoch.changes(),
        ]
        .concat()
    }

    /// Makes every row a change, because the saved rows are lost.
    pub fn mark_all_dirty(&mut self) {
        let RecorderState {
            correlator,
            series,
            queue,
            incidents,
            epoch,
        } = &mut self.state;
        correlator.mark_all_dirty();
        series.mark_all_dirty();
        queue.mark_all_dirty();
        incidents.mark_all_dirty();
        epoch.mark_all_dirty();
    }

    fn record_on_node(&mut self, report: &Report, times: RecordTimes) {
        let time = report.time.unwrap_or(times.wall_time);
        let Some(event) = node_event(report, &self.policy.reporter, time) else {
            return;
        };
        if !self.is_new(SYSTEM, &report.incident) {
            return;
        }
        let ownership = self.ownership(times);
        let correlator = &mut self.state.correlator;
        let counted = correlator.correlate(event, ownership, times.kill_ns);
        self.push(Object::Node, counted, times);
    }

    fn record_on_pod(&mut self, report: &Report, times: RecordTimes) {
        let time = report.time.unwrap_or(times.wall_time);
        let excluded = &self.policy.excluded_namespaces;
        let outcome = match pod_event(report, &self.policy.reporter, time) {
            Ok(event) if excluded.contains(&event.metadata.namespace) => Outcome::Excluded,
            Ok(event) => return self.count_on_pod(event, report, times),
            Err(SkipReason::NoPod) => return,
            Err(SkipReason::Unnamed) => Outcome::Unnamed,
            Err(SkipReason::OptedOut) => Outcome::OptedOut,
        };
        if self.is_new(SKIPPED, &report.incident) {
            let age_ns = times.now_ns.saturating_sub(times.kill_ns);
            let about = pod_label(report.pod.as_ref());
            self.state
                .queue
                .settle(Object::Pod, about, outcome, 1, age_ns);
        }
    }

    fn count_on_pod(&mut self, event: Event, report: &Report, times: RecordTimes) {
        let ownership = self.ownership(times);
        let series = &mut self.state.series;
        let container = report
            .container
            .as_ref()
            .map(|container| container.id.as_str());
        let incident = &report.incident;
        if let Some(counted) = series.count(event, container, incident, ownership, times.kill_ns) {
            self.push(Object::Pod, counted, times);
        }
    }

    fn push(&mut self, object: Object, counted: CountedEvent, times: RecordTimes) {
        let incident = QueuedIncident {
            object,
            counted,
            time_ns: times.kill_ns,
            not_before_ns: self.not_before_ns(times),
        };
        self.state.queue.push(incident, times.now_ns);
    }

    fn is_new(&mut self, kind: &str, incident: &str) -> bool {
        let last = self.state.incidents.entry(kind, RecentIncidents::default);
        last.is_new(incident)
    }

    /// The ownership of an object that is named after a kill.
    fn ownership(&self, times: RecordTimes) -> Ownership {
        if times.kill_ns < self.epoch_ns {
            Ownership::Unknown
        } else {
            Ownership::Ours
        }
    }

    /// The earliest time of a request for a kill.
    fn not_before_ns(&self, times: RecordTimes) -> u64 {
        if times.kill_ns < self.started_ns {
            let delay_ns = nanoseconds(self.policy.start_delay);
            self.started_ns.saturating_add(delay_ns)
        } else {
            0
        }
    }
}

/// The pod's namespace and name, else its UID.
fn pod_label(pod: Option<&Pod>) -> String {
    match pod {
        Some(Pod {
            namespace: Some(namespace),
            name: Some(name),
            ..
        }) => format!("{namespace}/{name}"),
        Some(pod) => pod.uid.clone(),
        None => String::new(),
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
