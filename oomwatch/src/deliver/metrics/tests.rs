use super::{
    families::{ATTRIBUTIONS, OBJECTS, REASONS, RETRY_CAUSES, has_outcome},
    *,
};
use crate::{
    deliver::events::{Cause, Object},
    model::{
        backend::Backend,
        kill::{Attribution, Scope},
        limit_owner::LimitOwner,
        report::{Container, Pod},
    },
    testing::{self, timestamp},
};

const NOW: i64 = 1_790_000_060;

fn now() -> Timestamp {
    timestamp(NOW, 500_000_000)
}

/// Counts `victims` kills of one incident.
fn incident(metrics: &Metrics, name: &str, victims: u32, change: impl Fn(&mut Report)) {
    for _ in 0..victims {
        let mut report = testing::report();
        name.clone_into(&mut report.incident);
        change(&mut report);
        metrics.kill(&report, now());
    }
}

fn non_kill(kind: NonKillKind) -> NonKill {
    NonKill {
        boot_time_ns: None,
        kind,
        pid: 1,
        tid: 1,
        comm: Some(b"secret".to_vec()),
        cgroup: None,
    }
}

fn settled(object: Object, outcome: Outcome, incidents: u32, age_ms: u64) -> DeliveryStat {
    DeliveryStat::Settled {
        object,
        about: String::new(),
        outcome,
        incidents,
        age_ns: age_ms * 1_000_000,
    }
}

/// The text with the samples of each family sorted: their order is that of a hash table. A histogram's order is fixed.
fn sorted(text: &str) -> String {
    let mut lines: Vec<_> = text.lines().collect();
    let is_same_family = |a: &&str, b: &&str| !a.starts_with('#') && !b.starts_with('#');
    for samples in lines.chunk_by_mut(is_same_family) {
        if !samples[0].starts_with("oomwatch_delivery_seconds") {
            samples.sort_unstable();
        }
    }
    lines.join("\n") + "\n"
}

/// The samples of a metric, sorted unless they are buckets, each without the metric's name.
fn samples(metrics: &Metrics, name: &str) -> Vec<String> {
    let text = sorted(&metrics.encode_with(now(), None));
    text.lines()
        .filter(|line| {
            line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} "))
        })
        .map(|line| {
            line.strip_prefix(name)
                .unwrap_or(line)
                .trim_start()
                .to_owned()
        })
        .collect()
}

/// Metrics in which every family has a value.
fn filled() -> Metrics {
    let metrics = Metrics::new();
    metrics.backend(Backend::Fentry);
    metrics.api_watch_up(true);
    incident(&metrics, "group", 3, |_| {});
    incident(&metrics, "system", 1, |report| {
        report.kill.scope = Scope::System;
        report.kill.attribution = Attribution::Proc;
        report.limit_owner = Some(LimitOwner::Node);
        report.container = None;
        report.pod = None;
    });
    metrics.gap(&testing::gap_report());
    metrics.unobserved(1);
    metrics.non_kill(&non_kill(NonKillKind::Rekill));
    metrics.non_kill(&non_kill(NonKillKind::Mark));
    metrics.non_kill(&non_kill(NonKillKind::Mark));
    metrics.non_kill(&non_kill(NonKillKind::Sharers {
        victim_pid: 7,
        count: 1,
    }));
    let losses = Losses {
        dropped: 5,
        undecoded: 6,
    };
    metrics.losses(Backend::Fentry, losses);
    metrics.kernel_kills(42);
    metrics.event_delivery(&settled(Object::Node, Outcome::Accepted, 1, 50));
    metrics.event_delivery(&settled(Object::Pod, Outcome::Accepted, 2, 300));
    metrics.event_delivery(&settled(Object::Pod, Outcome::Accepted, 1, 9_999_000));
    metrics.event_delivery(&settled(Object::Pod, Outcome::Excluded, 7, 0));
    metrics.event_delivery(&DeliveryStat::Delayed {
        object: Object::Pod,
        cause: Cause::Forbidden,
    });
    metrics.events_pending(2);
    metrics.audit(timestamp(NOW - 30, 0));
    metrics.history(4096, 1);
    metrics
}

const PROCESS: ProcessStats = ProcessStats {
    cpu_seconds: 1.25,
    resident_memory_bytes: 8_388_608,
    virtual_memory_bytes: 33_554_432,
    threads: 1,
    start_time_seconds: 1_789_990_000.25,
    open_fds: 17,
    max_fds: Some(1024),
};

#[test]
fn every_family_is_encoded() {
    insta::assert_snapshot!(sorted(&filled().encode_with(now(), Some(PROCESS))));
}

#[test]
fn series_with_known_labels_exist_from_the_start() {
    insta::assert_snapshot!(sorted(&Metrics::new().encode_with(now(), None)));
}

