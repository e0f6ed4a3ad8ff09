//! Reads the counts of all cgroups from the cgroup file system, in bounded time and memory.

use std::{
    fs, io,
    os::unix::{ffi::OsStringExt as _, fs::DirEntryExt as _},
    path::Path,
};

use tracing::debug;

use super::snapshot::{CgroupEntry, CgroupSnapshot, KillCounts};
use crate::sys::{
    cgroup_fs::{MemoryHierarchy, Version},
    proc,
};

/// Cgroups that are read, those nearest to the root first.
pub(super) const MAX_CGROUPS: usize = 16_384;

/// Longest path that is read, the mount point included. With a file name it must stay below `PATH_MAX`.
const MAX_PATH: usize = 4000;

/// The hierarchy with the memory controller.
#[derive(Debug)]
pub(super) struct CgroupTree {
    hierarchy: MemoryHierarchy,
    /// [`MAX_CGROUPS`]; smaller in tests.
    max: usize,
}

impl CgroupTree {
    /// Looks for it below the host's cgroup file system.
    pub(super) fn find(cgroup_root: &Path) -> Option<Self> {
        MemoryHierarchy::find(cgroup_root).map(|hierarchy| Self {
            hierarchy,
            max: MAX_CGROUPS,
        })
    }

    /// Reads the counts of all cgroups. One that is removed meanwhile is left out.
    pub(super) fn read(&self) -> CgroupSnapshot {
        let mut snapshot = CgroupSnapshot {
            cgroups: vec![CgroupEntry {
                parent: 0,
                name: Box::default(),
                id: 0,
                kills: KillCounts::default(),
            }],
            is_complete: true,
            is_consistent: false,
        };
        let mut index = 0;
        while index < snapshot.cgroups.len() {
            let path = snapshot.path(index);
            let folder = self.hierarchy.folder(&path);
            if folder.as_os_str().len() > MAX_PATH {
                snapshot.is_complete = false;
            } else {
                snapshot.cgroups[index].kills = self.kills(&folder, &mut snapshot.is_complete);
                self.list(&folder, index, &mut snapshot);
            }
            index += 1;
        }
        if !snapshot.is_complete {
            debug!(
                read = snapshot.cgroups.len(),
                "cgroups beyond the limit of number or depth were not read"
            );
        }
        snapshot
    }

    fn kills(&self, folder: &Path, is_complete: &mut bool) -> KillCounts {
        let mut count = |file: &str| match fs::read_to_string(folder.join(file)) {
            Ok(text) => proc::parse_oom_kill(&text),
            Err(error) => {
                *is_complete &= is_gone(&error);
                None
            }
        };
        match self.hierarchy.version {
            Version::V1 => KillCounts {
                own: count("memory.oom_control"),
                subtree: None,
            },
            Version::V2 => KillCounts {
                own: count("memory.events.local"),
                subtree: count("memory.events"),
            },
        }
    }

    /// Adds the children of a cgroup.
    fn list(&self, folder: &Path, parent: usize, snapshot: &mut CgroupSnapshot) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                snapshot.is_complete &= is_gone(&error);
                return;
            }
        };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if snapshot.cgroups.len() >= self.max {
                snapshot.is_complete = false;
                return;
            }
            snapshot.cgroups.push(CgroupEntry {
                parent,
                name: entry.file_name().into_vec().into(),
                id: entry.ino(),
                kills: KillCounts::default(),
            });
        }
    }
}

/// Whether the file does not exist: the cgroup was removed, or the memory controller is not enabled in it.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_cgroups_is_bounded_and_shallow_ones_come_first() {
        let folder = tempfile::tempdir().expect("make a folder");
        let make = |path: &str| fs::create_dir_all(folder.path().join(path)).expect("make");
        for number in 0..5 {
            make(&format!("a{number}/b/c/d"));
        }
        for (max, is_complete, deepest) in
            [(6, false, 1), (11, false, 2), (21, true, 4), (22, true, 4)]
        {
            let snapshot = CgroupTree {
                hierarchy: MemoryHierarchy::new(Version::V2, folder.path().to_owned()),
                max,
            }
            .read();
            let depth = |path: &[u8]| path.split(|&byte| byte == b'/').count() - 1;
            let depths = (1..snapshot.cgroups.len()).map(|index| depth(&snapshot.path(index)));
            assert_eq!(depths.max(), Some(deepest), "{max}");
            assert_eq!(snapshot.cgroups.len(), max.min(21));
            assert_eq!(snapshot.is_complete, is_complete, "{max}");
        }
    }
}
