//! The command under test: started, read while it runs, and ended.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufRead as _, BufReader, Read},
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use oomwatch::model::backend::Backend;

use crate::{cgroups::Cgroup, ended::Ended, kernel::oom_kill_count, machine::Machine};

/// What it says when it sees kills.
const READY: &str = "watching for OOM kills";
/// Exit code of wrong usage.
const USAGE: i32 = 2;

/// How to start it.
pub(crate) struct Watch<'a> {
    machine: &'a Machine,
    command: &'static str,
    arguments: Vec<String>,
    environment: Vec<(&'static str, OsString)>,
}

impl<'a> Watch<'a> {
    /// `oomwatch watch` with these arguments.
    pub(crate) fn new(machine: &'a Machine, arguments: &[&str]) -> Self {
        Self {
            machine,
            command: "watch",
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            environment: Vec::new(),
        }
    }

    /// `oomwatch agent` with these arguments.
    pub(crate) fn agent(machine: &'a Machine, arguments: &[&str]) -> Self {
        Self {
            command: "agent",
            ..Self::new(machine, arguments)
        }
    }

    /// `oomwatch watch -o json` on this backend.
    pub(crate) fn on(machine: &'a Machine, backend: Backend) -> Self {
        Self::new(machine, &["-o", "json", "--backend", backend.flag()])
    }

    /// For kills below a cgroup, which is the root of the kubelet's.
    pub(crate) fn below(mut self, cgroup: &Cgroup) -> Self {
        self.arguments
            .extend(["--cgroup".to_owned(), cgroup.text().to_owned()]);
        self.kubelet_below(cgroup)
    }

    /// With the kubelet's root at a cgroup.
    pub(crate) fn kubelet_below(mut self, cgroup: &Cgroup) -> Self {
        self.arguments
            .extend(["--kubelet-cgroup-root".to_owned(), cgroup.text().to_owned()]);
        self
    }

    /// With a variable of the environment.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Starts it, waits until it sees kills, and reads its output from then on.
    pub(crate) fn start(self) -> Watcher {
        let mut watcher = self.start_unread();
        watcher.listen();
        watcher
    }

    /// As [`Self::start`], but its stdout is not read yet.
    pub(crate) fn start_unread(self) -> Watcher {
        self.spawn(Stdio::piped(), None).ready()
    }

    /// As [`Self::start`], but it may refuse; then this is what it says of it.
    pub(crate) fn try_start(self) -> Result<Watcher, String> {
        let mut watcher = self.spawn(Stdio::piped(), None);
        watcher.wait_until_ready()?;
        watcher.listen();
        Ok(watcher)
    }

    /// With a terminal as its stdout: its own end, and the one to read.
    pub(crate) fn start_on(self, (its, ours): (OwnedFd, OwnedFd)) -> Watcher {
        let mut watcher = self.spawn(its.into(), Some(ours.into())).ready();
        watcher.listen();
        watcher
    }

    fn spawn(self, stdout: Stdio, terminal: Option<File>) -> Watcher {
        let counted = oom_kill_count();
        let chosen = (self.machine.backend.iter())
            .filter(|_| !self.arguments.iter().any(|word| word == "--backend"))
            .flat_map(|backend| ["--backend", backend]);
        let mut command = Command::new(&self.machine.binary);
        // SAFETY: one system call with numbers, which is safe between fork and exec.
        unsafe { command.pre_exec(end_with_parent) };
        let mut child = command
            .arg(self.command)
            .args(&self.arguments)
            .args(chosen)
            .env_remove("NODE_NAME")
            .env_remove("NO_COLOR")
            .env_remove("KUBECONFIG")
            .env_remove("KUBERNETES_SERVICE_HOST")
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", self.machine.binary.display()));
        let stderr = child.stderr.take().expect("a piped stderr");
        Watcher {
            stdout: match terminal {
                Some(terminal) => Stdout::Terminal(terminal),
                None => Stdout::Pipe(child.stdout.take().expect("a piped stdout")),
            },
            child,
            talk: lines_of(stderr),
            messages: Vec::new(),
            patience: self.machine.patience,
            counted,
            ended: false,
        }
    }
}

enum Stdout {
    Pipe(ChildStdout),
    Terminal(File),
    Read(Receiver<Vec<u8>>),
    Closed,
}

/// The running command.
pub(crate) struct Watcher {
    child: Child,
    stdout: Stdout,
    talk: Receiver<Vec<u8>>,
    messages: Vec<String>,
    patience: Duration,
    /// The kernel's count before it was started.
    counted: u64,
    ended: bool,
}

