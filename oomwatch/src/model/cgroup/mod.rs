//! A memory cgroup's path to what it says of its owner: container, pod, systemd unit, and which level of the tree it is.
//!
//! Pure and total: any bytes are answered, in one pass, and what is not recognised is absent. The path is the kernel's
//! own: absolute, `/` between names, nothing escaped. Names are compared as they stand: `..`, `.` and empty ones are
//! names like any other, and nothing is resolved. ` (deleted)`, which `/proc/<pid>/cgroup` appends, is its reader's to
//! take off.
//!
//! What a path cannot tell, and so is not told: names, a pod's namespace, whether a container is the pod's sandbox
//! (pause), which has a cgroup of exactly a container's shape, and which runtime made a bare 64-digit id.
//!
//! **Who is believed.** A process may be allowed to make cgroups below its own, and gives them any name. So the path is
//! read from the root down, and below a container nothing counts, with one exception:
//! - below a container *of a pod*, nothing changes pod, container or unit;
//! - below a *plain* container (Docker, Podman, `ctr`), the exact layout of a kubelet wins as soon as it names a pod,
//!   for that is a kind, k3d or minikube node. A plain container that has been given its cgroup to write can forge it,
//!   so [`CgroupOwner::node`] says in whose tree the pod stands: believe it only if that is your own node. Container
//!   layouts inside a plain container (Docker in Docker) are the outer container's;
//! - outside containers a kubelet's tree may begin anywhere (`--cgroup-root`), also below a delegated unit, as a
//!   rootless kubelet's does: then [`CgroupOwner::unit`] names that unit.

mod container;
mod kubelet;
#[cfg(test)]
mod tests;
mod unit;

use serde::{Deserialize, Serialize};

use self::kubelet::Tree;

/// What a cgroup's path says of its owner; what it does not say is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupOwner {
    /// The container that the cgroup is, or is below of; it may be a pod's sandbox.
    pub container: Option<ContainerRef>,
    /// The pod that the cgroup is, or is below of.
    pub pod: Option<PodRef>,
    /// The plain container that is the pod's node (kind, k3d, minikube); absent where the node is the host.
    pub node: Option<ContainerRef>,
    /// The host's systemd unit that holds the cgroup, never the container's own scope nor one from inside a container.
    pub unit: Option<String>,
    /// How the pod's cgroup was made, or a plain container's; absent where there is neither.
    pub driver: Option<Driver>,
}

/// A container as its cgroup names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerRef {
    /// Who made it; absent where the path has the bare id, as the cgroupfs driver leaves it.
    pub runtime: Option<Runtime>,
    /// The id in full: 64 lower-case hexadecimal digits, save `ctr`'s, which is whatever its user chose.
    pub id: String,
}

/// A pod as its cgroup names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodRef {
    /// The API's `metadata.uid`; for a static pod the hash of its manifest, 32 hexadecimal digits without dashes.
    pub uid: String,
    /// The class under whose cgroup the kubelet put it.
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
}

impl Runtime {
    /// The word for it in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

/// A pod's quality of service class (Kubernetes `pkg/apis/core/v1/helper/qos`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Qos {
    /// Directly below `kubepods`: this class has no cgroup of its own.
    Guaranteed,
    /// Below `burstable`.
    Burstable,
    /// Below `besteffort`.
    BestEffort,
}

/// Who makes the cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// systemd, asked for slices and scopes.
    Systemd,
    /// The kubelet or runtime itself, by mkdir.
    Cgroupfs,
}

/// What the cgroup at exactly a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// The root of the hierarchy.
    Root,
    /// All pods of a node: its allocatable memory is the limit.
    Kubepods,
    /// All burstable or all best-effort pods of a node.
    Qos,
    /// A pod.
    Pod,
    /// A container, or a pod's sandbox.
    Container,
    /// Made below a container's own cgroup, by the runtime (`container` of crun) or by what runs in it.
    BelowContainer,
    /// Anything else: units, slices, plain cgroups, and what stands beside the containers in a pod, as conmon does.
    Other,
}

