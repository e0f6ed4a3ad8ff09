//! systemd's part of a cgroup's path: its slices and units.

use super::{NAME_MAX, Part, ascii};

/// The unit that holds the last of `parts`: the first that is not a slice, and below a user's manager that user's own.
///
/// Deeper names are the unit's to give. As systemd itself reads a path (`src/basic/cgroup-util.c`, `cg_path_get_unit`
/// and `cg_path_get_user_unit`); a `_` in front keeps a unit's name apart from the kernel's files (`cg_escape`).
pub(super) fn holding(parts: &[Part<'_>]) -> Option<String> {
    let mut manager = None;
    for part in parts {
        let name = part.name.strip_prefix(b"_").unwrap_or(part.name);
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

/// The types of unit that have processes, and so a cgroup, besides slices (systemd.unit(5), systemd.resource-control(5)).
const UNIT_TYPES: [&[u8]; 5] = [b".service", b".scope", b".socket", b".mount", b".swap"];

/// Whether systemd would take `name` for a slice.
pub(super) fn is_slice(name: &[u8]) -> bool {
    is_unit(name, &[b".slice"])
}

/// Whether systemd would take `name` for a unit of one of `types` (`src/basic/unit-name.c`, `unit_name_is_valid`).
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
