//! The victim: a process of this executable that moves into a cgroup and allocates memory until the kernel kills it.

use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::process::id;

use anyhow::{Context as _, Result, bail};

/// The hidden subcommand that [`run`]s.
pub(crate) const COMMAND: &str = "__hog";
/// The `comm` of a hog, which the kernel log prints.
pub(super) const NAME: &str = "oomwatch-hog";
/// Allocation at which a hog ends by itself, far above any limit of its cgroup.
const MOST_BYTES: usize = 64 << 20;
const PAGE_BYTES: usize = 4096;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The cgroup's folder
    cgroup: PathBuf,
}

/// Returns only if it is not killed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let Args { cgroup } = args;
    fs::write("/proc/self/comm", NAME).context("failed to write /proc/self/comm")?;
    fs::write(cgroup.join("cgroup.procs"), id().to_string())
        .with_context(|| format!("failed to move into the cgroup {}", cgroup.display()))?;
    let mut memory = vec![0_u8; MOST_BYTES];
    for page in memory.chunks_mut(PAGE_BYTES) {
        black_box(page)[0] = 1;
    }
    bail!(
        "allocated {} MiB in {} without being killed",
        MOST_BYTES >> 20,
        cgroup.display()
    )
}
