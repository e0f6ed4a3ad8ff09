//! The mark of an OOM victim: where the whole record is taken.

use aya_ebpf::{
    EbpfContext,
    helpers::{
        bpf_get_current_pid_tgid, generated::bpf_get_current_task, generated::bpf_ktime_get_boot_ns,
    },
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use oomwatch_ebpf::record::{
    KIND_VICTIM, MARK_PID, MISSING_STACK, MISSING_TASK, MISSING_TRIGGER, NAMES_LEN, SIGNAL_NONE,
    SIGNAL_SENT, VICTIM_FIXED_LENGTH, VictimRecord,
};

use super::{
    cgroup,
    maps::{LAST_SIGKILL, LAST_VICTIM, VICTIM, offset, output},
    memcg,
    read::{opaque, read_into, read_pointer},
    task::{self, argument},
};

/// How long a signal is good for as the first half of a kill. Microseconds lie between the two, but more than 10 ms were
/// seen where a hypervisor stops the CPU in between: on the old layout such a kill would be taken for a mark.
const SIGNAL_AGE_NS: u64 = 1_000_000_000;

/// `mark_victim(struct task_struct *task, uid_t uid)`, or `mark_victim(int pid)` before 6.9 and the stable kernels of 2025;
/// `mark_oom_victim` in `mm/oom_kill.c`. The second argument is never read: the old layout has none.
#[raw_tracepoint]
fn mark_victim(ctx: RawTracePointContext) -> i32 {
    if let Some(record) = VICTIM.get_ptr_mut(0) {
        // SAFETY: this CPU's own record, of which every bit pattern is a value.
        mark(&ctx, unsafe { &mut *record });
    }
    0
}

#[inline(always)]
fn mark(ctx: &RawTracePointContext, record: &mut VictimRecord) {
    let current = bpf_get_current_pid_tgid();
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    record.header.kind = KIND_VICTIM;
    record.header.boot_time_ns = now;
    record.missing = 0;
    record.flags = 0;

    let marked = argument(ctx, 0);
    let (signal, task) = marked_task(current, now, marked);
    record.signal = signal;
    task::read_victim(record, task);
    if task == 0 {
        record.missing |= MISSING_TASK;
        record.victim.tid = marked as u32;
    }
    if signal == SIGNAL_SENT
        && let Some(last) = LAST_VICTIM.get_ptr_mut(0)
    {
        // SAFETY: written under oom_lock only.
        unsafe {
            (*last).trigger = current;
            (*last).mm = read_pointer(task, offset!(task_mm));
            (*last).tgid = u64::from(record.victim.tgid);
        }
    }

    record.trigger.tgid = (current >> 32) as u32;
    record.trigger.tid = current as u32;
    // SAFETY: a helper without arguments.
    let trigger = unsafe { bpf_get_current_task() };
    record.missing |= task::read_comm(&mut record.trigger, trigger) * MISSING_TRIGGER;
    task::read_memcg_id(&mut record.trigger, trigger);
    task::read_stack(&mut record.stack, ctx.as_ptr());
    if record.stack.length <= 0 {
        record.missing |= MISSING_STACK;
    }

    let css = memcg::of_task(task);
    memcg::read_levels(record, css);
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

/// The marked task, 0 if the old layout tells only an id that no signal went before; and the signal, which is taken.
#[inline(always)]
fn marked_task(current: u64, now: u64, marked: u64) -> (u32, u64) {
    let by_pid = offset!(mark_victim_argument) == MARK_PID;
    let task = if by_pid { 0 } else { marked };
    let Some(slot) = LAST_SIGKILL.get_ptr_mut(0) else {
        return (SIGNAL_NONE, task);
    };
    // SAFETY: this CPU's own slot.
    let slot = unsafe { &mut *slot };
    let target = slot.target;
    let same = if by_pid {
        let mut pid = 0u32;
        read_into(&mut pid, target, offset!(task_pid)) == 0 && pid == marked as u32
    } else {
        target == marked
    };
    if same && slot.sender == current && now.wrapping_sub(slot.boot_time_ns) < SIGNAL_AGE_NS {
        slot.sender = 0;
        return (slot.state as u32, target);
    }
    (SIGNAL_NONE, task)
}
