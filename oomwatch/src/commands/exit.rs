//! How the command ends.

use std::process::{ExitCode, Termination};

/// Exit codes; clap's own for wrong usage is 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// What was asked for is done.
    Done,
    /// It could not be done.
    Failed,
    /// A signal ended it.
    Interrupted,
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Interrupted => 130,
        })
    }
}
