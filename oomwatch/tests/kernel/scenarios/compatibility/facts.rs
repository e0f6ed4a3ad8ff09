//! What each backend reports of a kill: the facts that the document says, and no others.

use std::process;

use serde_json::Value;

use super::{super::MIB, given, table};
use crate::{
    Scenario,
    cgroups::{Cgroup, Hierarchy, Scene, Version},
    confined::{Confined, Running},
    document::{Row, Table, words},
    kernel::{self, KernelLog},
    machine::Machine,
    process::Hog,
};

pub(super) const ALL: &[Scenario] = &[Scenario::new(
    "report_has_the_facts_that_the_document_says",
    facts,
)];

const POD: &str = "kubepods/burstable/pod8a4e6bd2-0f35-4c1b-9a77-2b1d5e6f7081";
const ID: &str = "3f1c0e7ab2d94c5586a1f7e2d0b9c8a7f6e5d4c3b2a190817263544536271809";
const LIMIT_BYTES: u64 = 16 * MIB;

/// What to expect of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Present,
    Perhaps,
    Unavailable,
}

/// What is true of some kills and of this kernel.
struct Conditions {
    version: Version,
    /// Whether `watch` reads the kernel log.
    has_log: bool,
    /// Whether the log has the headers of these kills.
    headers: Expected,
}

impl Conditions {
    fn expect(&self, word: &str) -> Expected {
        let present = |is_present| {
            if is_present {
                Expected::Present
            } else {
                Expected::Unavailable
            }
        };
        match word {
            "always" | "exact" | "stack" | "inferred" => Expected::Present,
            "header" if self.has_log => self.headers,
            "group line" if self.has_log && self.version == Version::V1 => Expected::Perhaps,
            "line" | "group line" => present(self.has_log),
            "proc" => Expected::Perhaps,
            "header" | "pod" | "absent" => Expected::Unavailable,
            other => panic!("an unknown word: {other}"),
        }
    }

    /// The best of several ways.
    fn expect_cell(&self, row: Row<'_>, title: &str) -> Expected {
        // Facts that some kills have, but none on cgroup v1.
        let only_v2 = ["victim.leaf_cgroup", "group_cgroup"];
        if self.version == Version::V1 && only_v2.contains(&row.word("fact")) {
            return Expected::Unavailable;
        }
        let ways = row.cell(title).split(", else ");
        let expected: Vec<_> = ways.map(|word| self.expect(word)).collect();
        [Expected::Present, Expected::Perhaps]
            .into_iter()
            .find(|wanted| expected.contains(wanted))
            .unwrap_or(Expected::Unavailable)
    }
}

/// Function hooks have kills of their own: on 5.10 a kretprobe cuts the stacks that others see.
fn facts(machine: &Machine) {
    let table = table("### Facts");
    let (functions, others): (Vec<_>, Vec<_>) = table.titles()[1..]
        .iter()
        .map(String::as_str)
        .partition(|title| words(title).contains(&"kprobe"));
    // The headers of the first are not yet withheld.
    for titles in [others, functions] {
        check(machine, &table, &titles);
    }
}

fn check(machine: &Machine, table: &Table, titles: &[&str]) {
    let root = Confined::root(machine);
    let mut log = KernelLog::open().ok();
    let mut watchers = Vec::new();
    for title in titles {
        for backend in words(title) {
            if given(machine).contains(&backend) {
                let watcher = Running::start(&root, &["--backend", backend, "--cmdline"]);
                watchers.push((*title, backend, watcher));
            }
        }
    }
    let incidents = kills(machine);
    let conditions = Conditions {
        version: machine.version(),
        has_log: given(machine).contains(&"kmsg"),
        headers: headers(log.as_mut(), &incidents),
    };
    let pids = incidents.concat();
    for (title, backend, watcher) in watchers {
        let ended = watcher.interrupt();
        let is_ours = |report: &&Value| pids.iter().any(|pid| report["victim"]["tid"] == *pid);
        let reports: Vec<_> = ended.reports.iter().filter(is_ours).collect();
        assert_eq!(reports.len(), pids.len(), "{backend}: {ended:?}");
        for row in table.rows() {
            let fact = row.word("fact");
            let is_present = reports.iter().any(|report| has_fact(report, fact));
            let expected = conditions.expect_cell(row, title);
            let is_right = match expected {
                Expected::Present => is_present,
                Expected::Perhaps => true,
                Expected::Unavailable => !is_present,
            };
            assert!(
                is_right,
                "{fact} on {backend}: {expected:?} of\n{}",
                lines(&reports)
            );
        }
    }
}

fn headers(log: Option<&mut KernelLog>, incidents: &[Vec<u32>]) -> Expected {
    let texts = log.map(KernelLog::texts).unwrap_or_default();
    let has_header = |pids: &&Vec<u32>| {
        pids.iter()
            .any(|pid| kernel::oom_kill_line(&texts, *pid).is_some())
    };
    match incidents.iter().filter(has_header).count() {
        0 => Expected::Unavailable,
        count if count == incidents.len() => Expected::Present,
        _ => Expected::Perhaps,
    }
}

fn lines(reports: &[&Value]) -> String {
    let lines: Vec<_> = reports.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn has_fact(report: &Value, fact: &str) -> bool {
    let place = format!("/{}", fact.replace('.', "/"));
    let name = fact.rsplit('.').next().unwrap_or_default();
    let is_missing = |missing: &Vec<Value>| missing.iter().any(|missing| *missing == name);
    report
        .pointer(&place)
        .is_some_and(|value| *value != "unknown")
        && !report["missing"].as_array().is_some_and(is_missing)
}

/// A slice is one at the root only.
fn slice(machine: &Machine) -> Scene {
    let top = Hierarchy::find("memory").expect("found before").root();
    let name = format!("oomwatch_test_{}.slice", process::id());
    Scene::new(top.make(name), machine.patience)
}

/// Kills that between them have every fact, by incident.
fn kills(machine: &Machine) -> Vec<Vec<u32>> {
    let scene = machine.scene("facts");
    let kill = |cgroup: &Cgroup| Hog::plain().start(cgroup, machine.patience).killed().pid;
    let container = scene.make_all(POD).make(ID);
    let slice = slice(machine);
    let unit = slice.make("nginx.service");
    let namespace = scene.make("namespace");
    for cgroup in [&container, &unit, &namespace] {
        cgroup.limit(LIMIT_BYTES);
    }
    let mut incidents = vec![vec![kill(&container)], vec![kill(&unit)]];
    let mut process = Hog::new("init").gated().start(&namespace, machine.patience);
    incidents.push(vec![process.descendant(&namespace).pid]);
    process.go();
    process.ended();
    if machine.version() == Version::V2 {
        let above = scene.make("above");
        above.limit(LIMIT_BYTES);
        let leaf = above.make_without_memory("leaf");
        incidents.push(vec![kill(&leaf)]);
        let group = scene.make("group");
        group.limit(LIMIT_BYTES);
        group.write("memory.oom.group", 1);
        let mut holder = Hog::holding(MIB).start(&group, machine.patience);
        holder.ready();
        incidents.push(vec![kill(&group), holder.killed().pid]);
    }
    incidents
}
