//! The systemd slices and units in a cgroup path, and who may have created the names below them.

use super::segment::{NAME_MAX, Segment, ascii};

/// Who may have created a name in a path, by the names above it.
#[derive(Debug, Default)]
pub(super) struct Zone {
    pub(super) place: Place,
    /// Whether a user may have: it is below `user.slice`, or below a session of elogind's or cgmanager's.
    pub(super) is_users: bool,
    /// That user, if the path says which.
    pub(super) user: Option<u32>,
}

/// The kind of name that is above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing but slices: systemd creates the names here.
    #[default]
    Slices,
    /// A directory that is not systemd's, which only root can create.
    Directories,
    /// A user's manager, and nothing but its slices.
    UserManager,
    /// Another unit, whose processes may create any name.
    Unit {
        /// The unit's index in the path.
        at: usize,
        /// Whether it is a container runtime, which creates its containers' cgroups below its own.
        is_runtime: bool,
    },
}

impl Zone {
    /// Goes on below the name at index `at`.
    pub(super) fn enter(&mut self, at: usize, name: &[u8]) {
        let unescaped = name.strip_prefix(b"_").unwrap_or(name);
        match self.place {
            Place::Slices | Place::UserManager if is_slice(unescaped) => match at {
                0 => self.is_users |= unescaped == b"user.slice",
                1 if self.is_users => self.user = user_of(unescaped, b"user-", b".slice"),
                _ => {}
            },
            // The path is seen from another cgroup namespace.
            Place::Slices if name == b".." => {}
            Place::Slices if is_unit(unescaped, &UNIT_TYPES) && is_user_manager(unescaped) => {
                self.is_users = true;
                self.user = self.user.or(user_of(unescaped, b"user@", b".service"));
                self.place = Place::UserManager;
            }
            Place::Slices if is_unit(unescaped, &UNIT_TYPES) => {
                let is_runtime = !self.is_users && is_runtime(unescaped);
                self.place = Place::Unit { at, is_runtime };
            }
            Place::Slices => {
                self.is_users |= name == b"user";
                self.place = Place::Directories;
            }
            Place::UserManager => {
                let is_runtime = false;
                self.place = Place::Unit { at, is_runtime };
            }
            Place::Directories if at == 1 && self.is_users => {
                self.user = user_of(name, b"", b".user");
            }
            Place::Directories | Place::Unit { .. } => {}
        }
    }

    /// Whether systemd creates the name.
    pub(super) fn is_systemds(&self) -> bool {
        matches!(self.place, Place::Slices | Place::UserManager)
    }

    /// Whether only root or a container runtime may have created the name.
    pub(super) fn is_runtimes(&self) -> bool {
        let is_hosts = match self.place {
            Place::Slices | Place::Directories => true,
            Place::UserManager => false,
            Place::Unit { is_runtime, .. } => is_runtime,
        };
        is_hosts && !self.is_users
    }
}

/// The user id between `prefix` and `suffix`.
fn user_of(name: &[u8], prefix: &[u8], suffix: &[u8]) -> Option<u32> {
    let id = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
    std::str::from_utf8(id).ok()?.parse().ok()
}

/// The services of container runtimes, among them those that contain one.
const RUNTIME_SERVICES: [&[u8]; 19] = [
    b"buildkit.service",
    b"containerd.service",
    b"crio.service",
    b"docker.service",
    b"incus.service",
    b"k0scontroller.service",
    b"k0sworker.service",
    b"k3s-agent.service",
    b"k3s.service",
    b"lxc.service",
    b"lxd.service",
    b"podman.service",
    b"rke2-agent.service",
    b"rke2-server.service",
    b"snap.docker.dockerd.service",
    b"snap.lxd.daemon.service",
    b"snap.microk8s.daemon-containerd.service",
    b"snap.microk8s.daemon-kubelite.service",
    b"snap.microk8s.daemon-kubelet.service",
];

fn is_runtime(unit: &[u8]) -> bool {
    let is_lxc_instance = unit.starts_with(b"lxc@") && unit.ends_with(b".service");
    RUNTIME_SERVICES.contains(&unit) || is_lxc_instance
}

/// The unit that contains the last of `segments`: the first name that is not a slice, and below a user's manager the
/// unit of that user.
///
/// The unit chooses deeper names, so they are not read. systemd itself reads a path in the same way
/// (`src/basic/cgroup-util.c`, `cg_path_get_unit` and `cg_path_get_user_unit`); it prefixes a unit's name with `_` where it
/// could be taken for one of the kernel's files (`cg_escape`).
pub(super) fn containing(segments: &[Segment<'_>]) -> Option<String> {
    let mut manager = None;
    for segment in segments {
        let name = segment.name.strip_prefix(b"_").unwrap_or(segment.name);
        if is_slice(name) {
            continue;
        }
        if !is_unit(name, &UNIT_TYPES) {
            break;
        }
        if manager.is_some() || !is_user_manager(name) {
            return Some(ascii(name));
        }
        manager = Some(ascii(name));
    }
    manager
}

/// The unit types besides slices that have processes, and so a cgroup (systemd.unit(5), systemd.resource-control(5)).
const UNIT_TYPES: [&[u8]; 5] = [b".service", b".scope", b".socket", b".mount", b".swap"];

/// Whether `name` is that of a unit other than a slice.
pub(super) fn is_other_unit(name: &[u8]) -> bool {
    is_unit(name.strip_prefix(b"_").unwrap_or(name), &UNIT_TYPES)
}

/// A part of a unit's name, with systemd's `\xNN` replaced; absent if an escape is not complete.
pub(super) fn unescape(escaped: &[u8]) -> Option<Vec<u8>> {
    let mut parts = escaped.split(|byte| *byte == b'\\');
    let mut name = parts.next()?.to_vec();
    for part in parts {
        let (digits, rest) = part.strip_prefix(b"x")?.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        name.push(u8::from_str_radix(digits, 16).ok()?);
        name.extend_from_slice(rest);
    }
    Some(name)
}

/// Whether systemd accepts `name` as a slice's.
pub(super) fn is_slice(name: &[u8]) -> bool {
    is_unit(name, &[b".slice"])
}

/// Whether systemd accepts `name` as that of a unit of one of `types` (`src/basic/unit-name.c`, `unit_name_is_valid`).
fn is_unit(name: &[u8], types: &[&[u8]]) -> bool {
    let stem = types.iter().find_map(|suffix| name.strip_suffix(*suffix));
    let Some(stem @ [first, ..]) = stem else {
        return false;
    };
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(byte);
    name.len() <= NAME_MAX && *first != b'@' && stem.iter().all(is_allowed)
}

fn is_user_manager(unit: &[u8]) -> bool {
    unit.starts_with(b"user@") || unit.starts_with(b"capsule@")
}
