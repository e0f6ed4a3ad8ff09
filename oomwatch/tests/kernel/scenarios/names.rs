//! Names that processes and cgroups choose to do harm: JSON gives the bytes back, and no line carries a control character.

use serde_json::json;

use super::MIB;
use crate::{
    Scenario, ended::Ended, expected::Expected, machine::Machine, process::Hog, watcher::Watch,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("hostile_process_names_do_no_harm", process_names),
    Scenario::new("hostile_cgroup_names_do_no_harm", cgroup_names),
    Scenario::new("path_too_long_for_a_record_is_absent_and_said", long_path),
    Scenario::new(
        "limits_too_many_for_a_record_are_said_and_none_is_guessed",
        deep_path,
    ),
];

/// A process's name has 15 bytes.
const PROCESS_NAMES: [&[u8]; 12] = [
    b"a\nb",
    b"\x1b[31mred\x1b[0m",
    b"%s%n%d",
    b"a) total-vm:1kB",
    b",pid=1,uid=0",
    b"\xff\xfe\x80",
    b"back\\slash\\x41",
    b"\"quoted\",{}",
    "\u{202e}kcab".as_bytes(),
    "\u{9b}31m".as_bytes(),
    b"\r\t\x07\x08\x7f",
    b"",
];

/// A cgroup's name may have any byte but `/`, NUL and a newline, which the kernel refuses.
const CGROUP_NAMES: [&[u8]; 9] = [
    b"\x1b[31mred\x1b[0m",
    b"%s%n%d",
    b"a) (b",
    b"x,task_memcg=y,task=z,pid=1,uid=0",
    b"\xff\xfe\x80",
    b"back\\x2dslash\\",
    b"with space\t\"quoted\"",
    "\u{202e}kcab \u{9b}31m".as_bytes(),
    b"\r\x07\x08\x7f",
];

const LIMIT_BYTES: u64 = 16 * MIB;

/// No character moves a cursor or changes a colour or a direction.
fn check_harmless(ended: &Ended, kills: usize) {
    let lines = ended.text();
    assert_eq!(
        lines.len(),
        kills + 1,
        "one line a kill and a header: {lines:#?}"
    );
    for line in lines {
        for character in line.chars() {
            let harmless = !character.is_control() && character != '\u{202e}';
            assert!(harmless, "{character:?} in {line:?}");
        }
    }
}

fn process_names(machine: &Machine) {
    let scene = machine.scene("process-names");
    scene.limit(LIMIT_BYTES);
    let json = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let [text, wide] =
        ["text", "wide"].map(|output| Watch::new(machine, &["-o", output]).below(&scene).start());
    let victims = PROCESS_NAMES.map(|name| {
        Hog::plain()
            .named(name)
            .start(&scene, machine.patience)
            .killed()
    });
    let reports = json.interrupt().reports();
    assert_eq!(reports.len(), victims.len(), "{reports:?}");
    for (victim, report) in victims.iter().zip(&reports) {
        Expected::new(victim, &scene).check(report);
    }
    check_harmless(&text.interrupt(), victims.len());
    check_harmless(&wide.interrupt(), victims.len());
}

fn cgroup_names(machine: &Machine) {
    let scene = machine.scene("cgroup-names");
    let refused = scene.try_make(b"a\nb").expect_err("no newline in a name");
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
    let json = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let [text, wide] =
        ["text", "wide"].map(|output| Watch::new(machine, &["-o", output]).below(&scene).start());
    let longest = [b'n'; 255];
    let kills: Vec<_> = CGROUP_NAMES
        .into_iter()
        .chain([&longest[..]])
        .map(|name| {
            let cgroup = scene.make(name);
            cgroup.limit(LIMIT_BYTES);
            let victim = Hog::plain().start(&cgroup, machine.patience).killed();
            Expected::new(&victim, &cgroup)
        })
        .collect();
    let reports = json.interrupt().reports();
    assert_eq!(reports.len(), kills.len(), "{reports:?}");
    for (kill, report) in kills.iter().zip(&reports) {
        kill.check(report);
    }
    check_harmless(&text.interrupt(), kills.len());
    check_harmless(&wide.interrupt(), kills.len());
}

/// A part of a path would name another cgroup: then there is none.
fn long_path(machine: &Machine) {
    let scene = machine.scene("long-path");
    let deep = (0..6).fold(scene.make("deep"), |above, _| above.make([b'n'; 255]));
    deep.limit(LIMIT_BYTES);
    let watcher = Watch::new(machine, &["-o", "json"]).start();
    let victim = Hog::plain().start(&deep, machine.patience).killed();
    let ended = watcher.interrupt();
    let reports = ended.reports();
    let report = reports
        .iter()
        .find(|report| report.pid() == victim.pid)
        .expect("the kill");
    for place in [
        "/victim/cgroup",
        "/limits",
        "/oom_cgroup",
        "/limit_owner",
        "/attribution",
    ] {
        report.lacks(place);
    }
    report.is("/scope", "memcg");
    let missing = report.at("/missing").expect("what is missing").to_string();
    assert!(missing.contains("\"cgroup\""), "{missing}");
    assert!(missing.contains("\"limits\""), "{missing}");
    ended.sum();
}

/// A record has room for sixteen levels, and fentry and kprobe add the one that ran out above them.
fn deep_path(machine: &Machine) {
    let scene = machine.scene("deep-path");
    let deep = (0..20).fold((*scene).clone(), |above, level| {
        above.make(level.to_string())
    });
    let watcher = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let kills = [(&deep, LIMIT_BYTES), (&*scene, LIMIT_BYTES / 2)].map(|(limited, bytes)| {
        limited.limit(bytes);
        (
            Hog::plain().start(&deep, machine.patience).killed(),
            deep.chain(),
        )
    });
    let ended = watcher.interrupt();
    let reports = ended.reports();
    assert_eq!(reports.len(), kills.len(), "{reports:?}");
    let is_function = reports[0].is_function();
    for (((victim, chain), report), far) in kills.iter().zip(&reports).zip([false, is_function]) {
        report.is("/victim/pid", victim.pid);
        assert_eq!(report.bytes("/victim/cgroup/path"), deep.path());
        assert_eq!(report.limits().len(), 16 + usize::from(far), "{report:?}");
        for (index, level) in chain.iter().take(16).enumerate() {
            let place = format!("/limits/{index}");
            assert_eq!(
                report.bytes(&format!("{place}/path")),
                level.path,
                "{report:?}"
            );
            report.is(&format!("{place}/id"), level.id);
        }
    }
    for report in &reports {
        report.is("/missing", json!(["limits"]));
    }
    // Raw tracepoints know it from the lock of the one that ran out, where the kernel has it.
    if is_function || reports[0].at("/oom_cgroup").is_some() {
        reports[0].is("/oom_cgroup/id", deep.id());
        reports[0].is("/limit_owner", "cgroup");
    }
    if is_function {
        reports[1].is("/oom_cgroup/id", scene.id());
        reports[1].is("/limits/16/id", scene.id());
        reports[1].is("/limits/16/limit_bytes", LIMIT_BYTES / 2);
        reports[1].is("/limit_owner", "cgroup");
        reports[1].is("/group_kill", false);
    } else {
        for place in ["/oom_cgroup", "/limit_owner"] {
            reports[1].lacks(place);
        }
    }
    ended.sum();
}
