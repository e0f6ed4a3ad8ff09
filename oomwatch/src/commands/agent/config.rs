//! The configuration of `oomwatch agent`.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use crate::{
    capture::config::CaptureConfig, deliver::events::NodeUid, identify::sockets::SocketChoice,
    model::cgroup::KubeletRoot,
};

/// Configuration of `oomwatch agent`.
#[derive(Debug)]
pub struct AgentConfig {
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
