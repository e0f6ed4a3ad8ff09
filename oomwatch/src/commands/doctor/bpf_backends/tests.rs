//! Which backend is used, and how bad it is that others are refused.

use super::*;

/// Whether each of [`Backend::ALL`] works.
type Works = [bool; 5];

fn facts(choice: Option<Backend>, works: Works) -> Facts {
    let refused = || Refusal::from(ProbeError::Lacks("what it needs"));
    let nowhere = Path::new("/nonexistent");
    let [.., log, count] = works;
    Facts {
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

fn judged(choice: Option<Backend>, works: Works) -> (Option<&'static str>, Vec<Status>) {
    let facts = facts(choice, works);
    let checks = judge(&facts, true, false);
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
        facts.stand().backend.map(Backend::flag),
        checks[..3].iter().map(|check| check.status).collect(),
    )
}

#[test]
fn refused_backend_is_as_bad_as_what_is_left_without_it() {
    use Status::{Fail, Info, Ok, Warn};
    for (choice, [fentry, kprobe, tracepoint], taken, statuses) in [
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
        // The log was asked for by name.
        (
            Some(Backend::Kmsg),
            [false, false, false],
            Some("kmsg"),
            [Info, Info, Info],
        ),
    ] {
        let works = [fentry, kprobe, tracepoint, true, true];
        let expected = (taken, statuses.to_vec());
        assert_eq!(judged(choice, works), expected, "{choice:?} {works:?}");
    }
}

#[test]
fn log_and_counts_stand_in_for_programs() {
    for (log, counts, taken) in [
        (true, true, Some(Backend::Kmsg)),
        (false, true, Some(Backend::Counters)),
        (false, false, None),
    ] {
        let works = [false, false, false, log, counts];
        assert_eq!(facts(None, works).stand().backend, taken);
    }
    let all = [true; 5];
    for (choice, taken) in [
        (Some(Backend::Kmsg), Backend::Kmsg),
        (Some(Backend::Counters), Backend::Counters),
    ] {
        assert_eq!(facts(choice, all).stand().backend, Some(taken));
    }
}

#[test]
fn choice_says_what_it_takes_and_what_that_cannot_know() {
    let finding = |works| {
        let checks = judge(&facts(None, works), true, false);
        checks.last().expect("the choice").finding.clone()
    };
    assert_eq!(finding([true; 5]), "auto takes fentry");
    assert_eq!(
        finding([false, false, true, true, true]),
        "auto takes raw-tracepoint\n\
         never told: victim.oom_points\n\
         left to the kernel log: allocation"
    );
    assert_eq!(finding([false; 5]), "auto takes none");
}

#[test]
fn kernel_log_that_is_refused_tells_the_setting() {
    let refused = kernel_log(
        Path::new("/dev/kmsg"),
        &read_log(Path::new("/nonexistent")),
        None,
    );
    let (finding, remedy) = refused.works.expect_err("no such file");
    assert!(finding.contains("no such file"), "{finding}");
    assert!(
        finding.contains("kernel.dmesg_restrict unknown"),
        "{finding}"
    );
    assert!(remedy.contains("CONFIG_PRINTK"), "{remedy}");
}

#[test]
fn log_without_new_lines_is_not_waited_for() {
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
