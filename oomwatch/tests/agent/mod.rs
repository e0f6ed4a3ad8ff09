//! The agent: started with folders of its own, asked, ended, and killed.
//!
//! Shared by the targets that run it by hand.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each target uses a part of it"
)]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    mount::{MountFlags, UnmountFlags, mount, unmount},
    process::{Pid, Signal, kill_process},
};
use serde_json::Value;
use tempfile::TempDir;

/// Whose node it is on.
pub(crate) const NODE: &str = "node-1";
/// What it says when it sees kills.
const READY: &str = "watching for OOM kills";

/// Where an agent keeps what outlives it. Unmounted and removed with this.
pub(crate) struct Home {
    folder: TempDir,
    setup: Setup,
}

/// What is the same for all agents of a home.
pub(crate) struct Setup {
    /// The command.
    pub(crate) binary: PathBuf,
    /// What names its API server; absent if it has none.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// How long something may take.
    pub(crate) patience: Duration,
}

/// A running agent; it is killed when this is dropped.
pub(crate) struct Agent {
    child: Child,
    said: Receiver<String>,
    port: u16,
    patience: Duration,
}

/// A row of the history.
pub(crate) struct Row(pub(crate) Value);

impl Home {
    /// With a bpffs of its own.
    pub(crate) fn new(setup: Setup) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("oomwatch-test-")
            .tempdir()
            .expect("make a folder");
        for name in ["state", "bpf", "log"] {
            fs::create_dir(folder.path().join(name)).expect("make a folder");
        }
        let home = Self { folder, setup };
        home.mount_bpffs();
        home
    }

    /// The folder of the history.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn bpffs(&self) -> PathBuf {
        self.folder.path().join("bpf")
    }

    fn mount_bpffs(&self) {
        mount("bpf", self.bpffs(), "bpf", MountFlags::empty(), None).expect("mount a bpffs");
    }

    /// Takes the bpffs away with all that is in it, and gives a new one.
    pub(crate) fn lose_bpffs(&self) {
        unmount(self.bpffs(), UnmountFlags::empty()).expect("unmount the bpffs");
        self.mount_bpffs();
    }

    /// Makes the pins look like another version's, whose records cannot be read.
    pub(crate) fn change_layout(&self, version: u32) {
        let pins = self.bpffs().join("oomwatch");
        for entry in fs::read_dir(&pins).expect("read the pins") {
            let name = entry.expect("a generation").file_name();
            let name = name.into_string().expect("a plain name");
            let (_, time) = name.split_once('-').expect("the name of a generation");
            let other = pins.join(format!("{version}-{time}"));
            fs::rename(pins.join(&name), other).expect("rename a generation");
        }
    }

    /// Has the history's folder be a disk of its own, with so much room.
    pub(crate) fn mount_disk(&self, bytes: u64) {
        let size = std::ffi::CString::new(format!("size={bytes}")).expect("plain");
        mount(
            "tmpfs",
            self.state(),
            "tmpfs",
            MountFlags::empty(),
            Some(size.as_c_str()),
        )
        .expect("mount a small disk");
    }

    /// Takes all room that is left on that disk.
    pub(crate) fn fill_disk(&self) -> PathBuf {
        let path = self.state().join("filler");
        let mut file = File::create(&path).expect("make a file");
        let block = [0; 4096];
        while file.write(&block).is_ok_and(|written| written > 0) {}
        path
    }

    /// Starts the agent. It may not be ready yet.
    pub(crate) fn spawn(&self) -> Agent {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let out = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("stdout"))
            .expect("make a file");
        let mut command = Command::new(&self.setup.binary);
        command
            .arg("agent")
            .args(["--node", NODE])
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--cri-socket", "off", "--docker-socket", "off"])
            .args(["--start-jitter", "1ms"])
            .arg("--log-root")
            .arg(self.folder.path().join("log"))
            .arg("--state-dir")
            .arg(self.state())
            .arg("--bpffs")
            .arg(self.bpffs())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(Stdio::piped());
        match &self.setup.kubeconfig {
            Some(kubeconfig) => command.env("KUBECONFIG", kubeconfig),
            None => command.args(["--kubernetes", "off"]),
        };
        let mut child = command.spawn().expect("start the agent");
        let stderr = child.stderr.take().expect("its messages");
        let (say, said) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("    {line}");
                let _ = say.send(line);
            }
        });
        Agent {
            child,
            said,
            port,
            patience: self.setup.patience,
        }
    }

    /// Starts the agent, and waits until it sees kills.
    pub(crate) fn start(&self) -> Agent {
        let agent = self.spawn();
        agent.until_it_says(READY);
        agent
    }

    /// What the agents wrote to stdout so far.
    pub(crate) fn lines(&self) -> Vec<Row> {
        let text = fs::read_to_string(self.folder.path().join("stdout")).expect("read stdout");
        let parse = |line| Row(serde_json::from_str(line).expect("a JSON object"));
        text.lines().map(parse).collect()
    }

    /// What the history has.
    pub(crate) fn history(&self) -> Vec<Row> {
        let output = Command::new(&self.setup.binary)
            .args(["history", "-o", "json", "--limit", "0", "--state-dir"])
            .arg(self.state())
            .output()
            .expect("run history");
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        let parse = |line| Row(serde_json::from_str(line).expect("a JSON object"));
        text.lines().map(parse).collect()
    }
}

