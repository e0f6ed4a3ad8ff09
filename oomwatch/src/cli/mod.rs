//! What the user typed.

mod agent;
mod cleanup;
mod history;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, builder::NonEmptyStringValueParser};
use jiff::{SignedDuration, tz::Offset};

use crate::{
    capture::kmsg::{assemble::Trust, log_file},
    identify::sockets::SocketChoice,
    model::{filter::CgroupPath, kill::Scope},
};

pub use self::{
    agent::{AgentArgs, EventArgs, NameArgs, StoreArgs, Switch},
    cleanup::{CleanupArgs, PinArgs},
    history::{HistoryArgs, Moment},
};

/// Every OOM kill, once, with the right owner and the right limit.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to talk.
    #[command(flatten)]
    pub log: LogArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print OOM kills as they happen
    #[command(after_long_help = WATCH_EXAMPLES)]
    Watch(Box<WatchArgs>),
    /// Run on every node of a cluster: Kubernetes Events, metrics and a log of OOM kills
    #[command(after_long_help = AGENT_EXAMPLES)]
    Agent(Box<AgentArgs>),
    /// Say what this machine can give, and what to do about the rest
    #[command(after_long_help = DOCTOR_HELP)]
    Doctor(DoctorArgs),
    /// Remove what the agent has left on this machine
    #[command(after_long_help = cleanup::HELP)]
    Cleanup(CleanupArgs),
    /// Print the OOM kills in a saved kernel log; needs no privileges
    #[command(after_long_help = REPORT_EXAMPLES)]
    Report(Box<ReportArgs>),
    /// Print the OOM kills that an agent's journal holds; needs no privileges but to read it
    #[command(after_long_help = HISTORY_EXAMPLES)]
    History(Box<HistoryArgs>),
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

const WATCH_EXAMPLES: &str = "\
Examples:
  oomwatch watch                                every kill, until Ctrl-C
  oomwatch watch -o json --count 1              one kill as JSON, then end
  oomwatch watch --cgroup /system.slice -o wide kills below a cgroup, with all columns
  oomwatch watch --scope system --timeout 1h    an hour of kills because the machine ran out

Exit codes: 0 done (also at --count, at --timeout, and at the next line if the reader is gone), 1 failed,
2 wrong usage, 130 ended by SIGINT or SIGTERM.";

const AGENT_EXAMPLES: &str = "\
Examples:
  oomwatch agent                                           as the DaemonSet runs it: the API server that the pod is given
  KUBECONFIG=~/.kube/config oomwatch agent --node node-1   by hand on a node, as the user of that file
  oomwatch agent --pod-events off --listen 127.0.0.1:10137  the node's Events alone, metrics for this machine alone

Without an API server it goes on: kills are counted, logged and, for as long as --events-max-age
says, kept for it. Hooks that fail make it end, and a journal that cannot be written not ready; it
goes on all the same. A second agent waits for the end of the first.

Exit codes: 0 ended by SIGINT or SIGTERM, 1 failed, 2 wrong usage.";

const DOCTOR_HELP: &str = "\
What the words mean:
  ok    there
  info  not there or not as usual, and watch does without it
  warn  watch works, but tells less
  FAIL  watch cannot work

Every check is made for real: all programs of each rung are loaded and attached, files opened,
sockets connected to. Nothing stays attached.

Under Hooks stand the rungs, best first: fentry, kprobe, tracepoint, format, kmsg, counters. One
that is refused is no loss while tracepoint or a better one is left. With --hooks all is judged as
for a watch that is started so. docs/compatibility.md says what each rung needs, and what it tells.

The keys of -o json: schema, version, works (true or false), hooks and rung (what watch takes),
verdict, and checks, a list of objects of group, name, status (ok, info, warn, fail), finding and
remedy. Keys may be added, never renamed.

Exit codes: 0 watch works here, 1 it does not, 2 wrong usage.";

