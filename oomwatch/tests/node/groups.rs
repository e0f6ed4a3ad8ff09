//! What differs on cgroup v2, where the kubelet has each container killed as a group: its node is a virtual machine, whose
//! kernel has fentry and may run out of memory.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use crate::{
    agent::Agent,
    cluster::{Cluster, Namespace, container},
    kubelet,
    scenarios::{self, EAT, Run, field_path, message},
};

/// What holds for the agent of deploy/base.
pub(crate) const ALL: &[(&str, Run)] = &[
    (
        "group_kill_of_several_processes_is_one_event_of_its_container",
        group_kill,
    ),
    (
        "group_kill_in_a_shared_pid_namespace_is_of_its_container",
        shared_pid_namespace,
    ),
    (
        "containers_whose_sum_ran_out_are_told_the_pods_limit",
        scenarios::pod_limit,
    ),
    ("init_container_is_named_as_one", scenarios::init_container),
    (
        "static_pod_has_its_event_where_describe_looks",
        scenarios::static_pod,
    ),
    (
        "kill_while_no_agent_runs_is_reported_by_the_next_one",
        no_agent,
    ),
];

/// What holds for that of deploy/overlays/hardened, which takes its place.
pub(crate) const HARDENED: &[(&str, Run)] = &[
    (
        "group_kill_of_several_processes_is_one_event_of_its_container",
        group_kill,
    ),
    ("system_oom_is_recorded_as_the_kubelet_does", system_oom),
];

/// A shell and three children. The last one eats memory once the others wait, for which they need some themselves.
const FAMILY: &str = "mkfifo /never
for child in 1 2; do sh -c 'echo >>/ready; read line </never' & done
until [ \"$(wc -l </ready)\" = 2 ]; do sleep 0.1; done
tail /dev/zero
echo it outlived its child";
/// How many processes that is.
const MEMBERS: u64 = 4;

fn group_kill(cluster: &Cluster) {
    let namespace = cluster.namespace("group");
    namespace.pod(
        "family",
        &json!({"containers": [
            container("idle", "10Mi", "sleep 1000"),
            container("app", "40Mi", FAMILY),
        ]}),
    );
    // The shell is the first process of its namespace: the kernel ends the others with it, those that the OOM killer has not
    // killed by then.
    is_one_event_of_app(&namespace, 2..=MEMBERS);
    assert_eq!(
        Agent::metric(cluster, "oomwatch_backend_info{backend=\"fentry\"}"),
        1
    );
    let status = |name: &str| {
        let pod = cluster.get(&["pod", "-n", &namespace.name, "family"]);
        let statuses = pod["status"]["containerStatuses"].as_array()?;
        let mut states = statuses.iter().filter(|status| status["name"] == name);
        Some(states.next()?["state"].clone())
    };
    let ended = cluster.until("the end of the container", |_| {
        status("app").filter(|state| !state["terminated"].is_null())
    });
    assert_eq!(ended["terminated"]["reason"], "OOMKilled", "{ended}");
    let idle = status("idle").expect("a status");
    assert!(!idle["running"].is_null(), "{idle}");
}

/// The first process of the namespace is the sandbox's, which is not killed.
fn shared_pid_namespace(cluster: &Cluster) {
    let namespace = cluster.namespace("shared-pid");
    namespace.pod(
        "family",
        &json!({
            "shareProcessNamespace": true,
            "containers": [container("app", "40Mi", FAMILY)],
        }),
    );
    is_one_event_of_app(&namespace, MEMBERS..=MEMBERS);
}

/// So many processes of container `app` of pod `family` have been killed and counted, and are one Event.
fn is_one_event_of_app(namespace: &Namespace<'_>, kills: RangeInclusive<u64>) {
    let event = namespace.event("family", "ContainerOOMKilled", 1);
    assert_eq!(field_path(&event), "spec.containers{app}", "{event}");
    let message = message(&event);
    assert!(
        message.starts_with("Out of memory: killed tail (pid "),
        "{message}"
    );
    assert!(
        message.contains(", and all other processes of the container;"),
        "{message}"
    );
    let series = format!(
        "oomwatch_kills_total{{scope=\"memcg\",limit_owner=\"container\",namespace=\"{}\",pod=\"family\",container=\"app\"",
        namespace.name
    );
    // The Event is written for the first of them.
    let counted = namespace
        .cluster
        .until("the count of the processes", |cluster| {
            Some(Agent::metric(cluster, &series)).filter(|count| count >= kills.start())
        });
    assert!(kills.contains(&counted), "{counted}");
    let events = namespace.events("family");
    assert_eq!(events.len(), 1, "{events:?}");
    let described = namespace.describe("family");
    assert!(described.contains(message), "{described}");
}

/// The programs stay attached, and the ring stays in the node's bpffs.
fn no_agent(cluster: &Cluster) {
    let namespace = cluster.namespace("no-agent");
    let eater = json!({"containers": [container("app", "40Mi", EAT)]});
    namespace.pod("before", &eater);
    namespace.event("before", "ContainerOOMKilled", 1);
    Agent::take_away(cluster);
    namespace.pod("meanwhile", &eater);
    cluster.until("the end of the pod", |_| {
        let pod = cluster.get(&["pod", "-n", &namespace.name, "meanwhile"]);
        (pod["status"]["phase"] == "Failed").then_some(())
    });
    assert_eq!(namespace.events("meanwhile"), Vec::<Value>::new());
    Agent::bring_back(cluster);
    let event = namespace.event("meanwhile", "ContainerOOMKilled", 1);
    assert_eq!(field_path(&event), "spec.containers{app}");
    // What was reported is not reported again, and nothing is missing.
    namespace.event("before", "ContainerOOMKilled", 1);
    assert_eq!(Agent::metric(cluster, "oomwatch_unobserved_kills_total"), 0);
}

/// A container without a limit, of the class that is killed first.
fn system_oom(cluster: &Cluster) {
    let namespace = cluster.namespace("system");
    let mut eater = container("app", "", EAT);
    eater["resources"].take();
    namespace.pod("eater", &json!({"containers": [eater]}));
    let event = namespace.event("eater", "ContainerOOMKilled", 1);
    assert_eq!(field_path(&event), "spec.containers{app}");
    let theirs = cluster.until("an Event of the kubelet", |_| {
        kubelet::system_ooms(cluster, "kubelet").pop()
    });
    let message = message(&theirs).to_owned();
    let ours = kubelet::event(cluster, "oomwatch", &message);
    kubelet::compare(cluster, theirs, ours);
    let described = cluster.kubectl(&["describe", "node", &cluster.node]);
    assert!(described.contains(&message), "{described}");
}
