//! The manifests in `deploy`, rendered as `kubectl apply -k` renders them: held against the types of a current Kubernetes,
//! against the command that they start, and before a real API server.
//!
//! | variable | means |
//! |---|---|
//! | `OOMWATCH_KUBECTL` | a kubectl with kustomize 5 or newer; without it the one in `PATH`. `cargo xtask test` finds one |
//! | `KUBEBUILDER_ASSETS` | the folder of `etcd`, `kube-apiserver`, `kube-controller-manager` and `kubectl` |
//! | `OOMWATCH_REQUIRE` | with `api` or `all` in it, what cannot run fails instead of being skipped |
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test says what it expects, and fails by panicking"
)]

#[path = "../api_server/mod.rs"]
mod api_server;
mod policy;
mod render;
mod types;

use std::{env, process::Command};

use api_server::ApiServer;
use render::{every_document, render, root, strings};
use serde_json::Value;
use types::decoded;

fn skip(why: &str) {
    eprintln!("skipped: {why}");
    let required = env::var("OOMWATCH_REQUIRE").unwrap_or_default();
    assert!(
        !required
            .split(',')
            .any(|word| ["api", "all"].contains(&word)),
        "required, but {why}"
    );
}

#[test]
fn every_field_is_one_of_kubernetes() {
    let Some(documents) = every_document() else {
        return skip("no kubectl with kustomize 5");
    };
    for (folder, document) in documents {
        let lost = types::lost(&document, &decoded(&document), "");
        assert_eq!(lost, [""; 0], "{folder}: {}", document["kind"]);
    }
}

#[test]
fn image_is_the_one_that_is_built() {
    let Some(documents) = every_document() else {
        return skip("no kubectl with kustomize 5");
    };
    let images: Vec<_> = documents
        .iter()
        .flat_map(|(_, document)| containers(document))
        .filter_map(|container| container["image"].as_str())
        .collect();
    assert!(!images.is_empty());
    let built = concat!("ghcr.io/oomwatch/oomwatch:", env!("CARGO_PKG_VERSION"));
    assert!(images.iter().all(|image| *image == built), "{images:?}");

    let dockerfile = include_str!("../../../deploy/Dockerfile");
    let label = concat!("image.version=\"", env!("CARGO_PKG_VERSION"), "\"");
    assert!(dockerfile.contains(label));
}

#[test]
fn every_volume_is_mounted() {
    let Some(documents) = every_document() else {
        return skip("no kubectl with kustomize 5");
    };
    for (folder, document) in documents {
        let mut mounted: Vec<_> = containers(&document)
            .flat_map(|container| strings(&container["volumeMounts"], "name"))
            .collect();
        let mut volumes = strings(&document["spec"]["template"]["spec"]["volumes"], "name");
        mounted.sort_unstable();
        volumes.sort_unstable();
        assert_eq!(mounted, volumes, "{folder}");
    }
}

#[test]
fn every_flag_is_one_of_the_commands() {
    let Some(documents) = every_document() else {
        return skip("no kubectl with kustomize 5");
    };
    let help = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_oomwatch"))
            .args(arguments)
            .arg("--help")
            .output()
            .expect("start oomwatch");
        String::from_utf8(output.stdout).expect("help in UTF-8")
    };
    for (folder, document) in documents {
        for container in containers(&document) {
            let arguments = arguments(container);
            let (command, flags) = arguments.split_first().expect("a command");
            let help = help(&[command]);
            for flag in flags {
                let name = flag.split('=').next().unwrap_or(flag);
                let is_known = help
                    .split_whitespace()
                    .any(|word| word.trim_end_matches(',') == name);
                assert!(is_known, "{folder}: {flag} is not in `{command} --help`");
            }
        }
    }
}

/// A real API server; absent if there is none, which is said.
fn server() -> Option<ApiServer> {
    let assets = api_server::assets().map_err(|why| skip(&why)).ok()?;
    Some(ApiServer::start(assets))
}

