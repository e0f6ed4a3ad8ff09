//! Reads OOM kills from the kernel log: live where no BPF program can be loaded, from a saved log, and to find kills that the
//! BPF programs missed.
//!
//! ```text
//! saved log:  bounded_lines, log_file --Record--> assemble --LogKill--> oomwatch report
//! /dev/kmsg:  reader -----------------Record--> follow ----LogKill--> Observer (backend kmsg)
//!                                                 |
//!                                                 +------LogFacts---> join, into the kill that a BPF program recorded
//! snapshot:   snapshot ---------------Record--> assemble --LogKill--> audit::backfill
//! ```
//!
//! `line` parses one line, `assemble` combines lines into kills. `follow` adds the time since boot (`clock_offset`) and
//! keeps the facts of each line for `join` (`fact_cache`). `tail` is `reader` and `follow` for an event loop. `snapshot`
//! reads the whole log at once, from the device or by `syslog(2)`; `snapshot_clock` dates it.
//!
//! All but [`reader`], [`tail`] and [`snapshot`] is pure and total: it accepts any bytes, in bounded memory.
//!
//! The log lacks: cgroup, trigger and allocation of a kill whose header the kernel withheld (10 headers in 5 s,
//! `oom_kill_process` of `mm/oom_kill.c`); processes killed because they share the victim's memory; limits other than that
//! of the cgroup that ran out; swap, start time and PID namespace of the victim.

pub mod assemble;
pub mod bounded_lines;
mod clock_offset;
mod fact_cache;
pub mod follow;
pub mod join;
pub mod line;
pub mod log_file;
mod number;
pub mod reader;
pub mod record;
pub mod snapshot;
pub mod snapshot_clock;
pub mod tail;
#[cfg(test)]
pub(crate) mod testing;

/// Longest line and longest record that is parsed. The text of a record has at most 2048 bytes (`PRINTK_MESSAGE_MAX`), four
/// times as many if `/dev/kmsg` escapes each (`CONSOLE_EXT_LOG_MAX` of older kernels: 8192).
pub const MAX_LINE: usize = 8192;
