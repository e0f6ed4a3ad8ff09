//! The command with less than root has: as another user, with some capabilities, with or without tracefs.
//!
//! All of it is the child's own, its mounts too: nothing of the machine changes.

use std::{
    ffi::CStr,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _},
    os::{fd::AsRawFd as _, unix::process::CommandExt as _},
    process::{Child, ChildStderr, Command, Stdio},
    ptr,
};

use rustix::{
    process::{Gid, Pid, Resource, Rlimit, Signal, Uid, kill_process, setrlimit},
    thread::{
        CapabilitySet, CapabilitySets, configure_capability_in_ambient_set,
        remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities,
        set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};
use serde_json::Value;

use crate::machine::Machine;

/// What a user without privileges may lock, by default of kernels before 5.16.
const MEMLOCK_BYTES: u64 = 64 << 10;
/// An unprivileged user.
pub(crate) const OTHER_USER: u32 = 65534;

const TRACEFS: &CStr = c"tracefs";
/// Where it is looked for; debugfs has it, too.
const TRACING: &CStr = c"/sys/kernel/tracing";
const DEBUG: &CStr = c"/sys/kernel/debug";
const DEVICES: &CStr = c"/dev";

/// Who runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    Root,
    Other,
}

/// Whether tracefs is mounted where it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tracefs {
    Mounted,
    Absent,
}

/// Whether devices may be opened, which containers are mostly not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Devices {
    Open,
    Closed,
}

/// How it is run.
#[derive(Clone, Copy)]
pub(crate) struct Confined<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) user: User,
    pub(crate) capabilities: CapabilitySet,
    pub(crate) tracefs: Tracefs,
    pub(crate) devices: Devices,
}

/// The command after its end.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl<'a> Confined<'a> {
    /// As root, with all that these tests have themselves, and tracefs.
    pub(crate) fn root(machine: &'a Machine) -> Self {
        let held = rustix::thread::capabilities(None).expect("own capabilities");
        Self {
            machine,
            user: User::Root,
            capabilities: held.permitted,
            tracefs: Tracefs::Mounted,
            devices: Devices::Open,
        }
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().expect("run the command");
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout is text"),
            stderr: String::from_utf8(output.stderr).expect("stderr is text"),
        }
    }

    /// The command, to be started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        // By an open file: its folder may be closed to another user.
        let program = File::open(&self.machine.binary).expect("open the command");
        let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
        command
            .arg0("oomwatch")
            .args(arguments)
            .env_remove("NODE_NAME")
            .env_remove("NO_COLOR")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let Self {
            machine: _,
            user,
            capabilities,
            tracefs,
            devices,
        } = *self;
        let confine = move || {
            let _program = &program;
            // SAFETY: takes numbers.
            check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
            arrange_mounts(tracefs, devices)?;
            confine(user, capabilities)
        };
        // SAFETY: system calls without memory of its own, which is safe between fork and exec.
        unsafe { command.pre_exec(confine) };
        command
    }
}

/// `watch -o json` while it runs; it ends with its patience, and is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    /// A file, which is never full: others on the machine may kill, too.
    stdout: File,
    stderr: BufReader<ChildStderr>,
}

/// Such a one after its end.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What it printed.
    pub(crate) reports: Vec<Value>,
    /// What it said since it was ready.
    pub(crate) messages: String,
}

impl Running {
    /// Starts it and waits until it sees kills.
    pub(crate) fn start(confined: &Confined<'_>, arguments: &[&str]) -> Self {
        let patience = format!("{}s", confined.machine.patience.as_secs());
        let watch = ["watch", "-o", "json", "--timeout", &patience];
        let stdout = tempfile::tempfile().expect("make a file");
        let mut command = confined.command(&[&watch[..], arguments].concat());
        command.stdout(stdout.try_clone().expect("share the file"));
        let mut child = command.spawn().expect("start the command");
        let stderr = child.stderr.take().expect("a piped stderr");
        let mut running = Self {
            child,
            stdout,
            stderr: BufReader::new(stderr),
        };
        let mut messages = String::new();
        while !messages.contains("watching for OOM kills") {
            let read = running
                .stderr
                .read_line(&mut messages)
                .expect("read stderr");
            assert!(read > 0, "{arguments:?} did not get ready: {messages}");
        }
        running
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn interrupt(mut self) -> Ended {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill_process(Pid::from_raw(pid).expect("a process id"), Signal::INT).expect("interrupt");
        let mut messages = String::new();
        self.stderr
            .read_to_string(&mut messages)
            .expect("read stderr");
        let status = self.child.wait().expect("wait for the command");
        assert_eq!(status.code(), Some(130), "{messages}");
        self.stdout.rewind().expect("go to the beginning");
        let mut printed = String::new();
        self.stdout
            .read_to_string(&mut printed)
            .expect("read what was printed");
        let reports = printed
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        Ended {
            reports: reports.collect(),
            messages,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Leaves the mounts of all others alone.
fn arrange_mounts(tracefs: Tracefs, devices: Devices) -> io::Result<()> {
    // SAFETY: takes a number.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE)?;
    match tracefs {
        Tracefs::Mounted => match mount(Some(TRACEFS), TRACING, Some(TRACEFS), 0) {
            // It is there already.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            mounted => mounted?,
        },
        Tracefs::Absent => {
            for place in [TRACING, DEBUG] {
                // SAFETY: a string with a NUL.
                while unsafe { libc::umount2(place.as_ptr(), libc::MNT_DETACH) } == 0 {}
            }
        }
    }
    if devices == Devices::Closed {
        mount(Some(DEVICES), DEVICES, None, libc::MS_BIND)?;
        let closed = libc::MS_BIND | libc::MS_REMOUNT | libc::MS_NODEV;
        mount(None, DEVICES, None, closed)?;
    }
    Ok(())
}

fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: libc::c_ulong,
) -> io::Result<()> {
    let [source, kind] = [source, kind].map(|text| text.map_or(ptr::null(), CStr::as_ptr));
    // SAFETY: strings with a NUL, or none.
    check(unsafe { libc::mount(source, target.as_ptr(), kind, flags, ptr::null()) })
}

fn confine(user: User, held: CapabilitySet) -> io::Result<()> {
    let limit = Rlimit {
        current: Some(MEMLOCK_BYTES),
        maximum: Some(MEMLOCK_BYTES),
    };
    setrlimit(Resource::Memlock, limit)?;
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if held.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            // Past the last that this kernel knows.
            Err(rustix::io::Errno::INVAL) => break,
            removed => removed?,
        }
    }
    if user == User::Other {
        set_keep_capabilities(true)?;
        let (uid, gid) = (Uid::from_raw(OTHER_USER), Gid::from_raw(OTHER_USER));
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
    }
    let sets = CapabilitySets {
        effective: held,
        permitted: held,
        inheritable: held,
    };
    set_capabilities(None, sets)?;
    for capability in held.iter() {
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

fn check(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
