//! The cgroup file system: where the memory controller's hierarchy is mounted, and files of its cgroups.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// The version of cgroups that has the memory controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// A hierarchy of its own.
    V1,
    /// The only hierarchy.
    V2,
}

/// The hierarchy with the memory controller.
#[derive(Clone, Debug)]
pub(crate) struct MemoryHierarchy {
    pub(crate) version: Version,
    root: PathBuf,
}

/// A file of a cgroup, by its name in each version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryFile {
    pub(crate) v1: &'static str,
    pub(crate) v2: &'static str,
}

/// The memory charged, in bytes.
pub(crate) const USAGE: MemoryFile = MemoryFile {
    v1: "memory.usage_in_bytes",
    v2: "memory.current",
};
/// The highest charge so far, in bytes.
pub(crate) const PEAK: MemoryFile = MemoryFile {
    v1: "memory.max_usage_in_bytes",
    v2: "memory.peak",
};
/// The limit, in bytes. Without one, v1 has the largest number of whole pages, and v2 the word `max`.
pub(crate) const LIMIT: MemoryFile = MemoryFile {
    v1: "memory.limit_in_bytes",
    v2: "memory.max",
};

impl MemoryHierarchy {
    /// The hierarchy at a mount point.
    pub(crate) fn new(version: Version, root: PathBuf) -> Self {
        Self { version, root }
    }

    /// Looks for it at the conventional mount points. Cgroup v1 and hybrid hierarchies have a folder for each controller.
    pub(crate) fn find(cgroup_root: &Path) -> Option<Self> {
        let v1 = [cgroup_root.join("memory"), cgroup_root.to_owned()];
        let v2 = [cgroup_root.to_owned(), cgroup_root.join("unified")];
        let is_v1 = |root: &PathBuf| root.join("memory.oom_control").exists();
        let is_v2 = |root: &PathBuf| {
            let controllers = fs::read_to_string(root.join("cgroup.controllers"));
            controllers.is_ok_and(|text| text.split_ascii_whitespace().any(|name| name == "memory"))
        };
        let found = |version| move |root| Self::new(version, root);
        let v1 = v1.into_iter().find(is_v1).map(found(Version::V1));
        v1.or_else(|| v2.into_iter().find(is_v2).map(found(Version::V2)))
    }

    /// The folder of the cgroup with this path, which begins with `/`.
    pub(crate) fn folder(&self, path: &[u8]) -> PathBuf {
        let below = path.strip_prefix(b"/").unwrap_or(path);
        self.root.join(OsStr::from_bytes(below))
    }

    /// The number in a file of a cgroup; absent if there is none.
    pub(crate) fn number(&self, path: &[u8], file: MemoryFile) -> Option<u64> {
        let name = match self.version {
            Version::V1 => file.v1,
            Version::V2 => file.v2,
        };
        let text = fs::read_to_string(self.folder(path).join(name)).ok()?;
        text.trim().parse().ok()
    }
}
