//! The command line: flags, help, and their conversion into the configuration of the commands.

mod agent;
mod cleanup;
mod doctor;
mod escaped_lines;
mod explain;
mod help;
mod history;
mod manual;
mod moment;
mod report;
mod shared;
mod values;
mod watch;

use std::{env, path::PathBuf};

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use oomwatch_ebpf::record::ABI_VERSION;
use tracing::level_filters::LevelFilter;

use self::values::one_of;
pub use self::{
    agent::{AgentArgs, EventArgs, NameArgs, StoreArgs},
    cleanup::CleanupArgs,
    doctor::DoctorArgs,
    escaped_lines::EscapedLines,
    explain::ExplainArgs,
    history::HistoryArgs,
    manual::write_manual_pages,
    moment::{Moment, TimeArgs},
    report::ReportArgs,
    shared::{FilterArgs, KernelArgs, OutputArgs, PinArgs, RuntimeArgs},
    watch::WatchArgs,
};

/// Every OOM kill, once, with the right owner and the right limit.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Which messages are written.
    #[command(flatten)]
    pub log: LogArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print OOM kills as they happen
    #[command(after_long_help = help::WATCH)]
    Watch(Box<WatchArgs>),
    /// Run on every node of a cluster: Kubernetes Events, metrics and a log of OOM kills
    #[command(after_long_help = help::AGENT)]
    Agent(Box<AgentArgs>),
    /// Check what works on this machine, and what to do about the rest
    #[command(after_long_help = help::DOCTOR)]
    Doctor(DoctorArgs),
    /// Remove what the agent has left on this machine
    #[command(after_long_help = help::CLEANUP)]
    Cleanup(CleanupArgs),
    /// Print the OOM kills in a saved kernel log; needs no privileges
    #[command(after_long_help = help::REPORT)]
    Report(Box<ReportArgs>),
    /// Print the OOM kills in an agent's history; needs only permission to read it
    #[command(after_long_help = help::HISTORY)]
    History(Box<HistoryArgs>),
    /// Print one kill's whole story: whose limit, where the memory was, and what to change
    #[command(after_long_help = help::EXPLAIN)]
    Explain(Box<ExplainArgs>),
    /// Print the version, and what this executable was built for
    Version,
    /// Print a shell's completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages (roff) into a folder
    Man {
        /// The folder
        folder: PathBuf,
    },
}

/// Messages go to stderr, data to stdout.
#[derive(Debug, Args)]
#[command(next_help_heading = "Messages")]
pub struct LogArgs {
    /// Least severe message to write to stderr
    #[arg(long, global = true, value_parser = one_of(LEVELS), default_value = "info")]
    pub log_level: LevelFilter,
    /// Write warnings and errors only; the same as `--log-level warn`
    #[arg(short, long, global = true, conflicts_with_all = ["verbose", "log_level"])]
    pub quiet: bool,
    /// Write a message for every kill; the same as `--log-level debug`
    #[arg(short, long, global = true, conflicts_with = "log_level")]
    pub verbose: bool,
    /// Format of the messages
    #[arg(long, global = true, value_parser = one_of(FORMATS), default_value = "text")]
    pub log_format: LogFormat,
}

/// Format of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogArgs {
    /// The least severe message to write.
    #[must_use]
    pub fn level(&self) -> LevelFilter {
        match self {
            Self { quiet: true, .. } => LevelFilter::WARN,
            Self { verbose: true, .. } => LevelFilter::DEBUG,
            Self { log_level, .. } => *log_level,
        }
    }
}

const LEVELS: &[(&str, &str, LevelFilter)] = &[
    ("error", "An operator must act", LevelFilter::ERROR),
    ("warn", "Something is degraded", LevelFilter::WARN),
    ("info", "Start and end", LevelFilter::INFO),
    ("debug", "Every kill", LevelFilter::DEBUG),
    ("trace", "Everything", LevelFilter::TRACE),
];

const FORMATS: &[(&str, &str, LogFormat)] = &[
    ("text", "For people", LogFormat::Text),
    ("json", "One object per line", LogFormat::Json),
];

/// Reads the command line; wrong usage ends the process with code 2.
#[must_use]
pub fn parse() -> Cli {
    let mut cli = Cli::parse();
    if let Command::Report(args) = &mut cli.command
        && !args.take_stdin()
    {
        let text = "no log: name a <FILE>, or pipe one in, as in `dmesg | oomwatch report`";
        Cli::command()
            .error(clap::error::ErrorKind::MissingRequiredArgument, text)
            .exit();
    }
    cli
}

/// The version, and what the executable was built for.
#[must_use]
pub fn version() -> String {
    format!(
        "oomwatch {}\nbuilt for {}-{}\nBPF record layout {ABI_VERSION}\n",
        env!("CARGO_PKG_VERSION"),
        env::consts::ARCH,
        env::consts::OS,
    )
}

/// A shell's completion script.
#[must_use]
pub fn completions(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "oomwatch", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// clap checks only while it parses that a value has the type of its field.
    #[test]
    fn every_choice_of_every_flag_is_parsed() {
        let command = Cli::command();
        for subcommand in command.get_subcommands() {
            let name = subcommand.get_name();
            let operands = subcommand.get_positionals().next().map(|_| match name {
                "completions" => "bash",
                _ => "file",
            });
            let line = || ["oomwatch", name].into_iter().chain(operands);
            Cli::try_parse_from(line()).unwrap_or_else(|error| panic!("{name}: {error}"));
            for flag in subcommand.get_arguments() {
                let Some(long) = flag.get_long() else {
                    continue;
                };
                for value in flag.get_possible_values() {
                    // A flag without a value has the possible values of a bool.
                    if flag.get_action().takes_values() {
                        let flag = format!("--{long}={}", value.get_name());
                        Cli::try_parse_from(line().chain([&*flag]))
                            .unwrap_or_else(|error| panic!("{name} {flag}: {error}"));
                    }
                }
            }
        }
    }

    #[test]
    fn switches_take_on_and_off() {
        for (value, expected) in [("on", true), ("off", false)] {
            let cli = Cli::try_parse_from(["oomwatch", "agent", "--log-kills", value]);
            let Command::Agent(args) = cli.expect("parse").command else {
                panic!("another command");
            };
            assert_eq!(args.log_kills, expected);
        }
    }
}
