//! Kills, their accounts and causes, and reports, cgroup paths, workloads, limit owners, filters, and what is persisted. Pure.

pub mod account;
pub mod backend;
pub mod cause;
pub mod cgroup;
pub mod filter;
pub mod gap;
pub mod kill;
pub mod limit_owner;
pub mod losses;
pub mod persist;
pub mod report;
pub mod serde_bytes;
pub mod serde_missing;
pub mod workload;
