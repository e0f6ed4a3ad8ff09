//! The hooks, tried one by one: what the kernel answers, not what its version promises.

use std::{error::Error, io, path::PathBuf};

use oomwatch_ebpf::record::{MARK_PID, MARK_TASK};

use super::{
    Roots,
    check::{self, Check, Group, Status},
};
use crate::probe::{Probe, ProbeError, RING_BYTES, Rung, kernel_answer, offsets::Kernel};

#[derive(Debug)]
pub(super) struct Facts {
    /// The maps, and each program with the answer to it; nothing if there are no offsets to load programs with.
    trial: Option<Trial>,
    /// One of the `MARK_` constants.
    mark_victim_argument: Option<u32>,
    kprobes: PathBuf,
    has_kprobes: bool,
}

/// What came of loading and attaching.
#[derive(Debug)]
pub(super) enum Trial {
    /// The maps could not even be made.
    NoMaps(Refusal),
    /// In the order in which they are attached.
    Programs(Vec<(&'static str, Result<(), Refusal>)>),
}

/// A step that the kernel refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// `EPERM`, before or by the kernel.
    not_permitted: bool,
    /// What was refused and the kernel's answer; then the verifier's last lines.
    text: String,
}

impl From<ProbeError> for Refusal {
    fn from(error: ProbeError) -> Self {
        let error_text = error.to_string();
        let (step, verifier) = error_text
            .split_once('\n')
            .map_or((error_text.as_str(), None), |(step, verifier)| {
                (step, Some(verifier))
            });
        // The sources repeat the whole verifier log: the errno is what is new in them.
        let answer = kernel_answer(&error).map(check::answer).or_else(|| {
            let source = error.source()?;
            Some(check::chain(source))
        });
        let mut text = answer.map_or_else(|| step.to_owned(), |answer| format!("{step}: {answer}"));
        for line in verifier.into_iter().flat_map(str::lines) {
            text.push('\n');
            text.push_str(line.trim());
        }
        Self {
            not_permitted: matches!(error, ProbeError::NotPermitted { .. })
                || kernel_answer(&error).and_then(io::Error::raw_os_error) == Some(libc::EPERM),
            text,
        }
    }
}

impl Facts {
    pub(super) fn gather(roots: Roots<'_>, kernel: Option<&Kernel>) -> Self {
        let kprobes = roots
            .system
            .join("sys/bus/event_source/devices/kprobe/type");
        Self {
            trial: kernel.map(|kernel| attempt(kernel, roots)),
            mark_victim_argument: kernel.map(|kernel| kernel.offsets.mark_victim_argument),
            has_kprobes: kprobes.exists(),
            kprobes,
        }
    }

    /// Whether maps could be made, if that was tried.
    pub(super) fn has_maps(&self) -> Option<bool> {
        self.trial
            .as_ref()
            .map(|trial| matches!(trial, Trial::Programs(_)))
    }
}

/// Loads and attaches each program; all are detached when it returns.
fn attempt(kernel: &Kernel, roots: Roots<'_>) -> Trial {
    match Probe::load(Rung::Tracepoint, Some(kernel), roots.system, RING_BYTES) {
        Err(error) => Trial::NoMaps(error.into()),
        Ok(mut probe) => Trial::Programs(
            Rung::Tracepoint
                .programs()
                .iter()
                .map(|program| (program.name, probe.attach(*program).map_err(Refusal::from)))
                .collect(),
        ),
    }
}

/// `may_load`: whether this process has the capabilities to load programs.
pub(super) fn judge(facts: &Facts, may_load: bool) -> Vec<Check> {
    let Facts {
        trial,
        mark_victim_argument,
        kprobes,
        has_kprobes,
    } = facts;
    let untried = |why: &'static str| {
        Rung::Tracepoint
            .programs()
            .iter()
            .map(move |program| check(program.name, Status::Info, format!("not tried: {why}")))
    };
    let mut checks = Vec::new();
    match trial {
        None => checks.extend(untried("without BTF there is nothing to load")),
        Some(Trial::NoMaps(refusal)) => {
            checks.push(refused("maps", refusal, may_load));
            checks.extend(untried("there are no maps"));
        }
        Some(Trial::Programs(programs)) => {
            checks.push(check(
                "maps",
                Status::Ok,
                format!("made, with a ring of {} KiB", RING_BYTES >> 10),
            ));
            checks.extend(programs.iter().map(|(name, result)| match result {
                Ok(()) => check(name, Status::Ok, "raw tracepoint: loads and attaches"),
                Err(refusal) => refused(name, refusal, may_load),
            }));
        }
    }
    checks.extend(mark_victim_argument.map(layout));
    checks.push(check(
        "function hooks",
        Status::Info,
        format!(
            "not used by this version; kprobes are {} ({})",
            if *has_kprobes { "there" } else { "not there" },
            kprobes.display()
        ),
    ));
    checks
}

