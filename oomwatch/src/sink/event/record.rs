//! From reports to requests: which Events a kill has, how often it has happened, and when which of it is sent.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    answer::Answer,
    correlate::{Correlated, Correlator, Verdict},
    node::node_event,
    notice::{Notice, Object, Outcome},
    object::{Event, Metadata, Reporter},
    outbox::{Incident, Next, Outbox},
    pod::{WithoutEvent, pod_event},
    series::{Counted, Incidents, Series},
};
use crate::report::Report;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Policy {
    /// In whose name.
    pub reporter: Reporter,
    /// Whether system OOMs are recorded on the node.
    pub node_events: bool,
    /// What an Event on the node has for the node's UID.
    pub node_uid: NodeUid,
    /// Whether kills are recorded on their pods.
    pub pod_events: bool,
    /// Whose pods have no Events.
    pub excluded_namespaces: BTreeSet<String>,
    /// What is older has no Event; the API server itself forgets Events after an hour.
    pub max_age: Duration,
    /// How long kills from before the start wait, so that the agents of many nodes do not all tell theirs at once.
    pub start_delay: Duration,
}

/// What stands for a node's UID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum NodeUid {
    /// Its UID; nothing where it cannot be had. `kubectl describe node` of 1.20 does not look for it, that of 1.36 does.
    Real,
    /// Its name, as kubelets up to 1.34 have it. Every `kubectl describe node` looks for it.
    Name,
}

/// A moment by the clocks that are handed in.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Nanoseconds since boot, suspend included.
    pub boot_time_ns: u64,
    /// The same by the calendar.
    pub time: Timestamp,
}

/// Reports become requests here.
#[derive(Debug)]
pub struct Recorder {
    policy: Policy,
    started_ns: u64,
    state: State,
}

/// All that is to be remembered, as plain data.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct State {
    correlator: Correlator,
    series: Series,
    outbox: Outbox,
    /// System OOMs, and incidents without an Event: each is told once, by its first victim.
    system: Incidents,
    without: Incidents,
}

impl Recorder {
    /// Nothing was recorded before; it starts at `now_ns` since boot.
    #[must_use]
    pub fn new(policy: Policy, now_ns: u64) -> Self {
        let max_age_ns = nanoseconds(policy.max_age);
        Self {
            policy,
            started_ns: now_ns,
            state: State {
                correlator: Correlator::new(),
                series: Series::new(),
                outbox: Outbox::new(max_age_ns, now_ns),
                system: Incidents::default(),
                without: Incidents::default(),
            },
        }
    }

    /// What is wanted.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Takes a kill.
    pub fn take(&mut self, report: &Report, now: Now) {
        if self.policy.node_events {
            self.take_for_node(report, now);
        }
        if self.policy.pod_events {
            self.take_for_pod(report, now);
        }
    }

    /// What to do now.
    pub fn next(&mut self, now_ns: u64) -> Next {
        let State {
            correlator, outbox, ..
        } = &mut self.state;
        while let Some(object) = correlator.release(now_ns) {
            outbox.release(&object, now_ns);
        }
        match (outbox.next(now_ns), correlator.next_release_ns(now_ns)) {
            (Next::Wait(Some(wake)), Some(release)) => Next::Wait(Some(wake.min(release))),
            (Next::Wait(None), release) => Next::Wait(release),
            (next, _) => next,
        }
    }

    /// Takes the answer to the request for an Event. `random` is at least 0 and less than 1.
    pub fn answered(&mut self, name: &Metadata, answer: &Answer, now_ns: u64, random: f64) {
        let State {
            correlator, outbox, ..
        } = &mut self.state;
        if outbox.answered(name, answer, now_ns, random) {
            correlator.written(name);
        }
    }

    /// From now on each object has one more try, at once.
    pub fn close(&mut self, now_ns: u64) {
        self.state.outbox.close(now_ns);
    }

    /// Gives up what is left.
    pub fn abandon(&mut self, now_ns: u64) {
        self.state.outbox.abandon(now_ns);
    }

    /// Incidents that are yet to be told.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.state.outbox.pending()
    }

    /// What happened since the last call.
    pub fn notices(&mut self) -> Vec<Notice> {
        self.state.outbox.notices()
    }

    fn take_for_node(&mut self, report: &Report, now: Now) {
        let time = report.time.unwrap_or(now.time);
        let Some(event) = node_event(report, &self.policy.reporter, time) else {
            return;
        };
        if !self.state.system.is_new(&report.incident) {
            return;
        }
        let Correlated { event, verdict } = self.state.correlator.take(event, now.boot_time_ns);
        let incident = Incident {
            object: Object::Node,
            event,
            verdict,
            time_ns: time_ns(report, now),
            not_before_ns: self.not_before_ns(report, now),
            pace_ns: 0,
        };
        self.state.outbox.put(incident, now.boot_time_ns);
    }

    fn take_for_pod(&mut self, report: &Report, now: Now) {
        let time = report.time.unwrap_or(now.time);
        let excluded = &self.policy.excluded_namespaces;
        let outcome = match pod_event(report, &self.policy.reporter, time) {
            Ok(event) if excluded.contains(&event.metadata.namespace) => Outcome::Excluded,
            Ok(event) => return self.put_for_pod(event, report, now),
            Err(WithoutEvent::NoPod) => return,
            Err(WithoutEvent::Unnamed) => Outcome::Unnamed,
            Err(WithoutEvent::OptedOut) => Outcome::OptedOut,
        };
        let State {
            without, outbox, ..
        } = &mut self.state;
        if without.is_new(&report.incident) {
            let age_ns = now.boot_time_ns.saturating_sub(time_ns(report, now));
            outbox.settle(Object::Pod, outcome, 1, age_ns);
        }
    }

    fn put_for_pod(&mut self, event: Event, report: &Report, now: Now) {
        let series = &mut self.state.series;
        let Some(counted) = series.take(event, &report.incident, now.boot_time_ns) else {
            return;
        };
        let Counted { event, pace_ns } = counted;
        let incident = Incident {
            object: Object::Pod,
            event,
            verdict: Verdict::Write,
            time_ns: time_ns(report, now),
            not_before_ns: self.not_before_ns(report, now),
            pace_ns,
        };
        self.state.outbox.put(incident, now.boot_time_ns);
    }

    fn not_before_ns(&self, report: &Report, now: Now) -> u64 {
        if time_ns(report, now) < self.started_ns {
            let delay_ns = nanoseconds(self.policy.start_delay);
            self.started_ns.saturating_add(delay_ns)
        } else {
            0
        }
    }
}

/// When the kill was; only a saved log does not tell.
fn time_ns(report: &Report, now: Now) -> u64 {
    report.kill.boot_time_ns.unwrap_or(now.boot_time_ns)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
