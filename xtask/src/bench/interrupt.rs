//! Turns Ctrl-C into an error, so that cgroups and processes are cleaned up.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};

/// A static, since a signal handler has no other way to report.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes [`check`] fail after SIGINT, SIGTERM or SIGHUP, instead of ending the process.
pub(super) fn catch() -> Result<()> {
    extern "C" fn note(_signal: libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    let handler = note as extern "C" fn(libc::c_int);
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler stores to an atomic, which is async-signal-safe. Exec resets it in children.
        let previous = unsafe { libc::signal(signal, handler as libc::sighandler_t) };
        if previous == libc::SIG_ERR {
            return Err(io::Error::last_os_error())
                .with_context(|| format!("failed to handle signal {signal}"));
        }
    }
    Ok(())
}

/// Fails if a signal was received.
pub(super) fn check() -> Result<()> {
    ensure!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
    Ok(())
}
