//! The capture backends.

use serde::{Deserialize, Serialize};

/// How kills are captured, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// BPF programs on the OOM killer's functions, by trampolines (fentry and fexit).
    Fentry,
    /// BPF programs on the OOM killer's functions, by kprobes.
    Kprobe,
    /// BPF programs on raw tracepoints.
    RawTracepoint,
    /// The kernel log alone.
    Kmsg,
    /// The kernel's counts alone: how many processes were killed, not which.
    Counters,
}

impl Backend {
    /// All of them, best first.
    pub const ALL: [Self; 5] = [
        Self::Fentry,
        Self::Kprobe,
        Self::RawTracepoint,
        Self::Kmsg,
        Self::Counters,
    ];

    /// Those that load BPF programs, best first.
    pub const BPF: [Self; 3] = [Self::Fentry, Self::Kprobe, Self::RawTracepoint];

    /// Its name in JSON and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::RawTracepoint => "raw_tracepoint",
            Self::Kmsg => "kmsg",
            Self::Counters => "counters",
        }
    }

    /// Its name on the command line and in messages.
    #[must_use]
    pub const fn flag(self) -> &'static str {
        match self {
            Self::RawTracepoint => "raw-tracepoint",
            _ => self.as_str(),
        }
    }

    /// Whether it hooks functions of `mm/oom_kill.c`, which know all of an incident.
    #[must_use]
    pub const fn is_function(self) -> bool {
        matches!(self, Self::Fentry | Self::Kprobe)
    }

    /// Whether it loads BPF programs.
    #[must_use]
    pub const fn is_bpf(self) -> bool {
        self.is_function() || matches!(self, Self::RawTracepoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_json() {
        for backend in Backend::ALL {
            let json = serde_json::to_value(backend).expect("a string");
            assert_eq!(json, backend.as_str());
            assert_eq!(backend.flag().replace('-', "_"), backend.as_str());
        }
    }

    #[test]
    fn bpf_backends_are_the_first_ones() {
        let bpf = Backend::ALL.into_iter().filter(|backend| backend.is_bpf());
        assert!(bpf.eq(Backend::BPF));
    }
}
