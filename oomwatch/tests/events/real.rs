//! Against the real API server: what it keeps, shows and refuses.

use oomwatch::deliver::events::{Cause, NodeUid, Outcome};
use serde_json::{Value, json};

use crate::{
    api_server::{ADMIN, AGENT, ApiServer, EXPIRED, STRANGER},
    delivery::{Agent, NODE, PATIENCE},
    kills::{POD_UID, in_pod, of_system},
};

async fn agent(server: &ApiServer) -> Agent {
    Agent::new(server.client(AGENT).await)
}

/// The one Event about an object.
fn one(server: &ApiServer, namespace: &str, object: &str) -> Value {
    let mut events = server.events(namespace, object);
    assert_eq!(events.len(), 1, "{events:#?}");
    events.remove(0)
}

/// Forgets the Events of the node, so that a test begins without any.
fn forget_node_events(server: &ApiServer) {
    let selector = format!("involvedObject.name={NODE}");
    server.kubectl(&[
        "delete",
        "events",
        "-n",
        "default",
        "--field-selector",
        &selector,
    ]);
}

fn node_uid(server: &ApiServer) -> String {
    server.kubectl(&["get", "node", NODE, "-o", "jsonpath={.metadata.uid}"])
}

pub(crate) async fn pod_event_is_kept_as_it_was_sent(server: &ApiServer) {
    let mut agent = agent(server).await;
    agent.take(&in_pod("shop", "kept", 41));
    agent.until(Outcome::Accepted, 1).await;
    let event = one(server, "shop", "kept");
    assert_eq!(event["reason"], "ContainerOOMKilled");
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["count"], 1);
    assert_eq!(
        event["involvedObject"],
        json!({
            "apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "kept", "uid": POD_UID,
            "fieldPath": "spec.containers{app}",
        })
    );
    assert_eq!(
        event["message"],
        "Out of memory: killed tail (pid 41), which held 39.5MiB; memory limit of the container, 40MiB, was reached"
    );
    assert_eq!(
        event["source"],
        json!({"component": "oomwatch", "host": NODE})
    );
    assert_eq!(event["reportingComponent"], "oomwatch");
    assert_eq!(event["reportingInstance"], NODE);
    assert_eq!(event["eventTime"], Value::Null);
    assert_eq!(event["firstTimestamp"], event["lastTimestamp"]);
    assert_eq!(event["metadata"]["managedFields"][0]["manager"], "oomwatch");
}

pub(crate) async fn further_incidents_are_counted_on_the_same_event(server: &ApiServer) {
    let mut agent = agent(server).await;
    agent.take(&in_pod("shop", "counted", 51));
    agent.until(Outcome::Accepted, 1).await;
    let first = one(server, "shop", "counted");
    for pid in 52..=60 {
        agent.take(&in_pod("shop", "counted", pid));
    }
    // Without waiting for the next write's time.
    agent.drain().await;
    assert_eq!(agent.settled(Outcome::Accepted), 10);
    let counted = one(server, "shop", "counted");
    assert_eq!(counted["count"], 10);
    assert!(
        counted["message"]
            .as_str()
            .is_some_and(|message| message.contains("(pid 60)")),
        "{counted}"
    );
    for kept in ["uid", "name"] {
        assert_eq!(counted["metadata"][kept], first["metadata"][kept]);
    }
    assert_eq!(counted["firstTimestamp"], first["firstTimestamp"]);
    assert_eq!(counted["involvedObject"], first["involvedObject"]);
}

