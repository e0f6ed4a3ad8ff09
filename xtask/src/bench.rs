//! `cargo xtask bench`: measures oomwatch against its budgets and prints one table.
//!
//! Kills are real, and the kernel log is read at the same time as oomwatch's output. A busy machine gives worse figures, so a
//! figure over its budget is printed as such and is not an error.

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

/// Number of kills whose latency is measured one by one.
const SPACED_KILLS: u32 = 200;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Number of kills in the storm
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    kills: u32,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let Args { kills } = *args;
    ensure!(
        exec::is_root(),
        "bench creates cgroups, kills processes in them and loads BPF programs (run it as root)"
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
    eprintln!("measuring starts, and five idle seconds");
    let mut rows = footprint::start(&oomwatch)?;
    rows.extend(footprint::idle(&oomwatch)?);
    eprintln!("measuring {SPACED_KILLS} kills one by one");
    rows.extend(observe::spaced(&oomwatch, &ground, SPACED_KILLS)?);
    eprintln!("measuring a storm of {kills} kills, and as many without oomwatch");
    let (storm, closing_line) = observe::storm(&oomwatch, &ground, kills)?;
    rows.extend(storm);
    eprintln!("measuring time in the BPF programs");
    rows.extend(programs::measure(&oomwatch, &ground)?);
    rows.push(footprint::executable(&oomwatch)?);
    rows.extend(history::measure(&workspace, &oomwatch)?);

    let rows: Vec<_> = rows.iter().map(figure::Row::cells).collect();
    print!(
        "{}",
        table::render(["figure", "measured", "budget", "result"], &rows)
    );
    println!("\nClosing line of the watcher after the storm: {closing_line}");
    Ok(())
}

/// Describes the machine, and how busy it is.
fn machine(hierarchy: &Hierarchy) -> Result<String> {
    let read =
        |path: &str| fs::read_to_string(path).with_context(|| format!("failed to read {path}"));
    let cores = available_parallelism().context("failed to count the cores")?;
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
