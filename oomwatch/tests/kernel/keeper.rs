//! An observer that goes on where an earlier one was, as the agent is: this same executable, run as `keeper KEY=VALUE…`.
//!
//! What was reported, and up to where, is one file, which is replaced as a whole: so it can be killed at any moment.

use std::{
    collections::HashMap,
    convert::Infallible,
    env,
    ffi::OsString,
    fs,
    io::{self, BufRead as _, BufReader, Read as _},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitCode, Stdio},
};

use clap::Parser as _;
use oomwatch::{
    capture::{
        config::CaptureConfig,
        observer::{CaptureItem, Observer, cursor::Cursor},
    },
    cli::{Cli, Command as Words},
    model::kill::NonKillKind,
};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::{bpffs::Bpffs, machine::Machine};

/// What it has on file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) cursor: Option<Cursor>,
    pub(crate) kills: Vec<Kill>,
    pub(crate) rekills: u64,
    pub(crate) dropped: u64,
    pub(crate) undecoded: u64,
}

/// One kill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kill {
    pub(crate) pid: u32,
    pub(crate) boot_time_ns: u64,
    pub(crate) cgroup: Vec<u8>,
}

impl Kept {
    /// Reads the file; empty if there is none.
    pub(crate) fn read(file: &Path) -> Self {
        match fs::read(file) {
            Ok(text) => serde_json::from_slice(&text).expect("what a keeper has written"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => panic!("read {}: {error}", file.display()),
        }
    }

    fn write(&self, file: &Path) {
        let new = file.with_extension("new");
        fs::write(&new, serde_json::to_vec(self).expect("JSON")).expect("write a file");
        fs::rename(new, file).expect("replace a file");
    }

    /// The kills in a cgroup or below it, in their order.
    pub(crate) fn below(&self, cgroup: &[u8]) -> Vec<&Kill> {
        self.kills
            .iter()
            .filter(|kill| kill.cgroup.starts_with(cgroup))
            .collect()
    }
}

/// Runs as a keeper.
pub(crate) fn run(words: impl Iterator<Item = OsString>) -> ExitCode {
    let orders: HashMap<_, _> = words
        .map(|word| {
            let word = word.into_string().expect("plain words");
            let (key, value) = word.split_once('=').expect("KEY=VALUE");
            (key.to_owned(), value.to_owned())
        })
        .collect();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(keep(&orders));
    ExitCode::SUCCESS
}

fn capture_config(backend: &str) -> CaptureConfig {
    let cli = Cli::try_parse_from(["oomwatch", "watch", "--backend", backend]).expect("arguments");
    match cli.command {
        Words::Watch(watch) => watch.kernel.into(),
        other => panic!("{other:?}"),
    }
}

async fn keep(orders: &HashMap<String, String>) {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .without_time()
        .with_ansi(false)
        .init();
    let file = Path::new(&orders["file"]);
    let saves = orders["saves"] == "yes";
    let mut kept = Kept::read(file);
    let before = kept.clone();
    let args = capture_config(&orders["backend"]);
    let bpffs = Path::new(&orders["bpffs"]);
    let mut observer = Observer::resume(&args, bpffs, kept.cursor.as_ref()).expect("see kills");
    say("ready");
    let mut end = end_of_stdin();
    let mut is_ending = false;
    while !is_ending {
        let mut take = |seen| {
            match seen {
                CaptureItem::Kill(kill) => kept.kills.push(Kill {
                    pid: kill.victim.pid,
                    boot_time_ns: kill.boot_time_ns.expect("a time"),
                    // Others on this machine may be killed too deep for a path.
                    cgroup: kill
                        .victim
                        .cgroup
                        .map_or_else(Vec::new, |cgroup| cgroup.path),
                }),
                CaptureItem::NonKill(event) => {
                    kept.rekills += u64::from(event.kind == NonKillKind::Rekill);
                }
                gap @ CaptureItem::Gap(_) => panic!("{gap:?}"),
            }
            ControlFlow::<Infallible>::Continue(())
        };
        let drained = tokio::select! {
            drained = observer.drain(&mut take) => drained,
            _ = &mut end => {
                is_ending = true;
                observer.drain_now(&mut take)
            }
        };
        let ControlFlow::Continue(()) = drained.expect("read the ring");
        let progress = observer.progress();
        kept.cursor.clone_from(&progress.cursor);
        kept.dropped = before.dropped + progress.losses.dropped;
        kept.undecoded = before.undecoded + progress.losses.undecoded;
        if saves {
            kept.write(file);
            observer.release(&progress.cursor.expect("a cursor"));
        }
        say(&format!("kills {}", kept.kills.len()));
    }
}

#[expect(clippy::print_stdout, reason = "read by the test")]
fn say(word: &str) {
    println!("{word}");
}

fn end_of_stdin() -> oneshot::Receiver<()> {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        let _ = ended.send(());
    });
    end
}

/// How to start one.
pub(crate) struct Keeper<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) bpffs: &'a Bpffs,
    pub(crate) file: PathBuf,
}

/// Whether it keeps what was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Saves {
    Yes,
    No,
}

/// A running one; it is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Keeper<'_> {
    /// Starts one, and waits until it sees kills.
    pub(crate) fn start(&self, saves: Saves) -> Running {
        let backend = self.machine.backend.as_deref().unwrap_or("auto");
        self.start_on(backend, saves)
    }

    /// The same on a backend.
    pub(crate) fn start_on(&self, backend: &str, saves: Saves) -> Running {
        let saves = match saves {
            Saves::Yes => "yes",
            Saves::No => "no",
        };
        let mut child = Command::new(env::current_exe().expect("own executable"))
            .arg("keeper")
            .arg(format!("bpffs={}", self.bpffs.path().display()))
            .arg(format!("file={}", self.file.display()))
            .arg(format!("backend={backend}"))
            .arg(format!("saves={saves}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start a keeper");
        let stdout = child.stdout.take().expect("a piped stdout");
        let mut running = Running {
            child,
            stdout: BufReader::new(stdout),
        };
        assert_eq!(running.line(), "ready");
        running
    }

    /// What is on file.
    pub(crate) fn kept(&self) -> Kept {
        Kept::read(&self.file)
    }

    /// Starts one, has it report all that earlier ones left, and ends it.
    pub(crate) fn catch_up(&self) -> Kept {
        let mut running = self.start(Saves::Yes);
        self.settle(&mut running);
        running.end();
        self.kept()
    }

    /// Waits until what earlier ones left is reported and removed.
    pub(crate) fn settle(&self, running: &mut Running) {
        while self.bpffs.generations().len() > 1 {
            running.reported();
        }
    }
}

impl Running {
    /// Waits for its next word: how many kills it knows.
    pub(crate) fn reported(&mut self) -> usize {
        let line = self.line();
        let count = line.strip_prefix("kills ").and_then(|n| n.parse().ok());
        count.unwrap_or_else(|| panic!("it said {line:?}"))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.stdout.read_line(&mut line).expect("read its stdout");
        assert!(read > 0, "it ended: {:?}", self.child.wait());
        line.trim_end().to_owned()
    }

    /// Ends it well, after what is there by now.
    pub(crate) fn end(mut self) {
        drop(self.child.stdin.take());
        let mut rest = String::new();
        self.stdout
            .read_to_string(&mut rest)
            .expect("read its stdout");
        let status = self.child.wait().expect("wait for a keeper");
        assert!(status.success(), "{status}: {rest}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
