//! Reads fields of a JSON record by their paths, such as `victim.pid`. What is not there or has another type is absent.

use serde_json::Value;

use crate::deliver::text::size::size;

pub(super) fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, key| value.get(key))
}

pub(super) fn text<'a>(value: &'a Value, path: &str) -> Option<&'a str> {
    at(value, path)?.as_str()
}

pub(super) fn number(value: &Value, path: &str) -> Option<u64> {
    at(value, path)?.as_u64()
}

pub(super) fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    at(value, path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

pub(super) fn shown(value: &Value, path: &str) -> String {
    match at(value, path) {
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) => text.clone(),
        _ => "-".to_owned(),
    }
}

pub(super) fn bytes(value: &Value, path: &str) -> String {
    size(number(value, path))
}

/// The most specific name of the victim's owner, or its cgroup.
pub(super) fn object(record: &Value) -> Option<String> {
    owner(record).or_else(|| text(record, "victim.cgroup.path").map(str::to_owned))
}

/// The most specific name of what a record or a candidate belongs to.
pub(super) fn owner(record: &Value) -> Option<String> {
    let container = text(record, "container.name")
        .map(str::to_owned)
        .or_else(|| {
            let id = text(record, "container.id")?;
            Some(id.chars().take(12).collect())
        });
    let pod = match (text(record, "pod.namespace"), text(record, "pod.name")) {
        (Some(namespace), Some(name)) => Some(format!("{namespace}/{name}")),
        _ => text(record, "pod.uid").map(|uid| format!("pod {uid}")),
    };
    match (pod, container) {
        (Some(pod), Some(container)) => Some(format!("{pod}/{container}")),
        (Some(pod), None) => Some(pod),
        (None, Some(container)) => Some(match text(record, "container.runtime") {
            Some(runtime) => format!("{runtime} {container}"),
            None => format!("container {container}"),
        }),
        (None, None) => text(record, "unit").map(str::to_owned),
    }
}
