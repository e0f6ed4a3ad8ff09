//! Classic tracepoints, for a kernel that does not describe its structures (no BTF): the fields that their `format` files
//! name, and nothing that would take a pointer.
//!
//! A mark is a kill as with the raw tracepoints: the same task has just sent the same thread SIGKILL on this CPU. A re-kill
//! marks nobody, and is told by the signal to a thread that was marked before.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    helpers::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, generated::bpf_ktime_get_boot_ns,
        generated::bpf_probe_read_kernel_str,
    },
    macros::tracepoint,
    programs::TracePointContext,
};
use oomwatch_ebpf::record::{
    COMM_LEN, HOOKS_FORMAT, KIND_SIGNAL, KIND_VICTIM, MISSING_ANON_RSS, MISSING_CGROUP,
    MISSING_COMM, MISSING_FILE_RSS, MISSING_LIMITS, MISSING_NS_PID, MISSING_OOM_SCORE_ADJ,
    MISSING_PGTABLES, MISSING_SHMEM_RSS, MISSING_START_TIME, MISSING_SWAP, MISSING_TGID,
    MISSING_TOTAL_VM, MISSING_UID, RELATION_REKILL, SIGNAL_NONE, SIGNAL_SENT, SignalRecord,
    VICTIM_FIXED_LENGTH, VictimRecord,
};

use super::{
    maps::{LAST_SIGKILL, MARKED, SIGNAL, field, output},
    mark_victim::SIGNAL_AGE_NS,
    read::read_into,
    signal_generate::SIGKILL,
    task, victim,
};

/// `SI_KERNEL` of `include/uapi/asm-generic/siginfo.h`.
const SI_KERNEL: i32 = 0x80;

/// `signal:signal_generate`: `sig`, `errno`, `code`, `comm`, `pid`, `group`, `result`.
#[tracepoint]
fn format_signal_generate(ctx: TracePointContext) -> u32 {
    let base = ctx.as_ptr() as u64;
    let (mut sig, mut code, mut pid) = (0i32, 0i32, 0u32);
    read_into(&mut sig, base, field!(signal_sig));
    read_into(&mut code, base, field!(signal_code));
    let unread = read_into(&mut pid, base, field!(signal_pid));
    if sig == SIGKILL && code == SI_KERNEL && unread == 0 {
        sigkill(ctx.as_ptr(), pid);
    }
    0
}

#[inline(always)]
fn sigkill(ctx: *mut c_void, tid: u32) {
    let sender = bpf_get_current_pid_tgid();
    // SAFETY: a helper without arguments.
    let boot_time_ns = unsafe { bpf_ktime_get_boot_ns() };
    if let Some(slot) = LAST_SIGKILL.get_ptr_mut(0) {
        // SAFETY: this CPU's own slot.
        unsafe {
            (*slot).sender = sender;
            (*slot).target = u64::from(tid);
            (*slot).boot_time_ns = boot_time_ns;
            (*slot).state = u64::from(SIGNAL_SENT);
        }
    }
    if MARKED.get_ptr(tid).is_none() {
        return;
    }
    let Some(record) = SIGNAL.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's own record, of which every bit pattern is a value.
    let record = unsafe { &mut *record };
    record.header.kind = KIND_SIGNAL;
    record.header.length = size_of::<SignalRecord>() as u32;
    record.header.boot_time_ns = boot_time_ns;
    record.relation = RELATION_REKILL;
    record.hooks = HOOKS_FORMAT;
    record.target.tgid = 0;
    record.target.tid = tid;
    record.target.comm = [0; COMM_LEN];
    record.target.memcg_id = 0;
    record.start_time_ns = 0;
    record.victim_tgid = 0;
    record.sender_exiting = 0;
    record.sender.tgid = (sender >> 32) as u32;
    record.sender.tid = sender as u32;
    record.sender.comm = bpf_get_current_comm().unwrap_or_default();
    record.sender.memcg_id = 0;
    task::read_stack(&mut record.stack, ctx);
    // SAFETY: the whole record.
    unsafe { output(record, size_of::<SignalRecord>() as u64, KIND_SIGNAL) };
}

