//! Alert rules and dashboard, held against promtool: the rules' syntax, their unit tests, and the dashboard's queries.
//!
//! promtool is the one that `PATH` finds, else Debian's, unpacked below the target folder: installing its package would
//! start a Prometheus on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::apt::{self, Apt, Archive};
use crate::cargo::Workspace;
use crate::exec;

/// Where the rules and the dashboard are.
const FOLDER: &str = "deploy/monitoring";

/// A release whose promtool runs on later ones, too.
const SUITE: &str = "bookworm";

/// What Grafana puts in the place of its variables.
const VARIABLES: [(&str, &str); 4] = [
    ("$__rate_interval", "5m"),
    ("$__range", "1h"),
    ("$namespace", ".*"),
    ("$node", ".*"),
];

/// Finds promtool, or fetches it.
pub(crate) fn prepare(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(promtool) = exec::find("promtool") {
        return Ok(promtool);
    }
    let folder = workspace.target.join("promtool");
    let promtool = folder.join("promtool");
    if !promtool.exists() {
        fetch(&folder, &promtool).context("promtool not found, and it could not be fetched")?;
    }
    Ok(promtool)
}

fn fetch(folder: &Path, promtool: &Path) -> Result<()> {
    let apt = Apt::update(&folder.join("apt"), Archive::Main, SUITE)?;
    let candidates = apt.candidates("^prometheus$")?;
    let candidate = candidates.first().context("apt lists no version of it")?;
    let package = apt.download(candidate, folder)?;
    let unpacked = folder.join("unpacked");
    apt::unpack(&package, &unpacked)?;
    fs::remove_file(&package).with_context(|| format!("remove {}", package.display()))?;
    let program = unpacked.join("usr/bin/promtool");
    // Last, so that what is there is whole.
    fs::rename(&program, promtool).with_context(|| format!("move {}", program.display()))?;
    fs::remove_dir_all(&unpacked).with_context(|| format!("remove {}", unpacked.display()))
}

/// Runs promtool on all of it.
pub(crate) fn check(workspace: &Workspace, promtool: &Path) -> Result<()> {
    let from = workspace.root.join(FOLDER);
    let into = workspace.target.join("rules");
    fs::create_dir_all(&into).with_context(|| format!("create {}", into.display()))?;
    let read = |name: &str| {
        let path = from.join(name);
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    };
    let write = |name: &str, text: &str| {
        let path = into.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    };
    // The names that the unit tests and the messages of promtool have for them.
    write("rules.yaml", &rule_file(&read("alerts.yaml")?)?)?;
    write("alerts.test.yaml", &read("alerts.test.yaml")?)?;
    write("dashboard.yaml", &query_file(&read("dashboard.json")?)?)?;
    for args in [
        ["check", "rules", "rules.yaml"],
        ["check", "rules", "dashboard.yaml"],
        ["test", "rules", "alerts.test.yaml"],
    ] {
        exec::run(Command::new(promtool).args(args).current_dir(&into))?;
    }
    Ok(())
}

/// The `spec` of a `PrometheusRule`, which is what Prometheus reads from a file.
fn rule_file(manifest: &str) -> Result<String> {
    let mut lines = manifest.lines().skip_while(|line| *line != "spec:");
    lines.next().context("no line `spec:` in the manifest")?;
    lines
        .map(|line| {
            let inner = line.strip_prefix("  ");
            ensure!(
                line.is_empty() || inner.is_some(),
                "`spec` is not the last of the manifest: {line}"
            );
            Ok(format!("{}\n", inner.unwrap_or_default()))
        })
        .collect()
}

/// The queries of a dashboard as rules, since promtool reads no others without a server.
fn query_file(dashboard: &str) -> Result<String> {
    let dashboard: Value = serde_json::from_str(dashboard).context("read the dashboard")?;
    let mut queries = Vec::new();
    collect_queries(&dashboard, &mut queries);
    ensure!(!queries.is_empty(), "the dashboard has no query");
    let rules: Vec<String> = queries
        .iter()
        .enumerate()
        .map(|(number, query)| {
            let query = VARIABLES
                .iter()
                .fold((*query).to_owned(), |query, (name, value)| {
                    query.replace(name, value)
                });
            ensure!(!query.contains('$'), "a variable without a value: {query}");
            // A string of JSON is one of YAML.
            let query = Value::from(query);
            Ok(format!("  - record: q{number}\n    expr: {query}\n"))
        })
        .collect::<Result<_>>()?;
    let rules = rules.concat();
    Ok(format!("groups:\n- name: dashboard\n  rules:\n{rules}"))
}

fn collect_queries<'a>(value: &'a Value, queries: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str() {
                    Some(query) if name == "expr" => queries.push(query),
                    _ => collect_queries(member, queries),
                }
            }
        }
        Value::Array(members) => {
            for member in members {
                collect_queries(member, queries);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_the_spec_of_the_manifest() {
        let manifest = "kind: PrometheusRule\nspec:\n  groups:\n\n    - name: a\n";
        assert_eq!(rule_file(manifest).unwrap(), "groups:\n\n  - name: a\n");
        assert!(rule_file("kind: PrometheusRule\n").is_err());
        assert!(rule_file("spec:\n  groups:\nstatus:\n").is_err());
    }

    #[test]
    fn queries_are_found_wherever_they_are() {
        let dashboard = r#"{"panels":[{"targets":[{"expr":"a{n=~\"$node\"}[$__range]"}]},{"panels":[{"targets":[{"expr":"b"}]}]}]}"#;
        assert_eq!(
            query_file(dashboard).unwrap(),
            "groups:\n- name: dashboard\n  rules:\n  - record: q0\n    expr: \"a{n=~\\\".*\\\"}[1h]\"\n  - record: q1\n    expr: \"b\"\n"
        );
    }

    #[test]
    fn dashboard_that_cannot_be_checked_is_an_error() {
        for dashboard in [
            "",
            "{",
            "{}",
            r#"{"expr":1}"#,
            r#"{"expr":"a{b=\"$other\"}"}"#,
        ] {
            assert!(query_file(dashboard).is_err(), "{dashboard}");
        }
    }
}
