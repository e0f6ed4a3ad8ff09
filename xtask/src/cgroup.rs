//! Creates small memory cgroups, for processes that are killed in them.
//!
//! Each is removed when it is dropped. Other cgroups are not changed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// The hierarchy of memory cgroups.
#[derive(Debug, PartialEq)]
pub(crate) enum Hierarchy {
    V1(PathBuf),
    V2(PathBuf),
}

impl Hierarchy {
    /// Finds the mounted one and enables the memory controller for its children. Needs root.
    pub(crate) fn find() -> Result<Self> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo")
            .context("failed to read /proc/self/mountinfo")?;
        let hierarchy = find_hierarchy(&mountinfo)
            .context("no cgroup hierarchy with a memory controller is mounted")?;
        if let Self::V2(parent) = &hierarchy {
            enable_memory(parent)?;
        }
        Ok(hierarchy)
    }
}

/// A cgroup directly below the hierarchy's root, removed when it is dropped.
pub(crate) struct MemoryCgroup {
    path: PathBuf,
}

impl MemoryCgroup {
    /// Creates one with a limit and without swap.
    pub(crate) fn create(hierarchy: &Hierarchy, name: &str, limit_bytes: u64) -> Result<Self> {
        let (Hierarchy::V1(parent) | Hierarchy::V2(parent)) = hierarchy;
        let path = parent.join(name);
        fs::create_dir(&path)
            .with_context(|| format!("failed to create the cgroup {}", path.display()))?;
        let cgroup = Self { path };
        match hierarchy {
            Hierarchy::V1(_) => {
                cgroup.set("memory.limit_in_bytes", limit_bytes)?;
                // Without swap. The second file exists only if the kernel accounts for swap.
                cgroup.set("memory.swappiness", 0)?;
                cgroup.set_if_present("memory.memsw.limit_in_bytes", limit_bytes)?;
            }
            Hierarchy::V2(_) => {
                cgroup.set("memory.max", limit_bytes)?;
                cgroup.set_if_present("memory.swap.max", 0)?;
            }
        }
        Ok(cgroup)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn set(&self, file: &str, value: u64) -> Result<()> {
        let path = self.path.join(file);
        fs::write(&path, value.to_string())
            .with_context(|| format!("failed to write {value} to {}", path.display()))
    }

    fn set_if_present(&self, file: &str, value: u64) -> Result<()> {
        if self.path.join(file).exists() {
            self.set(file, value)?;
        }
        Ok(())
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        // The kernel may take a moment to release the killed process.
        for _ in 0..2_000 {
            match fs::remove_dir(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    sleep(Duration::from_millis(1));
                }
                Ok(()) => return,
                Err(_) => break,
            }
        }
        eprintln!("failed to remove the cgroup {}", self.path.display());
    }
}

fn enable_memory(parent: &Path) -> Result<()> {
    let control = parent.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&control)
        .with_context(|| format!("failed to read {}", control.display()))?;
    if enabled
        .split_whitespace()
        .any(|controller| controller == "memory")
    {
        return Ok(());
    }
    fs::write(&control, "+memory")
        .with_context(|| format!("failed to write +memory to {}", control.display()))
}

/// A v1 memory controller first: where it exists, v2 has none.
fn find_hierarchy(mountinfo: &str) -> Option<Hierarchy> {
    let mounts = || mountinfo.lines().filter_map(parse_mount);
    let v1 = mounts().find(|mount| {
        mount.kind == "cgroup" && mount.options.split(',').any(|option| option == "memory")
    });
    let v2 = || mounts().find(|mount| mount.kind == "cgroup2");
    v1.map(|mount| Hierarchy::V1(mount.place))
        .or_else(|| v2().map(|mount| Hierarchy::V2(mount.place)))
}

struct Mount<'a> {
    place: PathBuf,
    kind: &'a str,
    options: &'a str,
}

/// `31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw`, see `proc_pid_mountinfo(5)`.
fn parse_mount(line: &str) -> Option<Mount<'_>> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let place = mount.split(' ').nth(4)?;
    let mut filesystem = filesystem.split(' ');
    Some(Mount {
        place: PathBuf::from(unescape(place)),
        kind: filesystem.next()?,
        options: filesystem.nth(1)?,
    })
}

/// Decodes the four characters that the kernel writes as octal numbers.
fn unescape(place: &str) -> String {
    place
        .replace(r"\040", " ")
        .replace(r"\011", "\t")
        .replace(r"\012", "\n")
        .replace(r"\134", r"\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n";

    #[test]
    fn v1_controller_is_preferred_on_a_hybrid_host() {
        assert_eq!(
            find_hierarchy(HYBRID),
            Some(Hierarchy::V1(PathBuf::from("/sys/fs/cgroup/memory")))
        );
    }

    #[test]
    fn v2_is_found_wherever_it_is_mounted() {
        let mountinfo =
            "24 1 0:22 / /a\\040b\\134 rw shared:4 master:1 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(
            find_hierarchy(mountinfo),
            Some(Hierarchy::V2(PathBuf::from("/a b\\")))
        );
    }

    #[test]
    fn malformed_and_other_mounts_are_no_hierarchy() {
        for mountinfo in [
            "",
            " - ",
            "1 2 3 4 - cgroup2 cgroup2 rw",
            "24 1 0:22 / /x rw - cgroup2",
            "24 1 0:22 / /x rw - cgroup cgroup rw,hugetlb",
            "24 1 0:22 / /x rw - cgroup cgroup rw,memoryless",
            "24 1 0:22 / /x rw cgroup2 cgroup2 rw",
        ] {
            assert_eq!(find_hierarchy(mountinfo), None, "{mountinfo}");
        }
    }
}
