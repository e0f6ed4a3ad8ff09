//! The files that facts come from, beside the hooks.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    Roots,
    check::{self, Check, Group, Status},
};
use crate::commands::doctor::bpf_backends::Selection;
use crate::{
    capture::bpf::{
        pins::{self, PinError},
        symbols::{Symbols, SymbolsError},
    },
    model::backend::Backend,
    sys::proc::{self, HostError},
};

#[derive(Debug)]
pub(super) struct Facts {
    proc_root: PathBuf,
    count: Result<u64, HostError>,
    boot_id: Result<String, HostError>,
    symbols: Result<Symbols, SymbolsError>,
    /// `kernel.kptr_restrict`.
    kptr_restrict: Option<String>,
    bpffs: PathBuf,
    /// What came of pinning something there.
    pinned: Result<(), PinError>,
}

impl Facts {
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

    /// Whether what `watch` takes needs the kernel's symbols and cannot have them.
    pub(super) fn lacks_symbols(&self, stand: Selection) -> bool {
        self.symbols.is_err() && needs_symbols(stand)
    }
}

/// Of all that may still be taken, where nothing works.
fn needs_symbols(stand: Selection) -> bool {
    stand.backend.is_none_or(Backend::needs_symbols)
}

/// `stand`: what `watch` takes.
pub(super) fn judge(facts: &Facts, stand: Selection) -> Vec<Check> {
    let Facts {
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
        kernel_symbols(symbols, kptr_restrict.as_deref(), proc_root, stand),
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
                "{count} since boot, by {}",
                proc_root.join("vmstat").display()
            ),
        ),
        Err(error) => check(NAME, Status::Fail, check::chain(error)).remedy(format!(
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
        Err(error) => check("boot id", Status::Fail, check::chain(error))
            .remedy(check::proc_remedy(proc_root)),
    }
}

fn kernel_symbols(
    symbols: &Result<Symbols, SymbolsError>,
    kptr_restrict: Option<&str>,
    proc_root: &Path,
    stand: Selection,
) -> Check {
    const NAME: &str = "kernel symbols";
    let Err(error) = symbols else {
        return check(NAME, Status::Ok, "can be read");
    };
    let (status, cost) = if needs_symbols(stand) {
        (
            Status::Warn,
            "what ran out of memory will not be known (scope unknown)",
        )
    } else {
        (Status::Info, "not needed")
    };
    let (finding, remedy) = match error {
        SymbolsError::Hidden => (
            format!(
                "hidden, with kernel.kptr_restrict {}",
                kptr_restrict.unwrap_or("unknown")
            ),
            "give CAP_SYSLOG, and if kernel.kptr_restrict is 2: sysctl kernel.kptr_restrict=1"
                .to_owned(),
        ),
        SymbolsError::Read(_) => (check::chain(error), check::proc_remedy(proc_root)),
        SymbolsError::Absent(_) => (
            check::chain(error),
            "use a kernel with CONFIG_KALLSYMS whose mm/oom_kill.c is not inlined".to_owned(),
        ),
    };
    check(NAME, status, format!("{finding}: {cost}")).remedy(remedy)
}

/// Only an agent pins.
fn bpffs_mount(path: &Path, pinned: &Result<(), PinError>) -> Check {
    const NAME: &str = "bpffs";
    const COST: &str =
        "watch pins nothing, and an agent looks in the kernel log for kills while it does not run";
    let place = path.display();
    match pinned {
        Ok(()) => check(
            NAME,
            Status::Ok,
            format!("mounted at {place}, and pins work: kills are kept while no agent runs"),
        ),
        Err(PinError::NoBpffs(_)) => check(
            NAME,
            Status::Info,
            format!("not mounted at {place}: {COST}"),
        )
        .remedy("mount -t bpf bpf /sys/fs/bpf, or say with --bpffs where it is"),
        Err(error) => check(
            NAME,
            Status::Info,
            format!("{}: {COST}", check::chain(error)),
        )
        .remedy("give CAP_BPF, and be root to write there"),
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
    fn files_that_watch_needs_fail_with_where_to_look() {
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
    fn symbols_cost_the_scope_where_nothing_else_tells_it() {
        for (error, remedy) in [
            (SymbolsError::Hidden, "kptr_restrict=1"),
            (SymbolsError::Read(Errno::NOENT.into()), "--proc-root"),
            (SymbolsError::Absent("out_of_memory"), "CONFIG_KALLSYMS"),
        ] {
            let symbols = Err(error);
            for way in [None, Some(Backend::RawTracepoint)] {
                let check = kernel_symbols(&symbols, None, Path::new("/proc"), on(way));
                assert_eq!(check.status, Status::Warn, "{check:?}");
                assert!(check.finding.contains("scope unknown"), "{check:?}");
                assert!(has_remedy(&check, remedy), "{check:?}");
            }
            let stand = on(Some(Backend::Fentry));
            let check = kernel_symbols(&symbols, None, Path::new("/proc"), stand);
            assert_eq!(check.status, Status::Info, "{check:?}");
        }
    }

    #[test]
    fn mounts_that_watch_does_without_are_no_warning() {
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
