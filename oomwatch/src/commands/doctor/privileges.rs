//! Checks of this process's privileges.

use std::{fs, io, path::PathBuf};

use rustix::thread::{CapabilitySet, capabilities};

use super::{
    check::{self, Check, Group, Status},
    roots::Roots,
};

const REMEDY: &str = "run as root (sudo), or grant the capabilities: setcap cap_bpf,cap_perfmon,cap_syslog+ep FILE \
                      (Kubernetes: securityContext.capabilities.add [BPF, PERFMON, SYSLOG])";

#[derive(Debug)]
pub(super) struct PrivilegeFacts {
    effective: io::Result<CapabilitySet>,
    uid_map_path: PathBuf,
    uid_map: io::Result<String>,
}

/// What the other checks found about the uses of capabilities.
#[derive(Clone, Copy, Debug)]
pub(super) struct CapabilityNeeds {
    /// The status if no program can be loaded.
    pub(super) programs: Status,
    /// Whether maps can be created; absent if that was not tried.
    pub(super) maps: Option<bool>,
    /// Whether the selected backend needs the kernel's symbols and they cannot be read.
    pub(super) lacks_symbols: bool,
}

impl PrivilegeFacts {
    pub(super) fn gather(roots: Roots<'_>) -> Self {
        let uid_map_path = roots.proc.join("self/uid_map");
        Self {
            effective: capabilities(None)
                .map(|sets| sets.effective)
                .map_err(io::Error::from),
            uid_map: fs::read_to_string(&uid_map_path),
            uid_map_path,
        }
    }

    /// Whether the capabilities allow loading programs; true if they are unknown.
    pub(super) fn may_load(&self) -> bool {
        let Ok(effective) = &self.effective else {
            return true;
        };
        effective.contains(CapabilitySet::SYS_ADMIN)
            || effective.contains(CapabilitySet::BPF | CapabilitySet::PERFMON)
    }
}

pub(super) fn checks(facts: &PrivilegeFacts, needs: CapabilityNeeds) -> Vec<Check> {
    let PrivilegeFacts {
        effective,
        uid_map_path: _,
        uid_map: _,
    } = facts;
    let mut checks = match effective {
        Ok(effective) => vec![
            loading(
                *effective,
                needs.programs,
                CapabilitySet::BPF,
                "CAP_BPF",
                "create maps and load programs",
            ),
            loading(
                *effective,
                needs.programs,
                CapabilitySet::PERFMON,
                "CAP_PERFMON",
                "load programs that read the kernel's memory",
            ),
            syslog(*effective, needs.lacks_symbols),
            sys_resource(*effective, needs.maps),
        ],
        Err(error) => vec![
            check(
                "capabilities",
                Status::Warn,
                format!("unknown: {}", check::os_error(error)),
            )
            .remedy("allow capget(2); the results under Backends are what counts"),
        ],
    };
    checks.push(user_namespace(facts));
    checks
}

/// `CAP_SYS_ADMIN` includes both capabilities.
fn loading(
    effective: CapabilitySet,
    without: Status,
    wanted: CapabilitySet,
    name: &'static str,
    purpose: &str,
) -> Check {
    if effective.contains(wanted) {
        check(name, Status::Ok, format!("held: to {purpose}"))
    } else if effective.contains(CapabilitySet::SYS_ADMIN) {
        check(
            name,
            Status::Ok,
            format!("held through CAP_SYS_ADMIN: to {purpose}"),
        )
    } else {
        check(name, without, format!("not held: needed to {purpose}")).remedy(REMEDY)
    }
}

fn syslog(effective: CapabilitySet, lacks_symbols: bool) -> Check {
    const NAME: &str = "CAP_SYSLOG";
    if effective.contains(CapabilitySet::SYSLOG) {
        check(
            NAME,
            Status::Ok,
            "held: to read the kernel's symbols and its log",
        )
    } else if lacks_symbols {
        check(
            NAME,
            Status::Warn,
            "not held: without the kernel's symbols the scope of kills is unknown",
        )
        .remedy(REMEDY)
    } else {
        check(
            NAME,
            Status::Info,
            "not held; the kernel's symbols can be read without it, or are not needed",
        )
    }
}

