//! Collects the processes that the OOM killer chooses from, in one preallocated record:
//!
//! ```text
//! out_of_memory(oc)                  begins
//!   oom_evaluate_task(task, oc)...   adds each process that the killer looks at
//!   oom_kill_process(oc, message)    begins to kill the chosen one; or the killer found no victim
//!     __oom_kill_process(victim)     the first outputs the record, before any victim's
//! ```
//!
//! `oom_evaluate_task` is called for kernel threads and init too. The checks here are its own and those of `oom_badness`, which
//! is inlined in some kernels. All of it runs in the trigger's context under the global `oom_lock`.

use aya_ebpf::{EbpfContext, helpers::generated::bpf_ringbuf_output};
use aya_ebpf::{
    helpers::{
        bpf_get_current_pid_tgid, generated::bpf_get_current_task, generated::bpf_ktime_get_boot_ns,
    },
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use oomwatch_ebpf::account::{
    ACCOUNT_FIXED_LENGTH, AccountRecord, CandidateRow, EXCLUDED_ADJ, EXCLUDED_CPUSET,
    EXCLUDED_DYING, KIND_ACCOUNT, LIST_EXCLUDED, LIST_LENGTH, LIST_SCORED, ProcessPages,
};

use super::{
    log::log,
    maps::{ACCOUNT, ACCOUNTS, SELECTION, Selection, count_dropped, machine, offset},
    memcg,
    oom_kill_process::{first_of_registers, first_of_trampoline},
    read::{opaque, read_into, read_pointer},
};

/// `PF_KTHREAD` of `include/linux/sched.h`.
const PF_KTHREAD: u32 = 0x0020_0000;
/// `MMF_OOM_SKIP`, the bit number in `mm_struct.flags`.
const MMF_OOM_SKIP: u64 = 1 << 21;
/// `OOM_SCORE_ADJ_MIN` of `include/uapi/linux/oom.h`.
const OOM_SCORE_ADJ_MIN: i16 = -1000;
/// `MPOL_BIND` of `include/uapi/linux/mempolicy.h`.
const MPOL_BIND: u16 = 2;
/// `CONSTRAINT_CPUSET` and `CONSTRAINT_MEMORY_POLICY` of `include/linux/oom.h`: some nodes are outside.
const CONFINED: [u32; 2] = [1, 2];
/// Threads of a process that are searched for its `mm`. Those that have exited leave the list, except for the leader.
const MAX_THREADS: u32 = 8;
/// `BPF_RB_NO_WAKEUP` of `include/uapi/linux/bpf.h`: the reader looks here when a victim's record has woken it.
const NO_WAKEUP: u64 = 1;

/// `bool out_of_memory(struct oom_control *oc)`
#[fentry(function = "out_of_memory")]
fn fentry_out_of_memory(ctx: FEntryContext) -> i32 {
    begin(first_of_trampoline(ctx.as_ptr()));
    0
}

/// As [`fentry_out_of_memory`].
#[kprobe]
fn kprobe_out_of_memory(ctx: ProbeContext) -> u32 {
    begin(first_of_registers(ctx.as_ptr()));
    0
}

/// `static int oom_evaluate_task(struct task_struct *task, void *arg)`, where `arg` is the `struct oom_control`.
#[fentry(function = "oom_evaluate_task")]
fn fentry_oom_evaluate_task(ctx: FEntryContext) -> i32 {
    evaluate(first_of_trampoline(ctx.as_ptr()));
    0
}

/// As [`fentry_oom_evaluate_task`].
#[kprobe]
fn kprobe_oom_evaluate_task(ctx: ProbeContext) -> u32 {
    evaluate(first_of_registers(ctx.as_ptr()));
    0
}

/// The current selection, if the current task is its trigger.
#[inline(always)]
fn selection() -> Option<&'static mut Selection> {
    let selection = SELECTION.get_ptr_mut(0)?;
    // SAFETY: written under oom_lock only.
    let selection = unsafe { &mut *selection };
    (selection.trigger == bpf_get_current_pid_tgid()).then_some(selection)
}

