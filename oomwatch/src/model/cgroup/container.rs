//! The container in a cgroup path: identified by one name, or by one name and its parent's.

use super::{
    owner::{ContainerRef, Driver, Runtime},
    segment::{Segment, ascii},
    unit,
};

/// The prefix of the scopes that a runtime asks systemd for.
///
/// containerd `internal/cri`, `getCgroupsPath`; nerdctl `pkg/cmd/container/run_cgroup_linux.go`; CRI-O
/// `internal/config/cgmgr/systemd_linux.go`; Docker `daemon/oci_linux.go`, `WithCgroups`; Podman `getOCICgroupPath`;
/// runc `libcontainer/cgroups/systemd/common.go`, `getUnitName`, for the scope's name. The scopes of the
/// monitors, `crio-conmon-` and `libpod-conmon-`, are not containers.
const SCOPE_PREFIXES: [(&[u8], Runtime); 5] = [
    (b"cri-containerd", Runtime::Containerd),
    (b"nerdctl", Runtime::Containerd),
    (b"crio", Runtime::CriO),
    (b"docker", Runtime::Docker),
    (b"libpod", Runtime::Podman),
];

/// The prefix of the directories that a runtime creates itself; other runtimes use none.
///
/// CRI-O `internal/config/cgmgr/cgroupfs_linux.go`; Podman `getOCICgroupPath`, where `libpod-payload` is inside the
/// unit that runs `podman run --cgroups=split`, as Quadlet's do.
const DIRECTORY_PREFIXES: [(&[u8], Runtime); 3] = [
    (b"crio", Runtime::CriO),
    (b"libpod", Runtime::Podman),
    (b"libpod-payload", Runtime::Podman),
];

/// The containerd namespaces whose `/<namespace>/<id>` is taken as a container.
///
/// containerd uses that path if its client asks for none, as `ctr` and nerdctl without systemd do (containerd
/// `pkg/oci/spec.go`). Anyone may create a cgroup with such a path, so this is a heuristic: only the two usual
/// namespaces, and only at the top of the hierarchy, are accepted.
const CONTAINERD_NAMESPACES: [&[u8]; 2] = [b"default", b"k8s.io"];

/// A container outside a pod, identified by the name at index `at` and its parent's.
pub(super) fn plain(segments: &[Segment<'_>], at: usize) -> Option<(ContainerRef, Driver)> {
    let name = segments.get(at)?.name;
    if let Some(container) = scope(name) {
        return Some((container, Driver::Systemd));
    }
    let container = directory(name).or_else(|| {
        let above = segments.get(at.checked_sub(1)?)?.name;
        // Docker's default parent with the cgroupfs driver (`WithCgroups`); the id is its child.
        if above == b"docker" && is_container_id(name) {
            return Some(container_ref(Some(Runtime::Docker), name));
        }
        (at == 1 && CONTAINERD_NAMESPACES.contains(&above) && is_containerd_id(name))
            .then(|| container_ref(Some(Runtime::Containerd), name))
    })?;
    Some((container, Driver::Cgroupfs))
}

/// A container in a pod's cgroup: there a bare id is a container too, of an unknown runtime.
pub(super) fn in_pod(name: &[u8]) -> Option<ContainerRef> {
    scope(name)
        .or_else(|| directory(name))
        .or_else(|| is_container_id(name).then(|| container_ref(None, name)))
}

/// `<prefix>-<id>.scope`, created by systemd.
fn scope(name: &[u8]) -> Option<ContainerRef> {
    prefixed(name.strip_suffix(b".scope")?, &SCOPE_PREFIXES)
}

/// `<prefix>-<id>`, or a literal `slice:prefix:id`: created with mkdir.
fn directory(name: &[u8]) -> Option<ContainerRef> {
    prefixed(name, &DIRECTORY_PREFIXES).or_else(|| Some(unexpanded(name)?.1))
}

fn prefixed(name: &[u8], prefixes: &[(&[u8], Runtime)]) -> Option<ContainerRef> {
    let (prefix, id) = name.split_at_checked(name.len().checked_sub(ID_LEN)?)?;
    named(prefix.strip_suffix(b"-")?, id, prefixes)
}

/// Slice and container in `slice:prefix:id`, a runtime's request to systemd that was used as a directory name.
pub(super) fn unexpanded(name: &[u8]) -> Option<(&[u8], ContainerRef)> {
    let mut fields = name.split(|byte| *byte == b':');
    let (slice, prefix, id) = (fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() || !unit::is_slice(slice) {
        return None;
    }
    Some((slice, named(prefix, id, &SCOPE_PREFIXES)?))
}

fn named(prefix: &[u8], id: &[u8], prefixes: &[(&[u8], Runtime)]) -> Option<ContainerRef> {
    let (_, runtime) = prefixes.iter().find(|(known, _)| *known == prefix)?;
    is_container_id(id).then(|| container_ref(Some(*runtime), id))
}

fn container_ref(runtime: Option<Runtime>, id: &[u8]) -> ContainerRef {
    let id = ascii(id);
    ContainerRef { runtime, id }
}

/// Digits of a container id: each runtime above generates 32 random bytes, and writes all of them in a path.
const ID_LEN: usize = 64;

fn is_container_id(id: &[u8]) -> bool {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    id.len() == ID_LEN && id.iter().all(is_digit)
}

/// Longest id that containerd accepts from a client, in bytes (containerd `pkg/identifiers/validate.go`).
const CONTAINERD_ID_MAX: usize = 76;

/// Letters and digits with single `.`, `_` or `-` between them, as the same file requires.
fn is_containerd_id(id: &[u8]) -> bool {
    let mut words = id.split(|byte| matches!(byte, b'.' | b'_' | b'-'));
    id.len() <= CONTAINERD_ID_MAX
        && words.all(|word| !word.is_empty() && word.iter().all(u8::is_ascii_alphanumeric))
}
