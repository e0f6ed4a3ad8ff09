//! Checks of the memory controller: its version, where it is mounted, and how much of it is visible to this process.
//!
//! None of them fails: `watch` gets cgroup paths from the kernel.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{
    check::{self, Check, Group, Status},
    mountinfo::{self, Mount},
    roots::Roots,
};
use crate::sys::proc;

/// `PROC_CGROUP_INIT_INO` of `include/linux/proc_ns.h`: the inode of the initial cgroup namespace.
const INITIAL_NAMESPACE: u64 = 0xEFFF_FFFB;

#[derive(Debug)]
pub(super) struct CgroupFacts {
    proc_root: PathBuf,
    cgroup_root: PathBuf,
    mounts: io::Result<Vec<Mount>>,
    /// `cgroup.controllers` of the cgroup v2 mount, if there is one.
    controllers: Option<io::Result<String>>,
    /// The kernel's command line; empty if unknown.
    command_line: String,
    /// `/proc/self/cgroup`.
    own: io::Result<String>,
    /// Inode of the own cgroup namespace.
    namespace: Option<u64>,
    /// A file with a cgroup's own count of kills.
    count: Option<PathBuf>,
}

impl CgroupFacts {
    pub(super) fn gather(roots: Roots<'_>) -> Self {
        let own = roots.proc.join("self");
        let mounts = fs::read(own.join("mountinfo")).map(|text| mountinfo::parse(&text));
        let count = mounts
            .as_deref()
            .ok()
            .and_then(|mounts| find_count(mounts, roots.cgroup));
        Self {
            count,
            proc_root: roots.proc.to_owned(),
            cgroup_root: roots.cgroup.to_owned(),
            controllers: mounts
                .as_deref()
                .ok()
                .and_then(|mounts| v2(mounts, roots.cgroup))
                .map(|mount| fs::read_to_string(mount.point.join("cgroup.controllers"))),
            mounts,
            command_line: fs::read_to_string(roots.proc.join("cmdline")).unwrap_or_default(),
            own: fs::read(own.join("cgroup"))
                .map(|text| String::from_utf8_lossy(&text).into_owned()),
            namespace: fs::metadata(own.join("ns/cgroup"))
                .ok()
                .map(|metadata| metadata.ino()),
        }
    }

    /// A file with a cgroup's own count of kills.
    pub(super) fn count(&self) -> Option<&Path> {
        self.count.as_deref()
    }
}

/// The root of cgroup v2 has no such file, so that the first cgroup below it is tried.
fn find_count(mounts: &[Mount], cgroup_root: &Path) -> Option<PathBuf> {
    let is_count = |path: &PathBuf| {
        fs::read_to_string(path).is_ok_and(|text| proc::parse_oom_kill(&text).is_some())
    };
    match v1(mounts, cgroup_root) {
        Some(mount) => Some(mount.point.join("memory.oom_control")).filter(is_count),
        None => fs::read_dir(&v2(mounts, cgroup_root)?.point)
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path().join("memory.events")))
            .find(is_count),
    }
}

pub(super) fn checks(facts: &CgroupFacts) -> Vec<Check> {
    let mounts = match &facts.mounts {
        Ok(mounts) => mounts,
        Err(error) => {
            return vec![
                check(
                    "memory controller",
                    Status::Warn,
                    format!(
                        "unknown: failed to read {}: {}",
                        facts.proc_root.join("self/mountinfo").display(),
                        check::os_error(error)
                    ),
                )
                .remedy(check::proc_remedy(&facts.proc_root)),
            ];
        }
    };
    let v1 = v1(mounts, &facts.cgroup_root);
    let v2 = v2(mounts, &facts.cgroup_root);
    let Some(mount) = v1.or(v2) else {
        return vec![
            check(
                "memory controller",
                Status::Warn,
                "no cgroup file system is mounted here",
            )
            .remedy(format!(
                "mount the host's at {}, or give its mount point with --cgroup-root",
                facts.cgroup_root.display()
            )),
        ];
    };
    let controller = match (v1, v2) {
        (Some(v1), v2) => on_v1(v1, v2),
        (None, _) => on_v2(mount, facts),
    };
    vec![
        controller,
        root(mount, v1.is_some(), &facts.cgroup_root),
        view(mount, v1.is_some(), facts),
    ]
}

