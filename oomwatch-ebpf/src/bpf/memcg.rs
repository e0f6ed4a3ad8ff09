//! Memory cgroups: a task's own, and the usage and limits of its ancestors.

use oomwatch_ebpf::record::{
    LEVEL_NO_ID, LEVEL_NO_MEMORY, LEVEL_NO_SWAP, LEVEL_OOM_GROUP, LEVEL_OOM_LOCK, MAX_LEVELS,
    MISSING_LIMITS, VictimRecord,
};

use super::{
    maps::offset,
    read::{read_into, read_pointer},
};

/// `task->cgroups->subsys[memory_cgrp_id]`: the memory controller's state of the task's effective memory cgroup, on either
/// cgroup version. 0 if it cannot be read.
#[inline(always)]
pub(super) fn of_task(task: u64) -> u64 {
    let css_set = read_pointer(task, offset!(task_cgroups));
    read_pointer(css_set, offset!(css_set_memory))
}

/// The kernfs node of the cgroup that a controller's state belongs to.
#[inline(always)]
pub(super) fn kernfs_node(css: u64) -> u64 {
    let cgroup = read_pointer(css, offset!(css_cgroup));
    read_pointer(cgroup, offset!(cgroup_kn))
}

#[inline(always)]
pub(super) fn id(css: u64) -> u64 {
    read_pointer(kernfs_node(css), offset!(kernfs_node_id))
}

/// Walks from the victim's memory cgroup up to below the root, whose own counter means nothing.
#[inline(always)]
pub(super) fn read_levels(record: &mut VictimRecord, css: u64) {
    let mut css = css;
    let mut count = 0u32;
    if css == 0 {
        record.missing |= MISSING_LIMITS;
    }
    while count < MAX_LEVELS as u32 {
        let parent = read_pointer(css, offset!(css_parent));
        if parent == 0 {
            break;
        }
        read_level(record, (count & 15) as usize, css);
        css = parent;
        count += 1;
    }
    record.level_count = count;
}

#[inline(always)]
fn read_level(record: &mut VictimRecord, index: usize, css: u64) {
    let level = &mut record.levels[index];
    // `mem_cgroup.css` is the first member on every kernel seen, but that is for BTF to say.
    let memcg = css.wrapping_sub(u64::from(offset!(memcg_css)));
    let mut flags = 0u64;
    let mut set = 0u8;
    if !read_into(&mut level.id, kernfs_node(css), offset!(kernfs_node_id)) {
        flags |= LEVEL_NO_ID;
    }
    if !read_into(&mut level.usage_pages, memcg, offset!(memcg_memory_usage)) {
        flags |= LEVEL_NO_MEMORY;
    }
    if !read_into(&mut level.limit_pages, memcg, offset!(memcg_memory_max)) {
        flags |= LEVEL_NO_MEMORY;
    }
    if !read_into(
        &mut level.swap_usage_pages,
        memcg,
        offset!(memcg_swap_usage),
    ) {
        flags |= LEVEL_NO_SWAP;
    }
    if !read_into(&mut level.swap_limit_pages, memcg, offset!(memcg_swap_max)) {
        flags |= LEVEL_NO_SWAP;
    }
    if read_into(&mut set, memcg, offset!(memcg_oom_lock)) && set & 1 != 0 {
        flags |= LEVEL_OOM_LOCK;
    }
    if read_into(&mut set, memcg, offset!(memcg_oom_group)) && set & 1 != 0 {
        flags |= LEVEL_OOM_GROUP;
    }
    level.flags = flags;
}