#[inline(always)]
fn record() -> Option<&'static mut AccountRecord> {
    let record = ACCOUNT.get_ptr_mut(0)?;
    // SAFETY: written under oom_lock only. Every bit pattern is a valid record.
    Some(unsafe { &mut *record })
}

#[inline(always)]
fn begin(oom_control: u64) {
    let (Some(selection), Some(record)) = (SELECTION.get_ptr_mut(0), record()) else {
        return;
    };
    // SAFETY: written under oom_lock only.
    let selection = unsafe { &mut *selection };
    selection.trigger = bpf_get_current_pid_tgid();
    selection.oom_control = oom_control;
    selection.is_confined = 0;
    selection.mask = 0;
    selection.points_per_adj = 0;
    record.scored = 0;
    record.excluded = 0;
    record.listed = [0; 2];
    record.unknown = 0;
    record.sum = ProcessPages {
        anon_rss_pages: 0,
        file_rss_pages: 0,
        shmem_rss_pages: 0,
        swap_pages: 0,
        pgtables_bytes: 0,
    };
}

/// Adds a process, given its leader.
#[inline(always)]
fn evaluate(task: u64) {
    let (Some(selection), Some(record)) = (selection(), record()) else {
        return;
    };
    let mut flags = 0u32;
    let mut tgid = 0u32;
    read_into(&mut flags, task, offset!(task_flags));
    read_into(&mut tgid, task, offset!(task_tgid));
    if flags & PF_KTHREAD != 0 || tgid == 1 {
        return;
    }
    if record.scored == 0 && record.excluded == 0 {
        read_oom_control(selection);
    }
    let signal = read_pointer(task, offset!(task_signal));
    let mut mm = read_pointer(task, offset!(task_mm));
    if mm == 0 {
        find_thread(selection, record, task, signal);
        mm = selection.mm;
    } else {
        selection.thread = task;
    }
    if mm == 0 {
        return;
    }

    let mut adj = 0i16;
    read_into(&mut adj, signal, offset!(signal_oom_score_adj));
    let excluded = exclusion(selection, mm, signal, adj);
    selection.excluded = excluded;
    if excluded == 0 && is_vfork_child(selection.thread, mm) {
        return;
    }
    let pages = &mut selection.memory;
    read_counter(&mut pages.anon_rss_pages, mm, offset!(mm_anon_rss));
    read_counter(&mut pages.file_rss_pages, mm, offset!(mm_file_rss));
    read_counter(&mut pages.shmem_rss_pages, mm, offset!(mm_shmem_rss));
    read_counter(&mut pages.swap_pages, mm, offset!(mm_swap));
    read_counter(&mut pages.pgtables_bytes, mm, offset!(mm_pgtables_bytes));
    let mut points = pages
        .anon_rss_pages
        .wrapping_add(pages.file_rss_pages)
        .wrapping_add(pages.shmem_rss_pages)
        .wrapping_add(pages.swap_pages)
        .wrapping_add(pages.pgtables_bytes >> (machine!(page_shift) & 31))
        .cast_signed();
    if excluded == 0 {
        points = points.wrapping_add(i64::from(adj).wrapping_mul(selection.points_per_adj));
        record.scored += 1;
        let sum = &mut record.sum;
        sum.anon_rss_pages += pages.anon_rss_pages;
        sum.file_rss_pages += pages.file_rss_pages;
        sum.shmem_rss_pages += pages.shmem_rss_pages;
        sum.swap_pages += pages.swap_pages;
        sum.pgtables_bytes += pages.pgtables_bytes;
    } else {
        record.excluded += 1;
    }
    selection.tgid = tgid;
    selection.points = points;
    selection.adj = i32::from(adj);
    insert(selection, record);
}

