//! oomwatch: every OOM kill, once, with the right owner and the right limit.
//!
//! Facts are taken in the kernel, meaning is given here, and each step knows only its neighbour:
//!
//! ```text
//! probe (load, attach, ring) --bytes--> decode --Observation--> incident --Kill--> report --Report--> sink
//!                                                                  ^                 ^
//!                                                       probe::symbols        cgroup, verdict
//! ```
//!
//! The kernel log goes another way to the same kills: [`kmsg`]. The kernel's counts tell how many there were: [`counters`].
//! Whether any is missing, and which, [`auditor`] finds out.
//!
//! `decode`, `incident`, `kill`, `cgroup`, `verdict`, `filter`, `escape`, `audit`, `resolve::directory`, `state`, and `kmsg`
//! without `reader`, `live` and `whole`, are pure: no clock, no file, no async.

pub mod admin;
pub mod agent;
pub mod audit;
pub mod auditor;
pub mod cgroup;
mod chain;
pub mod cleanup;
pub mod cli;
pub mod clock;
pub mod cmdline;
pub mod colour;
pub mod counters;
pub mod decode;
pub mod doctor;
pub mod escape;
pub mod exit;
pub mod filter;
pub mod history;
pub mod host;
pub mod incident;
pub mod journal;
pub mod kill;
pub mod kmsg;
pub mod observe;
pub mod privileges;
pub mod probe;
pub mod report;
pub mod report_file;
pub mod resolve;
pub mod signals;
pub mod sink;
pub mod state;
pub mod stored;
#[cfg(test)]
mod testing;
pub mod verdict;
pub mod watch;
