//! Finds the cgroups of kills that were counted and not captured: the growth of the cgroups' counts less the captured kills.

use std::path::{Path, PathBuf};

use super::{
    attributed_kills::AttributedKills,
    growth::{Baseline, growth},
    sample::sample,
    tree::CgroupTree,
};
use crate::{
    model::{gap::GapCgroup, kill::Cgroup},
    sys::proc::HostError,
};

/// Cgroups with kills that are kept in the baseline. If there are more, the growth of new cgroups is unknown.
const MAX_CGROUPS: usize = 1024;

/// The cgroups' counts at the last sample, and the kills captured since.
#[derive(Debug)]
pub struct CgroupKillTracker {
    proc_root: PathBuf,
    /// Absent if no memory controller is found.
    tree: Option<CgroupTree>,
    baseline: Baseline,
    attributed: AttributedKills,
}

impl CgroupKillTracker {
    /// Starts with a sample. `cgroup_root` is the host's cgroup file system, usually `/sys/fs/cgroup`.
    pub fn start(proc_root: &Path, cgroup_root: &Path) -> Result<Self, HostError> {
        let mut tracker = Self::resume(proc_root, cgroup_root, Baseline::default(), 0);
        tracker.sample()?;
        Ok(tracker)
    }

    /// Continues from an earlier sample, since which `kills` were captured in unknown cgroups.
    #[must_use]
    pub fn resume(proc_root: &Path, cgroup_root: &Path, baseline: Baseline, kills: u64) -> Self {
        let mut attributed = AttributedKills::default();
        attributed.add_unplaced(kills);
        Self {
            proc_root: proc_root.to_owned(),
            tree: CgroupTree::find(cgroup_root),
            baseline,
            attributed,
        }
    }

    /// Adds a captured kill and its cgroup, if known.
    pub fn kill(&mut self, cgroup: Option<&Cgroup>) {
        self.attributed.add(cgroup);
    }

    /// Whether kills were captured since the last sample.
    #[must_use]
    pub fn has_kills(&self) -> bool {
        !self.attributed.is_empty()
    }

    /// Samples the cgroups.
    pub fn sample(&mut self) -> Result<(), HostError> {
        self.unattributed().map(drop)
    }

    /// Samples the cgroups. Returns those with more kills since the last sample than were captured.
    pub fn unattributed(&mut self) -> Result<Vec<GapCgroup>, HostError> {
        let (_, now) = sample(self.tree.as_ref(), &self.proc_root)?;
        let cgroups = growth(&self.baseline, &now, &self.attributed);
        self.baseline = Baseline::new(&now, MAX_CGROUPS);
        self.attributed = AttributedKills::default();
        Ok(cgroups)
    }

    /// The counts at the last sample.
    #[must_use]
    pub fn baseline(&self) -> &Baseline {
        &self.baseline
    }
}
