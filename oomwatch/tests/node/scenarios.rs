//! What happens to pods, and what their Events say of it.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::{
    agent::{Agent, Overlay},
    cluster::{Cluster, container},
};

pub(crate) type Run = fn(&Cluster);

/// What holds for each way in which the agent is deployed.
pub(crate) const ALL: &[(&str, Run)] = &[
    ("container_at_its_own_limit_is_told_so", own_limit),
    (
        "containers_whose_sum_ran_out_are_told_the_pods_limit",
        pod_limit,
    ),
    ("killed_child_is_told_where_nobody_else_does", child),
    (
        "child_in_a_shared_pid_namespace_is_told_too",
        shared_pid_namespace,
    ),
    (
        "loop_of_lost_children_is_one_event_with_its_count",
        lost_children,
    ),
    ("crash_loop_is_one_event_with_its_count", crash_loop),
    ("init_container_is_named_as_one", init_container),
    ("static_pod_has_its_event_where_describe_looks", static_pod),
    (
        "memory_backed_volume_is_not_taken_for_the_victims",
        memory_volume,
    ),
    ("pod_deleted_with_the_kill_is_named", deleted_pod),
];

/// What holds where a container runtime can be asked.
pub(crate) const WITH_A_RUNTIME: &[(&str, Run)] = &[
    ("limit_too_small_to_start_is_told_so", sandbox),
    ("sixty_pods_in_a_storm_are_all_named", storm),
];

/// Eats memory until it is killed.
pub(crate) const EAT: &str = "exec tail /dev/zero";

pub(crate) fn message(event: &Value) -> &str {
    event["message"].as_str().expect("a message")
}

pub(crate) fn field_path(event: &Value) -> &str {
    event["involvedObject"]["fieldPath"]
        .as_str()
        .unwrap_or_default()
}

fn own_limit(cluster: &Cluster) {
    let namespace = cluster.namespace("own-limit");
    namespace.pod(
        "eater",
        &json!({"containers": [container("app", "40Mi", EAT)]}),
    );
    let event = namespace.event("eater", "ContainerOOMKilled", 1);
    assert_eq!(field_path(&event), "spec.containers{app}");
    let message = message(&event);
    assert!(
        message.starts_with("Out of memory: killed tail (pid "),
        "{message}"
    );
    let (_, cause) = message
        .split_once("; memory limit of the container, 40MiB, was reached. ")
        .unwrap_or_else(|| panic!("{message}"));
    assert!(
        cause.starts_with("The killed process held ") && cause.ends_with(" of the 40 MiB limit."),
        "{message}"
    );
    let described = namespace.describe("eater");
    assert!(described.contains(message), "{described}");
    assert!(described.contains("ContainerOOMKilled"), "{described}");
}

/// What an init container has left in memory is charged to the pod alone.
pub(crate) fn pod_limit(cluster: &Cluster) {
    let namespace = cluster.namespace("pod-limit");
    let mut leaver = container(
        "leaver",
        "20Mi",
        "head -c 15728640 /dev/zero > /shared/left",
    );
    leaver["volumeMounts"] = json!([{"name": "shared", "mountPath": "/shared"}]);
    let mut eater = container("eater", "20Mi", EAT);
    eater["volumeMounts"] = leaver["volumeMounts"].clone();
    namespace.pod(
        "both",
        &json!({
            "initContainers": [leaver],
            "containers": [container("idle", "10Mi", "sleep 1000"), eater],
            "volumes": [{"name": "shared", "emptyDir": {"medium": "Memory"}}],
        }),
    );
    let event = namespace.event("both", "ContainerOOMKilled", 1);
    assert_eq!(field_path(&event), "spec.containers{eater}");
    let message = message(&event);
    assert!(
        message.contains("memory limit of the pod, 30MiB"),
        "{message}"
    );
}

fn child(cluster: &Cluster) {
    let namespace = cluster.namespace("child");
    let line = "tail /dev/zero; echo lost a child; sleep 1000";
    namespace.pod(
        "parent",
        &json!({"containers": [container("app", "40Mi", line)]}),
    );
    let event = namespace.event("parent", "ProcessOOMKilled", 1);
    assert_eq!(field_path(&event), "spec.containers{app}");
    let described = namespace.describe("parent");
    assert!(described.contains(message(&event)), "{described}");
}

fn shared_pid_namespace(cluster: &Cluster) {
    let namespace = cluster.namespace("shared-pid");
    let line = "tail /dev/zero; echo lost a child; sleep 1000";
    namespace.pod(
        "parent",
        &json!({
            "shareProcessNamespace": true,
            "containers": [container("app", "40Mi", line)],
        }),
    );
    let event = namespace.event("parent", "ProcessOOMKilled", 1);
    assert_eq!(field_path(&event), "spec.containers{app}");
}

fn lost_children(cluster: &Cluster) {
    let namespace = cluster.namespace("lost-children");
    let before = cluster.event_requests();
    let line = "for i in $(seq 200); do tail /dev/zero; done; sleep 1000";
    namespace.pod(
        "loop",
        &json!({"containers": [container("app", "20Mi", line)]}),
    );
    namespace.event("loop", "ProcessOOMKilled", 200);
    // Written at once at first, then every ten seconds; the kubelet's own for the pod are among them.
    let requests = cluster.event_requests() - before;
    assert!(requests < 60, "{requests} requests");
}

