//! What each rung tells of a kill: the facts that the document says, and no others.

use std::process;

use serde_json::Value;

use super::{super::MIB, given, table};
use crate::{
    Scenario,
    cgroups::{Cgroup, Hierarchy, Scene, Version},
    confined::{Confined, Running},
    document::{Row, words},
    kernel::{self, KernelLog},
    machine::Machine,
    process::{Hog, Process},
};

pub(super) const ALL: &[Scenario] = &[Scenario::new(
    "report_has_the_facts_that_the_document_says",
    facts,
)];

const POD: &str = "kubepods/burstable/pod8a4e6bd2-0f35-4c1b-9a77-2b1d5e6f7081";
const ID: &str = "3f1c0e7ab2d94c5586a1f7e2d0b9c8a7f6e5d4c3b2a190817263544536271809";
const LIMIT_BYTES: u64 = 16 * MIB;

/// What is true of these kills and of this kernel.
struct Conditions {
    version: Version,
    /// Whether the tracepoint has fields of what the victim held.
    has_fields: bool,
    /// Whether the kernel log can be read, and has the header of the kill that has most to tell.
    has_header: bool,
    has_log: bool,
}

/// What to expect of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Told,
    Untold,
    /// It may be either.
    Perhaps,
}

impl Conditions {
    fn expect(&self, word: &str) -> Expected {
        let told = |is_told| {
            if is_told {
                Expected::Told
            } else {
                Expected::Untold
            }
        };
        match word {
            "always" | "exact" | "stack" | "inferred" => Expected::Told,
            "fields" => told(self.has_fields),
            "line" => told(self.has_log),
            "header" => told(self.has_header),
            "members" => told(self.version == Version::V2),
            "proc" => Expected::Perhaps,
            "node" | "absent" => Expected::Untold,
            other => panic!("an unknown word: {other}"),
        }
    }

    /// The first of several ways that does tell it.
    fn expect_cell(&self, row: Row<'_>, title: &str) -> Expected {
        // Facts that only some kills have, and these cannot on cgroup v1.
        let only_v2 = ["victim.leaf_cgroup", "group_cgroup"];
        if self.version == Version::V1 && only_v2.contains(&row.word("fact")) {
            return Expected::Untold;
        }
        let ways = row.cell(title).split(", else ");
        let expected: Vec<_> = ways.map(|word| self.expect(word)).collect();
        [Expected::Told, Expected::Perhaps]
            .into_iter()
            .find(|wanted| expected.contains(wanted))
            .unwrap_or(Expected::Untold)
    }
}

fn facts(machine: &Machine) {
    let root = Confined::root(machine);
    let mut log = KernelLog::open().ok();
    let table = table("### Facts");
    let columns: Vec<_> = table.titles()[1..]
        .iter()
        .flat_map(|title| {
            words(title)
                .into_iter()
                .map(move |rung| (title.as_str(), rung))
        })
        .filter(|(_, rung)| given(machine).contains(rung))
        .collect();
    let watchers: Vec<_> = columns
        .iter()
        .map(|(_, rung)| Running::start(&root, &["--hooks", rung, "--cmdline"]))
        .collect();
    let pids = kills(machine);
    let has_header = log
        .as_mut()
        .is_some_and(|log| kernel::oom_kill_line(&log.texts(), pids[0]).is_some());
    let has_log = given(machine).contains(&"kmsg");
    let conditions = Conditions {
        version: machine.version(),
        has_fields: kernel::marks_with_fields(),
        has_header: has_header && has_log,
        has_log,
    };
    for ((title, rung), watcher) in columns.into_iter().zip(watchers) {
        let ended = watcher.interrupt();
        let reports: Vec<_> = ended
            .reports
            .iter()
            .filter(|report| pids.iter().any(|pid| report["victim"]["tid"] == *pid))
            .collect();
        assert_eq!(reports.len(), pids.len(), "{rung}: {ended:?}");
        for row in table.rows() {
            let fact = row.word("fact");
            let is_told = reports.iter().any(|report| tells(report, fact));
            let expected = conditions.expect_cell(row, title);
            let is_right = match expected {
                Expected::Told => is_told,
                Expected::Untold => !is_told,
                Expected::Perhaps => true,
            };
            assert!(
                is_right,
                "{fact} on {rung}: {expected:?} of\n{}",
                lines(&reports)
            );
        }
    }
}

fn lines(reports: &[&Value]) -> String {
    let lines: Vec<_> = reports.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn tells(report: &Value, fact: &str) -> bool {
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

/// Kills that between them have every fact, the first of a container in a pod.
fn kills(machine: &Machine) -> Vec<u32> {
    let scene = machine.scene("facts");
    let kill = |cgroup: &Cgroup| Hog::plain().start(cgroup, machine.patience).killed().pid;
    let container = scene.make_all(POD).make(ID);
    let slice = slice(machine);
    let unit = slice.make("nginx.service");
    let namespace = scene.make("namespace");
    for cgroup in [&container, &unit, &namespace] {
        cgroup.limit(LIMIT_BYTES);
    }
    let mut pids = vec![kill(&container), kill(&unit)];
    let mut process = Hog::new("init").gated().start(&namespace, machine.patience);
    pids.push(process.descendant(&namespace).pid);
    process.go();
    process.ended();
    if machine.version() == Version::V2 {
        let above = scene.make("above");
        above.limit(LIMIT_BYTES);
        let leaf = above.make_without_memory("leaf");
        pids.push(kill(&leaf));
        let group = scene.make("group");
        group.limit(LIMIT_BYTES);
        group.write("memory.oom.group", 1);
        let mut holder = Hog::holding(MIB).start(&group, machine.patience);
        holder.ready();
        pids.push(kill(&group));
        pids.push(Process::killed(holder).pid);
    }
    pids
}
