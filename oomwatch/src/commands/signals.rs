//! What asks a command to end.

use std::fs;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end the command.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Absent if the command was started with `nohup`.
    hangup: Option<Signal>,
}

impl Signals {
    /// From now on none of them ends the process by itself. Needs a tokio runtime.
    pub fn new() -> anyhow::Result<Self> {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let hangup = (!is_hangup_ignored(&status)).then(|| signal(SignalKind::hangup()));
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("wait for SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("wait for SIGTERM")?,
            hangup: hangup.transpose().context("wait for SIGHUP")?,
        })
    }

    /// Waits for the next one.
    pub async fn any(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hangup => {}
        }
    }
}

/// Whether SIGHUP, signal 1, is ignored, from a `/proc/PID/status`.
fn is_hangup_ignored(status: &str) -> bool {
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hangup_that_nohup_ignores_stays_ignored() {
        for (status, expected) in [
            ("SigBlk:\t1\nSigIgn:\t0000000000000001\n", true),
            ("SigIgn:\t0000000000001001\n", true),
            ("SigBlk:\t1\nSigIgn:\t0000000000001000\n", false),
            ("SigIgn:\tx\n", false),
            ("", false),
        ] {
            assert_eq!(is_hangup_ignored(status), expected, "{status}");
        }
    }
}
