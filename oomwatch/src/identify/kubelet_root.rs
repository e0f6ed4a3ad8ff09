//! Finds where this node's kubelet has its pods, in the host's cgroup file system.

use std::{
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::Path,
};

use tracing::{debug, info};

use crate::model::{
    cgroup::{CgroupOwner, KubeletRoot, Level, level},
    report::NodeKubelet,
};

/// How many levels below the root of the hierarchy the cgroup of all pods is looked for: `--cgroup-root` is seldom deeper
/// than one.
const DEPTH: usize = 4;
/// Most cgroups that are looked at.
const CGROUPS_MAX: usize = 4096;
/// The inode number of the root of every cgroup hierarchy (kernel `fs/kernfs/dir.c`, `kernfs_create_root`).
const ROOT_INODE: u64 = 1;

/// Looks for the cgroup of all pods where only root can have created it. The kubelet's root is not known if there is none, or if
/// there are several in different places.
#[must_use]
pub fn find(cgroup_root: &Path) -> NodeKubelet {
    // The hierarchy of memory: the controller's own on cgroup v1, else the only one.
    for hierarchy in [cgroup_root.join("memory"), cgroup_root.to_owned()] {
        let mut roots = Vec::new();
        let mut left = CGROUPS_MAX;
        search(&hierarchy, b"", DEPTH, &mut left, &mut roots);
        roots.dedup();
        match roots.as_slice() {
            [] => {}
            [root] => {
                let inode = fs::metadata(&hierarchy).map(|root| root.ino()).ok();
                info!(root = %String::from_utf8_lossy(root), "found the kubelet's cgroup root");
                return NodeKubelet {
                    root: KubeletRoot::At(root.clone()),
                    namespace: inode.filter(|inode| *inode != ROOT_INODE),
                };
            }
            _ => break,
        }
    }
    debug!("found no single cgroup root of a kubelet");
    NodeKubelet::default()
}

/// Collects the parents of all cgroups of all pods at or below the one at `path`.
fn search(hierarchy: &Path, path: &[u8], depth: usize, left: &mut usize, roots: &mut Vec<Vec<u8>>) {
    let folder = hierarchy.join(std::ffi::OsStr::from_bytes(
        path.strip_prefix(b"/").unwrap_or(path),
    ));
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let folders = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    for entry in folders {
        let Some(fewer) = left.checked_sub(1) else {
            return;
        };
        *left = fewer;
        let below = [path, b"/", entry.file_name().as_bytes()].concat();
        match level(&below, &KubeletRoot::Unknown) {
            Level::Kubepods => roots.push(path.to_vec()),
            Level::Slice | Level::Other if depth > 1 => {
                let owner = CgroupOwner::from_path(&below, &KubeletRoot::Unknown);
                if owner == CgroupOwner::default() {
                    search(hierarchy, &below, depth - 1, left, roots);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(folders: &[&str]) -> KubeletRoot {
        let root = tempfile::tempdir().expect("make a folder");
        for folder in folders {
            fs::create_dir_all(root.path().join(folder)).expect("make a folder");
        }
        find(root.path()).root
    }

    #[test]
    fn root_of_the_kubelet_is_above_the_cgroup_of_all_pods() {
        let at = |root: &str| KubeletRoot::At(root.into());
        for (folders, expected) in [
            (
                &["kubepods/burstable", "system.slice/a.service"][..],
                at(""),
            ),
            (&["memory/kubepods.slice", "memory/docker"], at("")),
            (&["kubepods", "kubepods.slice"], at("")),
            (&["kubelet/kubepods"], at("/kubelet")),
            (
                &["kubelet.slice/kubelet-kubepods.slice"],
                at("/kubelet.slice"),
            ),
            (&["system.slice", "init.scope"], KubeletRoot::Unknown),
            (&["a/kubepods", "b/kubepods"], KubeletRoot::Unknown),
        ] {
            assert_eq!(found(folders), expected, "{folders:?}");
        }
    }

    #[test]
    fn trees_that_a_tenant_can_make_are_not_looked_at() {
        let id = "0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9";
        for forged in [
            "user.slice/user-1000.slice/user@1000.service/kubepods",
            "system.slice/evil.service/kubepods",
            &format!("docker/{id}/kubepods"),
            "lxc/107/kubepods",
        ] {
            let all = ["kubelet/kubepods", forged];
            assert_eq!(found(&all), KubeletRoot::At("/kubelet".into()), "{forged}");
            assert_eq!(found(&[forged]), KubeletRoot::Unknown, "{forged}");
        }
    }

    #[test]
    fn root_of_a_node_in_a_container_is_relative_to_the_nodes_cgroup() {
        let root = tempfile::tempdir().expect("make a folder");
        fs::create_dir_all(root.path().join("kubelet/kubepods")).expect("make a folder");
        let inode = fs::metadata(root.path()).expect("read its metadata").ino();
        assert_eq!(find(root.path()).namespace, Some(inode));
    }
}
