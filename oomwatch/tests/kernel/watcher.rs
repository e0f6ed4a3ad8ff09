//! The command under test: started, read while it runs, and ended.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead as _, BufReader, Read},
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{cgroups::Cgroup, kernel::oom_kill_count, machine::Machine, report::Report};

/// What it says when it sees kills.
const READY: &str = "watching for OOM kills";
/// What it says at the end if nothing is missing.
const COMPLETE: &str = "every OOM kill that the kernel counted was seen";

/// How to start it.
pub(crate) struct Watch<'a> {
    machine: &'a Machine,
    arguments: Vec<String>,
    environment: Vec<(&'static str, &'static str)>,
}

impl<'a> Watch<'a> {
    /// `oomwatch watch` with these arguments.
    pub(crate) fn new(machine: &'a Machine, arguments: &[&str]) -> Self {
        Self {
            machine,
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            environment: Vec::new(),
        }
    }

    /// For kills below a cgroup.
    pub(crate) fn below(mut self, cgroup: &Cgroup) -> Self {
        self.arguments
            .extend(["--cgroup".to_owned(), cgroup.text().to_owned()]);
        self
    }

    /// With a variable of the environment.
    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.environment.push((name, value));
        self
    }

    /// Starts it, waits until it sees kills, and reads its output from then on.
    pub(crate) fn start(self) -> Watcher {
        let mut watcher = self.start_unread();
        watcher.listen();
        watcher
    }

    /// As [`Self::start`], but nobody reads its stdout yet.
    pub(crate) fn start_unread(self) -> Watcher {
        self.spawn(Stdio::piped(), None)
    }

    /// With a terminal as its stdout: its own end, and the one to read.
    pub(crate) fn start_on(self, (its, ours): (OwnedFd, OwnedFd)) -> Watcher {
        let mut watcher = self.spawn(its.into(), Some(ours.into()));
        watcher.listen();
        watcher
    }

    fn spawn(self, stdout: Stdio, terminal: Option<File>) -> Watcher {
        let counted = oom_kill_count();
        let mut command = Command::new(&self.machine.binary);
        // SAFETY: one system call with numbers, which is safe between fork and exec.
        unsafe { command.pre_exec(end_with_parent) };
        let mut child = command
            .args(["watch", "--hooks", "tracepoint"])
            .args(&self.arguments)
            .env_remove("NODE_NAME")
            .env_remove("NO_COLOR")
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", self.machine.binary.display()));
        let stderr = child.stderr.take().expect("a piped stderr");
        let mut watcher = Watcher {
            stdout: match terminal {
                Some(terminal) => Stdout::Terminal(terminal),
                None => Stdout::Pipe(child.stdout.take().expect("a piped stdout")),
            },
            child,
            talk: lines_of(stderr),
            told: Vec::new(),
            patience: self.machine.patience,
            counted,
            ended: false,
        };
        watcher.wait_until_ready();
        watcher
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
    told: Vec<String>,
    patience: Duration,
    /// The kernel's count before it was started.
    counted: u64,
    ended: bool,
}

impl Watcher {
    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + self.patience;
        while !self.told.last().is_some_and(|line| line.contains(READY)) {
            match next(&self.talk, deadline) {
                Ok(line) => self.told.push(String::from_utf8_lossy(&line).into_owned()),
                Err(why) => panic!("the command did not get ready: {why:?}"),
            }
        }
    }

    /// Reads its stdout from now on.
    pub(crate) fn listen(&mut self) {
        self.stdout = match std::mem::replace(&mut self.stdout, Stdout::Closed) {
            Stdout::Pipe(pipe) => Stdout::Read(lines_of(pipe)),
            Stdout::Terminal(terminal) => Stdout::Read(lines_of(terminal)),
            other => other,
        };
    }

    /// The pipe behind its stdout, while nobody reads it.
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
            _ => panic!("nobody reads stdout"),
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
            self.told.push(String::from_utf8_lossy(&line).into_owned());
        }
        let status = self.child.wait().expect("wait for the command");
        self.ended = true;
        Ended {
            status,
            lines,
            told: std::mem::take(&mut self.told),
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
            let told: Vec<_> = self.told.drain(..).chain(rest).collect();
            eprintln!("the command said:\n{}", told.join("\n"));
        }
    }
}

/// The command after its end.
#[derive(Debug)]
pub(crate) struct Ended {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Lines of stdout that were not read before.
    pub(crate) lines: Vec<Vec<u8>>,
    /// Lines of stderr.
    pub(crate) told: Vec<String>,
    /// How many kills the kernel counted meanwhile, on the whole machine.
    growth: u64,
}

/// What it says at its end to have seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    /// Kills of the whole machine.
    pub(crate) kills: u64,
    /// Victims that were sent SIGKILL once more.
    pub(crate) rekills: u64,
    /// Marks without a kill.
    pub(crate) marks: u64,
    /// Killed sharers of a victim's memory.
    pub(crate) sharers: u64,
}

impl Ended {
    /// Its lines as reports.
    pub(crate) fn reports(&self) -> Vec<Report> {
        self.lines.iter().map(|line| Report::parse(line)).collect()
    }

    /// Its only line as a report.
    pub(crate) fn report(&self) -> Report {
        let [report] = &self.reports()[..] else {
            panic!("not one report: {self:#?}");
        };
        report.clone()
    }

    /// Its lines as text.
    pub(crate) fn text(&self) -> Vec<&str> {
        self.lines
            .iter()
            .map(|line| str::from_utf8(line).expect("output in UTF-8"))
            .collect()
    }

    /// What it counted: it says that nothing is missing, and it counted nothing that the kernel did not.
    pub(crate) fn sum(&self) -> Sum {
        let line = self
            .told
            .iter()
            .find_map(|line| line.split_once(COMPLETE).map(|(_, counts)| counts))
            .unwrap_or_else(|| panic!("no word that every kill was seen: {:#?}", self.told));
        let counts: HashMap<_, u64> = line
            .split_ascii_whitespace()
            .filter_map(|count| count.split_once('='))
            .map(|(name, count)| (name, count.parse().expect("a count")))
            .collect();
        let sum = Sum {
            kills: counts["kills"],
            rekills: counts["rekills"],
            marks: counts["marks"],
            sharers: counts["sharers"],
        };
        assert!(
            sum.kills + sum.rekills <= self.growth,
            "{sum:?}, but the kernel counted {}",
            self.growth
        );
        sum
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
