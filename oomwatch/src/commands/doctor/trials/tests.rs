//! The selected backend, and the status of the others.

use super::*;

/// Whether each of [`Backend::ALL`] works.
type Works = [bool; 5];

fn facts(choice: Option<Backend>, works: Works) -> TrialFacts {
    let refused = || Refusal::from(ProbeError::Lacks("what it needs"));
    let nowhere = Path::new("/nonexistent");
    let [.., log, count] = works;
    TrialFacts {
        choice,
        trials: Backend::BPF
            .into_iter()
            .zip(works)
            .map(|(backend, works)| (backend, if works { Ok(()) } else { Err(refused()) }))
            .collect(),
        has_kprobes: true,
        perf_event_paranoid: None,
        log: "/dev/kmsg".into(),
        log_read: if log { Ok(()) } else { read_log(nowhere) },
        dmesg_restrict: Some("1".to_owned()),
        count: if count {
            Ok(7)
        } else {
            proc::oom_kill_count(nowhere)
        },
        cgroup_count: None,
    }
}

fn selected(choice: Option<Backend>, works: Works) -> (Option<&'static str>, Vec<Status>) {
    let facts = facts(choice, works);
    let checks = checks(&facts, true, false);
    let names: Vec<_> = checks.iter().map(|check| check.name).collect();
    assert_eq!(
        names,
        [
            "fentry",
            "kprobe",
            "raw-tracepoint",
            "kmsg",
            "counters",
            "--backend"
        ]
    );
    for check in &checks {
        let needs_remedy = matches!(check.status, Status::Warn | Status::Fail);
        assert!(!needs_remedy || check.remedy.is_some(), "{check:?}");
    }
    (
        facts.selection().backend.map(Backend::flag),
        checks[..3].iter().map(|check| check.status).collect(),
    )
}

#[test]
fn status_of_a_backend_depends_on_what_is_selected_without_it() {
    use Status::{Fail, Info, Ok, Warn};
    for (choice, [fentry, kprobe, tracepoint], selected_backend, statuses) in [
        (None, [true, true, true], Some("fentry"), [Ok, Ok, Ok]),
        (
            None,
            [false, false, true],
            Some("raw-tracepoint"),
            [Info, Info, Ok],
        ),
        (
            None,
            [false, false, false],
            Some("kmsg"),
            [Warn, Warn, Warn],
        ),
        (
            Some(Backend::Fentry),
            [false, true, true],
            None,
            [Fail, Ok, Ok],
        ),
        (
            Some(Backend::Kprobe),
            [true, true, true],
            Some("kprobe"),
            [Ok, Ok, Ok],
        ),
        (
            Some(Backend::RawTracepoint),
            [false, false, true],
            Some("raw-tracepoint"),
            [Info, Info, Ok],
        ),
        // The log was chosen by name.
        (
            Some(Backend::Kmsg),
            [false, false, false],
            Some("kmsg"),
            [Info, Info, Info],
        ),
    ] {
        let works = [fentry, kprobe, tracepoint, true, true];
        let expected = (selected_backend, statuses.to_vec());
        assert_eq!(selected(choice, works), expected, "{choice:?} {works:?}");
    }
}

#[test]
fn log_and_counters_are_selected_without_programs() {
    for (log, counts, expected) in [
        (true, true, Some(Backend::Kmsg)),
        (false, true, Some(Backend::Counters)),
        (false, false, None),
    ] {
        let works = [false, false, false, log, counts];
        assert_eq!(facts(None, works).selection().backend, expected);
    }
    let all = [true; 5];
    for (choice, expected) in [
        (Some(Backend::Kmsg), Backend::Kmsg),
        (Some(Backend::Counters), Backend::Counters),
    ] {
        assert_eq!(facts(choice, all).selection().backend, Some(expected));
    }
}

#[test]
fn selection_names_the_backend_and_the_facts_it_lacks() {
    let finding = |works| {
        let checks = checks(&facts(None, works), true, false);
        checks.last().expect("the choice").finding.clone()
    };
    assert_eq!(finding([true; 5]), "auto selects fentry");
    assert_eq!(
        finding([false, false, true, true, true]),
        "auto selects raw-tracepoint\n\
         unknown: victim.oom_points\n\
         from the kernel log: allocation"
    );
    assert_eq!(finding([false; 5]), "auto selects none");
}

#[test]
fn refused_kernel_log_has_the_setting() {
    let refused = kernel_log(
        Path::new("/dev/kmsg"),
        &read_log(Path::new("/nonexistent")),
        None,
    );
    let (finding, remedy) = refused.result.expect_err("no such file");
    assert!(finding.contains("no such file"), "{finding}");
    assert!(
        finding.contains("kernel.dmesg_restrict unknown"),
        "{finding}"
    );
    assert!(remedy.contains("CONFIG_PRINTK"), "{remedy}");
}

#[test]
fn empty_log_does_not_block() {
    let folder = tempfile::tempdir().expect("make a folder");
    let pipe = folder.path().join("kmsg");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("make a pipe");
    assert!(read_log(&pipe).is_ok());
}