/// The mount of the cgroup v1 memory controller. Of several, the one below `cgroup_root`, else the last.
fn v1<'a>(mounts: &'a [Mount], cgroup_root: &Path) -> Option<&'a Mount> {
    preferred(mounts, |mount| {
        let is_wanted =
            mount.kind == "cgroup" && mount.options.iter().any(|option| option == "memory");
        is_wanted.then(|| mount.point.parent() == Some(cgroup_root))
    })
}

/// The mount of cgroup v2. Of several, the one at `cgroup_root`, else the last.
fn v2<'a>(mounts: &'a [Mount], cgroup_root: &Path) -> Option<&'a Mount> {
    preferred(mounts, |mount| {
        (mount.kind == "cgroup2").then(|| mount.point == cgroup_root)
    })
}

/// The last preferred mount, else the last candidate. `is_preferred` returns nothing for a mount that is no candidate.
fn preferred(mounts: &[Mount], is_preferred: impl Fn(&Mount) -> Option<bool>) -> Option<&Mount> {
    mounts
        .iter()
        .filter_map(|mount| Some((is_preferred(mount)?, mount)))
        .max_by_key(|&(is_preferred, _)| is_preferred)
        .map(|(_, mount)| mount)
}

fn on_v1(v1: &Mount, v2: Option<&Mount>) -> Check {
    let place = v1.point.display();
    let finding = match v2 {
        Some(v2) => format!(
            "cgroup v1 at {place} (hybrid: cgroup v2 without it at {})",
            v2.point.display()
        ),
        None => format!("cgroup v1 at {place}"),
    };
    check("memory controller", Status::Ok, finding)
}

fn on_v2(v2: &Mount, facts: &CgroupFacts) -> Check {
    const NAME: &str = "memory controller";
    let place = v2.point.display();
    match &facts.controllers {
        Some(Ok(controllers))
            if controllers
                .split_ascii_whitespace()
                .any(|controller| controller == "memory") =>
        {
            check(NAME, Status::Ok, format!("cgroup v2 at {place}"))
        }
        Some(Ok(_)) => {
            let is_disabled = facts
                .command_line
                .split_ascii_whitespace()
                .filter_map(|word| word.strip_prefix("cgroup_disable="))
                .any(|names| names.split(',').any(|name| name == "memory"));
            check(
                NAME,
                Status::Warn,
                format!("cgroup v2 at {place} without memory controller: only system OOM kills happen"),
            )
            .remedy(if is_disabled {
                "remove cgroup_disable=memory from the kernel's command line (on a Raspberry Pi add cgroup_enable=memory in \
                 /boot/firmware/cmdline.txt) and reboot"
            } else {
                "in a container, mount the host's cgroup file system; otherwise use a kernel with CONFIG_MEMCG, on a Raspberry \
                 Pi with cgroup_enable=memory in /boot/firmware/cmdline.txt"
            })
        }
        Some(Err(error)) => check(
            NAME,
            Status::Warn,
            format!(
                "unknown: failed to read {}: {}",
                v2.point.join("cgroup.controllers").display(),
                check::os_error(error)
            ),
        )
        .remedy("make the cgroup file system readable"),
        None => {
            check(NAME, Status::Warn, "unknown").remedy("give its mount point with --cgroup-root")
        }
    }
}

fn root(mount: &Mount, is_v1: bool, cgroup_root: &Path) -> Check {
    // cgroup v1 mounts each controller below the root.
    let place = match mount.point.parent() {
        Some(parent) if is_v1 => parent,
        _ => &mount.point,
    };
    if place == cgroup_root {
        return check(
            "--cgroup-root",
            Status::Ok,
            format!("{} is correct", place.display()),
        );
    }
    check(
        "--cgroup-root",
        Status::Warn,
        format!(
            "{} is not where the memory controller is mounted",
            cgroup_root.display()
        ),
    )
    .remedy(format!("give --cgroup-root {}", place.display()))
}

