//! Each reason with its finding and its remedy.

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
    wanted_finding: &str,
    wanted_remedy: &str,
) {
    let refusal = Refusal::from(error);
    let (finding, remedy) = refusal.explain(backend, &conditions);
    assert!(finding.contains(wanted_finding), "{finding}: {refusal:?}");
    assert!(remedy.contains(wanted_remedy), "{remedy}: {refusal:?}");
}

#[test]
fn missing_features_are_named() {
    let no_types = ProbeError::NoTypes("none".to_owned());
    explains(no_types, Backend::Kprobe, HEALTHY, "BTF", "see BTF");
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
fn refused_trampolines_are_no_matter_of_privileges() {
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
fn lockdown_is_recognized_by_its_mode_or_by_the_verifier() {
    for log in [
        "\n  unknown func bpf_probe_read_kernel#113",
        "\n  call bpf_probe_read#4\n  Use a helper allowed for this program type, or move",
    ] {
        let refused = || load(log, Errno::INVAL);
        explains(
            refused(),
            Backend::Fentry,
            HEALTHY,
            "cannot read",
            "confidentiality",
        );
        explains(
            refused(),
            Backend::Fentry,
            LOCKED,
            "confidentiality mode",
            "lockdown",
        );
    }
    explains(
        attach(libc::EPERM),
        Backend::Kprobe,
        LOCKED,
        "confidentiality mode",
        "lockdown",
    );
}

#[test]
fn refusal_has_the_step_the_error_and_the_log_of_the_verifier() {
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
fn maps_exist_if_programs_were_loaded() {
    for (error, expected) in [
        (permission(), Some(false)),
        (load("", Errno::INVAL), Some(true)),
        (attach(libc::EACCES), Some(true)),
        (ProbeError::Lacks("x"), None),
    ] {
        assert_eq!(Refusal::from(error).has_maps(), expected);
    }
}
