//! The kubelet's tree in a cgroup path: all pods, QoS class, pod, container.

use super::{
    container,
    owner::{ContainerRef, Driver, PodRef, Qos},
    segment::{NAME_MAX, Segment, ascii},
    unit::{Place, Zone},
};

/// Where a kubelet's tree is believed. Anyone who may create cgroups below his own can give them a kubelet's names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KubeletRoot {
    /// The root is not known: a tree is believed where only root can have created it, below slices of the system and plain
    /// directories. Below a container, a unit or a user's slice it is not.
    #[default]
    Unknown,
    /// In the cgroup with this path alone, as the kubelet's own `--cgroup-root`; empty for the top.
    At(Vec<u8>),
    /// Anywhere: for the path of a victim whose pod was believed before.
    Believed,
}

impl KubeletRoot {
    /// The root at `path`, which may also be the path of the cgroup of all pods in it.
    #[must_use]
    pub fn at(path: &[u8]) -> Self {
        let is_slash = |byte: &u8| *byte == b'/';
        let end = path.iter().rposition(|byte| !is_slash(byte));
        let mut root = path.get(..end.map_or(0, |end| end + 1)).unwrap_or_default();
        if let Some(slash) = root.iter().rposition(is_slash)
            && let Some((above, name)) = root.split_at_checked(slash)
            && (name == b"/kubepods" || name.ends_with(b"kubepods.slice"))
        {
            root = above;
        }
        Self::At(root.to_vec())
    }