fn view(mount: &Mount, is_v1: bool, facts: &CgroupFacts) -> Check {
    const NAME: &str = "own cgroup";
    let own = match &facts.own {
        Ok(own) => own_path(own, is_v1).unwrap_or("unknown"),
        Err(error) => {
            return check(
                NAME,
                Status::Info,
                format!("unknown: {}", check::os_error(error)),
            );
        }
    };
    let is_initial = facts.namespace == Some(INITIAL_NAMESPACE);
    // Directories above the own cgroup namespace begin with `..`.
    let is_part = if mount.root == Path::new("/") {
        own == "/" && !is_initial
    } else {
        !mount.root.starts_with("/..")
    };
    if !is_part {
        return check(
            NAME,
            Status::Ok,
            format!("{own}, and {} shows all cgroups", mount.point.display()),
        );
    }
    check(
        NAME,
        Status::Info,
        format!(
            "{own}, in a container: {} shows only the container's part; watch gets paths from the kernel and does not need the rest",
            mount.point.display()
        ),
    )
    .remedy("to see all cgroups, mount the host's cgroup file system and give its mount point with --cgroup-root")
}

/// The own path in the hierarchy with the memory controller. A line is `ID:CONTROLLERS:PATH`.
fn own_path(text: &str, is_v1: bool) -> Option<&str> {
    text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        let path = parts.next().filter(|path| path.starts_with('/'))?;
        let is_wanted = if is_v1 {
            controllers.split(',').any(|name| name == "memory")
        } else {
            controllers.is_empty()
        };
        is_wanted.then_some(path)
    })
}

