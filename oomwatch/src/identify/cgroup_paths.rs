//! Finds cgroups by their ids, and what pods use, in the host's cgroup file system, right after a kill.
//!
//! The account of a kill has ids alone. Most are those of the victim's cgroups, whose paths are in the kill; others are looked
//! for below the cgroup that ran out. Both the folders that are read and how often are bounded; what is not found is absent.

use std::{
    collections::HashMap,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::DirEntryExt as _},
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    model::{
        cgroup::{KubeletRoot, Level, level},
        kill::{Cgroup, Kill, Scope},
    },
    sys::cgroup_fs::{LIMIT, MemoryHierarchy, USAGE},
};

/// Most folders that are read at once.
const WALK_MAX: usize = 4096;
/// Least time between two walks; a system OOM, which is rare, always gets one of its own.
const WALK_INTERVAL: Duration = Duration::from_millis(200);
/// Most cgroups that one walk finds.
const FOUND_MAX: usize = 8192;
/// Paths that are remembered.
const REMEMBERED: usize = 4096;

/// The hierarchy with the memory controller, and paths that were found in it.
#[derive(Debug)]
pub(super) struct CgroupPaths {
    /// Absent if there is none.
    hierarchy: Option<MemoryHierarchy>,
    kubelet: KubeletRoot,
    known: HashMap<u64, Vec<u8>>,
    last_walk: Option<Instant>,
}

/// A pod's cgroup, and what is charged to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PodCgroup {
    /// Its path.
    pub(super) path: Vec<u8>,
    /// Id of the cgroup.
    pub(super) id: u64,
    pub(super) usage_bytes: u64,
    pub(super) limit_bytes: Option<u64>,
}

impl CgroupPaths {
    /// `cgroup_root` is the host's cgroup file system; `kubelet` is where its kubelet has its pods.
    pub(super) fn new(cgroup_root: &Path, kubelet: KubeletRoot) -> Self {
        Self {
            hierarchy: MemoryHierarchy::find(cgroup_root),
            kubelet,
            known: HashMap::new(),
            last_walk: None,
        }
    }

    /// Where the kubelet has its pods.
    pub(super) fn kubelet(&self) -> &KubeletRoot {
        &self.kubelet
    }

    /// The path of each listed candidate's memory cgroup, and for a system OOM the pods' cgroups.
    pub(super) fn look_up(&mut self, kill: &Kill) -> (Vec<Option<Vec<u8>>>, Vec<PodCgroup>) {
        let ids: Vec<Option<u64>> = kill
            .candidates()
            .map(|candidates| {
                candidates
                    .processes
                    .iter()
                    .map(|one| one.cgroup_id)
                    .collect()
            })
            .unwrap_or_default();
        if self.known.len() > REMEMBERED {
            self.known.clear();
        }
        let of_kill = kill.limits.iter().map(|limit| &limit.cgroup);
        let of_trigger = kill
            .trigger
            .iter()
            .filter_map(|trigger| trigger.cgroup.as_ref());
        for Cgroup { path, id } in of_kill.chain(of_trigger) {
            if let Some(id) = *id {
                self.known.insert(id, path.clone());
            }
        }
        let is_system = kill.scope == Scope::System;
        let is_unknown = |id: &u64| !self.known.contains_key(id);
        let is_due = self
            .last_walk
            .is_none_or(|last| last.elapsed() >= WALK_INTERVAL);
        let is_walk = is_system || is_due && ids.iter().flatten().any(is_unknown);
        let mut found = Vec::new();
        if let Some(hierarchy) = self.hierarchy.as_ref().filter(|_| is_walk) {
            let ran_out = kill.oom_level.and_then(|level| kill.limits.get(level));
            let start = ran_out
                .filter(|_| !is_system)
                .map_or(b"/".as_slice(), |ran_out| &ran_out.cgroup.path);
            found = walk(hierarchy, start);
            self.last_walk = Some(Instant::now());
        }
        let pods = found
            .iter()
            .filter(|_| is_system)
            .filter_map(|(id, path)| self.pod(path, *id));
        let pods = pods.collect();
        let room = (2 * REMEMBERED).saturating_sub(self.known.len());
        self.known.extend(found.into_iter().take(room));
        let paths = ids.iter().map(|id| self.known.get(id.as_ref()?).cloned());
        (paths.collect(), pods)
    }