// C32, C33, C34.
pub(crate) async fn node_event_is_seen_by_kubectl(server: &ApiServer) {
    forget_node_events(server);
    let client = server.client(AGENT).await;
    let mut agent = Agent::with(client, PATIENCE, NodeUid::Name);
    agent.take(&of_system(16713));
    agent.until(Outcome::Accepted, 1).await;
    agent.take(&of_system(16713));
    agent.until(Outcome::Accepted, 2).await;

    let event = one(server, "default", NODE);
    assert_eq!(event["count"], 2);
    assert_eq!(
        event["involvedObject"],
        json!({"apiVersion": "v1", "kind": "Node", "name": NODE, "uid": NODE})
    );
    // C62: kubectl looks for the node's name in the place of the UID, too.
    let row = described_system_oom(server);
    assert!(
        row.trim_end()
            .ends_with("System OOM encountered, victim process: tail, pid: 16713"),
        "{row}"
    );
    let words: Vec<_> = row.split_whitespace().collect();
    assert_eq!(words[..2], ["Warning", "SystemOOM"], "{row}");
    assert!(
        row.contains("(x2 over ") && row.contains(" oomwatch "),
        "{row}"
    );
    // C63.
    let selector = format!("involvedObject.apiVersion=v1,involvedObject.name={NODE}");
    let selected = server.kubectl(&["get", "events", "--field-selector", &selector]);
    assert!(selected.contains("SystemOOM"), "{selected}");
    // C64.
    let selector = "reason=SystemOOM,source=oomwatch";
    let selected = server.kubectl(&["get", "events", "--field-selector", selector]);
    assert!(selected.contains(&format!("node/{NODE}")), "{selected}");
    // What reads the newer API sees it, too.
    let newer = server.kubectl(&["get", "events.events.k8s.io", "-o", "json"]);
    assert!(newer.contains("\"reason\": \"SystemOOM\""), "{newer}");
}

// C26.
pub(crate) async fn node_event_has_the_nodes_uid(server: &ApiServer) {
    forget_node_events(server);
    let mut agent = agent(server).await;
    agent.take(&of_system(9));
    agent.until(Outcome::Accepted, 1).await;
    let event = one(server, "default", NODE);
    assert_eq!(
        event["involvedObject"],
        json!({"apiVersion": "v1", "kind": "Node", "name": NODE, "uid": node_uid(server)})
    );
    // C62.
    let row = described_system_oom(server);
    assert!(row.contains(" oomwatch "), "{row}");
}

/// The row of `kubectl describe node` that has the Event.
fn described_system_oom(server: &ApiServer) -> String {
    let described = server.kubectl(&["describe", "node", NODE]);
    let row = described.lines().find(|line| line.contains("SystemOOM"));
    row.unwrap_or_else(|| panic!("{described}")).to_owned()
}

pub(crate) async fn pod_event_is_seen_by_kubectl(server: &ApiServer) {
    let mut agent = agent(server).await;
    let uid = [
        "get",
        "pod",
        "-n",
        "shop",
        "cart-0",
        "-o",
        "jsonpath={.metadata.uid}",
    ];
    let mut kill = in_pod("shop", "cart-0", 61);
    kill.pod.as_mut().expect("a pod").uid = server.kubectl(&uid);
    agent.take(&kill);
    agent.until(Outcome::Accepted, 1).await;
    let described = server.kubectl(&["describe", "pod", "-n", "shop", "cart-0"]);
    assert!(
        described.contains("Out of memory: killed tail (pid 61), which held 39.5MiB;"),
        "{described}"
    );
    let listed = server.kubectl(&["get", "events", "-n", "shop", "-o", "wide"]);
    let row = listed.lines().find(|line| line.contains("pod/cart-0"));
    let row = row.unwrap_or_else(|| panic!("{listed}"));
    assert!(row.contains("spec.containers{app}"), "{row}");
    assert!(row.contains(&format!("oomwatch, {NODE}")), "{row}");
}

pub(crate) async fn node_that_is_not_there_has_its_events_without_a_uid(server: &ApiServer) {
    forget_node_events(server);
    server.kubectl(&["delete", "node", NODE]);
    let mut agent = agent(server).await;
    agent.take(&of_system(1));
    agent.until(Outcome::Accepted, 1).await;
    let event = one(server, "default", NODE);
    assert_eq!(event["involvedObject"]["uid"], Value::Null);
    let node = server.folder().join("node.json");
    let text = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}).to_string();
    std::fs::write(&node, text).expect("write the node");
    server.kubectl(&["create", "-f", &node.to_string_lossy()]);
}

