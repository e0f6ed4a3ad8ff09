//! Each reason in its words, with its remedy.

use aya::{programs::ProgramError, sys::SyscallError};
use rustix::io::Errno;

use super::*;

const HEALTHY: Conditions<'_> = Conditions {
    may_load: true,
    is_confidential: false,
    has_kprobes: true,
    perf_event_paranoid: Some("3"),
};
const UNPRIVILEGED: Conditions<'_> = Conditions {
    may_load: false,
    ..HEALTHY
};
const LOCKED: Conditions<'_> = Conditions {
    is_confidential: true,
    ..HEALTHY
};
/// Without kprobes.
const BARE: Conditions<'_> = Conditions {
    has_kprobes: false,
    ..HEALTHY
};

fn permission() -> ProbeError {
    ProbeError::NotPermitted {
        what: "trying".to_owned(),
    }
}

fn load(log: &str, errno: Errno) -> ProbeError {
    ProbeError::Load {
        program: "it",
        log: log.to_owned(),
        source: Box::new(io::Error::from(errno)),
    }
}

fn attach(errno: i32) -> ProbeError {
    ProbeError::Attach {
        program: "it",
        source: Box::new(ProgramError::SyscallError(SyscallError {
            call: "perf_event_open",
            io_error: io::Error::from_raw_os_error(errno),
        })),
    }
}

#[track_caller]
fn explains(
    error: ProbeError,
    backend: Backend,
    conditions: Conditions<'_>,
    words: &str,
    wanted_remedy: &str,
) {
    let refusal = Refusal::from(error);
    let (finding, remedy) = refusal.explain(backend, &conditions);
    assert!(finding.contains(words), "{finding}: {refusal:?}");
    assert!(remedy.contains(wanted_remedy), "{remedy}: {refusal:?}");
}

#[test]
fn what_is_missing_is_named() {
    let no_types = ProbeError::NoTypes("none".to_owned());
    explains(no_types, Backend::Kprobe, HEALTHY, "types", "see BTF");
    let lacks = ProbeError::Lacks("x");
    explains(lacks, Backend::Kprobe, HEALTHY, "has no x", "--btf");
    let absent = || attach(libc::ENOENT);
    explains(
        absent(),
        Backend::Kprobe,
        BARE,
        "no kprobes",
        "CONFIG_KPROBE_EVENTS",
    );
    for backend in [Backend::Kprobe, Backend::Fentry] {
        explains(absent(), backend, HEALTHY, "refused", "a bug");
    }
}

#[test]
fn missing_privileges_are_named() {
    explains(
        permission(),
        Backend::RawTracepoint,
        UNPRIVILEGED,
        "not permitted",
        "CAP_SYS_ADMIN",
    );
    explains(
        permission(),
        Backend::RawTracepoint,
        HEALTHY,
        "are held",
        "CAP_SYS_RESOURCE",
    );
    explains(
        attach(libc::EACCES),
        Backend::Kprobe,
        HEALTHY,
        "perf_event_paranoid 3",
        "CAP_SYS_ADMIN",
    );
}

#[test]
fn trampolines_are_refused_by_the_kernel_not_by_privileges() {
    let refused = || load("", Errno::PERM);
    explains(refused(), Backend::Fentry, HEALTHY, "trampolines", "FTRACE");
    explains(
        attach(524),
        Backend::Fentry,
        HEALTHY,
        "trampolines",
        "arm64",
    );
    explains(
        refused(),
        Backend::RawTracepoint,
        HEALTHY,
        "refused",
        "a bug",
    );
    let invalid = load("", Errno::INVAL);
    explains(invalid, Backend::Fentry, HEALTHY, "refused", "a bug");
}

#[test]
fn lockdown_is_told_by_itself_or_by_the_verifier() {
    for log in [
        "\n  unknown func bpf_probe_read_kernel#113",
        "\n  call bpf_probe_read#4\n  Use a helper allowed for this program type, or move",
    ] {
        let refused = || load(log, Errno::INVAL);
        explains(
            refused(),
            Backend::Fentry,
            HEALTHY,
            "may not read",
            "confidentiality",
        );
        explains(
            refused(),
            Backend::Fentry,
            LOCKED,
            "locked down",
            "lockdown",
        );
    }
    explains(
        attach(libc::EPERM),
        Backend::Kprobe,
        LOCKED,
        "locked down",
        "lockdown",
    );
}

#[test]
fn refusal_says_the_step_the_answer_and_what_the_verifier_did_not_like() {
    let refusal = Refusal::from(load("\n  R1 invalid\n  processed 7 insns", Errno::ACCESS));
    let (finding, _) = refusal.explain(Backend::RawTracepoint, &HEALTHY);
    assert_eq!(
        finding,
        "refused\nfailed to load program it: permission denied\nR1 invalid\nprocessed 7 insns"
    );
    let error = ProbeError::Wait(io::Error::other("made up"));
    assert_eq!(
        Refusal::from(error).text,
        "failed to wait for the ring buffer: made up"
    );
}

#[test]
fn maps_were_made_where_it_came_to_programs() {
    for (error, expected) in [
        (permission(), Some(false)),
        (load("", Errno::INVAL), Some(true)),
        (attach(libc::EACCES), Some(true)),
        (ProbeError::Lacks("x"), None),
    ] {
        assert_eq!(Refusal::from(error).has_maps(), expected);
    }
}
