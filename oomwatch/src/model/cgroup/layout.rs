//! One pass over a cgroup path, from the root down: its owner, and where each level above it ends.

use super::{
    container,
    kubelet::Tree,
    owner::CgroupOwner,
    segment::{Segment, split},
    unit,
};

/// The level of the tree at which a cgroup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// The root of the hierarchy.
    Root,
    /// All pods of a node; its limit is the node's allocatable memory.
    Kubepods,
    /// All burstable or all best-effort pods of a node.
    Qos,
    /// A pod.
    Pod,
    /// A container, or a pod's sandbox.
    Container,
    /// Below a container's own cgroup, created by the runtime (`container` of crun) or by a process in the container.
    BelowContainer,
    /// Anything else: units, slices, plain cgroups, and what is beside the containers in a pod, such as conmon.
    Other,
}

impl CgroupOwner {
    /// Parses `path`; everything is absent for bytes that are not a path.
    #[must_use]
    pub fn from_path(path: &[u8]) -> Self {
        Layout::read(path).owner
    }
}

/// The level of the cgroup at exactly `path`.
///
/// A kind node is a container too: an ancestor with [`Level::Container`] is the victim's container only if it is also
/// the victim's [`container_prefix`].
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

/// The path of the container's own cgroup, which `path` is or is below.
#[must_use]
pub fn container_prefix(path: &[u8]) -> Option<&[u8]> {
    path.get(..Layout::read(path).container?)
}

/// The path of the pod's own cgroup, which `path` is or is below; absent where the pod has none in this path.
#[must_use]
pub fn pod_prefix(path: &[u8]) -> Option<&[u8]> {
    path.get(..Layout::read(path).pod?)
}

/// The owner, and the length of the path of each level above it, in bytes.
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
        let segments = split(path);
        let mut layout = Self::default();
        // The host chose the names before this index; a container may have chosen those from it on.
        let mut host_end = segments.len();
        for (at, segment) in segments.iter().enumerate() {
            if let Some(tree) = Tree::at(&segments, at) {
                host_end = host_end.min(tree.container.as_ref().map_or(host_end, |(_, at)| *at));
                layout.enter(tree, &segments);
                break;
            }
            if layout.owner.container.is_none()
                && let Some((container, driver)) = container::plain(&segments, at)
            {
                layout.owner.container = Some(container);
                layout.owner.driver = Some(driver);
                layout.container = Some(segment.end);
                host_end = at;
            }
        }
        layout.owner.unit = segments.get(..host_end).and_then(unit::containing);
        layout
    }

    /// Takes the pod and the container of a kubelet's tree; a plain container found above it is the pod's node.
    fn enter(&mut self, tree: Tree, segments: &[Segment<'_>]) {
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
            self.container = segments.get(at).map(|segment| segment.end);
            self.owner.container = Some(container);
        }
    }
}
