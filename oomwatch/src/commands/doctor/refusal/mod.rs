//! Why a BPF backend cannot be loaded or attached, and the remedy. Pure.

use std::{error::Error as _, io};

use super::check;
use crate::{
    capture::bpf::{ProbeError, kernel_answer},
    model::backend::Backend,
};

/// A failed step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    step: Step,
    errno: Option<i32>,
    /// What failed and the kernel's error; then the last lines of the verifier's log.
    text: String,
}

/// The step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Checking the own capabilities, or creating maps.
    Permission,
    /// Reading the kernel's BTF.
    Types,
    /// Finding what the programs need in the BTF.
    Needs,
    /// Looking for switches that keep hooks from firing.
    Switch,
    /// Creating maps, and everything else before the programs.
    Object,
    /// Loading a program.
    Load,
    /// Attaching it.
    Attach,
}

impl From<ProbeError> for Refusal {
    fn from(error: ProbeError) -> Self {
        let step = match &error {
            ProbeError::NotPermitted { .. } => Step::Permission,
            ProbeError::NoTypes(_) => Step::Types,
            ProbeError::Lacks(_) => Step::Needs,
            ProbeError::Silent(_) => Step::Switch,
            ProbeError::Functions(_)
            | ProbeError::Object(_)
            | ProbeError::Map { .. }
            | ProbeError::Flag(_)
            | ProbeError::Ring(_)
            | ProbeError::Wait(_) => Step::Object,
            ProbeError::Load { .. } => Step::Load,
            ProbeError::Attach { .. } => Step::Attach,
        };
        let message = error.to_string();
        let (failure, verifier) = message.split_once('\n').unwrap_or((&message, ""));
        // Only the errno is taken from the sources: they repeat the whole log of the verifier.
        let answer = kernel_answer(&error);
        let cause = answer.map(check::os_error).or_else(|| {
            let source = error.source()?;
            Some(check::error_chain(source))
        });
        let mut text =
            cause.map_or_else(|| failure.to_owned(), |cause| format!("{failure}: {cause}"));
        for line in verifier.lines() {
            text.push('\n');
            text.push_str(line.trim());
        }
        Self {
            step,
            errno: answer.and_then(io::Error::raw_os_error),
            text,
        }
    }
}

/// Conditions of this machine that explain a refusal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditions<'a> {
    /// Whether this process has the capabilities to load programs.
    pub(super) may_load: bool,
    /// Whether the kernel's lockdown is in its `confidentiality` mode.
    pub(super) is_confidential: bool,
    /// Whether the kernel has kprobes through perf events.
    pub(super) has_kprobes: bool,
    /// `kernel.perf_event_paranoid`.
    pub(super) perf_event_paranoid: Option<&'a str>,
}

impl Refusal {
    /// Whether maps can be created; absent if that was not tried.
    pub(super) fn has_maps(&self) -> Option<bool> {
        match self.step {
            Step::Load | Step::Attach => Some(true),
            Step::Permission | Step::Object => Some(false),
            Step::Types | Step::Needs | Step::Switch => None,
        }
    }

    /// The finding and the remedy.
    pub(super) fn explain(
        &self,
        backend: Backend,
        conditions: &Conditions<'_>,
    ) -> (String, String) {
        let reason = self.reason(backend, conditions);
        let (finding, remedy) = reason.finding_and_remedy();
        let setting = match (reason, conditions.perf_event_paranoid) {
            (Reason::PerfEvents, Some(setting)) => {
                format!(", with kernel.perf_event_paranoid {setting}")
            }
            _ => String::new(),
        };
        let detail = if reason.is_complete() {
            String::new()
        } else {
            format!("\n{}", self.text)
        };
        (format!("{finding}{setting}{detail}"), remedy.to_owned())
    }

