//! Flags of `oomwatch agent`, and the variables by which a manifest sets them.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args};

use super::{
    shared::{KernelArgs, KubeletArgs, PinArgs, RuntimeArgs},
    values::{KUBERNETES, NODE_UIDS, SWITCH, one_of, parse_duration, parse_pause},
};
use crate::{
    commands::agent::{AgentConfig, EventConfig, HistoryStoreConfig, KubernetesChoice},
    deliver::events::NodeUid,
    store,
};

/// `oomwatch agent`.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// Whether this host is a node of a cluster
    #[arg(long, env = "OOMWATCH_KUBERNETES", value_parser = one_of(KUBERNETES), default_value = "auto")]
    pub kubernetes: KubernetesChoice,
    /// Name of this node at the API server [default: the host's name]
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub node: Option<String>,
    /// Address that serves metrics and health [default: port 10137 of every address]
    #[arg(long, env = "OOMWATCH_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Write each kill as a line of JSON to stdout
    #[arg(long, env = "OOMWATCH_LOG_KILLS", value_parser = one_of(SWITCH), default_value = "on", action = ArgAction::Set)]
    pub log_kills: bool,
    /// Add the victim's arguments to those lines, where they can still be read; they may contain secrets
    #[arg(long)]
    pub cmdline: bool,
    /// Events.
    #[command(flatten)]
    pub events: EventArgs,
    /// Names.
    #[command(flatten)]
    pub names: NameArgs,
    /// The history.
    #[command(flatten)]
    pub history: StoreArgs,
    /// What the agent keeps in the kernel while it does not run.
    #[command(flatten)]
    pub pins: PinArgs,
    /// How kills are captured.
    #[command(flatten)]
    pub kernel: KernelArgs,
    /// Where the kubelet has its pods.
    #[command(flatten)]
    pub kubelet: KubeletArgs,
}

/// The history database, from which the next agent resumes.
#[derive(Debug, Args)]
#[command(next_help_heading = "History")]
pub struct StoreArgs {
    /// Folder of the history, which `oomwatch history` reads
    #[arg(long, env = "OOMWATCH_STATE_DIR", value_name = "DIR", default_value = store::FOLDER)]
    pub state_dir: PathBuf,
    /// Largest size of the history in MiB; the oldest kills are removed first
    #[arg(
        long,
        env = "OOMWATCH_HISTORY_MAX_SIZE",
        value_name = "MIB",
        default_value_t = 64,
        value_parser = clap::value_parser!(u64).range(4..=65_536)
    )]
    pub history_max_size: u64,
    /// Remove kills from the history that are older
    #[arg(
        long,
        env = "OOMWATCH_HISTORY_MAX_AGE",
        value_name = "DURATION",
        default_value = "720h",
        value_parser = parse_duration
    )]
    pub history_max_age: Duration,
    /// The host's id: the history of another machine is not resumed
    #[arg(long, value_name = "FILE", default_value = "/etc/machine-id")]
    pub machine_id: PathBuf,
}

/// Which Kubernetes Events are recorded.
#[derive(Debug, Args)]
#[command(next_help_heading = "Kubernetes Events")]
pub struct EventArgs {
    /// Record system OOMs on the Node, as the kubelet does
    #[arg(long, env = "OOMWATCH_NODE_EVENTS", value_parser = one_of(SWITCH), default_value = "on", action = ArgAction::Set)]
    pub node_events: bool,
    /// Record OOM kills on the Pod that lost a process
    #[arg(long, env = "OOMWATCH_POD_EVENTS", value_parser = one_of(SWITCH), default_value = "on", action = ArgAction::Set)]
    pub pod_events: bool,
    /// Record none on pods of this namespace; may be repeated
    #[arg(
        long,
        env = "OOMWATCH_EVENTS_EXCLUDE_NAMESPACE",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub events_exclude_namespace: Vec<String>,
    /// Record no Event for a kill that is older
    #[arg(
        long,
        env = "OOMWATCH_EVENTS_MAX_AGE",
        value_name = "DURATION",
        default_value = "1h",
        value_parser = parse_duration
    )]
    pub events_max_age: Duration,
    /// Source component of the Events
    #[arg(
        long,
        env = "OOMWATCH_EVENTS_COMPONENT",
        value_name = "NAME",
        default_value = "oomwatch"
    )]
    pub events_component: String,
    /// What the Node's Events have as its UID; `name` is for kubectl before 1.21, whose describe shows no other
    #[arg(
        long,
        env = "OOMWATCH_EVENTS_NODE_UID",
        value_parser = one_of(NODE_UIDS),
        default_value = "real"
    )]
    pub events_node_uid: NodeUid,
    /// Longest random delay before the first request, so that a thousand nodes do not start at once
    #[arg(
        long,
        env = "OOMWATCH_START_JITTER",
        value_name = "DURATION",
        default_value = "30s",
        value_parser = parse_pause
    )]
    pub start_jitter: Duration,
}