/// Reads what `out_of_memory` has found out about the allocation before it looks at the first process.
#[inline(always)]
fn read_oom_control(selection: &mut Selection) {
    let oom_control = selection.oom_control;
    let total_pages = read_pointer(oom_control, offset!(oom_control_totalpages));
    selection.points_per_adj = (total_pages / 1000).cast_signed();
    let mut constraint = 0u32;
    read_into(
        &mut constraint,
        oom_control,
        offset!(oom_control_constraint),
    );
    if constraint == CONFINED[0] || constraint == CONFINED[1] {
        selection.is_confined = 1;
        let nodes = read_pointer(oom_control, offset!(oom_control_nodemask));
        selection.by_policy = u64::from(nodes != 0);
        selection.mask = if nodes == 0 {
            // SAFETY: the helper takes no arguments.
            let current = unsafe { bpf_get_current_task() };
            read_pointer(current, offset!(task_mems_allowed))
        } else {
            read_pointer(nodes, 0)
        };
    }
}

/// Looks for the first thread that has an `mm`, as `find_lock_task_mm` does when the leader has exited.
#[inline(always)]
fn find_thread(selection: &mut Selection, record: &mut AccountRecord, task: u64, signal: u64) {
    let node = u64::from(offset!(task_thread_node));
    let head = signal.wrapping_add(u64::from(offset!(signal_thread_head)));
    let mut thread = task;
    let mut searched = 0;
    selection.mm = 0;
    while searched < MAX_THREADS {
        let next = read_pointer(thread, offset!(task_thread_node));
        if next == head {
            return;
        }
        if next == 0 {
            break;
        }
        thread = next.wrapping_sub(node);
        let mm = read_pointer(thread, offset!(task_mm));
        if mm != 0 {
            selection.thread = thread;
            selection.mm = mm;
            return;
        }
        searched += 1;
    }
    record.unknown += 1;
}

/// Why the killer leaves a process out: an `EXCLUDED_` constant, or 0 if it does not.
#[inline(always)]
fn exclusion(selection: &Selection, mm: u64, signal: u64, adj: i16) -> u32 {
    if selection.is_confined != 0 && is_outside(selection) {
        return EXCLUDED_CPUSET;
    }
    let flags = read_pointer(mm, offset!(mm_flags));
    let victim = read_pointer(signal, offset!(signal_oom_mm));
    let victim_flags = read_pointer(victim, offset!(mm_flags));
    if (flags | victim_flags) & MMF_OOM_SKIP != 0 {
        EXCLUDED_DYING
    } else if adj == OOM_SCORE_ADJ_MIN {
        EXCLUDED_ADJ
    } else {
        0
    }
}

/// Whether the process has no memory on the nodes that the allocation is bound to (`oom_cpuset_eligible`). Of its threads only
/// one is asked, and of the nodes the first 64.
#[inline(always)]
fn is_outside(selection: &Selection) -> bool {
    let thread = selection.thread;
    if selection.by_policy == 0 {
        return read_pointer(thread, offset!(task_mems_allowed)) & selection.mask == 0;
    }
    let policy = read_pointer(thread, offset!(task_mempolicy));
    let mut mode = 0u16;
    read_into(&mut mode, policy, offset!(mempolicy_mode));
    mode == MPOL_BIND && read_pointer(policy, offset!(mempolicy_nodes)) & selection.mask == 0
}

/// Whether the task shares the `mm` of its parent, which waits for it (`in_vfork`).
#[inline(always)]
fn is_vfork_child(task: u64, mm: u64) -> bool {
    if read_pointer(task, offset!(task_vfork_done)) == 0 {
        return false;
    }
    let parent = read_pointer(task, offset!(task_real_parent));
    read_pointer(parent, offset!(task_mm)) == mm
}

/// Reads a counter that may be negative for a moment, and counts as 0 then.
#[inline(always)]
fn read_counter(target: &mut u64, mm: u64, offset: u32) {
    read_into(target, mm, offset);
    // 0 if the sign bit is set.
    *target &= (*target >> 63).wrapping_sub(1);
}

