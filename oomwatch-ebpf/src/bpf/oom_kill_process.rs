//! Hooks on the functions of `mm/oom_kill.c`: what ran out of memory, which mark is a kill, and when the incident ends. Each
//! hook exists as fentry or fexit, and as kprobe or kretprobe for kernels without trampolines.
//!
//! ```text
//! oom_kill_process(oc, message)                  begins the incident
//!   __oom_kill_process(victim, message)          begins a kill, unless the victim has exited; the first outputs the account
//!     SIGKILL; mark_oom_victim(task)             the kill, with the task that is killed
//!     SIGKILL to each process sharing its mm     (signal_generate)
//!   __oom_kill_process(member, message)...       the rest of a group
//! return                                         ends the incident
//! ```
//!
//! `mark_oom_victim` outside `__oom_kill_process` marks a task that is already dying. The prototypes are the same from 5.1 to
//! 7.3. Everything runs in the trigger's context under the global `oom_lock`, so incidents never overlap.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_pid_tgid, generated::bpf_probe_read_kernel},
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use oomwatch_ebpf::record::{
    BACKEND_RAW_TRACEPOINT, MISSING_ALLOCATION, MISSING_CONSTRAINT, MISSING_OOM_CGROUP,
    MISSING_POINTS, SIGNAL_NONE, SIGNAL_SENT, VictimRecord,
};

use super::{
    candidates,
    log::log,
    maps::{INCIDENT, Incident, Phase, backend, offset},
    memcg,
    read::read_into,
    signal_generate, victim,
};

/// `static void oom_kill_process(struct oom_control *oc, const char *message)`
#[fentry(function = "oom_kill_process")]
fn fentry_oom_kill_process(ctx: FEntryContext) -> i32 {
    begin_incident(first_of_trampoline(ctx.as_ptr()));
    0
}

/// As [`fentry_oom_kill_process`].
#[kprobe]
fn kprobe_oom_kill_process(ctx: ProbeContext) -> u32 {
    begin_incident(first_of_registers(ctx.as_ptr()));
    0
}

/// The return of `oom_kill_process`.
#[fexit(function = "oom_kill_process")]
fn fexit_oom_kill_process(_: FExitContext) -> i32 {
    end_incident();
    0
}

/// As [`fexit_oom_kill_process`].
#[kretprobe]
fn kretprobe_oom_kill_process(_: RetProbeContext) -> u32 {
    end_incident();
    0
}

/// `static void __oom_kill_process(struct task_struct *victim, const char *message)`
#[fentry(function = "__oom_kill_process")]
fn fentry_inner_oom_kill_process(_: FEntryContext) -> i32 {
    begin_kill();
    0
}

/// As [`fentry_inner_oom_kill_process`].
#[kprobe]
fn kprobe_inner_oom_kill_process(_: ProbeContext) -> u32 {
    begin_kill();
    0
}

/// `static void mark_oom_victim(struct task_struct *tsk)`, called under `task_lock`: its `mm` is not null and does
/// not change.
#[fentry(function = "mark_oom_victim")]
fn fentry_mark_oom_victim(ctx: FEntryContext) -> i32 {
    mark(first_of_trampoline(ctx.as_ptr()));
    0
}

/// As [`fentry_mark_oom_victim`].
#[kprobe]
fn kprobe_mark_oom_victim(ctx: ProbeContext) -> u32 {
    mark(first_of_registers(ctx.as_ptr()));
    0
}

/// The first argument in the context of a trampoline: the first word.
#[inline(always)]
pub(super) fn first_of_trampoline(ctx: *mut c_void) -> u64 {
    read_context(ctx, 0)
}

/// The first argument in the context of a kprobe: in its register.
#[inline(always)]
pub(super) fn first_of_registers(ctx: *mut c_void) -> u64 {
    read_context(ctx, offset!(pt_regs_argument))
}

/// Reads a word of the context with a helper. So the verifier sees a number on every kernel, and the offset need not be a
/// constant.
#[inline(always)]
fn read_context(ctx: *mut c_void, offset: u32) -> u64 {
    let mut value = 0u64;
    // SAFETY: the helper checks the source.
    unsafe {
        bpf_probe_read_kernel(
            (&raw mut value).cast(),
            8,
            ctx.cast::<u8>().add(offset as usize).cast(),
        );
    }
    value
}

