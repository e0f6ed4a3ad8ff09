//! What `oomwatch agent` is told: by flags, or by the environment as a manifest writes it.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum};
use jiff::SignedDuration;

use crate::{deliver::events::NodeUid, store};

use super::{KernelArgs, PinArgs, RuntimeArgs, parse_duration, parse_pause};

/// `oomwatch agent`.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// Name of this node, as the API server knows it [default: the host's name]
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub node: Option<String>,
    /// Where metrics and health are served [default: port 10137 of every address]
    #[arg(long, env = "OOMWATCH_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Write each kill as a line of JSON to stdout
    #[arg(long, env = "OOMWATCH_LOG_KILLS", value_enum, default_value_t = Switch::On)]
    pub log_kills: Switch,
    /// Add the victim's arguments to those lines, where they can still be read; they may hold secrets
    #[arg(long)]
    pub cmdline: bool,
    /// Events.
    #[command(flatten)]
    pub events: EventArgs,
    /// Names.
    #[command(flatten)]
    pub names: NameArgs,
    /// The journal.
    #[command(flatten)]
    pub journal: StoreArgs,
    /// What outlives the agent in the kernel.
    #[command(flatten)]
    pub pins: PinArgs,
    /// Where the kernel is asked.
    #[command(flatten)]
    pub kernel: KernelArgs,
}

/// What outlives the agent, so that the next one goes on where it was.
#[derive(Debug, Args)]
#[command(next_help_heading = "Journal")]
pub struct StoreArgs {
    /// Folder of the journal, which `oomwatch history` reads
    #[arg(long, env = "OOMWATCH_STATE_DIR", value_name = "DIR", default_value = store::FOLDER)]
    pub state_dir: PathBuf,
    /// Size of the journal in MiB; its oldest kills make room
    #[arg(
        long,
        env = "OOMWATCH_JOURNAL_MAX_SIZE",
        value_name = "MIB",
        default_value_t = 64,
        value_parser = clap::value_parser!(u64).range(4..=65_536)
    )]
    pub journal_max_size: u64,
    /// Keep no kill in the journal that is older
    #[arg(
        long,
        env = "OOMWATCH_JOURNAL_MAX_AGE",
        value_name = "DURATION",
        default_value = "720h",
        value_parser = parse_duration
    )]
    pub journal_max_age: SignedDuration,
    /// The host's id: a journal of another machine is not gone on from
    #[arg(long, value_name = "FILE", default_value = "/etc/machine-id")]
    pub machine_id: PathBuf,
}

/// What is told to the API server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Kubernetes Events")]
pub struct EventArgs {
    /// Record system OOMs on the Node, as the kubelet does
    #[arg(long, env = "OOMWATCH_NODE_EVENTS", value_enum, default_value_t = Switch::On)]
    pub node_events: Switch,
    /// Record OOM kills on the Pod that lost a process
    #[arg(long, env = "OOMWATCH_POD_EVENTS", value_enum, default_value_t = Switch::On)]
    pub pod_events: Switch,
    /// Record none on the pods of this namespace; more than once for more
    #[arg(
        long,
        env = "OOMWATCH_EVENTS_EXCLUDE_NAMESPACE",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub events_exclude_namespace: Vec<String>,
    /// Tell the API server of no kill that is older
    #[arg(
        long,
        env = "OOMWATCH_EVENTS_MAX_AGE",
        value_name = "DURATION",
        default_value = "1h",
        value_parser = parse_duration
    )]
    pub events_max_age: SignedDuration,
    /// Who the Events say they are from
    #[arg(
        long,
        env = "OOMWATCH_EVENTS_COMPONENT",
        value_name = "NAME",
        default_value = "oomwatch"
    )]
    pub events_component: String,
    /// What stands for the Node's UID in its Events; `name` is for kubectl before 1.21, whose describe shows no other
    #[arg(
        long,
        env = "OOMWATCH_EVENTS_NODE_UID",
        value_enum,
        default_value_t = NodeUid::Real
    )]
    pub events_node_uid: NodeUid,
    /// Wait up to this long at the start before the first request, so that a thousand nodes do not ask at once
    #[arg(
        long,
        env = "OOMWATCH_START_JITTER",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = parse_pause
    )]
    pub start_jitter: SignedDuration,
}

/// Who tells the names of pods and containers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Names")]
pub struct NameArgs {
    /// Watch this node's pods at the API server
    #[arg(long, env = "OOMWATCH_POD_WATCH", value_enum, default_value_t = Switch::On)]
    pub pod_watch: Switch,
    /// Which container runtimes are asked.
    #[command(flatten)]
    pub runtimes: RuntimeArgs,
    /// The host's /var/log, whose entries name pods and containers
    #[arg(long, value_name = "DIR", default_value = "/var/log")]
    pub log_root: PathBuf,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Do it
    On,
    /// Do not
    Off,
}
