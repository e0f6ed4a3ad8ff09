//! The series of containers whose processes were killed. Their number is bounded, and each is removed some time after its
//! last kill.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::{
    families::registered,
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
#[derive(Debug)]
pub(super) struct Containers {
    retained: BTreeMap<ContainerLabels, Retained>,
    kills: Family<KillLabels, Counter>,
    last_kill: Family<ContainerLabels, TimeGauge>,
    evicted: Counter,
}

impl Containers {
    /// Creates the families, which have no series yet, and registers them.
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            retained: BTreeMap::new(),
            kills: registered(
                registry,
                "oomwatch_kills",
                "Processes of a container or a systemd unit killed by the OOM killer. A series first appears, with value 1, at the first kill",
            ),
            last_kill: registered(
                registry,
                "oomwatch_last_kill_timestamp_seconds",
                "Time of the last OOM kill of the container or unit",
            ),
            evicted: registered(
                registry,
                "oomwatch_container_series_evicted",
                "Containers and units whose series were removed early to make room for another's",
            ),
        }
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
            remove_series(&self.kills, &self.last_kill, &container, &retained);
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
            remove_series(&self.kills, &self.last_kill, &container, &retained);
            self.evicted.inc();
        }
    }
}

fn remove_series(
    kills: &Family<KillLabels, Counter>,
    last_kill: &Family<ContainerLabels, TimeGauge>,
    container: &ContainerLabels,
    retained: &Retained,
) {
    last_kill.remove(container);
    for reason in &retained.reasons {
        let (reason, container) = (reason.clone(), container.clone());
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
    use prometheus_client::encoding::text;

    use super::*;
    use crate::{
        model::{kill::Scope, limit_owner::LimitOwner},
        testing::timestamp,
    };

    const REASON: Reason = Reason::new(Scope::Memcg, Some(LimitOwner::Container));

    fn at(minutes: i64) -> Timestamp {
        timestamp(1_790_000_000 + minutes * 60, 0)
    }

    struct Fixture {
        registry: Registry,
        containers: Containers,
    }

    impl Fixture {
        fn new() -> Self {
            let mut registry = Registry::default();
            let containers = Containers::register(&mut registry);
            Self {
                registry,
                containers,
            }
        }

        /// A kill that was reported some minutes later.
        fn late_kill(&mut self, pod: &str, minutes: i64, reported: i64) {
            let container = ContainerLabels {
                namespace: "shop".to_owned(),
                pod: pod.to_owned(),
                container: "app".to_owned(),
                workload: String::new(),
                unit: String::new(),
                runtime: "containerd",
            };
            let (time, now) = (at(minutes), at(reported));
            self.containers.kill(container, REASON, time, now);
        }

        fn kill(&mut self, pod: &str, minutes: i64) {
            self.late_kill(pod, minutes, minutes);
        }

        /// The samples of a metric, by pod.
        fn samples(&self, name: &str) -> BTreeMap<String, String> {
            let mut text = String::new();
            text::encode_registry(&mut text, &self.registry).expect("encode");
            text.lines()
                .filter(|line| line.starts_with(name))
                .map(|line| {
                    let (_, rest) = line.split_once("pod=\"").expect("a pod");
                    let (pod, rest) = rest.split_once('"').expect("its end");
                    let (_, value) = rest.split_once("} ").expect("a value");
                    (pod.to_owned(), value.to_owned())
                })
                .collect()
        }

        /// The pods that have series.
        fn pods(&self) -> Vec<String> {
            let pods: Vec<_> = self.samples("oomwatch_kills_total{").into_keys().collect();
            let last_kills = self.samples("oomwatch_last_kill_timestamp_seconds{");
            assert_eq!(last_kills.into_keys().collect::<Vec<_>>(), pods);
            assert_eq!(self.containers.retained.len(), pods.len());
            pods
        }

        fn evicted(&self) -> u64 {
            self.containers.evicted.get()
        }
    }

    #[test]
    fn series_are_removed_half_an_hour_after_the_last_kill() {
        let mut fixture = Fixture::new();
        fixture.kill("a", 0);
        fixture.kill("b", 0);
        fixture.kill("a", 1);
        fixture.containers.expire(at(30));
        assert_eq!(fixture.pods(), ["a", "b"]);
        fixture.containers.expire(at(31));
        assert_eq!(fixture.pods(), ["a"]);
        fixture.containers.expire(at(32));
        assert_eq!(fixture.pods(), [""; 0]);
    }

    #[test]
    fn series_of_a_live_pod_stay_until_half_an_hour_after_its_end() {
        let mut fixture = Fixture::new();
        fixture.kill("gone", 0);
        fixture.kill("alive", 0);
        fixture.containers.keep(at(29), |namespace, pod| {
            (namespace, pod) == ("shop", "alive")
        });
        fixture.containers.expire(at(31));
        assert_eq!(fixture.pods(), ["alive"]);
        fixture.containers.expire(at(59));
        assert_eq!(fixture.pods(), ["alive"]);
        fixture.containers.expire(at(60));
        assert_eq!(fixture.pods(), [""; 0]);
    }

    #[test]
    fn first_kill_is_1_and_the_last_kill_never_goes_back() {
        let mut fixture = Fixture::new();
        fixture.kill("a", 5);
        assert_eq!(fixture.samples("oomwatch_kills_total{")["a"], "1");
        fixture.late_kill("a", 2, 6);
        assert_eq!(fixture.samples("oomwatch_kills_total{")["a"], "2");
        let last = fixture.samples("oomwatch_last_kill_timestamp_seconds{");
        assert_eq!(last["a"], format!("{:.1}", unix_seconds(at(5))));
    }

    #[test]
    fn one_container_too_many_evicts_the_one_with_the_oldest_kill() {
        let mut fixture = Fixture::new();
        fixture.kill("first", 0);
        for number in 1..MAX_CONTAINERS {
            fixture.kill(&number.to_string(), 1);
        }
        assert_eq!((fixture.pods().len(), fixture.evicted()), (512, 0));
        fixture.kill("7", 2);
        assert_eq!(fixture.evicted(), 0);
        fixture.kill("last", 2);
        let pods = fixture.pods();
        assert_eq!((pods.len(), fixture.evicted()), (512, 1));
        assert!(!pods.contains(&"first".to_owned()));
        assert!(pods.contains(&"last".to_owned()));
    }

    #[test]
    fn expired_containers_are_not_counted_as_evicted() {
        let mut fixture = Fixture::new();
        for number in 0..MAX_CONTAINERS {
            fixture.kill(&number.to_string(), 0);
        }
        fixture.kill("last", 31);
        assert_eq!(fixture.pods(), ["last"]);
        assert_eq!(fixture.evicted(), 0);
    }
}
