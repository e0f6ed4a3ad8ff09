//! Names that this command shares with the kernel tests (`oomwatch/tests/kernel`). A name that changes there changes here
//! alone.

/// Environment variable: the backend of tests that do not choose one.
pub(crate) const BACKEND_VARIABLE: &str = "OOMWATCH_BACKEND";
/// What the tests and the command call raw tracepoints.
pub(crate) const RAW_TRACEPOINT: &str = "raw-tracepoint";
/// Begins a line with the result of one scenario on one backend.
pub(crate) const RESULT_MARKER: &str = "@backend";
