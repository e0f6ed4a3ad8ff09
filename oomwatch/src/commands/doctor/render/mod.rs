//! Renders a diagnosis as text or JSON. Pure.
//!
//! The JSON is one object:
//!
//! | key | value |
//! |---|---|
//! | `schema` | `oomwatch-doctor/v1`; keys may be added, never renamed |
//! | `version` | the version of oomwatch |
//! | `works` | whether `oomwatch watch` works here |
//! | `backend` | the backend that it selects: `fentry`, `kprobe`, `raw_tracepoint`, `kmsg`, `counters`; absent if it does not work |
//! | `summary` | the same as a sentence |
//! | `checks` | a list of objects: `group` (`kernel`, `backends`, `cgroups`, `privileges`, `sources`, `runtimes`), `name`, `status` (`ok`, `info`, `warn`, `fail`), `finding` and, if there is something to do, `remedy`. The group `backends` has one check per backend, with the backend's name, and status `ok` if it works |

use std::fmt::Write as _;

use serde::Serialize;

use super::{
    check::{Check, Group, Status},
    diagnosis::Diagnosis,
};
use crate::{
    deliver::color::Color,
    model::backend::Backend,
    sys::escape::{escape, escape_json},
};

const GROUPS: [(Group, &str); 6] = [
    (Group::Kernel, "Kernel"),
    (Group::Backends, "Backends"),
    (Group::Cgroups, "Cgroups"),
    (Group::Privileges, "Privileges"),
    (Group::Sources, "Sources"),
    (Group::Runtimes, "Container runtimes"),
];

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[1;31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

/// The checks by topic and a summary, with a newline at the end.
pub(super) fn text(diagnosis: &Diagnosis, color: Color) -> String {
    let checks = &diagnosis.checks;
    let width = checks
        .iter()
        .map(|check| check.name.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (group, title) in GROUPS {
        let mut checks = checks
            .iter()
            .filter(|check| check.group == group)
            .peekable();
        if checks.peek().is_some() {
            text += &styled(title, BOLD, color);
            text.push('\n');
            let mut last = None;
            for check in checks {
                push_check(&mut text, check, last, width, color);
                last = check.remedy.as_deref().or(last);
            }
            text.push('\n');
        }
    }
    let style = if diagnosis.works() { GREEN } else { RED };
    text += &styled(&summary(diagnosis), style, color);
    text.push('\n');
    text
}

/// One line of JSON with its newline, safe to print on a terminal.
pub(super) fn json(diagnosis: &Diagnosis) -> Result<String, serde_json::Error> {
    let works = diagnosis.works();
    let backend = diagnosis.backend.filter(|_| works);
    let json = serde_json::to_string(&Doctor {
        schema: "oomwatch-doctor/v1",
        version: env!("CARGO_PKG_VERSION"),
        works,
        backend,
        summary: summary(diagnosis),
        checks: &diagnosis.checks,
    })?;
    Ok(escape_json(&json) + "\n")
}

#[derive(Serialize)]
struct Doctor<'a> {
    schema: &'static str,
    version: &'static str,
    works: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<Backend>,
    summary: String,
    checks: &'a [Check],
}

/// The result in one sentence.
fn summary(diagnosis: &Diagnosis) -> String {
    let named = |status| {
        let checks = diagnosis.checks.iter();
        checks
            .filter(|check| check.status == status)
            .map(|check| check.name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let failed = named(Status::Fail);
    let backend = match diagnosis.backend {
        Some(backend) if failed.is_empty() => backend.in_words(),
        _ => return format!("oomwatch watch does not work here: see {failed}"),
    };
    match named(Status::Warn) {
        warned if warned.is_empty() => format!("oomwatch watch works here, with {backend}"),
        warned => format!("oomwatch watch works here, with {backend}; see {warned}"),
    }
}

/// Appends a check. `last` is the last remedy of the topic, which is not repeated.
fn push_check(text: &mut String, check: &Check, last: Option<&str>, width: usize, color: Color) {
    let Check {
        group: _,
        name,
        status,
        finding,
        remedy,
    } = check;
    let (word, style) = match status {
        Status::Ok => ("ok", GREEN),
        Status::Info => ("info", DIM),
        Status::Warn => ("warn", YELLOW),
        Status::Fail => ("FAIL", RED),
    };
    let word = styled(&format!("{word:4}"), style, color);
    // A file name may contain any byte.
    let mut lines = finding.lines().map(|line| escape(line.as_bytes()));
    let first = lines.next().unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  {word}  {name:width$}  {first}");
    for line in lines {
        let _ = writeln!(text, "{:indent$}{line}", "", indent = width + 12);
    }
    if let Some(remedy) = remedy {
        let remedy = match last {
            Some(last) if last == remedy => "as above".to_owned(),
            _ => escape(remedy.as_bytes()),
        };
        let _ = writeln!(text, "{:indent$}remedy: {remedy}", "", indent = width + 10);
    }
}

fn styled(text: &str, style: &str, color: Color) -> String {
    match color {
        Color::Never => text.to_owned(),
        Color::Always => format!("{style}{text}{RESET}"),
    }
}

#[cfg(test)]
mod tests;
