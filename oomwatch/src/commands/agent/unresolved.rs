//! Kills of pods without names, while the watch of the pods is not up: it may still bring the names.

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

use crate::model::report::Report;

/// Most kills that wait; the oldest one beyond it is delivered without a name.
const CAPACITY: usize = 1024;

/// How long a kill waits. A watch that is forbidden never comes up.
const PATIENCE: Duration = Duration::from_mins(10);

/// Kills that were delivered to every output but Events.
#[derive(Debug, Default)]
pub(super) struct Unresolved {
    waiting: VecDeque<(Instant, Report)>,
    /// Ids of kills that left to be named again.
    delivered: HashSet<String>,
}

impl Unresolved {
    /// Keeps a kill if its pod has no name. Returns a kill that is not kept: this one, or the oldest.
    pub(super) fn keep(&mut self, report: Report, now: Instant) -> Option<Report> {
        if report.pod.as_ref().is_none_or(|pod| pod.name.is_some()) {
            return Some(report);
        }
        self.waiting.push_back((now, report));
        let is_full = self.waiting.len() > CAPACITY;
        let oldest = self.waiting.pop_front_if(|_| is_full)?;
        Some(oldest.1)
    }

    /// Removes the next kill that has waited too long.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Report> {
        let is_over =
            |(since, _): &mut (Instant, Report)| now.saturating_duration_since(*since) > PATIENCE;
        Some(self.waiting.pop_front_if(is_over)?.1)
    }

    /// Removes all kills, to be named again.
    pub(super) fn take(&mut self) -> Vec<Report> {
        let waiting: Vec<_> = self.waiting.drain(..).map(|(_, report)| report).collect();
        let ids = waiting.iter().map(|report| report.id.clone());
        self.delivered.extend(ids);
        waiting
    }

    /// Whether a kill was delivered to the other outputs before. Each id is answered once.
    pub(super) fn was_delivered(&mut self, id: &str) -> bool {
        self.delivered.remove(id)
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
    fn only_kills_without_a_name_are_kept_and_delivered_once() {
        let now = Instant::now();
        let mut unresolved = Unresolved::default();
        assert!(unresolved.keep(kill(1, true), now).is_some());
        let mut outside = kill(2, false);
        outside.pod = None;
        assert!(unresolved.keep(outside, now).is_some());
        assert!(unresolved.keep(kill(3, false), now).is_none());
        assert!(!unresolved.was_delivered("3"));
        let ids: Vec<_> = unresolved.take().into_iter().map(|kill| kill.id).collect();
        assert_eq!(ids, ["3"]);
        assert!(unresolved.take().is_empty());
        assert!(unresolved.was_delivered("3"));
        assert!(!unresolved.was_delivered("3"));
    }

    #[test]
    fn oldest_kill_makes_room() {
        let now = Instant::now();
        let mut unresolved = Unresolved::default();
        for number in 0..CAPACITY {
            assert!(unresolved.keep(kill(number, false), now).is_none());
        }
        let gone = unresolved.keep(kill(CAPACITY, false), now);
        assert_eq!(gone.expect("one too many").id, "0");
    }

    #[test]
    fn no_kill_waits_forever() {
        let now = Instant::now();
        let mut unresolved = Unresolved::default();
        assert!(unresolved.keep(kill(1, false), now).is_none());
        assert!(unresolved.expire(now + PATIENCE).is_none());
        let later = now + PATIENCE + Duration::from_secs(1);
        assert!(unresolved.keep(kill(2, false), later).is_none());
        assert_eq!(unresolved.expire(later).expect("an old one").id, "1");
        assert!(unresolved.expire(later).is_none());
    }
}