const REPORT_EXAMPLES: &str = "\
Examples:
  dmesg | oomwatch report -                         the kills since boot, as far as the log reaches
  journalctl -k -b -1 | oomwatch report -o wide -   those of the boot before
  oomwatch report -o json --node n1 kern.log        one JSON object a kill

Reads dmesg, journalctl -k, syslog and /dev/kmsg, each line by its own form. A log tells less than
watch does: above ten kills in five seconds the kernel leaves out whose they were.

Exit codes: 0 done (also without a kill, and when the reader closes the pipe), 1 failed, 2 wrong usage.";

const HISTORY_EXAMPLES: &str = "\
Examples:
  oomwatch history                                  the newest thousand kills, newest last
  oomwatch history --since 24h -n shop              a day of one namespace
  oomwatch history --pod cart-0 -o json --limit 0   all of one pod as JSON
  oomwatch history --state-dir ./oomwatch.db        a copy of the file

Reads while the agent writes. A container that loses many processes within a minute has one line for
those beyond twenty, with their number. Kills that were only counted are shown whatever the filters.

Exit codes: 0 done (also without a kill, and when the reader closes the pipe), 1 failed, 2 wrong usage.";

/// Messages go to stderr, data to stdout.
#[derive(Debug, Args)]
#[command(next_help_heading = "Messages")]
pub struct LogArgs {
    /// Least severe message to write to stderr
    #[arg(long, global = true, value_enum, default_value_t = LogLevel::Info)]
    pub log_level: LogLevel,
    /// Form of the messages
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Severity of messages.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogLevel {
    /// An operator must act
    Error,
    /// Something is degraded
    Warn,
    /// Start and end
    Info,
    /// Every kill
    Debug,
    /// Everything
    Trace,
}

/// Form of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One object a line
    Json,
}

/// Where the kernel is asked.
#[derive(Debug, Args)]
#[command(next_help_heading = "Kernel")]
pub struct KernelArgs {
    /// Hooks to use; `auto` takes the best that this kernel gives
    #[arg(long, value_enum, default_value_t = HooksChoice::Auto)]
    pub hooks: HooksChoice,
    /// The running kernel's types in BTF
    #[arg(long, value_name = "FILE", default_value = "/sys/kernel/btf/vmlinux")]
    pub btf: PathBuf,
    /// The host's /proc
    #[arg(long, value_name = "DIR", default_value = "/proc")]
    pub proc_root: PathBuf,
    /// The host's cgroup file system
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/cgroup")]
    pub cgroup_root: PathBuf,
    /// The kernel log
    #[arg(long, value_name = "FILE", default_value = "/dev/kmsg")]
    pub kmsg: PathBuf,
}

/// Rungs of the hook ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HooksChoice {
    /// The best that works
    Auto,
    /// The OOM killer's functions: fentry, else kprobe
    Function,
    /// The OOM killer's functions, by trampolines
    Fentry,
    /// The OOM killer's functions, by kprobes
    Kprobe,
    /// Raw tracepoints
    Tracepoint,
    /// Classic tracepoints, which need no BTF
    Format,
    /// The kernel log alone
    Kmsg,
    /// The kernel's counts alone: how many, not who
    Counters,
}

/// `oomwatch watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// How kills are shown.
    #[command(flatten)]
    pub output: OutputArgs,
    /// End after this many kills shown
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End after this long, such as 30s, 5m or 1h30m
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub timeout: Option<SignedDuration>,
    /// Add the victim's arguments to the JSON, where they can still be read; they may hold secrets
    #[arg(long)]
    pub cmdline: bool,
    /// Name of this node in the reports [default: the host's name]
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub node: Option<String>,
    /// The host's /var/log, whose entries name pods and containers
    #[arg(long, value_name = "DIR", default_value = "/var/log")]
    pub log_root: PathBuf,
    /// Which container runtimes are asked.
    #[command(flatten)]
    pub runtimes: RuntimeArgs,
    /// Which kills to show.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Where the kernel is asked.
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// Who knows the containers.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Container runtimes")]
pub struct RuntimeArgs {
    /// Socket of a runtime that speaks CRI, which names containers and pods; `auto` looks in the usual places
    #[arg(
        long,
        env = "OOMWATCH_CRI_SOCKET",
        value_name = "PATH|auto|off",
        default_value = "auto"
    )]
    pub cri_socket: SocketChoice,
    /// Docker's socket, which names its containers; `auto` looks in the usual place
    #[arg(
        long,
        env = "OOMWATCH_DOCKER_SOCKET",
        value_name = "PATH|auto|off",
        default_value = "auto"
    )]
    pub docker_socket: SocketChoice,
}