    /// Whether to believe `tree`, which begins at index `at` of a path and in `zone`, perhaps in a plain container.
    pub(super) fn has(
        &self,
        tree: &Tree,
        path: &[u8],
        segments: &[Segment<'_>],
        at: usize,
        zone: &Zone,
        is_in_container: bool,
    ) -> bool {
        let is_unexpanded = tree.kubepods.is_none();
        match self {
            Self::Believed => true,
            Self::At(root) if !is_unexpanded => {
                let above = at.checked_sub(1).and_then(|at| segments.get(at));
                let mut above = path.get(..above.map_or(0, |above| above.end));
                // A path seen from another cgroup namespace.
                while let Some(rest) = above.and_then(|above| above.strip_prefix(b"/..")) {
                    above = Some(rest);
                }
                above == Some(root)
            }
            Self::At(_) | Self::Unknown => {
                let is_in_unit = match zone.place {
                    // A runtime's service, as runc makes it there.
                    Place::Unit {
                        at: unit,
                        is_runtime,
                    } => !(is_unexpanded && is_runtime && unit + 1 == at),
                    Place::UserManager => true,
                    Place::Slices | Place::Directories => false,
                };
                !is_in_container && !zone.is_users && !is_in_unit
            }
        }
    }
}

/// A kubelet's tree, as far as a path descends into it.
pub(super) struct Tree {
    pub(super) driver: Driver,
    /// Length of the path of the cgroup of all pods.
    pub(super) kubepods: Option<usize>,
    /// Length of the path of the QoS class's cgroup; the guaranteed class has none.
    pub(super) qos: Option<usize>,
    /// The pod, and the length of its own cgroup's path where it has one.
    pub(super) pod: Option<(PodRef, Option<usize>)>,
    /// The container, and its index in the path.
    pub(super) container: Option<(ContainerRef, usize)>,
}

impl Tree {
    /// The tree whose first name is at index `at`.
    ///
    /// The kubelet's names are `[root…, "kubepods", class?, "pod" + uid]`: with the cgroupfs driver one directory each;
    /// with systemd's each escaped and the whole joined, `a-b-c.slice` in `a-b.slice` in `a.slice`. Anything that
    /// is not nested that way is not a kubelet's tree (Kubernetes `pkg/kubelet/cm/cgroup_manager_linux.go`, `ToSystemd` and `ToCgroupfs`;
    /// `pkg/kubelet/cm/{node,pod,qos}_container_manager_linux.go` for the names).
    pub(super) fn at(segments: &[Segment<'_>], at: usize) -> Option<Self> {
        let root = segments.get(at)?;
        if let Some(tree) = Self::from_unexpanded(root.name, at) {
            return Some(tree);
        }
        let driver = match root.name {
            b"kubepods" => Driver::Cgroupfs,
            b"kubepods.slice" => Driver::Systemd,
            name => {
                let above = segments.get(at.checked_sub(1)?)?;
                if child(Driver::Systemd, above.name, name)? != b"kubepods" {
                    return None;
                }
                Driver::Systemd
            }
        };
        let mut tree = Self {
            driver,
            kubepods: Some(root.end),
            qos: None,
            pod: None,
            container: None,
        };
        tree.descend(root, segments, at + 1);
        Some(tree)
    }

    /// Reads the levels below `root`; stops with `None` where the path leaves the layout.
    fn descend(
        &mut self,
        root: &Segment<'_>,
        segments: &[Segment<'_>],
        mut at: usize,
    ) -> Option<()> {
        let mut above = root;
        let mut name = child(self.driver, above.name, segments.get(at)?.name)?;
        let class = qos_class(name);
        if class.is_some() {
            above = segments.get(at)?;
            self.qos = Some(above.end);
            at += 1;
            name = child(self.driver, above.name, segments.get(at)?.name)?;
        }
        let pod = PodRef {
            uid: pod_uid(self.driver, name)?,
            qos: class.unwrap_or(Qos::Guaranteed),
        };
        self.pod = Some((pod, Some(segments.get(at)?.end)));
        // Only a container may follow: neither kubelet nor runtime chooses deeper names.
        at += 1;
        let container = container::in_pod(segments.get(at)?.name)?;
        self.container = Some((container, at));
        Some(())
    }

    /// Pod and container in one name, `kubepods-burstable-pod<uid>.slice:cri-containerd:<id>`.
    ///
    /// This happens where the kubelet uses the systemd driver and runc does not: runc's cgroupfs manager takes what
    /// containerd's `getCgroupsPath` wrote for systemd as a directory name. The pod's own cgroup is then not an ancestor of
    /// the container's.
    fn from_unexpanded(name: &[u8], at: usize) -> Option<Self> {
        let (slice, container) = container::unexpanded(name)?;
        let mut steps = slice.strip_suffix(b".slice")?.rsplit(|byte| *byte == b'-');
        let uid = pod_uid(Driver::Systemd, steps.next()?)?;
        let parent = steps.next()?;
        let class = qos_class(parent);
        let kubepods = if class.is_some() {
            steps.next()?
        } else {
            parent
        };
        let qos = class.unwrap_or(Qos::Guaranteed);
        (kubepods == b"kubepods").then_some(Self {
            driver: Driver::Systemd,
            kubepods: None,
            qos: None,
            pod: Some((PodRef { uid, qos }, None)),
            container: Some((container, at)),
        })
    }
}

/// The kubelet's name for this level in `name`, if `name` is a valid child of `above`.
fn child<'a>(driver: Driver, above: &[u8], name: &'a [u8]) -> Option<&'a [u8]> {
    match driver {
        Driver::Cgroupfs => Some(name),
        Driver::Systemd => name
            .strip_prefix(above.strip_suffix(b".slice")?)?
            .strip_prefix(b"-")?
            .strip_suffix(b".slice"),
    }
}

fn qos_class(name: &[u8]) -> Option<Qos> {
    match name {
        b"burstable" => Some(Qos::Burstable),
        b"besteffort" => Some(Qos::BestEffort),
        _ => None,
    }
}

/// The UID in `pod<uid>`: any string of letters, digits, `-` and `_`, since the manifest of a static pod may set it.
///
/// With the systemd driver the kubelet writes `-` as `_`, and rejects names that contain `_`, so the replacement is
/// reversible (`NewCgroupName` and `unescapeSystemdCgroupName`).
fn pod_uid(driver: Driver, name: &[u8]) -> Option<String> {
    let uid = name.strip_prefix(b"pod")?;
    let is_valid = !uid.is_empty()
        && name.len() <= NAME_MAX
        && uid.iter().all(|byte| match byte {
            b'-' => driver == Driver::Cgroupfs,
            b'_' => true,
            other => other.is_ascii_alphanumeric(),
        });
    is_valid.then(|| match driver {
        Driver::Cgroupfs => ascii(uid),
        Driver::Systemd => ascii(uid).replace('_', "-"),
    })
}
