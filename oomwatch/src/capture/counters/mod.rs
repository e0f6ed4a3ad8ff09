//! The kernel's counts of OOM kills: how many processes were killed and in which cgroups, if nothing says which.
//!
//! `/proc/vmstat` counts the kills of the machine. Each cgroup counts the kills of its own processes
//! (`memory.events.local`; `memory.oom_control` on v1) and, on v2, those of its descendants too (`memory.events`). The count
//! of a removed cgroup remains in that of its ancestors.
//!
//! [`Counters`] is the capture backend that has nothing else; [`CgroupKillTracker`] finds the cgroups of kills that an
//! audit misses.

mod attributed_kills;
mod cgroup_kill_tracker;
mod growth;
mod kernel_count;
mod sample;
mod snapshot;
mod tree;

use std::path::{Path, PathBuf};

use tracing::warn;

use self::{
    attributed_kills::AttributedKills,
    growth::growth,
    sample::sample,
    tree::{CgroupTree, MAX_CGROUPS},
};
pub use self::{
    cgroup_kill_tracker::CgroupKillTracker, growth::Baseline, kernel_count::KernelCount,
};
use crate::{
    model::gap::Gap,
    sys::{clock, proc::HostError},
};

/// Compares the counts with earlier ones.
#[derive(Debug)]
pub struct Counters {
    proc_root: PathBuf,
    /// Absent if no memory controller is found.
    tree: Option<CgroupTree>,
    last: KernelCount,
    cgroups: Baseline,
}

impl Counters {
    /// Starts now. `cgroup_root` is the host's cgroup file system, usually `/sys/fs/cgroup`.
    pub fn new(proc_root: &Path, cgroup_root: &Path) -> Result<Self, HostError> {
        let tree = CgroupTree::find(cgroup_root);
        if tree.is_none() {
            warn!(
                cgroup_root = %cgroup_root.display(),
                "no memory cgroups found, counting kills without their cgroups"
            );
        }
        let (last, cgroups) = sample(tree.as_ref(), proc_root)?;
        Ok(Self {
            proc_root: proc_root.to_owned(),
            tree,
            last,
            cgroups: Baseline::new(&cgroups, MAX_CGROUPS),
        })
    }

    /// The kills since the last call. The cgroups are only read if there are any.
    pub fn poll(&mut self) -> Result<Option<Gap>, HostError> {
        let count = KernelCount::read(&self.proc_root)?;
        if count.kills <= self.last.kills {
            self.last = count;
            return Ok(None);
        }
        let (count, cgroups) = sample(self.tree.as_ref(), &self.proc_root)?;
        let gap = Gap {
            kills: count.kills.saturating_sub(self.last.kills),
            kernel_count: count.kills,
            since_boot_time_ns: self.last.boot_time_ns,
            boot_time_ns: clock::since_boot_ns(),
            cgroups: growth(&self.cgroups, &cgroups, &AttributedKills::default()),
        };
        self.last = count;
        self.cgroups = Baseline::new(&cgroups, MAX_CGROUPS);
        Ok(Some(gap))
    }
}

#[cfg(test)]
mod tests;
