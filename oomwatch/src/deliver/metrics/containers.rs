//! The series of containers whose processes were killed. Their number is bounded, and each is removed some time after its
//! last kill.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::{
    labels::{ContainerLabels, KillLabels, Reason},
    time_gauge::{TimeGauge, unix_seconds},
};

/// The most containers that have series: four times the pods of a node, by the kubelet's default.
pub(super) const MAX_CONTAINERS: usize = 512;

/// How long the series of a container stay after its last kill, and after its pod was last seen: long enough for a late
/// scrape and for a look at the alert.
pub(super) const RETENTION: SignedDuration = SignedDuration::from_mins(30);

/// Which series a container has, and until when.
#[derive(Debug)]
struct Retained {
    reasons: BTreeSet<Reason>,
    last_kill: Timestamp,
    expires: Timestamp,
}

/// The containers that have series.
#[derive(Debug, Default)]
pub(super) struct Containers {
    retained: BTreeMap<ContainerLabels, Retained>,
    kills: Family<KillLabels, Counter>,
    last_kill: Family<ContainerLabels, TimeGauge>,
    evicted: Counter,
}

impl Containers {
    /// Creates the families, which have no series yet, and registers them.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let containers = Self::default();
        registry.register(
            "oomwatch_kills",
            "Processes of a container killed by the OOM killer. A series first appears, with value 1, at the container's first kill",
            containers.kills.clone(),
        );
        registry.register(
            "oomwatch_last_kill_timestamp_seconds",
            "Time of the container's last OOM kill",
            containers.last_kill.clone(),
        );
        registry.register(
            "oomwatch_container_series_evicted",
            "Containers whose series were removed early to make room for another's",
            containers.evicted.clone(),
        );
        containers
    }

    /// Counts a kill.
    pub(super) fn kill(
        &mut self,
        container: ContainerLabels,
        reason: Reason,
        time: Timestamp,
        now: Timestamp,
    ) {
        if !self.retained.contains_key(&container) {
            self.make_room(now);
        }
        let retained = self
            .retained
            .entry(container.clone())
            .or_insert_with(|| Retained {
                reasons: BTreeSet::new(),
                last_kill: time,
                expires: now,
            });
        retained.reasons.insert(reason.clone());
        retained.last_kill = retained.last_kill.max(time);
        retained.extend(now);
        let seconds = unix_seconds(retained.last_kill);
        self.last_kill.get_or_create(&container).set(seconds);
        self.kills
            .get_or_create(&KillLabels { reason, container })
            .inc();
    }

    /// Keeps the series of pods that are alive, by namespace and name.
    pub(super) fn keep(&mut self, now: Timestamp, is_alive: impl Fn(&str, &str) -> bool) {
        for (container, retained) in &mut self.retained {
            if is_alive(&container.namespace, &container.pod) {
                retained.extend(now);
            }
        }
    }

    /// Removes the series whose time is over.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let expired = self
            .retained
            .extract_if(.., |_, retained| retained.expires < now);
        for (container, retained) in expired {
            remove_series(&self.kills, &self.last_kill, container, retained);
        }
    }

    /// Makes room for one more container: the one whose last kill is the oldest is evicted.
    fn make_room(&mut self, now: Timestamp) {
        self.expire(now);
        while self.retained.len() >= MAX_CONTAINERS {
            let oldest = self
                .retained
                .iter()
                .min_by_key(|(_, retained)| retained.last_kill)
                .map(|(container, _)| container.clone());
            let Some((container, retained)) =
                oldest.and_then(|oldest| self.retained.remove_entry(&oldest))
            else {
                return;
            };
            remove_series(&self.kills, &self.last_kill, container, retained);
            self.evicted.inc();
        }
    }
}

fn remove_series(
    kills: &Family<KillLabels, Counter>,
    last_kill: &Family<ContainerLabels, TimeGauge>,
    container: ContainerLabels,
    retained: Retained,
) {
    last_kill.remove(&container);
    for reason in retained.reasons {
        let container = container.clone();
        kills.remove(&KillLabels { reason, container });
    }
}

