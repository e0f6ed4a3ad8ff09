//! Who is that: names for the ids that a cgroup path tells. What is not found stays absent.

pub mod directory;
pub mod facts;
mod memory;
pub mod pod_logs;
pub mod proc;