/// The incident, if the current task is its trigger.
#[inline(always)]
fn own_incident() -> Option<&'static mut Incident> {
    let incident = INCIDENT.get_ptr_mut(0)?;
    // SAFETY: written under oom_lock only.
    let incident = unsafe { &mut *incident };
    (incident.trigger == bpf_get_current_pid_tgid()).then_some(incident)
}

#[inline(always)]
fn begin_incident(oom_control: u64) {
    if let Some(incident) = INCIDENT.get_ptr_mut(0) {
        // SAFETY: written under oom_lock only.
        let incident = unsafe { &mut *incident };
        incident.trigger = bpf_get_current_pid_tgid();
        incident.oom_control = oom_control;
        incident.first_kill_ns = 0;
        incident.phase = Phase::Begun as u64;
        incident.kills = 0;
        incident.account_time_ns = 0;
        incident.sharers = 0;
        log!(
            "oom_kill_process: called by thread {}",
            incident.trigger as u32
        );
    }
}

#[inline(always)]
fn end_incident() {
    if let Some(incident) = own_incident() {
        incident.trigger = 0;
        signal_generate::send_sharers(incident.sharers);
        log!("oom_kill_process: returned after {} kills", incident.kills);
    }
}

#[inline(always)]
fn begin_kill() {
    if let Some(incident) = own_incident() {
        // Behind the kernel's own log of the incident, for which it has brought the statistics up to date.
        if incident.phase == Phase::Begun as u64 {
            incident.account_time_ns = candidates::commit(incident.oom_control);
        }
        incident.phase = Phase::Killing as u64;
        log!("__oom_kill_process: called");
    }
}

#[inline(always)]
fn mark(task: u64) {
    let backend = backend();
    if backend == BACKEND_RAW_TRACEPOINT {
        return;
    }
    let Some(record) = victim::begin() else {
        return;
    };
    record.backend = backend;
    record.signal = SIGNAL_NONE;
    record.kill_number = 0;
    record.stack.length = 0;
    let mut oom_css = 0;
    if let Some(incident) = own_incident()
        && incident.phase == Phase::Killing as u64
    {
        incident.phase = Phase::Marked as u64;
        incident.kills += 1;
        if incident.first_kill_ns == 0 {
            incident.first_kill_ns = record.header.boot_time_ns;
        }
        record.signal = SIGNAL_SENT;
        record.kill_number = incident.kills as u32;
        record.incident_time_ns = incident.first_kill_ns;
        record.account_time_ns = incident.account_time_ns;
        oom_css = read_oom_control(record, incident.oom_control);
    }
    victim::send(record, task, 0, oom_css);
    log!(
        "mark_oom_victim: pid {}, kill {} of its call, missing {:x}",
        record.victim.tgid,
        record.kill_number,
        record.missing
    );
    if record.signal == SIGNAL_SENT {
        victim::remember(record, task);
    }
}

/// Reads `struct oom_control` of `include/linux/oom.h`, which is on the trigger's stack until the incident ends. Returns the
/// address of the `cgroup_subsys_state` of the memory cgroup that ran out of memory; 0 if the system did.
#[inline(always)]
fn read_oom_control(record: &mut VictimRecord, oom_control: u64) -> u64 {
    let mut oom_memcg = 0u64;
    let mut oom_css = 0u64;
    record.missing |=
        read_into(&mut oom_memcg, oom_control, offset!(oom_control_memcg)) * MISSING_OOM_CGROUP;
    record.oom_memcg_id = 0;
    if oom_memcg != 0 {
        oom_css = oom_memcg.wrapping_add(u64::from(offset!(memcg_css)));
        record.oom_memcg_id = memcg::id(oom_css);
        record.missing |= u64::from(record.oom_memcg_id == 0) * MISSING_OOM_CGROUP;
    }
    record.missing |= read_into(
        &mut record.constraint,
        oom_control,
        offset!(oom_control_constraint),
    ) * MISSING_CONSTRAINT;
    record.missing |= (read_into(&mut record.order, oom_control, offset!(oom_control_order))
        | read_into(
            &mut record.gfp_mask,
            oom_control,
            offset!(oom_control_gfp_mask),
        )
        | read_into(
            &mut record.total_pages,
            oom_control,
            offset!(oom_control_totalpages),
        ))
        * MISSING_ALLOCATION;
    record.missing |= read_into(
        &mut record.points,
        oom_control,
        offset!(oom_control_chosen_points),
    ) * MISSING_POINTS;
    oom_css
}
