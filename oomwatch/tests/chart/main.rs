//! The Helm chart, rendered by the real Helm: it gives the objects that the kustomizations give, and every value has its effect.
//!
//! | variable | means |
//! |---|---|
//! | `OOMWATCH_HELM` | a Helm; without it the one in `PATH`. `cargo xtask test` finds or builds one |
//! | `OOMWATCH_KUBECTL` | a kubectl with kustomize 5 or newer; without it the one in `PATH` |
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test says what it expects, and fails by panicking"
)]

mod helm;
#[path = "../manifests/render.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod render;

use helm::{Helm, of_kind};
use serde_json::{Value, json};

/// Helm, unless it is not there, which is said.
fn helm() -> Option<Helm> {
    let found = Helm::find();
    if found.is_none() {
        eprintln!("skipped: no helm");
    }
    found
}

/// The chart's objects without what Helm alone has: labels of the release.
fn without_release(mut objects: Vec<Value>) -> Vec<Value> {
    const LABELS: [&str; 4] = [
        "app.kubernetes.io/instance",
        "app.kubernetes.io/managed-by",
        "app.kubernetes.io/version",
        "helm.sh/chart",
    ];
    for object in &mut objects {
        for labels in [
            "/metadata/labels",
            "/spec/podSelector/matchLabels",
            "/spec/selector/matchLabels",
            "/spec/template/metadata/labels",
        ] {
            let labels = object.pointer_mut(labels).and_then(Value::as_object_mut);
            if let Some(labels) = labels {
                labels.retain(|label, _| !LABELS.contains(&label.as_str()));
            }
        }
    }
    objects
}

fn sorted(mut objects: Vec<Value>) -> Vec<Value> {
    objects.sort_by_key(|object| format!("{} {}", object["kind"], object["metadata"]["name"]));
    objects
}

