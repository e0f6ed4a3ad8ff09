//! The BPF programs. They tell a kill from a `mark_victim` event of a task that is already dying, in one of two ways: with hooks
//! on the OOM killer's functions (fentry or kprobe), or with raw tracepoints. The loader attaches the programs of one backend.
//!
//! All marks and SIGKILLs of the OOM killer happen under the global `oom_lock`, so they never overlap. Other SIGKILLs from the
//! kernel (by a dying PID namespace, or `RLIMIT_CPU`) may happen at any time on any CPU.
#![expect(
    clippy::inline_always,
    reason = "each call adds a frame to a stack of 512 bytes"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a thread id is the low half of pid_tgid, and lengths fit 16 bits"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "entry points take their context by value"
)]

mod candidates;
mod cgroup;
mod log;
mod maps;
mod mark_victim;
mod memcg;
mod oom_kill_process;
mod read;
mod signal_generate;
mod task;
mod victim;

/// The helpers that read kernel memory are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Loops forever, so that the verifier refuses a program that can panic.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
