//! The history database after a week and after a storm: its size, the time to write it, and the time of `oomwatch history`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::figure::{Row, Times, size, time};
use super::interrupt;
use crate::cargo::{self, Workspace};
use crate::exec;

const BUDGET_HISTORY: Duration = Duration::from_millis(100);
const READS: usize = 9;

/// The target of `oomwatch/benches` that fills a database with simulated kills and prints its figures as JSON.
const TARGET: &str = "history";

/// Measures real databases with simulated kills and times.
pub(super) fn measure(workspace: &Workspace, oomwatch: &Path) -> Result<Vec<Row>> {
    let mut build = workspace.cargo();
    build.args([
        "build",
        "--locked",
        "--release",
        "--package",
        "oomwatch",
        "--bench",
        TARGET,
    ]);
    let writer = cargo::build_executable(&mut build, "bench", TARGET)?;
    let mut rows = Vec::new();
    for (load, what) in [
        ("week", "history, 10,000 kills a day for a week"),
        ("storm", "history, 50 kills a second for an hour"),
    ] {
        interrupt::check()?;
        let folder = workspace.target.join("bench-history");
        if folder.exists() {
            fs::remove_dir_all(&folder).context("failed to remove an earlier database")?;
        }
        eprintln!("measuring {what}");
        rows.extend(one(&writer, oomwatch, &folder, load, what)?);
        fs::remove_dir_all(&folder).context("failed to remove the database")?;
    }
    Ok(rows)
}

fn one(writer: &Path, oomwatch: &Path, folder: &Path, load: &str, what: &str) -> Result<Vec<Row>> {
    let figures = exec::output(Command::new(writer).arg(folder).arg(load))?;
    let figures: Value =
        serde_json::from_str(&figures).context("failed to parse the figures of the bench")?;
    let number = |key: &str| {
        let figure = figures[key].as_u64();
        figure.with_context(|| format!("the figures of the bench have no {key}"))
    };
    let (kills, kept, rows) = (number("kills")?, number("kept")?, number("rows")?);
    Ok(vec![
        Row::size(format!("{what}: size"), number("bytes")?, number("bound")?),
        Row::plain("  kills in it", format!("{kept} of {kills} in {rows} rows")),
        Row::plain(
            "  writing one: received, identified, delivered",
            time(Duration::from_nanos(number("per_kill_ns")?)),
        ),
        Row::plain(
            "  opening it",
            time(Duration::from_micros(number("open_us")?)),
        ),
        Row::plain(
            "  longest transaction",
            time(Duration::from_micros(number("longest_us")?)),
        ),
        Row::plain("  peak memory of the writer", size(number("peak_bytes")?)),
        Row::time(
            "  `oomwatch history`, the newest 1000",
            history(oomwatch, folder, &[])?,
            BUDGET_HISTORY,
        ),
        Row::time(
            "  `oomwatch history` of a pod without kills",
            history(oomwatch, folder, &["--pod", "no-such-pod"])?,
            BUDGET_HISTORY,
        ),
    ])
}

/// Median run time of `oomwatch history`.
fn history(oomwatch: &Path, folder: &Path, arguments: &[&str]) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..READS {
        let mut command = Command::new(oomwatch);
        command
            .arg("history")
            .arg("--state-dir")
            .arg(folder)
            .args(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        let status = command
            .status()
            .context("failed to start oomwatch history")?;
        times.push(start.elapsed());
        ensure!(status.success(), "oomwatch history: {status}");
    }
    Ok(Times::new(times).median())
}
