//! What the operating system gives: clocks, `/proc`, the cgroup file system, privileges, random numbers; and escaping of untrusted bytes.

pub(crate) mod cgroup_fs;
pub mod clock;
pub mod cmdline;
pub mod error_chain;
pub mod escape;
pub mod privileges;
pub mod proc;
pub(crate) mod random;
pub(crate) mod size;
pub mod syslog;
