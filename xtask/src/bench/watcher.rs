//! Runs `oomwatch watch` as a child process, from its start to its closing line, and reads its figures from `/proc`.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::interrupt;
use crate::{exec, run::ATTACHED};

/// Time without a context switch after which it is considered idle.
const QUIET: Duration = Duration::from_millis(200);

/// Killed when it is dropped without having been stopped.
pub(super) struct Watcher {
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// Time from the spawn until it logged that it is attached.
    pub(super) attached_after: Duration,
}

impl Watcher {
    /// Starts it and waits until it is attached.
    pub(super) fn start(oomwatch: &Path, args: &[&str], stdout: Stdio) -> Result<Self> {
        let mut command = Command::new(oomwatch);
        command
            .arg("watch")
            .args(args)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped());
        // Also if it is stopped by SIGSTOP.
        exec::end_with_us(&mut command, libc::SIGKILL);
        let started = Instant::now();
        let mut child = command
            .spawn()
            .with_context(|| format!("failed to start `{}`", exec::shown(&command)))?;
        let stderr = child.stderr.take().context("the watcher has no stderr")?;
        let mut watcher = Self {
            child,
            stderr: BufReader::new(stderr),
            attached_after: Duration::ZERO,
        };
        watcher.wait_until_attached()?;
        watcher.attached_after = started.elapsed();
        Ok(watcher)
    }

    fn wait_until_attached(&mut self) -> Result<()> {
        let mut log = Vec::new();
        loop {
            let from = log.len();
            let read = self.stderr.read_until(b'\n', &mut log);
            if read.context("failed to read the watcher's stderr")? == 0 {
                let log = String::from_utf8_lossy(&log);
                bail!("the watcher ended without attaching: {}", log.trim());
            }
            let mut windows = log[from..].windows(ATTACHED.len());
            if windows.any(|window| window == ATTACHED) {
                return Ok(());
            }
        }
    }

    /// Waits until it is idle: after it has attached it reads the kernel's symbols.
    pub(super) fn settle(&self) -> Result<()> {
        let mut switches = self.context_switches()?;
        loop {
            interrupt::check()?;
            sleep(QUIET);
            let now = self.context_switches()?;
            if now == switches {
                return Ok(());
            }
            switches = now;
        }
    }

    pub(super) fn stdout(&mut self) -> Result<ChildStdout> {
        self.child
            .stdout
            .take()
            .context("the watcher has no stdout")
    }

    /// Its folder in `/proc`.
    pub(super) fn proc(&self) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string())
    }

    /// `/proc/PID/status`.
    pub(super) fn status(&self) -> Result<Status> {
        read_status(&self.proc().join("status"))
    }

    /// Of all its threads, voluntary and involuntary.
    pub(super) fn context_switches(&self) -> Result<u64> {
        let tasks = self.proc().join("task");
        let context = || format!("failed to read {}", tasks.display());
        let mut sum = 0;
        for task in fs::read_dir(&tasks).with_context(context)? {
            let task = task.with_context(context)?.path();
            sum += read_status(&task.join("status"))?.context_switches;
        }
        Ok(sum)
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .context("failed to send the watcher a signal")
    }

    /// Ends it with SIGTERM and returns its last line, the audit.
    pub(super) fn stop(mut self) -> Result<String> {
        self.signal(Signal::TERM)?;
        let mut log = Vec::new();
        self.stderr
            .read_to_end(&mut log)
            .context("failed to read the watcher's stderr")?;
        self.child
            .wait()
            .context("failed to wait for the watcher")?;
        let log = String::from_utf8_lossy(&log);
        let last = log.lines().map(str::trim).rfind(|line| !line.is_empty());
        last.map(str::to_owned)
            .context("the watcher ended without a closing line")
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Both do nothing when it has been waited for already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The fields of a `status` file that are used.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Status {
    /// `VmRSS`.
    pub(super) resident_bytes: u64,
    /// `RssAnon`, the part of `VmRSS` that no file backs.
    pub(super) own_bytes: u64,
    /// `VmHWM`, the highest `VmRSS` so far.
    pub(super) peak_bytes: u64,
    /// Voluntary and involuntary, of this thread.
    pub(super) context_switches: u64,
}

fn read_status(path: &Path) -> Result<Status> {
    let context = || format!("failed to read {}", path.display());
    let text = fs::read_to_string(path).with_context(context)?;
    parse_status(&text).with_context(context)
}

fn parse_status(text: &str) -> Option<Status> {
    let number = |name: &str| {
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(Status {
        resident_bytes: number("VmRSS")?.checked_mul(1024)?,
        own_bytes: number("RssAnon")?.checked_mul(1024)?,
        peak_bytes: number("VmHWM")?.checked_mul(1024)?,
        context_switches: number("voluntary_ctxt_switches")?
            .checked_add(number("nonvoluntary_ctxt_switches")?)?,
    })
}

/// Number of records that the watcher dropped, according to its closing line.
pub(super) fn dropped_records(closing_line: &str) -> u64 {
    logged_number(closing_line, "dropped").unwrap_or(0)
}

/// The value of `key=` in a log line.
fn logged_number(line: &str, key: &str) -> Option<u64> {
    line.split_whitespace()
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\toomwatch\nVmHWM:\t    9448 kB\nVmRSS:\t    5864 kB\nRssAnon:\t     772 kB\n\
        voluntary_ctxt_switches:\t3\nnonvoluntary_ctxt_switches:\t26\n";

    #[test]
    fn status_gives_memory_in_bytes_and_the_sum_of_switches() {
        assert_eq!(
            parse_status(STATUS),
            Some(Status {
                resident_bytes: 5864 << 10,
                own_bytes: 772 << 10,
                peak_bytes: 9448 << 10,
                context_switches: 29,
            })
        );
    }

    #[test]
    fn status_of_a_zombie_or_malformed_is_none() {
        for (from, to) in [
            ("VmRSS:\t    5864 kB\n", ""),
            ("9448", "many"),
            ("9448", "18446744073709551615"),
            ("\nvoluntary_ctxt_switches:\t3", ""),
        ] {
            assert_eq!(parse_status(&STATUS.replace(from, to)), None, "{from}");
        }
        assert_eq!(parse_status(""), None);
    }

    #[test]
    fn number_is_found_by_its_whole_key() {
        let line = "WARN OOM kills were lost kills=3 rekills=1 dropped=12 odd=x";
        assert_eq!(logged_number(line, "kills"), Some(3));
        assert_eq!(logged_number(line, "dropped"), Some(12));
        for absent in ["drop", "odd", "missing"] {
            assert_eq!(logged_number(line, absent), None, "{absent}");
        }
    }
}
