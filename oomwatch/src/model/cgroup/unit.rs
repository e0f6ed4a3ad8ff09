//! The systemd slices and units in a cgroup path.

use super::segment::{NAME_MAX, Segment, ascii};

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
