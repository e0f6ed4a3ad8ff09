//! The incidents of one object that the API server does not have yet, in bounded memory: runs of times and counts.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::bucket::SECOND_NS;

/// Up to this many runs, a run spans less than a second, so that the age of few incidents is exact.
const FINE_RUNS: usize = 64;
/// With more runs, a run spans less than a minute.
const COARSE_NS: u64 = 60 * SECOND_NS;
/// With this many runs, the last one takes all that follow.
const MAX_RUNS: usize = 256;

/// Runs of incidents, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UnsentIncidents {
    runs: VecDeque<IncidentRun>,
}

/// Incidents close to each other in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IncidentRun {
    /// Time of the first one, by the persistent clock.
    pub(super) first_ns: u64,
    last_ns: u64,
    pub(super) incidents: u32,
}

impl UnsentIncidents {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Number of incidents.
    pub(super) fn count(&self) -> u32 {
        self.runs
            .iter()
            .fold(0, |sum, run| sum.saturating_add(run.incidents))
    }

    /// Adds an incident that happened at `time_ns`, which may be earlier than the last one.
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
        self.runs.push_back(IncidentRun {
            first_ns: time_ns,
            last_ns: time_ns,
            incidents: 1,
        });
    }

    /// Puts incidents in front, which were taken out before.
    pub(super) fn put_back(&mut self, earlier: Self) {
        for run in earlier.runs.into_iter().rev() {
            self.runs.push_front(run);
        }
    }

    /// Removes the first incident.
    pub(super) fn take_first(&mut self) -> Option<IncidentRun> {
        let first = self.runs.front_mut()?;
        let taken = IncidentRun {
            incidents: 1,
            ..*first
        };
        first.incidents = first.incidents.saturating_sub(1);
        if first.incidents == 0 {
            self.runs.pop_front();
        }
        Some(taken)
    }

    /// When the next run will be older than `age_ns`.
    pub(super) fn expires_ns(&self, age_ns: u64) -> Option<u64> {
        let oldest = self.runs.iter().map(|run| run.last_ns).min()?;
        Some(oldest.saturating_add(age_ns).saturating_add(1))
    }

    /// Removes the runs whose incidents are all older than `age_ns`.
    pub(super) fn expire(&mut self, age_ns: u64, now_ns: u64) -> Vec<IncidentRun> {
        let is_old = |run: &IncidentRun| run.last_ns.saturating_add(age_ns) < now_ns;
        let old = self.runs.iter().copied().filter(is_old).collect();
        self.runs.retain(|run| !is_old(run));
        old
    }

    /// Removes all.
    pub(super) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    pub(super) fn into_runs(self) -> impl Iterator<Item = IncidentRun> {
        self.runs.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_incidents_keep_their_own_times() {
        let mut unsent = UnsentIncidents::default();
        for second in 0..FINE_RUNS as u64 {
            unsent.add(second * SECOND_NS);
        }
        let times: Vec<u64> = unsent.into_runs().map(|run| run.first_ns).collect();
        assert_eq!(times.len(), FINE_RUNS);
        assert_eq!(times.last(), Some(&(63 * SECOND_NS)));
    }

    #[test]
    fn any_number_of_incidents_fits_and_none_is_lost() {
        let mut unsent = UnsentIncidents::default();
        for number in 0..1_000_000 {
            unsent.add(number * SECOND_NS);
        }
        assert_eq!(unsent.count(), 1_000_000);
        assert!(unsent.runs.len() <= MAX_RUNS, "{}", unsent.runs.len());
    }

    #[test]
    fn only_old_incidents_expire() {
        let mut unsent = UnsentIncidents::default();
        unsent.add(SECOND_NS);
        unsent.add(5 * SECOND_NS);
        unsent.add(5 * SECOND_NS);
        let age_ns = 10 * SECOND_NS;
        assert_eq!(unsent.expires_ns(age_ns), Some(11 * SECOND_NS + 1));
        assert_eq!(unsent.expire(age_ns, 11 * SECOND_NS), []);
        let expired = unsent.expire(age_ns, 11 * SECOND_NS + 1);
        assert_eq!(expired.iter().map(|run| run.incidents).sum::<u32>(), 1);
        assert_eq!(unsent.count(), 2);
    }

    #[test]
    fn late_incident_does_not_age_its_run() {
        let mut unsent = UnsentIncidents::default();
        unsent.add(5 * SECOND_NS);
        unsent.add(5 * SECOND_NS + SECOND_NS / 2);
        unsent.add(SECOND_NS);
        assert_eq!(unsent.runs.len(), 1);
        let age_ns = 10 * SECOND_NS;
        assert_eq!(
            unsent.expires_ns(age_ns),
            Some(15 * SECOND_NS + SECOND_NS / 2 + 1)
        );
    }

    #[test]
    fn incidents_put_back_are_the_oldest() {
        let mut unsent = UnsentIncidents::default();
        unsent.add(SECOND_NS);
        unsent.add(3 * SECOND_NS);
        let sent = unsent.take();
        assert!(unsent.is_empty());
        unsent.add(9 * SECOND_NS);
        unsent.put_back(sent);
        let times: Vec<u64> = unsent
            .into_runs()
            .map(|run| run.first_ns / SECOND_NS)
            .collect();
        assert_eq!(times, [1, 3, 9]);
    }
}
