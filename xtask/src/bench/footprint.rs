//! Cost of `watch` without kills: start, memory, wake-ups, size of the executable.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::figure::{Row, Times, size, time};
use super::interrupt;
use super::watcher::Watcher;

const STARTS: usize = 15;
const BUDGET_START: Duration = Duration::from_millis(100);
const BUDGET_RESIDENT: u64 = 6 << 20;
const BUDGET_PEAK: u64 = 16 << 20;
const BUDGET_EXECUTABLE: u64 = 10 << 20;
const IDLE: Duration = Duration::from_secs(5);
/// Attempts to find it idle: kills by other processes on the machine wake it too.
const IDLE_ATTEMPTS: u32 = 3;

/// From the spawn to the log line that it is attached.
pub(super) fn start(oomwatch: &Path) -> Result<Vec<Row>> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        interrupt::check()?;
        let watcher = Watcher::start(oomwatch, &[], Stdio::null())?;
        times.push(watcher.attached_after);
        watcher.stop()?;
    }
    let times = Times::new(times);
    Ok(vec![
        Row::time(
            format!("start to attached, median of {STARTS}"),
            times.median(),
            BUDGET_START,
        ),
        Row::plain("  the longest", time(times.longest())),
    ])
}

/// After it has attached and has nothing left to do.
pub(super) fn idle(oomwatch: &Path) -> Result<Vec<Row>> {
    let watcher = Watcher::start(oomwatch, &[], Stdio::null())?;
    watcher.settle()?;
    let (mut wakes, mut others) = (0, 0);
    for _ in 0..IDLE_ATTEMPTS {
        interrupt::check()?;
        let before = (watcher.context_switches()?, oom_kills()?);
        sleep(IDLE);
        wakes = watcher.context_switches()?.saturating_sub(before.0);
        others = oom_kills()?.saturating_sub(before.1);
        if others == 0 {
            break;
        }
    }
    let status = watcher.status()?;
    watcher.stop()?;
    let during = match others {
        0 => String::new(),
        others => format!(", with {others} kills elsewhere"),
    };
    Ok(vec![
        Row::size(
            "resident memory after attach, idle",
            status.resident_bytes,
            BUDGET_RESIDENT,
        ),
        Row::plain("  of which anonymous", size(status.own_bytes)),
        Row::size("  peak since the start", status.peak_bytes, BUDGET_PEAK),
        Row::number(
            format!("context switches in {} s idle{during}", IDLE.as_secs()),
            wakes,
            0,
        ),
    ])
}

/// Size of the release build, which is stripped.
pub(super) fn executable(oomwatch: &Path) -> Result<Row> {
    let metadata = fs::metadata(oomwatch)
        .with_context(|| format!("failed to read the size of {}", oomwatch.display()))?;
    Ok(Row::size(
        "executable, stripped",
        metadata.len(),
        BUDGET_EXECUTABLE,
    ))
}

/// The kernel's count for the whole machine.
fn oom_kills() -> Result<u64> {
    let vmstat = fs::read_to_string("/proc/vmstat").context("failed to read /proc/vmstat")?;
    vmstat
        .lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
        .context("/proc/vmstat has no oom_kill")
}
