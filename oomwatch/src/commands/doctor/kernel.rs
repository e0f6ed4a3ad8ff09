//! The kernel itself: its types, its BPF, and what it refuses.

use std::{fs, io, path::PathBuf};

use rustix::{io::Errno, system::uname};

use super::{
    Roots, btf,
    check::{self, Check, Group, Status},
};
use crate::capture::bpf::{
    features,
    offsets::{self, KernelTypes, LoadError},
};
use crate::commands::doctor::bpf_backends::Selection;

const CONFIDENTIALITY: &str = "confidentiality";

#[derive(Debug)]
pub(super) struct Facts {
    /// System, release and machine, as `uname -srm` has them.
    system: String,
    release: String,
    machine: String,
    btf: PathBuf,
    types: Result<KernelTypes, LoadError>,
    /// The text of securityfs' `lockdown`.
    lockdown: io::Result<String>,
    /// The answer of `bpf(2)` to a ring buffer.
    ring_buffers: io::Result<bool>,
}

impl Facts {
    pub(super) fn gather(roots: Roots<'_>) -> Self {
        let uname = uname();
        Self {
            system: uname.sysname().to_string_lossy().into_owned(),
            release: uname.release().to_string_lossy().into_owned(),
            machine: uname.machine().to_string_lossy().into_owned(),
            btf: roots.btf.to_owned(),
            types: offsets::load(roots.btf),
            lockdown: fs::read_to_string(roots.system.join("sys/kernel/security/lockdown")),
            ring_buffers: features::has_ring_buffers(),
        }
    }

    /// What is known of the kernel's types.
    pub(super) fn types(&self) -> &Result<KernelTypes, LoadError> {
        &self.types
    }

    /// Whether the kernel is locked down to confidentiality.
    pub(super) fn is_confidential(&self) -> bool {
        let text = self.lockdown.as_deref().unwrap_or_default();
        lockdown_mode(text) == Some(CONFIDENTIALITY)
    }
}

/// `may_load`: whether this process has the capabilities to load programs; `stand`: what `watch` takes.
pub(super) fn judge(facts: &Facts, may_load: bool, stand: Selection) -> Vec<Check> {
    let Facts {
        system,
        release,
        machine,
        btf,
        types,
        lockdown,
        ring_buffers,
    } = facts;
    vec![
        check("release", Status::Ok, format!("{system} {release}")),
        architecture(machine),
        btf::judge(btf, types, stand),
        bpf(ring_buffers, may_load, stand),
        locked_down(lockdown, stand),
    ]
}

fn architecture(machine: &str) -> Check {
    match machine {
        "x86_64" | "aarch64" => check("architecture", Status::Ok, machine),
        _ => check(
            "architecture",
            Status::Warn,
            format!("{machine}: never tried"),
        )
        .remedy("use x86_64 or aarch64; the checks under Backends decide"),
    }
}

fn bpf(ring_buffers: &io::Result<bool>, may_load: bool, stand: Selection) -> Check {
    const NAME: &str = "bpf";
    let error = match ring_buffers {
        Ok(true) => return check(NAME, Status::Ok, "bpf(2) answers and has ring buffers"),
        Ok(false) => {
            return check(NAME, stand.without_programs(), "bpf(2) has no ring buffers")
                .remedy("use Linux 5.8 or later");
        }
        Err(error) => error,
    };
    match Errno::from_io_error(error) {
        Some(Errno::NOSYS) => check(NAME, stand.without_programs(), "there is no bpf(2)")
            .remedy("use a kernel with CONFIG_BPF_SYSCALL"),
        Some(Errno::PERM) if !may_load => check(
            NAME,
            Status::Info,
            "bpf(2) is there, but does not answer without CAP_BPF",
        ),
        _ => check(
            NAME,
            Status::Warn,
            format!("bpf(2) refuses a ring buffer: {}", check::answer(error)),
        )
        .remedy("see Backends"),
    }
}

fn locked_down(lockdown: &io::Result<String>, stand: Selection) -> Check {
    let text = match lockdown {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return check(
                "lockdown",
                Status::Info,
                "not told: no lockdown in this kernel, or securityfs is not mounted",
            );
        }
        Err(error) => {
            return check(
                "lockdown",
                Status::Info,
                format!("not told: {}", check::answer(error)),
            );
        }
    };
    match lockdown_mode(text) {
        Some(CONFIDENTIALITY) => check(
            "lockdown",
            stand.without_programs(),
            "confidentiality: programs may not read the kernel's memory",
        )
        .remedy("boot with lockdown=integrity, or without lockdown= on the kernel's command line"),
        Some(mode) => check("lockdown", Status::Ok, mode),
        None => check(
            "lockdown",
            Status::Info,
            "not told: the kernel's text is not known",
        ),
    }
}

/// The mode in brackets in `none [integrity] confidentiality`.
fn lockdown_mode(text: &str) -> Option<&str> {
    text.split_ascii_whitespace()
        .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
        .filter(|mode| !mode.is_empty())
}

fn check(name: &'static str, status: Status, finding: impl Into<String>) -> Check {
    Check::new(Group::Kernel, name, status, finding)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE_WORKS: Selection = Selection {
        choice: None,
        backend: None,
    };

    #[test]
    fn bpf_fails_only_where_it_is_not_there() {
        for (answer, may_load, status) in [
            (Ok(true), true, Status::Ok),
            (Ok(false), true, Status::Fail),
            (Err(Errno::NOSYS.into()), false, Status::Fail),
            (Err(Errno::PERM.into()), false, Status::Info),
            (Err(Errno::PERM.into()), true, Status::Warn),
            (Err(io::ErrorKind::Other.into()), true, Status::Warn),
        ] {
            assert_eq!(
                bpf(&answer, may_load, NONE_WORKS).status,
                status,
                "{answer:?} {may_load}"
            );
        }
    }

    #[test]
    fn lockdown_is_the_word_in_brackets() {
        for (text, mode) in [
            ("none [integrity] confidentiality\n", Some("integrity")),
            ("[none] integrity confidentiality\n", Some("none")),
            ("none integrity\n", None),
            ("[]\n", None),
            ("[ ] [integrity", None),
            ("", None),
        ] {
            assert_eq!(lockdown_mode(text), mode, "{text:?}");
        }
        for (lockdown, status) in [
            (Ok("none integrity [confidentiality]"), Status::Fail),
            (Ok("[none] integrity confidentiality"), Status::Ok),
            (Ok("\u{0}"), Status::Info),
            (Err(Errno::NOENT), Status::Info),
            (Err(Errno::ACCESS), Status::Info),
        ] {
            let lockdown = lockdown.map(str::to_owned).map_err(io::Error::from);
            assert_eq!(
                locked_down(&lockdown, NONE_WORKS).status,
                status,
                "{lockdown:?}"
            );
        }
    }
}
