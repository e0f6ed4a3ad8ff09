//! Checks of the other sources of facts: the kernel's count, the boot id, the symbols and the BPF file system.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    check::{self, Check, Group, Status},
    roots::Roots,
    selection::Selection,
};
use crate::{
    capture::bpf::{
        pins::{self, PinError},
        symbols::{Symbols, SymbolsError},
    },
    model::backend::Backend,
    sys::proc::{self, HostError},
};

#[derive(Debug)]
pub(super) struct SourceFacts {
    proc_root: PathBuf,
    count: Result<u64, HostError>,
    boot_id: Result<String, HostError>,
    symbols: Result<Symbols, SymbolsError>,
    /// `kernel.kptr_restrict`.
    kptr_restrict: Option<String>,
    bpffs: PathBuf,
    /// Whether an object can be pinned there.
    pinned: Result<(), PinError>,
}

impl SourceFacts {
    pub(super) fn gather(roots: Roots<'_>) -> Self {
        let sysctl = |name: &str| {
            let text = fs::read_to_string(roots.proc.join("sys/kernel").join(name)).ok()?;
            Some(text.trim().to_owned())
        };
        Self {
            proc_root: roots.proc.to_owned(),
            count: proc::oom_kill_count(roots.proc),
            boot_id: proc::boot_id(roots.proc),
            symbols: Symbols::load(roots.proc),
            kptr_restrict: sysctl("kptr_restrict"),
            pinned: pins::try_pin(roots.bpffs),
            bpffs: roots.bpffs.to_owned(),
        }
    }

    /// Whether the selected backend needs the kernel's symbols and they cannot be read.
    pub(super) fn lacks_symbols(&self, selection: Selection) -> bool {
        self.symbols.is_err() && needs_symbols(selection)
    }
}

/// Also true if no backend works.
fn needs_symbols(selection: Selection) -> bool {
    selection.backend.is_none_or(Backend::needs_symbols)
}

pub(super) fn checks(facts: &SourceFacts, selection: Selection) -> Vec<Check> {
    let SourceFacts {
        proc_root,
        count,
        boot_id: id,
        symbols,
        kptr_restrict,
        bpffs,
        pinned,
    } = facts;
    vec![
        kill_count(count, proc_root),
        boot_id(id, proc_root),
        kernel_symbols(symbols, kptr_restrict.as_deref(), proc_root, selection),
        bpffs_mount(bpffs, pinned),
    ]
}

fn kill_count(count: &Result<u64, HostError>, proc_root: &Path) -> Check {
    const NAME: &str = "count of kills";
    match count {
        Ok(count) => check(
            NAME,
            Status::Ok,
            format!(
                "{count} since boot, according to {}",
                proc_root.join("vmstat").display()
            ),
        ),
        Err(error) => check(NAME, Status::Fail, check::error_chain(error)).remedy(format!(
            "{}; the line oom_kill needs Linux 4.13 with CONFIG_VM_EVENT_COUNTERS",
            check::proc_remedy(proc_root)
        )),
    }
}

fn boot_id(id: &Result<String, HostError>, proc_root: &Path) -> Check {
    match id {
        Ok(id) => check(
            "boot id",
            Status::Ok,
            format!("{id}, of {}", proc::hostname()),
        ),
        Err(error) => check("boot id", Status::Fail, check::error_chain(error))
            .remedy(check::proc_remedy(proc_root)),
    }
}

fn kernel_symbols(
    symbols: &Result<Symbols, SymbolsError>,
    kptr_restrict: Option<&str>,
    proc_root: &Path,
    selection: Selection,
) -> Check {
    const NAME: &str = "kernel symbols";
    let Err(error) = symbols else {
        return check(NAME, Status::Ok, "can be read");
    };
    let (status, cost) = if needs_symbols(selection) {
        (Status::Warn, "the scope of kills is unknown")
    } else {
        (Status::Info, "not needed")
    };
    let (finding, remedy) = match error {
        SymbolsError::Hidden => (
            format!(
                "hidden, with kernel.kptr_restrict {}",
                kptr_restrict.unwrap_or("unknown")
            ),
            "grant CAP_SYSLOG, and if kernel.kptr_restrict is 2: sysctl kernel.kptr_restrict=1"
                .to_owned(),
        ),
        SymbolsError::Read(_) => (check::error_chain(error), check::proc_remedy(proc_root)),
        SymbolsError::Absent(_) => (
            check::error_chain(error),
            "use a kernel with CONFIG_KALLSYMS whose mm/oom_kill.c is not inlined".to_owned(),
        ),
    };
    check(NAME, status, format!("{finding}: {cost}")).remedy(remedy)
}

