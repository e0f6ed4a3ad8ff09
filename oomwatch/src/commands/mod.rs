//! One file or folder per command, and the `pipeline` that `watch` and `agent` share.

pub mod agent;
pub mod cleanup;
pub mod doctor;
pub mod exit;
pub mod explain;
pub mod history;
mod host;
mod pipeline;
pub mod report;
pub mod signals;
mod totals;
pub mod watch;
