//! Flags of `oomwatch report`.

use std::path::PathBuf;

use clap::Args;
use jiff::tz::Offset;

use super::{
    shared::{FilterArgs, KubeletArgs, OutputArgs},
    values::{TRUST, one_of, parse_offset},
};
use crate::{capture::kmsg::assemble::Trust, commands::report::ReportConfig};

/// `oomwatch report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The log; `-` for stdin
    pub file: PathBuf,
    /// How kills are printed.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Name of the node that wrote the log [default: the name in the log]
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Offset from UTC of times that state none, such as +02:00
    #[arg(long, value_name = "OFFSET", value_parser = parse_offset, default_value = "Z", allow_hyphen_values = true)]
    pub utc_offset: Offset,
    /// Whose lines to believe, where the log says who wrote them
    #[arg(long, value_parser = one_of(TRUST), default_value = "kernel")]
    pub trust: Trust,
    /// Which kills to show.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Where the kubelet of the log's node has its pods.
    #[command(flatten)]
    pub kubelet: KubeletArgs,
}

impl From<ReportArgs> for ReportConfig {
    fn from(args: ReportArgs) -> Self {
        let ReportArgs {
            file,
            output,
            node,
            utc_offset,
            trust,
            filter,
            kubelet,
        } = args;
        Self {
            file,
            output: output.into(),
            node,
            utc_offset,
            trust,
            filter: filter.into(),
            kubelet: kubelet.into(),
        }
    }
}
