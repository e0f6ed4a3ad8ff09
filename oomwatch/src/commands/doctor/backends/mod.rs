//! What each backend needs, and which facts it does not know.

use crate::model::backend::Backend;

impl Backend {
    /// Its name in a sentence.
    pub(super) const fn in_words(self) -> &'static str {
        match self {
            Self::Fentry => "the OOM killer's functions (fentry)",
            Self::Kprobe => "the OOM killer's functions (kprobes)",
            Self::RawTracepoint => "raw tracepoints",
            Self::Kmsg => "the kernel log",
            Self::Counters => "the kernel's counts",
        }
    }

    /// Whether `watch` may select it with this `--backend`.
    pub(super) fn is_allowed_by(self, choice: Option<Self>) -> bool {
        choice.is_none_or(|choice| choice == self)
    }

    /// Whether it reports less than raw tracepoints do.
    pub(super) const fn is_degraded(self) -> bool {
        !self.is_bpf()
    }

    /// Whether it needs the kernel's symbols to know the scope of a kill.
    pub(super) const fn needs_symbols(self) -> bool {
        matches!(self, Self::RawTracepoint)
    }

    /// The facts that it does not know of any kill; `docs/compatibility.md` has the whole table.
    pub(super) const fn unavailable(self) -> Unavailable {
        match self {
            Self::Fentry | Self::Kprobe => Unavailable {
                never: &[],
                by_log: &[],
            },
            Self::RawTracepoint => Unavailable {
                never: &["victim.oom_points"],
                by_log: &["allocation"],
            },
            Self::Kmsg => Unavailable {
                never: &[
                    "main_process",
                    "victim.ns_pid",
                    "victim.cmdline",
                    "victim.oom_points",
                    "victim.swap_bytes",
                    "victim.start_time",
                    "victim.leaf_cgroup",
                ],
                by_log: &[],
            },
            Self::Counters => Unavailable {
                never: &["who was killed"],
                by_log: &[],
            },
        }
    }
}

/// Fields of a report that a backend cannot read itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unavailable {
    /// They are unknown.
    pub(super) never: &'static [&'static str],
    /// The kernel log has them, if it has the lines of the kill.
    pub(super) by_log: &'static [&'static str],
}

#[cfg(test)]
mod tests;
