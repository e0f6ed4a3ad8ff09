//! A backend is made to fail: the next one is used, and reports the same kill.

use std::{fs, io, path::Path};

use super::{MIB, system::guest};
use oomwatch::model::backend::Backend;

use crate::{
    Scenario, Skip,
    backends::{Backends, try_backend},
    expected::Expected,
    machine::Machine,
    process::Hog,
    report::Report,
    watcher::Watch,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("without_function_hooks_tracepoints_are_taken", no_functions),
    Scenario::new("without_btf_the_next_backend_is_taken", no_btf).needing(gives_the_log),
    Scenario::new("hooks_that_do_not_fire_are_not_taken", switched_off).needing(guest),
    Scenario::new("hooks_that_stop_firing_are_replaced", silent).needing(guest),
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

/// Switches of the kernel that leave hooks attached and silent, and the backends that do not fire then.
const SWITCHES: [(&str, &[Backend]); 2] = [
    (
        "/proc/sys/kernel/ftrace_enabled",
        &[Backend::Fentry, Backend::Kprobe],
    ),
    ("/sys/kernel/debug/kprobes/enabled", &[Backend::Kprobe]),
];

/// A switch that is off, and on again when this is dropped.
struct Off(&'static str);

impl Off {
    fn new(path: &'static str) -> io::Result<Self> {
        fs::write(path, "0")?;
        Ok(Self(path))
    }
}

impl Drop for Off {
    fn drop(&mut self) {
        let _ = fs::write(self.0, "1");
    }
}

fn switched_off(machine: &Machine) {
    for (path, backends) in SWITCHES {
        if !Path::new(path).exists() {
            eprintln!("skipped: there is no {path}");
            continue;
        }
        let _off = match Off::new(path) {
            Ok(off) => off,
            // The newest kernels have no other state.
            Err(error) => {
                eprintln!("skipped: {path}: {error}");
                continue;
            }
        };
        for &backend in backends {
            let refused = Watch::on(machine, backend).try_start();
            let why = refused.err().expect("it would be silent");
            assert!(why.contains("is 0"), "{path}: {why}");
        }
        let watcher = Watch::new(machine, &["-o", "json", "--backend", "auto"]).start();
        let kill = kill(machine, "switched-off");
        let ended = watcher.interrupt();
        assert!(
            !backends
                .iter()
                .any(|backend| backend.as_str() == ended.backend)
        );
        // Trampolines are better than the kprobes that are off.
        let says_why = ended.messages.iter().any(|line| line.contains("is 0"));
        assert!(says_why || ended.backend == Backend::Fentry.as_str());
        let reports = ended.reports();
        let report = reports
            .iter()
            .find(|report| report.pid() == kill.victim.pid);
        kill.check(report.expect("a report"));
    }
}

fn silent(machine: &Machine) {
    for (path, backends) in SWITCHES {
        // One of them for each switch: an audit interval takes its time.
        for &backend in &backends[..1] {
            if !Path::new(path).exists() || try_backend(machine, backend).is_err() {
                eprintln!("skipped: {path}, {}", backend.flag());
                continue;
            }
            let mut watcher = Watch::on(machine, backend).start();
            let off = match Off::new(path) {
                Ok(off) => off,
                // Trampolines keep it on while they are attached.
                Err(error) => {
                    eprintln!("skipped: {path} with {}: {error}", backend.flag());
                    continue;
                }
            };
            let first = kill(machine, "silent");
            let report = Report::parse(&watcher.line());
            report.is("/victim/pid", first.victim.pid);
            report.is("/backend", "kmsg");
            let second = kill(machine, "replaced");
            let report = Report::parse(&watcher.line());
            report.is("/backend", Backend::RawTracepoint.as_str());
            second.check(&report);
            drop(off);
            // The hooks fire again, and report nothing twice.
            let third = kill(machine, "on-again");
            third.check(&Report::parse(&watcher.line()));
            let ended = watcher.interrupt();
            assert_eq!(ended.lines, [b""; 0], "{ended:?}");
            assert!(ended.sum().kills >= 3);
            let word = format!("silent=\"{}\"", backend.as_str());
            assert!(
                ended.messages.iter().any(|line| line.contains(&word)),
                "{ended:?}"
            );
        }
    }
}
