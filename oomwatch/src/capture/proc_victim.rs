//! The victim in `/proc`, after the kill: for hooks that name a thread and nothing else. What was read so is told apart
//! (`attribution: proc`), and what may be wrong is left out.
//!
//! A dying process leaves its cgroup. On cgroup v1 it is shown in the root then (`proc_cgroup_show` of
//! `kernel/cgroup/cgroup.c`), so that the root is no answer there; on v2 it is shown where it was.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process,
};

use crate::{
    model::kill::{Attribution, Cgroup, Kill},
    sys::cmdline::{TICK_NS, start_ticks},
};

/// `PROC_PID_INIT_INO` of `include/linux/proc_ns.h`: the initial PID namespace, in which the kernel's hooks number threads.
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Looks up victims.
#[derive(Debug)]
pub struct Victims {
    proc_root: PathBuf,
    /// Whether the numbers in there are those of the hooks.
    is_initial: bool,
}

impl Victims {
    /// For the host's `/proc`.
    #[must_use]
    pub fn new(proc_root: &Path) -> Self {
        // The first process may hide it from us; then it is the initial one if it is our own and this is our `/proc`.
        let is_initial = |process: &str| {
            let namespace = fs::metadata(proc_root.join(process).join("ns/pid"));
            namespace.is_ok_and(|namespace| namespace.ino() == INITIAL_PID_NAMESPACE)
        };
        let own = process::id().to_string();
        let is_own =
            fs::read_link(proc_root.join("self")).is_ok_and(|link| link == Path::new(&own));
        Self {
            proc_root: proc_root.to_owned(),
            is_initial: is_initial("1") || is_own && is_initial("self"),
        }
    }

    /// Adds the process of a victim of which the thread alone is known, and its name and cgroup where they are not known
    /// either.
    pub fn fill(&self, kill: &mut Kill) {
        if !self.is_initial {
            return;
        }
        let Some(found) = Found::read(&self.proc_root, kill.victim.tid, kill.boot_time_ns) else {
            return;
        };
        let Found { pid, comm, cgroup } = found;
        let victim = &mut kill.victim;
        if kill.missing.contains(&"pid") {
            victim.pid = pid;
            kill.missing.retain(|name| *name != "pid");
        }
        if victim.comm.is_none() && comm.is_some() {
            victim.comm = comm;
            kill.missing.retain(|name| *name != "comm");
        }
        if victim.cgroup.is_none()
            && let Some(path) = cgroup
        {
            victim.cgroup = Some(Cgroup { path, id: None });
            kill.attribution = Attribution::Proc;
            kill.missing.retain(|name| *name != "cgroup");
        }
    }
}

/// What `/proc` tells of a thread.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    pid: u32,
    /// Name of the process.
    comm: Option<Vec<u8>>,
    cgroup: Option<Vec<u8>>,
}

impl Found {
    /// Absent if the thread is gone, or is another one by now.
    fn read(proc_root: &Path, tid: u32, killed_ns: Option<u64>) -> Option<Self> {
        let thread = proc_root.join(tid.to_string());
        let pid = process_id(&fs::read(thread.join("status")).ok()?)?;
        let cgroup = fs::read(thread.join("cgroup"))
            .ok()
            .and_then(|text| memory_cgroup(&text));
        let mut comm = fs::read(proc_root.join(pid.to_string()).join("comm")).ok();
        if let Some(comm) = &mut comm {
            comm.pop_if(|byte| *byte == b'\n');
        }
        // The last, so that all of it was of the thread that was there at the kill.
        let started = start_ticks(&fs::read(thread.join("stat")).ok()?)?;
        (started <= killed_ns? / TICK_NS).then_some(Self { pid, comm, cgroup })
    }
}

/// `Tgid:` of `/proc/PID/status`.
pub(crate) fn process_id(status: &[u8]) -> Option<u32> {
    let line = status
        .split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(b"Tgid:"))?;
    str::from_utf8(line).ok()?.trim().parse().ok()
}

/// The path of the memory controller's line in `/proc/PID/cgroup`, else that of cgroup v2.
///
/// Of lines like `4:cpu,memory:/a/b` and `0::/a/b` a path is all behind the second colon. One of v2 that was removed has
/// ` (deleted)` behind it, as a name might: it is left out.
pub(crate) fn memory_cgroup(text: &[u8]) -> Option<Vec<u8>> {
    let mut unified = None;
    for line in text.split(|&byte| byte == b'\n') {
        let mut parts = line.splitn(3, |&byte| byte == b':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if controllers
            .split(|&byte| byte == b',')
            .any(|controller| controller == b"memory")
        {
            return (path != b"/").then(|| path.to_vec());
        }
        if controllers.is_empty() {
            unified = Some(path);
        }
    }
    unified
        .filter(|path| !path.ends_with(b" (deleted)"))
        .map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{sys::clock, testing};

    #[test]
    fn cgroup_is_the_memory_controllers_and_never_a_guess() {
        for (text, expected) in [
            ("0::/a/b\n", Some("/a/b")),
            ("0::/\n", Some("/")),
            ("0::/a:b,c\n", Some("/a:b,c")),
            ("0::/a/b (deleted)\n", None),
            ("5:memory:/a\n0::/u\n", Some("/a")),
            ("0::/u\n5:cpu,memory:/a\n", Some("/a")),
            ("5:memory:/\n0::/u\n", None),
            ("5:memoryless:/a\n", None),
            ("", None),
            ("\n::\n:\n", Some("")),
        ] {
            let found = memory_cgroup(text.as_bytes());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{text:?}");
        }
    }

    #[test]
    fn process_of_a_thread_is_read_from_its_status() {
        for (text, expected) in [
            ("Name:\tx\nTgid:\t42\nPid:\t43\n", Some(42)),
            ("Tgid:\tx\n", None),
            ("Name:\tTgid: 7\n", None),
            ("", None),
        ] {
            assert_eq!(process_id(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn own_process_is_found_if_it_was_there_at_the_kill() {
        let proc_root = Path::new("/proc");
        let own = Found::read(proc_root, process::id(), Some(clock::since_boot_ns()));
        assert_eq!(own.map(|own| own.pid), Some(process::id()));
        assert_eq!(Found::read(proc_root, process::id(), Some(0)), None);
        assert_eq!(Found::read(proc_root, process::id(), None), None);
        assert_eq!(Found::read(proc_root, u32::MAX, Some(u64::MAX)), None);
    }

    #[test]
    fn what_is_known_stays() {
        let victims = Victims {
            proc_root: "/proc".into(),
            is_initial: true,
        };
        let mut kill = testing::kill();
        kill.victim.tid = process::id();
        kill.boot_time_ns = Some(clock::since_boot_ns());
        let known = kill.clone();
        victims.fill(&mut kill);
        assert_eq!(kill, known);
    }

    #[test]
    fn what_was_missing_is_filled_and_no_longer_missing() {
        let mut kill = testing::kill();
        kill.victim.tid = process::id();
        kill.boot_time_ns = Some(clock::since_boot_ns());
        kill.victim.comm = None;
        kill.missing = vec!["pid", "comm", "limits"];
        let victims = |is_initial| Victims {
            proc_root: "/proc".into(),
            is_initial,
        };
        let untouched = kill.clone();
        victims(false).fill(&mut kill);
        assert_eq!(kill, untouched, "in another PID namespace");
        victims(true).fill(&mut kill);
        assert_eq!(kill.victim.pid, process::id());
        assert!(kill.victim.comm.is_some());
        assert_eq!(kill.missing, ["limits"]);
    }
}
