//! The cgroup file system to the counts of its cgroups, in bounded time and memory.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::DirEntryExt as _,
    },
    path::{Path, PathBuf},
};

use tracing::debug;

use super::gap::{Cgroup, Kills, Snapshot};
use crate::sys::proc;

/// Cgroups that are looked at, those nearest to the root first.
pub(super) const MAX_CGROUPS: usize = 16_384;

/// Longest path that is looked at, the mount's included: with a file's name behind it the kernel takes no more.
const MAX_PATH: usize = 4000;

/// Where the memory controller is mounted.
#[derive(Debug)]
pub(super) struct Tree {
    version: Version,
    root: PathBuf,
    /// [`MAX_CGROUPS`], for this tree.
    most: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Tree {
    /// Looks where it is mounted by convention: cgroup v1 and the hybrid of both have a folder for each controller.
    pub(super) fn find(cgroup_root: &Path) -> Option<Self> {
        let v1 = [cgroup_root.join("memory"), cgroup_root.to_owned()];
        let v2 = [cgroup_root.to_owned(), cgroup_root.join("unified")];
        let is_v1 = |root: &PathBuf| root.join("memory.oom_control").exists();
        let is_v2 = |root: &PathBuf| {
            let controllers = fs::read_to_string(root.join("cgroup.controllers"));
            controllers.is_ok_and(|text| text.split_ascii_whitespace().any(|name| name == "memory"))
        };
        let found = |version| {
            move |root| Self {
                version,
                root,
                most: MAX_CGROUPS,
            }
        };
        let v1 = v1.into_iter().find(is_v1).map(found(Version::V1));
        v1.or_else(|| v2.into_iter().find(is_v2).map(found(Version::V2)))
    }

    /// The counts of all cgroups. One that goes meanwhile is left out.
    pub(super) fn read(&self) -> Snapshot {
        let mut snapshot = Snapshot {
            cgroups: vec![Cgroup {
                parent: 0,
                name: Box::default(),
                id: 0,
                kills: Kills::default(),
            }],
            is_whole: true,
            is_of_one_moment: false,
        };
        let mut index = 0;
        while index < snapshot.cgroups.len() {
            let path = snapshot.path(index);
            let folder = self.root.join(OsStr::from_bytes(&path[1..]));
            if folder.as_os_str().len() > MAX_PATH {
                snapshot.is_whole = false;
            } else {
                snapshot.cgroups[index].kills = self.kills(&folder, &mut snapshot.is_whole);
                self.list(&folder, index, &mut snapshot);
            }
            index += 1;
        }
        if !snapshot.is_whole {
            debug!(
                looked_at = snapshot.cgroups.len(),
                "there are more cgroups, or deeper ones"
            );
        }
        snapshot
    }

    fn kills(&self, folder: &Path, is_whole: &mut bool) -> Kills {
        let mut count = |file: &str| match fs::read_to_string(folder.join(file)) {
            Ok(text) => proc::parse_oom_kill(&text),
            Err(error) => {
                *is_whole &= is_gone(&error);
                None
            }
        };
        match self.version {
            Version::V1 => Kills {
                own: count("memory.oom_control"),
                all: None,
            },
            Version::V2 => Kills {
                own: count("memory.events.local"),
                all: count("memory.events"),
            },
        }
    }

    /// Adds the cgroups directly in one.
    fn list(&self, folder: &Path, parent: usize, snapshot: &mut Snapshot) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                snapshot.is_whole &= is_gone(&error);
                return;
            }
        };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if snapshot.cgroups.len() >= self.most {
                snapshot.is_whole = false;
                return;
            }
            snapshot.cgroups.push(Cgroup {
                parent,
                name: entry.file_name().into_vec().into(),
                id: entry.ino(),
                kills: Kills::default(),
            });
        }
    }
}

/// Whether there is nothing to be read: the cgroup is gone, or the memory controller is not enabled there.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_cgroups_is_bounded_and_none_is_crowded_out_by_a_deeper_one() {
        let folder = tempfile::tempdir().expect("make a folder");
        let make = |path: &str| fs::create_dir_all(folder.path().join(path)).expect("make");
        for number in 0..5 {
            make(&format!("a{number}/b/c/d"));
        }
        for (most, is_whole, deepest) in
            [(6, false, 1), (11, false, 2), (21, true, 4), (22, true, 4)]
        {
            let snapshot = Tree {
                version: Version::V2,
                root: folder.path().to_owned(),
                most,
            }
            .read();
            let depth = |path: &[u8]| path.split(|&byte| byte == b'/').count() - 1;
            let depths = (1..snapshot.cgroups.len()).map(|index| depth(&snapshot.path(index)));
            assert_eq!(depths.max(), Some(deepest), "{most}");
            assert_eq!(snapshot.cgroups.len(), most.min(21));
            assert_eq!(snapshot.is_whole, is_whole, "{most}");
        }
    }
}
