//! What keeps a rung from being had, made up: the next one is taken, and tells of the same kill.

use super::MIB;
use crate::{
    Scenario, Skip,
    expected::Expected,
    machine::Machine,
    process::Hog,
    rung::Rung,
    rungs::{Rungs, try_rung},
    watcher::Watch,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("without_function_hooks_tracepoints_are_taken", no_functions),
    Scenario::new("without_btf_the_next_rung_is_taken", no_btf).needing(gives_one_without_types),
];

fn kill(machine: &Machine, name: &str) -> Expected {
    let scene = machine.scene(name);
    scene.limit(16 * MIB);
    let victim = Hog::plain().start(&scene, machine.patience).killed();
    Expected::new(&victim, &scene)
}

fn no_functions(machine: &Machine) {
    let rung = Rung::Tracepoint;
    let mut rungs = Rungs::start_as(machine, [(rung, Watch::on(machine, rung))]);
    rungs.saw("no-function-hooks", [kill(machine, "no-functions")]);
    rungs.end();
}

/// What does without the kernel's types, best first.
fn without_types(machine: &Machine) -> Option<Rung> {
    [Rung::Format, Rung::Kmsg]
        .into_iter()
        .find(|rung| try_rung(machine, *rung).is_ok())
}

fn gives_one_without_types(machine: &Machine) -> Result<(), Skip> {
    without_types(machine)
        .map(drop)
        .ok_or_else(|| Skip("this machine has no rung that does without BTF".to_owned()))
}

fn no_btf(machine: &Machine) {
    let rung = without_types(machine).expect("looked for before");
    let arguments = ["-o", "json", "--hooks", "auto", "--btf", "/nonexistent"];
    let mut rungs = Rungs::start_as(machine, [(rung, Watch::new(machine, &arguments))]);
    rungs.saw("no-btf", [kill(machine, "no-btf")]);
    rungs.end();
}
