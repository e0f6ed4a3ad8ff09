//! The rungs of the ladder, each tried for real: what the kernel answers, not what its version promises.
//!
//! A trial has programs and maps of its own, which no other watcher sees, and takes them along when it ends.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{ValueEnum as _, builder::PossibleValue};

use super::{
    Roots,
    check::{self, Check, Group, Status},
    mountinfo,
    refusal::{Conditions, Refusal},
};
use crate::commands::doctor::backends::{Unavailable, Way};
use crate::{
    capture::{
        bpf::{
            self, Probe, ProbeError, RING_BYTES, Rung,
            format::TRACEFS,
            kernel_answer,
            offsets::{KernelTypes, LoadError},
        },
        kmsg::reader::{ReadError, Reader, Start},
    },
    cli::HooksChoice,
    sys::proc::{self, HostError},
};

#[derive(Debug)]
pub(super) struct Facts {
    choice: HooksChoice,
    /// What came of loading and attaching all programs, best first.
    trials: Vec<(Rung, Result<(), Refusal>)>,
    has_kprobes: bool,
    /// Whether tracefs is mounted where it is looked for.
    has_tracefs: bool,
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
        choice: HooksChoice,
        kernel: &Result<KernelTypes, LoadError>,
        cgroup_count: Option<&Path>,
    ) -> Self {
        let sysctl = |name: &str| {
            let text = fs::read_to_string(roots.proc.join("sys/kernel").join(name)).ok()?;
            Some(text.trim().to_owned())
        };
        let mounts = fs::read(roots.proc.join("self/mountinfo"))
            .map(|text| mountinfo::parse(&text))
            .unwrap_or_default();
        let log = roots.system.join("dev/kmsg");
        Self {
            choice,
            trials: Rung::ALL
                .into_iter()
                .map(|rung| {
                    let attached = attach(rung, kernel, roots.system);
                    (rung, attached.map_err(Refusal::from))
                })
                .collect(),
            has_kprobes: roots
                .system
                .join("sys/bus/event_source/devices/kprobe/type")
                .exists(),
            has_tracefs: mounts.iter().any(|mount| {
                let is_there = |place| mount.point == roots.system.join(place);
                mount.kind == "tracefs" && TRACEFS.into_iter().any(is_there)
            }),
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
        let works = |way| match way {
            Way::Programs(rung) => self
                .trials
                .iter()
                .any(|(tried, attached)| *tried == rung && attached.is_ok()),
            Way::Log => self.log_read.is_ok(),
            Way::Counters => self.count.is_ok(),
        };
        // As `watch` does: whoever may not load programs is told so, and not served less instead.
        let is_forbidden = |way| {
            self.trials.iter().any(|(tried, attached)| {
                Way::Programs(*tried) == way
                    && attached.as_ref().is_err_and(Refusal::is_without_permission)
            })
        };
        let first = Way::all()
            .filter(|way| way.is_allowed_by(self.choice))
            .find(|&way| works(way) || is_forbidden(way));
        Selection {
            choice: self.choice,
            way: first.filter(|&way| works(way)),
        }
    }
}

/// As `watch` does; all is detached when it returns.
fn attach(
    rung: Rung,
    kernel: &Result<KernelTypes, LoadError>,
    root: &Path,
) -> Result<(), ProbeError> {
    let kernel = match kernel {
        Ok(kernel) => Some(kernel),
        Err(error) if rung.needs_types() => {
            return Err(ProbeError::NoTypes(bpf::describe(error)));
        }
        Err(_) => None,
    };
    let mut probe = Probe::load(rung, kernel, root, RING_BYTES)?;
    rung.programs()
        .iter()
        .try_for_each(|&program| probe.attach(program))
}

/// Never waits.
fn read_log(path: &Path) -> Result<(), ReadError> {
    Reader::open(path, Start::Oldest)?.next_record().map(drop)
}

/// What `watch` takes of the ways to see kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// What it was started with.
    pub(super) choice: HooksChoice,
    /// The best that is allowed and works.
    pub(super) way: Option<Way>,
}

impl Selection {
    /// How bad it is that some ways are refused: not at all if none of them would be taken otherwise, or if raw tracepoints
    /// or better are left.
    pub(super) fn without(self, is_refused: impl Fn(Way) -> bool) -> Status {
        let would_be_taken = Way::all()
            .take_while(|&better| Some(better) != self.way)
            .any(|better| better.is_allowed_by(self.choice) && is_refused(better));
        match self.way {
            _ if !would_be_taken => Status::Info,
            None => Status::Fail,
            Some(way) if way.is_degraded() => Status::Warn,
            Some(_) => Status::Info,
        }
    }

    /// The same if no program can be loaded.
    pub(super) fn without_programs(self) -> Status {
        self.without(|way| matches!(way, Way::Programs(_)))
    }
}

/// What was found of one way: that it works, or why not and what to do about it.
struct Found {
    way: Way,
    works: Result<String, (String, String)>,
}

/// `may_load`: whether this process has the capabilities to load programs; `is_confidential`: whether the kernel is locked
/// down to confidentiality.
pub(super) fn judge(facts: &Facts, may_load: bool, is_confidential: bool) -> Vec<Check> {
    let Facts {
        choice: _,
        trials,
        has_kprobes,
        has_tracefs,
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
        has_tracefs: *has_tracefs,
        perf_event_paranoid: perf_event_paranoid.as_deref(),
    };
    let tried = trials.iter().map(|(rung, attached)| Found {
        way: Way::Programs(*rung),
        works: match attached {
            Ok(()) => Ok(format!(
                "{} programs load and attach",
                rung.programs().len()
            )),
            Err(refusal) => Err(refusal.explain(*rung, &conditions)),
        },
    });
    let stand = facts.stand();
    let mut checks: Vec<_> = tried
        .chain([
            kernel_log(log, log_read, dmesg_restrict.as_deref()),
            counters(count, cgroup_count.as_deref()),
        ])
        .map(|found| rung(found, stand))
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
        way: Way::Log,
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
        way: Way::Counters,
        works,
    }
}

fn rung(Found { way, works }: Found, stand: Selection) -> Check {
    let name = way.as_str();
    match works {
        Ok(finding) => check(name, Status::Ok, finding),
        Err((finding, remedy)) => {
            check(name, stand.without(|refused| refused == way), finding).remedy(remedy)
        }
    }
}

fn chosen(Selection { choice, way }: Selection) -> Check {
    const NAME: &str = "--hooks";
    let choice = choice.to_possible_value();
    let choice = choice.as_ref().map_or("", PossibleValue::get_name);
    let Some(way) = way else {
        // Those that do not work fail.
        return check(NAME, Status::Info, format!("{choice} takes none"));
    };
    let Unavailable { never, by_log } = way.untold();
    let mut lines = vec![format!("{choice} takes {}", way.as_str())];
    for (words, facts) in [("never told", never), ("left to the kernel log", by_log)] {
        if !facts.is_empty() {
            lines.push(format!("{words}: {}", facts.join(", ")));
        }
    }
    check(NAME, Status::Ok, lines.join("\n"))
}

fn check(name: &'static str, status: Status, finding: impl Into<String>) -> Check {
    Check::new(Group::Hooks, name, status, finding)
}

#[cfg(test)]
mod tests;
