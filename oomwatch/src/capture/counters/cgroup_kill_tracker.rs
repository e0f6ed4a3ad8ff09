//! What was killed in the cgroups since they were looked at, less what is known: where the kills are that nobody told.

use std::path::{Path, PathBuf};

use super::{
    gap::{Baseline, growth},
    look,
    tree::Tree,
};
use crate::{capture::counters::attributed_kills::AttributedKills, model::gap::GapCgroup};
use crate::{model::kill::Cgroup, sys::proc::HostError};

/// Cgroups with kills that are kept for later; with more of them nothing is said of those that are new.
const MOST_KEPT: usize = 1024;

/// The cgroups since they were looked at.
#[derive(Debug)]
pub struct CgroupKillTracker {
    proc_root: PathBuf,
    /// Absent where no memory controller can be seen.
    tree: Option<Tree>,
    before: Baseline,
    explained: AttributedKills,
}

impl CgroupKillTracker {
    /// Since now. `cgroup_root` is the host's cgroup file system, usually `/sys/fs/cgroup`.
    pub fn now(proc_root: &Path, cgroup_root: &Path) -> Result<Self, HostError> {
        let mut since = Self::then(proc_root, cgroup_root, Baseline::default(), 0);
        since.look()?;
        Ok(since)
    }

    /// Since an earlier look; so many kills are known that came after it.
    #[must_use]
    pub fn then(proc_root: &Path, cgroup_root: &Path, before: Baseline, known: u64) -> Self {
        let mut explained = AttributedKills::default();
        explained.add_unplaced(known);
        Self {
            proc_root: proc_root.to_owned(),
            tree: Tree::find(cgroup_root),
            before,
            explained,
        }
    }

    /// A kill is known, and perhaps its cgroup.
    pub fn kill(&mut self, cgroup: Option<&Cgroup>) {
        self.explained.add(cgroup);
    }

    /// Whether kills are known since, so that it is time to look again.
    #[must_use]
    pub fn has_aged(&self) -> bool {
        !self.explained.is_empty()
    }

    /// Looks at the cgroups: since now.
    pub fn look(&mut self) -> Result<(), HostError> {
        self.unexplained().map(drop)
    }

    /// The cgroups in which more was killed than is known. From then on it is since now.
    pub fn unexplained(&mut self) -> Result<Vec<GapCgroup>, HostError> {
        let (_, now) = look(self.tree.as_ref(), &self.proc_root)?;
        let cgroups = growth(&self.before, &now, &self.explained);
        self.before = Baseline::of(&now, MOST_KEPT);
        self.explained = AttributedKills::default();
        Ok(cgroups)
    }

    /// What the counts were when they were looked at.
    #[must_use]
    pub fn before(&self) -> &Baseline {
        &self.before
    }
}