/// Applies a kustomization.
fn apply(server: &ApiServer, folder: &str, arguments: &[&str]) {
    let folder = root().join(folder);
    let folder = folder.to_str().expect("a path in UTF-8");
    server.kubectl(&[&["apply", "-k", folder], arguments].concat());
}

#[test]
fn real_api_server_accepts_the_manifests_and_grants_what_they_say() {
    let Some(server) = server() else { return };
    server.kubectl(&["create", "namespace", "oomwatch"]);
    for folder in [
        "deploy/base",
        "deploy/overlays/hardened",
        "deploy/overlays/uninstall",
    ] {
        apply(&server, folder, &["--dry-run=server"]);
    }

    apply(&server, "deploy/base", &[]);
    let answer = |question: &[&str]| {
        let agent = "--as=system:serviceaccount:oomwatch:oomwatch";
        let output = server.try_kubectl(&[&["auth", "can-i", agent][..], question].concat());
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    for granted in [
        ["create", "events", "--namespace=default"],
        ["patch", "events", "--namespace=shop"],
        ["list", "pods", "--all-namespaces"],
        ["watch", "pods", "--all-namespaces"],
        ["get", "nodes/node-1", "--all-namespaces"],
    ] {
        assert_eq!(answer(&granted), "yes", "{granted:?}");
    }
    for refused in [
        ["delete", "events", "--all-namespaces"],
        ["list", "events", "--all-namespaces"],
        ["get", "secrets", "--namespace=oomwatch"],
        ["get", "pods/log", "--all-namespaces"],
        ["create", "pods", "--namespace=oomwatch"],
        ["list", "nodes", "--all-namespaces"],
        ["patch", "nodes/status", "--all-namespaces"],
    ] {
        assert_eq!(answer(&refused), "no", "{refused:?}");
    }
}

#[test]
fn only_prometheus_reaches_the_hardened_agents_port() {
    let Some(documents) = render("oomwatch/tests/manifests/elsewhere") else {
        return skip("no kubectl with kustomize 5");
    };
    let of = |kind: &str| {
        let mut all = documents.iter();
        all.find(|document| document["kind"] == kind).expect(kind)
    };
    let (daemon, policy) = (of("DaemonSet"), of("NetworkPolicy"));
    assert_eq!(
        policy["metadata"]["namespace"],
        daemon["metadata"]["namespace"]
    );
    let selected = &policy["spec"]["podSelector"]["matchLabels"];
    let labels = &daemon["spec"]["template"]["metadata"]["labels"];
    assert_eq!(selected, labels);
    let ingress = &policy["spec"]["ingress"];
    assert_eq!(ingress.as_array().map(Vec::len), Some(1));
    let port = &ingress[0]["ports"][0]["port"];
    let container = container(daemon).expect("a container");
    assert_eq!(*port, container["ports"][0]["name"]);
    let from = &ingress[0]["from"];
    assert_eq!(from.as_array().map(Vec::len), Some(1));
    let label = &from[0]["podSelector"]["matchLabels"]["app.kubernetes.io/name"];
    assert_eq!(label, "prometheus");
}

#[test]
fn hardened_differs_by_what_it_says() {
    let Some(documents) = render("deploy/overlays/hardened") else {
        return skip("no kubectl with kustomize 5");
    };
    let daemon = documents
        .iter()
        .find(|document| document["kind"] == "DaemonSet")
        .expect("a DaemonSet");
    let container = container(daemon).expect("a container");
    // A socket that is looked for and not found is a degraded agent.
    for socket in ["--cri-socket=off", "--docker-socket=off"] {
        assert!(arguments(container).contains(&socket), "{container}");
    }
    let context = &container["securityContext"];
    assert_eq!(context["privileged"], false);
    assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]));
    assert_eq!(
        context["capabilities"]["add"],
        serde_json::json!(["BPF", "PERFMON", "SYSLOG", "SYS_NICE"])
    );
    let pod = &daemon["spec"]["template"]["spec"];
    for host in ["hostPID", "hostNetwork", "hostIPC"] {
        assert_eq!(pod[host], Value::Null, "{host}");
    }
    for mount in container["volumeMounts"].as_array().expect("mounts") {
        let name = mount["name"].as_str().expect("a name");
        // What is to outlive the pod has to be written.
        let is_written = ["bpf", "state"].contains(&name);
        assert_eq!(mount["readOnly"] == true, !is_written, "{mount}");
        let is_tree = name == "cgroup";
        assert_eq!(
            mount["recursiveReadOnly"] == "IfPossible",
            is_tree,
            "{mount}"
        );
    }
}

