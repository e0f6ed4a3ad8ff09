//! Why no kill can be captured.

use std::io;

use thiserror::Error;

use crate::{
    capture::{
        bpf::{ProbeError, describe},
        kmsg::reader::ReadError,
    },
    model::backend::Backend,
    sys::proc::HostError,
};

/// Why no kill can be captured.
#[derive(Debug, Error)]
pub enum ObserveError {
    /// The programs or their maps cannot be used.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The kernel log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// The kernel log cannot be waited for.
    #[error("failed to wait for the kernel log")]
    Wait(#[source] io::Error),
    /// The kernel's counts cannot be read.
    #[error(transparent)]
    Counters(#[from] HostError),
    /// No backend works.
    #[error("no backend works on this machine{}", list(.0))]
    NoBackend(Vec<Refusal>),
}

/// A backend that does not work, and why.
pub(super) type Refusal = (Backend, ObserveError);

/// One line for each backend.
fn list(refused: &[Refusal]) -> String {
    refused
        .iter()
        .fold(String::new(), |text, (backend, error)| {
            text + "\n  " + backend.flag() + ": " + &describe(error)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refused_backend_has_a_line() {
        let error = |what| ObserveError::Probe(ProbeError::Lacks(what));
        let refused = vec![
            (Backend::Fentry, error("one")),
            (Backend::Kmsg, error("two")),
        ];
        assert_eq!(
            ObserveError::NoBackend(refused).to_string(),
            "no backend works on this machine\n  fentry: this kernel has no one\n  kmsg: this kernel has no two"
        );
    }
}
