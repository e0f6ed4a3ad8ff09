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

pub mod audit;
pub mod capture;
pub mod cli;
pub mod commands;
pub mod deliver;
pub mod identify;
pub mod model;
pub mod store;
pub mod sys;
#[cfg(test)]
mod testing;
