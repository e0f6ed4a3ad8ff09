//! Fills the record of a victim. Used by every program that sees a `mark_victim` event.

use core::ffi::c_void;

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, generated::bpf_get_current_task, generated::bpf_ktime_get_boot_ns,
};
use oomwatch_ebpf::record::{
    KIND_VICTIM, MISSING_TASK, MISSING_TRIGGER, NAMES_LEN, VICTIM_FIXED_LENGTH, VictimRecord,
};

use super::{
    cgroup,
    maps::{LAST_VICTIM, VICTIM, offset, output},
    memcg,
    read::{opaque, read_pointer},
    task,
};

/// Starts this CPU's record with kind, time and trigger. Only one record is in use at a time: marks run under `oom_lock`.
#[inline(always)]
pub(super) fn begin() -> Option<&'static mut VictimRecord> {
    let record = VICTIM.get_ptr_mut(0)?;
    // SAFETY: this CPU's own record. Every bit pattern is a valid record.
    let record = unsafe { &mut *record };
    let current = bpf_get_current_pid_tgid();
    record.header.kind = KIND_VICTIM;
    // SAFETY: the helper takes no arguments.
    record.header.boot_time_ns = unsafe { bpf_ktime_get_boot_ns() };
    record.missing = 0;
    record.flags = 0;
    record.account_time_ns = 0;
    record.trigger.tgid = (current >> 32) as u32;
    record.trigger.tid = current as u32;
    Some(record)
}

/// Fills in everything about the victim but why it was marked, and outputs the record.
///
/// `task` is the address of its `task_struct`; 0 if it is unknown, and then `tid` is its thread id. `oom_css` is the
/// `cgroup_subsys_state` of the memory cgroup that ran out of memory; 0 if that is not known.
#[inline(always)]
pub(super) fn send(record: &mut VictimRecord, task: u64, tid: u32, oom_css: u64) {
    task::read_victim(record, task);
    if task == 0 {
        record.missing |= MISSING_TASK;
        record.victim.tid = tid;
    }
    // SAFETY: the helper takes no arguments.
    let trigger = unsafe { bpf_get_current_task() };
    record.missing |= task::read_comm(&mut record.trigger, trigger) * MISSING_TRIGGER;
    task::read_memcg_id(&mut record.trigger, trigger);

    let css = memcg::of_task(task);
    memcg::read_levels(record, css, oom_css);
    let first = cgroup::first_node(record, task, css);
    let VictimRecord {
        names,
        names_length,
        victim_names_length,
        ..
    } = record;
    *names_length = 0;
    cgroup::read_names(names, names_length, first, (NAMES_LEN / 2) as u32);
    *victim_names_length = opaque(names_length);
    if record.trigger.memcg_id != record.victim.memcg_id {
        let node = memcg::kernfs_node(memcg::of_task(trigger));
        cgroup::read_names(
            &mut record.names,
            &mut record.names_length,
            node,
            NAMES_LEN as u32,
        );
    }
    record.header.length = VICTIM_FIXED_LENGTH as u32 + record.names_length;
    // SAFETY: the record is 4096 bytes long.
    unsafe {
        output(
            record,
            u64::from(opaque(&record.header.length) & 0xfff),
            KIND_VICTIM,
        );
    }
}

/// Remembers the victim, for the SIGKILLs to the processes sharing its mm, which follow at once.
#[inline(always)]
pub(super) fn remember(record: &VictimRecord, task: u64) {
    if let Some(last) = LAST_VICTIM.get_ptr_mut(0) {
        // SAFETY: written under oom_lock only.
        unsafe {
            (*last).trigger = bpf_get_current_pid_tgid();
            (*last).mm = read_pointer(task, offset!(task_mm));
            (*last).tgid = u64::from(record.victim.tgid);
            (*last).sharers = 0;
        }
    }
}

/// Reads the kernel stack into the record.
#[inline(always)]
pub(super) fn read_stack(record: &mut VictimRecord, ctx: *mut c_void) {
    task::read_stack(&mut record.stack, ctx);
    if record.stack.length <= 0 {
        record.missing |= oomwatch_ebpf::record::MISSING_STACK;
    }
}
