//! The maps, all preallocated, and the globals that the loader sets.

use aya_ebpf::{
    helpers::generated::bpf_ringbuf_output,
    macros::map,
    maps::{Array, PerCpuArray, RingBuf},
};
use oomwatch_ebpf::record::{BACKEND_RAW_TRACEPOINT, Offsets, SignalRecord, VictimRecord};

/// Set by the loader from the kernel's BTF, read-only afterwards.
#[unsafe(no_mangle)]
pub(super) static OFFSETS: Offsets = Offsets::NONE;

/// Which programs are attached: a `BACKEND_` constant. Set by the loader, read-only afterwards.
#[unsafe(no_mangle)]
pub(super) static BACKEND: u32 = BACKEND_RAW_TRACEPOINT;

/// One offset of [`OFFSETS`]: the value at build time is not the value at run time.
macro_rules! offset {
    ($name:ident) => {
        $crate::bpf::read::opaque(&$crate::bpf::maps::OFFSETS.$name)
    };
}
pub(super) use offset;

/// The ring; the loader sets its size.
#[map]
static RECORDS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Records that a full ring refused, by [`oomwatch_ebpf::record::Header::kind`] less one.
#[map]
static DROPPED: PerCpuArray<u64> = PerCpuArray::with_max_entries(2, 0);

/// Where a [`VictimRecord`] is put together: larger than a BPF stack.
#[map]
pub(super) static VICTIM: PerCpuArray<VictimRecord> = PerCpuArray::with_max_entries(1, 0);

/// As [`VICTIM`], apart from it since a signal may interrupt a mark.
#[map]
pub(super) static SIGNAL: PerCpuArray<SignalRecord> = PerCpuArray::with_max_entries(1, 0);

/// The last SIGKILL from the kernel on this CPU. One slot is enough: signal and mark run inside one
/// `task_lock`. A SIGKILL that an interrupt sends in between (`RLIMIT_CPU`) would take its place; then the stack still tells.
#[map]
pub(super) static LAST_SIGKILL: PerCpuArray<Sigkill> = PerCpuArray::with_max_entries(1, 0);

/// The last victim of the machine. Written under `oom_lock` only.
#[map]
pub(super) static LAST_VICTIM: Array<Victim> = Array::with_max_entries(1, 0);

/// The call of `oom_kill_process` that is going on; one is enough, since `oom_lock` lets them in one by one.
#[map]
pub(super) static INCIDENT: Array<Incident> = Array::with_max_entries(1, 0);

#[repr(C)]
pub(super) struct Incident {
    /// `current`; 0 when nothing is going on.
    pub(super) trigger: u64,
    /// Address of its `struct oom_control`.
    pub(super) oom_control: u64,
    /// When its first victim was marked; 0 before.
    pub(super) first_kill_ns: u64,
    /// A [`Phase`].
    pub(super) phase: u64,
    /// Victims marked so far.
    pub(super) kills: u64,
}

/// How far an incident has come.
#[derive(Clone, Copy)]
pub(super) enum Phase {
    /// `oom_kill_process` was called.
    Begun,
    /// `__oom_kill_process` was called: the next mark is a kill.
    Killing,
    /// The victim was marked: SIGKILLs that follow go to the sharers of its memory.
    Marked,
}

#[repr(C)]
pub(super) struct Sigkill {
    /// `current` of the sender; 0 when the slot is empty.
    pub(super) sender: u64,
    /// Address of the target's `task_struct`.
    pub(super) target: u64,
    pub(super) boot_time_ns: u64,
    /// A `SIGNAL_` constant.
    pub(super) state: u64,
}

#[repr(C)]
pub(super) struct Victim {
    /// `current` of the trigger.
    pub(super) trigger: u64,
    /// Address of the victim's `mm_struct`.
    pub(super) mm: u64,
    pub(super) tgid: u64,
}

/// Sends the first `length` bytes of a record; a full ring is counted.
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
    if sent != 0
        && let Some(dropped) = DROPPED.get_ptr_mut(kind - 1)
    {
        // SAFETY: this CPU's own counter.
        unsafe { *dropped += 1 };
    }
}
