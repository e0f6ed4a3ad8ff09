//! Which containers lose processes: a bounded number of series, each of which leaves when it has nothing more to say. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

/// Containers that are remembered: four times the pods that a node has, by default, at most.
pub(super) const MAX_CONTAINERS: usize = 512;

/// How long a container's series stay after its last kill, and after its pod was last seen: a scrape may be late, and so
/// may be whoever looks into an alert.
pub(super) const KEPT: SignedDuration = SignedDuration::from_mins(30);

/// A container by its names; what is not known, or is not there, is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Names {
    /// The pod's namespace.
    pub(super) namespace: String,
    /// The pod.
    pub(super) pod: String,
    /// The container in it.
    pub(super) container: String,
}

/// Words for what ran out and whose limit was hit.
pub(super) type Reason = (&'static str, &'static str);

/// What is remembered of a container.
#[derive(Debug)]
pub(super) struct Series {
    /// How many processes were killed.
    pub(super) kills: BTreeMap<Reason, u64>,
    /// When the last one was.
    pub(super) last_kill: Timestamp,
    /// From then on the series may go.
    stays_until: Timestamp,
}

/// The containers that lost a process.
#[derive(Debug, Default)]
pub(super) struct Containers {
    series: BTreeMap<Names, Series>,
    /// Containers whose series had to go before their time.
    pub(super) evicted: u64,
}

impl Containers {
    /// Counts a kill.
    pub(super) fn kill(
        &mut self,
        container: Names,
        reason: Reason,
        time: Timestamp,
        now: Timestamp,
    ) {
        if !self.series.contains_key(&container) {
            self.make_room(now);
        }
        let series = self.series.entry(container).or_insert_with(|| Series {
            kills: BTreeMap::new(),
            last_kill: time,
            stays_until: now,
        });
        *series.kills.entry(reason).or_insert(0) += 1;
        series.last_kill = series.last_kill.max(time);
        series.stay(now);
    }

    /// Keeps the series of pods that live.
    pub(super) fn keep(&mut self, now: Timestamp, is_alive: impl Fn(&str, &str) -> bool) {
        for (container, series) in &mut self.series {
            if is_alive(&container.namespace, &container.pod) {
                series.stay(now);
            }
        }
    }

    /// Lets go of what has been silent for long.
    pub(super) fn forget(&mut self, now: Timestamp) {
        self.series.retain(|_, series| series.stays_until >= now);
    }

    /// By namespace, pod and container.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Names, &Series)> {
        self.series.iter()
    }

    /// Makes room for one: what was killed last longest ago goes first.
    fn make_room(&mut self, now: Timestamp) {
        self.forget(now);
        while self.series.len() >= MAX_CONTAINERS {
            let oldest = self
                .series
                .iter()
                .min_by_key(|(_, series)| series.last_kill)
                .map(|(container, _)| container.clone());
            let Some(oldest) = oldest else { return };
            self.series.remove(&oldest);
            self.evicted += 1;
        }
    }
}

impl Series {
    fn stay(&mut self, now: Timestamp) {
        self.stays_until = self
            .stays_until
            .max(now.saturating_add(KEPT).unwrap_or(Timestamp::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::timestamp;

    const REASON: Reason = ("memcg", "container");

    fn container(pod: &str) -> Names {
        Names {
            namespace: "shop".to_owned(),
            pod: pod.to_owned(),
            container: "app".to_owned(),
        }
    }

    fn pods(containers: &Containers) -> Vec<&str> {
        containers.iter().map(|(name, _)| &*name.pod).collect()
    }

    fn at(minutes: i64) -> Timestamp {
        timestamp(1_790_000_000 + minutes * 60, 0)
    }

    #[test]
    fn series_leave_half_an_hour_after_the_last_kill() {
        let mut containers = Containers::default();
        containers.kill(container("a"), REASON, at(0), at(0));
        containers.kill(container("b"), REASON, at(0), at(0));
        containers.kill(container("a"), REASON, at(1), at(1));
        containers.forget(at(30));
        assert_eq!(pods(&containers), ["a", "b"]);
        containers.forget(at(31));
        assert_eq!(pods(&containers), ["a"]);
        containers.forget(at(32));
        assert!(pods(&containers).is_empty());
    }

    #[test]
    fn series_of_a_pod_that_lives_stay_and_leave_half_an_hour_after_it() {
        let mut containers = Containers::default();
        containers.kill(container("gone"), REASON, at(0), at(0));
        containers.kill(container("alive"), REASON, at(0), at(0));
        containers.keep(at(29), |namespace, pod| {
            (namespace, pod) == ("shop", "alive")
        });
        containers.forget(at(31));
        assert_eq!(pods(&containers), ["alive"]);
        containers.forget(at(59));
        assert_eq!(pods(&containers), ["alive"]);
        containers.forget(at(60));
        assert!(pods(&containers).is_empty());
    }

    #[test]
    fn last_kill_never_goes_back() {
        let mut containers = Containers::default();
        containers.kill(container("a"), REASON, at(5), at(5));
        containers.kill(container("a"), REASON, at(2), at(6));
        let (_, series) = containers.iter().next().expect("a container");
        assert_eq!(series.last_kill, at(5));
        assert_eq!(series.kills[&REASON], 2);
    }

    #[test]
    fn one_too_many_takes_the_place_of_the_one_killed_longest_ago() {
        let mut containers = Containers::default();
        containers.kill(container("first"), REASON, at(0), at(0));
        for number in 1..MAX_CONTAINERS {
            containers.kill(container(&number.to_string()), REASON, at(1), at(1));
        }
        assert_eq!((containers.series.len(), containers.evicted), (512, 0));
        containers.kill(container("7"), REASON, at(2), at(2));
        assert_eq!(containers.evicted, 0);
        containers.kill(container("last"), REASON, at(2), at(2));
        assert_eq!((containers.series.len(), containers.evicted), (512, 1));
        assert!(!pods(&containers).contains(&"first"));
        assert!(pods(&containers).contains(&"last"));
    }

    #[test]
    fn what_has_left_needs_no_eviction() {
        let mut containers = Containers::default();
        for number in 0..MAX_CONTAINERS {
            containers.kill(container(&number.to_string()), REASON, at(0), at(0));
        }
        containers.kill(container("last"), REASON, at(31), at(31));
        assert_eq!(pods(&containers), ["last"]);
        assert_eq!(containers.evicted, 0);
    }
}
