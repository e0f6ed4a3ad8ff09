//! Reads memory cgroups: that of a task, and usage and limits of it and its ancestors.

use oomwatch_ebpf::account::{
    CgroupMemory, MEMORY_INDEX, MEMORY_LIMIT, MEMORY_LIMIT_HITS, MEMORY_PEAK, MEMORY_PENDING,
    MEMORY_STATE, MEMORY_USAGE,
};
use oomwatch_ebpf::record::{
    ABSENT, FLAG_FAR_OOM_GROUP, LEVEL_NO_ID, LEVEL_NO_MEMORY, LEVEL_NO_SWAP, LEVEL_OOM_GROUP,
    LEVEL_OOM_LOCK, Level, MAX_LEVELS, MISSING_LIMITS, VictimRecord,
};

use super::{
    maps::{offset, stats_index},
    read::{read_into, read_large, read_pointer},
};

/// Number of ancestors after which the one that ran out of memory is not searched any more.
const MAX_DISTANCE: u32 = 64;

/// Address of the `cgroup_subsys_state` of the task's memory cgroup (`task->cgroups->subsys[memory_cgrp_id]`), on either
/// cgroup version; 0 if it cannot be read.
#[inline(always)]
pub(super) fn of_task(task: u64) -> u64 {
    let css_set = read_pointer(task, offset!(task_cgroups));
    read_pointer(css_set, offset!(css_set_memory))
}

/// Address of the kernfs node of the cgroup that a `cgroup_subsys_state` belongs to; 0 if it cannot be read.
#[inline(always)]
pub(super) fn kernfs_node(css: u64) -> u64 {
    let cgroup = read_pointer(css, offset!(css_cgroup));
    read_pointer(cgroup, offset!(cgroup_kn))
}

/// Id of the cgroup that a `cgroup_subsys_state` belongs to; 0 if it cannot be read.
#[inline(always)]
pub(super) fn id(css: u64) -> u64 {
    read_pointer(kernfs_node(css), offset!(kernfs_node_id))
}

/// Reads the victim's memory cgroup and its ancestors, and the one that ran out of memory, whose `cgroup_subsys_state` is `oom_css`
/// (0 if it is not known). Stops below the root, whose counter is meaningless.
#[inline(always)]
pub(super) fn read_levels(record: &mut VictimRecord, css: u64, oom_css: u64) {
    if css == 0 {
        record.missing |= MISSING_LIMITS;
    }
    let mut css = css;
    let mut distance = 0u32;
    record.level_count = 0;
    record.far_distance = 0;
    while distance < MAX_DISTANCE {
        let parent = read_pointer(css, offset!(css_parent));
        if parent == 0 {
            break;
        }
        if distance < MAX_LEVELS as u32 {
            read_level(&mut record.levels[(distance & 15) as usize], css);
            record.level_count = distance + 1;
        } else {
            if oom_css == 0 {
                break;
            }
            let mut is_group = 0u8;
            read_into(&mut is_group, memcg(css), offset!(memcg_oom_group));
            record.flags |= u32::from(is_group & 1) * FLAG_FAR_OOM_GROUP;
            if css == oom_css {
                read_level(&mut record.far_level, css);
                record.far_distance = distance;
                break;
            }
        }
        css = parent;
        distance += 1;
    }
}

/// Address of the `mem_cgroup` with this `cgroup_subsys_state`, its first member in the kernels that were examined.
#[inline(always)]
fn memcg(css: u64) -> u64 {
    css.wrapping_sub(u64::from(offset!(memcg_css)))
}

#[inline(always)]
fn read_level(level: &mut Level, css: u64) {
    let memcg = memcg(css);
    let mut flags =
        read_into(&mut level.id, kernfs_node(css), offset!(kernfs_node_id)) * LEVEL_NO_ID;
    flags |=
        read_into(&mut level.usage_pages, memcg, offset!(memcg_memory_usage)) * LEVEL_NO_MEMORY;
    flags |= read_into(&mut level.limit_pages, memcg, offset!(memcg_memory_max)) * LEVEL_NO_MEMORY;
    flags |= read_into(
        &mut level.swap_usage_pages,
        memcg,
        offset!(memcg_swap_usage),
    ) * LEVEL_NO_SWAP;
    flags |= read_into(&mut level.swap_limit_pages, memcg, offset!(memcg_swap_max)) * LEVEL_NO_SWAP;
    let mut set = 0u8;
    read_into(&mut set, memcg, offset!(memcg_oom_lock));
    flags |= u64::from(set & 1) * LEVEL_OOM_LOCK;
    read_into(&mut set, memcg, offset!(memcg_oom_group));
    flags |= u64::from(set & 1) * LEVEL_OOM_GROUP;
    level.flags = flags;
}

/// Reads the memory of the cgroup that ran out, given its `struct mem_cgroup`; 0 if the system did.
#[inline(always)]
pub(super) fn read_memory(memory: &mut CgroupMemory, memcg: u64) {
    let read = |failed: u64, flag: u32| (1 - failed) as u32 * flag;
    let mut flags = read(
        read_into(&mut memory.usage_pages, memcg, offset!(memcg_memory_usage)),
        MEMORY_USAGE,
    );
    flags |= read(
        read_into(&mut memory.limit_pages, memcg, offset!(memcg_memory_max)),
        MEMORY_LIMIT,
    );
    flags |= read(
        read_into(
            &mut memory.peak_pages,
            memcg,
            offset!(memcg_memory_watermark),
        ),
        MEMORY_PEAK,
    );
    flags |= read(
        read_into(&mut memory.limit_hits, memcg, offset!(memcg_limit_hits)),
        MEMORY_LIMIT_HITS,
    );
    let mut base = memcg;
    let mut state = offset!(memcg_vmstats);
    if offset!(vmstats_state) != ABSENT {
        base = read_pointer(memcg, state);
        state = offset!(vmstats_state);
    }
    flags |= read(
        read_into(&mut memory.pending_updates, base, offset!(vmstats_updates)),
        MEMORY_PENDING,
    );
    flags |= read(read_large(&mut memory.state, base, state), MEMORY_STATE);
    flags |= read(
        read_large(&mut memory.index, stats_index(), 0),
        MEMORY_INDEX,
    );
    memory.flags = flags;
}