impl CgroupOwner {
    /// What `path` says of its owner; all absent for bytes that are no path.
    #[must_use]
    pub fn from_path(path: &[u8]) -> Self {
        Layout::read(path).owner
    }
}

/// What the cgroup at exactly `path` is, by its own path alone.
///
/// A kind node is a container too: that an ancestor is [`Level::Container`] makes it the victim's container only if it
/// is also the victim's [`container_prefix`].
#[must_use]
pub fn level(path: &[u8]) -> Level {
    if path == b"/" {
        return Level::Root;
    }
    let layout = Layout::read(path);
    let here = Some(path.len());
    if layout.kubepods == here {
        Level::Kubepods
    } else if layout.qos == here {
        Level::Qos
    } else if layout.pod == here {
        Level::Pod
    } else if layout.container == here {
        Level::Container
    } else if layout.container.is_some() {
        Level::BelowContainer
    } else {
        Level::Other
    }
}

/// The path of the container's own cgroup, of which `path` is it or below it.
#[must_use]
pub fn container_prefix(path: &[u8]) -> Option<&[u8]> {
    path.get(..Layout::read(path).container?)
}

/// The path of the pod's own cgroup, of which `path` is it or below it; absent where the pod has none in this path.
#[must_use]
pub fn pod_prefix(path: &[u8]) -> Option<&[u8]> {
    path.get(..Layout::read(path).pod?)
}

/// The owner, and how long the path of each level above it is, in bytes.
#[derive(Default)]
struct Layout {
    owner: CgroupOwner,
    kubepods: Option<usize>,
    qos: Option<usize>,
    pod: Option<usize>,
    container: Option<usize>,
}

impl Layout {
    fn read(path: &[u8]) -> Self {
        let parts = split(path);
        let mut layout = Self::default();
        // Up to here the names are the host's; from here on a container could have chosen them.
        let mut host = parts.len();
        for (at, part) in parts.iter().enumerate() {
            if let Some(tree) = Tree::at(&parts, at) {
                host = host.min(tree.container.as_ref().map_or(host, |(_, at)| *at));
                layout.enter(tree, &parts);
                break;
            }
            if layout.owner.container.is_none()
                && let Some((container, driver)) = container::plain(&parts, at)
            {
                layout.owner.container = Some(container);
                layout.owner.driver = Some(driver);
                layout.container = Some(part.end);
                host = at;
            }
        }
        layout.owner.unit = parts.get(..host).and_then(unit::holding);
        layout
    }

    fn enter(&mut self, tree: Tree, parts: &[Part<'_>]) {
        let Tree {
            driver,
            kubepods,
            qos,
            pod,
            container,
        } = tree;
        self.kubepods = kubepods;
        self.qos = qos;
        let Some((pod, end)) = pod else {
            self.owner.driver = self.owner.driver.or(Some(driver));
            return;
        };
        self.owner.node = self.owner.container.take();
        self.owner.pod = Some(pod);
        self.owner.driver = Some(driver);
        self.pod = end;
        self.container = None;
        if let Some((container, at)) = container {
            self.container = parts.get(at).map(|part| part.end);
            self.owner.container = Some(container);
        }
    }
}

/// One name of a path.
struct Part<'a> {
    name: &'a [u8],
    /// Length of the path up to the end of this name.
    end: usize,
}

fn split(path: &[u8]) -> Vec<Part<'_>> {
    let Some(names) = path.strip_prefix(b"/") else {
        return Vec::new();
    };
    let mut end = 0;
    names
        .split(|byte| *byte == b'/')
        .map(|name| {
            end += 1 + name.len();
            Part { name, end }
        })
        .collect()
}

/// Longest name that a cgroup can have, in bytes (kernel `include/uapi/linux/limits.h`).
const NAME_MAX: usize = 255;

/// Bytes that were found to be ASCII, as text.
fn ascii(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