impl Retained {
    fn extend(&mut self, now: Timestamp) {
        let expires = now.saturating_add(RETENTION).unwrap_or(Timestamp::MAX);
        self.expires = self.expires.max(expires);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{kill::Scope, limit_owner::LimitOwner},
        testing::timestamp,
    };

    const REASON: Reason = Reason::new(Scope::Memcg, Some(LimitOwner::Container));

    fn container(pod: &str) -> ContainerLabels {
        ContainerLabels {
            namespace: "shop".to_owned(),
            pod: pod.to_owned(),
            container: "app".to_owned(),
        }
    }

    fn pods(containers: &Containers) -> Vec<&str> {
        let pods = containers.retained.keys().map(|labels| &*labels.pod);
        let pods: Vec<_> = pods.collect();
        // Each has its series, and no other has.
        let has_series = |pod: &&&str| {
            let container = container(pod);
            let reason = REASON;
            containers.last_kill.get(&container).is_some()
                && (containers.kills)
                    .get(&KillLabels { reason, container })
                    .is_some()
        };
        assert!(pods.iter().all(|pod| has_series(&pod)));
        pods
    }

    fn at(minutes: i64) -> Timestamp {
        timestamp(1_790_000_000 + minutes * 60, 0)
    }

    #[test]
    fn series_are_removed_half_an_hour_after_the_last_kill() {
        let mut containers = Containers::default();
        containers.kill(container("a"), REASON, at(0), at(0));
        containers.kill(container("b"), REASON, at(0), at(0));
        containers.kill(container("a"), REASON, at(1), at(1));
        containers.expire(at(30));
        assert_eq!(pods(&containers), ["a", "b"]);
        containers.expire(at(31));
        assert_eq!(pods(&containers), ["a"]);
        containers.expire(at(32));
        assert!(pods(&containers).is_empty());
    }

    #[test]
    fn series_of_a_live_pod_stay_until_half_an_hour_after_its_end() {
        let mut containers = Containers::default();
        containers.kill(container("gone"), REASON, at(0), at(0));
        containers.kill(container("alive"), REASON, at(0), at(0));
        containers.keep(at(29), |namespace, pod| {
            (namespace, pod) == ("shop", "alive")
        });
        containers.expire(at(31));
        assert_eq!(pods(&containers), ["alive"]);
        containers.expire(at(59));
        assert_eq!(pods(&containers), ["alive"]);
        containers.expire(at(60));
        assert!(pods(&containers).is_empty());
    }

    #[test]
    fn last_kill_never_goes_back() {
        let mut containers = Containers::default();
        containers.kill(container("a"), REASON, at(5), at(5));
        containers.kill(container("a"), REASON, at(2), at(6));
        let (container, reason) = (container("a"), REASON);
        let last_kill = containers.last_kill.get(&container).expect("a series");
        assert!((last_kill.get() - unix_seconds(at(5))).abs() < 1e-6);
        let kills = containers.kills.get(&KillLabels { reason, container });
        assert_eq!(kills.expect("a series").get(), 2);
    }

    #[test]
    fn one_container_too_many_evicts_the_one_with_the_oldest_kill() {
        let mut containers = Containers::default();
        containers.kill(container("first"), REASON, at(0), at(0));
        for number in 1..MAX_CONTAINERS {
            containers.kill(container(&number.to_string()), REASON, at(1), at(1));
        }
        assert_eq!(
            (containers.retained.len(), containers.evicted.get()),
            (512, 0)
        );
        containers.kill(container("7"), REASON, at(2), at(2));
        assert_eq!(containers.evicted.get(), 0);
        containers.kill(container("last"), REASON, at(2), at(2));
        assert_eq!(
            (containers.retained.len(), containers.evicted.get()),
            (512, 1)
        );
        assert!(!pods(&containers).contains(&"first"));
        assert!(pods(&containers).contains(&"last"));
    }

    #[test]
    fn expired_containers_are_not_counted_as_evicted() {
        let mut containers = Containers::default();
        for number in 0..MAX_CONTAINERS {
            containers.kill(container(&number.to_string()), REASON, at(0), at(0));
        }
        containers.kill(container("last"), REASON, at(31), at(31));
        assert_eq!(pods(&containers), ["last"]);
        assert_eq!(containers.evicted.get(), 0);
    }
}
