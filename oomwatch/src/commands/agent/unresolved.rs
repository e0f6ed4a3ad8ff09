//! Kills of pods whose names nobody has told yet, while the watch of the pods is not up: it may still tell them.

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

use crate::model::report::Report;

/// Kills that wait; beyond that the oldest goes without its name.
const CAPACITY: usize = 1024;

/// How long one waits: where the watch is forbidden it never comes.
const PATIENCE: Duration = Duration::from_mins(10);

/// Kills that have been told to all but the API server.
#[derive(Debug, Default)]
pub(super) struct Unresolved {
    waiting: VecDeque<(Instant, Report)>,
    /// Those that have left, until they come back with their names.
    told: HashSet<String>,
}

impl Unresolved {
    /// Keeps a kill if its pod has no name. Gives what is not kept: this one, or the one that has waited longest.
    pub(super) fn keep(&mut self, report: Report, now: Instant) -> Option<Report> {
        if report.pod.as_ref().is_none_or(|pod| pod.name.is_some()) {
            return Some(report);
        }
        self.waiting.push_back((now, report));
        let is_full = self.waiting.len() > CAPACITY;
        let oldest = self.waiting.pop_front_if(|_| is_full)?;
        Some(oldest.1)
    }

    /// The next that has waited for too long.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Report> {
        let is_over =
            |(since, _): &mut (Instant, Report)| now.saturating_duration_since(*since) > PATIENCE;
        Some(self.waiting.pop_front_if(is_over)?.1)
    }

    /// All of them, to be named.
    pub(super) fn take(&mut self) -> Vec<Report> {
        let waiting: Vec<_> = self.waiting.drain(..).map(|(_, report)| report).collect();
        let ids = waiting.iter().map(|report| report.id.clone());
        self.told.extend(ids);
        waiting
    }

    /// Whether it was told to all others before; asked once.
    pub(super) fn was_told(&mut self, id: &str) -> bool {
        self.told.remove(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn kill(number: usize, is_named: bool) -> Report {
        let mut report = testing::report();
        report.id = number.to_string();
        let pod = report.pod.as_mut().expect("in a pod");
        pod.name = is_named.then(|| "cart-0".to_owned());
        report
    }

    #[test]
    fn only_kills_without_a_name_are_kept_and_told_once() {
        let now = Instant::now();
        let mut nameless = Unresolved::default();
        assert!(nameless.keep(kill(1, true), now).is_some());
        let mut outside = kill(2, false);
        outside.pod = None;
        assert!(nameless.keep(outside, now).is_some());
        assert!(nameless.keep(kill(3, false), now).is_none());
        assert!(!nameless.was_told("3"));
        let ids: Vec<_> = nameless.take().into_iter().map(|kill| kill.id).collect();
        assert_eq!(ids, ["3"]);
        assert!(nameless.take().is_empty());
        assert!(nameless.was_told("3"));
        assert!(!nameless.was_told("3"));
    }

    #[test]
    fn oldest_makes_room() {
        let now = Instant::now();
        let mut nameless = Unresolved::default();
        for number in 0..CAPACITY {
            assert!(nameless.keep(kill(number, false), now).is_none());
        }
        let gone = nameless.keep(kill(CAPACITY, false), now);
        assert_eq!(gone.expect("one too many").id, "0");
    }

    #[test]
    fn nobody_waits_for_ever() {
        let now = Instant::now();
        let mut nameless = Unresolved::default();
        assert!(nameless.keep(kill(1, false), now).is_none());
        assert!(nameless.expire(now + PATIENCE).is_none());
        let later = now + PATIENCE + Duration::from_secs(1);
        assert!(nameless.keep(kill(2, false), later).is_none());
        assert_eq!(nameless.expire(later).expect("an old one").id, "1");
        assert!(nameless.expire(later).is_none());
    }
}