impl Watcher {
    fn ready(mut self) -> Self {
        match self.wait_until_ready() {
            Ok(()) => self,
            Err(why) => panic!("the command did not get ready: {why}"),
        }
    }

    /// Waits until it sees kills; if it ends instead, this is what it says of it.
    fn wait_until_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + self.patience;
        while !self
            .messages
            .last()
            .is_some_and(|line| line.contains(READY))
        {
            match next(&self.talk, deadline) {
                Ok(line) => self
                    .messages
                    .push(String::from_utf8_lossy(&line).into_owned()),
                Err(RecvTimeoutError::Timeout) => panic!("the command did not get ready"),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait().expect("wait for the command");
                    self.ended = true;
                    let line = match status.code() {
                        Some(USAGE) => self.messages.first(),
                        _ => self.messages.last(),
                    };
                    return Err(line.map_or_else(|| status.to_string(), Clone::clone));
                }
            }
        }
        Ok(())
    }

    /// The backend that it named at its start.
    pub(crate) fn backend(&self) -> &str {
        let ready = self.messages.iter().find(|line| line.contains(READY));
        let (_, backend) = ready
            .and_then(|line| line.split_once("backend=\""))
            .unwrap_or_else(|| panic!("no word about the backend: {:?}", self.messages));
        backend.split('"').next().unwrap_or_default()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads its stdout from now on.
    pub(crate) fn listen(&mut self) {
        self.stdout = match std::mem::replace(&mut self.stdout, Stdout::Closed) {
            Stdout::Pipe(pipe) => Stdout::Read(lines_of(pipe)),
            Stdout::Terminal(terminal) => Stdout::Read(lines_of(terminal)),
            other => other,
        };
    }

    /// The pipe behind its stdout, while it is not read.
    pub(crate) fn pipe(&self) -> &ChildStdout {
        match &self.stdout {
            Stdout::Pipe(pipe) => pipe,
            _ => panic!("stdout is read already"),
        }
    }

    /// Leaves it without a reader.
    pub(crate) fn close(&mut self) {
        self.stdout = Stdout::Closed;
    }

    /// Waits for its next line.
    pub(crate) fn line(&mut self) -> Vec<u8> {
        match &self.stdout {
            Stdout::Read(lines) => {
                next(lines, Instant::now() + self.patience).expect("a line of the command")
            }
            _ => panic!("stdout is not read"),
        }
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn interrupt(self) -> Ended {
        self.signal(Signal::INT);
        let ended = self.end();
        assert_eq!(ended.status.code(), Some(130), "{ended:?}");
        ended
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill_process(Pid::from_raw(pid).expect("a process id"), signal).expect("send a signal");
    }

    /// Waits until it ends by itself, and takes what it has printed that was not read yet.
    pub(crate) fn end(mut self) -> Ended {
        let deadline = Instant::now() + self.patience;
        let mut lines = Vec::new();
        if let Stdout::Read(output) = &self.stdout {
            while let Some(line) = until_end(output, deadline) {
                lines.push(line);
            }
        }
        while let Some(line) = until_end(&self.talk, deadline) {
            self.messages
                .push(String::from_utf8_lossy(&line).into_owned());
        }
        let status = self.child.wait().expect("wait for the command");
        self.ended = true;
        Ended {
            backend: self.backend().to_owned(),
            status,
            lines,
            messages: std::mem::take(&mut self.messages),
            growth: oom_kill_count() - self.counted,
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let rest = self
                .talk
                .iter()
                .map(|line| String::from_utf8_lossy(&line).into_owned());
            let messages: Vec<_> = self.messages.drain(..).chain(rest).collect();
            eprintln!("the command said:\n{}", messages.join("\n"));
        }
    }
}

/// Leaves no watcher behind if the tests themselves are killed.
fn end_with_parent() -> io::Result<()> {
    // SAFETY: takes numbers.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The lines of a stream, read in a thread of its own until its end.
fn lines_of(stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        loop {
            let mut line = Vec::new();
            // A terminal ends with an error.
            if stream.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
                return;
            }
            line.pop_if(|byte| *byte == b'\n');
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn next(lines: &Receiver<Vec<u8>>, deadline: Instant) -> Result<Vec<u8>, RecvTimeoutError> {
    lines.recv_timeout(deadline.saturating_duration_since(Instant::now()))
}

/// The next line, or none at the end of the stream, which must come.
fn until_end(lines: &Receiver<Vec<u8>>, deadline: Instant) -> Option<Vec<u8>> {
    match next(lines, deadline) {
        Ok(line) => Some(line),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => panic!("the command did not end"),
    }
}
