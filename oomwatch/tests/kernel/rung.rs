//! The rungs of the hook ladder, by the names that the command and its reports have for them.

/// A rung that `--hooks` forces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rung {
    /// Functions of the OOM killer, by fentry.
    Fentry,
    /// The same by kprobes.
    Kprobe,
    /// Raw tracepoints.
    Tracepoint,
    /// Classic tracepoints, without BTF.
    Format,
    /// The kernel log.
    Kmsg,
    /// The kernel's count alone.
    Counters,
}

impl Rung {
    /// Best first.
    pub(crate) const ALL: [Self; 6] = [
        Self::Fentry,
        Self::Kprobe,
        Self::Tracepoint,
        Self::Format,
        Self::Kmsg,
        Self::Counters,
    ];

    /// As `--hooks` takes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
            Self::Format => "format",
            Self::Kmsg => "kmsg",
            Self::Counters => "counters",
        }
    }

    /// The rung that `--hooks` takes by this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rung| rung.name() == name)
    }

    /// `hooks` of its reports.
    pub(crate) fn hooks(self) -> &'static str {
        hooks_of(self.name())
    }
}

/// `hooks` of the reports of a command that was started with this choice, or that says that it stands on this.
pub(crate) fn hooks_of(choice: &str) -> &str {
    match choice {
        "fentry" | "kprobe" => "function",
        other => other,
    }
}
