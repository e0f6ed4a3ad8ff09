//! Flags of `oomwatch report`.

use std::path::PathBuf;

use clap::Args;
use jiff::{Timestamp, tz::Offset};

use super::{
    moment::TimeArgs,
    shared::{FilterArgs, KubeletArgs, OutputArgs, zone},
    values::{TRUST, one_of, parse_offset},
};
use crate::{
    capture::kmsg::assemble::Trust, commands::report::ReportConfig, model::filter::Filter,
};

/// `oomwatch report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The logs, compressed or not; `-` for stdin, the default if something is piped into it
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How kills are printed.
    #[command(flatten)]
    pub output: OutputArgs,
    /// When the kills happened; a kill without a date is at no time.
    #[command(flatten)]
    pub time: TimeArgs,
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

impl ReportArgs {
    /// Takes stdin where no file is named and something is piped into it; false where nothing is.
    pub(super) fn take_stdin(&mut self) -> bool {
        if self.files.is_empty() && is_piped() {
            self.files.push("-".into());
        }
        !self.files.is_empty()
    }
}

/// Whether stdin is a pipe, a socket or a file.
fn is_piped() -> bool {
    use rustix::fs::FileType;
    rustix::fs::fstat(rustix::stdio::stdin()).is_ok_and(|stat| {
        matches!(
            FileType::from_raw_mode(stat.st_mode),
            FileType::Fifo | FileType::Socket | FileType::RegularFile
        )
    })
}

impl ReportArgs {
    /// The configuration; `now` is what moments such as `yesterday` refer to.
    #[must_use]
    pub fn config(self, now: Timestamp) -> ReportConfig {
        let Self {
            files,
            output,
            time: TimeArgs { since, until },
            node,
            utc_offset,
            trust,
            filter,
            kubelet,
        } = self;
        let zone = zone(output.utc);
        ReportConfig {
            files,
            output: output.into(),
            node,
            utc_offset,
            trust,
            filter: Filter {
                since: since.map(|moment| moment.resolve(now, &zone)),
                until: until.map(|moment| moment.resolve(now, &zone)),
                ..filter.into()
            },
            kubelet: kubelet.into(),
        }
    }
}
