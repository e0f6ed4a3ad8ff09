//! The kernel's lockdown: which backends work in which mode. It cannot be taken back, so that this comes last.

use std::{env, ffi::CString, fs, ptr};

use super::{Doctor, attach, given, in_a_guest, table};
use crate::{Scenario, Skip, confined::Confined, machine::Machine};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "backends_work_in_lockdown_for_integrity_as_the_document_says",
        integrity,
    )
    .needing(may_lock),
    Scenario::new(
        "backends_work_in_lockdown_for_confidentiality_as_the_document_says",
        confidentiality,
    )
    .needing(may_lock),
];

const SECURITYFS: &str = "/sys/kernel/security";
/// From nothing to everything.
const MODES: [&str; 3] = ["none", "integrity", "confidentiality"];

fn may_lock(machine: &Machine) -> Result<(), Skip> {
    in_a_guest(machine)?;
    if env::var_os("OOMWATCH_LOCKDOWN").is_some_and(|value| value == "0") {
        return Err(Skip("OOMWATCH_LOCKDOWN=0".to_owned()));
    }
    if mode().is_none() {
        mount_securityfs();
    }
    // Before anything is locked, since it is remembered.
    given(machine);
    match mode() {
        Some(_) => Ok(()),
        None => Err(Skip("no lockdown in this kernel".to_owned())),
    }
}

fn mount_securityfs() {
    let [kind, place] = ["securityfs", SECURITYFS].map(|text| CString::new(text).expect("no NUL"));
    // SAFETY: strings with a NUL, or none. That it fails is seen by what is missing.
    unsafe { libc::mount(kind.as_ptr(), place.as_ptr(), kind.as_ptr(), 0, ptr::null()) };
}

/// Place of the present mode in [`MODES`].
fn mode() -> Option<usize> {
    let text = fs::read_to_string(format!("{SECURITYFS}/lockdown")).ok()?;
    MODES
        .iter()
        .position(|mode| text.contains(&format!("[{mode}]")))
}

/// Locks the kernel down at least so far.
fn lock(wanted: &str) {
    let wanted = MODES
        .iter()
        .position(|mode| *mode == wanted)
        .expect("a mode");
    if mode().expect("a mode") < wanted {
        fs::write(format!("{SECURITYFS}/lockdown"), MODES[wanted]).expect("lock the kernel down");
    }
}

fn integrity(machine: &Machine) {
    lock("integrity");
    check(machine);
}

fn confidentiality(machine: &Machine) {
    lock("confidentiality");
    check(machine);
}

fn check(machine: &Machine) {
    let mode = mode().expect("a mode");
    let root = Confined::root(machine);
    let doctor = Doctor::ask(&root, &[]);
    let table = table("## The backends");
    for row in table.rows() {
        let backend = row.word("backend");
        if !given(machine).contains(&backend) {
            continue;
        }
        let strictest = MODES
            .iter()
            .position(|mode| *mode == row.cell("locked down to"));
        let works = mode <= strictest.expect("a mode");
        let attached = attach(&root, backend, &[]);
        assert_eq!(
            attached.is_ok(),
            works,
            "{backend} in {}: {attached:?}",
            MODES[mode]
        );
        assert_eq!(doctor.has(backend), works, "{backend}: {:#}", doctor.said);
        if !works {
            let text = doctor.text(backend);
            assert!(text.contains("lockdown"), "{backend}: {text}");
        }
    }
}
