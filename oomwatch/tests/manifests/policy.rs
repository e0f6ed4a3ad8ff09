//! The hardened overlay's admission policy, in force on a real API server under names that are not its own, attacked with an
//! agent's token through both versions of Events and every kind of patch.

use std::{cell::Cell, path::Path, process::Command, thread, time::Instant};

use http::{Method, Request, header::CONTENT_TYPE};
use kube::Client;
use serde_json::{Value, json};

use crate::{
    api_server::{ADMIN, ApiServer, PATIENCE, assets},
    apply, server,
};

const ACCOUNT: &str = "system:serviceaccount:monitoring:team-oomwatch";
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const JSON_PATCH: &str = "application/json-patch+json";

const REPORTER: &str = "it is not reported by oomwatch on the token's own node";
const ABOUT: &str = "it is about another node, or about neither a pod nor a node";
const PATH: &str = "its fieldPath is not a container";
const KIND: &str = "its type or reason is none of oomwatch's";
const MESSAGE: &str = "its message is missing or longer than 1024 characters";
const COUNT: &str = "its count or times are missing";
const UNUSED: &str = "oomwatch sets neither eventTime nor series, action or related";
const METADATA: &str = "oomwatch sets no labels, annotations, owners or finalizers";
const DECREASE: &str = "the count decreases";
const FIXED: &str = "only count, last time and message of an Event change";

/// Changes a part of an Event: a JSON merge patch.
type Change = (Value, &'static str);

/// The API server, as the service account on `node-1`.
struct Agent {
    client: Client,
    names: Cell<u32>,
}

/// The pieces of a request: method, path, content type, body.
type Sent<'a> = (Method, &'a str, &'a str, &'a Value);

impl Agent {
    /// Sends a request as an account whose token was issued for a pod on a node. Returns the message of what refused it.
    async fn send_as(
        &self,
        account: &str,
        node: Option<&str>,
        (method, path, kind, body): Sent<'_>,
    ) -> Result<Value, String> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(CONTENT_TYPE, kind)
            .header("Impersonate-User", account);
        if let Some(node) = node {
            request = request.header(
                "Impersonate-Extra-authentication.kubernetes.io%2Fnode-name",
                node,
            );
        }
        let body = serde_json::to_vec(body).expect("JSON");
        let request = request.body(body).expect("a request");
        match self.client.request::<Value>(request).await {
            Ok(object) => Ok(object),
            Err(kube::Error::Api(status)) => Err(status.message.clone()),
            Err(error) => panic!("{error}"),
        }
    }

    async fn send(&self, sent: Sent<'_>) -> Result<Value, String> {
        self.send_as(ACCOUNT, Some("node-1"), sent).await
    }

    /// An Event of the agent's own on a pod, with a name of its own.
    fn event(&self) -> Value {
        self.names.set(self.names.get() + 1);
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "namespace": "default", "name": format!("web.{:x}", self.names.get()) },
            "involvedObject": {
                "apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": "web", "uid": "u-1",
                "fieldPath": "spec.containers{app}",
            },
            "type": "Warning",
            "reason": "ContainerOOMKilled",
            "message": "Out of memory: killed tail (pid 1)",
            "source": { "component": "oomwatch", "host": "node-1" },
            "reportingComponent": "oomwatch",
            "reportingInstance": "node-1",
            "firstTimestamp": "2026-01-01T00:00:00Z",
            "lastTimestamp": "2026-01-01T00:00:00Z",
            "count": 3,
        })
    }

    async fn create(&self, event: &Value) -> Result<Value, String> {
        self.send((Method::POST, EVENTS, JSON, event)).await
    }

    /// Creates an Event of the agent's own, which is accepted. Returns it and its path.
    async fn created(&self) -> (Value, String) {
        let event = self.event();
        let created = self.create(&event).await;
        created.expect("an Event of its own");
        let path = format!("{EVENTS}/{}", text(&event["metadata"]["name"]));
        (event, path)
    }
}

const EVENTS: &str = "/api/v1/namespaces/default/events";
const NEW_EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