// C50.
pub(crate) async fn event_that_was_deleted_is_made_anew_with_its_count(server: &ApiServer) {
    forget_node_events(server);
    let mut agent = agent(server).await;
    for incidents in 1..=2 {
        agent.take(&of_system(7));
        agent.until(Outcome::Accepted, incidents).await;
    }
    let before = one(server, "default", NODE);
    forget_node_events(server);
    agent.take(&of_system(7));
    agent.until(Outcome::Accepted, 3).await;
    let after = one(server, "default", NODE);
    assert_eq!(after["count"], 3);
    assert_eq!(after["metadata"]["name"], before["metadata"]["name"]);
    assert_eq!(after["firstTimestamp"], before["firstTimestamp"]);
    assert_ne!(after["metadata"]["uid"], before["metadata"]["uid"]);
}

// C54.
pub(crate) async fn same_kill_told_twice_is_one_event(server: &ApiServer) {
    let kill = in_pod("shop", "twice", 71);
    for _ in 0..2 {
        let mut agent = agent(server).await;
        agent.take(&kill);
        agent.until(Outcome::Accepted, 1).await;
    }
    assert_eq!(one(server, "shop", "twice")["count"], 1);
}

pub(crate) async fn missing_namespace_refuses_for_good_and_blocks_nobody(server: &ApiServer) {
    let mut agent = Agent::new(server.client(ADMIN).await);
    agent.take(&in_pod("nowhere", "lost", 81));
    agent.take(&in_pod("shop", "found", 82));
    agent.until(Outcome::NoNamespace, 1).await;
    agent.until(Outcome::Accepted, 1).await;
    assert_eq!(agent.events.pending(), 0);
    assert_eq!(one(server, "shop", "found")["count"], 1);
}

// C54.
pub(crate) async fn ending_namespace_refuses_for_good_and_blocks_nobody(server: &ApiServer) {
    server.kubectl(&["delete", "namespace", "doomed", "--wait=false"]);
    let mut agent = agent(server).await;
    agent.take(&in_pod("doomed", "lost", 91));
    agent.take(&in_pod("shop", "found-too", 92));
    agent.until(Outcome::NoNamespace, 1).await;
    agent.until(Outcome::Accepted, 1).await;
    assert_eq!(agent.delays(Cause::Forbidden), 0);
}

pub(crate) async fn missing_permission_delays_only_what_it_is_for(server: &ApiServer) {
    let mut agent = agent(server).await;
    agent.take(&in_pod("closed", "waits", 101));
    agent.until_delayed(Cause::Forbidden).await;
    agent.take(&in_pod("shop", "goes", 102));
    agent.until(Outcome::Accepted, 1).await;
    assert_eq!(agent.events.pending(), 1);
    server.kubectl(&[
        "create",
        "rolebinding",
        "agent",
        "-n",
        "closed",
        "--clusterrole=agent",
        "--user=agent",
    ]);
    agent.until(Outcome::Accepted, 2).await;
    assert_eq!(one(server, "closed", "waits")["count"], 1);
}

pub(crate) async fn unknown_token_delays_and_ends_with_one_more_try(server: &ApiServer) {
    let mut agent = Agent::new(server.client(EXPIRED).await);
    agent.take(&in_pod("shop", "unheard", 111));
    agent.until_delayed(Cause::Unauthorized).await;
    let tries = agent.delays(Cause::Unauthorized);
    agent.drain().await;
    assert_eq!(agent.delays(Cause::Unauthorized), tries + 1);
    assert_eq!(agent.settled(Outcome::Abandoned), 1);
    assert_eq!(server.events("shop", "unheard"), Vec::<Value>::new());
}

pub(crate) async fn node_event_needs_no_permission_for_nodes(server: &ApiServer) {
    forget_node_events(server);
    server.kubectl(&[
        "create",
        "rolebinding",
        "stranger",
        "-n",
        "default",
        "--clusterrole=agent",
        "--user=stranger",
    ]);
    let mut agent = Agent::new(server.client(STRANGER).await);
    agent.take(&of_system(8));
    agent.until(Outcome::Accepted, 1).await;
    let event = one(server, "default", NODE);
    assert_eq!(event["involvedObject"]["uid"], Value::Null);
    assert_eq!(agent.delays(Cause::Forbidden), 0);
}

