//! Checks to lines, or to JSON: pure.
//!
//! The JSON is one object:
//!
//! | key | value |
//! |---|---|
//! | `schema` | `oomwatch-doctor/v1`; keys may be added to it, never renamed |
//! | `version` | of the command |
//! | `works` | whether `oomwatch watch` works here |
//! | `backend` | the backend that it would use: `fentry`, `kprobe`, `raw_tracepoint`, `kmsg`, `counters`; left out if it does not work |
//! | `verdict` | the same as a sentence |
//! | `checks` | a list of objects: `group` (`kernel`, `backends`, `cgroups`, `privileges`, `sources`, `runtimes`), `name`, `status` (`ok`, `info`, `warn`, `fail`), `finding` and, where there is something to do, `remedy`. Each backend is one of the group `backends`, with its own name, and `ok` where it can be taken |

use std::fmt::Write as _;

use serde::Serialize;

use super::{
    Diagnosis,
    check::{Check, Group, Status},
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

/// Lines by topic and a verdict, with a newline at the end.
pub(super) fn text(diagnosis: &Diagnosis, colour: Color) -> String {
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
            text += &painted(title, BOLD, colour);
            text.push('\n');
            let mut last = None;
            for check in checks {
                push(&mut text, check, last, width, colour);
                last = check.remedy.as_deref().or(last);
            }
            text.push('\n');
        }
    }
    let style = if diagnosis.works() { GREEN } else { RED };
    text += &painted(&verdict(diagnosis), style, colour);
    text.push('\n');
    text
}

/// One line of JSON with its newline, printable on a terminal.
pub(super) fn json(diagnosis: &Diagnosis) -> Result<String, serde_json::Error> {
    let works = diagnosis.works();
    let backend = diagnosis.backend.filter(|_| works);
    let json = serde_json::to_string(&Doctor {
        schema: "oomwatch-doctor/v1",
        version: env!("CARGO_PKG_VERSION"),
        works,
        backend,
        verdict: verdict(diagnosis),
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
    verdict: String,
    checks: &'a [Check],
}

/// The whole in one sentence.
fn verdict(diagnosis: &Diagnosis) -> String {
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
        warned if warned.is_empty() => format!("oomwatch watch works here, on {backend}"),
        warned => format!("oomwatch watch works here, on {backend}; see {warned}"),
    }
}

/// `last` is the topic's last remedy, which is not said twice.
fn push(text: &mut String, check: &Check, last: Option<&str>, width: usize, colour: Color) {
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
    let word = painted(&format!("{word:4}"), style, colour);
    // A file's name may hold anything.
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

fn painted(text: &str, style: &str, colour: Color) -> String {
    match colour {
        Color::Never => text.to_owned(),
        Color::Always => format!("{style}{text}{RESET}"),
    }
}

#[cfg(test)]
mod tests;