#[test]
fn process_statistics_are_absent_if_they_cannot_be_read() {
    let text = filled().encode_with(now(), None);
    assert!(!text.contains("process_"), "{text}");
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    let without_limit = ProcessStats {
        max_fds: None,
        ..PROCESS
    };
    let text = filled().encode_with(now(), Some(without_limit));
    assert!(text.contains("process_open_fds 17\n"), "{text}");
    assert!(!text.contains("process_max_fds"), "{text}");
}

#[test]
fn incident_counts_once_and_each_of_its_kills_counts() {
    let metrics = Metrics::new();
    incident(&metrics, "a", 50, |_| {});
    incident(&metrics, "b", 1, |_| {});
    // A victim that is reported after the next incident has begun.
    incident(&metrics, "a", 1, |_| {});
    assert_eq!(samples(&metrics, "oomwatch_node_kills_total"), ["52"]);
    let incidents = samples(&metrics, "oomwatch_node_incidents_total");
    assert!(
        incidents.contains(&r#"{scope="memcg",limit_owner="container"} 2"#.to_owned()),
        "{incidents:?}"
    );
}

#[test]
fn remembered_incidents_are_bounded() {
    let metrics = Metrics::new();
    for number in 0..10 * RECENT_INCIDENTS {
        incident(&metrics, &number.to_string(), 1, |_| {});
    }
    assert_eq!(metrics.state().recent_incidents.len(), RECENT_INCIDENTS);
}

#[test]
fn unknown_scope_and_owner_are_counted_as_unknown() {
    let metrics = Metrics::new();
    metrics.kill(&testing::minimal_report(), now());
    let incidents = samples(&metrics, "oomwatch_node_incidents_total");
    assert!(
        incidents.contains(&r#"{scope="unknown",limit_owner="unknown"} 1"#.to_owned()),
        "{incidents:?}"
    );
    assert_eq!(incidents.len(), REASONS.len());
    assert!(samples(&metrics, "oomwatch_kills_total").is_empty());
}

#[test]
fn container_series_have_the_names_that_are_known() {
    let container = |name: Option<&str>| Container {
        name: name.map(str::to_owned),
        ..testing::report().container.expect("a full report")
    };
    let pod = |namespace: Option<&str>, name: Option<&str>| Pod {
        namespace: namespace.map(str::to_owned),
        name: name.map(str::to_owned),
        ..testing::report().pod.expect("a full report")
    };
    let named = pod(Some("shop"), Some("cart-0"));
    let app = || Some(container(Some("app")));
    let unit = || Some("nginx.service".to_owned());
    for (container, pod, unit, labels) in [
        (
            app(),
            Some(named.clone()),
            None,
            Some(["shop", "cart-0", "app", "", "containerd"]),
        ),
        // A sandbox, or a container whose name is not known.
        (
            None,
            Some(named.clone()),
            None,
            Some(["shop", "cart-0", "", "", ""]),
        ),
        (
            Some(container(None)),
            Some(named),
            None,
            Some(["shop", "cart-0", "", "", "containerd"]),
        ),
        // Docker or Podman.
        (app(), None, None, Some(["", "", "app", "", "containerd"])),
        (
            Some(container(None)),
            None,
            unit(),
            Some(["", "", "3f1c0e7ab2d9", "", "containerd"]),
        ),
        (None, None, unit(), Some(["", "", "", "nginx.service", ""])),
        (app(), Some(pod(None, None)), None, None),
        (app(), Some(pod(Some("shop"), None)), None, None),
        (None, None, None, None),
    ] {
        let metrics = Metrics::new();
        incident(&metrics, "a", 1, |report| {
            report.container.clone_from(&container);
            report.pod.clone_from(&pod);
            report.unit.clone_from(&unit);
        });
        let expected: Vec<String> = labels
            .map(|[namespace, pod, container, unit, runtime]| {
                let workload = if pod.is_empty() { "" } else { "StatefulSet/cart" };
                format!(
                    r#"{{namespace="{namespace}",pod="{pod}",container="{container}",workload="{workload}",unit="{unit}",runtime="{runtime}"}} 1790000000.12"#
                )
            })
            .into_iter()
            .collect();
        let seen = samples(&metrics, "oomwatch_last_kill_timestamp_seconds");
        assert_eq!(seen, expected, "{container:?} {pod:?}");
    }
}

#[test]
fn kill_without_a_time_is_taken_as_now() {
    let metrics = Metrics::new();
    incident(&metrics, "a", 1, |report| report.time = None);
    assert_eq!(
        samples(&metrics, "oomwatch_last_kill_timestamp_seconds"),
        [
            r#"{namespace="shop",pod="cart-0",container="app",workload="StatefulSet/cart",unit="",runtime="containerd"} 1790000060.5"#
        ]
    );
}

#[test]
fn nothing_of_a_process_is_a_label() {
    let text = filled().encode_with(now(), None);
    let secrets = [
        "14665",
        "14666",
        "tail",
        "secret",
        "/dev/zero",
        "writer",
        testing::POD_UID,
        testing::CONTAINER_ID,
        "kubepods-",
    ];
    for word in secrets {
        assert!(!text.contains(word), "{word} in {text}");
    }
}

#[test]
fn hostile_names_are_escaped() {
    let metrics = Metrics::new();
    incident(&metrics, "a", 1, |report| {
        if let Some(container) = &mut report.container {
            container.name = Some("a\"} 1\noomwatch_node_kills_total 9\\".to_owned());
        }
    });
    let text = metrics.encode_with(now(), None);
    assert!(
        text.contains(r#"container="a\"} 1\noomwatch_node_kills_total 9\\",workload="#),
        "{text}"
    );
}

#[test]
fn expired_series_are_removed_when_metrics_are_encoded() {
    let metrics = Metrics::new();
    incident(&metrics, "a", 1, |_| {});
    let later = |minutes: i64| timestamp(NOW + minutes * 60, 0);
    metrics.pods(later(20), |namespace, pod| {
        (namespace, pod) == ("shop", "cart-0")
    });
    let shown = |now| {
        let text = metrics.encode_with(now, None);
        text.contains("cart-0")
    };
    assert!(shown(later(49)));
    assert!(!shown(later(51)));
}

#[test]
fn losses_are_counted_for_the_backend_that_lost() {
    let losses = Losses {
        dropped: 3,
        undecoded: 0,
    };
    let names = [
        "oomwatch_ring_dropped_total",
        "oomwatch_kmsg_overruns_total",
    ];
    for (backend, expected) in [
        (Backend::RawTracepoint, ["3", "0"]),
        (Backend::Kmsg, ["0", "3"]),
        (Backend::Counters, ["0", "0"]),
    ] {
        let metrics = Metrics::new();
        metrics.losses(backend, losses);
        // The argument is the total since the start.
        metrics.losses(backend, losses);
        let counted = names.map(|name| samples(&metrics, name).concat());
        assert_eq!(counted, expected, "{backend:?}");
    }
}

#[test]
fn label_values_are_those_of_the_json() {
    for attribution in ATTRIBUTIONS {
        let json = serde_json::to_value(attribution).expect("a word");
        assert_eq!(json, attribution.as_str());
    }
    for scope in [Scope::Memcg, Scope::System, Scope::Unknown] {
        let json = serde_json::to_value(scope).expect("a word");
        assert_eq!(json, scope.as_str());
    }
}

#[test]
fn deliveries_are_counted_in_their_buckets() {
    let metrics = Metrics::new();
    for age_ms in [50, 51, 3_600_000, 3_600_001] {
        metrics.event_delivery(&settled(Object::Pod, Outcome::Accepted, 2, age_ms));
    }
    // Not delivered.
    metrics.event_delivery(&settled(Object::Pod, Outcome::Expired, 2, 1));
    let buckets = samples(&metrics, "oomwatch_delivery_seconds_bucket");
    assert_eq!(buckets[0], r#"{le="0.05"} 2"#);
    assert_eq!(buckets[1], r#"{le="0.1"} 4"#);
    assert_eq!(buckets[12], r#"{le="3600.0"} 6"#);
    assert_eq!(buckets[13], r#"{le="+Inf"} 8"#);
    assert_eq!(samples(&metrics, "oomwatch_delivery_seconds_count"), ["8"]);
}

#[test]
fn every_event_outcome_has_a_series_from_the_start() {
    let metrics = Metrics::new();
    let count = |name| samples(&metrics, name).len();
    let before = ["oomwatch_events_total", "oomwatch_event_retries_total"].map(count);
    for object in OBJECTS {
        for outcome in Outcome::ALL {
            if has_outcome(object, outcome) {
                metrics.event_delivery(&settled(object, outcome, 3, 1));
            }
        }
        for cause in RETRY_CAUSES {
            metrics.event_delivery(&DeliveryStat::Delayed { object, cause });
        }
    }
    let after = ["oomwatch_events_total", "oomwatch_event_retries_total"].map(count);
    assert_eq!(before, after);
    for sample in samples(&metrics, "oomwatch_events_total") {
        assert!(sample.ends_with(" 3"), "{sample}");
    }
}

#[test]
fn backend_that_replaces_another_is_the_only_one_shown() {
    let metrics = Metrics::new();
    metrics.backend(Backend::Fentry);
    metrics.backend(Backend::Kmsg);
    assert_eq!(
        samples(&metrics, "oomwatch_backend_info"),
        [r#"{backend="kmsg"} 1"#]
    );
}
