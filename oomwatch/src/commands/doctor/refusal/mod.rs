//! Why a backend could not be attached, in plain words, and what to do about it: pure.

use std::{error::Error as _, io};

use super::check;
use crate::capture::bpf::{ProbeError, kernel_answer};
use crate::model::backend::Backend;

/// A step that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    step: Step,
    errno: Option<i32>,
    /// What was refused and the kernel's answer; then the verifier's last lines.
    text: String,
}

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Looking at the own capabilities, or making maps.
    Permission,
    /// Reading the kernel's types.
    Types,
    /// Finding what the programs need in the kernel's types.
    Needs,
    /// Making maps, and whatever else comes before the programs.
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
            ProbeError::Functions(_)
            | ProbeError::Object(_)
            | ProbeError::Map { .. }
            | ProbeError::Ring(_)
            | ProbeError::Wait(_) => Step::Object,
            ProbeError::Load { .. } => Step::Load,
            ProbeError::Attach { .. } => Step::Attach,
        };
        let message = error.to_string();
        let (what, verifier) = message.split_once('\n').unwrap_or((&message, ""));
        // The sources repeat the whole verifier log: the errno is what is new in them.
        let answer = kernel_answer(&error);
        let reason = answer.map(check::answer).or_else(|| {
            let source = error.source()?;
            Some(check::chain(source))
        });
        let mut text = reason.map_or_else(|| what.to_owned(), |reason| format!("{what}: {reason}"));
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

/// What of this machine explains a refusal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditions<'a> {
    /// Whether this process has the capabilities to load programs.
    pub(super) may_load: bool,
    /// Whether the kernel is locked down to confidentiality.
    pub(super) is_confidential: bool,
    /// Whether the kernel has kprobes for perf events.
    pub(super) has_kprobes: bool,
    /// `kernel.perf_event_paranoid`.
    pub(super) perf_event_paranoid: Option<&'a str>,
}

impl Refusal {
    /// Whether this process may not load programs at all.
    pub(super) fn is_without_permission(&self) -> bool {
        self.step == Step::Permission
    }

    /// Whether maps could be made; nothing if it did not come to that.
    pub(super) fn has_maps(&self) -> Option<bool> {
        match self.step {
            Step::Load | Step::Attach => Some(true),
            Step::Permission | Step::Object => Some(false),
            Step::Types | Step::Needs => None,
        }
    }

    /// What was found, and the remedy.
    pub(super) fn explain(
        &self,
        backend: Backend,
        conditions: &Conditions<'_>,
    ) -> (String, String) {
        let reason = self.reason(backend, conditions);
        let (words, remedy) = reason.told();
        let setting = match (reason, conditions.perf_event_paranoid) {
            (Reason::PerfEvents, Some(setting)) => {
                format!(", with kernel.perf_event_paranoid {setting}")
            }
            _ => String::new(),
        };
        let detail = if reason.is_told_elsewhere() {
            String::new()
        } else {
            format!("\n{}", self.text)
        };
        (format!("{words}{setting}{detail}"), remedy.to_owned())
    }

    fn reason(&self, backend: Backend, conditions: &Conditions<'_>) -> Reason {
        match (self.step, backend) {
            (Step::Permission, _) if !conditions.may_load => Reason::Capabilities,
            (Step::Permission, _) => Reason::Maps,
            (Step::Types, _) => Reason::Types,
            (Step::Needs, _) => Reason::Needs,
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

    /// Whether the verifier does not give a helper away, in the words of older ones and of 7.3: it is always the one that
    /// reads the kernel's memory.
    fn lacks_helper(&self) -> bool {
        ["unknown func", "Use a helper allowed for this program type"]
            .iter()
            .any(|words| self.text.contains(words))
    }

    /// As opposed to what is not there, and to what the verifier finds fault with.
    fn is_forbidden(&self) -> bool {
        /// `include/linux/errno.h`: the kernel's own, which leaves it all the same.
        const ENOTSUPP: i32 = 524;
        let forbidden = [libc::EPERM, libc::EACCES, libc::EOPNOTSUPP, ENOTSUPP];
        self.errno.is_some_and(|errno| forbidden.contains(&errno))
    }
}

/// What is behind a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Capabilities,
    Maps,
    Types,
    Needs,
    KernelMemory,
    Lockdown,
    NoKprobes,
    PerfEvents,
    Trampolines,
    Other,
}

impl Reason {
    /// In plain words, with the remedy.
    const fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::Capabilities => (
                "not permitted",
                "see CAP_BPF and CAP_PERFMON, under Privileges; CAP_SYS_ADMIN stands for both",
            ),
            Self::Maps => (
                "not permitted, although the capabilities are held",
                "run outside of user namespaces and without a seccomp filter on bpf(2); before Linux 5.11 maps count as \
                 locked memory: run with `ulimit -l unlimited` or CAP_SYS_RESOURCE",
            ),
            Self::Types => (
                "without the kernel's types its structures cannot be read",
                "see BTF, under Kernel",
            ),
            Self::Needs => (
                "what the programs need is not there",
                "leave --btf out; if it is, report this kernel as a bug together with the line above",
            ),
            Self::KernelMemory => (
                "programs may not read the kernel's memory",
                "use Linux 5.8 or later, not locked down to confidentiality (see lockdown, under Kernel)",
            ),
            Self::Lockdown => (
                "the kernel is locked down to confidentiality",
                "see lockdown, under Kernel",
            ),
            Self::NoKprobes => (
                "no kprobes in this kernel",
                "use a kernel with CONFIG_KPROBE_EVENTS and CONFIG_PERF_EVENTS",
            ),
            Self::PerfEvents => (
                "perf events are refused",
                "give CAP_SYS_ADMIN, or: sysctl kernel.perf_event_paranoid=2",
            ),
            Self::Trampolines => (
                "this kernel refuses trampolines",
                "use one that allows them: CONFIG_BPF_JIT and CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS, on arm64 Linux 6.4 \
                 or later",
            ),
            Self::Other => (
                "refused",
                "use Linux 5.8 or later with CONFIG_BPF_SYSCALL and CONFIG_BPF_EVENTS; if it is, report this as a bug \
                 together with the lines above",
            ),
        }
    }

    /// Whether the step and the kernel's answer add nothing.
    const fn is_told_elsewhere(self) -> bool {
        matches!(self, Self::Capabilities | Self::Types)
    }
}

#[cfg(test)]
mod tests;
