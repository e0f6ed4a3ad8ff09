//! Which rung is taken, and how bad it is that others are refused.

use super::*;

/// Whether each way of [`Way::all`] works.
type Works = [bool; 6];

fn facts(choice: HooksChoice, works: Works) -> Facts {
    let refused = || Refusal::from(ProbeError::Lacks("what it needs"));
    let nowhere = Path::new("/nonexistent");
    let [.., log, count] = works;
    Facts {
        choice,
        trials: Rung::ALL
            .into_iter()
            .zip(works)
            .map(|(rung, works)| (rung, if works { Ok(()) } else { Err(refused()) }))
            .collect(),
        has_kprobes: true,
        has_tracefs: true,
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

fn judged(choice: HooksChoice, works: Works) -> (Option<&'static str>, Vec<Status>) {
    let facts = facts(choice, works);
    let checks = judge(&facts, true, false);
    let names: Vec<_> = checks.iter().map(|check| check.name).collect();
    assert_eq!(
        names,
        [
            "fentry",
            "kprobe",
            "tracepoint",
            "format",
            "kmsg",
            "counters",
            "--hooks"
        ]
    );
    for check in &checks {
        let needs_remedy = matches!(check.status, Status::Warn | Status::Fail);
        assert!(!needs_remedy || check.remedy.is_some(), "{check:?}");
    }
    (
        facts.stand().way.map(Way::as_str),
        checks[..4].iter().map(|check| check.status).collect(),
    )
}

#[test]
fn refused_rung_is_as_bad_as_what_is_left_without_it() {
    use Status::{Fail, Info, Ok, Warn};
    for (choice, [fentry, kprobe, tracepoint, format], taken, statuses) in [
        (
            HooksChoice::Auto,
            [true, true, true, true],
            Some("fentry"),
            [Ok, Ok, Ok, Ok],
        ),
        (
            HooksChoice::Auto,
            [false, false, true, false],
            Some("tracepoint"),
            [Info, Info, Ok, Info],
        ),
        (
            HooksChoice::Auto,
            [false, false, false, true],
            Some("format"),
            [Warn, Warn, Warn, Ok],
        ),
        (
            HooksChoice::Auto,
            [false, false, false, false],
            Some("kmsg"),
            [Warn, Warn, Warn, Warn],
        ),
        (
            HooksChoice::Function,
            [false, true, true, true],
            Some("kprobe"),
            [Info, Ok, Ok, Ok],
        ),
        (
            HooksChoice::Function,
            [false, false, true, false],
            None,
            [Fail, Fail, Ok, Info],
        ),
        (
            HooksChoice::Fentry,
            [false, true, true, true],
            None,
            [Fail, Ok, Ok, Ok],
        ),
        (
            HooksChoice::Kprobe,
            [true, true, true, true],
            Some("kprobe"),
            [Ok, Ok, Ok, Ok],
        ),
        (
            HooksChoice::Tracepoint,
            [false, false, true, false],
            Some("tracepoint"),
            [Info, Info, Ok, Info],
        ),
        // It was asked for.
        (
            HooksChoice::Format,
            [false, false, false, true],
            Some("format"),
            [Info, Info, Info, Ok],
        ),
    ] {
        let works = [fentry, kprobe, tracepoint, format, true, true];
        let expected = (taken, statuses.to_vec());
        assert_eq!(judged(choice, works), expected, "{choice:?} {works:?}");
    }
}

#[test]
fn log_and_counts_stand_in_for_programs() {
    for (log, counts, taken) in [
        (true, true, Some(Way::Log)),
        (false, true, Some(Way::Counters)),
        (false, false, None),
    ] {
        let works = [false, false, false, false, log, counts];
        assert_eq!(facts(HooksChoice::Auto, works).stand().way, taken);
    }
    let all = [true; 6];
    for (choice, taken) in [
        (HooksChoice::Kmsg, Way::Log),
        (HooksChoice::Counters, Way::Counters),
    ] {
        assert_eq!(facts(choice, all).stand().way, Some(taken));
    }
}

#[test]
fn choice_says_what_it_takes_and_what_that_cannot_know() {
    let finding = |works| {
        let checks = judge(&facts(HooksChoice::Auto, works), true, false);
        checks.last().expect("the choice").finding.clone()
    };
    assert_eq!(finding([true; 6]), "auto takes fentry");
    assert_eq!(
        finding([false, false, true, true, true, true]),
        "auto takes tracepoint\n\
         never told: victim.oom_points\n\
         left to the kernel log: allocation"
    );
    assert_eq!(finding([false; 6]), "auto takes none");
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
