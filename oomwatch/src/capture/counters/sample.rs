//! Reads the cgroups' counts and the kernel's count, as consistent as possible.

use std::path::Path;

use super::{kernel_count::KernelCount, snapshot::CgroupSnapshot, tree::CgroupTree};
use crate::sys::proc::HostError;

/// How often the cgroups are read again if a process was killed meanwhile.
const TRIES: u32 = 3;

/// Reads the counts of all cgroups, and the kernel's count after them. Without a tree the snapshot is empty.
pub(super) fn sample(
    tree: Option<&CgroupTree>,
    proc_root: &Path,
) -> Result<(KernelCount, CgroupSnapshot), HostError> {
    let mut count = KernelCount::read(proc_root)?;
    let mut cgroups = CgroupSnapshot::default();
    let Some(tree) = tree else {
        return Ok((count, cgroups));
    };
    for _ in 0..TRIES {
        cgroups = tree.read();
        let before = count.kills;
        count = KernelCount::read(proc_root)?;
        cgroups.is_consistent = count.kills == before;
        if cgroups.is_consistent {
            break;
        }
    }
    Ok((count, cgroups))
}
