//! Golden texts.

use super::*;
use crate::model::backend::Backend;

fn diagnosis(checks: Vec<Check>, backend: Option<Backend>) -> Diagnosis {
    Diagnosis { checks, backend }
}

fn healthy() -> Diagnosis {
    let checks = vec![
        Check::new(Group::Kernel, "release", Status::Ok, "Linux 6.12.0"),
        Check::new(
            Group::Kernel,
            "lockdown",
            Status::Info,
            "unknown: the kernel has no lockdown",
        ),
        Check::new(
            Group::Backends,
            "mark_victim",
            Status::Ok,
            "loads and attaches",
        ),
        Check::new(Group::Runtimes, "absent", Status::Info, "k3s, Docker"),
    ];
    diagnosis(checks, Some(Backend::RawTracepoint))
}

fn sick() -> Diagnosis {
    let checks = vec![
        Check::new(
            Group::Kernel,
            "BTF",
            Status::Fail,
            "there is no /x\x1b[2J\\",
        )
        .remedy("use a kernel with it"),
        Check::new(
            Group::Backends,
            "mark_victim",
            Status::Fail,
            "load program: permission denied\nR1 invalid mem access\nprocessed 7 insns",
        )
        .remedy("report this"),
        Check::new(Group::Backends, "other", Status::Fail, "no").remedy("report this"),
        Check::new(Group::Sources, "kernel symbols", Status::Warn, "hidden")
            .remedy("grant CAP_SYSLOG"),
    ];
    diagnosis(checks, None)
}

#[test]
fn healthy_machine() {
    insta::assert_snapshot!(text(&healthy(), Color::Never), @r##"
    Kernel
      ok    release      Linux 6.12.0
      info  lockdown     unknown: the kernel has no lockdown

    Backends
      ok    mark_victim  loads and attaches

    Container runtimes
      info  absent       k3s, Docker

    oomwatch watch works here, with raw tracepoints
    "##);
}

#[test]
fn failed_checks_have_remedies_and_no_control_bytes() {
    insta::assert_snapshot!(text(&sick(), Color::Never), @r##"
    Kernel
      FAIL  BTF             there is no /x\x1b[2J\\
                            remedy: use a kernel with it

    Backends
      FAIL  mark_victim     load program: permission denied
                              R1 invalid mem access
                              processed 7 insns
                            remedy: report this
      FAIL  other           no
                            remedy: as above

    Sources
      warn  kernel symbols  hidden
                            remedy: grant CAP_SYSLOG

    oomwatch watch does not work here: see BTF, mark_victim, other
    "##);
}

#[test]
fn warnings_are_named_in_the_summary() {
    let warned = diagnosis(sick().checks.split_off(3), Some(Backend::Kmsg));
    insta::assert_snapshot!(summary(&warned), @r##"oomwatch watch works here, with the kernel log; see kernel symbols"##);
}

#[test]
fn backend_has_its_name_in_the_json() {
    for backend in Backend::ALL {
        let json = json_of(&diagnosis(Vec::new(), Some(backend)));
        let word = backend.as_str();
        assert!(json.contains(&format!(r#""backend":"{word}""#)), "{json}");
    }
}

#[test]
fn backend_is_absent_if_another_check_fails() {
    let checks = vec![Check::new(Group::Sources, "boot id", Status::Fail, "none").remedy("look")];
    let json = json_of(&diagnosis(checks, Some(Backend::Fentry)));
    assert!(json.contains(r#""works":false,"summary""#), "{json}");
}

#[test]
fn color_does_not_change_columns() {
    let colored = text(&sick(), Color::Always);
    let plain = [BOLD, RED, GREEN, YELLOW, DIM, RESET]
        .iter()
        .fold(colored.clone(), |text, style| text.replace(style, ""));
    assert_eq!(plain, text(&sick(), Color::Never));
    assert!(
        colored.contains("\x1b[1;31mFAIL\x1b[0m  BTF"),
        "{colored:?}"
    );
}

fn json_of(diagnosis: &Diagnosis) -> String {
    json(diagnosis)
        .expect("serialize")
        .replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

#[test]
fn json_of_a_healthy_machine() {
    insta::assert_snapshot!(json_of(&healthy()), @r##"{"schema":"oomwatch-doctor/v1","version":"VERSION","works":true,"backend":"raw_tracepoint","summary":"oomwatch watch works here, with raw tracepoints","checks":[{"group":"kernel","name":"release","status":"ok","finding":"Linux 6.12.0"},{"group":"kernel","name":"lockdown","status":"info","finding":"unknown: the kernel has no lockdown"},{"group":"backends","name":"mark_victim","status":"ok","finding":"loads and attaches"},{"group":"runtimes","name":"absent","status":"info","finding":"k3s, Docker"}]}"##);
}

#[test]
fn json_of_a_sick_machine() {
    insta::assert_snapshot!(json_of(&sick()), @r##"{"schema":"oomwatch-doctor/v1","version":"VERSION","works":false,"summary":"oomwatch watch does not work here: see BTF, mark_victim, other","checks":[{"group":"kernel","name":"BTF","status":"fail","finding":"there is no /x\u001b[2J\\","remedy":"use a kernel with it"},{"group":"backends","name":"mark_victim","status":"fail","finding":"load program: permission denied\nR1 invalid mem access\nprocessed 7 insns","remedy":"report this"},{"group":"backends","name":"other","status":"fail","finding":"no","remedy":"report this"},{"group":"sources","name":"kernel symbols","status":"warn","finding":"hidden","remedy":"grant CAP_SYSLOG"}]}"##);
}
