//! Proves that no kill is missing: compares the kernel's own count of OOM kills with the kills that were captured, finds
//! missing ones in the kernel log, and reports the rest as a gap.
//!
//! - [`totals`]: the comparison. Kills + re-kills + unidentified kills = growth of `oom_kill` in `/proc/vmstat`. Pure.
//! - `state`: decides when a deficit counts as missing, and what a backfill changes. Pure; its tests drive it through every
//!   order of events.
//! - [`backfill`]: which kills of the kernel log were not captured. Pure.
//! - [`recent_kills`]: the last captured kills, to match them with lines of the log. Pure.
//! - [`auditor`]: reads count, log and cgroups, and says when the next audit is due.
//! - `saved`: the rows from which the next agent resumes.

pub mod auditor;
pub mod backfill;
pub mod recent_kills;
mod saved;
mod state;
pub mod totals;

pub(crate) use self::saved::PART;
