//! Kernel side: what tells an OOM kill from a mark of a task that was dying already, two ways: the OOM killer's functions
//! and raw tracepoints. The loader attaches one of them.
//!
//! All marks and all SIGKILLs of the OOM killer happen under the kernel's one `oom_lock`, so they never overlap; other
//! SIGKILLs from the kernel (a PID namespace that dies, `RLIMIT_CPU`) may come at any time on any CPU.
#![expect(
    clippy::inline_always,
    reason = "one function a program: each call would put another frame on a stack of 512 bytes"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the kernel's own halves: a thread id is the low half of pid_tgid, a length fits 16 bits"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the signature of an entry point"
)]

mod cgroup;
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

/// An endless loop on purpose: the verifier refuses a program that can get here.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
