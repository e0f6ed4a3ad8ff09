//! From reports to requests: which Events a kill has, how often it has happened, and when which of it is sent.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;

use super::{
    answer::Answer,
    correlate::{Correlated, Correlator, Verdict},
    node::node_event,
    notice::{DeliveryStat, Object, Outcome},
    object::{Event, Metadata, Reporter},
    pod::{WithoutEvent, pod_event},
    series::{Counted, Incidents, Series},
};
use crate::deliver::events::{
    event_counter::Ownership,
    queue::{Answered, Incident, Next, Outbox, Undelivered},
};
use crate::model::{
    persist::{self, Change, Entry, table::Table},
    report::Report,
};

/// Of the journal; and the only key of one.
const INCIDENTS: &str = "incidents";
const BORN: &str = "born";
/// Incidents that are each told once, by their first victim: system OOMs, and those without an Event.
const SYSTEM: &str = "system";
const WITHOUT: &str = "without";

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeUid {
    /// Its UID; nothing where it cannot be had. `kubectl describe node` of 1.20 does not look for it, that of 1.36 does.
    Real,
    /// Its name, as kubelets up to 1.34 have it. Every `kubectl describe node` looks for it.
    Name,
}

/// When a report is taken.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// By the journal's clock, which never goes back.
    pub clock_ns: u64,
    /// When the kill was, by the same.
    pub kill_ns: u64,
    /// By the calendar.
    pub time: Timestamp,
}

/// Reports become requests here.
///
/// Names and counts of Events follow from the reports and their order alone. So a recorder that is restored as it was at some
/// time, and is handed again what it was handed after that, before it sends anything, asks for nothing that would make an
/// Event twice or a count less.
#[derive(Debug)]
pub struct Recorder {
    policy: Policy,
    started_ns: u64,
    /// Kills before that may have been told by an agent that is not remembered.
    born_ns: u64,
    state: State,
}

/// All that is to be remembered.
#[derive(Debug)]
struct State {
    correlator: Correlator,
    series: Series,
    outbox: Outbox,
    incidents: Table<Incidents>,
    born: Table<u64>,
}