impl Row {
    /// Id of the victim.
    pub(crate) fn pid(&self) -> Option<u64> {
        self.0["victim"]["pid"].as_u64()
    }

    /// Kills that these rows stand for.
    pub(crate) fn kills(rows: &[Self]) -> u64 {
        let kills = |row: &&Self| row.0["unidentified"].is_null();
        let rows = rows.iter().filter(kills);
        rows.map(|row| row.0["kills"].as_u64().unwrap_or(1)).sum()
    }

    /// Kills that were only counted.
    pub(crate) fn unidentified(rows: &[Self]) -> u64 {
        let rows = rows.iter();
        rows.map(|row| row.0["unidentified"].as_u64().unwrap_or(0))
            .sum()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = unmount(self.bpffs(), UnmountFlags::DETACH);
        let _ = unmount(self.state(), UnmountFlags::DETACH);
    }
}

impl Agent {
    /// Waits until it says this.
    pub(crate) fn until_it_says(&self, word: &str) -> String {
        let deadline = Instant::now() + self.patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.said.recv_timeout(left) {
                Ok(line) if line.contains(word) => return line,
                Ok(_) => {}
                Err(error) => panic!("the agent never said {word:?}: {error}"),
            }
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("kill the agent");
        self.child.wait().expect("wait for the agent");
    }

    /// Stops it in its tracks, and lets it go on.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("send a signal");
    }

    /// Has the OOM killer take everyone else first, as a pod of the class `system-node-critical` is spared.
    pub(crate) fn protect(&self) {
        let path = format!("/proc/{}/oom_score_adj", self.child.id());
        fs::write(path, "-997").expect("write oom_score_adj");
    }

    /// The most memory that it has had so far.
    pub(crate) fn peak_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).expect("read its status");
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"))
            .expect("its peak");
        peak.parse::<u64>().expect("a number") * 1024
    }

    /// Ends it, which must go well.
    pub(crate) fn end(mut self) {
        self.signal(Signal::TERM);
        let status = self.child.wait().expect("wait for the agent");
        assert!(status.success(), "the agent: {status}");
    }

    /// Waits until this holds for its metrics, by their series.
    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut(&BTreeMap<String, f64>) -> bool) {
        // Failed requests are made again after a minute at most.
        let deadline = Instant::now() + 4 * self.patience;
        loop {
            let metrics = self.metrics();
            if holds(&metrics) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {metrics:#?}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits until every Event is delivered.
    pub(crate) fn until_all_is_delivered(&self) {
        self.until("all is delivered", |metrics| {
            metrics.get("oomwatch_events_pending") == Some(&0.0)
                && metrics.get("oomwatch_api_watch_up") == Some(&1.0)
        });
    }

    fn metrics(&self) -> BTreeMap<String, f64> {
        let text = get(self.port, "/metrics");
        text.lines()
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(series, value)| Some((series.to_owned(), value.parse().ok()?)))
            .collect()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(port: u16, path: &str) -> String {
    let mut answer = String::new();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect to the agent");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n"
    )
    .expect("ask the agent");
    stream.read_to_string(&mut answer).expect("read its answer");
    answer
}

/// Whether a file is there.
pub(crate) fn is_there(path: &Path) -> bool {
    fs::exists(path).expect("look for a file")
}
