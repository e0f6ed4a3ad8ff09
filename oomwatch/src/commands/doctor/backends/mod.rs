//! The ways to see kills: with programs in the kernel, and what is left without.

pub(super) use crate::capture::observer::Way;
use crate::{
    capture::{bpf::Rung, observer::ways},
    cli::HooksChoice,
    model::kill::Hooks,
};

impl Way {
    /// All of them, best first.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        ways(HooksChoice::Auto).iter().copied()
    }

    /// The same for a sentence.
    pub(super) const fn in_words(self) -> &'static str {
        match self {
            Self::Programs(Rung::Fentry) => "the OOM killer's functions (fentry)",
            Self::Programs(Rung::Kprobe) => "the OOM killer's functions (kprobes)",
            Self::Programs(Rung::Tracepoint) => "raw tracepoints",
            Self::Programs(Rung::Format) => "classic tracepoints",
            Self::Log => "the kernel log",
            Self::Counters => "the kernel's counts",
        }
    }

    /// `hooks` of its reports; absent if it has none.
    pub(super) const fn hooks(self) -> Option<Hooks> {
        match self {
            Self::Programs(rung) => Some(rung.hooks()),
            Self::Log => Some(Hooks::Kmsg),
            Self::Counters => None,
        }
    }

    /// Whether `watch` may take it if it was started with this choice.
    pub(super) fn is_allowed_by(self, choice: HooksChoice) -> bool {
        ways(choice).contains(&self)
    }

    /// Whether it tells less than raw tracepoints do.
    pub(super) const fn is_degraded(self) -> bool {
        match self {
            Self::Programs(Rung::Fentry | Rung::Kprobe | Rung::Tracepoint) => false,
            Self::Programs(Rung::Format) | Self::Log | Self::Counters => true,
        }
    }

    /// Whether it takes the kernel's symbols to tell what ran out.
    pub(super) const fn needs_symbols(self) -> bool {
        match self {
            Self::Programs(Rung::Tracepoint | Rung::Format) => true,
            Self::Programs(Rung::Fentry | Rung::Kprobe) | Self::Log | Self::Counters => false,
        }
    }

    /// Whether it reads structures where the kernel's types say.
    pub(super) const fn needs_types(self) -> bool {
        match self {
            Self::Programs(rung) => rung.needs_types(),
            Self::Log | Self::Counters => false,
        }
    }

    /// What it does not know of any kill, by the names in a report; `docs/compatibility.md` has all of it.
    pub(super) const fn untold(self) -> Unavailable {
        match self {
            Self::Programs(Rung::Fentry | Rung::Kprobe) => Unavailable {
                never: &[],
                by_log: &[],
            },
            Self::Programs(Rung::Tracepoint) => Unavailable {
                never: &["victim.oom_points"],
                by_log: &["allocation"],
            },
            Self::Programs(Rung::Format) => Unavailable {
                never: &[
                    "main_process",
                    "victim.ns_pid",
                    "victim.cmdline",
                    "victim.oom_points",
                    "victim.swap_bytes",
                    "victim.start_time",
                    "victim.leaf_cgroup",
                ],
                by_log: &["allocation", "limit_owner", "oom_cgroup", "limits"],
            },
            Self::Log => Unavailable {
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

/// Facts of a report that a way does not have of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unavailable {
    /// Nothing tells them.
    pub(super) never: &'static [&'static str],
    /// The kernel log does, where its lines of the kill are there.
    pub(super) by_log: &'static [&'static str],
}

#[cfg(test)]
mod tests;
