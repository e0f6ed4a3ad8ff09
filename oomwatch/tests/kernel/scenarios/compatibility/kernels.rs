//! What differs from kernel to kernel, as the table of those that were run has it.

use std::fs;

use super::{super::MIB, Doctor, given, table};
use crate::{
    Scenario, Skip,
    cgroups::Version,
    confined::{Confined, Devices, Running},
    kernel,
    machine::Machine,
    process::Hog,
};

pub(super) const ALL: &[Scenario] =
    &[Scenario::new("kernel_is_as_the_document_says", kernel_row).needing(debian)];

/// Only Debian's kernels stand in the table: others are built otherwise.
fn debian(_: &Machine) -> Result<(), Skip> {
    match version() {
        Some(_) => Ok(()),
        None => Err(Skip("not a kernel of Debian's".to_owned())),
    }
}

/// `5.10.218` of `… #1 SMP Debian 5.10.218-1 (2024-06-01)`.
fn version() -> Option<String> {
    let text = fs::read_to_string("/proc/version").expect("read the version");
    let (_, rest) = text.rsplit_once(" Debian ")?;
    let end = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
    Some(rest[..end].to_owned())
}

fn numbers(version: &str) -> Vec<u32> {
    version
        .split('.')
        .map(|number| number.parse().expect("a number"))
        .collect()
}

fn kernel_row(machine: &Machine) {
    let running = version().expect("a version");
    let table = table("## Kernels");
    // Its own line, else the last one of a series that is not newer.
    let exact = table.rows().find(|row| row.cell("kernel") == running);
    let series = || {
        let rows = table
            .rows()
            .filter(|row| numbers(row.cell("kernel")).len() == 2);
        rows.filter(|row| numbers(row.cell("kernel")) <= numbers(&running))
            .last()
    };
    let row = exact.or_else(series).expect("a line for this kernel");
    let doctor = Doctor::ask(&Confined::root(machine), &["--backend", "raw-tracepoint"]);
    for backend in ["fentry", "kprobe", "raw-tracepoint"] {
        let cell = row.cell(&format!("`{backend}`"));
        assert_eq!(
            yes(given(machine).contains(&backend)),
            cell,
            "{backend} on {running}"
        );
    }
    let format = "/sys/kernel/tracing/events/oom/mark_victim/format";
    let fields = fs::read_to_string(format).expect("read the format of mark_victim");
    let layout = if fields.contains("anon_rss") {
        "the task"
    } else {
        "a thread"
    };
    assert_eq!(layout, row.cell("`mark_victim` has"), "{running}");
    let btf = &doctor.check("kernel", "BTF")["finding"];
    let has_lock = !btf.as_str().expect("a finding").contains("memcg_oom_lock");
    assert_eq!(yes(has_lock), row.cell("oom_lock"), "{running}");
    assert_eq!(
        yes(kernel::locks_maps()),
        row.cell("maps are locked memory"),
        "{running}"
    );
    let scene = machine.scene("events");
    scene.limit(16 * MIB);
    let root = Confined::root(machine);
    // The kernel log would state it too.
    let without_log = Confined {
        devices: Devices::Closed,
        ..root
    };
    let tracepoint = Running::start(&without_log, &["--backend", "raw-tracepoint"]);
    let kprobe = Running::start(&root, &["--backend", "kprobe"]);
    let pid = Hog::plain().start(&scene, machine.patience).killed().pid;
    kprobe.interrupt();
    let reports = tracepoint.interrupt().reports;
    let mut ours = reports
        .iter()
        .filter(|report| report["victim"]["pid"] == pid);
    let is_cut = ours.next().expect("a report")["constraint"].is_null();
    assert_eq!(
        yes(is_cut),
        row.cell("kretprobes cut stacks"),
        "{running}: {reports:?}"
    );
    // What v1 counts is the same on all of them.
    let (file, counts_groups) = match machine.version() {
        Version::V1 => ("memory.oom_control", "no"),
        Version::V2 => ("memory.events", row.cell("group kills counted")),
    };
    let events = scene.read(file);
    assert!(events.lines().any(|line| line == "oom_kill 1"), "{events}");
    assert_eq!(
        yes(events.contains("oom_group_kill")),
        counts_groups,
        "{running}"
    );
}

fn yes(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}
