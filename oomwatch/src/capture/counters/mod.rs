//! The kernel's own counts of OOM kills: how many there were and in which cgroups, where nothing tells who was killed.
//!
//! `/proc/vmstat` counts the whole machine's, each cgroup its own (`memory.events.local`; `memory.oom_control` of v1) and,
//! on v2, those of all below it too (`memory.events`): a cgroup that is gone has left its kills with those above it.

mod attributed_kills;
mod cgroup_kill_tracker;
mod gap;
mod tree;

use std::path::{Path, PathBuf};

use tracing::warn;

use self::{
    attributed_kills::AttributedKills,
    gap::{Snapshot, growth},
    tree::{MAX_CGROUPS, Tree},
};
pub use self::{cgroup_kill_tracker::CgroupKillTracker, gap::Baseline};
use crate::{
    model::gap::Gap,
    sys::{
        clock,
        proc::{self, HostError},
    },
};

/// How often the cgroups are looked at for one gap, so that no kill falls between the first and the last of them.
const TRIES: u32 = 3;

/// Compares the counts with those before.
#[derive(Debug)]
pub struct Counters {
    proc_root: PathBuf,
    /// Absent where no memory controller can be seen.
    tree: Option<Tree>,
    last: Count,
    cgroups: Baseline,
}

/// The kernel's count.
#[derive(Clone, Copy, Debug)]
struct Count {
    /// Since boot, of the whole machine.
    kills: u64,
    /// Nanoseconds since boot: what was killed before that is counted.
    boot_time_ns: u64,
}

impl Counters {
    /// From now on. `cgroup_root` is the host's cgroup file system, usually `/sys/fs/cgroup`.
    pub fn new(proc_root: &Path, cgroup_root: &Path) -> Result<Self, HostError> {
        let tree = Tree::find(cgroup_root);
        if tree.is_none() {
            warn!(
                cgroup_root = %cgroup_root.display(),
                "no memory cgroups here: kills will be counted without theirs"
            );
        }
        let (last, cgroups) = look(tree.as_ref(), proc_root)?;
        Ok(Self {
            proc_root: proc_root.to_owned(),
            tree,
            last,
            cgroups: Baseline::of(&cgroups, MAX_CGROUPS),
        })
    }

    /// What has been counted since the last time. Nothing but `/proc/vmstat` is read where that is nothing.
    pub fn poll(&mut self) -> Result<Option<Gap>, HostError> {
        let count = read(&self.proc_root)?;
        if count.kills <= self.last.kills {
            self.last = count;
            return Ok(None);
        }
        let (count, cgroups) = look(self.tree.as_ref(), &self.proc_root)?;
        let gap = Gap {
            kills: count.kills.saturating_sub(self.last.kills),
            kernel_count: count.kills,
            since_boot_time_ns: self.last.boot_time_ns,
            boot_time_ns: clock::since_boot_ns(),
            cgroups: growth(&self.cgroups, &cgroups, &AttributedKills::default()),
        };
        self.last = count;
        self.cgroups = Baseline::of(&cgroups, MAX_CGROUPS);
        Ok(Some(gap))
    }
}

/// The cgroups' counts, and the kernel's at the same time as nearly as can be had.
fn look(tree: Option<&Tree>, proc_root: &Path) -> Result<(Count, Snapshot), HostError> {
    let mut count = read(proc_root)?;
    let mut cgroups = Snapshot::default();
    let Some(tree) = tree else {
        return Ok((count, cgroups));
    };
    for _ in 0..TRIES {
        cgroups = tree.read();
        let before = count.kills;
        count = read(proc_root)?;
        cgroups.is_of_one_moment = count.kills == before;
        if cgroups.is_of_one_moment {
            break;
        }
    }
    Ok((count, cgroups))
}

fn read(proc_root: &Path) -> Result<Count, HostError> {
    let boot_time_ns = clock::since_boot_ns();
    Ok(Count {
        kills: proc::oom_kill_count(proc_root)?,
        boot_time_ns,
    })
}

#[cfg(test)]
mod tests;
