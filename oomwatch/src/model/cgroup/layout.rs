//! One pass over a cgroup path, from the root down: its owner, and where each level above it ends.

use super::{
    container,
    kubelet::{KubeletRoot, Tree},
    owner::CgroupOwner,
    segment::{Segment, split},
    unit::{self, Zone},
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
    /// A systemd unit, or a user's manager; not a container's scope.
    Unit,
    /// A systemd slice.
    Slice,
    /// Anything else: plain cgroups, those below a unit, and what is beside the containers in a pod, such as conmon.
    Other,
}

impl CgroupOwner {
    /// Parses `path`; everything is absent for bytes that are not a path.
    #[must_use]
    pub fn from_path(path: &[u8], kubelet: &KubeletRoot) -> Self {
        Layout::read(path, kubelet).owner
    }
}

/// The level of the cgroup at exactly `path`.
///
/// A kind node is a container too: an ancestor with [`Level::Container`] is the victim's container only if it is also
/// the victim's [`container_prefix`].
#[must_use]
pub fn level(path: &[u8], kubelet: &KubeletRoot) -> Level {
    if path == b"/" {
        return Level::Root;
    }
    let layout = Layout::read(path, kubelet);
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
        layout.unit_level.unwrap_or(Level::Other)
    }
}

/// The path of the container's own cgroup, which `path` is or is below.
#[must_use]
pub fn container_prefix<'a>(path: &'a [u8], kubelet: &KubeletRoot) -> Option<&'a [u8]> {
    path.get(..Layout::read(path, kubelet).container?)
}

/// The path of the pod's own cgroup, which `path` is or is below; absent where the pod has none in this path.
#[must_use]
pub fn pod_prefix<'a>(path: &'a [u8], kubelet: &KubeletRoot) -> Option<&'a [u8]> {
    path.get(..Layout::read(path, kubelet).pod?)
}

/// The owner, and the length of the path of each level above it, in bytes.
#[derive(Default)]
struct Layout {
    owner: CgroupOwner,
    kubepods: Option<usize>,
    qos: Option<usize>,
    pod: Option<usize>,
    container: Option<usize>,
    /// The path's own level in systemd's tree.
    unit_level: Option<Level>,
}

impl Layout {
    fn read(path: &[u8], kubelet: &KubeletRoot) -> Self {
        let segments = split(path);
        let mut layout = Self::default();
        // The host chose the names before this index; a container may have chosen those from it on.
        let mut host_end = segments.len();
        let mut zone = Zone::default();
        for (at, segment) in segments.iter().enumerate() {
            if let Some(tree) = Tree::at(&segments, at)
                && kubelet.has(
                    &tree,
                    path,
                    &segments,
                    at,
                    &zone,
                    layout.container.is_some(),
                )
            {
                host_end = host_end.min(tree.container.as_ref().map_or(host_end, |(_, at)| *at));
                layout.enter(tree, &segments);
                break;
            }
            if layout.owner.container.is_none()
                && let Some(plain) = container::plain(&segments, at, &zone)
            {
                let mut container = plain.container;
                container.user = zone.user;
                layout.owner.container = Some(container);
                layout.owner.driver = Some(plain.driver);
                layout.container = Some(segment.end);
                host_end = if plain.is_service { at + 1 } else { at };
            }
            if segment.end == path.len() {
                layout.unit_level = match segment.name {
                    _ if !zone.is_systemds() => None,
                    name if unit::is_slice(name) => Some(Level::Slice),
                    name => unit::is_other_unit(name).then_some(Level::Unit),
                };
            }
            zone.enter(at, segment.name);
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
