//! The host that reports name.

use crate::{
    capture::config::CaptureConfig,
    identify::kubelet_root,
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