impl Recorder {
    /// What was saved, if anything was, at a start at `now_ns` of the journal's clock. What cannot be read, or is not wanted any
    /// more, is left out.
    #[must_use]
    pub fn restore(policy: Policy, saved: &[Entry], now_ns: u64) -> Self {
        let not_before_ns = now_ns.saturating_add(nanoseconds(policy.start_delay));
        let max_age_ns = nanoseconds(policy.max_age);
        let mut born = Table::restore(persist::read(saved, BORN, BORN));
        let born_ns = match born.get("") {
            Some(born_ns) => *born_ns,
            None => *born.entry("", || now_ns),
        };
        let mut outbox = Outbox::restore(saved, max_age_ns, now_ns, not_before_ns);
        let is_wanted = |object, event: &Event| match object {
            Object::Node => policy.node_events,
            Object::Pod => {
                let namespace = &event.metadata.namespace;
                policy.pod_events && !policy.excluded_namespaces.contains(namespace)
            }
        };
        outbox.keep(is_wanted, now_ns);
        let mut correlator = Correlator::restore(saved);
        for event in outbox.held() {
            correlator.hold(event);
        }
        Self {
            policy,
            started_ns: now_ns,
            born_ns,
            state: State {
                correlator,
                series: Series::restore(saved),
                outbox,
                incidents: Table::restore(persist::read(saved, INCIDENTS, "")),
                born,
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
            correlator,
            series,
            outbox,
            ..
        } = &mut self.state;
        let Answered { is_done, lesson } = outbox.answered(name, answer, now_ns, random);
        if is_done {
            correlator.written(name);
        }
        if let Some(lesson) = lesson {
            correlator.learn(name, &lesson);
            series.learn(name, &lesson);
        }
    }

    /// From now on each object has one more try, at once.
    pub fn close(&mut self, undelivered: Undelivered, now_ns: u64) {
        self.state.outbox.close(undelivered, now_ns);
    }

    /// Whether there is more to come of what is to be told: nothing is, at the end, when each had its try.
    #[must_use]
    pub fn is_trying(&self) -> bool {
        self.state.outbox.is_trying()
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
    pub fn notices(&mut self) -> Vec<DeliveryStat> {
        self.state.outbox.notices()
    }

    /// What differs from what was told by the last call, or restored: to be saved, all at once.
    pub fn changes(&mut self) -> Vec<Change> {
        let State {
            correlator,
            series,
            outbox,
            incidents,
            born,
        } = &mut self.state;
        let incidents = incidents.changes(usize::MAX, |key, last| {
            Change::new(INCIDENTS, key.to_owned(), last)
        });
        let born = born.changes(usize::MAX, |_, born| {
            Change::new(BORN, BORN.to_owned(), born)
        });
        let (correlator, series) = (correlator.changes(), series.changes());
        [correlator, series, outbox.changes(), incidents, born].concat()
    }

    /// What was saved is lost: all of it is a change again.
    pub fn mark_all_dirty(&mut self) {
        let State {
            correlator,
            series,
            outbox,
            incidents,
            born,
        } = &mut self.state;
        correlator.mark_all_dirty();
        series.mark_all_dirty();
        outbox.mark_all_dirty();
        incidents.mark_all_dirty();
        born.mark_all_dirty();
    }

    fn take_for_node(&mut self, report: &Report, now: Now) {
        let time = report.time.unwrap_or(now.time);
        let Some(event) = node_event(report, &self.policy.reporter, time) else {
            return;
        };
        if !self.is_new(SYSTEM, &report.incident) {
            return;
        }
        let origin = self.origin(now);
        let Correlated {
            event,
            origin,
            verdict,
        } = self.state.correlator.take(event, origin, now.kill_ns);
        let incident = Incident {
            object: Object::Node,
            event,
            origin,
            verdict,
            time_ns: now.kill_ns,
            not_before_ns: self.not_before_ns(now),
            pace_ns: 0,
        };
        self.state.outbox.put(incident, now.clock_ns);
    }

    fn take_for_pod(&mut self, report: &Report, now: Now) {
        let time = report.time.unwrap_or(now.time);
        let excluded = &self.policy.excluded_namespaces;
        let outcome = match pod_event(report, &self.policy.reporter, time) {
            Ok(event) if excluded.contains(&event.metadata.namespace) => Outcome::Excluded,
            Ok(event) => return self.put_for_pod(event, &report.incident, now),
            Err(WithoutEvent::NoPod) => return,
            Err(WithoutEvent::Unnamed) => Outcome::Unnamed,
            Err(WithoutEvent::OptedOut) => Outcome::OptedOut,
        };
        if self.is_new(WITHOUT, &report.incident) {
            let age_ns = now.clock_ns.saturating_sub(now.kill_ns);
            self.state.outbox.settle(Object::Pod, outcome, 1, age_ns);
        }
    }

    fn put_for_pod(&mut self, event: Event, incident: &str, now: Now) {
        let origin = self.origin(now);
        let counted = self.state.series.take(event, incident, origin, now.kill_ns);
        let Some(counted) = counted else {
            return;
        };
        let Counted {
            event,
            origin,
            pace_ns,
        } = counted;
        let incident = Incident {
            object: Object::Pod,
            event,
            origin,
            verdict: Verdict::Write,
            time_ns: now.kill_ns,
            not_before_ns: self.not_before_ns(now),
            pace_ns,
        };
        self.state.outbox.put(incident, now.clock_ns);
    }

    fn is_new(&mut self, kind: &str, incident: &str) -> bool {
        let last = self.state.incidents.entry(kind, Incidents::default);
        last.is_new(incident)
    }

    /// Of an object that a kill names.
    fn origin(&self, now: Now) -> Ownership {
        if now.kill_ns < self.born_ns {
            Ownership::Unknown
        } else {
            Ownership::Ours
        }
    }

    fn not_before_ns(&self, now: Now) -> u64 {
        if now.kill_ns < self.started_ns {
            let delay_ns = nanoseconds(self.policy.start_delay);
            self.started_ns.saturating_add(delay_ns)
        } else {
            0
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
