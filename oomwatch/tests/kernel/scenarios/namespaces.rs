//! A container's main process, by its PID namespace.

use super::MIB;
use crate::{
    Scenario,
    expected::{Expected, Trigger},
    machine::Machine,
    process::Hog,
    watcher::Watch,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("init_of_its_own_pid_namespace_is_the_main_process", init),
    Scenario::new("child_of_init_is_not_the_main_process", child),
    Scenario::new("init_of_a_nested_namespace_is_not_the_main_process", nested),
    Scenario::new(
        "namespace_with_its_init_elsewhere_says_nothing",
        init_elsewhere,
    ),
];

fn init(machine: &Machine) {
    in_namespace(machine, "init", 1, "yes");
}

fn child(machine: &Machine) {
    in_namespace(machine, "child", 2, "no");
}

fn nested(machine: &Machine) {
    in_namespace(machine, "nested", 1, "no");
}

fn in_namespace(machine: &Machine, mode: &str, ns_pid: u32, main_process: &'static str) {
    let scene = machine.scene(&format!("namespace-{mode}"));
    scene.limit(24 * MIB);
    let watcher = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let mut process = Hog::new(mode).gated().start(&scene, machine.patience);
    let victim = process.descendant(&scene);
    process.go();
    process.ended();
    let ended = watcher.interrupt();
    Expected::new(&victim, &scene)
        .numbered(ns_pid, main_process)
        .check(&ended.report());
    ended.sum();
}

/// As in a pod whose containers share their processes.
fn init_elsewhere(machine: &Machine) {
    let scene = machine.scene("namespace-shared");
    let (first, second) = (scene.make("first"), scene.make("second"));
    second.limit(24 * MIB);
    let watcher = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let mut process = Hog::new("child")
        .set("move", second.entrance_path().display())
        .gated()
        .start(&first, machine.patience);
    let victim = process.descendant(&second);
    process.go();
    process.ended();
    let ended = watcher.interrupt();
    Expected::new(&victim, &second)
        .numbered(2, "unknown")
        .triggered_by(Trigger::Victim)
        .check(&ended.report());
    ended.sum();
}
