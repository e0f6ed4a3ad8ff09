pub mod cgroup;
pub mod filter;
pub mod kill;
pub mod limit_owner;
pub mod persist;
pub mod report;
pub mod serde_bytes;
pub mod serde_missing;
