//! Gives up what this process may do and needs no more: it is asked for a lot at its start, and then for next to nothing.
//!
//! Seeing kills takes capabilities only while it begins. What is done afterwards, and what that takes:
//!
//! | done | takes |
//! |---|---|
//! | reading the ring, which is memory; waiting for it | nothing |
//! | reading the programs' counters: `bpf(2)` on a map that is open | nothing; before Linux 5.19 `CAP_BPF` where `kernel.unprivileged_bpf_disabled` is set (`__sys_bpf` of `kernel/bpf/syscall.c`) |
//! | closing links, removing pins of ours | nothing: they are ours by file and by owner |
//! | reading the kernel log by an open file | nothing (`devkmsg_read` of `kernel/printk/printk.c`) |
//! | opening the kernel log anew, `syslog(2)`: what fills a gap | `CAP_SYSLOG` where `kernel.dmesg_restrict` is 1 (`check_syslog_permissions` there) |
//! | `/proc/PID/{cgroup,stat,status,comm,cmdline}`, `/proc/vmstat`, the cgroups' counts | nothing: anyone may read them |
//! | runtimes' sockets, names below `/var/log`, the journal, tokens | nothing: root's own files, which user id 0 may read and write without `CAP_DAC_OVERRIDE` |
//! | keeping the priority, also in threads made later | nothing |
//! | connections to and from the network, on a port that is bound | nothing |
//!
//! So `CAP_SYSLOG` is kept, and `CAP_BPF` where reading the counters without it was tried and refused.
//!
//! **Capabilities are a thread's.** A thread has what its maker had when it was made, and nobody can take them from another
//! thread: whoever makes one before calls [`drop_all_capabilities`] in it.

use std::{error::Error, fmt::Display};

use rustix::{
    io::Errno,
    thread::{
        CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set,
        set_capabilities, set_no_new_privs,
    },
};
use tracing::{debug, warn};

use crate::sys::error_chain::chain;

/// To open the kernel log anew: when a gap is found, which may be at any time.
const KEPT: CapabilitySet = CapabilitySet::SYSLOG;

/// What may be needed to read an open map: the least that is held. The second stands for the first, too.
const FOR_MAPS: [CapabilitySet; 2] = [CapabilitySet::BPF, CapabilitySet::SYS_ADMIN];

/// Gives up, in this thread and those that it makes from now on, all but what is needed until the end. To be called once
/// kills are seen and files that are not root's were read. `read_counters` reads the programs' counters: it is tried with
/// less.
///
/// What cannot be given up is told in the log: it is no reason to see no kills.
pub fn drop_capabilities<T, E>(mut read_counters: impl FnMut() -> Result<T, E>)
where
    E: Error + 'static,
{
    let Some(held) = held() else { return };
    clear_bounding_set();
    let mut kept = held & KEPT;
    let tried = set("try with fewer capabilities", kept, held);
    if tried && let Err(error) = read_counters() {
        let for_maps = FOR_MAPS.into_iter().find(|&one| held.contains(one));
        kept |= for_maps.unwrap_or(CapabilitySet::empty());
        debug!(
            error = chain(&error),
            ?kept,
            "read counters without capabilities"
        );
    }
    leave(kept);
}

/// Gives up every capability, in a thread that needs none.
pub fn drop_all_capabilities() {
    if held().is_some() {
        clear_bounding_set();
        leave(CapabilitySet::empty());
    }
}

/// What this thread may have in effect; absent if that is not told, as by a seccomp profile.
fn held() -> Option<CapabilitySet> {
    match capabilities(None) {
        Ok(sets) => Some(sets.permitted),
        Err(error) => {
            failed("ask for the capabilities", error);
            None
        }
    }
}

/// Whatever is executed gets nothing either. This takes `CAP_SETPCAP`, and is needed only where `no_new_privs` is refused.
fn clear_bounding_set() {
    for number in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // Past the last that this kernel knows.
            Err(Errno::INVAL) => return,
            Err(error) => return debug!(%error, "empty the bounding set"),
        }
    }
}

fn leave(kept: CapabilitySet) {
    if let Err(error) = set_no_new_privs(true) {
        failed("give up what executing a file may give", error);
    }
    if set("give up capabilities", kept, kept) {
        debug!(
            ?kept,
            "capabilities that are not needed any more were given up"
        );
    }
}

/// Nothing is inherited by what is executed, so that the ambient set is empty, too. False if it was refused.
fn set(what: &str, effective: CapabilitySet, permitted: CapabilitySet) -> bool {
    let sets = CapabilitySets {
        effective,
        permitted,
        inheritable: CapabilitySet::empty(),
    };
    let set = set_capabilities(None, sets);
    set.map_err(|error| failed(what, error)).is_ok()
}

fn failed(what: &str, error: impl Display) {
    warn!(%error, "{what}: more is held than is needed");
}

#[cfg(test)]
mod tests;
