//! Starting victims inside their cgroups, and waiting for their end.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt::Display,
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    ops::RangeInclusive,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        process::{CommandExt as _, ExitStatusExt as _},
    },
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{cgroups::Cgroup, machine::boot_time_ns};

/// Name of a victim that was given none.
const NAME: &[u8] = b"hog";

/// A victim to be; [`crate::hog`] has the modes.
#[derive(Clone)]
pub(crate) struct Hog {
    words: Vec<OsString>,
    name: Vec<u8>,
}

impl Hog {
    /// One that does this.
    pub(crate) fn new(mode: &str) -> Self {
        Self {
            words: vec!["hog".into(), mode.into()],
            name: NAME.to_vec(),
        }
    }

    /// One that touches memory until it is killed.
    pub(crate) fn plain() -> Self {
        Self::new("plain")
    }

    /// One that holds so much and waits; more likely to be killed than others.
    pub(crate) fn holding(bytes: u64) -> Self {
        Self::new("hold").set("bytes", bytes)
    }

    /// Has it follow an order.
    pub(crate) fn set(mut self, key: &str, value: impl Display) -> Self {
        self.words.push(format!("{key}={value}").into());
        self
    }

    /// Has it wait for the word before it touches memory.
    pub(crate) fn gated(self) -> Self {
        self.set("gate", 1)
    }

    /// Gives it a name: up to 15 bytes but NUL.
    pub(crate) fn named(mut self, name: &[u8]) -> Self {
        self.name = name.to_vec();
        self
    }

    /// Starts it inside a cgroup.
    pub(crate) fn start(mut self, cgroup: &Cgroup, patience: Duration) -> Process {
        self.words
            .push(OsString::from_vec([b"name=", &self.name[..]].concat()));
        let hog = self.set("alarm", patience.as_secs());
        let executable = env::current_exe().expect("own executable");
        let mut command = Command::new(&executable);
        command
            .args(&hog.words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let entrance = cgroup.entrance();
        let enter = move || (&entrance).write_all(b"0");
        // SAFETY: one write, which is safe between fork and exec.
        unsafe { command.pre_exec(enter) };
        let before = boot_time_ns();
        let child = command.spawn().expect("start a hog");
        let started = before..=boot_time_ns();
        let mut arguments = vec![executable.into_os_string()];
        arguments.extend(hog.words);
        Process {
            child,
            name: hog.name,
            started,
            arguments,
        }
    }
}

/// A running victim; it is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    name: Vec<u8>,
    started: RangeInclusive<u64>,
    arguments: Vec<OsString>,
}

/// A process that was killed.
#[derive(Clone, Debug)]
pub(crate) struct Victim {
    /// Its id in this PID namespace.
    pub(crate) pid: u32,
    /// Its name.
    pub(crate) name: Vec<u8>,
    /// Between these it was started: nanoseconds since boot.
    pub(crate) started: RangeInclusive<u64>,
    /// Its arguments.
    pub(crate) arguments: Vec<Vec<u8>>,
}

impl Process {
    /// Its id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it says that it is ready.
    pub(crate) fn ready(&mut self) {
        let mut line = String::new();
        let stdout = self.child.stdout.as_mut().expect("a piped stdout");
        BufReader::with_capacity(1, stdout)
            .read_line(&mut line)
            .expect("read what a hog says");
        assert_eq!(line, "ready\n", "{:?}", self.child.try_wait());
    }

    /// Gives the word.
    pub(crate) fn go(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits until it was killed.
    pub(crate) fn killed(mut self) -> Victim {
        let status = self.child.wait().expect("wait for a hog");
        assert_eq!(status.signal(), Some(libc::SIGKILL), "the hog: {status}");
        self.as_victim(self.pid())
    }

    /// Waits until it has ended well: a process below it was killed.
    pub(crate) fn ended(mut self) {
        let status = self.child.wait().expect("wait for a hog");
        assert!(status.success(), "the hog: {status}");
    }

    /// The process below it with its name, once it is ready.
    pub(crate) fn descendant(&mut self, cgroup: &Cgroup) -> Victim {
        self.ready();
        let pid = cgroup
            .processes()
            .into_iter()
            .find(|&pid| pid != self.pid() && comm(pid).is_ok_and(|comm| comm == self.name))
            .expect("the hog's descendant");
        let now = boot_time_ns();
        Victim {
            started: *self.started.start()..=now,
            ..self.as_victim(pid)
        }
    }

    /// What would be known of it if this process of its own were killed.
    pub(crate) fn as_victim(&self, pid: u32) -> Victim {
        Victim {
            pid,
            name: self.name.clone(),
            started: self.started.clone(),
            arguments: self
                .arguments
                .iter()
                .map(|argument| OsStr::as_bytes(argument).to_vec())
                .collect(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn comm(pid: u32) -> io::Result<Vec<u8>> {
    let mut comm = fs::read(format!("/proc/{pid}/comm"))?;
    comm.pop_if(|byte| *byte == b'\n');
    Ok(comm)
}
