//! The maps, all of them preallocated, and the globals that the loader sets.

use aya_ebpf::{
    helpers::generated::bpf_ringbuf_output,
    macros::map,
    maps::{Array, PerCpuArray, RingBuf},
};
use oomwatch_ebpf::{
    account::{AccountRecord, ProcessPages},
    record::{BACKEND_RAW_TRACEPOINT, MachineFacts, Offsets, SignalRecord, VictimRecord},
};

use super::{log::log, read::opaque};

/// Offsets in the kernel's structures. Set by the loader from BTF, then read-only.
#[unsafe(no_mangle)]
pub(super) static OFFSETS: Offsets = Offsets::NONE;

/// The backend of the attached programs: a `BACKEND_` constant. Set by the loader, then read-only.
#[unsafe(no_mangle)]
static BACKEND: u32 = BACKEND_RAW_TRACEPOINT;

/// Flag of a map that user space can map into memory (`include/uapi/linux/bpf.h`, 5.5 and later).
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// 1 once the raw-tracepoint programs have replaced hooks on functions that do not fire; 0 before. User space maps it into
/// memory, since it has no capabilities left when it sets it.
#[map]
static AWAKE: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The backend whose programs record kills: a `BACKEND_` constant.
#[inline(always)]
pub(super) fn backend() -> u32 {
    match AWAKE.get(0) {
        Some(1) => BACKEND_RAW_TRACEPOINT,
        _ => opaque(&BACKEND),
    }
}

/// Reads one offset of [`OFFSETS`], whose value at run time is not the one at build time.
macro_rules! offset {
    ($name:ident) => {
        $crate::bpf::read::opaque(&$crate::bpf::maps::OFFSETS.$name)
    };
}
pub(super) use offset;

/// What else the loader knows. Set by it, then read-only.
#[unsafe(no_mangle)]
pub(super) static MACHINE: MachineFacts = MachineFacts {
    page_shift: 12,
    rss_error_pages: 0,
};

/// Reads one of [`MACHINE`], whose value at run time is not the one at build time.
macro_rules! machine {
    ($name:ident) => {
        $crate::bpf::read::opaque(&$crate::bpf::maps::MACHINE.$name)
    };
}
pub(super) use machine;

/// The ring buffer of kills. The loader sets its size.
#[map]
static RECORDS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// The ring buffer of accounts, so that they take no room from the kills.
#[map]
pub(super) static ACCOUNTS: RingBuf = RingBuf::with_byte_size(256 << 10, 0);

/// Number of records that a full ring rejected, by [`oomwatch_ebpf::record::Header::kind`] less one.
#[map]
static DROPPED: PerCpuArray<u64> = PerCpuArray::with_max_entries(3, 0);

/// Where a [`VictimRecord`] is filled in, since it is larger than a BPF stack.
#[map]
pub(super) static VICTIM: PerCpuArray<VictimRecord> = PerCpuArray::with_max_entries(1, 0);

/// Where a [`SignalRecord`] is filled in. Separate from [`VICTIM`], since a signal may interrupt a mark.
#[map]
pub(super) static SIGNAL: PerCpuArray<SignalRecord> = PerCpuArray::with_max_entries(1, 0);

/// The first process of an incident that was killed since it shares a victim's mm. Output when the incident ends; for fentry and
/// kprobes only.
#[map]
pub(super) static SHARER: Array<SignalRecord> = Array::with_max_entries(1, 0);

/// The last SIGKILL from the kernel on this CPU. One slot is enough, since signal and mark happen under one `task_lock`. A SIGKILL
/// sent by an interrupt in between (`RLIMIT_CPU`) overwrites it; then user space relies on the stack.
#[map]
pub(super) static LAST_SIGKILL: PerCpuArray<Sigkill> = PerCpuArray::with_max_entries(1, 0);

/// The last victim on the machine. Written under `oom_lock` only.
#[map]
pub(super) static LAST_VICTIM: Array<Victim> = Array::with_max_entries(1, 0);

/// The current call of `oom_kill_process`. `oom_lock` allows one at a time.
#[map]
pub(super) static INCIDENT: Array<Incident> = Array::with_max_entries(1, 0);

/// The current call of `out_of_memory`.
#[map]
pub(super) static SELECTION: Array<Selection> = Array::with_max_entries(1, 0);

/// The account of that call. In no map per CPU, since a long selection may move to another one.
#[map]
pub(super) static ACCOUNT: Array<AccountRecord> = Array::with_max_entries(1, 0);

