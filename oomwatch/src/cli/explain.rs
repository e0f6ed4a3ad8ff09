//! Flags of `oomwatch explain`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use jiff::tz::{Offset, TimeZone};

use super::{
    shared::KubeletArgs,
    values::{COLORS, EXPLAIN_OUTPUTS, TRUST, one_of},
};
use crate::{
    capture::kmsg::assemble::Trust,
    commands::{
        explain::{ExplainConfig, ExplainSource},
        report::ReportConfig,
    },
    deliver::{
        color::ColorChoice,
        printer::{OutputConfig, OutputFormat},
    },
    model::filter::Filter,
    store,
};

/// `oomwatch explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The kill's id, or what it begins with [default: the newest kill of the history, every kill of a log]
    #[arg(value_name = "ID", value_hint = ValueHint::Other)]
    pub id: Option<String>,
    /// Output format
    #[arg(short, long, value_parser = one_of(EXPLAIN_OUTPUTS), default_value = "text")]
    pub output: OutputFormat,
    /// When to color the page
    #[arg(long, value_parser = one_of(COLORS), default_value = "auto")]
    pub color: ColorChoice,
    /// The history: its folder, its file, or a copy of the file
    #[arg(long, env = "OOMWATCH_STATE_DIR", value_name = "DIR|FILE", default_value = store::FOLDER)]
    pub state_dir: PathBuf,
    /// Read a saved kernel log instead of the history; `-` for stdin
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Read JSON lines instead of the history, as `-o json` prints them; `-` for stdin
    #[arg(long, value_name = "FILE", conflicts_with = "log")]
    pub json: Option<PathBuf>,
    /// Whose lines of the log to believe, where it says who wrote them
    #[arg(long, value_parser = one_of(TRUST), default_value = "kernel", requires = "log")]
    pub trust: Trust,
    /// Where the kubelet of the log's node has its pods.
    #[command(flatten)]
    pub kubelet: KubeletArgs,
}

impl From<ExplainArgs> for ExplainConfig {
    fn from(args: ExplainArgs) -> Self {
        let ExplainArgs {
            id,
            output,
            color,
            state_dir,
            log,
            json,
            trust,
            kubelet,
        } = args;
        let output = OutputConfig {
            format: output,
            columns: None,
            zone: TimeZone::UTC,
            color,
            has_header: true,
        };
        let filter = Filter {
            id,
            ..Filter::default()
        };
        let source = match (log, json) {
            (Some(log), _) => ExplainSource::Log(Box::new(ReportConfig {
                files: vec![log],
                output,
                node: None,
                utc_offset: Offset::UTC,
                trust,
                filter,
                kubelet: kubelet.into(),
            })),
            (None, Some(json)) => ExplainSource::Json {
                file: json,
                output,
                filter,
            },
            (None, None) => ExplainSource::History {
                state_dir,
                output,
                filter,
            },
        };
        Self { source }
    }
}
