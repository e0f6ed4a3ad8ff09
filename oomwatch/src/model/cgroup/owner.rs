//! The owner of a memory cgroup: container, pod, systemd unit, and who created the cgroup.

use serde::{Deserialize, Serialize};

/// The owner of a cgroup, as far as its path identifies it; the rest is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupOwner {
    /// The container whose cgroup this is or is below; it may be a pod's sandbox.
    pub container: Option<ContainerRef>,
    /// The pod whose cgroup this is or is below.
    pub pod: Option<PodRef>,
    /// The plain container that is the pod's node (kind, k3d, minikube); absent where the node is the host.
    pub node: Option<ContainerRef>,
    /// The host's systemd unit that contains the cgroup; never the container's own scope, nor a unit inside a container.
    pub unit: Option<String>,
    /// What created the pod's or the plain container's cgroup; absent where there is neither.
    pub driver: Option<Driver>,
}

/// A container as its cgroup path identifies it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerRef {
    /// The runtime that created it; absent where the path has the bare id, as with the cgroupfs driver.
    pub runtime: Option<Runtime>,
    /// The full id: 64 lower-case hexadecimal digits; or the name or number that a user of `ctr`, LXC, Slurm, `BuildKit`,
    /// Fargate or systemd's machines knows it by.
    pub id: String,
    /// The user in whose slice it is, who may have created a cgroup of any name there; absent for root's.
    pub user: Option<u32>,
}

/// A pod as its cgroup path identifies it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodRef {
    /// The API's `metadata.uid`; for a static pod the hash of its manifest, 32 hexadecimal digits without dashes.
    pub uid: String,
    /// The QoS class whose cgroup contains the pod's.
    pub qos: Qos,
}

/// A container runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Runtime {
    /// containerd: through CRI, nerdctl or `ctr`.
    #[serde(rename = "containerd")]
    Containerd,
    /// CRI-O.
    #[serde(rename = "cri-o")]
    CriO,
    /// Docker, also through dockershim and cri-dockerd.
    #[serde(rename = "docker")]
    Docker,
    /// Podman.
    #[serde(rename = "podman")]
    Podman,
    /// `BuildKit`, also in Docker: a step of a build.
    #[serde(rename = "buildkit")]
    BuildKit,
    /// LXC, also through LXD, Incus and Proxmox.
    #[serde(rename = "lxc")]
    Lxc,
    /// systemd-nspawn.
    #[serde(rename = "systemd-nspawn")]
    Nspawn,
    /// Another machine that is registered with systemd-machined, such as one of libvirt.
    #[serde(rename = "systemd-machined")]
    Machined,
    /// Slurm: a job.
    #[serde(rename = "slurm")]
    Slurm,
}

impl Runtime {
    /// The runtime's name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::BuildKit => "buildkit",
            Self::Lxc => "lxc",
            Self::Nspawn => "systemd-nspawn",
            Self::Machined => "systemd-machined",
            Self::Slurm => "slurm",
        }
    }
}

/// A pod's quality of service class (Kubernetes `pkg/apis/core/v1/helper/qos`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Qos {
    /// Directly below `kubepods`; this class has no cgroup of its own.
    Guaranteed,
    /// Below `burstable`.
    Burstable,
    /// Below `besteffort`.
    BestEffort,
}

/// What creates the cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// systemd, which the kubelet or runtime asks for slices and scopes.
    Systemd,
    /// The kubelet or runtime itself, with mkdir.
    Cgroupfs,
}
