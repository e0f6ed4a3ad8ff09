//! Ctrl-C as an error like any other, so that everything is dropped in good order.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};

/// A signal handler reaches nothing but a static.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on [`check`] fails after SIGINT, SIGTERM or SIGHUP, which end nothing by themselves.
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
                .with_context(|| format!("handle signal {signal}"));
        }
    }
    Ok(())
}

/// An error once a signal has come.
pub(super) fn check() -> Result<()> {
    ensure!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
    Ok(())
}
