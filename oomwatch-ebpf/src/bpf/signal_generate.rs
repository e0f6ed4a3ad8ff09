//! Raw tracepoint `signal_generate`: SIGKILLs from the kernel.
//!
//! For the raw-tracepoint backend a SIGKILL is the first half of a kill, and the only trace of a re-kill or of a killed process
//! that shares the victim's mm. The fentry and kprobe backends need it for the latter only.

use aya_ebpf::{
    EbpfContext,
    helpers::{
        bpf_get_current_pid_tgid, generated::bpf_get_current_task, generated::bpf_ktime_get_boot_ns,
    },
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use oomwatch_ebpf::record::{
    BACKEND_RAW_TRACEPOINT, KIND_SIGNAL, RELATION_MM_SHARER, RELATION_REKILL, SIGNAL_REPORTED,
    SIGNAL_SENT, SignalRecord,
};

use super::{
    log::log,
    maps::{INCIDENT, LAST_SIGKILL, LAST_VICTIM, Phase, SHARER, SIGNAL, backend, offset, output},
    read::{read_into, read_pointer},
    task::{self, argument},
};

const SIGKILL: i32 = 9;
/// `SEND_SIG_PRIV` of `include/linux/sched/signal.h`: the kernel is the sender.
const SEND_SIG_PRIV: u64 = 1;
/// `PF_EXITING` of `include/linux/sched.h`.
const PF_EXITING: u32 = 4;

/// `TRACE_SIGNAL_DELIVERED` of `include/trace/events/signal.h`; another if the process had SIGKILL already.
const DELIVERED: i32 = 0;

/// `signal_generate(int sig, struct kernel_siginfo *info, struct task_struct *task, int type, int result)`,
/// `__send_signal_locked` in `kernel/signal.c`. The same five arguments from 5.10 to 7.3.
#[raw_tracepoint]
fn signal_generate(ctx: RawTracePointContext) -> i32 {
    if argument(&ctx, 0) as i32 != SIGKILL || argument(&ctx, 1) != SEND_SIG_PRIV {
        return 0;
    }
    sigkill(&ctx, argument(&ctx, 2), argument(&ctx, 4) as i32);
    0
}

#[inline(always)]
fn sigkill(ctx: &RawTracePointContext, target: u64, result: i32) {
    let sender = bpf_get_current_pid_tgid();
    // SAFETY: the helper takes no arguments.
    let boot_time_ns = unsafe { bpf_ktime_get_boot_ns() };
    let relation = relation(sender, target);
    log!(
        "signal_generate: SIGKILL by thread {}, relation {}",
        sender as u32,
        relation
    );
    let backend = backend();
    if backend != BACKEND_RAW_TRACEPOINT
        && (relation != RELATION_MM_SHARER || !is_after_mark(sender))
    {
        return;
    }

    if let Some(slot) = LAST_SIGKILL.get_ptr_mut(0) {
        // SAFETY: this CPU's own slot.
        unsafe {
            (*slot).sender = sender;
            (*slot).target = target;
            (*slot).boot_time_ns = boot_time_ns;
            (*slot).state = u64::from(if relation == RELATION_REKILL {
                SIGNAL_REPORTED
            } else {
                SIGNAL_SENT
            });
        }
    }
    if relation == 0 || relation == RELATION_MM_SHARER && !is_first_sharer(result, backend) {
        return;
    }
    let is_function = backend != BACKEND_RAW_TRACEPOINT;
    let record = if is_function {
        SHARER.get_ptr_mut(0)
    } else {
        SIGNAL.get_ptr_mut(0)
    };
    let Some(record) = record else {
        return;
    };
    // SAFETY: this CPU's own record, or that of the incident, written under oom_lock. Every bit pattern is a valid record.
    let record = unsafe { &mut *record };
    record.header.kind = KIND_SIGNAL;
    record.header.length = size_of::<SignalRecord>() as u32;
    record.header.boot_time_ns = boot_time_ns;
    record.relation = relation;
    let leader = read_pointer(target, offset!(task_group_leader));
    task::read_ids(&mut record.target, target);
    task::read_comm(&mut record.target, leader);
    task::read_memcg_id(&mut record.target, target);
    read_into(
        &mut record.start_time_ns,
        leader,
        offset!(task_start_boottime),
    );
    record.victim_tgid = 0;
    if relation == RELATION_MM_SHARER
        && let Some(victim) = LAST_VICTIM.get(0)
    {
        record.victim_tgid = victim.tgid as u32;
        record.total_sharers = victim.total_sharers;
    }
    record.sender.tgid = (sender >> 32) as u32;
    record.sender.tid = sender as u32;
    // SAFETY: the helper takes no arguments.
    let current = unsafe { bpf_get_current_task() };
    task::read_comm(&mut record.sender, current);
    task::read_memcg_id(&mut record.sender, current);
    let mut flags = 0u32;
    read_into(&mut flags, current, offset!(task_flags));
    record.sender_exiting = u32::from(flags & PF_EXITING != 0);
    record.backend = backend;
    record.stack.length = 0;
    if is_function {
        return;
    }
    task::read_stack(&mut record.stack, ctx.as_ptr());
    // SAFETY: the length is that of the record.
    unsafe { output(record, size_of::<SignalRecord>() as u64, KIND_SIGNAL) };
}

/// Counts a process that is killed since it shares the last victim's mm. Whether it is the first of the victim, or with fentry and
/// kprobes of the incident: only that one has a record, so that thousands of them do not fill the ring.
#[inline(always)]
fn is_first_sharer(result: i32, backend: u32) -> bool {
    let (Some(victim), Some(incident)) = (LAST_VICTIM.get_ptr_mut(0), INCIDENT.get_ptr_mut(0))
    else {
        return false;
    };
    if result != DELIVERED {
        return false;
    }
    // SAFETY: written under oom_lock only.
    let (victim, incident) = unsafe { (&mut *victim, &mut *incident) };
    victim.total_sharers += 1;
    victim.sharers += 1;
    incident.sharers += 1;
    if backend == BACKEND_RAW_TRACEPOINT {
        victim.sharers == 1
    } else {
        incident.sharers == 1
    }
}

/// Outputs the record of an incident's sharers, if there were any.
#[inline(always)]
pub(super) fn send_sharers(count: u64) {
    if count == 0 {
        return;
    }
    let (Some(record), Some(victim)) = (SHARER.get_ptr_mut(0), LAST_VICTIM.get(0)) else {
        return;
    };
    // SAFETY: written under oom_lock only. The length is that of the record.
    unsafe {
        (*record).total_sharers = victim.total_sharers;
        output(record, size_of::<SignalRecord>() as u64, KIND_SIGNAL);
    }
}

/// Whether the sender has just marked a victim in `__oom_kill_process`: then it kills the processes sharing the victim's mm.
#[inline(always)]
fn is_after_mark(sender: u64) -> bool {
    INCIDENT.get(0).is_some_and(|incident| {
        incident.trigger == sender && incident.phase == Phase::Marked as u64
    })
}

/// How the target is related to an earlier victim: a `RELATION_` constant, or 0 if it is not.
///
/// The first mark of a process sets `signal_struct.oom_mm`, which is never cleared. In `__oom_kill_process`, the loop over the
/// processes sharing the victim's mm directly follows the mark of the victim, in the same task.
#[inline(always)]
fn relation(sender: u64, target: u64) -> u32 {
    let signal = read_pointer(target, offset!(task_signal));
    let marked = read_pointer(signal, offset!(signal_oom_mm)) != 0;
    let mm = read_pointer(target, offset!(task_mm));
    let mut tgid = 0u32;
    read_into(&mut tgid, target, offset!(task_tgid));
    let Some(victim) = LAST_VICTIM.get(0) else {
        return 0;
    };
    let shares =
        victim.trigger == sender && victim.mm == mm && mm != 0 && victim.tgid != u64::from(tgid);
    match (marked, shares) {
        (true, false) => RELATION_REKILL,
        (false, true) => RELATION_MM_SHARER,
        // That loop also sends SIGKILL to earlier victims of a group; the kernel does not count it as a kill.
        (true, true) | (false, false) => 0,
    }
}
