//! The rungs of the ladder, each tried for real: what the kernel answers, not what its version promises.
//!
//! A trial has programs and maps of its own, which no other watcher sees, and takes them along when it ends.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Roots,
    check::{self, Check, Group, Status},
    refusal::{Conditions, Refusal},
};
use crate::commands::doctor::backends::Unavailable;
use crate::{
    capture::{
        bpf::{
            self, Probe, ProbeError, RING_BYTES, kernel_answer,
            offsets::{KernelTypes, LoadError},
            programs,
        },
        kmsg::reader::{ReadError, Reader, Start},
    },
    model::backend::Backend,
    sys::proc::{self, HostError},
};

#[derive(Debug)]
pub(super) struct Facts {
    choice: Option<Backend>,
    /// What came of loading and attaching all programs, best first.
    trials: Vec<(Backend, Result<(), Refusal>)>,
    has_kprobes: bool,
    /// `kernel.perf_event_paranoid`.
    perf_event_paranoid: Option<String>,
    log: PathBuf,
    /// The answer to opening the kernel log and reading in it.
    log_read: Result<(), ReadError>,
    /// `kernel.dmesg_restrict`.
    dmesg_restrict: Option<String>,
    /// The kernel's count of kills.
    count: Result<u64, HostError>,
    /// A cgroup's file with its own count.
    cgroup_count: Option<PathBuf>,
}

impl Facts {
    pub(super) fn gather(
        roots: Roots<'_>,
        choice: Option<Backend>,
        kernel: &Result<KernelTypes, LoadError>,
        cgroup_count: Option<&Path>,
    ) -> Self {
        let sysctl = |name: &str| {
            let text = fs::read_to_string(roots.proc.join("sys/kernel").join(name)).ok()?;
            Some(text.trim().to_owned())
        };
        let log = roots.system.join("dev/kmsg");
        Self {
            choice,
            trials: Backend::BPF
                .into_iter()
                .map(|backend| {
                    let attached = attach(backend, kernel);
                    (backend, attached.map_err(Refusal::from))
                })
                .collect(),
            has_kprobes: roots
                .system
                .join("sys/bus/event_source/devices/kprobe/type")
                .exists(),
            perf_event_paranoid: sysctl("perf_event_paranoid"),
            log_read: read_log(&log),
            log,
            dmesg_restrict: sysctl("dmesg_restrict"),
            count: proc::oom_kill_count(roots.proc),
            cgroup_count: cgroup_count.map(Path::to_owned),
        }
    }

    /// Whether maps could be made, if that was tried.
    pub(super) fn has_maps(&self) -> Option<bool> {
        let made = |(_, attached): &(_, Result<(), Refusal>)| match attached {
            Ok(()) => Some(true),
            Err(refusal) => refusal.has_maps(),
        };
        self.trials.iter().filter_map(made).reduce(|a, b| a || b)
    }

    /// What `watch` takes.
    pub(super) fn stand(&self) -> Selection {
        let works = |backend| match backend {
            Backend::Kmsg => self.log_read.is_ok(),
            Backend::Counters => self.count.is_ok(),
            bpf => self
                .trials
                .iter()
                .any(|(tried, attached)| *tried == bpf && attached.is_ok()),
        };
        // As in `watch`, missing privileges end the search.
        let is_forbidden = |backend| {
            self.trials.iter().any(|(tried, attached)| {
                *tried == backend && attached.as_ref().is_err_and(Refusal::is_without_permission)
            })
        };
        let first = Backend::ALL
            .into_iter()
            .filter(|backend| backend.is_allowed_by(self.choice))
            .find(|&backend| works(backend) || is_forbidden(backend));
        Selection {
            choice: self.choice,
            backend: first.filter(|&backend| works(backend)),
        }
    }
}

/// As `watch` does; all is detached when it returns.
fn attach(backend: Backend, kernel: &Result<KernelTypes, LoadError>) -> Result<(), ProbeError> {
    let kernel = kernel
        .as_ref()
        .map_err(|error| ProbeError::NoTypes(bpf::describe(error)))?;
    let mut probe = Probe::load(backend, kernel, RING_BYTES)?;
    programs(backend)
        .iter()
        .try_for_each(|&program| probe.attach(program))
}

/// Never waits.
fn read_log(path: &Path) -> Result<(), ReadError> {
    Reader::open(path, Start::Oldest)?.next_record().map(drop)
}

/// The backend that `watch` uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// What it was started with.
    pub(super) choice: Option<Backend>,
    /// The best that is allowed and works.
    pub(super) backend: Option<Backend>,
}

