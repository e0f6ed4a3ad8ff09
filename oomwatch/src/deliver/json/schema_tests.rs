//! Holds the records against `docs/oomwatch-v1.schema.json`.

use jsonschema::Validator;
use serde_json::Value;

use crate::{
    deliver::json::{coalesced_to_json, gap_to_json, kill_to_json},
    model::report::{Coalesced, Report},
    testing::{self, HOSTILE},
};

const SCHEMA: &str = include_str!("../../../../docs/oomwatch-v1.schema.json");

/// The schema, with fields that it does not name forbidden: this oomwatch writes none.
fn schema() -> Validator {
    let mut schema = serde_json::from_str(SCHEMA).expect("JSON");
    forbid_others(&mut schema);
    jsonschema::validator_for(&schema).expect("a schema")
}

fn forbid_others(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(forbid_others);
            if members.get("type").is_some_and(|kind| kind == "object") {
                members.insert("additionalProperties".to_owned(), false.into());
            }
        }
        Value::Array(members) => members.iter_mut().for_each(forbid_others),
        _ => {}
    }
}

fn check(schema: &Validator, line: &str) {
    let record: Value = serde_json::from_str(line).expect("JSON");
    let errors: Vec<_> = schema
        .iter_errors(&record)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}\n{record:#}");
}

#[test]
fn records_are_as_the_schema_says() {
    let schema = schema();
    let kill = |report: &Report| kill_to_json(report).expect("serialize");
    for report in [testing::report(), testing::minimal_report()] {
        check(&schema, &kill(&report));
        let coalesced = Coalesced {
            kills: 57,
            incidents: 50,
            since: testing::timestamp(1_790_000_000, 0),
        };
        let line = coalesced_to_json(&report, &coalesced).expect("serialize");
        check(&schema, &line);
    }
    for name in HOSTILE {
        let mut report = testing::report();
        report.sandbox = true;
        report.kill.victim.comm = Some(name.to_vec());
        report.kill.limits[0].cgroup.path = name.to_vec();
        check(&schema, &kill(&report));
    }
    let gap = gap_to_json(&testing::gap_report()).expect("serialize");
    check(&schema, &gap);
}

#[test]
fn other_records_are_refused() {
    let schema = schema();
    let line = kill_to_json(&testing::report()).expect("serialize");
    let good: Value = serde_json::from_str(&line).expect("JSON");
    for (pointer, bad) in [
        ("/schema", "oomwatch/v2"),
        ("/victim/pid", "7"),
        ("/time", "yesterday"),
        ("/account/cause/kind", "magic"),
        ("/account/memory/of", "planet"),
    ] {
        let mut record = good.clone();
        *record.pointer_mut(pointer).expect(pointer) = bad.into();
        assert!(!schema.is_valid(&record), "{pointer}");
    }
    let mut record = good;
    record["mood"] = 7.into();
    assert!(!schema.is_valid(&record));
}
