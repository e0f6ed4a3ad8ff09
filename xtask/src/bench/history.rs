//! The history database after a week and after a storm: its size, time per kill, and how fast `oomwatch history` answers.

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

/// Writes real history databases, with generated kills and times.
pub(super) fn measure(workspace: &Workspace, oomwatch: &Path) -> Result<Vec<Row>> {
    let mut build = workspace.cargo();
    build.args([
        "build",
        "--locked",
        "--release",
        "--package",
        "oomwatch",
        "--bench",
        "history",
    ]);
    let fill = cargo::build_executable(&mut build, "bench", "history")?;
    let mut rows = Vec::new();
    for (load, what) in [
        ("week", "history, 10,000 kills a day for a week"),
        ("storm", "history, 50 kills a second for an hour"),
    ] {
        interrupt::check()?;
        let folder = workspace.target.join("bench-history");
        if folder.exists() {
            fs::remove_dir_all(&folder).context("remove an earlier history database")?;
        }
        eprintln!("{what}");
        rows.extend(one(&fill, oomwatch, &folder, load, what)?);
        fs::remove_dir_all(&folder).context("remove the history database")?;
    }
    Ok(rows)
}

fn one(fill: &Path, oomwatch: &Path, folder: &Path, load: &str, what: &str) -> Result<Vec<Row>> {
    let output = exec::output(Command::new(fill).arg(folder).arg(load))?;
    let output: Value = serde_json::from_str(&output).context("parse the output of the bench")?;
    let number = |key: &str| output[key].as_u64().with_context(|| format!("find {key}"));
    let (kills, kept, rows) = (number("kills")?, number("kept")?, number("rows")?);
    Ok(vec![
        Row::size(
            format!("{what}: its file"),
            number("bytes")?,
            number("bound")?,
        ),
        Row::plain(
            "  kills in it, each once",
            format!("{kept} of {kills} in {rows} rows"),
        ),
        Row::plain(
            "  writing one kill: captured, named, delivered",
            time(Duration::from_nanos(number("per_kill_ns")?)),
        ),
        Row::plain(
            "  opening it at a start",
            time(Duration::from_micros(number("open_us")?)),
        ),
        Row::plain(
            "  the longest transaction",
            time(Duration::from_micros(number("longest_us")?)),
        ),
        Row::plain("  peak memory of who writes", size(number("peak_bytes")?)),
        Row::time(
            "  history, the newest 1000",
            history(oomwatch, folder, &[])?,
            BUDGET_HISTORY,
        ),
        Row::time(
            "  history of a pod without kills",
            history(oomwatch, folder, &["--pod", "missing"])?,
            BUDGET_HISTORY,
        ),
    ])
}

/// Median from start to end.
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
        let status = command.status().context("start oomwatch history")?;
        times.push(start.elapsed());
        ensure!(status.success(), "oomwatch history: {status}");
    }
    Ok(Times::new(times).median())
}
