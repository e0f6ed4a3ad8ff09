//! The record of kills that the kernel counted and whose victims are not known.

use serde::Serialize;

use super::encoding::{RecordKind, SCHEMA, rfc3339, text};
use crate::{
    model::{
        gap::{GapCgroup, GapPlace},
        report::GapReport,
    },
    sys::escape::escape_json,
};

/// A gap as one line of JSON without the newline, safe to print on a terminal.
pub fn gap_to_json(report: &GapReport) -> Result<String, serde_json::Error> {
    serde_json::to_string(&GapJson::from(report)).map(|json| escape_json(&json))
}

#[derive(Serialize)]
struct GapJson<'a> {
    schema: &'static str,
    kind: RecordKind,
    id: &'a str,
    time: String,
    since: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    node: &'a str,
    source: &'static str,
    unidentified: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cgroups: Vec<GapCgroupJson>,
}

#[derive(Serialize)]
struct GapCgroupJson {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    kills: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    below: Option<bool>,
}

impl<'a> From<&'a GapReport> for GapJson<'a> {
    fn from(report: &'a GapReport) -> Self {
        let GapReport {
            gap,
            node,
            id,
            time,
            since,
        } = report;
        Self {
            schema: SCHEMA,
            kind: RecordKind::Gap,
            id,
            time: rfc3339(*time),
            since: rfc3339(*since),
            node,
            source: "audit",
            unidentified: gap.kills,
            cgroups: gap.cgroups.iter().map(GapCgroupJson::from).collect(),
        }
    }
}

impl From<&GapCgroup> for GapCgroupJson {
    fn from(GapCgroup { path, kills, place }: &GapCgroup) -> Self {
        let (path, path_hex) = text(path);
        Self {
            path,
            path_hex,
            kills: *kills,
            below: (*place == GapPlace::Descendants).then_some(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::testing::{self, HOSTILE};

    #[test]
    fn every_field_of_a_gap_is_written() {
        insta::assert_snapshot!(gap_to_json(&testing::gap_report()).expect("serialize"), @r#"{"schema":"oomwatch/v1","kind":"gap","id":"0f1e2d3c-audit-45-3","time":"2026-09-21T14:13:20.000000000Z","since":"2026-09-21T14:13:19.000000000Z","node":"node-1","source":"audit","unidentified":3,"cgroups":[{"path":"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod8a4e6bd2_0f35_4c1b_9a77_2b1d5e6f7081.slice","kills":1,"below":true},{"path":"/system.slice/nginx.service","kills":2}]}"#);
    }

    #[test]
    fn cgroups_are_left_out_if_there_are_none() {
        let mut report = testing::gap_report();
        report.gap.cgroups.clear();
        let json = gap_to_json(&report).expect("serialize");
        assert!(!json.contains("cgroups"), "{json}");
    }

    #[test]
    fn hostile_cgroup_names_are_printable_and_lossless() {
        for name in HOSTILE {
            let mut report = testing::gap_report();
            let path = [b"/", name].concat();
            report.gap.cgroups[0].path.clone_from(&path);
            let json = gap_to_json(&report).expect("serialize");
            assert!(!json.contains(char::is_control), "{json}");
            let parsed: Value = serde_json::from_str(&json).expect("parse");
            let cgroup = &parsed["cgroups"][0];
            match str::from_utf8(&path) {
                Ok(path) => assert_eq!(cgroup["path"], path),
                Err(_) => assert!(cgroup["path_hex"].is_string(), "{json}"),
            }
        }
    }
}
