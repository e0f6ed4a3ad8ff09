//! Checks of the capture backends: each one is tried, and the kernel's version is not asked.
//!
//! A trial loads programs and maps of its own, which no other process sees, and unloads them at its end.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    backends::Unavailable,
    check::{self, Check, Group, Status},
    refusal::{Conditions, Refusal},
    roots::Roots,
    selection::Selection,
};
use crate::{
    capture::{
        bpf::{
            self, Probe, ProbeError, RING_BYTES,
            features::{KPROBES_ENABLED, switched_off},
            kernel_answer,
            offsets::{KernelTypes, LoadError},
            programs,
        },
        kmsg::reader::{ReadError, Reader, Start},
    },
    model::backend::Backend,
    sys::proc::{self, HostError},
};

#[derive(Debug)]
pub(super) struct TrialFacts {
    choice: Option<Backend>,
    /// Whether the programs of each BPF backend load and attach, best backend first.
    trials: Vec<(Backend, Result<(), Refusal>)>,
    has_kprobes: bool,
    /// `kernel.perf_event_paranoid`.
    perf_event_paranoid: Option<String>,
    log: PathBuf,
    /// Whether the kernel log can be opened and read.
    log_read: Result<(), ReadError>,
    /// `kernel.dmesg_restrict`.
    dmesg_restrict: Option<String>,
    /// The kernel's count of kills.
    count: Result<u64, HostError>,
    /// A file with a cgroup's own count.
    cgroup_count: Option<PathBuf>,
}

impl TrialFacts {
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
                    let attached = attach(backend, kernel, roots);
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

    /// Whether maps can be created; absent if that was not tried.
    pub(super) fn has_maps(&self) -> Option<bool> {
        let has_maps = |(_, attached): &(_, Result<(), Refusal>)| match attached {
            Ok(()) => Some(true),
            Err(refusal) => refusal.has_maps(),
        };
        self.trials
            .iter()
            .filter_map(has_maps)
            .reduce(|a, b| a || b)
    }

    /// The backend that `watch` selects.
    pub(super) fn selection(&self) -> Selection {
        let works = |backend| match backend {
            Backend::Kmsg => self.log_read.is_ok(),
            Backend::Counters => self.count.is_ok(),
            bpf => self
                .trials
                .iter()
                .any(|(tried, attached)| *tried == bpf && attached.is_ok()),
        };
        Selection {
            choice: self.choice,
            backend: Backend::ALL
                .into_iter()
                .filter(|backend| backend.is_allowed_by(self.choice))
                .find(|&backend| works(backend)),
        }
    }
}

/// Loads and attaches the programs of a backend like `watch`. They are detached when it returns.
fn attach(
    backend: Backend,
    kernel: &Result<KernelTypes, LoadError>,
    roots: Roots<'_>,
) -> Result<(), ProbeError> {
    let kprobes_enabled = roots.system.join(&KPROBES_ENABLED[1..]);
    if let Some(switch) = switched_off(backend, roots.proc, &kprobes_enabled) {
        return Err(ProbeError::Silent(switch));
    }
    let kernel = kernel
        .as_ref()
        .map_err(|error| ProbeError::NoTypes(bpf::describe(error)))?;
    let mut probe = Probe::load(backend, kernel, RING_BYTES)?;
    programs(backend)
        .iter()
        .try_for_each(|&program| probe.attach(program))
}

/// Reads one record without blocking.
fn read_log(path: &Path) -> Result<(), ReadError> {
    Reader::open(path, Start::Oldest)?.next_record().map(drop)
}

/// The result of trying one backend.
struct Trial {
    backend: Backend,
    /// The finding if it works, else the finding and the remedy.
    result: Result<String, (String, String)>,
}

/// `may_load`: whether this process has the capabilities to load programs. `is_confidential`: whether the kernel's lockdown
/// is in its `confidentiality` mode.
pub(super) fn checks(facts: &TrialFacts, may_load: bool, is_confidential: bool) -> Vec<Check> {
    let TrialFacts {
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
    let tried = trials.iter().map(|(backend, attached)| Trial {
        backend: *backend,
        result: match attached {
            Ok(()) => Ok(format!(
                "{} programs load and attach",
                programs(*backend).len()
            )),
            Err(refusal) => Err(refusal.explain(*backend, &conditions)),
        },
    });
    let selection = facts.selection();
    let mut checks: Vec<_> = tried
        .chain([
            kernel_log(log, log_read, dmesg_restrict.as_deref()),
            counters(count, cgroup_count.as_deref()),
        ])
        .map(|trial| check_backend(trial, selection))
        .collect();
    checks.push(check_selection(selection));
    checks
}

fn kernel_log(path: &Path, read: &Result<(), ReadError>, dmesg_restrict: Option<&str>) -> Trial {
    let setting = format!(
        "kernel.dmesg_restrict {}",
        dmesg_restrict.unwrap_or("unknown")
    );
    let result = match read {
        Ok(()) => Ok(format!("{} can be read, with {setting}", path.display())),
        Err(error) => {
            let is_refused = kernel_answer(error)
                .is_some_and(|answer| answer.kind() == io::ErrorKind::PermissionDenied);
            let remedy = if is_refused {
                "grant CAP_SYSLOG, or sysctl kernel.dmesg_restrict=0; in a container allow the device (privileged)"
            } else {
                "use a kernel with CONFIG_PRINTK; in a container allow the device (privileged)"
            };
            Err((
                format!("{}, with {setting}", check::error_chain(error)),
                remedy.to_owned(),
            ))
        }
    };
    Trial {
        backend: Backend::Kmsg,
        result,
    }
}

/// The check "count of kills" is about the same file, which every backend needs.
fn counters(count: &Result<u64, HostError>, cgroup_count: Option<&Path>) -> Trial {
    let result = match (count, cgroup_count) {
        (Ok(_), Some(path)) => Ok(format!(
            "the counts of the machine and of cgroups (such as {}) can be read",
            path.display()
        )),
        (Ok(_), None) => Ok("the machine's count can be read, but no count of a cgroup".to_owned()),
        (Err(_), _) => Err((
            "the machine's count cannot be read".to_owned(),
            "see count of kills, under Sources".to_owned(),
        )),
    };
    Trial {
        backend: Backend::Counters,
        result,
    }
}

fn check_backend(Trial { backend, result }: Trial, selection: Selection) -> Check {
    let name = backend.flag();
    match result {
        Ok(finding) => check(name, Status::Ok, finding),
        Err((finding, remedy)) => {
            let status = selection.without(|unavailable| unavailable == backend);
            check(name, status, finding).remedy(remedy)
        }
    }
}

fn check_selection(Selection { choice, backend }: Selection) -> Check {
    const NAME: &str = "--backend";
    let choice = choice.map_or("auto", Backend::flag);
    let Some(backend) = backend else {
        // The checks of the backends themselves fail.
        return check(NAME, Status::Info, format!("{choice} selects none"));
    };
    let Unavailable { never, by_log } = backend.unavailable();
    let mut lines = vec![format!("{choice} selects {}", backend.flag())];
    for (label, facts) in [("unknown", never), ("from the kernel log", by_log)] {
        if !facts.is_empty() {
            lines.push(format!("{label}: {}", facts.join(", ")));
        }
    }
    check(NAME, Status::Ok, lines.join("\n"))
}

fn check(name: &'static str, status: Status, finding: impl Into<String>) -> Check {
    Check::new(Group::Backends, name, status, finding)
}

#[cfg(test)]
mod tests;
