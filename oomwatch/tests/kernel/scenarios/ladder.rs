//! A backend is made to fail: the next one is used, and reports the same kill.

use super::MIB;
use oomwatch::model::backend::Backend;

use crate::{
    Scenario, Skip,
    backends::{Backends, try_backend},
    expected::Expected,
    machine::Machine,
    process::Hog,
    watcher::Watch,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("without_function_hooks_tracepoints_are_taken", no_functions),
    Scenario::new("without_btf_the_next_backend_is_taken", no_btf).needing(gives_the_log),
];

fn kill(machine: &Machine, name: &str) -> Expected {
    let scene = machine.scene(name);
    scene.limit(16 * MIB);
    let victim = Hog::plain().start(&scene, machine.patience).killed();
    Expected::new(&victim, &scene)
}

fn no_functions(machine: &Machine) {
    let backend = Backend::RawTracepoint;
    let mut backends = Backends::start_as(machine, [(backend, Watch::on(machine, backend))]);
    backends.saw("no-function-hooks", [kill(machine, "no-functions")]);
    backends.end();
}

fn gives_the_log(machine: &Machine) -> Result<(), Skip> {
    try_backend(machine, Backend::Kmsg).map_err(Skip)
}

fn no_btf(machine: &Machine) {
    let backend = Backend::Kmsg;
    let arguments = ["-o", "json", "--backend", "auto", "--btf", "/nonexistent"];
    let mut backends = Backends::start_as(machine, [(backend, Watch::new(machine, &arguments))]);
    backends.saw("no-btf", [kill(machine, "no-btf")]);
    backends.end();
}
