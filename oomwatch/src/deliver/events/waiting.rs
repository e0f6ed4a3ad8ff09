//! Incidents that the API server has not been told of, in a bounded space.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::bucket::SECOND_NS;

/// Up to so many runs each is a second at most, so that few kills are each known by their own time.
const FINE_RUNS: usize = 64;
/// When there are more, a run is a minute at most.
const COARSE_NS: u64 = 60 * SECOND_NS;
/// When there are more than this, the last one takes all that follow.
const MAX_RUNS: usize = 256;

/// Incidents, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Waiting {
    runs: VecDeque<Run>,
}

/// Incidents close to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// When the first one was, by the journal's clock.
    pub(super) first_ns: u64,
    last_ns: u64,
    pub(super) incidents: u32,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(super) fn incidents(&self) -> u32 {
        self.runs
            .iter()
            .fold(0, |sum, run| sum.saturating_add(run.incidents))
    }

    /// One more incident, of that time.
    pub(super) fn add(&mut self, time_ns: u64) {
        let span_ns = match self.runs.len() {
            MAX_RUNS.. => u64::MAX,
            FINE_RUNS.. => COARSE_NS,
            _ => SECOND_NS,
        };
        if let Some(last) = self.runs.back_mut()
            && time_ns.saturating_sub(last.first_ns) < span_ns
        {
            last.incidents = last.incidents.saturating_add(1);
            last.last_ns = last.last_ns.max(time_ns);
            return;
        }
        self.runs.push_back(Run {
            first_ns: time_ns,
            last_ns: time_ns,
            incidents: 1,
        });
    }

    /// What waited before these.
    pub(super) fn put_back(&mut self, earlier: Self) {
        for run in earlier.runs.into_iter().rev() {
            self.runs.push_front(run);
        }
    }

    /// Takes out the first incident.
    pub(super) fn take_first(&mut self) -> Option<Run> {
        let first = self.runs.front_mut()?;
        let taken = Run {
            incidents: 1,
            ..*first
        };
        first.incidents = first.incidents.saturating_sub(1);
        if first.incidents == 0 {
            self.runs.pop_front();
        }
        Some(taken)
    }

    /// When the next ones are older than `age_ns`.
    pub(super) fn expires_ns(&self, age_ns: u64) -> Option<u64> {
        let oldest = self.runs.iter().map(|run| run.last_ns).min()?;
        Some(oldest.saturating_add(age_ns).saturating_add(1))
    }

    /// Takes out the runs all of whose incidents are older than `age_ns`.
    pub(super) fn expire(&mut self, age_ns: u64, now_ns: u64) -> Vec<Run> {
        let is_old = |run: &Run| run.last_ns.saturating_add(age_ns) < now_ns;
        let old = self.runs.iter().copied().filter(is_old).collect();
        self.runs.retain(|run| !is_old(run));
        old
    }

    /// Takes out all.
    pub(super) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    pub(super) fn into_runs(self) -> impl Iterator<Item = Run> {
        self.runs.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_incidents_are_known_by_their_own_times() {
        let mut waiting = Waiting::default();
        for second in 0..FINE_RUNS as u64 {
            waiting.add(second * SECOND_NS);
        }
        let times: Vec<u64> = waiting.into_runs().map(|run| run.first_ns).collect();
        assert_eq!(times.len(), FINE_RUNS);
        assert_eq!(times.last(), Some(&(63 * SECOND_NS)));
    }

    #[test]
    fn any_number_fits_and_none_is_lost() {
        let mut waiting = Waiting::default();
        for number in 0..1_000_000 {
            waiting.add(number * SECOND_NS);
        }
        assert_eq!(waiting.incidents(), 1_000_000);
        assert!(waiting.runs.len() <= MAX_RUNS, "{}", waiting.runs.len());
    }

    #[test]
    fn old_ones_expire_and_only_they() {
        let mut waiting = Waiting::default();
        waiting.add(SECOND_NS);
        waiting.add(5 * SECOND_NS);
        waiting.add(5 * SECOND_NS);
        let age_ns = 10 * SECOND_NS;
        assert_eq!(waiting.expires_ns(age_ns), Some(11 * SECOND_NS + 1));
        assert_eq!(waiting.expire(age_ns, 11 * SECOND_NS), []);
        let expired = waiting.expire(age_ns, 11 * SECOND_NS + 1);
        assert_eq!(expired.iter().map(|run| run.incidents).sum::<u32>(), 1);
        assert_eq!(waiting.incidents(), 2);
    }

    #[test]
    fn what_is_put_back_is_the_oldest_again() {
        let mut waiting = Waiting::default();
        waiting.add(SECOND_NS);
        waiting.add(3 * SECOND_NS);
        let sent = waiting.take();
        assert!(waiting.is_empty());
        waiting.add(9 * SECOND_NS);
        waiting.put_back(sent);
        let times: Vec<u64> = waiting
            .into_runs()
            .map(|run| run.first_ns / SECOND_NS)
            .collect();
        assert_eq!(times, [1, 3, 9]);
    }
}
