//! What is killed: a process of this executable that moves into a cgroup and takes memory until the kernel ends it.

use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::process::id;

use anyhow::{Context as _, Result, bail};

/// The hidden subcommand that [`run`]s.
pub(crate) const COMMAND: &str = "__hog";
/// What the kernel log calls a hog: its `comm`.
pub(super) const NAME: &str = "oomwatch-hog";
/// Far above any limit that a hog is given. It ends by itself there.
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
    fs::write("/proc/self/comm", NAME).context("write /proc/self/comm")?;
    fs::write(cgroup.join("cgroup.procs"), id().to_string())
        .with_context(|| format!("move into the cgroup {}", cgroup.display()))?;
    let mut memory = vec![0_u8; MOST_BYTES];
    for page in memory.chunks_mut(PAGE_BYTES) {
        black_box(page)[0] = 1;
    }
    bail!(
        "took {} MiB in {} without being killed",
        MOST_BYTES >> 20,
        cgroup.display()
    )
}