fn refused(name: &'static str, refusal: &Refusal, may_load: bool) -> Check {
    let Refusal {
        not_permitted,
        text,
    } = refusal;
    match (not_permitted, may_load) {
        (true, false) => check(name, Status::Fail, text)
            .remedy("see CAP_BPF and CAP_PERFMON, under Privileges"),
        (true, true) => check(
            name,
            Status::Fail,
            "operation not permitted, although the capabilities are held",
        )
        .remedy(
            "run outside of user namespaces and without a seccomp filter on bpf(2); before Linux 5.11 maps count as locked \
             memory: run with `ulimit -l unlimited` or CAP_SYS_RESOURCE",
        ),
        (false, _) if text.contains("unknown func") => check(name, Status::Fail, text)
            .remedy("use Linux 5.8 or later, not locked down to confidentiality (see lockdown, under Kernel)"),
        (false, _) => check(name, Status::Fail, text).remedy(
            "use Linux 5.8 or later with CONFIG_BPF_SYSCALL, CONFIG_BPF_EVENTS and CONFIG_TRACEPOINTS; if it is, report this as \
             a bug together with the lines above",
        ),
    }
}

fn layout(argument: u32) -> Check {
    const NAME: &str = "mark_victim layout";
    match argument {
        MARK_TASK => check(NAME, Status::Ok, "task (Linux 6.9, stable kernels of 2025)"),
        MARK_PID => check(NAME, Status::Ok, "pid (before Linux 6.9)"),
        _ => check(
            NAME,
            Status::Warn,
            "not told by BTF, taken for task: kills may be missed",
        )
        .remedy("leave --btf out; if it is, report this kernel as a bug"),
    }
}

fn check(name: &'static str, status: Status, finding: impl Into<String>) -> Check {
    Check::new(Group::Hooks, name, status, finding)
}

#[cfg(test)]
mod tests {
    use std::io;

    use oomwatch_ebpf::record::ABSENT;
    use rustix::io::Errno;

    use super::*;

    fn judged(trial: Option<Trial>, may_load: bool) -> Vec<(&'static str, Status)> {
        judge(
            &Facts {
                trial,
                mark_victim_argument: Some(MARK_TASK),
                kprobes: "/kprobe".into(),
                has_kprobes: false,
            },
            may_load,
        )
        .into_iter()
        .map(|check| (check.name, check.status))
        .collect()
    }

    fn refusal(not_permitted: bool, text: &str) -> Refusal {
        Refusal {
            not_permitted,
            text: text.to_owned(),
        }
    }

    #[test]
    fn each_program_has_its_own_answer() {
        let trial = Trial::Programs(vec![
            ("signal_generate", Ok(())),
            ("mark_victim", Err(refusal(false, "no"))),
        ]);
        assert_eq!(
            judged(Some(trial), true),
            [
                ("maps", Status::Ok),
                ("signal_generate", Status::Ok),
                ("mark_victim", Status::Fail),
                ("mark_victim layout", Status::Ok),
                ("function hooks", Status::Info),
            ]
        );
    }

    #[test]
    fn what_could_not_be_tried_does_not_fail_itself() {
        assert_eq!(
            judged(Some(Trial::NoMaps(refusal(true, "no"))), false)[..2],
            [("maps", Status::Fail), ("signal_generate", Status::Info)]
        );
        assert_eq!(
            judged(None, false)[..2],
            [
                ("signal_generate", Status::Info),
                ("mark_victim", Status::Info)
            ]
        );
    }

    #[test]
    fn remedy_follows_the_reason() {
        for (refusal, may_load, remedy) in [
            (refusal(true, "no"), false, "under Privileges"),
            (refusal(true, "no"), true, "user namespaces"),
            (
                refusal(false, "no\nunknown func bpf_probe_read_kernel#113"),
                true,
                "confidentiality",
            ),
            (refusal(false, "no"), true, "CONFIG_BPF_SYSCALL"),
        ] {
            let check = refused("x", &refusal, may_load);
            assert_eq!(check.status, Status::Fail);
            assert!(
                check
                    .remedy
                    .as_ref()
                    .is_some_and(|text| text.contains(remedy)),
                "{check:?}"
            );
        }
    }

    #[test]
    fn refusal_says_the_step_and_the_answer() {
        let error = ProbeError::Wait(Errno::INVAL.into());
        assert_eq!(
            Refusal::from(error),
            refusal(false, "wait for the ring: invalid argument")
        );
        let error = ProbeError::Wait(io::Error::other("made up"));
        assert_eq!(Refusal::from(error).text, "wait for the ring: made up");
        let error = ProbeError::NotPermitted {
            what: "trying".to_owned(),
        };
        assert!(Refusal::from(error).not_permitted);
    }

    #[test]
    fn layout_that_is_not_told_is_a_warning() {
        for (argument, status) in [
            (MARK_TASK, Status::Ok),
            (MARK_PID, Status::Ok),
            (ABSENT, Status::Warn),
            (7, Status::Warn),
        ] {
            assert_eq!(layout(argument).status, status, "{argument}");
        }
    }
}
