//! Flags of `oomwatch history`.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::{
    moment::TimeArgs,
    shared::{FilterArgs, OutputArgs, zone},
};
use crate::{commands::history::HistoryConfig, model::filter::Filter, store};

/// `oomwatch history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// How kills are printed.
    #[command(flatten)]
    pub output: OutputArgs,
    /// When the kills happened.
    #[command(flatten)]
    pub time: TimeArgs,
    /// Only the newest N kills; 0 for all
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub limit: usize,
    /// The history: its folder, its file, or a copy of the file
    #[arg(long, env = "OOMWATCH_STATE_DIR", value_name = "DIR|FILE", default_value = store::FOLDER)]
    pub state_dir: PathBuf,
    /// Which kills to show.
    #[command(flatten)]
    pub filter: FilterArgs,
}

impl HistoryArgs {
    /// The configuration; `now` is what moments such as `yesterday` refer to.
    #[must_use]
    pub fn config(self, now: Timestamp) -> HistoryConfig {
        let Self {
            output,
            time: TimeArgs { since, until },
            limit,
            state_dir,
            filter,
        } = self;
        let zone = zone(output.utc);
        HistoryConfig {
            output: output.into(),
            since: since.map(|moment| moment.resolve(now, &zone)),
            until: until.map(|moment| moment.resolve(now, &zone)),
            limit,
            state_dir,
            filter: Filter::from(filter),
        }
    }
}