/// RFC 7386.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let object = into.as_object_mut().expect("an object");
    for (key, change) in changes {
        if change.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}

/// The same Event in `events.k8s.io/v1`.
fn renamed(event: &Value) -> Value {
    let mut event = event.clone();
    let object = event.as_object_mut().expect("an object");
    object.insert("apiVersion".to_owned(), json!("events.k8s.io/v1"));
    for (core, new) in [
        ("involvedObject", "regarding"),
        ("message", "note"),
        ("reportingComponent", "reportingController"),
        ("source", "deprecatedSource"),
        ("count", "deprecatedCount"),
        ("firstTimestamp", "deprecatedFirstTimestamp"),
        ("lastTimestamp", "deprecatedLastTimestamp"),
    ] {
        if let Some(value) = object.remove(core) {
            object.insert(new.to_owned(), value);
        }
    }
    event
}

fn assert_refused(answer: Result<Value, String>, message: &str, context: &Value) {
    let refusal = answer.expect_err(&format!("accepted: {context}"));
    let is_policy = refusal.contains("ValidatingAdmissionPolicy 'team-oomwatch-own-events'");
    assert!(
        is_policy && refusal.contains(message),
        "{refusal}: {context}"
    );
}

/// What the policy refuses, in a new Event and in a patch.
fn attacks() -> Vec<Change> {
    let node = |name| json!({ "apiVersion": "v1", "kind": "Node", "namespace": null, "name": name, "uid": "n", "fieldPath": null });
    vec![
        (json!({ "source": { "component": "kubelet" } }), REPORTER),
        (json!({ "source": { "host": "node-2" } }), REPORTER),
        (json!({ "source": null }), REPORTER),
        (json!({ "reportingComponent": "kubelet" }), REPORTER),
        (json!({ "reportingComponent": null }), REPORTER),
        (json!({ "reportingInstance": "node-2" }), REPORTER),
        (
            json!({ "involvedObject": node("node-2"), "reason": "SystemOOM" }),
            ABOUT,
        ),
        (json!({ "involvedObject": { "kind": "Secret" } }), ABOUT),
        (
            json!({ "involvedObject": { "apiVersion": "apps/v1" } }),
            ABOUT,
        ),
        (json!({ "involvedObject": { "apiVersion": null } }), ABOUT),
        (json!({ "involvedObject": { "uid": null } }), ABOUT),
        (
            json!({ "involvedObject": { "resourceVersion": "1" } }),
            ABOUT,
        ),
        (
            json!({ "involvedObject": { "fieldPath": "spec.containers{a} said: x" } }),
            PATH,
        ),
        (json!({ "type": "Normal" }), KIND),
        (json!({ "reason": "Killing" }), KIND),
        (json!({ "reason": "SystemOOM" }), KIND),
        (json!({ "message": "x".repeat(1025) }), MESSAGE),
        (json!({ "message": null }), MESSAGE),
        (json!({ "count": 0 }), COUNT),
        (json!({ "count": null }), COUNT),
        (json!({ "lastTimestamp": null }), COUNT),
        (
            json!({ "related": { "kind": "Pod", "namespace": "default", "name": "x" } }),
            UNUSED,
        ),
        (json!({ "action": "Kill" }), UNUSED),
        (json!({ "metadata": { "labels": { "a": "b" } } }), METADATA),
        (
            json!({ "metadata": { "annotations": { "a": "b" } } }),
            METADATA,
        ),
        (
            json!({ "metadata": { "finalizers": ["a.example/b"] } }),
            METADATA,
        ),
        (
            json!({ "metadata": { "ownerReferences": [
                { "apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "u-1" },
            ] } }),
            METADATA,
        ),
    ]
}

/// What is allowed in a new Event, and refused in a patch.
fn patches() -> Vec<Change> {
    vec![
        (json!({ "involvedObject": { "uid": "u-2" } }), FIXED),
        (json!({ "involvedObject": { "name": "other" } }), FIXED),
        (
            json!({ "involvedObject": { "fieldPath": "spec.containers{b}" } }),
            FIXED,
        ),
        (json!({ "reason": "ProcessOOMKilled" }), FIXED),
        (json!({ "firstTimestamp": "2025-01-01T00:00:00Z" }), FIXED),
        (json!({ "count": 2 }), DECREASE),
    ]
}

/// The patches of every kind that make this change.
fn every_patch(event: &Value, change: &Value) -> Vec<(&'static str, Value)> {
    let mut changed = event.clone();
    merge(&mut changed, change);
    let operations: Vec<Value> = change
        .as_object()
        .expect("changes")
        .keys()
        .map(|key| match changed.get(key) {
            Some(value) => json!({ "op": "add", "path": format!("/{key}"), "value": value }),
            None => json!({ "op": "remove", "path": format!("/{key}") }),
        })
        .collect();
    vec![
        (MERGE, change.clone()),
        (STRATEGIC, change.clone()),
        (JSON_PATCH, json!(operations)),
        (APPLY, changed),
    ]
}

/// A query that lets an apply take over the fields.
fn path_of(path: &str, kind: &str) -> String {
    if kind == APPLY {
        format!("{path}?fieldManager=attacker&force=true")
    } else {
        path.to_owned()
    }
}

#[tokio::test]
async fn admission_policy_confines_the_token_to_oomwatchs_own_events() {
    let Some(server) = server() else { return };
    apply(&server, "oomwatch/tests/manifests/elsewhere", &[]);
    // Otherwise roles alone would refuse requests through the newer version.
    server.apply(NEW_VERSION);
    let agent = Agent {
        client: server.client(ADMIN).await,
        names: Cell::new(0),
    };
    wait_until_enforced(&agent).await;
    assert_eq!(type_warnings(&server), json!({}));

    allowed(&agent).await;
    let event = agent.event();
    let sent = || (Method::POST, EVENTS, JSON, &event);
    let unbound = agent.send_as(ACCOUNT, None, sent()).await;
    assert_refused(unbound, "the token names no node", &event);
    let elsewhere = agent.send_as(ACCOUNT, Some("node-2"), sent()).await;
    assert_refused(elsewhere, REPORTER, &event);

    let (own, url) = agent.created().await;
    for (change, message) in attacks() {
        let mut event = agent.event();
        merge(&mut event, &change);
        assert_refused(agent.create(&event).await, message, &event);
    }
    // A new Event of that version has an eventTime and no source.
    let mut newer = renamed(&agent.event());
    let change = json!({
        "deprecatedSource": null, "deprecatedCount": null,
        "deprecatedFirstTimestamp": null, "deprecatedLastTimestamp": null,
        "eventTime": "2026-01-01T00:00:00.000000Z", "action": "Killed",
    });
    merge(&mut newer, &change);
    let answer = agent.send((Method::POST, NEW_EVENTS, JSON, &newer)).await;
    assert_refused(answer, REPORTER, &newer);
    for (change, message) in attacks().into_iter().chain(patches()) {
        for (kind, patch) in every_patch(&own, &change) {
            let path = path_of(&url, kind);
            // Null in an apply means that the field is not the manager's: it stays.
            if kind == APPLY && change.to_string().contains("null") {
                continue;
            }
            let answer = agent.send((Method::PATCH, &path, kind, &patch)).await;
            assert_refused(answer, message, &patch);
        }
        let newer = url.replace(EVENTS, NEW_EVENTS);
        let body = renamed_change(&change);
        let answer = agent.send((Method::PATCH, &newer, MERGE, &body)).await;
        // Some are refused before the policy, by the rules of that version.
        assert!(answer.is_err(), "accepted: {body}");
    }
    others(&agent).await;
}

/// A change in the terms of `events.k8s.io/v1`.
fn renamed_change(change: &Value) -> Value {
    let mut change = renamed(change);
    let object = change.as_object_mut().expect("an object");
    object.remove("apiVersion");
    change
}

/// What the agent does: new Events on pods and its node, and larger counts.
async fn allowed(agent: &Agent) {
    let (event, path) = agent.created().await;
    let change = json!({ "count": 4, "message": "x", "lastTimestamp": "2026-01-02T00:00:00Z" });
    for (kind, patch) in every_patch(&event, &change) {
        let path = path_of(&path, kind);
        let patched = agent.send((Method::PATCH, &path, kind, &patch)).await;
        patched.unwrap_or_else(|error| panic!("{kind}: {error}"));
    }
    for uid in [json!("n"), Value::Null] {
        let mut event = agent.event();
        let node = json!({
            "involvedObject": { "kind": "Node", "name": "node-1", "namespace": null, "fieldPath": null, "uid": uid },
            "reason": "SystemOOM",
        });
        merge(&mut event, &node);
        agent.create(&event).await.expect("an Event on its node");
    }
}

/// Events of other agents and components cannot be written to, nor other accounts be confined.
async fn others(agent: &Agent) {
    for change in [
        json!({ "source": { "component": "kubelet" }, "reportingComponent": "kubelet" }),
        json!({ "source": { "host": "node-2" }, "reportingInstance": "node-2" }),
        json!({ "source": null, "reportingComponent": null, "reportingInstance": null }),
        json!({ "reportingComponent": "kubelet" }),
    ] {
        let mut event = agent.event();
        merge(&mut event, &change);
        let sent = (Method::POST, EVENTS, JSON, &event);
        let groups = agent
            .send_as("system:kube-controller-manager", None, sent)
            .await;
        groups.expect("an Event of another component");
        let url = format!("{EVENTS}/{}", text(&event["metadata"]["name"]));
        let own = agent.event();
        let takeover = json!({
            "count": 9, "source": own["source"],
            "reportingComponent": "oomwatch", "reportingInstance": "node-1",
        });
        let answer = agent
            .send((Method::PATCH, &url, STRATEGIC, &takeover))
            .await;
        assert_refused(answer, "the Event is another's", &event);
    }
    // An account with every permission, as some operators have.
    let operator = "system:serviceaccount:default:operator";
    let mut event = agent.event();
    merge(
        &mut event,
        &json!({ "reason": "Started", "type": "Normal" }),
    );
    let sent = (Method::POST, EVENTS, JSON, &event);
    let answer = agent.send_as(operator, None, sent).await;
    answer.expect("an Event of an operator");
}

const NEW_VERSION: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: newer-events}
rules:
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: newer-events}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: newer-events}
subjects: [{kind: ServiceAccount, name: team-oomwatch, namespace: monitoring}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: operator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: operator, namespace: default}]
";

