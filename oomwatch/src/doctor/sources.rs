//! The files that facts come from, beside the hooks.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{OFlags, statfs};

use super::{
    Roots,
    check::{self, Check, Group, Status},
    mountinfo,
};
use crate::{
    host::{self, HostError},
    probe::symbols::{Symbols, SymbolsError},
    report::Host,
};

/// `BPF_FS_MAGIC` of `include/uapi/linux/magic.h`.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

#[derive(Debug)]
pub(super) struct Facts {
    proc_root: PathBuf,
    count: Result<u64, HostError>,
    host: Result<Host, HostError>,
    symbols: Result<Symbols, SymbolsError>,
    /// `kernel.kptr_restrict`.
    kptr_restrict: Option<String>,
    kmsg: PathBuf,
    /// The answer to opening it.
    kmsg_opened: io::Result<()>,
    /// `kernel.dmesg_restrict`.
    dmesg_restrict: Option<String>,
    /// Where tracefs is mounted.
    tracefs: Vec<PathBuf>,
    bpffs: PathBuf,
    /// `f_type` of what is mounted there.
    bpffs_type: io::Result<u64>,
}

impl Facts {
    pub(super) fn gather(roots: Roots<'_>) -> Self {
        let sysctl = |name: &str| {
            let text = fs::read_to_string(roots.proc.join("sys/kernel").join(name)).ok()?;
            Some(text.trim().to_owned())
        };
        let mounts = fs::read(roots.proc.join("self/mountinfo"))
            .map(|text| mountinfo::parse(&text))
            .unwrap_or_default();
        let kmsg = roots.system.join("dev/kmsg");
        let bpffs = roots.system.join("sys/fs/bpf");
        Self {
            proc_root: roots.proc.to_owned(),
            count: host::oom_kill_count(roots.proc),
            host: host::host(roots.proc, None),
            symbols: host::symbols(roots.proc),
            kptr_restrict: sysctl("kptr_restrict"),
            kmsg_opened: open(&kmsg).map(drop),
            kmsg,
            dmesg_restrict: sysctl("dmesg_restrict"),
            tracefs: mounts
                .into_iter()
                .filter(|mount| mount.kind == "tracefs")
                .map(|mount| mount.point)
                .collect(),
            bpffs_type: file_system_type(&bpffs),
            bpffs,
        }
    }

    pub(super) fn has_symbols(&self) -> bool {
        self.symbols.is_ok()
    }
}

/// Never waits: a kernel log without new lines would.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
}

fn file_system_type(path: &Path) -> io::Result<u64> {
    let found = statfs(path)?.f_type;
    u64::try_from(found).map_err(io::Error::other)
}

