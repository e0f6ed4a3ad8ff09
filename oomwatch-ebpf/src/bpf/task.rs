//! Reads a `task_struct`.

use core::ffi::c_void;

use aya_ebpf::{EbpfContext, helpers::generated::bpf_get_stack, programs::RawTracePointContext};
use oomwatch_ebpf::record::{
    ABSENT, MISSING_ANON_RSS, MISSING_COMM, MISSING_FILE_RSS, MISSING_NS_PID,
    MISSING_OOM_SCORE_ADJ, MISSING_PGTABLES, MISSING_SHMEM_RSS, MISSING_START_TIME, MISSING_SWAP,
    MISSING_TGID, MISSING_TOTAL_VM, MISSING_UID, STACK_FRAMES, Stack, Task, VictimRecord,
};

use super::{
    maps::offset,
    memcg,
    read::{read_into, read_pointer},
};

/// Argument `n` of a raw tracepoint.
#[inline(always)]
pub(super) fn argument(ctx: &RawTracePointContext, n: usize) -> u64 {
    // SAFETY: the verifier checks that the context has this argument.
    unsafe { *ctx.as_ptr().cast::<u64>().add(n) }
}

/// Reads one fact into a field of the record, or sets its bit in `missing`.
macro_rules! fact {
    ($record:ident, $field:expr, $base:expr, $offset:ident, $missing:ident) => {
        $record.missing |= read_into(&mut $field, $base, offset!($offset)) * $missing;
    };
}

/// Reads everything about the victim but its cgroup paths and limits. comm, start time and PID namespace are those of the
/// process (`group_leader`), not of the thread.
#[inline(always)]
pub(super) fn read_victim(record: &mut VictimRecord, task: u64) {
    let leader = read_pointer(task, offset!(task_group_leader));
    let mm = read_pointer(task, offset!(task_mm));
    let cred = read_pointer(task, offset!(task_real_cred));
    let signal = read_pointer(task, offset!(task_signal));

    record.missing |= read_ids(&mut record.victim, task) * MISSING_TGID;
    record.missing |= read_comm(&mut record.victim, leader) * MISSING_COMM;
    read_memcg_id(&mut record.victim, task);
    fact!(
        record,
        record.start_time_ns,
        leader,
        task_start_boottime,
        MISSING_START_TIME
    );
    fact!(record, record.uid, cred, cred_uid, MISSING_UID);
    let mut adj = 0i16;
    record.missing |=
        read_into(&mut adj, signal, offset!(signal_oom_score_adj)) * MISSING_OOM_SCORE_ADJ;
    record.oom_score_adj = i32::from(adj);
    fact!(
        record,
        record.total_vm_pages,
        mm,
        mm_total_vm,
        MISSING_TOTAL_VM
    );
    fact!(
        record,
        record.anon_rss_pages,
        mm,
        mm_anon_rss,
        MISSING_ANON_RSS
    );
    fact!(
        record,
        record.file_rss_pages,
        mm,
        mm_file_rss,
        MISSING_FILE_RSS
    );
    fact!(
        record,
        record.shmem_rss_pages,
        mm,
        mm_shmem_rss,
        MISSING_SHMEM_RSS
    );
    fact!(record, record.swap_pages, mm, mm_swap, MISSING_SWAP);
    fact!(
        record,
        record.pgtables_bytes,
        mm,
        mm_pgtables_bytes,
        MISSING_PGTABLES
    );
    read_namespace(record, leader);
}

/// Reads process and thread id. Returns 1 if that fails, else 0.
#[inline(always)]
pub(super) fn read_ids(target: &mut Task, task: u64) -> u64 {
    read_into(&mut target.tgid, task, offset!(task_tgid))
        | read_into(&mut target.tid, task, offset!(task_pid))
}

/// Reads `comm`. Returns 1 if that fails, else 0.
#[inline(always)]
pub(super) fn read_comm(target: &mut Task, task: u64) -> u64 {
    read_into(&mut target.comm, task, offset!(task_comm))
}

/// Reads the id of the task's memory cgroup; 0 if that fails.
#[inline(always)]
pub(super) fn read_memcg_id(target: &mut Task, task: u64) {
    target.memcg_id = memcg::id(memcg::of_task(task));
}

/// Reads the kernel stack of the current task.
#[inline(always)]
pub(super) fn read_stack(stack: &mut Stack, ctx: *mut c_void) {
    // SAFETY: the verifier checks buffer and size.
    stack.length = unsafe {
        bpf_get_stack(
            ctx,
            stack.frames.as_mut_ptr().cast(),
            (STACK_FRAMES * 8) as u32,
            0,
        )
    } as i64;
}

/// Reads the process id inside its own PID namespace, and the memory cgroup ids of the init processes of that namespace and of
/// the one above it.
#[inline(always)]
fn read_namespace(record: &mut VictimRecord, leader: u64) {
    let pid = read_pointer(leader, offset!(task_thread_pid));
    fact!(record, record.ns_level, pid, pid_level, MISSING_NS_PID);
    // PID namespaces are nested at most 32 deep (MAX_PID_NS_LEVEL).
    let level = u64::from(record.ns_level & 31);
    let numbers = match offset!(pid_numbers) {
        ABSENT => 0,
        offset => pid.wrapping_add(u64::from(offset)),
    };
    let upid = numbers.wrapping_add(level * u64::from(offset!(upid_size)));
    fact!(record, record.ns_pid, upid, upid_nr, MISSING_NS_PID);
    let namespace = read_pointer(upid, offset!(upid_ns));
    let init = read_pointer(namespace, offset!(pid_namespace_child_reaper));
    record.ns_init_memcg_id = memcg::id(memcg::of_task(init));
    let outer = read_pointer(namespace, offset!(pid_namespace_parent));
    let init = read_pointer(outer, offset!(pid_namespace_child_reaper));
    record.parent_ns_init_memcg_id = memcg::id(memcg::of_task(init));
}
