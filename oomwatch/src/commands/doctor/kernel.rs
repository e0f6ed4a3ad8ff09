//! Checks of the kernel: BTF, BPF and lockdown.

use std::{fs, io, path::PathBuf};

use rustix::{io::Errno, system::uname};

use super::{
    btf,
    check::{self, Check, Group, Status},
    roots::Roots,
    selection::Selection,
};
use crate::capture::bpf::{
    features,
    offsets::{self, KernelTypes, LoadError},
};

const CONFIDENTIALITY: &str = "confidentiality";

#[derive(Debug)]
pub(super) struct KernelFacts {
    /// Like the two below, from `uname`.
    system: String,
    release: String,
    machine: String,
    btf: PathBuf,
    types: Result<KernelTypes, LoadError>,
    /// The file `lockdown` of securityfs.
    lockdown: io::Result<String>,
    /// Whether `bpf(2)` can create a ring buffer.
    ring_buffers: io::Result<bool>,
}

impl KernelFacts {
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

    /// The kernel's BTF, if it can be read.
    pub(super) fn types(&self) -> &Result<KernelTypes, LoadError> {
        &self.types
    }

    /// Whether lockdown is in its `confidentiality` mode.
    pub(super) fn is_confidential(&self) -> bool {
        let text = self.lockdown.as_deref().unwrap_or_default();
        lockdown_mode(text) == Some(CONFIDENTIALITY)
    }
}

/// `may_load`: whether this process has the capabilities to load programs.
pub(super) fn checks(facts: &KernelFacts, may_load: bool, selection: Selection) -> Vec<Check> {
    let KernelFacts {
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
        btf::check_types(btf, types, selection),
        bpf(ring_buffers, may_load, selection),
        locked_down(lockdown, selection),
    ]
}

fn architecture(machine: &str) -> Check {
    match machine {
        "x86_64" | "aarch64" => check("architecture", Status::Ok, machine),
        _ => check(
            "architecture",
            Status::Warn,
            format!("{machine}: not tested"),
        )
        .remedy("use x86_64 or aarch64; the results under Backends are what counts"),
    }
}

fn bpf(ring_buffers: &io::Result<bool>, may_load: bool, selection: Selection) -> Check {
    const NAME: &str = "bpf";
    let error = match ring_buffers {
        Ok(true) => return check(NAME, Status::Ok, "bpf(2) works and has ring buffers"),
        Ok(false) => {
            return check(
                NAME,
                selection.without_programs(),
                "bpf(2) has no ring buffers",
            )
            .remedy("use Linux 5.8 or later");
        }
        Err(error) => error,
    };
    match Errno::from_io_error(error) {
        Some(Errno::NOSYS) => check(
            NAME,
            selection.without_programs(),
            "the kernel has no bpf(2)",
        )
        .remedy("use a kernel with CONFIG_BPF_SYSCALL"),
        Some(Errno::PERM) if !may_load => {
            check(NAME, Status::Info, "bpf(2) cannot be tried without CAP_BPF")
        }
        _ => check(
            NAME,
            Status::Warn,
            format!("failed to create a ring buffer: {}", check::os_error(error)),
        )
        .remedy("see Backends"),
    }
}

fn locked_down(lockdown: &io::Result<String>, selection: Selection) -> Check {
    let text = match lockdown {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return check(
                "lockdown",
                Status::Info,
                "unknown: the kernel has no lockdown, or securityfs is not mounted",
            );
        }
        Err(error) => {
            return check(
                "lockdown",
                Status::Info,
                format!("unknown: {}", check::os_error(error)),
            );
        }
    };
    match lockdown_mode(text) {
        Some(CONFIDENTIALITY) => check(
            "lockdown",
            selection.without_programs(),
            "confidentiality: BPF programs cannot read the kernel's memory",
        )
        .remedy("boot with lockdown=integrity, or without lockdown= on the kernel's command line"),
        Some(mode) => check("lockdown", Status::Ok, mode),
        None => check(
            "lockdown",
            Status::Info,
            "unknown: the content of the file is not understood",
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
    fn bpf_fails_only_if_the_kernel_does_not_have_it() {
        for (created, may_load, status) in [
            (Ok(true), true, Status::Ok),
            (Ok(false), true, Status::Fail),
            (Err(Errno::NOSYS.into()), false, Status::Fail),
            (Err(Errno::PERM.into()), false, Status::Info),
            (Err(Errno::PERM.into()), true, Status::Warn),
            (Err(io::ErrorKind::Other.into()), true, Status::Warn),
        ] {
            assert_eq!(
                bpf(&created, may_load, NONE_WORKS).status,
                status,
                "{created:?} {may_load}"
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
