//! The host that reports name.

use std::path::PathBuf;

use crate::{
    capture::config::CaptureConfig,
    identify::{kubelet_root, resolver::NameSources, runtimes::RuntimeConfig},
    model::{
        cgroup::KubeletRoot,
        report::{Host, NodeKubelet},
    },
    sys::proc::{self, HostError},
};

/// This boot of this host. `node` replaces the host's name, unless it is empty; without `kubelet`, its cgroups are looked for.
pub(super) fn read_host(
    capture: &CaptureConfig,
    node: Option<String>,
    kubelet: Option<KubeletRoot>,
) -> Result<Host, HostError> {
    Ok(Host {
        node: node
            .filter(|name| !name.is_empty())
            .unwrap_or_else(proc::hostname),
        boot_id: proc::boot_id(&capture.proc_root)?,
        kubelet: match kubelet {
            Some(root) => NodeKubelet {
                root,
                namespace: None,
            },
            None => kubelet_root::find(&capture.cgroup_root),
        },
    })
}

/// Where the host's names come from.
pub(super) fn name_sources(
    runtimes: RuntimeConfig,
    log_root: PathBuf,
    capture: &CaptureConfig,
    host: &Host,
) -> NameSources {
    NameSources {
        runtimes,
        log_root,
        cgroup_root: capture.cgroup_root.clone(),
        kubelet: host.kubelet.root.clone(),
    }
}
