//! One check of this machine: what was found, and what to do about it.

use std::path::Path;

use serde::Serialize;

pub(super) use crate::sys::error_chain::{error_chain, os_error};

/// The topic of a check.
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

/// What a finding means for `watch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// As it should be.
    Ok,
    /// Absent or unusual, without a consequence.
    Info,
    /// `watch` works but reports less, or something is broken.
    Warn,
    /// `watch` cannot work.
    Fail,
}

/// A check and its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) group: Group,
    /// The same in every version.
    pub(super) name: &'static str,
    pub(super) status: Status,
    /// What was found. It may have several lines, for example with a log of the verifier.
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

/// The remedy if a file of `/proc` cannot be read.
pub(super) fn proc_remedy(proc_root: &Path) -> String {
    format!(
        "mount proc, or give the host's with --proc-root (now {})",
        proc_root.display()
    )
}