/// Creating maps shows whether it is needed; the kernel's version is not asked.
fn sys_resource(effective: CapabilitySet, has_maps: Option<bool>) -> Check {
    const NAME: &str = "CAP_SYS_RESOURCE";
    match (effective.contains(CapabilitySet::SYS_RESOURCE), has_maps) {
        (true, _) => check(
            NAME,
            Status::Ok,
            "held: to lock memory for maps before Linux 5.11",
        ),
        (false, Some(true)) => check(
            NAME,
            Status::Info,
            "not held, and maps can be created without it",
        ),
        (false, _) => check(
            NAME,
            Status::Info,
            "not held: needed only before Linux 5.11, to lock memory for maps",
        ),
    }
}

fn user_namespace(facts: &PrivilegeFacts) -> Check {
    const NAME: &str = "user namespace";
    match &facts.uid_map {
        Ok(map) if is_initial(map) => check(NAME, Status::Ok, "the initial namespace"),
        Ok(_) => check(
            NAME,
            Status::Warn,
            "not the initial namespace: its capabilities do not count for BPF",
        )
        .remedy("run on the host, or in a container that is not rootless and does not remap users"),
        Err(error) => check(
            NAME,
            Status::Info,
            format!(
                "unknown: failed to read {}: {}",
                facts.uid_map_path.display(),
                check::os_error(error)
            ),
        ),
    }
}

/// Only the initial namespace maps every id to itself.
fn is_initial(map: &str) -> bool {
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

fn check(name: &'static str, status: Status, finding: impl Into<String>) -> Check {
    Check::new(Group::Privileges, name, status, finding)
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    fn facts(effective: CapabilitySet) -> PrivilegeFacts {
        PrivilegeFacts {
            effective: Ok(effective),
            uid_map_path: "/proc/self/uid_map".into(),
            uid_map: Ok("         0          0 4294967295\n".to_owned()),
        }
    }

    fn statuses(effective: CapabilitySet, needs: CapabilityNeeds) -> Vec<Status> {
        checks(&facts(effective), needs)
            .into_iter()
            .map(|check| check.status)
            .collect()
    }

    #[test]
    fn only_the_capabilities_to_load_programs_can_fail() {
        use Status::{Fail, Info, Ok, Warn};
        for (effective, maps, symbols, expected) in [
            (CapabilitySet::all(), Some(true), true, [Ok, Ok, Ok, Ok, Ok]),
            (
                CapabilitySet::BPF | CapabilitySet::PERFMON,
                Some(true),
                false,
                [Ok, Ok, Warn, Info, Ok],
            ),
            (
                CapabilitySet::SYS_ADMIN,
                Some(true),
                true,
                [Ok, Ok, Info, Info, Ok],
            ),
            (
                CapabilitySet::BPF,
                Some(false),
                false,
                [Ok, Fail, Warn, Info, Ok],
            ),
            (
                CapabilitySet::empty(),
                None,
                false,
                [Fail, Fail, Warn, Info, Ok],
            ),
        ] {
            let needs = CapabilityNeeds {
                programs: Fail,
                maps,
                lacks_symbols: !symbols,
            };
            assert_eq!(statuses(effective, needs), expected, "{effective:?}");
            let may_load = expected[..2] == [Ok, Ok];
            assert_eq!(facts(effective).may_load(), may_load, "{effective:?}");
        }
    }

    #[test]
    fn missing_capability_has_the_status_of_its_use() {
        for programs in [Status::Info, Status::Warn, Status::Fail] {
            let needs = CapabilityNeeds {
                programs,
                maps: None,
                lacks_symbols: false,
            };
            let [bpf, perfmon, ..] = statuses(CapabilitySet::empty(), needs)[..] else {
                panic!("no such checks");
            };
            assert_eq!([bpf, perfmon], [programs; 2]);
        }
    }

    #[test]
    fn unknown_capabilities_are_a_warning() {
        let facts = PrivilegeFacts {
            effective: Err(Errno::PERM.into()),
            ..facts(CapabilitySet::empty())
        };
        assert!(facts.may_load());
        let needs = CapabilityNeeds {
            programs: Status::Fail,
            maps: None,
            lacks_symbols: true,
        };
        assert_eq!(checks(&facts, needs)[0].status, Status::Warn);
    }

    #[test]
    fn initial_user_namespace_maps_every_id() {
        for (map, expected) in [
            ("0 0 4294967295\n", true),
            ("0 100000 65536\n", false),
            ("0 0 1\n1 1 4294967294\n", false),
            ("0 0", false),
            ("", false),
        ] {
            assert_eq!(is_initial(map), expected, "{map:?}");
        }
    }
}