/// `oomwatch report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The log; `-` for stdin
    pub file: PathBuf,
    /// How kills are shown.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Name of the node that the log is of [default: as the log has it]
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Zone of times that name none, such as +02:00
    #[arg(long, value_name = "OFFSET", value_parser = parse_offset, default_value = "Z", allow_hyphen_values = true)]
    pub utc_offset: Offset,
    /// Whose lines to believe, where the log tells who wrote them
    #[arg(long, value_enum, default_value_t = Trust::Kernel)]
    pub trust: Trust,
    /// Which kills to show.
    #[command(flatten)]
    pub filter: FilterArgs,
}

/// How kills are shown.
#[derive(Clone, Copy, Debug, Args)]
pub struct OutputArgs {
    /// Form of the output: one line a kill, all columns, or one JSON object a line
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
    /// When to colour the lines
    #[arg(long, value_enum, default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
    /// Leave the line with the columns' titles out
    #[arg(long)]
    pub no_header: bool,
}

/// Filters; a kill is shown if it passes all of them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters")]
pub struct FilterArgs {
    /// Only pods of this namespace
    #[arg(short, long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub namespace: Option<String>,
    /// Only containers with this name, or whose id begins so
    #[arg(short, long, value_name = "NAME|ID", value_parser = NonEmptyStringValueParser::new())]
    pub container: Option<String>,
    /// Only victims in this cgroup or below it
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<CgroupPath>,
    /// Only kills because this ran out
    #[arg(long, value_enum)]
    pub scope: Option<Scope>,
}

/// Forms of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// One line a kill
    Text,
    /// All columns; re-kills, marks without a kill and killed memory sharers too
    Wide,
    /// One JSON object a line, schema oomwatch/v1
    Json,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// `oomwatch doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Form of the output: lines, or one JSON object
    #[arg(short, long, value_enum, default_value_t = DoctorOutput::Text)]
    pub output: DoctorOutput,
    /// When to colour the lines
    #[arg(long, value_enum, default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
    /// Where an agent pins.
    #[command(flatten)]
    pub pins: PinArgs,
    /// Where the kernel is asked.
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// Forms of the doctor's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DoctorOutput {
    /// Lines by topic
    Text,
    /// One JSON object, schema oomwatch-doctor/v1
    Json,
}

fn parse_offset(text: &str) -> Result<Offset, &'static str> {
    log_file::parse_offset(text.as_bytes()).ok_or("not an offset such as +02:00 or Z")
}

fn parse_duration(text: &str) -> Result<SignedDuration, String> {
    let duration = parse_pause(text)?;
    if duration.is_zero() {
        return Err("must be longer than nothing".to_owned());
    }
    Ok(duration)
}

/// As a duration, and `0s` is none.
fn parse_pause(text: &str) -> Result<SignedDuration, String> {
    let duration: SignedDuration = text
        .parse()
        .map_err(|_| "not a duration such as 30s, 5m or 1h30m".to_owned())?;
    if duration.is_negative() {
        return Err("must not be negative".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("1h30m", 5400), ("1h 30m", 5400)] {
            assert_eq!(
                parse_duration(text),
                Ok(SignedDuration::from_secs(seconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "30",
            "s",
            "-5s",
            "0s",
            "1 fortnight",
            "99999999999999999999h",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(parse_pause("0s"), Ok(SignedDuration::ZERO));
        assert!(parse_pause("-5s").is_err());
    }
}
