//! Flags of `oomwatch watch`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{
    shared::{FilterArgs, KernelArgs, KubeletArgs, OutputArgs, RuntimeArgs},
    values::parse_duration,
};
use crate::commands::watch::WatchConfig;

/// `oomwatch watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// How kills are printed.
    #[command(flatten)]
    pub output: OutputArgs,
    /// End after this many kills were shown
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End after this long, such as 30s, 5m or 1h30m
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// Add the victim's arguments to the JSON, where they can still be read; they may contain secrets
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
    /// How kills are captured.
    #[command(flatten)]
    pub kernel: KernelArgs,
    /// Where the kubelet has its pods.
    #[command(flatten)]
    pub kubelet: KubeletArgs,
    /// Load this BPF object, made by `cargo xtask ebpf --bpf-log`, and log what its programs print
    #[cfg(feature = "bpf-log")]
    #[arg(long, value_name = "FILE", hide = true)]
    pub bpf_log: Option<PathBuf>,
}

impl From<WatchArgs> for WatchConfig {
    fn from(args: WatchArgs) -> Self {
        let WatchArgs {
            output,
            count,
            timeout,
            cmdline,
            node,
            log_root,
            runtimes,
            filter,
            kernel,
            kubelet,
            #[cfg(feature = "bpf-log")]
            bpf_log,
        } = args;
        let RuntimeArgs {
            cri_socket,
            docker_socket,
            podman_socket,
        } = runtimes;
        Self {
            output: output.into(),
            count,
            timeout,
            cmdline,
            node,
            log_root,
            cri_socket,
            docker_socket,
            podman_socket,
            filter: filter.into(),
            capture: kernel.into(),
            kubelet: kubelet.into(),
            #[cfg(feature = "bpf-log")]
            bpf_log,
        }
    }
}
