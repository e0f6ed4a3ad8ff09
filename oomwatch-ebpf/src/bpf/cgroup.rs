//! Reads cgroup paths, name by name up the kernfs nodes. An id alone cannot be resolved once the cgroup is removed.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use oomwatch_ebpf::record::{
    FLAG_CGROUP_V1, FLAG_NO_DISTANCE, MISSING_CGROUP, NAME_LEN, NAMES_LEN, VictimRecord,
};

use super::{
    maps::offset,
    read::{opaque, read_into, read_pointer},
};

/// Number of names after which a path is cut.
const MAX_DEPTH: u32 = 32;

/// Address of the kernfs node at which the victim's path begins; 0 if it cannot be read. On cgroup v2 that is the leaf, which is
/// below the memory cgroup if the memory controller is not enabled for it. On v1 and hybrid machines it is the memory cgroup:
/// `dfl_cgrp` is in another hierarchy.
#[inline(always)]
pub(super) fn first_node(record: &mut VictimRecord, task: u64, css: u64) -> u64 {
    let css_set = read_pointer(task, offset!(task_cgroups));
    let leaf = read_pointer(css_set, offset!(css_set_dfl_cgrp));
    let memory = read_pointer(css, offset!(css_cgroup));
    let root = read_pointer(memory, offset!(cgroup_root));
    let unified = root != 0 && root == read_pointer(leaf, offset!(cgroup_root));

    let mut first = memory;
    record.memcg_distance = 0;
    if unified {
        first = leaf;
        let mut depth = [0u32; 2];
        let failed = read_into(&mut depth[0], leaf, offset!(cgroup_level))
            | read_into(&mut depth[1], memory, offset!(cgroup_level));
        record.memcg_distance = depth[0].wrapping_sub(depth[1]);
        record.flags |= failed as u32 * FLAG_NO_DISTANCE;
    } else {
        record.flags |= FLAG_CGROUP_V1;
    }
    let node = read_pointer(first, offset!(cgroup_kn));
    record.cgroup_id = read_pointer(node, offset!(kernfs_node_id));
    if node == 0 {
        record.missing |= MISSING_CGROUP;
    }
    node
}

/// Writes the names from `node` up to the root into `names`, from `used` on, each with its NUL, and advances `used`. A path that
/// does not end in the root's empty name was cut after [`MAX_DEPTH`] names or `limit` bytes.
///
/// `used` must be in a map, and is read from it each time. In a register it would be a different verifier state in each
/// iteration and at each exit of the loop: 200 times the work, 0.15 s at the start.
#[inline(always)]
pub(super) fn read_names(
    names: &mut [u8; NAMES_LEN + NAME_LEN],
    used: &mut u32,
    node: u64,
    limit: u32,
) {
    let mut node = node;
    let mut depth = 0;
    while depth < MAX_DEPTH && node != 0 {
        let start = opaque(used);
        if start >= limit {
            break;
        }
        let name = read_pointer(node, offset!(kernfs_node_name));
        // SAFETY: at most NAME_LEN bytes at an index below NAMES_LEN.
        let read = unsafe {
            bpf_probe_read_kernel_str(
                names
                    .as_mut_ptr()
                    .add((opaque(used) & (NAMES_LEN as u32 - 1)) as usize)
                    .cast(),
                NAME_LEN as u32,
                name as *const c_void,
            )
        };
        if read < 1 {
            break;
        }
        *used = start + read as u32;
        node = read_pointer(node, offset!(kernfs_node_parent));
        depth += 1;
    }
}