/// Sources of pod and container names.
#[derive(Debug, Args)]
#[command(next_help_heading = "Names")]
pub struct NameArgs {
    /// Watch this node's pods at the API server
    #[arg(long, env = "OOMWATCH_POD_WATCH", value_parser = one_of(SWITCH), default_value = "on", action = ArgAction::Set)]
    pub pod_watch: bool,
    /// Which container runtimes are asked.
    #[command(flatten)]
    pub runtimes: RuntimeArgs,
    /// The host's /var/log, whose entries name pods and containers
    #[arg(long, value_name = "DIR", default_value = "/var/log")]
    pub log_root: PathBuf,
}

impl From<AgentArgs> for AgentConfig {
    fn from(args: AgentArgs) -> Self {
        let AgentArgs {
            kubernetes,
            node,
            listen,
            log_kills,
            cmdline,
            events,
            names,
            history,
            pins,
            kernel,
            kubelet,
        } = args;
        let NameArgs {
            pod_watch,
            runtimes,
            log_root,
        } = names;
        let RuntimeArgs {
            cri_socket,
            docker_socket,
            podman_socket,
        } = runtimes;
        Self {
            kubernetes,
            node,
            listen,
            log_kills,
            cmdline,
            events: events.into(),
            pod_watch,
            cri_socket,
            docker_socket,
            podman_socket,
            log_root,
            history: history.into(),
            bpffs: pins.bpffs,
            capture: kernel.into(),
            kubelet: kubelet.into(),
        }
    }
}

impl From<StoreArgs> for HistoryStoreConfig {
    fn from(args: StoreArgs) -> Self {
        let StoreArgs {
            state_dir,
            history_max_size,
            history_max_age,
            machine_id,
        } = args;
        Self {
            folder: state_dir,
            max_bytes: history_max_size << 20,
            max_age: history_max_age,
            machine_id,
        }
    }
}

impl From<EventArgs> for EventConfig {
    fn from(args: EventArgs) -> Self {
        let EventArgs {
            node_events,
            pod_events,
            events_exclude_namespace,
            events_max_age,
            events_component,
            events_node_uid,
            start_jitter,
        } = args;
        Self {
            node_events,
            pod_events,
            excluded_namespaces: events_exclude_namespace.into_iter().collect(),
            max_age: events_max_age,
            component: events_component,
            node_uid: events_node_uid,
            start_jitter,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::{
        cli::{Cli, Command},
        identify::sockets::SocketChoice,
    };

    /// Whether the agent of this command line and environment has pods, Node Events and Pod Events, and which CRI.
    fn sources(flags: &[&str], variable: Option<&str>) -> ([bool; 3], SocketChoice) {
        let words = ["oomwatch", "agent"].iter().chain(flags);
        let Ok(Command::Agent(args)) = Cli::try_parse_from(words).map(|cli| cli.command) else {
            panic!("{flags:?}");
        };
        let config = AgentConfig::from(*args).for_host(|name| variable == Some(name));
        let EventConfig {
            node_events,
            pod_events,
            ..
        } = config.events;
        (
            [config.pod_watch, node_events, pod_events],
            config.cri_socket,
        )
    }

    #[test]
    fn host_is_a_node_where_an_api_server_is_named() {
        let socket = SocketChoice::Path("/run/x.sock".into());
        let on = ([true; 3], SocketChoice::Auto);
        let off = ([false; 3], SocketChoice::Off);
        for (flags, variable, expected) in [
            (&[][..], None, &off),
            (&[], Some("HOME"), &off),
            (&[], Some("KUBECONFIG"), &on),
            (&[], Some("KUBERNETES_SERVICE_HOST"), &on),
            (&["--kubernetes", "on"], None, &on),
            (&["--kubernetes", "off"], Some("KUBECONFIG"), &off),
            (
                &["--kubernetes", "off", "--cri-socket", "/run/x.sock"],
                None,
                &([false; 3], socket),
            ),
        ] {
            assert_eq!(
                &sources(flags, variable),
                expected,
                "{flags:?} {variable:?}"
            );
        }
    }
}
