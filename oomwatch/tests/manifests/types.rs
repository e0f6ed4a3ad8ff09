//! Documents through the types of a current Kubernetes and back: what is lost on the way is no field of theirs.

use k8s_openapi::{
    api::{
        admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
        apps::v1::DaemonSet,
        core::v1::{Namespace, ServiceAccount},
        networking::v1::NetworkPolicy,
        rbac::v1::{ClusterRole, ClusterRoleBinding},
    },
    serde::{Serialize, de::DeserializeOwned},
};
use serde_json::Value;

/// The document, decoded as what it says it is and encoded again.
pub(crate) fn decoded(document: &Value) -> Value {
    match document["kind"].as_str().expect("a kind") {
        "ClusterRole" => through::<ClusterRole>(document),
        "ClusterRoleBinding" => through::<ClusterRoleBinding>(document),
        "DaemonSet" => through::<DaemonSet>(document),
        "Namespace" => through::<Namespace>(document),
        "NetworkPolicy" => through::<NetworkPolicy>(document),
        "ServiceAccount" => through::<ServiceAccount>(document),
        "ValidatingAdmissionPolicy" => through::<ValidatingAdmissionPolicy>(document),
        "ValidatingAdmissionPolicyBinding" => through::<ValidatingAdmissionPolicyBinding>(document),
        other => panic!("no type is known here for {other}"),
    }
}

fn through<T: DeserializeOwned + Serialize>(document: &Value) -> Value {
    let object: T = serde_json::from_value(document.clone())
        .unwrap_or_else(|error| panic!("{error}: {document}"));
    serde_json::to_value(object).expect("an object as JSON")
}

/// The paths of what is in `before` and not the same in `after`.
pub(crate) fn lost(before: &Value, after: &Value, path: &str) -> Vec<String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => before
            .iter()
            .flat_map(|(key, value)| {
                let path = format!("{path}/{key}");
                match after.get(key) {
                    Some(after) => lost(value, after, &path),
                    None => vec![path],
                }
            })
            .collect(),
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => before
            .iter()
            .zip(after)
            .enumerate()
            .flat_map(|(index, (before, after))| lost(before, after, &format!("{path}/{index}")))
            .collect(),
        _ if before == after => Vec::new(),
        _ => vec![path.to_owned()],
    }
}

#[test]
fn field_that_kubernetes_does_not_know_is_lost() {
    let document = serde_json::json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": "x" },
        "spec": {
            "selector": {},
            "template": { "spec": { "containers": [
                { "name": "x", "readinessProbe": { "httpGet": { "port": "metrics", "route": "/" } } }
            ] } },
        },
    });
    assert_eq!(
        lost(&document, &decoded(&document), ""),
        ["/spec/template/spec/containers/0/readinessProbe/httpGet/route"]
    );
}
