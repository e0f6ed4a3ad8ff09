pub mod agent;
pub mod cleanup;
pub mod doctor;
pub mod exit;
pub mod history;
mod host;
pub mod report;
pub mod signals;
pub mod watch;
