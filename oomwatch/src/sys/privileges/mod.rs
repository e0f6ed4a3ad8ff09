//! Drops the capabilities that are needed only to start.
//!
//! Loading and attaching the programs needs capabilities. What a running process does, and what that needs:
//!
//! | action | needs |
//! |---|---|
//! | reading the ring, which is memory, and waiting for it | nothing |
//! | reading the programs' counters: `bpf(2)` on an open map | nothing; before Linux 5.19 `CAP_BPF` where `kernel.unprivileged_bpf_disabled` is set (`__sys_bpf` of `kernel/bpf/syscall.c`) |
//! | closing links, removing our pins | nothing: we have them open, and own them |
//! | reading the kernel log from an open file | nothing (`devkmsg_read` of `kernel/printk/printk.c`) |
//! | reopening the kernel log, `syslog(2)`, for the backfill of a gap | `CAP_SYSLOG` where `kernel.dmesg_restrict` is 1 (`check_syslog_permissions` there) |
//! | `/proc/PID/{cgroup,stat,status,comm,cmdline}`, `/proc/vmstat`, the counts of cgroups | nothing: they are world-readable |
//! | runtimes' sockets, names below `/var/log`, the history, tokens | nothing: files of root, which user id 0 can read and write without `CAP_DAC_OVERRIDE` |
//! | keeping the priority, also in threads started later | nothing |
//! | network connections, also to a port that is bound already | nothing |
//!
//! So `CAP_SYSLOG` is kept, and `CAP_BPF` if reading the counters fails without it.
//!
//! **Capabilities belong to a thread.** A new thread inherits those of its parent, and no thread can drop those of another: a
//! thread that is started before the drop calls [`drop_all_capabilities`] itself.

use std::{error::Error, fmt::Display};

use rustix::{
    io::Errno,
    param::page_size,
    process::{DumpableBehavior, set_dumpable_behavior, setpriority_process},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set,
        set_capabilities, set_no_new_privs,
    },
};
use tracing::{debug, warn};

use crate::sys::error_chain::error_chain;

/// The highest priority short of real time.
const NICE: i32 = -20;

/// Needed to reopen the kernel log when a gap is found.
const KEPT: CapabilitySet = CapabilitySet::SYSLOG;

/// What reading an open map may need, the weaker one first. `CAP_SYS_ADMIN` includes `CAP_BPF`.
const FOR_MAPS: [CapabilitySet; 2] = [CapabilitySet::BPF, CapabilitySet::SYS_ADMIN];

/// Drops, in this thread and in those that it starts afterwards, all capabilities but those that are needed later. Call it
/// when the backend is attached and files of other users have been read. `read_counters` reads the programs' counters, to
/// find out whether that works without capabilities.
///
/// A capability that cannot be dropped is logged; it is not an error.
pub fn drop_capabilities<T, E>(mut read_counters: impl FnMut() -> Result<T, E>)
where
    E: Error + 'static,
{
    let Some(held) = permitted() else { return };
    clear_bounding_set();
    let mut kept = held & KEPT;
    let is_set = set("failed to try fewer capabilities", kept, held);
    if is_set && let Err(error) = read_counters() {
        let for_maps = FOR_MAPS.into_iter().find(|&one| held.contains(one));
        kept |= for_maps.unwrap_or(CapabilitySet::empty());
        debug!(
            error = error_chain(&error),
            ?kept,
            "the counters cannot be read without capabilities, keeping one"
        );
    }
    drop_all_but(kept);
}

/// Keeps the memory of this process, with tokens and other users' names, out of core dumps, and raises its priority: kills happen
/// when the machine is short of everything, and it must not wait for its turn.
pub fn prepare_process() {
    // rustix reads it once from /proc/self/auxv, which before Linux 6.4 only root may read of a process without core dumps.
    let _ = page_size();
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        debug!(%error, "failed to forbid core dumps");
    }
    if let Err(error) = setpriority_process(None, NICE) {
        debug!(%error, "failed to raise the priority");
    }
}

/// Drops every capability of this thread.
pub fn drop_all_capabilities() {
    if permitted().is_some() {
        clear_bounding_set();
        drop_all_but(CapabilitySet::empty());
    }
}

/// The permitted capabilities of this thread; absent if they cannot be read, for example under a seccomp profile.
fn permitted() -> Option<CapabilitySet> {
    match capabilities(None) {
        Ok(sets) => Some(sets.permitted),
        Err(error) => {
            warn_kept("failed to read the capabilities", error);
            None
        }
    }
}

/// Clears the bounding set, so that an executed file gains nothing. Needs `CAP_SETPCAP`. It matters only if `no_new_privs`
/// is refused.
fn clear_bounding_set() {
    for number in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // The kernel does not know this or any higher number.
            Err(Errno::INVAL) => return,
            Err(error) => return debug!(%error, "failed to clear the bounding set"),
        }
    }
}

fn drop_all_but(kept: CapabilitySet) {
    if let Err(error) = set_no_new_privs(true) {
        warn_kept("failed to set no_new_privs", error);
    }
    if set("failed to drop capabilities", kept, kept) {
        debug!(?kept, "dropped capabilities");
    }
}

/// Sets this thread's capabilities; false if that fails. The inheritable set, and so the ambient set, is empty: an executed
/// file inherits none.
fn set(failure: &str, effective: CapabilitySet, permitted: CapabilitySet) -> bool {
    let sets = CapabilitySets {
        effective,
        permitted,
        inheritable: CapabilitySet::empty(),
    };
    let set = set_capabilities(None, sets);
    set.map_err(|error| warn_kept(failure, error)).is_ok()
}

fn warn_kept(failure: &str, error: impl Display) {
    warn!(%error, "{failure}: the process keeps more capabilities than it needs");
}

#[cfg(test)]
mod tests;
