//! Which backend `watch` selects on this machine.

use super::check::Status;
use crate::model::backend::Backend;

/// The backend that `watch` selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// The backend asked for with `--backend`; absent for `auto`.
    pub(super) choice: Option<Backend>,
    /// The best backend that is allowed and works; absent if none does.
    pub(super) backend: Option<Backend>,
}

impl Selection {
    /// The status of a failure that makes some backends unavailable: `Info` if none of them would have been selected, or if
    /// raw tracepoints or better are selected.
    pub(super) fn without(self, is_unavailable: impl Fn(Backend) -> bool) -> Status {
        let is_affected = Backend::ALL
            .into_iter()
            .take_while(|&better| Some(better) != self.backend)
            .any(|better| better.is_allowed_by(self.choice) && is_unavailable(better));
        match self.backend {
            _ if !is_affected => Status::Info,
            None => Status::Fail,
            Some(backend) if backend.is_degraded() => Status::Warn,
            Some(_) => Status::Info,
        }
    }

    /// The status of a failure that makes all BPF backends unavailable.
    pub(super) fn without_programs(self) -> Status {
        self.without(Backend::is_bpf)
    }
}
