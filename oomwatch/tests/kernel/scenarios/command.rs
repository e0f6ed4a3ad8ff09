//! The command itself with real kills: how it ends, which kills it shows, and that a slow or absent reader does no harm.

use std::os::fd::AsRawFd as _;

use rustix::process::Signal;
use serde_json::json;

use super::MIB;
use crate::{
    Scenario,
    cgroups::Cgroup,
    expected::Expected,
    machine::Machine,
    process::{Hog, Victim},
    report::Report,
    watcher::Watch,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("count_ends_the_command_with_success", count),
    Scenario::new("timeout_ends_the_command_with_success", timeout),
    Scenario::new("sigterm_ends_the_command_as_interrupted", |machine| {
        terminated(machine, Signal::TERM);
    }),
    Scenario::new("sighup_ends_the_command_as_interrupted", |machine| {
        // Under nohup the tests ignore it, and so would the command.
        // SAFETY: takes numbers.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) };
        terminated(machine, Signal::HUP);
    }),
    Scenario::new("reader_that_goes_away_is_no_failure", closed_pipe),
    Scenario::new("slow_reader_loses_nothing", slow_reader),
    Scenario::new(
        "reader_that_does_not_read_keeps_the_command_from_no_end",
        unread,
    ),
    Scenario::new("filters_show_what_fits_and_nothing_else", filters),
    Scenario::new(
        "arguments_are_the_victims_where_they_are_asked_for",
        arguments,
    ),
];

const LIMIT_BYTES: u64 = 16 * MIB;

fn kill(machine: &Machine, cgroup: &Cgroup) -> Victim {
    Hog::plain().start(cgroup, machine.patience).killed()
}

/// Kills that do not pass the filter do not count.
fn count(machine: &Machine) {
    let scene = machine.scene("count");
    let (shown, hidden) = (scene.make("shown"), scene.make("hidden"));
    shown.limit(LIMIT_BYTES);
    hidden.limit(LIMIT_BYTES);
    let watcher = Watch::new(machine, &["-o", "json", "--count", "2"])
        .below(&shown)
        .start();
    let victims = [&hidden, &shown, &hidden, &shown, &shown]
        .map(|cgroup| (kill(machine, cgroup), cgroup.text()));
    let ended = watcher.end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let pids: Vec<_> = ended.reports().iter().map(Report::pid).collect();
    assert_eq!(pids, [victims[1].0.pid, victims[3].0.pid]);
    ended.sum();
}

fn timeout(machine: &Machine) {
    let scene = machine.scene("timeout");
    let watcher = Watch::new(machine, &["-o", "json", "--timeout", "100ms"])
        .below(&scene)
        .start();
    let ended = watcher.end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.lines.is_empty(), "{ended:?}");
    ended.sum();
}

fn terminated(machine: &Machine, signal: Signal) {
    let scene = machine.scene("terminated");
    scene.limit(LIMIT_BYTES);
    let watcher = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let victim = kill(machine, &scene);
    watcher.signal(signal);
    let ended = watcher.end();
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    Expected::new(&victim, &scene).check(&ended.report());
    ended.sum();
}

fn closed_pipe(machine: &Machine) {
    let scene = machine.scene("closed-pipe");
    scene.limit(LIMIT_BYTES);
    let watchers = ["text", "wide", "json"].map(|output| {
        let arguments = ["-o", output, "--no-header"];
        let mut watcher = Watch::new(machine, &arguments).below(&scene).start_unread();
        watcher.close();
        watcher
    });
    kill(machine, &scene);
    for watcher in watchers {
        let ended = watcher.end();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        ended.sum();
    }
}

/// Kills wait in the ring while the pipe is not read.
fn slow_reader(machine: &Machine) {
    let scene = machine.scene("slow-reader");
    scene.limit(LIMIT_BYTES);
    let mut watcher = Watch::new(machine, &["-o", "json"])
        .below(&scene)
        .start_unread();
    // One page: a few reports fill it.
    let pipe = watcher.pipe().as_raw_fd();
    // SAFETY: takes numbers.
    let size = unsafe { libc::fcntl(pipe, libc::F_SETPIPE_SZ, 4096) };
    assert!((1..=65536).contains(&size), "make the pipe small: {size}");
    let victims = [(); 12].map(|()| kill(machine, &scene));
    watcher.listen();
    for victim in &victims {
        Expected::new(victim, &scene).check(&Report::parse(&watcher.line()));
    }
    let ended = watcher.interrupt();
    assert!(ended.lines.is_empty(), "{ended:?}");
    ended.sum();
}

