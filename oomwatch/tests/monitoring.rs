//! The metrics, the alert rules, the dashboard and the documents use the same names.
//!
//! promtool tests the rules themselves: `cargo xtask test --only rules`.
#![expect(
    clippy::expect_used,
    reason = "a test says what it expects, and fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, tz::Offset};
use oomwatch::{
    capture::kmsg::{
        assemble::{Assembler, LogItem, Trust},
        log_file::LogFileParser,
    },
    deliver::{http::DEFAULT_PORT, metrics::Metrics},
    identify::directory::Directory,
    model::{
        backend::Backend,
        cgroup::{KubeletRoot, Qos},
        report::{Container, Origin, Pod, Report},
    },
};

use crate::document::{Table, words};

/// Reading the documents.
mod document;

const METRICS: &str = include_str!("../../docs/metrics.md");
const OPERATIONS: &str = include_str!("../../docs/operations.md");
const ALERTS: &str = include_str!("../../deploy/monitoring/alerts.yaml");
const ALERT_TESTS: &str = include_str!("../../deploy/monitoring/alerts.test.yaml");
const DASHBOARD: &str = include_str!("../../deploy/monitoring/dashboard.json");
const MONITOR: &str = include_str!("../../deploy/monitoring/podmonitor.yaml");
const DAEMON_SET: &str = include_str!("../../deploy/base/daemonset.yaml");
const LOG: &[u8] = include_bytes!("logs/7.3-group-kill.log");

/// A kill in a container.
fn report() -> Report {
    let mut parser = LogFileParser::new(Offset::UTC, Timestamp::now());
    let mut assembler = Assembler::new(Trust::Kernel);
    let lines = LOG.split(|byte| *byte == b'\n');
    let kill = lines
        .filter_map(|line| assembler.push(&parser.parse(line)))
        .find_map(|found| match found {
            LogItem::Kill(kill) => Some(*kill),
            LogItem::Rekill { .. } => None,
        })
        .expect("a kill in the log");
    let mut report = Report::new(
        kill.into_kill(),
        Origin::SavedLog {
            node: None,
            kubelet: &KubeletRoot::Unknown,
        },
    );
    Directory::default().decide(&mut report);
    report.pod = Some(Pod {
        namespace: Some("shop".to_owned()),
        name: Some("cart-0".to_owned()),
        uid: String::new(),
        qos: Qos::Burstable,
        events_off: false,
        workload: None,
    });
    report.container = Some(Container {
        runtime: None,
        id: String::new(),
        user: None,
        name: Some("app".to_owned()),
        kind: None,
        image: None,
    });
    report
}

/// The text of `/metrics` with a series of every metric.
fn exposed() -> String {
    let metrics = Metrics::new();
    metrics.backend(Backend::Kmsg);
    metrics.api_watch_up(true);
    let now = Timestamp::now();
    metrics.kill(&report(), now);
    metrics.encode(now)
}

/// The label names of each metric, by the name of its samples.
fn samples(text: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut samples: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = line
            .split_once(['{', ' '])
            .expect("a name, and labels or a value");
        // No label value here has a comma or an equals sign.
        let labels = labels.split_once('}').map_or("", |(labels, _)| labels);
        let names = labels.split(',').filter_map(|label| label.split_once('='));
        samples
            .entry(name)
            .or_default()
            .extend(names.map(|(name, _)| name));
    }
    samples
}

/// Words of a text that begin like our metrics.
fn metric_words(text: &str) -> BTreeSet<&str> {
    text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
        .filter(|word| word.starts_with("oomwatch_") || word.starts_with("process_"))
        .collect()
}

/// The values of a key of a YAML text, at any depth.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    text.lines()
        .filter_map(|line| {
            let line = line.trim_start().trim_start_matches("- ");
            line.strip_prefix(key)?.strip_prefix(": ")
        })
        .collect()
}

fn alerts() -> Vec<&'static str> {
    let alerts = values(ALERTS, "alert");
    assert!(!alerts.is_empty());
    alerts
}

#[test]
fn every_metric_is_documented_with_its_type_and_labels() {
    let text = exposed();
    let samples = samples(&text);
    let mut exposed = BTreeMap::new();
    for line in text.lines() {
        let Some(family) = line.strip_prefix("# TYPE ") else {
            continue;
        };
        let (family, kind) = family.split_once(' ').expect("a name and a type");
        let name = match kind {
            "counter" => format!("{family}_total"),
            _ => family.to_owned(),
        };
        let labels = match kind {
            "histogram" => BTreeSet::new(),
            _ => samples.get(&*name).expect("a sample of each").clone(),
        };
        exposed.insert(name, (kind, labels));
    }
    let table = Table::below(METRICS, "## The metrics");
    let mut documented = BTreeMap::new();
    for row in table.rows() {
        let labels = row.words("labels").into_iter().collect();
        let name = row.word("metric").to_owned();
        let earlier = documented.insert(name, (row.cell("type"), labels));
        assert_eq!(earlier, None, "{} twice", row.word("metric"));
    }
    assert_eq!(documented, exposed);
}

