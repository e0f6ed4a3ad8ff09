//! Encodes reports for the history database: compact JSON that later versions can still decode. Pure.
//!
//! This is not the JSON of the outputs ([`crate::deliver::json`]), which is built from the decoded report. Absent fields take no
//! space. Most cgroup paths of a kill are prefixes of one path: that path is stored once, and each prefix as its length in
//! bytes. Bytes that are not UTF-8 are a list of numbers. Unknown fields are ignored; fields that are missing are absent.

#[cfg(test)]
mod tests;

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::{
    account::Account,
    report::{CandidateOwner, GapReport, PodUsage, Report},
};

/// Key of the path that the other paths are prefixes of.
const SHARED: &str = "cgroup";
/// Key of a cgroup's path.
const PATH: &str = "path";

/// Encodes a kill.
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
    compress(&mut value, shared);
    if let (Some(shared), Value::Object(members)) = (shared, &mut value) {
        members.insert(SHARED.to_owned(), shared.into());
    }
    serde_json::to_string(&value)
}

/// Decodes a kill.
pub fn to_report(json: &str) -> serde_json::Result<Report> {
    let mut members: Map<String, Value> = serde_json::from_str(json)?;
    let mut value = match members.remove(SHARED) {
        Some(Value::String(shared)) => {
            let mut value = Value::Object(members);
            expand(&mut value, &shared);
            value
        }
        _ => Value::Object(members),
    };
    serde_json::from_value(value.take())
}

/// What the table `accounts` has of a kill.
#[derive(Serialize, Deserialize)]
struct AccountRow<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<Cow<'a, Account>>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    owners: Cow<'a, [Option<CandidateOwner>]>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pods: Cow<'a, [PodUsage]>,
}

/// Encodes the account of a kill's incident; absent without one.
pub fn from_account(report: &Report) -> serde_json::Result<Option<String>> {
    let account = report.kill.account.as_deref().map(Cow::Borrowed);
    let explanation = report.explanation.as_ref();
    let row = AccountRow {
        account,
        owners: explanation
            .map(|explanation| explanation.owners.as_slice())
            .unwrap_or_default()
            .into(),
        pods: explanation
            .map(|explanation| explanation.pods.as_slice())
            .unwrap_or_default()
            .into(),
    };
    if row.account.is_none() && row.pods.is_empty() {
        return Ok(None);
    }
    serde_json::to_string(&row).map(Some)
}

/// Adds the account of its incident to a decoded kill. One that cannot be decoded is left out: the kill is what counts.
pub fn add_account(report: &mut Report, json: Option<&str>) {
    let row = json.and_then(|json| serde_json::from_str(json).ok());
    let Some(AccountRow {
        account,
        owners,
        pods,
    }) = row
    else {
        return;
    };
    report.kill.account = account.map(|account| Arc::new(account.into_owned()));
    if !owners.is_empty() || !pods.is_empty() {
        let explanation = report.explanation.get_or_insert_default();
        explanation.owners = owners.into_owned();
        explanation.pods = pods.into_owned();
    }
}

/// Encodes kills that were counted, not observed.
pub fn from_gap(report: &GapReport) -> serde_json::Result<String> {
    serde_json::to_string(report)
}

/// Decodes kills that were counted, not observed.
pub fn to_gap(json: &str) -> serde_json::Result<GapReport> {
    serde_json::from_str(json)
}

/// Removes absent fields, and replaces prefixes of the shared path by their lengths.
fn compress(value: &mut Value, shared: Option<&str>) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            for (name, member) in members {
                let is_prefix = |path: &&str| {
                    name == PATH && shared.is_some_and(|shared| shared.starts_with(*path))
                };
                match member.as_str().filter(is_prefix).map(str::len) {
                    Some(length) => *member = length.into(),
                    None => compress(member, shared),
                }
            }
        }
        Value::Array(members) => members
            .iter_mut()
            .for_each(|member| compress(member, shared)),
        _ => {}
    }
}

/// Replaces lengths by prefixes of the shared path.
fn expand(value: &mut Value, shared: &str) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let length = (name == PATH).then(|| member.as_u64()).flatten();
                let path = length
                    .and_then(|length| shared.get(..usize::try_from(length).unwrap_or(usize::MAX)));
                match path {
                    Some(path) => *member = path.into(),
                    None => expand(member, shared),
                }
            }
        }
        Value::Array(members) => members.iter_mut().for_each(|member| expand(member, shared)),
        _ => {}
    }
}