/// A new policy takes a moment.
async fn wait_until_enforced(agent: &Agent) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut event = agent.event();
        merge(&mut event, &json!({ "reason": "Killing" }));
        match agent.create(&event).await {
            Err(refusal) if refusal.contains("ValidatingAdmissionPolicy") => return,
            answer => assert!(Instant::now() < deadline, "not enforced: {answer:?}"),
        }
        thread::sleep(std::time::Duration::from_millis(200));
    }
}

/// What the controller that checks the types of policies finds.
fn type_warnings(server: &ApiServer) -> Value {
    let assets = assets().expect("they were there");
    let log = std::fs::File::create(server.folder().join("manager.log")).expect("make a log");
    let mut manager = Command::new(Path::new(&assets).join("kube-controller-manager"))
        .arg("--kubeconfig")
        .arg(server.kubeconfig(ADMIN))
        .arg("--controllers=validatingadmissionpolicy-status-controller")
        .args(["--leader-elect=false", "--secure-port=0"])
        .stderr(log)
        .spawn()
        .expect("start kube-controller-manager");
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        let policy = server.kubectl(&[
            "get",
            "validatingadmissionpolicy",
            "team-oomwatch-own-events",
            "-o",
            "json",
        ]);
        let policy: Value = serde_json::from_str(&policy).expect("JSON");
        if policy["status"]["observedGeneration"].is_number() {
            break policy["status"]["typeChecking"].clone();
        }
        assert!(Instant::now() < deadline, "no status: {policy}");
        thread::sleep(std::time::Duration::from_millis(200));
    };
    manager.kill().expect("kill kube-controller-manager");
    manager.wait().expect("wait for kube-controller-manager");
    status
}
