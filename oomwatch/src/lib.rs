//! oomwatch: every OOM kill, once, with the right owner and the right limit.

pub mod cgroup;
pub mod probe;