fn check(name: &'static str, status: Status, finding: impl Into<String>) -> Check {
    Check::new(Group::Cgroups, name, status, finding)
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    const V1: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    const HYBRID: &str = "38 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
    const BIND: &str = "90 23 0:26 / /host/cgroup ro - cgroup2 cgroup2 rw\n";
    const PART: &str = "30 23 0:26 /docker/0123 /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";
    /// The host's cgroup file system, mounted into a container.
    const WHOLE: &str = "30 23 0:26 /../../.. /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n";

    fn facts(mounts: &str, controllers: Option<&str>) -> CgroupFacts {
        CgroupFacts {
            count: None,
            proc_root: "/proc".into(),
            cgroup_root: "/sys/fs/cgroup".into(),
            mounts: Ok(mountinfo::parse(mounts.as_bytes())),
            controllers: controllers.map(|text| Ok(text.to_owned())),
            command_line: "quiet".to_owned(),
            own: Ok("4:cpu,memory:/user.slice\n0::/init.scope\n".to_owned()),
            namespace: Some(INITIAL_NAMESPACE),
        }
    }

    #[test]
    fn count_of_a_cgroup_is_a_file_with_oom_kill() {
        let root = tempfile::tempdir().expect("make a folder");
        let mount = |kind: &str, options: &[&str]| Mount {
            root: "/".into(),
            point: root.path().join(kind),
            kind: kind.to_owned(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
        };
        let (v1, v2) = (mount("cgroup", &["memory"]), mount("cgroup2", &[]));
        let nowhere = Path::new("/nonexistent");
        let of_v1 = v1.point.join("memory.oom_control");
        let of_v2 = v2.point.join("a.slice/memory.events");
        for (path, before) in [(&of_v1, "oom_kill_disable 0\n"), (&of_v2, "oom 3\n")] {
            let mounts = if path == &of_v1 {
                vec![v1.clone(), v2.clone()]
            } else {
                vec![v2.clone()]
            };
            fs::create_dir_all(path.parent().expect("a folder")).expect("make a folder");
            fs::write(path, before).expect("write a file");
            assert_eq!(find_count(&mounts, nowhere), None);
            fs::write(path, format!("{before}oom_kill 2\n")).expect("write a file");
            assert_eq!(find_count(&mounts, nowhere).as_ref(), Some(path));
        }
        assert_eq!(find_count(&[], nowhere), None);
    }

    fn statuses(facts: &CgroupFacts) -> Vec<Status> {
        checks(facts)
            .into_iter()
            .map(|check| check.status)
            .collect()
    }

    #[test]
    fn version_is_that_of_the_memory_controller() {
        for (mounts, controllers, finding) in [
            (V1.to_owned(), None, "cgroup v1 at /sys/fs/cgroup/memory"),
            (
                V1.to_owned() + HYBRID,
                Some(""),
                "cgroup v1 at /sys/fs/cgroup/memory (hybrid: cgroup v2 without it at /sys/fs/cgroup/unified)",
            ),
            (
                V2.to_owned(),
                Some("cpuset cpu io memory pids\n"),
                "cgroup v2 at /sys/fs/cgroup",
            ),
            (
                V2.to_owned() + BIND,
                Some("memory"),
                "cgroup v2 at /sys/fs/cgroup",
            ),
        ] {
            let checks = checks(&facts(&mounts, controllers));
            assert_eq!(checks[0].finding, finding, "{mounts}");
            assert!(
                checks.iter().all(|check| check.status == Status::Ok),
                "{checks:?}"
            );
        }
    }

    #[test]
    fn mount_at_the_given_root_is_preferred() {
        let facts = CgroupFacts {
            cgroup_root: "/host/cgroup".into(),
            ..facts(&(BIND.to_owned() + V2), Some("memory"))
        };
        let checks = checks(&facts);
        assert_eq!(checks[0].finding, "cgroup v2 at /host/cgroup");
        assert_eq!(checks[1].status, Status::Ok);
    }

    #[test]
    fn wrong_root_is_a_warning_with_the_right_one() {
        for mounts in [V1, V2] {
            let checks = checks(&CgroupFacts {
                cgroup_root: "/elsewhere".into(),
                ..facts(mounts, Some("memory"))
            });
            assert_eq!(checks[1].status, Status::Warn, "{mounts}");
            assert_eq!(
                checks[1].remedy.as_deref(),
                Some("give --cgroup-root /sys/fs/cgroup"),
                "{mounts}"
            );
        }
    }

    #[test]
    fn disabled_controller_has_the_boot_option_as_remedy() {
        for (command_line, remedy) in [
            (
                "quiet cgroup_disable=cpu,memory",
                "remove cgroup_disable=memory",
            ),
            ("cgroup_disable=memories", "CONFIG_MEMCG"),
            ("", "CONFIG_MEMCG"),
        ] {
            let checks = checks(&CgroupFacts {
                command_line: command_line.to_owned(),
                ..facts(V2, Some("cpu memory_x"))
            });
            assert_eq!(checks[0].status, Status::Warn);
            assert!(
                checks[0].remedy.as_ref().is_some_and(
                    |text| text.contains(remedy) && text.contains("cgroup_enable=memory")
                ),
                "{checks:?}"
            );
        }
    }

    #[test]
    fn container_is_recognized_by_its_mount_or_its_namespace() {
        let own = |text: &str, namespace| CgroupFacts {
            own: Ok(text.to_owned()),
            namespace,
            ..facts(V2, Some("memory"))
        };
        for (facts, status) in [
            (own("0::/\n", Some(INITIAL_NAMESPACE)), Status::Ok),
            (own("0::/\n", Some(4_026_532_500)), Status::Info),
            (own("0::/\n", None), Status::Info),
            (own("0::/a.slice\n", None), Status::Ok),
            (facts(PART, Some("memory")), Status::Info),
            (
                CgroupFacts {
                    own: Ok("0::/\n".to_owned()),
                    namespace: None,
                    ..facts(WHOLE, Some("memory"))
                },
                Status::Ok,
            ),
        ] {
            assert_eq!(checks(&facts)[2].status, status, "{facts:?}");
        }
    }

    #[test]
    fn unreadable_files_are_a_warning_with_a_remedy() {
        let unreadable = CgroupFacts {
            mounts: Err(Errno::NOENT.into()),
            ..facts("", None)
        };
        for facts in [unreadable, facts("", None), facts("garbage", None)] {
            let checks = checks(&facts);
            assert_eq!(checks.len(), 1, "{checks:?}");
            assert_eq!(checks[0].status, Status::Warn);
            assert!(checks[0].remedy.is_some());
        }
        let forbidden = CgroupFacts {
            controllers: Some(Err(Errno::ACCESS.into())),
            own: Err(Errno::ACCESS.into()),
            ..facts(V2, None)
        };
        assert_eq!(
            statuses(&forbidden),
            [Status::Warn, Status::Ok, Status::Info]
        );
        assert_eq!(statuses(&facts(V2, None))[0], Status::Warn);
    }

    #[test]
    fn own_path_is_that_of_the_memory_controller() {
        for (text, is_v1, path) in [
            ("4:memory:/a\n0::/b\n", true, Some("/a")),
            ("4:memory:/a\n0::/b\n", false, Some("/b")),
            ("4:cpu,memory:/a:b\n", true, Some("/a:b")),
            ("4:memory:\n", true, None),
            ("4:memory\n4\n\n:::", true, None),
            ("0::relative", false, None),
            ("", false, None),
        ] {
            assert_eq!(own_path(text, is_v1), path, "{text:?}");
        }
    }
}
