//! The kernel log to kills: what is left where no program can be loaded, and what a saved log still tells.
//!
//! ```text
//! a file:     lines, saved --Record--> assemble --LogKill--> report
//! /dev/kmsg:  reader -------Record--> follow ---LogKill--> report     where no program can be loaded
//!                                       |
//!                                       +-------Told-----> join       to the kill that a program saw
//! all there is: whole --Record--> assemble --LogKill--> audit::fill   to kills that nobody saw
//! ```
//!
//! `assemble` puts together what `line` says of each line; `follow` uses it, has `times` put the kills on the clock of all
//! others, and `news` keep what a line says at once. `live` is `reader` and `follow` for an event loop. `whole` reads all
//! that is there, by the device or by `syslog(2)`, and `past` dates it.
//!
//! All but [`reader`], [`live`] and [`whole`] is pure and total: any bytes are answered, in bounded memory.
//!
//! What the log cannot tell, whatever is done with it: the cgroup, the trigger and the allocation of a kill whose header
//! the kernel withheld (10 headers in 5 s, `oom_kill_process` of `mm/oom_kill.c`); processes killed for sharing the
//! victim's memory; limits other than that of the cgroup that ran out; swap, start time and PID namespace of the victim.

pub mod assemble;
pub mod bounded_lines;
mod clock_offset;
mod fact_cache;
pub mod follow;
pub mod join;
pub mod line;
pub mod log_file;
pub mod reader;
pub mod record;
pub mod snapshot;
pub mod snapshot_clock;
pub mod tail;
#[cfg(test)]
pub(crate) mod testing;

/// Longest line and longest record that is looked at. A record's text is at most 2048 bytes (`PRINTK_MESSAGE_MAX`), four
/// times as much where `/dev/kmsg` escapes every one (`CONSOLE_EXT_LOG_MAX` of older kernels: 8192).
pub const MAX_LINE: usize = 8192;
