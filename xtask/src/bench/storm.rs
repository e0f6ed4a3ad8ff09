//! Causes kills: one, or many as fast as possible, each in its own cgroup, which is removed right after.

use std::env;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio, id};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::{hog, interrupt};
use crate::cgroup::{Hierarchy, MemoryCgroup};

/// Small, so that it is reached quickly.
const LIMIT_BYTES: u64 = 4 << 20;
/// Number of hogs that run at the same time.
pub(super) const AT_ONCE: u32 = 20;

/// Causes kills in cgroups below one hierarchy.
pub(super) struct Ground {
    pub(super) hierarchy: Hierarchy,
    /// Beginning of the names of all cgroups.
    pub(super) prefix: String,
    executable: PathBuf,
    created: AtomicU32,
}

impl Ground {
    pub(super) fn find() -> Result<Self> {
        Ok(Self {
            hierarchy: Hierarchy::find()?,
            prefix: format!("oomwatch-bench-{}-", id()),
            executable: env::current_exe().context("failed to find the path of this executable")?,
            created: AtomicU32::new(0),
        })
    }

    /// Creates a cgroup, starts a hog in it, waits for the kill, and removes the cgroup.
    pub(super) fn kill_one(&self) -> Result<()> {
        interrupt::check()?;
        let number = self.created.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{number}", self.prefix);
        let cgroup = MemoryCgroup::create(&self.hierarchy, &name, LIMIT_BYTES)?;
        let status = Command::new(&self.executable)
            .arg(hog::COMMAND)
            .arg(cgroup.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .context("failed to start a hog")?;
        // Ctrl-C reaches the hogs too.
        interrupt::check()?;
        ensure!(
            status.signal() == Some(libc::SIGKILL),
            "a hog was not killed: it ended with {status}"
        );
        Ok(())
    }

    /// Causes kills one after another, with a pause after each.
    pub(super) fn kill_spaced(&self, kills: u32, pause: Duration) -> Result<()> {
        for _ in 0..kills {
            self.kill_one()?;
            thread::sleep(pause);
        }
        Ok(())
    }

    /// Causes kills, [`AT_ONCE`] at a time. Returns the time that it took.
    pub(super) fn storm(&self, kills: u32) -> Result<Duration> {
        let started = Instant::now();
        let left = AtomicU32::new(kills);
        let take = || {
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
        };
        let work = || {
            while take().is_ok() {
                if let Err(error) = self.kill_one() {
                    left.store(0, Ordering::Relaxed);
                    return Err(error);
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|_| Err(anyhow!("a thread of the storm panicked")))
            })
        })?;
        Ok(started.elapsed())
    }
}
