//! Flags of `oomwatch cleanup`.

use std::path::PathBuf;

use clap::Args;

use super::shared::PinArgs;
use crate::{commands::cleanup::CleanupConfig, store};

/// `oomwatch cleanup`.
#[derive(Debug, Args)]
pub struct CleanupArgs {
    /// Also remove the history: the kills, and which of them have their Events
    #[arg(long)]
    pub history: bool,
    /// The folder of the history
    #[arg(
        long,
        env = "OOMWATCH_STATE_DIR",
        value_name = "DIR",
        default_value = store::FOLDER
    )]
    pub state_dir: PathBuf,
    /// Then wait for a signal: in a cluster, pods that end are started again
    #[arg(long)]
    pub stay: bool,
    /// Where the agent pins.
    #[command(flatten)]
    pub pins: PinArgs,
}

impl From<CleanupArgs> for CleanupConfig {
    fn from(args: CleanupArgs) -> Self {
        let CleanupArgs {
            history,
            state_dir,
            stay,
            pins,
        } = args;
        Self {
            history,
            state_dir,
            stay,
            bpffs: pins.bpffs,
        }
    }
}
