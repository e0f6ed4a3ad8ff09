//! What this process may do.

use std::{fs, io, path::PathBuf};

use rustix::thread::{CapabilitySet, capabilities};

use super::{
    Roots,
    check::{self, Check, Group, Status},
};

const REMEDY: &str = "run as root (sudo), or give the command what it needs: setcap cap_bpf,cap_perfmon,cap_syslog+ep FILE \
                      (Kubernetes: securityContext.capabilities.add [BPF, PERFMON, SYSLOG])";

#[derive(Debug)]
pub(super) struct Facts {
    effective: io::Result<CapabilitySet>,
    uid_map_path: PathBuf,
    uid_map: io::Result<String>,
}

/// What the other checks found of the things that capabilities are for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    /// How bad it is if no program can be loaded.
    pub(super) programs: Status,
    /// Whether maps could be made, if that was tried.
    pub(super) maps: Option<bool>,
    /// Whether what `watch` takes lacks the kernel's symbols.
    pub(super) lacks_symbols: bool,
}

impl Facts {
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

    /// Whether programs may be loaded, as far as capabilities tell.
    pub(super) fn may_load(&self) -> bool {
        let Ok(effective) = &self.effective else {
            return true;
        };
        effective.contains(CapabilitySet::SYS_ADMIN)
            || effective.contains(CapabilitySet::BPF | CapabilitySet::PERFMON)
    }
}

pub(super) fn judge(facts: &Facts, needs: Needs) -> Vec<Check> {
    let Facts {
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
                "make maps and load programs",
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
            dac_read_search(*effective),
        ],
        Err(error) => vec![
            check(
                "capabilities",
                Status::Warn,
                format!("not known: {}", check::answer(error)),
            )
            .remedy("allow capget(2); what the hooks above say counts"),
        ],
    };
    checks.push(user_namespace(facts));
    checks
}

/// `CAP_SYS_ADMIN` stands for each of the two.
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
        check(name, Status::Ok, format!("by CAP_SYS_ADMIN: to {purpose}"))
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
            "not held: without the kernel's symbols, what ran out of memory is not known",
        )
        .remedy(REMEDY)
    } else {
        check(
            NAME,
            Status::Info,
            "not held, and the kernel's symbols can be read without or are not needed",
        )
    }
}

/// Whether it is needed is asked by making maps, not of the kernel's version.
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
            "not held, and maps could be made without",
        ),
        (false, _) => check(
            NAME,
            Status::Info,
            "not held: needed before Linux 5.11 only, to lock memory for maps",
        ),
    }
}

fn dac_read_search(effective: CapabilitySet) -> Check {
    const NAME: &str = "CAP_DAC_READ_SEARCH";
    if effective.contains(CapabilitySet::DAC_READ_SEARCH) {
        check(NAME, Status::Ok, "held: to read files of other users")
    } else {
        check(
            NAME,
            Status::Info,
            "not held: files of other users cannot be read",
        )
    }
}

fn user_namespace(facts: &Facts) -> Check {
    const NAME: &str = "user namespace";
    match &facts.uid_map {
        Ok(map) if is_initial(map) => check(NAME, Status::Ok, "the initial one"),
        Ok(_) => check(
            NAME,
            Status::Warn,
            "not the initial one: capabilities in it do not count for BPF",
        )
        .remedy("run outside of it: on the host, or in a container that is neither rootless nor has users remapped"),
        Err(error) => check(
            NAME,
            Status::Info,
            format!(
                "not known: read {}: {}",
                facts.uid_map_path.display(),
                check::answer(error)
            ),
        ),
    }
}

/// Only the initial namespace has every id for its own.
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

    fn facts(effective: CapabilitySet) -> Facts {
        Facts {
            effective: Ok(effective),
            uid_map_path: "/proc/self/uid_map".into(),
            uid_map: Ok("         0          0 4294967295\n".to_owned()),
        }
    }

    fn statuses(effective: CapabilitySet, needs: Needs) -> Vec<Status> {
        judge(&facts(effective), needs)
            .into_iter()
            .map(|check| check.status)
            .collect()
    }

    #[test]
    fn only_the_capabilities_to_load_programs_are_needed() {
        use Status::{Fail, Info, Ok, Warn};
        for (effective, maps, symbols, expected) in [
            (
                CapabilitySet::all(),
                Some(true),
                true,
                [Ok, Ok, Ok, Ok, Ok, Ok],
            ),
            (
                CapabilitySet::BPF | CapabilitySet::PERFMON,
                Some(true),
                false,
                [Ok, Ok, Warn, Info, Info, Ok],
            ),
            (
                CapabilitySet::SYS_ADMIN,
                Some(true),
                true,
                [Ok, Ok, Info, Info, Info, Ok],
            ),
            (
                CapabilitySet::BPF,
                Some(false),
                false,
                [Ok, Fail, Warn, Info, Info, Ok],
            ),
            (
                CapabilitySet::empty(),
                None,
                false,
                [Fail, Fail, Warn, Info, Info, Ok],
            ),
        ] {
            let needs = Needs {
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
    fn capabilities_are_missed_as_much_as_what_they_are_for() {
        for programs in [Status::Info, Status::Warn, Status::Fail] {
            let needs = Needs {
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
    fn capabilities_that_are_not_told_are_left_to_the_hooks() {
        let facts = Facts {
            effective: Err(Errno::PERM.into()),
            ..facts(CapabilitySet::empty())
        };
        assert!(facts.may_load());
        let needs = Needs {
            programs: Status::Fail,
            maps: None,
            lacks_symbols: true,
        };
        assert_eq!(judge(&facts, needs)[0].status, Status::Warn);
    }

    #[test]
    fn initial_user_namespace_has_every_id() {
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