/// A pipe of one page that is full and stays so.
fn unread(machine: &Machine) {
    let scene = machine.scene("unread");
    scene.limit(LIMIT_BYTES);
    for (arguments, signal, code) in [
        (&["-o", "json"][..], Some(Signal::INT), 130),
        (&["-o", "json", "--timeout", "2s"], None, 0),
    ] {
        let watcher = Watch::new(machine, arguments).start_unread();
        let pipe = watcher.pipe().as_raw_fd();
        // SAFETY: takes numbers.
        let size = unsafe { libc::fcntl(pipe, libc::F_SETPIPE_SZ, 4096) };
        assert!((1..=65536).contains(&size), "make the pipe small: {size}");
        for _ in 0..12 {
            kill(machine, &scene);
        }
        if let Some(signal) = signal {
            watcher.signal(signal);
        }
        let ended = watcher.end();
        assert_eq!(ended.status.code(), Some(code), "{ended:?}");
        ended.sum();
    }
}

fn filters(machine: &Machine) {
    let id = "3f1c0e7ab2d94c5586a1f7e2d0b9c8a7f6e5d4c3b2a190817263544536271809";
    let scene = machine.scene("filters");
    let container = scene.make_all(&format!("kubepods/podabc/{id}"));
    let plain = scene.make("plain");
    let similar = scene.make("plain2");
    for cgroup in [&container, &plain, &similar] {
        cgroup.limit(LIMIT_BYTES);
    }
    let path = |cgroup: &Cgroup| cgroup.text().to_owned();
    let everywhere = path(&scene);
    let watchers = [
        (vec!["--cgroup", &everywhere], vec![0, 1, 2]),
        (
            vec!["--cgroup", &everywhere, "--scope", "memcg"],
            vec![0, 1, 2],
        ),
        (vec!["--cgroup", &everywhere, "--scope", "system"], vec![]),
        (vec!["--cgroup", &format!("{everywhere}/plain")], vec![1]),
        (
            vec!["--cgroup", &format!("{everywhere}/kubepods/")],
            vec![0],
        ),
        (vec!["--cgroup", &format!("{everywhere}/elsewhere")], vec![]),
        (
            vec!["--cgroup", &everywhere, "--container", &id[..12]],
            vec![0],
        ),
        (vec!["--cgroup", &everywhere, "--container", "4f1c"], vec![]),
        (
            vec!["--cgroup", &everywhere, "--namespace", "default"],
            vec![],
        ),
    ]
    .map(|(filter, shown)| {
        let arguments = [&["-o", "json"], &filter[..]].concat();
        let watcher = Watch::new(machine, &arguments)
            .kubelet_below(&scene)
            .start();
        (watcher, format!("{filter:?}"), shown)
    });
    let pids = [&container, &plain, &similar].map(|cgroup| kill(machine, cgroup).pid);
    for (watcher, filter, shown) in watchers {
        let ended = watcher.interrupt();
        let found: Vec<_> = ended.reports().iter().map(Report::pid).collect();
        let expected: Vec<_> = shown.into_iter().map(|index: usize| pids[index]).collect();
        assert_eq!(found, expected, "{filter}: {ended:?}");
        // What is not shown counts all the same.
        ended.sum();
    }
}

/// They may be gone by the time they are read; then they are absent, never another process's.
fn arguments(machine: &Machine) {
    let scene = machine.scene("arguments");
    scene.limit(LIMIT_BYTES);
    let watcher = Watch::new(machine, &["-o", "json", "--cmdline"])
        .below(&scene)
        .start();
    let victims = [(); 5].map(|()| {
        Hog::plain()
            .named(b"\xff%s\\")
            .start(&scene, machine.patience)
            .killed()
    });
    let reports = watcher.interrupt().reports();
    assert_eq!(reports.len(), victims.len(), "{reports:?}");
    for (victim, report) in victims.iter().zip(&reports) {
        Expected::new(victim, &scene).check(report);
        let Some(cmdline) = report.at("/victim/cmdline") else {
            continue;
        };
        let lossy: Vec<_> = victim
            .arguments
            .iter()
            .map(|argument| String::from_utf8_lossy(argument))
            .collect();
        assert_eq!(*cmdline, json!(lossy), "{report:?}");
        let hex: Vec<_> = victim
            .arguments
            .iter()
            .map(|argument| hex(argument))
            .collect();
        report.is("/victim/cmdline_hex", json!(hex));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
