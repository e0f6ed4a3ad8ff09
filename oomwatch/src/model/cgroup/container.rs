//! The runtime's part of a cgroup's path: one name, and at times the one above it, to a container.

use super::{ContainerRef, Driver, Part, Runtime, ascii, unit};

/// The prefix that a runtime gives to the scopes that it asks of systemd.
///
/// containerd `internal/cri`, `getCgroupsPath`; nerdctl `pkg/cmd/container/run_cgroup_linux.go`; CRI-O
/// `internal/config/cgmgr/systemd_linux.go`; Docker `daemon/oci_linux.go`, `WithCgroups`; Podman `getOCICgroupPath`;
/// runc `libcontainer/cgroups/systemd/common.go`, `getUnitName`, for the scope's name. The monitors' own scopes,
/// `crio-conmon-` and `libpod-conmon-`, are not containers.
const SCOPE_PREFIXES: [(&[u8], Runtime); 5] = [
    (b"cri-containerd", Runtime::Containerd),
    (b"nerdctl", Runtime::Containerd),
    (b"crio", Runtime::CriO),
    (b"docker", Runtime::Docker),
    (b"libpod", Runtime::Podman),
];

/// The prefix that a runtime gives to the directories that it makes itself; the others give none.
///
/// CRI-O `internal/config/cgmgr/cgroupfs_linux.go`; Podman `getOCICgroupPath`, where `libpod-payload` stands inside the
/// unit that runs `podman run --cgroups=split`, as Quadlet's do.
const DIRECTORY_PREFIXES: [(&[u8], Runtime); 3] = [
    (b"crio", Runtime::CriO),
    (b"libpod", Runtime::Podman),
    (b"libpod-payload", Runtime::Podman),
];

/// The containerd namespaces whose `/<namespace>/<id>` is taken for a container.
///
/// That path is what containerd gives where its client asks for none, as `ctr` and nerdctl without systemd do
/// (containerd `pkg/oci/spec.go`). Any cgroup of that path looks the same, so that this is a convention and not
/// knowledge: it is kept to the two usual namespaces and to the top of the hierarchy.
const CONTAINERD_NAMESPACES: [&[u8]; 2] = [b"default", b"k8s.io"];

/// A container that stands in no pod, named by the name `at` and the one above it.
pub(super) fn plain(parts: &[Part<'_>], at: usize) -> Option<(ContainerRef, Driver)> {
    let name = parts.get(at)?.name;
    if let Some(container) = scope(name) {
        return Some((container, Driver::Systemd));
    }
    let container = directory(name).or_else(|| {
        let above = parts.get(at.checked_sub(1)?)?.name;
        // Docker's own parent for cgroupfs (`WithCgroups`), with no more than the id below it.
        if above == b"docker" && is_container_id(name) {
            return Some(container_ref(Some(Runtime::Docker), name));
        }
        (at == 1 && CONTAINERD_NAMESPACES.contains(&above) && is_containerd_id(name))
            .then(|| container_ref(Some(Runtime::Containerd), name))
    })?;
    Some((container, Driver::Cgroupfs))
}

/// A container in a pod's cgroup: there a bare id is one as well, of a runtime that the path does not tell.
pub(super) fn in_pod(name: &[u8]) -> Option<ContainerRef> {
    scope(name)
        .or_else(|| directory(name))
        .or_else(|| is_container_id(name).then(|| container_ref(None, name)))
}

/// `<prefix>-<id>.scope`, made by systemd.
fn scope(name: &[u8]) -> Option<ContainerRef> {
    prefixed(name.strip_suffix(b".scope")?, &SCOPE_PREFIXES)
}

/// `<prefix>-<id>`, or `slice:prefix:id` which no systemd has taken apart: made by mkdir.
fn directory(name: &[u8]) -> Option<ContainerRef> {
    prefixed(name, &DIRECTORY_PREFIXES).or_else(|| Some(unexpanded(name)?.1))
}

fn prefixed(name: &[u8], prefixes: &[(&[u8], Runtime)]) -> Option<ContainerRef> {
    let (prefix, id) = name.split_at_checked(name.len().checked_sub(ID_LEN)?)?;
    named(prefix.strip_suffix(b"-")?, id, prefixes)
}

/// A runtime's request to systemd, `slice:prefix:id`, as one name: the slice, and the container.
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

/// Digits in a container id: every runtime above makes 32 random bytes in hexadecimal, and never shortens it in a path.
const ID_LEN: usize = 64;

fn is_container_id(id: &[u8]) -> bool {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    id.len() == ID_LEN && id.iter().all(is_digit)
}

/// Longest id that containerd lets a client give, in bytes (containerd `pkg/identifiers/validate.go`).
const CONTAINERD_ID_MAX: usize = 76;

/// Words of letters and digits with one `.`, `_` or `-` between them, as the same file has it.
fn is_containerd_id(id: &[u8]) -> bool {
    let mut words = id.split(|byte| matches!(byte, b'.' | b'_' | b'-'));
    id.len() <= CONTAINERD_ID_MAX
        && words.all(|word| !word.is_empty() && word.iter().all(u8::is_ascii_alphanumeric))
}
