//! Checks alert rules and dashboard with promtool: the rules' syntax, their unit tests, and the dashboard's queries.
//!
//! promtool is the one in `PATH`, else Debian's, unpacked below the target folder: installing its package would start a
//! Prometheus on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::apt::{self, Apt, Archive};
use crate::cargo::Workspace;
use crate::exec;
use crate::install::{How, Install};

/// Folder of the rules and the dashboard.
const FOLDER: &str = "deploy/monitoring";

const PROMTOOL: &str = "promtool";

/// A release whose promtool runs on later ones as well.
const SUITE: &str = "bookworm";

/// Values in place of Grafana's variables.
const VARIABLES: [(&str, &str); 4] = [
    ("$__rate_interval", "5m"),
    ("$__range", "1h"),
    ("$namespace", ".*"),
    ("$node", ".*"),
];

/// Returns the path of promtool, fetching it if needed.
pub(crate) fn prepare(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(promtool) = find(workspace) {
        return Ok(promtool);
    }
    let folder = folder(workspace);
    let promtool = folder.join(PROMTOOL);
    fetch(&folder, &promtool).context("promtool not found, and it could not be fetched")?;
    Ok(promtool)
}

/// What [`prepare`] would fetch.
pub(crate) fn missing(workspace: &Workspace) -> Option<Install> {
    find(workspace).is_none().then(|| Install {
        what: PROMTOOL.to_owned(),
        how: How::Unpack,
        seconds: 30,
    })
}

fn find(workspace: &Workspace) -> Option<PathBuf> {
    let own = folder(workspace).join(PROMTOOL);
    exec::find(PROMTOOL).or_else(|| own.exists().then_some(own))
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join(PROMTOOL)
}

fn fetch(folder: &Path, promtool: &Path) -> Result<()> {
    let apt = Apt::update(&folder.join("apt"), Archive::Main, SUITE)?;
    let candidates = apt.candidates("^prometheus$")?;
    let candidate = candidates.first().context("apt lists no version of it")?;
    let package = apt.download(candidate, folder)?;
    let unpacked = folder.join("unpacked");
    apt::unpack(&package, &unpacked)?;
    fs::remove_file(&package).with_context(|| format!("failed to remove {}", package.display()))?;
    let program = unpacked.join("usr/bin/promtool");
    // Moved last, so that an incomplete one is never used.
    fs::rename(&program, promtool)
        .with_context(|| format!("failed to move {}", program.display()))?;
    fs::remove_dir_all(&unpacked)
        .with_context(|| format!("failed to remove {}", unpacked.display()))
}

/// Runs promtool on the rules, their tests and the dashboard's queries.
pub(crate) fn check(workspace: &Workspace, promtool: &Path) -> Result<()> {
    let from = workspace.root.join(FOLDER);
    let into = workspace.target.join("rules");
    fs::create_dir_all(&into).with_context(|| format!("failed to create {}", into.display()))?;
    let read = |name: &str| {
        let path = from.join(name);
        fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
    };
    let write = |name: &str, text: &str| {
        let path = into.join(name);
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
    };
    // The names that the rules' tests and the messages of promtool use.
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
                "`spec` is not the last part of the manifest: {line}"
            );
            Ok(format!("{}\n", inner.unwrap_or_default()))
        })
        .collect()
}

/// The queries of a dashboard as rules: promtool checks no other queries without a server.
fn query_file(dashboard: &str) -> Result<String> {
    let dashboard: Value =
        serde_json::from_str(dashboard).context("failed to parse the dashboard")?;
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
            ensure!(
                !query.contains('$'),
                "unknown variable in the query {query}"
            );
            // A JSON string is a YAML string.
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