#[test]
fn chart_gives_what_the_kustomizations_give() {
    let Some(helm) = helm() else { return };
    let monitoring = [
        "podMonitor.enabled=true",
        "prometheusRule.enabled=true",
        "dashboard.enabled=true",
    ];
    for (folders, release, namespace, values) in [
        (&["deploy/base"][..], "oomwatch", "oomwatch", &[][..]),
        (
            &["deploy/overlays/hardened"],
            "oomwatch",
            "oomwatch",
            &["hardened=true"],
        ),
        // What the policy's tests attack.
        (
            &["oomwatch/tests/manifests/elsewhere"],
            "team",
            "monitoring",
            &["hardened=true"],
        ),
        (
            &["deploy/base", "deploy/monitoring"],
            "oomwatch",
            "oomwatch",
            &monitoring,
        ),
    ] {
        let Some(expected) = folders
            .iter()
            .map(|folder| render::render(folder))
            .collect::<Option<Vec<_>>>()
        else {
            return eprintln!("skipped: no kubectl with kustomize 5");
        };
        let mut expected = expected.concat();
        // Helm makes the namespace, or does not.
        expected.retain(|object| object["kind"] != "Namespace");
        for object in &mut expected {
            // kustomize gives policies a namespace, which an API server ignores.
            let kind = object["kind"].as_str().expect("a kind");
            let is_policy = kind.starts_with("ValidatingAdmissionPolicy");
            let metadata = object["metadata"].as_object_mut().expect("an object");
            if is_policy {
                metadata.remove("namespace");
            }
        }
        let rendered = without_release(helm.render(release, namespace, values));
        let (rendered, expected) = (sorted(rendered), sorted(expected));
        let names = |objects: &[Value]| {
            let name =
                |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
            objects.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(names(&rendered), names(&expected), "{folders:?}");
        for (rendered, expected) in rendered.iter().zip(&expected) {
            assert_eq!(rendered, expected, "{folders:?}");
        }
    }
}

/// The one container of the `DaemonSet`, as a path.
const CONTAINER: &str = "/spec/template/spec/containers/0";

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_value_has_its_effect() {
    let Some(helm) = helm() else { return };
    let container = |field: &str| format!("{CONTAINER}/{field}");
    let pod = |field: &str| format!("/spec/template/spec/{field}");
    let digest = format!("sha256:{}", "0a".repeat(32));
    for (value, path, expected) in [
        (
            "image.repository=r.example/o",
            container("image"),
            json!(concat!("r.example/o:", env!("CARGO_PKG_VERSION"))),
        ),
        (
            "image.tag=x",
            container("image"),
            json!("ghcr.io/oomwatch/oomwatch:x"),
        ),
        (
            &format!("image.digest={digest}"),
            container("image"),
            json!(format!("ghcr.io/oomwatch/oomwatch@{digest}")),
        ),
        (
            "image.pullPolicy=Never",
            container("imagePullPolicy"),
            json!("Never"),
        ),
        (
            "imagePullSecrets[0].name=x",
            pod("imagePullSecrets"),
            json!([{ "name": "x" }]),
        ),
        (
            "extraArgs[0]=--node-events=off",
            container("args/4"),
            json!("--node-events=off"),
        ),
        (
            "extraEnv[0].name=X,extraEnv[0].value=y",
            container("env/1"),
            json!({ "name": "X", "value": "y" }),
        ),
        (
            "extraVolumes[0].name=x",
            pod("volumes/10"),
            json!({ "name": "x" }),
        ),
        (
            "extraVolumeMounts[0].name=x",
            container("volumeMounts/10"),
            json!({ "name": "x" }),
        ),
        (
            "hostPaths.state=/data/o",
            pod("volumes/1/hostPath/path"),
            json!("/data/o"),
        ),
        ("hostNetwork=true", pod("hostNetwork"), json!(true)),
        (
            "resources.limits.memory=1Gi",
            container("resources/limits/memory"),
            json!("1Gi"),
        ),
        ("priorityClassName=x", pod("priorityClassName"), json!("x")),
        ("priorityClassName=", pod("priorityClassName"), Value::Null),
        (
            "nodeSelector.x=y",
            pod("nodeSelector"),
            json!({ "kubernetes.io/os": "linux", "x": "y" }),
        ),
        (
            "affinity.nodeAffinity.x=y",
            pod("affinity"),
            json!({ "nodeAffinity": { "x": "y" } }),
        ),
        (
            "tolerations[0].key=x",
            pod("tolerations"),
            json!([{ "key": "x" }]),
        ),
        (
            "updateStrategy.rollingUpdate.maxUnavailable=1",
            "/spec/updateStrategy/rollingUpdate/maxUnavailable".to_owned(),
            json!(1),
        ),
        (
            "terminationGracePeriodSeconds=20",
            pod("terminationGracePeriodSeconds"),
            json!(20),
        ),
        (
            "seLinuxOptions.type=spc_t",
            container("securityContext/seLinuxOptions"),
            json!({ "type": "spc_t" }),
        ),
        (
            "podAnnotations.x=y",
            "/spec/template/metadata/annotations/x".to_owned(),
            json!("y"),
        ),
        (
            "podLabels.x=y",
            "/spec/template/metadata/labels/x".to_owned(),
            json!("y"),
        ),
        (
            "commonLabels.x=y",
            "/metadata/labels/x".to_owned(),
            json!("y"),
        ),
        (
            "commonAnnotations.x=y",
            "/metadata/annotations/x".to_owned(),
            json!("y"),
        ),
        (
            "fullnameOverride=x",
            "/metadata/name".to_owned(),
            json!("x"),
        ),
    ] {
        let objects = helm.render("oomwatch", "oomwatch", &[value]);
        let found = of_kind(&objects, "DaemonSet").pointer(&path);
        assert_eq!(found.unwrap_or(&Value::Null), &expected, "{value}");
    }
}

#[test]
fn parts_are_chosen_one_by_one() {
    let Some(helm) = helm() else { return };
    let kinds = |values: &[&str]| {
        let objects = helm.render("oomwatch", "oomwatch", values);
        let kinds = objects.iter().map(|object| object["kind"].to_string());
        kinds.collect::<Vec<_>>().join(" ")
    };
    for (values, kind, is_there) in [
        (&[][..], "NetworkPolicy", false),
        (&["networkPolicy.enabled=true"], "NetworkPolicy", true),
        (&["policy.enabled=true"], "AdmissionPolicy", true),
        (
            &["hardened=true", "policy.enabled=false"],
            "AdmissionPolicy",
            false,
        ),
        (
            &["hardened=true", "networkPolicy.enabled=false"],
            "NetworkPolicy",
            false,
        ),
    ] {
        assert_eq!(kinds(values).contains(kind), is_there, "{values:?}");
    }

    // Without its mark the policy would not know the agents.
    let marked = |values: &[&str]| {
        let objects = helm.render("oomwatch", "oomwatch", values);
        let rules = of_kind(&objects, "ClusterRole")["rules"].to_string();
        rules.contains("write-own-only")
    };
    assert!(marked(&["policy.enabled=true"]));
    assert!(!marked(&["hardened=true", "policy.enabled=false"]));
}

#[test]
fn monitoring_has_its_values_and_the_daemons_name() {
    let Some(helm) = helm() else { return };
    let values = [
        "podMonitor.enabled=true",
        "podMonitor.labels.release=x",
        "podMonitor.interval=5s",
        "prometheusRule.enabled=true",
        "prometheusRule.labels.release=y",
        "serviceAccount.annotations.a=b",
        "networkPolicy.enabled=true",
        "networkPolicy.from[0].namespaceSelector.matchLabels.n=m",
    ];
    let objects = helm.render("team", "monitoring", &values);
    let monitor = of_kind(&objects, "PodMonitor");
    assert_eq!(monitor["metadata"]["labels"]["release"], "x");
    assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["interval"], "5s");
    let rule = of_kind(&objects, "PrometheusRule");
    assert_eq!(rule["metadata"]["labels"]["release"], "y");
    let rules = rule["spec"].to_string();
    assert!(
        rules.contains(r#"{daemonset=\"team-oomwatch\"}"#),
        "{rules}"
    );
    let account = of_kind(&objects, "ServiceAccount");
    assert_eq!(account["metadata"]["annotations"]["a"], "b");
    let policy = of_kind(&objects, "NetworkPolicy");
    assert_eq!(
        policy["spec"]["ingress"][0]["from"],
        json!([{ "namespaceSelector": { "matchLabels": { "n": "m" } } }])
    );
}

#[test]
fn wrong_values_are_refused_by_name() {
    let Some(helm) = helm() else { return };
    for (value, named) in [
        ("imagee.tag=x", "imagee"),
        ("hardened=yes", "hardened"),
        ("extraArgs=x", "extraArgs"),
        ("image.digest=x", "digest"),
        ("hostPaths.other=/x", "other"),
        ("hostPaths.bpf=x", "bpf"),
    ] {
        let refusal = helm
            .template("oomwatch", "oomwatch", &[value])
            .expect_err(value);
        assert!(refusal.contains(named), "{value}: {refusal}");
    }
}

#[test]
fn lint_has_no_complaint() {
    let Some(helm) = helm() else { return };
    for values in [&[][..], &["--set", "hardened=true"]] {
        let arguments = [&["lint", "--strict", helm::CHART], values].concat();
        let printed = helm.run(&arguments).expect("a chart without faults");
        let fault = ["[ERROR]", "[WARNING]"]
            .iter()
            .any(|level| printed.contains(level));
        assert!(!fault, "{printed}");
    }
}

#[test]
fn chart_has_the_version_of_the_crate() {
    let chart = include_str!("../../../deploy/helm/oomwatch/Chart.yaml");
    for line in ["version", "appVersion"] {
        let line = format!("\n{line}: {}\n", env!("CARGO_PKG_VERSION"));
        assert!(chart.contains(&line), "{line}");
    }
}