    fn reason(&self, backend: Backend, conditions: &Conditions<'_>) -> Reason {
        match (self.step, backend) {
            (Step::Permission, _) if !conditions.may_load => Reason::Capabilities,
            (Step::Permission, _) => Reason::Maps,
            (Step::Types, _) => Reason::Types,
            (Step::Needs, _) => Reason::Needs,
            (Step::Switch, _) => Reason::Switch,
            (Step::Load | Step::Attach, _) if conditions.is_confidential => Reason::Lockdown,
            (Step::Load, _) if self.lacks_helper() => Reason::KernelMemory,
            (Step::Attach, Backend::Kprobe) if !conditions.has_kprobes => Reason::NoKprobes,
            (Step::Attach, Backend::Kprobe) if self.is_forbidden() => Reason::PerfEvents,
            (Step::Load | Step::Attach, Backend::Fentry) if self.is_forbidden() => {
                Reason::Trampolines
            }
            (Step::Object | Step::Load | Step::Attach, _) => Reason::Other,
        }
    }

    /// Whether the verifier denies a helper, as worded by older kernels and by 7.3: it is always the one that reads the
    /// kernel's memory.
    fn lacks_helper(&self) -> bool {
        ["unknown func", "Use a helper allowed for this program type"]
            .iter()
            .any(|words| self.text.contains(words))
    }

    /// Whether the kernel forbids the step, as opposed to a missing feature or a program that the verifier rejects.
    fn is_forbidden(&self) -> bool {
        /// `include/linux/errno.h`. An error of the kernel's own that some calls return to user space.
        const ENOTSUPP: i32 = 524;
        let forbidden = [libc::EPERM, libc::EACCES, libc::EOPNOTSUPP, ENOTSUPP];
        self.errno.is_some_and(|errno| forbidden.contains(&errno))
    }
}

/// The reason of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Capabilities,
    Maps,
    Types,
    Needs,
    Switch,
    KernelMemory,
    Lockdown,
    NoKprobes,
    PerfEvents,
    Trampolines,
    Other,
}

impl Reason {
    const fn finding_and_remedy(self) -> (&'static str, &'static str) {
        match self {
            Self::Capabilities => (
                "not permitted",
                "see CAP_BPF and CAP_PERFMON, under Privileges; CAP_SYS_ADMIN includes both",
            ),
            Self::Maps => (
                "not permitted, although the capabilities are held",
                "run outside of user namespaces and without a seccomp filter on bpf(2); before Linux 5.11 maps count as \
                 locked memory: run with `ulimit -l unlimited` or CAP_SYS_RESOURCE",
            ),
            Self::Types => (
                "the kernel's structures cannot be read without BTF",
                "see BTF, under Kernel",
            ),
            Self::Needs => (
                "the BTF lacks what the programs need",
                "omit --btf; if it is omitted, report this as a bug, with the kernel's version and the line above",
            ),
            Self::Switch => (
                "a switch of the kernel is off",
                "turn it on as the line above says; raw tracepoints do not need it",
            ),
            Self::KernelMemory => (
                "BPF programs cannot read the kernel's memory",
                "use Linux 5.8 or later, not locked down to confidentiality (see lockdown, under Kernel)",
            ),
            Self::Lockdown => (
                "lockdown is in its confidentiality mode",
                "see lockdown, under Kernel",
            ),
            Self::NoKprobes => (
                "the kernel has no kprobes",
                "use a kernel with CONFIG_KPROBE_EVENTS and CONFIG_PERF_EVENTS",
            ),
            Self::PerfEvents => (
                "perf events are not permitted",
                "grant CAP_SYS_ADMIN, or: sysctl kernel.perf_event_paranoid=2",
            ),
            Self::Trampolines => (
                "the kernel does not permit trampolines",
                "use a kernel with CONFIG_BPF_JIT and CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS, on arm64 Linux 6.4 or later",
            ),
            Self::Other => (
                "refused",
                "use Linux 5.8 or later with CONFIG_BPF_SYSCALL and CONFIG_BPF_EVENTS; if this is one, report a bug with the \
                 lines above",
            ),
        }
    }

    /// Whether the failed step and the kernel's error add nothing to the finding.
    const fn is_complete(self) -> bool {
        matches!(self, Self::Capabilities | Self::Types)
    }
}

#[cfg(test)]
mod tests;
