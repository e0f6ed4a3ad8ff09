//! The kubelet's part of a cgroup's path: all pods, the class, the pod, and the container in it.

use super::{ContainerRef, Driver, NAME_MAX, Part, PodRef, Qos, ascii, container};

/// A kubelet's tree, as far as a path follows it.
pub(super) struct Tree {
    pub(super) driver: Driver,
    /// Length of the path of the cgroup of all pods.
    pub(super) kubepods: Option<usize>,
    /// Length of the path of the class's cgroup; the guaranteed class has none.
    pub(super) qos: Option<usize>,
    /// With the length of its own cgroup's path, where it has one.
    pub(super) pod: Option<(PodRef, Option<usize>)>,
    /// With its index in the path.
    pub(super) container: Option<(ContainerRef, usize)>,
}

impl Tree {
    /// The tree that begins with the name `at`.
    ///
    /// The kubelet's names are `[root…, "kubepods", class?, "pod" + uid]`: with the cgroupfs driver one directory each;
    /// with systemd's each escaped and the whole joined, `a-b-c.slice` in `a-b.slice` in `a.slice`. What is not nested
    /// that way is no kubelet's (Kubernetes `pkg/kubelet/cm/cgroup_manager_linux.go`, `ToSystemd` and `ToCgroupfs`;
    /// `pkg/kubelet/cm/{node,pod,qos}_container_manager_linux.go` for the names).
    pub(super) fn at(parts: &[Part<'_>], at: usize) -> Option<Self> {
        let root = parts.get(at)?;
        if let Some(tree) = Self::from_unexpanded(root.name, at) {
            return Some(tree);
        }
        let driver = match root.name {
            b"kubepods" => Driver::Cgroupfs,
            b"kubepods.slice" => Driver::Systemd,
            name => {
                let above = parts.get(at.checked_sub(1)?)?;
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
        tree.descend(root, parts, at + 1);
        Some(tree)
    }

    /// Goes down from `root`; none as soon as the path leaves the layout.
    fn descend(&mut self, root: &Part<'_>, parts: &[Part<'_>], mut at: usize) -> Option<()> {
        let mut above = root;
        let mut name = child(self.driver, above.name, parts.get(at)?.name)?;
        let class = qos_class(name);
        if class.is_some() {
            above = parts.get(at)?;
            self.qos = Some(above.end);
            at += 1;
            name = child(self.driver, above.name, parts.get(at)?.name)?;
        }
        let pod = PodRef {
            uid: pod_uid(self.driver, name)?,
            qos: class.unwrap_or(Qos::Guaranteed),
        };
        self.pod = Some((pod, Some(parts.get(at)?.end)));
        // Only a container may follow: deeper names are not the kubelet's nor the runtime's.
        at += 1;
        let container = container::in_pod(parts.get(at)?.name)?;
        self.container = Some((container, at));
        Some(())
    }

    /// Pod and container in one name, `kubepods-burstable-pod<uid>.slice:cri-containerd:<id>`.
    ///
    /// So it looks where the kubelet uses systemd and runc does not: what containerd's `getCgroupsPath` writes is meant
    /// for systemd, and runc's cgroupfs manager takes it for a directory. The pod's own cgroup is then not among the
    /// container's ancestors.
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

/// The last of the kubelet's names in `name`, if `name` may stand below `above`.
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

/// The uid in `pod<uid>`: any string of letters, digits, `-` and `_`, for a static pod's manifest may set its own.
///
/// For systemd the kubelet writes `-` as `_`, and lets no name have a `_` of its own, so that it can be undone
/// (`NewCgroupName` and `unescapeSystemdCgroupName`).
fn pod_uid(driver: Driver, name: &[u8]) -> Option<String> {
    let uid = name.strip_prefix(b"pod")?;
    let plausible = !uid.is_empty()
        && name.len() <= NAME_MAX
        && uid.iter().all(|byte| match byte {
            b'-' => driver == Driver::Cgroupfs,
            b'_' => true,
            other => other.is_ascii_alphanumeric(),
        });
    plausible.then(|| match driver {
        Driver::Cgroupfs => ascii(uid),
        Driver::Systemd => ascii(uid).replace('_', "-"),
    })
}
