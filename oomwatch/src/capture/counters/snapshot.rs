//! The OOM-kill counts of all cgroups. Pure.

use serde::{Deserialize, Serialize};

/// The counts of all cgroups.
#[derive(Debug, Default)]
pub(super) struct CgroupSnapshot {
    /// Each after its parent; the first is the root.
    pub(super) cgroups: Vec<CgroupEntry>,
    /// Whether no cgroup was left out.
    pub(super) is_complete: bool,
    /// Whether no process was killed while the counts were read.
    pub(super) is_consistent: bool,
}

/// A cgroup and its counts.
#[derive(Debug)]
pub(super) struct CgroupEntry {
    /// Index of the parent; the root is its own parent.
    pub(super) parent: usize,
    /// Empty for the root.
    pub(super) name: Box<[u8]>,
    /// Inode number of its directory, unique within a boot.
    pub(super) id: u64,
    pub(super) kills: KillCounts,
}

/// Counts of a cgroup; absent if the kernel has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct KillCounts {
    /// Kills of processes in the cgroup itself.
    pub(super) own: Option<u64>,
    /// Kills in the cgroup and its descendants.
    pub(super) subtree: Option<u64>,
}

impl CgroupSnapshot {
    /// Path of a cgroup, from the root of the hierarchy.
    pub(super) fn path(&self, index: usize) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = index;
        while let Some(cgroup) = self.cgroups.get(at).filter(|cgroup| cgroup.parent != at) {
            names.push(&cgroup.name);
            at = cgroup.parent;
        }
        if names.is_empty() {
            return b"/".to_vec();
        }
        let mut path = Vec::new();
        for name in names.into_iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        path
    }
}