fn crash_loop(cluster: &Cluster) {
    let namespace = cluster.namespace("crash-loop");
    namespace.pod(
        "again",
        &json!({
            "restartPolicy": "Always",
            "containers": [container("app", "40Mi", EAT)],
        }),
    );
    namespace.event("again", "ContainerOOMKilled", 3);
}

pub(crate) fn init_container(cluster: &Cluster) {
    let namespace = cluster.namespace("init");
    namespace.pod(
        "begins",
        &json!({
            "initContainers": [container("prepare", "40Mi", EAT)],
            "containers": [container("app", "40Mi", "sleep 1000")],
        }),
    );
    let event = namespace.event("begins", "ContainerOOMKilled", 1);
    assert_eq!(field_path(&event), "spec.initContainers{prepare}");
}

/// Its Events are on the UID that is the hash of its configuration.
pub(crate) fn static_pod(cluster: &Cluster) {
    let namespace = cluster.namespace("static");
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "static", "namespace": namespace.name},
        "spec": {
            "hostNetwork": true,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [container("app", "40Mi", EAT)],
        },
    });
    cluster.write_static_pod("oomwatch-static", &pod);
    let name = format!("static-{}", cluster.node);
    let event = namespace.event(&name, "ContainerOOMKilled", 1);
    let described = namespace.describe(&name);
    cluster.remove_static_pod("oomwatch-static");
    assert!(described.contains(message(&event)), "{described}");
}

fn memory_volume(cluster: &Cluster) {
    let namespace = cluster.namespace("volume");
    let line = "head -c 100000000 /dev/zero > /shared/all; sleep 1000";
    let mut filler = container("app", "40Mi", line);
    filler["volumeMounts"] = json!([{"name": "shared", "mountPath": "/shared"}]);
    namespace.pod(
        "volume",
        &json!({
            "containers": [filler],
            "volumes": [{"name": "shared", "emptyDir": {"medium": "Memory"}}],
        }),
    );
    let event = cluster.until("an Event of the pod", |_| namespace.events("volume").pop());
    let message = message(&event);
    assert!(message.contains("40MiB"), "{message}");
    assert!(
        message.contains("tmpfs") || message.contains("memory-backed"),
        "{message}"
    );
}

fn deleted_pod(cluster: &Cluster) {
    let namespace = cluster.namespace("deleted");
    namespace.pod(
        "brief",
        &json!({"containers": [container("app", "40Mi", EAT)]}),
    );
    cluster.kubectl(&[
        "delete",
        "pod",
        "-n",
        &namespace.name,
        "brief",
        "--force",
        "--grace-period=0",
    ]);
    // It may have gone before it ran; then nothing was killed. What was killed has its name.
    let gone = cluster.get(&["events", "-n", &namespace.name]);
    for event in gone["items"].as_array().expect("a list") {
        if event["source"]["component"] == "oomwatch" {
            assert_eq!(event["involvedObject"]["name"], "brief");
        }
    }
}

fn sandbox(cluster: &Cluster) {
    let namespace = cluster.namespace("sandbox");
    namespace.pod(
        "tiny",
        &json!({"containers": [container("app", "1Mi", "sleep 1000")]}),
    );
    let event = cluster.until("an Event of the pod", |_| namespace.events("tiny").pop());
    let message = message(&event);
    assert!(message.contains("too small"), "{message}");
    assert_eq!(field_path(&event), "");
    let described = namespace.describe("tiny");
    assert!(described.contains("too small"), "{described}");
}

fn storm(cluster: &Cluster) {
    const PODS: usize = 60;
    let namespace = cluster.namespace("storm");
    let before = cluster.event_requests();
    for number in 0..PODS {
        let pod = json!({"containers": [container("app", "30Mi", EAT)]});
        namespace.pod(&format!("storm-{number}"), &pod);
    }
    for number in 0..PODS {
        let event = namespace.event(&format!("storm-{number}"), "ContainerOOMKilled", 1);
        assert_eq!(field_path(&event), "spec.containers{app}");
    }
    for series in [
        "oomwatch_unobserved_kills_total",
        "oomwatch_ring_dropped_total",
        "oomwatch_events_total{object=\"pod\",outcome=\"unnamed\"}",
        "oomwatch_events_total{object=\"pod\",outcome=\"overflow\"}",
    ] {
        assert_eq!(Agent::metric(cluster, series), 0, "{series}");
    }
    let requests = cluster.event_requests() - before;
    eprintln!("{PODS} kills: {requests} requests for Events, the kubelet's among them");
}

/// After all others, of an agent that was deployed and has kills in its history.
pub(crate) fn uninstalled(cluster: &Cluster, agent: &Agent) {
    let files = |folder: &Path| -> Vec<_> {
        let entries = fs::read_dir(folder).expect("list a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names.collect()
    };
    let folder = cluster.folder().expect("a node on this machine");
    let (pins, state) = (folder.join("bpf/oomwatch"), folder.join("state"));
    assert!(pins.exists());
    assert!(!files(&state).is_empty());
    assert!(!agent.new_links().is_empty());
    agent.deploy(cluster, Overlay::Uninstall);
    assert!(!pins.exists());
    let kept: Vec<_> = files(&state);
    assert!(kept.is_empty(), "{kept:?}");
    // The kernel takes its time.
    cluster.until("the end of what was attached", |_| {
        agent.new_links().is_empty().then_some(())
    });
}
