//! The result of all checks.

use super::check::{Check, Status};
use crate::model::backend::Backend;

/// The checks, and the backend that `watch` selects.
#[derive(Debug)]
pub(super) struct Diagnosis {
    pub(super) checks: Vec<Check>,
    /// Absent if no backend works.
    pub(super) backend: Option<Backend>,
}

impl Diagnosis {
    /// Whether `watch` works.
    pub(super) fn works(&self) -> bool {
        self.checks.iter().all(|check| check.status != Status::Fail)
    }
}
