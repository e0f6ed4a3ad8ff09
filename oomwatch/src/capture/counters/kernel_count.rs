//! The kernel's own count of OOM kills.

use std::path::Path;

use crate::sys::{
    clock,
    proc::{self, HostError},
};

/// `oom_kill` of `/proc/vmstat`, and when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelCount {
    /// Kills and re-kills since boot, of the whole machine.
    pub kills: u64,
    /// Nanoseconds since boot: every earlier kill is in the count.
    pub boot_time_ns: u64,
}

impl KernelCount {
    /// Reads the count.
    pub fn read(proc_root: &Path) -> Result<Self, HostError> {
        let boot_time_ns = clock::since_boot_ns();
        Ok(Self {
            kills: proc::oom_kill_count(proc_root)?,
            boot_time_ns,
        })
    }
}
