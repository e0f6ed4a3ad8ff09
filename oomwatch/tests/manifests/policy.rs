//! The hardened overlay's admission policy, evaluated without an API server: the language of its expressions is a standard
//! (CEL). The tests on a real node have it in force.

use cel::{Context, Program, Value as Cel};
use serde_json::{Value, json};

use crate::{render::render, skip};

const NODE: &str = "authentication.kubernetes.io/node-name";

/// A policy as it is rendered.
struct Policy(Value);

impl Policy {
    /// The messages of what refuses the request; absent if the policy is not for it.
    fn refusals(&self, request: &Value) -> Option<Vec<&str>> {
        let mut context = Context::default();
        let values = [
            ("request", request),
            ("object", &request["object"]),
            ("oldObject", &request["oldObject"]),
        ];
        for (name, value) in values {
            context
                .add_variable(name, value)
                .expect("a request in the language's values");
        }
        let spec = &self.0["spec"];
        let is_meant = list(&spec["matchConditions"])
            .iter()
            .all(|condition| holds(&condition["expression"], &context));
        if !is_meant {
            return None;
        }
        let mut variables = serde_json::Map::new();
        for variable in list(&spec["variables"]) {
            let name = variable["name"].as_str().expect("a name");
            let value = evaluate(&variable["expression"], &context);
            let Cel::String(text) = value else {
                panic!("{name} is {value:?}, and these tests know text only");
            };
            variables.insert(name.to_owned(), json!(text.as_str()));
        }
        context
            .add_variable("variables", Value::Object(variables))
            .expect("variables in the language's values");
        let refusals = list(&spec["validations"])
            .iter()
            .filter(|validation| !holds(&validation["expression"], &context))
            .map(|validation| validation["message"].as_str().expect("a message"))
            .collect();
        Some(refusals)
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn evaluate(expression: &Value, context: &Context<'_, '_>) -> Cel {
    let text = expression.as_str().expect("an expression");
    let program = Program::compile(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    program
        .execute(context)
        .unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn holds(expression: &Value, context: &Context<'_, '_>) -> bool {
    match evaluate(expression, context) {
        Cel::Bool(holds) => holds,
        other => panic!("{expression} is {other:?}"),
    }
}

/// The creation of an Event on node-1 by its own agent, as changed.
fn creation(change: impl FnOnce(&mut Value)) -> Value {
    let mut request = json!({
        "operation": "CREATE",
        "userInfo": {
            "username": "system:serviceaccount:oomwatch:oomwatch",
            "extra": { NODE: ["node-1"] },
        },
        "object": {
            "type": "Warning",
            "reason": "ContainerOOMKilled",
            "source": { "component": "oomwatch", "host": "node-1" },
            "involvedObject": { "kind": "Pod", "namespace": "shop", "name": "web" },
        },
        "oldObject": null,
    });
    change(&mut request);
    request
}

/// A patch of such an Event, as changed.
fn update(change: impl FnOnce(&mut Value)) -> Value {
    creation(|request| {
        request["operation"] = json!("UPDATE");
        request["oldObject"] = request["object"].clone();
        change(request);
    })
}

type Change = fn(&mut Value);

#[test]
fn token_writes_its_own_nodes_and_its_own_components_events_only() {
    let Some(documents) = render("deploy/overlays/hardened") else {
        return skip("no kubectl with kustomize 5");
    };
    let policy = documents
        .into_iter()
        .find(|document| document["kind"] == "ValidatingAdmissionPolicy")
        .map(Policy)
        .expect("a policy");
    let refusals = |request: &Value| policy.refusals(request).expect("a request that is meant");

    let node = |request: &mut Value| {
        request["object"]["reason"] = json!("SystemOOM");
        request["object"]["involvedObject"] = json!({ "kind": "Node", "name": "node-1" });
    };
    for allowed in [creation(|_| ()), creation(node), update(|_| ())] {
        assert_eq!(refusals(&allowed), [""; 0], "{allowed}");
    }

    let source = "source is not oomwatch on the token's own node";
    let about = "it is about another node, or about neither a pod nor a node";
    let kind = "its type or reason is none of oomwatch's";
    let changes: [(Change, &str); 9] = [
        (
            |r| r["object"]["source"]["component"] = json!("kubelet"),
            source,
        ),
        (|r| r["object"]["source"]["host"] = json!("node-2"), source),
        (|r| r["object"]["source"] = json!({}), source),
        (
            |r| {
                let object = r["object"].as_object_mut().expect("an object");
                object.remove("source");
            },
            source,
        ),
        (
            |r| r["object"]["involvedObject"] = json!({ "kind": "Node", "name": "node-2" }),
            about,
        ),
        (
            |r| r["object"]["involvedObject"] = json!({ "kind": "Secret", "name": "x" }),
            about,
        ),
        (|r| r["object"]["type"] = json!("Normal"), kind),
        (|r| r["object"]["reason"] = json!("Killing"), kind),
        (
            |r| r["userInfo"]["extra"] = json!({}),
            "the token names no node",
        ),
    ];
    for (change, message) in changes {
        for request in [creation(change), update(change)] {
            assert!(refusals(&request).contains(&message), "{request}");
        }
    }
    let foreign = [
        json!({ "component": "kubelet", "host": "node-1" }),
        json!({ "component": "oomwatch", "host": "node-2" }),
        json!({}),
    ];
    for source in foreign {
        let request = update(|request| request["oldObject"]["source"] = source);
        assert_eq!(refusals(&request), ["the Event is another's"], "{request}");
    }

    let someone = creation(|request| request["userInfo"]["username"] = json!("admin"));
    assert_eq!(policy.refusals(&someone), None);
}