impl Selection {
    /// How bad it is that some ways are refused: not at all if none of them would be taken otherwise, or if raw tracepoints
    /// or better are left.
    pub(super) fn without(self, is_refused: impl Fn(Backend) -> bool) -> Status {
        let would_be_taken = Backend::ALL
            .into_iter()
            .take_while(|&better| Some(better) != self.backend)
            .any(|better| better.is_allowed_by(self.choice) && is_refused(better));
        match self.backend {
            _ if !would_be_taken => Status::Info,
            None => Status::Fail,
            Some(backend) if backend.is_degraded() => Status::Warn,
            Some(_) => Status::Info,
        }
    }

    /// The same if no program can be loaded.
    pub(super) fn without_programs(self) -> Status {
        self.without(Backend::is_bpf)
    }
}

/// What was found of one way: that it works, or why not and what to do about it.
struct Found {
    backend: Backend,
    works: Result<String, (String, String)>,
}

/// `may_load`: whether this process has the capabilities to load programs; `is_confidential`: whether the kernel is locked
/// down to confidentiality.
pub(super) fn judge(facts: &Facts, may_load: bool, is_confidential: bool) -> Vec<Check> {
    let Facts {
        choice: _,
        trials,
        has_kprobes,
        perf_event_paranoid,
        log,
        log_read,
        dmesg_restrict,
        count,
        cgroup_count,
    } = facts;
    let conditions = Conditions {
        may_load,
        is_confidential,
        has_kprobes: *has_kprobes,
        perf_event_paranoid: perf_event_paranoid.as_deref(),
    };
    let tried = trials.iter().map(|(backend, attached)| Found {
        backend: *backend,
        works: match attached {
            Ok(()) => Ok(format!(
                "{} programs load and attach",
                programs(*backend).len()
            )),
            Err(refusal) => Err(refusal.explain(*backend, &conditions)),
        },
    });
    let stand = facts.stand();
    let mut checks: Vec<_> = tried
        .chain([
            kernel_log(log, log_read, dmesg_restrict.as_deref()),
            counters(count, cgroup_count.as_deref()),
        ])
        .map(|found| verdict(found, stand))
        .collect();
    checks.push(chosen(stand));
    checks
}

fn kernel_log(path: &Path, read: &Result<(), ReadError>, dmesg_restrict: Option<&str>) -> Found {
    let setting = format!(
        "kernel.dmesg_restrict {}",
        dmesg_restrict.unwrap_or("unknown")
    );
    let works = match read {
        Ok(()) => Ok(format!("{} can be read, with {setting}", path.display())),
        Err(error) => {
            let is_refused = kernel_answer(error)
                .is_some_and(|answer| answer.kind() == io::ErrorKind::PermissionDenied);
            let remedy = if is_refused {
                "give CAP_SYSLOG, or sysctl kernel.dmesg_restrict=0; in a container allow the device (privileged)"
            } else {
                "use a kernel with CONFIG_PRINTK; in a container allow the device (privileged)"
            };
            Err((
                format!("{}, with {setting}", check::chain(error)),
                remedy.to_owned(),
            ))
        }
    };
    Found {
        backend: Backend::Kmsg,
        works,
    }
}

/// Counts the kernel's kills; see "count of kills", too, which every way needs.
fn counters(count: &Result<u64, HostError>, cgroup_count: Option<&Path>) -> Found {
    let works = match (count, cgroup_count) {
        (Ok(_), Some(path)) => Ok(format!(
            "the machine's count can be read, and cgroups' own (as {})",
            path.display()
        )),
        (Ok(_), None) => Ok("the machine's count can be read, but no cgroup's own".to_owned()),
        (Err(_), _) => Err((
            "the machine's count cannot be read".to_owned(),
            "see count of kills, under Sources".to_owned(),
        )),
    };
    Found {
        backend: Backend::Counters,
        works,
    }
}

fn verdict(Found { backend, works }: Found, stand: Selection) -> Check {
    let name = backend.flag();
    match works {
        Ok(finding) => check(name, Status::Ok, finding),
        Err((finding, remedy)) => {
            check(name, stand.without(|refused| refused == backend), finding).remedy(remedy)
        }
    }
}

fn chosen(Selection { choice, backend }: Selection) -> Check {
    const NAME: &str = "--backend";
    let choice = choice.map_or("auto", Backend::flag);
    let Some(backend) = backend else {
        // Those that do not work fail.
        return check(NAME, Status::Info, format!("{choice} takes none"));
    };
    let Unavailable { never, by_log } = backend.unavailable();
    let mut lines = vec![format!("{choice} takes {}", backend.flag())];
    for (words, facts) in [("never told", never), ("left to the kernel log", by_log)] {
        if !facts.is_empty() {
            lines.push(format!("{words}: {}", facts.join(", ")));
        }
    }
    check(NAME, Status::Ok, lines.join("\n"))
}

fn check(name: &'static str, status: Status, finding: impl Into<String>) -> Check {
    Check::new(Group::Backends, name, status, finding)
}

#[cfg(test)]
mod tests;
