//! The configuration of `oomwatch agent`.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use tracing::info;

use crate::{
    capture::config::CaptureConfig, deliver::events::NodeUid, identify::sockets::SocketChoice,
    model::cgroup::KubeletRoot,
};

/// Variables that name an API server: the kubelet sets the second one in every pod.
const API_VARIABLES: [&str; 2] = ["KUBECONFIG", "KUBERNETES_SERVICE_HOST"];

/// Whether the agent is part of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KubernetesChoice {
    /// Where its environment names an API server.
    Auto,
    /// It is; a missing configuration is an error.
    On,
    /// It is not: no API server and no CRI, so no Events and no watch of pods.
    Off,
}

/// Configuration of `oomwatch agent`.
#[derive(Debug)]
pub struct AgentConfig {
    /// Whether the host is a node of a cluster.
    pub kubernetes: KubernetesChoice,
    /// Name of this node at the API server; absent for the host's name.
    pub node: Option<String>,
    /// Where metrics and health are served; absent for port 10137 of every address.
    pub listen: Option<SocketAddr>,
    /// Whether each kill is written to stdout as a line of JSON.
    pub log_kills: bool,
    /// Whether to read the victim's arguments.
    pub cmdline: bool,
    /// Which Events are recorded.
    pub events: EventConfig,
    /// Whether this node's pods are watched at the API server.
    pub pod_watch: bool,
    /// The CRI socket.
    pub cri_socket: SocketChoice,
    /// Docker's socket.
    pub docker_socket: SocketChoice,
    /// Podman's sockets.
    pub podman_socket: Vec<SocketChoice>,
    /// The host's `/var/log`.
    pub log_root: PathBuf,
    /// The history.
    pub history: HistoryStoreConfig,
    /// The BPF file system for pins.
    pub bpffs: PathBuf,
    /// How kills are captured.
    pub capture: CaptureConfig,
    /// Where this node's kubelet has its pods; absent to look for it.
    pub kubelet: Option<KubeletRoot>,
}

impl AgentConfig {
    /// Decides `auto`, and turns off what only a cluster has where this host is none's. `has` is whether a variable is set.
    #[must_use]
    pub fn for_host(mut self, has: impl Fn(&str) -> bool) -> Self {
        if self.kubernetes == KubernetesChoice::Auto {
            if let Some(name) = API_VARIABLES.into_iter().find(|name| has(name)) {
                info!("Kubernetes is on, since {name} is set");
            } else {
                info!(
                    "Kubernetes is off, since neither {} is set: no Events, no watch of pods, no CRI",
                    API_VARIABLES.join(" nor ")
                );
                self.kubernetes = KubernetesChoice::Off;
            }
        }
        if self.kubernetes == KubernetesChoice::Off {
            self.pod_watch = false;
            self.events.node_events = false;
            self.events.pod_events = false;
            if self.cri_socket == SocketChoice::Auto {
                self.cri_socket = SocketChoice::Off;
            }
        }
        self
    }
}

/// Which Kubernetes Events are recorded.
#[derive(Debug)]
pub struct EventConfig {
    /// Whether system OOMs are recorded on the Node.
    pub node_events: bool,
    /// Whether kills are recorded on their pods.
    pub pod_events: bool,
    /// Namespaces whose pods get no Events.
    pub excluded_namespaces: BTreeSet<String>,
    /// Kills that are older have no Event.
    pub max_age: Duration,
    /// `source.component` of the Events.
    pub component: String,
    /// What stands for the Node's UID.
    pub node_uid: NodeUid,
    /// Longest random delay before the first request.
    pub start_jitter: Duration,
}

/// Where the history is kept, and how much of it.
#[derive(Debug)]
pub struct HistoryStoreConfig {
    /// Its folder.
    pub folder: PathBuf,
    /// Its largest size.
    pub max_bytes: u64,
    /// Older kills are removed.
    pub max_age: Duration,
    /// File with the host's id.
    pub machine_id: PathBuf,
}
