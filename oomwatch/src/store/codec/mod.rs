//! Reports as the journal keeps them: JSON that is short, and that later versions can still read. Pure.
//!
//! It is not the JSON of the outputs, which is made of the report anew. What is absent takes no room. The paths of a kill's
//! cgroups are mostly beginnings of one path: that is kept once, and of the others how long they are. Bytes that are not
//! UTF-8 are a list of numbers. What a newer version has added is passed over; a fact that an older one did not write is absent.

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use crate::model::report::{GapReport, Report};

/// Where the path is kept that the others begin.
const SHARED: &str = "cgroup";
/// The member of a cgroup that is a path.
const PATH: &str = "path";

/// A kill.
pub fn from_report(report: &Report) -> serde_json::Result<String> {
    let mut value = serde_json::to_value(report)?;
    let kill = &report.kill;
    let innermost = [
        kill.victim.leaf_cgroup.as_ref(),
        kill.victim.cgroup.as_ref(),
        kill.limits.first().map(|limit| &limit.cgroup),
        kill.group_cgroup.as_ref(),
    ];
    let shared = innermost.into_iter().flatten().next();
    let shared = shared.and_then(|cgroup| str::from_utf8(&cgroup.path).ok());
    shorten(&mut value, shared);
    if let (Some(shared), Value::Object(members)) = (shared, &mut value) {
        members.insert(SHARED.to_owned(), shared.into());
    }
    serde_json::to_string(&value)
}

/// A kill that was kept.
pub fn to_report(json: &str) -> serde_json::Result<Report> {
    let mut members: Map<String, Value> = serde_json::from_str(json)?;
    let mut value = match members.remove(SHARED) {
        Some(Value::String(shared)) => {
            let mut value = Value::Object(members);
            lengthen(&mut value, &shared);
            value
        }
        _ => Value::Object(members),
    };
    serde_json::from_value(value.take())
}

/// Kills that were only counted.
pub fn from_gap(report: &GapReport) -> serde_json::Result<String> {
    serde_json::to_string(report)
}

/// Counted kills that were kept.
pub fn to_gap(json: &str) -> serde_json::Result<GapReport> {
    serde_json::from_str(json)
}

/// Takes out what is absent, and puts lengths for beginnings of the shared path.
fn shorten(value: &mut Value, shared: Option<&str>) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            for (name, member) in members {
                let is_beginning = |path: &&str| {
                    name == PATH && shared.is_some_and(|shared| shared.starts_with(*path))
                };
                match member.as_str().filter(is_beginning).map(str::len) {
                    Some(length) => *member = length.into(),
                    None => shorten(member, shared),
                }
            }
        }
        Value::Array(members) => members
            .iter_mut()
            .for_each(|member| shorten(member, shared)),
        _ => {}
    }
}

/// Puts beginnings of the shared path for their lengths.
fn lengthen(value: &mut Value, shared: &str) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let length = (name == PATH).then(|| member.as_u64()).flatten();
                let path = length
                    .and_then(|length| shared.get(..usize::try_from(length).unwrap_or(usize::MAX)));
                match path {
                    Some(path) => *member = path.into(),
                    None => lengthen(member, shared),
                }
            }
        }
        Value::Array(members) => members
            .iter_mut()
            .for_each(|member| lengthen(member, shared)),
        _ => {}
    }
}