/// Puts the process into its list, in the place of the one with the fewest points if that is full. Of equal ones the killer
/// chooses the last, so the last stays.
///
/// Which place that is must be in a map, and is read from it: in a register each place would be a verifier state of its own.
#[inline(always)]
fn insert(selection: &mut Selection, record: &mut AccountRecord) {
    let list = if selection.excluded == 0 {
        LIST_SCORED
    } else {
        LIST_EXCLUDED
    };
    selection.list = list;
    let list = opaque(&selection.list) & 1;
    let listed = record.listed[list as usize];
    if listed < LIST_LENGTH as u32 {
        selection.place = listed;
        record.listed[list as usize] = listed + 1;
    } else if selection.points < selection.lowest[list as usize] {
        return;
    } else {
        selection.place = selection.lowest_place[list as usize];
    }
    let first = list * LIST_LENGTH as u32;
    let place = (first + opaque(&selection.place)) & (2 * LIST_LENGTH as u32 - 1);
    write(&mut record.rows[place as usize], selection);
    if listed + 1 >= LIST_LENGTH as u32 {
        find_lowest(selection, record, list);
    }
}

#[inline(always)]
fn write(row: &mut CandidateRow, selection: &Selection) {
    let thread = selection.thread;
    row.tgid = selection.tgid;
    let cred = read_pointer(thread, offset!(task_real_cred));
    read_into(&mut row.uid, cred, offset!(cred_uid));
    row.oom_score_adj = selection.adj;
    row.excluded = selection.excluded;
    read_into(&mut row.comm, thread, offset!(task_comm));
    row.memcg_id = memcg::id(memcg::of_task(thread));
    row.memory = selection.memory;
    row.points = selection.points;
}

#[inline(always)]
fn find_lowest(selection: &mut Selection, record: &AccountRecord, list: u32) {
    let first = list * LIST_LENGTH as u32;
    selection.lowest[(list & 1) as usize] = i64::MAX;
    let mut index = 0;
    while index < LIST_LENGTH as u32 {
        let place = (first + index) & (2 * LIST_LENGTH as u32 - 1);
        let points = record.rows[place as usize].points;
        if points < selection.lowest[(list & 1) as usize] {
            selection.lowest[(list & 1) as usize] = points;
            selection.lowest_place[(list & 1) as usize] = index;
        }
        index += 1;
    }
}

/// Outputs the record, if it is of this call. Returns its time; 0 if there is none.
#[inline(always)]
pub(super) fn commit(oom_control: u64) -> u64 {
    let (Some(selection), Some(record)) = (selection(), record()) else {
        return 0;
    };
    selection.trigger = 0;
    if selection.oom_control != oom_control {
        return 0;
    }
    // SAFETY: the helper takes no arguments.
    let boot_time_ns = unsafe { bpf_ktime_get_boot_ns() };
    record.header.kind = KIND_ACCOUNT;
    record.header.boot_time_ns = boot_time_ns;
    record.rss_error_pages = machine!(rss_error_pages);
    let chosen = read_pointer(oom_control, offset!(oom_control_chosen));
    read_into(&mut record.chosen_tgid, chosen, offset!(task_tgid));
    read_into(
        &mut record.chosen_points,
        oom_control,
        offset!(oom_control_chosen_points),
    );
    record.padding = 0;
    memcg::read_memory(
        &mut record.memory,
        read_pointer(oom_control, offset!(oom_control_memcg)),
    );
    let [scored, excluded] = record.listed;
    let rows = if excluded == 0 {
        scored
    } else {
        LIST_LENGTH as u32 + excluded
    };
    record.header.length = ACCOUNT_FIXED_LENGTH as u32 + rows * size_of::<CandidateRow>() as u32;
    log!(
        "oom_kill_process: chosen from {} processes, {} left out",
        record.scored,
        record.excluded
    );
    let length = u64::from(opaque(&record.header.length) & 0xfff);
    // SAFETY: the record is 4096 bytes long.
    let sent = unsafe {
        bpf_ringbuf_output(
            (&raw const ACCOUNTS).cast_mut().cast(),
            (&raw mut *record).cast(),
            length,
            NO_WAKEUP,
        )
    };
    if sent == 0 {
        boot_time_ns
    } else {
        count_dropped(KIND_ACCOUNT);
        0
    }
}