pub(crate) async fn event_that_is_too_large_is_refused_and_blocks_nobody(server: &ApiServer) {
    let mut agent = agent(server).await;
    let mut kill = in_pod("shop", "large", 121);
    kill.pod.as_mut().expect("a pod").uid = "x".repeat(4 << 20);
    agent.take(&kill);
    agent.take(&in_pod("shop", "small", 122));
    agent.until(Outcome::Refused, 1).await;
    agent.until(Outcome::Accepted, 1).await;
}

pub(crate) async fn server_that_is_killed_and_comes_back_is_told_all(server: &ApiServer) {
    let mut agent = agent(server).await;
    agent.take(&in_pod("shop", "outage", 131));
    agent.until(Outcome::Accepted, 1).await;
    server.kill();
    for pid in 132..=140 {
        agent.take(&in_pod("shop", "outage", pid));
        agent.take(&in_pod("shop", &format!("outage-{pid}"), pid));
    }
    agent.until_delayed(Cause::Unreachable).await;
    assert_eq!(agent.settled(Outcome::Accepted), 1);
    server.restart();
    agent.until(Outcome::Accepted, 19).await;
    assert_eq!(one(server, "shop", "outage")["count"], 10);
    for pid in 132..=140 {
        assert_eq!(one(server, "shop", &format!("outage-{pid}"))["count"], 1);
    }
}

pub(crate) async fn storm_of_pods_is_told_within_the_budget(server: &ApiServer) {
    let mut agent = agent(server).await;
    for round in 0..10_u32 {
        for pod in 0..20 {
            agent.take(&in_pod("shop", &format!("storm-{pod}"), 1000 + round));
        }
    }
    agent.drain().await;
    assert_eq!(agent.settled(Outcome::Accepted), 200);
    for pod in 0..20 {
        assert_eq!(one(server, "shop", &format!("storm-{pod}"))["count"], 10);
    }
}

pub(crate) async fn agent_that_was_killed_goes_on_with_the_same_events(server: &ApiServer) {
    forget_node_events(server);
    let mut before = agent(server).await;
    let kills: Vec<_> = (151..160)
        .flat_map(|pid| [in_pod("shop", "killed", pid), of_system(pid % 3)])
        .collect();
    let (delivered, undelivered) = kills.split_at(6);
    for kill in delivered {
        before.take(kill);
    }
    let saved = before.save();
    // The history has nothing of what happens from here on.
    for kill in undelivered {
        before.take(kill);
    }
    before.drain().await;
    assert_eq!(before.settled(Outcome::Accepted), 18);
    let events = || {
        let mut events = server.events("shop", "killed");
        events.extend(server.events("default", NODE));
        events
    };
    let left = events();

    let client = server.client(AGENT).await;
    let mut after = Agent::restored(client, PATIENCE, NodeUid::Real, &saved);
    for kill in undelivered {
        after.take(kill);
    }
    after.take(&in_pod("shop", "killed", 161));
    after.drain().await;
    let mut expected = left.clone();
    expected[0]["count"] = json!(10);
    let counts = |events: &[Value]| {
        let counts = events.iter().map(|event| {
            let name = event["metadata"]["name"].as_str().map(str::to_owned);
            (name, event["count"].as_u64())
        });
        counts.collect::<Vec<_>>()
    };
    assert_eq!(counts(&events()), counts(&expected));
}

pub(crate) async fn agent_that_has_lost_its_history_lowers_no_count(server: &ApiServer) {
    let first = in_pod("shop", "forgotten", 171);
    let mut before = agent(server).await;
    before.take(&first);
    for pid in 172..=175 {
        before.take(&in_pod("shop", "forgotten", pid));
    }
    before.drain().await;
    assert_eq!(one(server, "shop", "forgotten")["count"], 5);

    let mut after = agent(server).await;
    after.take(&first);
    after.until(Outcome::Accepted, 1).await;
    after.take(&in_pod("shop", "forgotten", 176));
    after.take(&in_pod("shop", "forgotten", 177));
    after.drain().await;
    let events = server.events("shop", "forgotten");
    let mut counts: Vec<_> = events.iter().map(|event| event["count"].as_u64()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [Some(2), Some(5)]);
}