    /// The cgroup, if it is a pod's.
    fn pod(&self, path: &[u8], id: u64) -> Option<PodCgroup> {
        if level(path, &self.kubelet) != Level::Pod {
            return None;
        }
        let hierarchy = self.hierarchy.as_ref()?;
        Some(PodCgroup {
            usage_bytes: hierarchy.number(path, USAGE)?,
            limit_bytes: hierarchy
                .number(path, LIMIT)
                .filter(|&bytes| bytes < 1 << 62),
            path: path.to_vec(),
            id,
        })
    }
}

/// Ids and paths of the cgroups below one, those nearest to it first.
fn walk(hierarchy: &MemoryHierarchy, start: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut read = 0;
    while read < WALK_MAX {
        // The first folder is the start, the others are those that were found.
        let path = match read.checked_sub(1) {
            None => start,
            Some(index) => match found.get(index) {
                Some((_, path)) => path,
                None => break,
            },
        };
        read += 1;
        let Ok(entries) = fs::read_dir(hierarchy.folder(path)) else {
            continue;
        };
        let parent = path.strip_suffix(b"/").unwrap_or(path).to_vec();
        let folders = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        for entry in folders.take(FOUND_MAX.saturating_sub(found.len())) {
            let below = [&parent, b"/".as_slice(), entry.file_name().as_bytes()].concat();
            found.push((entry.ino(), below));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing;

    const POD: &str = "kubepods/burstable/pod8a4e6bd2-0f35-4c1b-9a77-2b1d5e6f7081";

    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("make a folder");
        for path in [
            format!("{POD}/{}", testing::CONTAINER_ID),
            "system.slice/a.service/kubepods/podx".to_owned(),
        ] {
            fs::create_dir_all(root.path().join(path)).expect("make folders");
        }
        fs::write(root.path().join("cgroup.controllers"), "cpu memory\n").expect("write");
        for (file, text) in [("memory.current", "4096\n"), ("memory.max", "max\n")] {
            fs::write(root.path().join(POD).join(file), text).expect("write");
        }
        root
    }

    fn inode(root: &tempfile::TempDir, path: &str) -> u64 {
        use std::os::unix::fs::MetadataExt as _;
        fs::metadata(root.path().join(path)).expect("stat").ino()
    }

    /// A kill with candidates in cgroups of these ids.
    fn kill(scope: Scope, ids: &[u64]) -> Kill {
        let mut kill = testing::kill();
        kill.scope = scope;
        let mut account = testing::account();
        let candidates = account.candidates.as_mut().expect("candidates");
        let one = candidates.processes[0].clone();
        candidates.processes = ids
            .iter()
            .map(|id| crate::model::account::Candidate {
                cgroup_id: Some(*id),
                ..one.clone()
            })
            .collect();
        kill.account = Some(Arc::new(account));
        kill
    }

    #[test]
    fn cgroups_are_found_below_the_one_that_ran_out() {
        let root = tree();
        let mut paths = CgroupPaths::new(root.path(), KubeletRoot::At(Vec::new()));
        let container = format!("{POD}/{}", testing::CONTAINER_ID);
        let ids = [
            inode(&root, &container),
            inode(&root, "system.slice/a.service"),
            5005,
        ];
        let mut kill = kill(Scope::Memcg, &ids);
        kill.limits[0].cgroup = testing::cgroup(format!("/{POD}"), 4004);
        kill.oom_level = Some(0);
        let (found, pods) = paths.look_up(&kill);
        // Not in the part of the tree that ran out; and in the kill.
        assert_eq!(
            found,
            [
                Some(format!("/{container}").into_bytes()),
                None,
                Some(testing::container_path().into_bytes())
            ]
        );
        assert_eq!(pods, []);
    }

    #[test]
    fn system_oom_lists_the_pods_of_the_kubelet_alone() {
        let root = tree();
        let mut paths = CgroupPaths::new(root.path(), KubeletRoot::At(Vec::new()));
        let unit = "system.slice/a.service";
        let (found, pods) = paths.look_up(&kill(Scope::System, &[inode(&root, unit)]));
        assert_eq!(found, [Some(format!("/{unit}").into_bytes())]);
        assert_eq!(
            pods,
            [PodCgroup {
                path: format!("/{POD}").into_bytes(),
                id: inode(&root, POD),
                usage_bytes: 4096,
                limit_bytes: None,
            }]
        );
    }

    #[test]
    fn walks_are_rare() {
        let root = tree();
        let mut paths = CgroupPaths::new(root.path(), KubeletRoot::At(Vec::new()));
        paths.look_up(&kill(Scope::Memcg, &[1]));
        let first = paths.last_walk;
        assert!(first.is_some());
        paths.look_up(&kill(Scope::Memcg, &[2]));
        assert_eq!(paths.last_walk, first);
    }
}
