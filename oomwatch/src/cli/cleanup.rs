//! What `oomwatch cleanup` is told, and where an agent leaves what outlives it.

use std::path::PathBuf;

use clap::Args;

use crate::capture::bpf::pins::BPFFS;

pub(super) const HELP: &str = "\
Examples:
  oomwatch cleanup                what the agent has pinned: its programs are detached, the history stays
  oomwatch cleanup --journal      the history, too

Prints what it removes, a path a line; what is none of the agent's it leaves alone. It removes
nothing while an agent runs: end that first.

Exit codes: 0 all is removed (also if there was nothing), 1 something is still there, 2 wrong usage.";

/// `oomwatch cleanup`.
#[derive(Debug, Args)]
pub struct CleanupArgs {
    /// Remove the journal, too: the history of kills, and which of them were told to the API server
    #[arg(long)]
    pub journal: bool,
    /// Where the agent keeps its journal
    #[arg(
        long,
        env = "OOMWATCH_STATE_DIR",
        value_name = "DIR",
        default_value = "/var/lib/oomwatch"
    )]
    pub state_dir: PathBuf,
    /// Then wait for a signal: in a cluster pods are started again when they end
    #[arg(long)]
    pub stay: bool,
    /// Where the agent pins.
    #[command(flatten)]
    pub pins: PinArgs,
}

/// What outlives the agent in the kernel.
#[derive(Debug, Args)]
pub struct PinArgs {
    /// The BPF file system in which the agent's programs stay attached, and its ring is kept, while it does not run
    #[arg(
        long,
        env = "OOMWATCH_BPFFS",
        value_name = "DIR",
        default_value = BPFFS,
        help_heading = "Kernel"
    )]
    pub bpffs: PathBuf,
}