/// `oom:mark_victim`: `pid` alone, or since 6.9 and the stable kernels of 2025 what the victim held, too.
#[tracepoint]
fn format_mark_victim(ctx: TracePointContext) -> u32 {
    if let Some(record) = victim::begin() {
        mark(ctx.as_ptr(), record);
    }
    0
}

#[inline(always)]
fn mark(ctx: *mut c_void, record: &mut VictimRecord) {
    let base = ctx as u64;
    let mut tid = 0u32;
    read_into(&mut tid, base, field!(mark_pid));
    record.hooks = HOOKS_FORMAT;
    record.signal = take_signal(record.header.boot_time_ns, tid);
    record.kill_number = 0;
    record.missing = MISSING_TGID
        | MISSING_START_TIME
        | MISSING_SWAP
        | MISSING_NS_PID
        | MISSING_CGROUP
        | MISSING_LIMITS;
    record.victim.tgid = 0;
    record.victim.tid = tid;
    record.victim.memcg_id = 0;
    record.level_count = 0;
    record.memcg_distance = 0;
    record.ns_init_memcg_id = 0;
    record.names_length = 0;
    record.victim_names_length = 0;
    record.trigger.comm = bpf_get_current_comm().unwrap_or_default();
    record.trigger.memcg_id = 0;
    read_fields(record, base);
    victim::read_stack(record, ctx);
    if record.signal == SIGNAL_SENT {
        // Full never: the oldest gives way.
        let _ = MARKED.insert(tid, record.header.boot_time_ns, 0);
    }
    record.header.length = VICTIM_FIXED_LENGTH as u32;
    // SAFETY: the record is longer.
    unsafe { output(record, VICTIM_FIXED_LENGTH as u64, KIND_VICTIM) };
}

/// The fields that only the newer layout has; sizes in KiB.
#[inline(always)]
fn read_fields(record: &mut VictimRecord, base: u64) {
    record.missing |= read_into(&mut record.uid, base, field!(mark_uid)) * MISSING_UID;
    let mut adj = 0i16;
    record.missing |= read_into(&mut adj, base, field!(mark_oom_score_adj)) * MISSING_OOM_SCORE_ADJ;
    record.oom_score_adj = i32::from(adj);
    record.missing |=
        read_into(&mut record.total_vm_pages, base, field!(mark_total_vm)) * MISSING_TOTAL_VM;
    record.missing |=
        read_into(&mut record.anon_rss_pages, base, field!(mark_anon_rss)) * MISSING_ANON_RSS;
    record.missing |=
        read_into(&mut record.file_rss_pages, base, field!(mark_file_rss)) * MISSING_FILE_RSS;
    record.missing |=
        read_into(&mut record.shmem_rss_pages, base, field!(mark_shmem_rss)) * MISSING_SHMEM_RSS;
    record.missing |=
        read_into(&mut record.pgtables_bytes, base, field!(mark_pgtables)) * MISSING_PGTABLES;
    let mut place = 0u32;
    let unread = read_into(&mut place, base, field!(mark_comm));
    let comm = base.wrapping_add(u64::from(place & 0xffff));
    // SAFETY: the helper checks the source itself.
    let length = unsafe {
        bpf_probe_read_kernel_str(
            record.victim.comm.as_mut_ptr().cast(),
            COMM_LEN as u32,
            comm as *const c_void,
        )
    };
    record.missing |= (unread | ((length as u64) >> 63)) * MISSING_COMM;
}

/// Whether this task has just sent the thread SIGKILL; the signal is taken.
#[inline(always)]
fn take_signal(now: u64, tid: u32) -> u32 {
    let Some(slot) = LAST_SIGKILL.get_ptr_mut(0) else {
        return SIGNAL_NONE;
    };
    // SAFETY: this CPU's own slot.
    let slot = unsafe { &mut *slot };
    if slot.target == u64::from(tid)
        && slot.sender == bpf_get_current_pid_tgid()
        && now.wrapping_sub(slot.boot_time_ns) < SIGNAL_AGE_NS
    {
        slot.sender = 0;
        return SIGNAL_SENT;
    }
    SIGNAL_NONE
}
