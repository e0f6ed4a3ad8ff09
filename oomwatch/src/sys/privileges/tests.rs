use std::{fs, io, thread};

use super::*;

/// The status of a new thread after `work`. The test's own thread keeps its capabilities.
fn after(work: impl FnOnce() + Send + 'static) -> Status {
    let thread = thread::spawn(move || {
        work();
        Status::of_this_thread()
    });
    thread.join().expect("a thread that does not panic")
}

/// A thread's capabilities, from `/proc/thread-self/status`.
#[derive(Debug, PartialEq, Eq)]
struct Status {
    inheritable: CapabilitySet,
    permitted: CapabilitySet,
    effective: CapabilitySet,
    bounding: CapabilitySet,
    ambient: CapabilitySet,
    no_new_privs: bool,
}

impl Status {
    fn of_this_thread() -> Self {
        let text = fs::read_to_string("/proc/thread-self/status").expect("read the status");
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.expect("a field").trim().to_owned()
        };
        let set = |name: &str| {
            let bits = u64::from_str_radix(&field(name), 16).expect("a number");
            CapabilitySet::from_bits_retain(bits)
        };
        Self {
            inheritable: set("CapInh:"),
            permitted: set("CapPrm:"),
            effective: set("CapEff:"),
            bounding: set("CapBnd:"),
            ambient: set("CapAmb:"),
            no_new_privs: field("NoNewPrivs:") == "1",
        }
    }

    /// The expected status with these capabilities, as far as the test has them.
    fn only(kept: CapabilitySet) -> Self {
        let held = capabilities(None).expect("own capabilities").permitted;
        let bounding = if held.contains(CapabilitySet::SETPCAP) {
            CapabilitySet::empty()
        } else {
            Self::of_this_thread().bounding
        };
        Self {
            inheritable: CapabilitySet::empty(),
            permitted: held & kept,
            effective: held & kept,
            bounding,
            ambient: CapabilitySet::empty(),
            no_new_privs: true,
        }
    }
}

/// Like a kernel that needs one of these capabilities.
fn needing(any: CapabilitySet) -> impl Fn() -> io::Result<()> {
    move || {
        let sets = capabilities(None).expect("own capabilities");
        if sets.effective.intersects(any) {
            Ok(())
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
}

#[test]
fn only_syslog_is_kept() {
    let status = after(|| drop_capabilities(|| Ok::<_, io::Error>(())));
    assert_eq!(status, Status::only(CapabilitySet::SYSLOG));
}

#[test]
fn capability_for_the_counters_is_kept() {
    let needs = CapabilitySet::BPF | CapabilitySet::SYS_ADMIN;
    let status = after(move || drop_capabilities(needing(needs)));
    let expected = CapabilitySet::SYSLOG | CapabilitySet::BPF;
    assert_eq!(status, Status::only(expected));
}

#[test]
fn later_threads_have_no_more() {
    let status = after(|| {
        drop_capabilities(|| Ok::<_, io::Error>(()));
        let inner = after(|| {});
        assert_eq!(inner, Status::of_this_thread());
    });
    assert_eq!(status, Status::only(CapabilitySet::SYSLOG));
}

#[test]
fn all_capabilities_are_dropped() {
    let status = after(drop_all_capabilities);
    assert_eq!(status, Status::only(CapabilitySet::empty()));
    // Dropping is idempotent.
    let again = after(|| {
        drop_all_capabilities();
        drop_capabilities(|| Ok::<_, io::Error>(()));
    });
    assert_eq!(again, status);
}

/// Whether each action of a running process works.
fn later_actions_work() -> Vec<bool> {
    let files = [
        "/dev/kmsg",
        "/proc/1/cgroup",
        "/proc/1/stat",
        "/proc/vmstat",
        "/etc/machine-id",
    ];
    let mut done: Vec<bool> = files
        .iter()
        .map(|path| fs::File::open(path).is_ok())
        .collect();
    // SYSLOG_ACTION_SIZE_BUFFER needs the same as reading the whole log.
    // SAFETY: the call takes numbers and touches no memory.
    done.push(unsafe { libc::klogctl(10, std::ptr::null_mut(), 0) } > 0);
    done
}

#[test]
fn actions_of_a_running_process_still_work() {
    let before = later_actions_work();
    let held = capabilities(None).expect("own capabilities").permitted;
    let after_all = after(move || {
        drop_capabilities(|| Ok::<_, io::Error>(()));
        assert_eq!(later_actions_work(), before, "with {held:?} before");
    });
    assert_eq!(after_all, Status::only(CapabilitySet::SYSLOG));
}