#[test]
fn agents_keep_what_outlives_them_where_uninstalling_removes_it() {
    let folders = [
        "deploy/base",
        "deploy/overlays/hardened",
        "deploy/overlays/uninstall",
    ];
    let Some(rendered) = folders.map(render).into_iter().collect::<Option<Vec<_>>>() else {
        return skip("no kubectl with kustomize 5");
    };
    for (folder, documents) in folders.into_iter().zip(rendered) {
        let daemon = documents
            .iter()
            .find(|document| document["kind"] == "DaemonSet")
            .expect("a DaemonSet");
        let volumes = &daemon["spec"]["template"]["spec"]["volumes"];
        // The one that has something to do, or the only one.
        let container = containers(daemon).next().expect("a container");
        for (name, on_the_node, in_the_pod) in [
            ("bpf", "/sys/fs/bpf", "/host/bpf"),
            ("state", "/var/lib/oomwatch", "/var/lib/oomwatch"),
        ] {
            let find = |list: &Value| {
                let mut list = list.as_array().expect("a list").iter();
                list.find(|one| one["name"] == name).cloned()
            };
            let volume = find(volumes).expect(name);
            assert_eq!(volume["hostPath"]["path"], on_the_node, "{folder}");
            let mount = find(&container["volumeMounts"]).expect(name);
            assert_eq!(mount["mountPath"], in_the_pod, "{folder}");
            assert_eq!(mount["readOnly"], Value::Null, "{folder}");
        }
        assert!(
            arguments(container).contains(&"--bpffs=/host/bpf"),
            "{folder}"
        );
    }
}

#[test]
fn uninstalling_cleans_up_and_then_does_nothing() {
    let Some(documents) = render("deploy/overlays/uninstall") else {
        return skip("no kubectl with kustomize 5");
    };
    let daemon = documents
        .iter()
        .find(|document| document["kind"] == "DaemonSet")
        .expect("a DaemonSet");
    let [cleanup, stay] = &containers(daemon).collect::<Vec<_>>()[..] else {
        panic!("not two containers: {daemon}");
    };
    assert_eq!(
        arguments(cleanup),
        ["cleanup", "--bpffs=/host/bpf", "--history"]
    );
    assert_eq!(arguments(stay), ["cleanup", "--stay"]);
    for container in [cleanup, stay] {
        let context = &container["securityContext"];
        assert_eq!(context["privileged"], false);
        assert_eq!(
            context["capabilities"],
            serde_json::json!({ "drop": ["ALL"] })
        );
        for probe in ["livenessProbe", "readinessProbe", "ports", "env"] {
            assert_eq!(container[probe], Value::Null, "{probe}");
        }
    }
    assert_eq!(stay["volumeMounts"], Value::Null);
}

/// The only container of the agent's `DaemonSet`.
fn container(document: &Value) -> Option<&Value> {
    document["spec"]["template"]["spec"]["containers"].get(0)
}

/// All containers of a `DaemonSet`, in the order in which they begin.
fn containers(document: &Value) -> impl Iterator<Item = &Value> {
    let pod = &document["spec"]["template"]["spec"];
    [&pod["initContainers"], &pod["containers"]]
        .into_iter()
        .filter_map(Value::as_array)
        .flatten()
}

/// The words after the program's name.
fn arguments(container: &Value) -> Vec<&str> {
    let words = container["args"].as_array().into_iter().flatten();
    words.filter_map(Value::as_str).collect()
}