pub(super) fn judge(facts: &Facts) -> Vec<Check> {
    let Facts {
        proc_root,
        count,
        host,
        symbols,
        kptr_restrict,
        kmsg,
        kmsg_opened,
        dmesg_restrict,
        tracefs,
        bpffs,
        bpffs_type,
    } = facts;
    vec![
        kill_count(count, proc_root),
        boot_id(host, proc_root),
        kernel_symbols(symbols, kptr_restrict.as_deref(), proc_root),
        kernel_log(kmsg, kmsg_opened, dmesg_restrict.as_deref()),
        tracefs_mount(tracefs),
        bpffs_mount(bpffs, bpffs_type),
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

fn boot_id(host: &Result<Host, HostError>, proc_root: &Path) -> Check {
    match host {
        Ok(Host { node, boot_id }) => check("boot id", Status::Ok, format!("{boot_id}, of {node}")),
        Err(error) => check("boot id", Status::Fail, check::chain(error))
            .remedy(check::proc_remedy(proc_root)),
    }
}

fn kernel_symbols(
    symbols: &Result<Symbols, SymbolsError>,
    kptr_restrict: Option<&str>,
    proc_root: &Path,
) -> Check {
    const NAME: &str = "kernel symbols";
    const COST: &str = "what ran out of memory will not be known (scope unknown)";
    let setting = kptr_restrict.unwrap_or("unknown");
    match symbols {
        Ok(_) => check(NAME, Status::Ok, "can be read"),
        Err(SymbolsError::Hidden) => check(
            NAME,
            Status::Warn,
            format!("hidden, with kernel.kptr_restrict {setting}: {COST}"),
        )
        .remedy("give CAP_SYSLOG, and if kernel.kptr_restrict is 2: sysctl kernel.kptr_restrict=1"),
        Err(error @ SymbolsError::Read(_)) => check(
            NAME,
            Status::Warn,
            format!("{}: {COST}", check::chain(error)),
        )
        .remedy(check::proc_remedy(proc_root)),
        Err(error @ SymbolsError::Absent(_)) => check(
            NAME,
            Status::Warn,
            format!("{}: {COST}", check::chain(error)),
        )
        .remedy("use a kernel with CONFIG_KALLSYMS whose mm/oom_kill.c is not inlined"),
    }
}

/// Not read by `watch` so far, so that nothing is lost without.
fn kernel_log(path: &Path, opened: &io::Result<()>, dmesg_restrict: Option<&str>) -> Check {
    const NAME: &str = "kernel log";
    let place = path.display();
    let setting = dmesg_restrict.unwrap_or("unknown");
    let Err(error) = opened else {
        return check(
            NAME,
            Status::Ok,
            format!("{place} can be read, with kernel.dmesg_restrict {setting}"),
        );
    };
    let found = check(
        NAME,
        Status::Info,
        format!(
            "open {place}: {}, with kernel.dmesg_restrict {setting}; this version does not read it",
            check::answer(error)
        ),
    );
    match error.kind() {
        io::ErrorKind::PermissionDenied => found.remedy(
            "give CAP_SYSLOG, or sysctl kernel.dmesg_restrict=0; in a container allow the device (privileged)",
        ),
        _ => found,
    }
}

fn tracefs_mount(places: &[PathBuf]) -> Check {
    match places.first() {
        Some(place) => check(
            "tracefs",
            Status::Ok,
            format!("mounted at {}", place.display()),
        ),
        None => check(
            "tracefs",
            Status::Info,
            "not mounted: raw tracepoints do without",
        ),
    }
}

fn bpffs_mount(path: &Path, found: &io::Result<u64>) -> Check {
    let place = path.display();
    match found {
        Ok(BPF_FS_MAGIC) => check("bpffs", Status::Ok, format!("mounted at {place}")),
        Ok(_) => check(
            "bpffs",
            Status::Info,
            format!("not mounted at {place}: watch pins nothing"),
        ),
        Err(error) => check(
            "bpffs",
            Status::Info,
            format!(
                "not mounted at {place} ({}): watch pins nothing",
                check::answer(error)
            ),
        ),
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
            kill_count(&host::oom_kill_count(nowhere), nowhere),
            boot_id(&host::host(nowhere, None), nowhere),
        ] {
            assert_eq!(check.status, Status::Fail, "{check:?}");
            assert!(check.finding.contains("/nonexistent/"), "{check:?}");
            assert!(has_remedy(&check, "--proc-root"), "{check:?}");
        }
        assert_eq!(kill_count(&Ok(7), nowhere).status, Status::Ok);
    }

    #[test]
    fn symbols_cost_the_scope() {
        for (error, remedy) in [
            (SymbolsError::Hidden, "kptr_restrict=1"),
            (SymbolsError::Read(Errno::NOENT.into()), "--proc-root"),
            (SymbolsError::Absent("out_of_memory"), "CONFIG_KALLSYMS"),
        ] {
            let check = kernel_symbols(&Err(error), None, Path::new("/proc"));
            assert_eq!(check.status, Status::Warn, "{check:?}");
            assert!(check.finding.contains("scope unknown"), "{check:?}");
            assert!(has_remedy(&check, remedy), "{check:?}");
        }
    }

    #[test]
    fn kernel_log_that_is_refused_tells_the_setting() {
        let path = Path::new("/dev/kmsg");
        let refused = kernel_log(path, &Err(Errno::PERM.into()), Some("1"));
        assert_eq!(refused.status, Status::Info);
        assert!(refused.finding.contains("kernel.dmesg_restrict 1"));
        assert!(has_remedy(&refused, "CAP_SYSLOG"));
        let absent = kernel_log(path, &Err(Errno::NOENT.into()), None);
        assert_eq!((absent.status, absent.remedy), (Status::Info, None));
        assert_eq!(kernel_log(path, &Ok(()), None).status, Status::Ok);
    }

    #[test]
    fn mounts_that_watch_does_without_are_no_warning() {
        for (check, status) in [
            (tracefs_mount(&[]), Status::Info),
            (tracefs_mount(&["/sys/kernel/tracing".into()]), Status::Ok),
            (bpffs_mount(Path::new("/x"), &Ok(BPF_FS_MAGIC)), Status::Ok),
            (bpffs_mount(Path::new("/x"), &Ok(0x6265_6572)), Status::Info),
            (
                bpffs_mount(Path::new("/x"), &Err(Errno::NOENT.into())),
                Status::Info,
            ),
        ] {
            assert_eq!(check.status, status, "{check:?}");
        }
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
        assert!(open(&pipe).is_ok());
    }
}