#[test]
fn every_label_value_is_explained() {
    let text = exposed();
    let known: BTreeSet<_> = words(METRICS).into_iter().collect();
    let families = [
        "oomwatch_node_incidents_total{",
        "oomwatch_attribution_total{",
        "oomwatch_events_total{",
        "oomwatch_event_retries_total{",
    ];
    let mut values = BTreeSet::new();
    for family in families {
        let samples = text.lines().filter(|line| line.starts_with(family));
        values.extend(samples.flat_map(|line| line.split('"').skip(1).step_by(2)));
    }
    assert!(values.len() > 20, "{values:?}");
    for value in values {
        assert!(known.contains(value), "{value}");
    }
}

#[test]
fn rules_dashboard_and_documents_use_only_exposed_metrics() {
    let text = exposed();
    let exposed = samples(&text);
    for (name, text) in [
        ("alerts.yaml", ALERTS),
        ("alerts.test.yaml", ALERT_TESTS),
        ("dashboard.json", DASHBOARD),
        ("operations.md", OPERATIONS),
        ("metrics.md", METRICS),
    ] {
        let names = metric_words(text);
        assert!(!names.is_empty(), "{name}");
        for word in names {
            let is_family = exposed.contains_key(format!("{word}_bucket").as_str());
            assert!(exposed.contains_key(word) || is_family, "{word} in {name}");
        }
    }
}

#[test]
fn rules_match_only_exposed_labels() {
    let text = exposed();
    let exposed = samples(&text);
    // Labels that a scrape adds.
    let added = [
        "job",
        "node",
        "instance",
        "endpoint",
        "namespace",
        "pod",
        "container",
    ];
    for line in ALERTS.lines().chain(DASHBOARD.lines()) {
        for (start, _) in line.match_indices("oomwatch_") {
            let selector = line[start..].split_once('{');
            let Some((name, matchers)) = selector else {
                continue;
            };
            let Some(labels) = exposed.get(name) else {
                continue;
            };
            let matchers = matchers.split('}').next().unwrap_or_default();
            for matcher in matchers.split(',') {
                let label = matcher.split(['=', '!']).next().unwrap_or_default();
                assert!(
                    labels.contains(label) || added.contains(&label),
                    "{label} in {line}"
                );
            }
        }
    }
}

#[test]
fn pod_monitor_selects_the_agents_by_label_and_port() {
    let port = DEFAULT_PORT.to_string();
    assert_eq!(values(DAEMON_SET, "containerPort"), [port]);
    let ports = values(MONITOR, "port");
    assert_eq!(ports, ["metrics"]);
    assert!(values(DAEMON_SET, "name").contains(&ports[0]));
    let label = values(MONITOR, "app.kubernetes.io/name");
    assert_eq!(label, ["oomwatch"]);
    // The DaemonSet's selector, and its pods.
    let labels = values(DAEMON_SET, "app.kubernetes.io/name");
    assert_eq!(labels, [label[0]; 2]);
    // The label that becomes the alerts' `job`.
    assert_eq!(values(MONITOR, "jobLabel"), ["app.kubernetes.io/name"]);
    assert_eq!(values(MONITOR, "honorLabels"), ["true"]);
}

#[test]
fn every_alert_has_a_runbook() {
    let headings: Vec<_> = OPERATIONS
        .lines()
        .skip_while(|line| *line != "## Alerts")
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    assert_eq!(headings, alerts());
    let urls = values(ALERTS, "runbook_url");
    let expected: Vec<_> = alerts()
        .iter()
        .map(|alert| {
            let anchor = alert.to_lowercase();
            format!("https://github.com/oomwatch/oomwatch/blob/main/docs/operations.md#{anchor}")
        })
        .collect();
    assert_eq!(urls, expected);
}

#[test]
fn every_alert_has_a_severity_a_summary_and_a_description() {
    let count = alerts().len();
    assert_eq!(values(ALERTS, "summary").len(), count);
    assert_eq!(values(ALERTS, "description").len(), count);
    let severities = values(ALERTS, "severity");
    assert_eq!(severities.len(), count);
    for severity in severities {
        assert!(
            ["info", "warning", "critical"].contains(&severity),
            "{severity}"
        );
    }
}

#[test]
fn every_alert_is_tested_when_it_fires_and_when_it_does_not() {
    let lines: Vec<_> = ALERT_TESTS.lines().map(str::trim).collect();
    for alert in alerts() {
        let places = lines.iter().enumerate().filter_map(|(place, line)| {
            (line.strip_prefix("alertname: ") == Some(alert)).then_some(place)
        });
        let fires: BTreeSet<_> = places
            .map(|place| lines.get(place + 1) == Some(&"exp_alerts:"))
            .collect();
        assert_eq!(fires, BTreeSet::from([false, true]), "{alert}");
    }
}