/// Address of the kernel's `mem_cgroup_stats_index`; 0 if it has none, or until the loader has found it. User space maps it into
/// memory, since finding it takes longer than loading.
#[map]
static STATS_INDEX: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Reads [`STATS_INDEX`].
#[inline(always)]
pub(super) fn stats_index() -> u64 {
    STATS_INDEX.get(0).copied().unwrap_or(0)
}

/// State of a selection, and the process that is being added.
#[repr(C)]
pub(super) struct Selection {
    /// `pid_tgid` of the trigger; 0 if there is no current call.
    pub(super) trigger: u64,
    /// Address of its `struct oom_control`.
    pub(super) oom_control: u64,
    /// Points for each unit of `oom_score_adj`.
    pub(super) points_per_adj: i64,
    /// 1 if the allocation is bound to some nodes by a cpuset or a memory policy.
    pub(super) is_confined: u64,
    /// 1 if by a memory policy.
    pub(super) by_policy: u64,
    /// Those nodes, of the first 64.
    pub(super) mask: u64,
    /// Of each list that is full: the fewest points in it.
    pub(super) lowest: [i64; 2],
    /// The place in the list of the process with those.
    pub(super) lowest_place: [u32; 2],
    /// Address of the process's first thread that has an `mm`, and of that.
    pub(super) thread: u64,
    pub(super) mm: u64,
    pub(super) memory: ProcessPages,
    pub(super) points: i64,
    pub(super) tgid: u32,
    pub(super) adj: i32,
    /// An `EXCLUDED_` constant, or 0.
    pub(super) excluded: u32,
    /// A `LIST_` constant.
    pub(super) list: u32,
    /// Where in the list the process is put.
    pub(super) place: u32,
    pub(super) unused: u32,
}

#[repr(C)]
pub(super) struct Incident {
    /// `pid_tgid` of the trigger; 0 if there is no current call.
    pub(super) trigger: u64,
    /// Address of its `struct oom_control`.
    pub(super) oom_control: u64,
    /// Time of the first mark in nanoseconds since boot; 0 before it.
    pub(super) first_kill_ns: u64,
    /// One of [`Phase`].
    pub(super) phase: u64,
    /// Number of victims marked so far.
    pub(super) kills: u64,
    /// Time of its account; 0 if there is none.
    pub(super) account_time_ns: u64,
    /// Number of processes killed so far since they share a victim's mm.
    pub(super) sharers: u64,
}

/// Progress of an incident.
#[derive(Clone, Copy)]
pub(super) enum Phase {
    /// `oom_kill_process` was called.
    Begun,
    /// `__oom_kill_process` was called: the next mark is a kill.
    Killing,
    /// The victim was marked: the SIGKILLs that follow are for processes sharing its mm.
    Marked,
}

#[repr(C)]
pub(super) struct Sigkill {
    /// `pid_tgid` of the sender; 0 if the slot is empty.
    pub(super) sender: u64,
    /// Address of the target's `task_struct`.
    pub(super) target: u64,
    /// Nanoseconds since boot.
    pub(super) boot_time_ns: u64,
    /// A `SIGNAL_` constant.
    pub(super) state: u64,
}

#[repr(C)]
pub(super) struct Victim {
    /// `pid_tgid` of the trigger.
    pub(super) trigger: u64,
    /// Address of the victim's `mm_struct`.
    pub(super) mm: u64,
    pub(super) tgid: u64,
    /// Number of processes killed so far since they share it.
    pub(super) sharers: u64,
    /// Those of all victims.
    pub(super) total_sharers: u64,
}

/// Outputs the first `length` bytes of a record to the ring, or counts it if the ring is full.
///
/// # Safety
/// `record` must be valid for reads of `length` bytes.
#[inline(always)]
pub(super) unsafe fn output<T>(record: *mut T, length: u64, kind: u32) {
    // SAFETY: the verifier checks record and length.
    let sent = unsafe {
        bpf_ringbuf_output(
            (&raw const RECORDS).cast_mut().cast(),
            record.cast(),
            length,
            0,
        )
    };
    if sent != 0 {
        count_dropped(kind);
    }
}

/// Counts a record that a full ring rejected.
#[inline(always)]
pub(super) fn count_dropped(kind: u32) {
    if let Some(dropped) = DROPPED.get_ptr_mut(kind - 1) {
        // SAFETY: this CPU's own counter.
        unsafe { *dropped += 1 };
        log!("the ring is full: dropped a record of kind {}", kind);
    }
}
