use std::{fs, io, thread};

use super::*;

/// What a thread has after `work` in it. A test that is root keeps its own.
fn after(work: impl FnOnce() + Send + 'static) -> Status {
    let thread = thread::spawn(move || {
        work();
        Status::of_this_thread()
    });
    thread.join().expect("a thread that does not panic")
}

/// As the kernel tells it.
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

    /// With no more than that, of what these tests have.
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

/// As a kernel that asks for one of them.
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
fn only_the_log_can_be_opened_afterwards() {
    let status = after(|| drop_capabilities(|| Ok::<_, io::Error>(())));
    assert_eq!(status, Status::only(CapabilitySet::SYSLOG));
}

#[test]
fn what_the_counters_need_stays() {
    let needs = CapabilitySet::BPF | CapabilitySet::SYS_ADMIN;
    let status = after(move || drop_capabilities(needing(needs)));
    let expected = CapabilitySet::SYSLOG | CapabilitySet::BPF;
    assert_eq!(status, Status::only(expected));
}

#[test]
fn threads_made_later_have_no_more() {
    let status = after(|| {
        drop_capabilities(|| Ok::<_, io::Error>(()));
        let inner = after(|| {});
        assert_eq!(inner, Status::of_this_thread());
    });
    assert_eq!(status, Status::only(CapabilitySet::SYSLOG));
}

#[test]
fn thread_that_needs_none_has_none() {
    let status = after(drop_all_capabilities);
    assert_eq!(status, Status::only(CapabilitySet::empty()));
    // Twice is as good as once.
    let again = after(|| {
        drop_all_capabilities();
        drop_capabilities(|| Ok::<_, io::Error>(()));
    });
    assert_eq!(again, status);
}

/// What is done later, and whether it can be done.
fn can_be_done_later() -> Vec<bool> {
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
    // SYSLOG_ACTION_SIZE_BUFFER takes what reading the whole log takes.
    // SAFETY: numbers, and no memory.
    done.push(unsafe { libc::klogctl(10, std::ptr::null_mut(), 0) } > 0);
    done
}

#[test]
fn what_is_done_later_can_be_done() {
    let before = can_be_done_later();
    let held = capabilities(None).expect("own capabilities").permitted;
    let after_all = after(move || {
        drop_capabilities(|| Ok::<_, io::Error>(()));
        assert_eq!(can_be_done_later(), before, "with {held:?} before");
    });
    assert_eq!(after_all, Status::only(CapabilitySet::SYSLOG));
}
