//! `docs/compatibility.md` against the kernel that these tests run on, and what `doctor` says against what `watch` does.
//!
//! A backend that this kernel does not give is left out, and it is said why.

/// Which capabilities are enough, and which are needed.
mod capabilities;
/// What the doctor says, and that it disturbs no other watcher.
mod doctor;
/// What each backend reports of a kill.
mod facts;
/// What differs from kernel to kernel.
mod kernels;
/// The kernel's lockdown, which lasts until the next boot.
mod lockdown;
/// What else a backend needs.
mod needs;

use std::{env, sync::OnceLock};

use serde_json::Value;

use crate::{
    Scenario, Skip,
    confined::Confined,
    document::{COMPATIBILITY, Table},
    machine::Machine,
};

pub(super) const ALL: &[&[Scenario]] = &[
    capabilities::ALL,
    needs::ALL,
    facts::ALL,
    doctor::ALL,
    kernels::ALL,
];
/// To be the last of all: nothing works as before.
pub(super) const LAST: &[Scenario] = lockdown::ALL;

fn table(heading: &str) -> Table {
    Table::below(COMPATIBILITY, heading)
}

/// The backends of the document, best first.
fn backends() -> &'static [String] {
    static RUNGS: OnceLock<Vec<String>> = OnceLock::new();
    RUNGS.get_or_init(|| {
        let table = table("## The backends");
        let backends = table.rows().map(|row| row.word("backend").to_owned());
        backends.collect()
    })
}

/// Those of them that root can have here.
fn given(machine: &Machine) -> &'static [&'static str] {
    static GIVEN: OnceLock<Vec<&str>> = OnceLock::new();
    GIVEN.get_or_init(|| {
        let root = Confined::root(machine);
        let mut given = Vec::new();
        for backend in backends() {
            match attach(&root, backend, &[]) {
                Ok(()) => given.push(backend.as_str()),
                Err(why) => {
                    let why = why.lines().next().unwrap_or_default();
                    eprintln!("skipped: backend {backend}: {why}");
                }
            }
        }
        given
    })
}

/// Starts `watch` on a backend, which ends at once if it could attach; else what it says of it.
fn attach(confined: &Confined<'_>, backend: &str, more: &[&str]) -> Result<(), String> {
    let arguments = [
        "watch",
        "--backend",
        backend,
        "--timeout",
        "1ms",
        "-o",
        "json",
    ];
    let ran = confined.run(&[&arguments[..], more].concat());
    match ran.code {
        Some(0) => Ok(()),
        // Wrong usage: this version does not have it.
        Some(1 | 2) if !ran.stderr.is_empty() => Err(ran.stderr.trim().to_owned()),
        _ => panic!("{arguments:?}: {ran:?}"),
    }
}

/// What the doctor says.
struct Doctor {
    code: Option<i32>,
    said: Value,
}

impl Doctor {
    fn ask(confined: &Confined<'_>, arguments: &[&str]) -> Self {
        let ran = confined.run(&[&["doctor", "-o", "json"], arguments].concat());
        let said =
            serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        Self {
            code: ran.code,
            said,
        }
    }

    fn check(&self, group: &str, name: &str) -> &Value {
        let checks = self.said["checks"].as_array().expect("a list");
        checks
            .iter()
            .find(|check| check["group"] == group && check["name"] == name)
            .unwrap_or_else(|| panic!("no check {name} of {group} in {:#}", self.said))
    }

    /// Whether it says that a backend works.
    fn has(&self, backend: &str) -> bool {
        self.check("backends", backend)["status"] == "ok"
    }

    /// All that it says of a backend.
    fn text(&self, backend: &str) -> String {
        let check = self.check("backends", backend);
        let text = |name: &str| check[name].as_str().unwrap_or_default();
        format!("{}\n{}", text("finding"), text("remedy"))
    }
}

/// Whether this machine is there for the tests alone.
fn is_guest() -> bool {
    env::var_os("OOMWATCH_SYSTEM").is_some_and(|value| value == "1")
}

fn in_a_guest(_: &Machine) -> Result<(), Skip> {
    if is_guest() {
        Ok(())
    } else {
        Err(Skip(
            "it changes the whole machine, which is not OOMWATCH_SYSTEM=1".to_owned(),
        ))
    }
}
