//! Raw tracepoint `mark_victim`. The event is a kill if the kernel has just sent the task SIGKILL.

use aya_ebpf::{
    EbpfContext, helpers::bpf_get_current_pid_tgid, macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use oomwatch_ebpf::record::{
    BACKEND_RAW_TRACEPOINT, MARK_PID, SIGNAL_NONE, SIGNAL_SENT, VictimRecord,
};

use super::{
    log::log,
    maps::{LAST_SIGKILL, backend, offset},
    read::read_into,
    task::argument,
    victim,
};

/// Maximum time between the SIGKILL and the mark of one kill. It is usually microseconds, but more than 10 ms were seen where a
/// hypervisor stops the CPU in between. With the old layout, a kill past this time counts as a mark without a kill.
const SIGNAL_AGE_NS: u64 = 1_000_000_000;

/// `mark_victim(struct task_struct *task, uid_t uid)`, or `mark_victim(int pid)` before 6.9 and the stable kernels of 2025;
/// `mark_oom_victim` in `mm/oom_kill.c`. The second argument is never read, since the old layout has none.
#[raw_tracepoint]
fn mark_victim(ctx: RawTracePointContext) -> i32 {
    // Beside hooks on functions this program is dormant.
    if backend() == BACKEND_RAW_TRACEPOINT
        && let Some(record) = victim::begin()
    {
        mark(&ctx, record);
    }
    0
}

#[inline(always)]
fn mark(ctx: &RawTracePointContext, record: &mut VictimRecord) {
    let marked = argument(ctx, 0);
    let (signal, task) = marked_task(record.header.boot_time_ns, marked);
    record.backend = BACKEND_RAW_TRACEPOINT;
    record.signal = signal;
    victim::read_stack(record, ctx.as_ptr());
    victim::send(record, task, marked as u32, 0);
    log!(
        "mark_victim: pid {}, signal {}, missing {:x}",
        record.victim.tgid,
        record.signal,
        record.missing
    );
    if signal == SIGNAL_SENT {
        victim::remember(record, task);
    }
}

/// The `SIGNAL_` constant, and the address of the marked task. The address is 0 if the old layout gives only an id, and no signal
/// preceded the mark. Empties the slot of the last signal if it matches.
#[inline(always)]
fn marked_task(now: u64, marked: u64) -> (u32, u64) {
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
    if same
        && slot.sender == bpf_get_current_pid_tgid()
        && now.wrapping_sub(slot.boot_time_ns) < SIGNAL_AGE_NS
    {
        slot.sender = 0;
        return (slot.state as u32, target);
    }
    (SIGNAL_NONE, task)
}
