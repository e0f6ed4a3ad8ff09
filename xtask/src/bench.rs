//! `cargo xtask bench`: measures oomwatch against its budgets and prints one table.
//!
//! Kills are real, and the kernel log is read beside oomwatch in the same run. All figures are of one run on one machine:
//! a busy machine gives worse ones, so that a budget that is missed is told and is not a failure.

mod figure;
mod footprint;
mod history;
pub(crate) mod hog;
mod interrupt;
mod observe;
mod programs;
mod readers;
pub(crate) mod relay;
mod storm;
mod watcher;

use std::fs;
use std::thread::available_parallelism;

use anyhow::{Context as _, Result, ensure};

use self::storm::Ground;
use crate::cargo::{self, Workspace};
use crate::cgroup::Hierarchy;
use crate::{exec, table};

/// Kills whose latency is measured one by one.
const SPACED_KILLS: u32 = 200;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Kills of the storm
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    kills: u32,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let Args { kills } = *args;
    ensure!(
        exec::is_root(),
        "bench makes cgroups, kills in them and loads BPF programs: run it as root"
    );
    let workspace = Workspace::load()?;
    let mut build = workspace.cargo();
    build.args([
        "build",
        "--locked",
        "--release",
        "--package",
        "oomwatch",
        "--bin",
        "oomwatch",
    ]);
    let oomwatch = cargo::build_executable(&mut build, "bin", "oomwatch")?;

    interrupt::catch()?;
    let ground = Ground::find()?;
    println!("{}\n", machine(&ground.hierarchy)?);
    eprintln!("starts, and five idle seconds");
    let mut rows = footprint::start(&oomwatch)?;
    rows.extend(footprint::idle(&oomwatch)?);
    eprintln!("{SPACED_KILLS} kills one by one");
    rows.extend(observe::spaced(&oomwatch, &ground, SPACED_KILLS)?);
    eprintln!("a storm of {kills} kills, and as many without oomwatch");
    let (storm, closing_line) = observe::storm(&oomwatch, &ground, kills)?;
    rows.extend(storm);
    eprintln!("time in the programs");
    rows.extend(programs::measure(&oomwatch, &ground)?);
    rows.push(footprint::executable(&oomwatch)?);
    rows.extend(history::measure(&workspace, &oomwatch)?);

    let rows: Vec<_> = rows.iter().map(figure::Row::cells).collect();
    print!(
        "{}",
        table::render(["what", "measured", "budget", "verdict"], &rows)
    );
    println!("\nThe watcher said after the storm: {closing_line}");
    Ok(())
}

/// Where the figures come from, and how busy it was.
fn machine(hierarchy: &Hierarchy) -> Result<String> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("read {path}"));
    let cores = available_parallelism().context("count the cores")?;
    let kernel = read("/proc/sys/kernel/osrelease")?;
    let load = read("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    let version = match hierarchy {
        Hierarchy::V1(_) => "v1",
        Hierarchy::V2(_) => "v2",
    };
    Ok(format!(
        "{cores} cores, Linux {}, memory on cgroup {version}, load {load} at the start; one run",
        kernel.trim_end()
    ))
}