/// Only the agent uses pins.
fn bpffs_mount(path: &Path, pinned: &Result<(), PinError>) -> Check {
    const NAME: &str = "bpffs";
    const COST: &str =
        "watch does not need it; an agent finds the kills of its downtime in the kernel log only";
    let place = path.display();
    match pinned {
        Ok(()) => check(
            NAME,
            Status::Ok,
            format!(
                "mounted at {place}, and pinning works: kills during an agent's downtime are kept"
            ),
        ),
        Err(PinError::NoBpffs(_)) => check(
            NAME,
            Status::Info,
            format!("not mounted at {place}: {COST}"),
        )
        .remedy("mount -t bpf bpf /sys/fs/bpf, or give its mount point with --bpffs"),
        Err(error) => check(
            NAME,
            Status::Info,
            format!("{}: {COST}", check::error_chain(error)),
        )
        .remedy("grant CAP_BPF, and run as root to write there"),
    }
}

fn check(name: &'static str, status: Status, finding: impl Into<String>) -> Check {
    Check::new(Group::Sources, name, status, finding)
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    fn has_remedy(check: &Check, wanted: &str) -> bool {
        check
            .remedy
            .as_ref()
            .is_some_and(|text| text.contains(wanted))
    }

    #[test]
    fn required_files_fail_with_a_remedy() {
        let nowhere = Path::new("/nonexistent");
        for check in [
            kill_count(&proc::oom_kill_count(nowhere), nowhere),
            boot_id(&proc::boot_id(nowhere), nowhere),
        ] {
            assert_eq!(check.status, Status::Fail, "{check:?}");
            assert!(check.finding.contains("/nonexistent/"), "{check:?}");
            assert!(has_remedy(&check, "--proc-root"), "{check:?}");
        }
        assert_eq!(kill_count(&Ok(7), nowhere).status, Status::Ok);
    }

    fn on(backend: Option<Backend>) -> Selection {
        Selection {
            choice: None,
            backend,
        }
    }

    #[test]
    fn hidden_symbols_are_a_warning_if_the_backend_needs_them() {
        for (error, remedy) in [
            (SymbolsError::Hidden, "kptr_restrict=1"),
            (SymbolsError::Read(Errno::NOENT.into()), "--proc-root"),
            (SymbolsError::Absent("out_of_memory"), "CONFIG_KALLSYMS"),
        ] {
            let symbols = Err(error);
            for backend in [None, Some(Backend::RawTracepoint)] {
                let check = kernel_symbols(&symbols, None, Path::new("/proc"), on(backend));
                assert_eq!(check.status, Status::Warn, "{check:?}");
                assert!(
                    check.finding.contains("scope of kills is unknown"),
                    "{check:?}"
                );
                assert!(has_remedy(&check, remedy), "{check:?}");
            }
            let selection = on(Some(Backend::Fentry));
            let check = kernel_symbols(&symbols, None, Path::new("/proc"), selection);
            assert_eq!(check.status, Status::Info, "{check:?}");
        }
    }

    #[test]
    fn missing_bpffs_is_no_warning() {
        for (check, status) in [
            (bpffs_mount(Path::new("/x"), &Ok(())), Status::Ok),
            (
                bpffs_mount(Path::new("/x"), &Err(PinError::NoBpffs("/x".into()))),
                Status::Info,
            ),
            (
                bpffs_mount(Path::new("/x"), &Err(PinError::Locked("/x".into()))),
                Status::Info,
            ),
        ] {
            assert_eq!(check.status, status, "{check:?}");
        }
    }
}
