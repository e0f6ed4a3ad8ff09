//! What the doctor says is what `watch` does; and it disturbs no watcher, and leaves nothing behind.

use std::{
    collections::BTreeSet,
    fs, thread,
    time::{Duration, Instant},
};

use aya::programs::loaded_programs;

use super::{super::MIB, Doctor, attach, backends, given, in_a_guest};
use crate::{
    Scenario,
    confined::{Confined, Running},
    machine::Machine,
    process::Hog,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("doctor_says_of_each_backend_what_watch_does", agrees),
    Scenario::new("doctor_disturbs_no_watcher", disturbs_nobody),
    Scenario::new("doctor_leaves_no_program_behind", leaves_nothing).needing(in_a_guest),
];

/// Between two looks at what is still loaded.
const RETRY: Duration = Duration::from_millis(1);

fn agrees(machine: &Machine) {
    let root = Confined::root(machine);
    let doctor = Doctor::ask(&root, &[]);
    for backend in backends() {
        let attached = attach(&root, backend, &[]);
        assert_eq!(
            doctor.has(backend),
            attached.is_ok(),
            "{backend}: {attached:?}"
        );
    }
    let choices = ["auto"].into_iter();
    for choice in choices.chain(backends().iter().map(String::as_str)) {
        let watch = root.run(&["watch", "--backend", choice, "--timeout", "1ms"]);
        let ran = root.run(&["doctor", "--backend", choice, "-o", "json"]);
        // Wrong usage is wrong for both.
        assert_eq!(ran.code, watch.code, "{choice}: {watch:?}");
        if ran.code == Some(2) {
            continue;
        }
        let doctor = Doctor::ask(&root, &["--backend", choice]);
        assert_eq!(doctor.said["works"], watch.code == Some(0), "{choice}");
        let backend = doctor.said["backend"].as_str();
        assert_eq!(backend.is_some(), watch.code == Some(0), "{choice}");
        if let Some(backend) = backend {
            let word = format!("backend=\"{backend}\"");
            assert!(watch.stderr.contains(&word), "{word}: {}", watch.stderr);
        }
    }
}

fn disturbs_nobody(machine: &Machine) {
    let root = Confined::root(machine);
    let scene = machine.scene("doctor");
    scene.limit(16 * MIB);
    let watchers: Vec<_> = given(machine)
        .iter()
        .filter(|backend| **backend != "counters")
        .map(|backend| Running::start(&root, &["--backend", backend]))
        .collect();
    let kill = || Hog::plain().start(&scene, machine.patience).killed().pid;
    let first = kill();
    let doctor = Doctor::ask(&root, &[]);
    assert_eq!(doctor.code, Some(0), "{:#}", doctor.said);
    let pids = [first, kill()];
    for watcher in watchers {
        let ended = watcher.interrupt();
        let seen = ended
            .reports
            .iter()
            .filter_map(|report| report["victim"]["tid"].as_u64());
        let seen: Vec<_> = seen
            .filter(|tid| pids.iter().any(|pid| u64::from(*pid) == *tid))
            .collect();
        assert_eq!(seen, pids.map(u64::from), "{ended:?}");
        let complete = " 0 missed";
        assert!(ended.messages.contains(complete), "{ended:?}");
    }
}

fn leaves_nothing(machine: &Machine) {
    let probes = || fs::read_to_string("/sys/kernel/tracing/kprobe_events").unwrap_or_default();
    let (programs, events) = (programs(), probes());
    let doctor = Doctor::ask(&Confined::root(machine), &[]);
    assert!(
        given(machine).iter().any(|backend| doctor.has(backend)),
        "{:#}",
        doctor.said
    );
    assert_eq!(probes(), events);
    // The kernel frees them after a grace period.
    let deadline = Instant::now() + machine.patience;
    while !self::programs().is_subset(&programs) {
        assert!(
            Instant::now() < deadline,
            "{:?} and before {programs:?}",
            self::programs()
        );
        thread::sleep(RETRY);
    }
}

/// Ids of all that are loaded; one that goes meanwhile is left out.
fn programs() -> BTreeSet<u32> {
    loaded_programs()
        .filter_map(Result::ok)
        .map(|program| program.id())
        .collect()
}
