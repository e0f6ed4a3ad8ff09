//! One finding about this machine, and what to do about it.

use std::{error::Error, io, iter, path::Path};

use serde::Serialize;

/// What a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Group {
    Kernel,
    Backends,
    Cgroups,
    Privileges,
    Sources,
    Runtimes,
}

/// What it means for `watch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// There.
    Ok,
    /// Not there or not as usual, and nothing is lost.
    Info,
    /// It works, but tells less, or something is broken.
    Warn,
    /// It cannot work.
    Fail,
}

/// A line of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) group: Group,
    /// Stays the same over versions.
    pub(super) name: &'static str,
    pub(super) status: Status,
    /// What was found. More lines may follow the first, as the verifier's do.
    pub(super) finding: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

impl Check {
    pub(super) fn new(
        group: Group,
        name: &'static str,
        status: Status,
        finding: impl Into<String>,
    ) -> Self {
        Self {
            group,
            name,
            status,
            finding: finding.into(),
            remedy: None,
        }
    }

    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..self
        }
    }
}

/// The kernel's answer, as `strerror` has it but in lower case and without its number.
pub(super) fn answer(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut characters = text.chars();
    characters
        .next()
        .map(|first| first.to_lowercase().chain(characters).collect())
        .unwrap_or_default()
}

/// An error and all its causes.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    iter::successors(Some(error), |&error| error.source())
        .map(|error| {
            error
                .downcast_ref::<io::Error>()
                .map_or_else(|| error.to_string(), answer)
        })
        .collect::<Vec<_>>()
        .join(": ")
}

/// What to do about a file of `/proc` that cannot be read.
pub(super) fn proc_remedy(proc_root: &Path) -> String {
    format!(
        "mount proc, or say with --proc-root where the host's is (now {})",
        proc_root.display()
    )
}
