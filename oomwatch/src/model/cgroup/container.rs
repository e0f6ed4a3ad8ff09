//! The container in a cgroup path: identified by one name, or by one name and those above it.

use super::{
    owner::{ContainerRef, Driver, Runtime},
    segment::{NAME_MAX, Segment, ascii},
    unit::{self, Place, Zone},
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

/// The top directories below which Docker's clients put their containers with `--cgroup-parent`: the ECS agent
/// (`agent/config`, `DefaultTaskCgroupV1Prefix`), GitHub's and Azure's hosted runners.
const DOCKER_PARENTS: [&[u8]; 3] = [b"ecs", b"actions_job", b"azpl_job"];

/// Where Podman without systemd has its containers and pods; a bare id there is a Podman pod's.
const PODMAN_PARENT: &[u8] = b"libpod_parent";

/// A container outside a pod.
pub(super) struct Plain {
    pub(super) container: ContainerRef,
    pub(super) driver: Driver,
    /// Whether its cgroup is also a service, which has a name of its own.
    pub(super) is_service: bool,
}

impl Plain {
    fn new(container: ContainerRef, driver: Driver) -> Self {
        Self {
            container,
            driver,
            is_service: false,
        }
    }
}

/// A container outside a pod, identified by the name at index `at`, which is in `zone`, and those above it.
///
/// Which names are taken depends on who may have created them.
pub(super) fn plain(segments: &[Segment<'_>], at: usize, zone: &Zone) -> Option<Plain> {
    let name = segments.get(at)?.name;
    if !matches!(zone.place, Place::Unit { .. })
        && let Some(container) = scope(name)
            .or_else(|| build_scope(name))
            .or_else(|| machine(name))
    {
        return Some(Plain {
            is_service: name.ends_with(b".service"),
            ..Plain::new(container, Driver::Systemd)
        });
    }
    let found = if zone.is_runtimes() || zone.is_users {
        directory(name).or_else(|| lxc(segments, at))
    } else {
        payload(name)
    };
    let container = found
        .or_else(|| slurm_job(segments, at, zone))
        .or_else(|| zone.is_runtimes().then(|| below_parent(segments, at))?)?;
    Some(Plain::new(container, Driver::Cgroupfs))
}

/// A container whose runtime created the directory below one of its own, or of its client's choice.
fn below_parent(segments: &[Segment<'_>], at: usize) -> Option<ContainerRef> {
    let name = segments.get(at)?.name;
    let above = segments.get(at.checked_sub(1)?)?.name;
    // `executor/oci` of BuildKit; Docker's builds are below Docker's own parent.
    if above == b"buildkit" && is_build_id(name) {
        return Some(container_ref(Some(Runtime::BuildKit), name));
    }
    if at == 1 && CONTAINERD_NAMESPACES.contains(&above) && is_containerd_id(name) {
        return Some(container_ref(Some(Runtime::Containerd), name));
    }
    let top = segments.first()?.name;
    // Fargate's ids; with Docker, ECS has Docker's.
    if top == b"ecs" && at == 2 && is_fargate_id(name) {
        return Some(container_ref(None, name));
    }
    if above == PODMAN_PARENT || !is_container_id(name) {
        return None;
    }
    // Docker's default parent with the cgroupfs driver (`WithCgroups`), or one that its client asked for.
    let is_dockers = above == b"docker" || DOCKER_PARENTS.contains(&top);
    Some(container_ref(is_dockers.then_some(Runtime::Docker), name))
}

/// LXC's, and so LXD's, Incus's, Proxmox's and Chrome OS's: `lxc.payload.<name>`, and before LXC 4 `lxc/<name>` and
/// `lxc.payload/<name>` (`src/lxc/cgroups/cgfsng.c`). The monitors, `lxc.monitor`, are not in the container.
fn lxc(segments: &[Segment<'_>], at: usize) -> Option<ContainerRef> {
    let name = segments.get(at)?.name;
    let below = || {
        let above = segments.get(at.checked_sub(1)?)?.name;
        let is_lxcs = [b"lxc".as_slice(), b"lxc.payload"].contains(&above);
        is_lxcs.then_some(name)
    };
    let id = name.strip_prefix(b"lxc.payload.").or_else(below)?;
    is_plain_name(id).then(|| container_ref(Some(Runtime::Lxc), id))
}

/// Slurm's job: `/slurm/uid_<uid>/job_<id>` on cgroup v1, `slurmstepd.scope/job_<id>` on v2, both also with the node's name
/// (`src/plugins/cgroup` of Slurm).
fn slurm_job(segments: &[Segment<'_>], at: usize, zone: &Zone) -> Option<ContainerRef> {
    let id = segments.get(at)?.name.strip_prefix(b"job_")?;
    let above = segments.get(at.checked_sub(1)?)?.name;
    let top = segments.first()?.name;
    let is_job = match zone.place {
        Place::Directories => {
            at == 2 && (top == b"slurm" || top.starts_with(b"slurm_")) && above.starts_with(b"uid_")
        }
        Place::Unit { at: unit, .. } => {
            unit + 1 == at
                && (above == b"slurmstepd.scope" || above.ends_with(b"_slurmstepd.scope"))
        }
        Place::Slices | Place::UserManager => false,
    };
    let is_number = !id.is_empty() && id.iter().all(u8::is_ascii_digit);
    (is_job && is_number && !zone.is_users).then(|| container_ref(Some(Runtime::Slurm), id))
}

/// A machine that is registered with systemd: `systemd-nspawn@<name>.service`, `machine-<name>.scope`
/// (`src/nspawn/nspawn-register.c`; libvirt's have such a scope too).
fn machine(name: &[u8]) -> Option<ContainerRef> {
    let nspawn = name
        .strip_prefix(b"systemd-nspawn@")
        .and_then(|rest| rest.strip_suffix(b".service"));
    let registered = || name.strip_prefix(b"machine-")?.strip_suffix(b".scope");
    let (runtime, escaped) = match nspawn {
        Some(escaped) => (Runtime::Nspawn, escaped),
        None => (Runtime::Machined, registered()?),
    };
    let id = unit::unescape(escaped)?;
    is_plain_name(&id).then(|| container_ref(Some(runtime), &id))
}

/// `BuildKit`'s request to systemd, `buildkit-<id>.scope`.
fn build_scope(name: &[u8]) -> Option<ContainerRef> {
    let id = name.strip_prefix(b"buildkit-")?.strip_suffix(b".scope")?;
    is_build_id(id).then(|| container_ref(Some(Runtime::BuildKit), id))
}

/// `libpod-payload-<id>`, which may be in any unit.
fn payload(name: &[u8]) -> Option<ContainerRef> {
    let id = name.strip_prefix(b"libpod-payload-")?;
    is_container_id(id).then(|| container_ref(Some(Runtime::Podman), id))
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
///
/// runc makes it in the cgroup of the runtime's own service, or beside that.
pub(super) fn unexpanded(name: &[u8]) -> Option<(&[u8], ContainerRef)> {
    let mut fields = name.split(|byte| *byte == b':');
    let (slice, prefix, id) = (fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() || !unit::is_slice(slice) {
        return None;
    }
    let is_build = prefix == b"buildkit" && is_build_id(id);
    let build = is_build.then(|| container_ref(Some(Runtime::BuildKit), id));
    Some((slice, build.or_else(|| named(prefix, id, &SCOPE_PREFIXES))?))
}

fn named(prefix: &[u8], id: &[u8], prefixes: &[(&[u8], Runtime)]) -> Option<ContainerRef> {
    let (_, runtime) = prefixes.iter().find(|(known, _)| *known == prefix)?;
    is_container_id(id).then(|| container_ref(Some(*runtime), id))
}

fn container_ref(runtime: Option<Runtime>, id: &[u8]) -> ContainerRef {
    ContainerRef {
        runtime,
        id: ascii(id),
        user: None,
    }
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

/// Length of an id that `BuildKit` generates: 128 bits in base 36 (`identity/randomid.go`).
const BUILD_ID_LEN: usize = 25;

fn is_build_id(id: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
    id.len() == BUILD_ID_LEN && id.iter().all(is_digit)
}

/// Fargate's id: 32 hexadecimal digits, a dash, a number.
fn is_fargate_id(id: &[u8]) -> bool {
    let Some((task, number)) = id.split_at_checked(32) else {
        return false;
    };
    let Some(number) = number.strip_prefix(b"-") else {
        return false;
    };
    task.iter().all(u8::is_ascii_hexdigit)
        && !number.is_empty()
        && number.iter().all(u8::is_ascii_digit)
}

/// Whether a user-chosen name has only the characters that LXC's, LXD's and systemd's tools accept in one.
fn is_plain_name(name: &[u8]) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    (1..=NAME_MAX).contains(&name.len()) && name.iter().all(is_allowed)
}
