//! Kills in containers of a real Docker, named through its socket.
//!
//! Needs root, BPF, `dockerd` with its `docker`, containerd, runc and a static busybox; where `dockerd` is not on the PATH this is
//! skipped, unless `OOMWATCH_REQUIRE` has `docker` or `all`. The Docker is the test's own: its files and its socket lie in a
//! temporary folder, it makes no network, and it ends with the test.
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test says what it expects, and fails by panicking"
)]

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// What containers are made of.
const IMAGE: &str = "oomwatch-test/busybox:1";

struct Docker {
    folder: TempDir,
    server: Child,
}

impl Docker {
    fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("oomwatch-test-")
            .tempdir()
            .expect("make a folder");
        let path = |name: &str| folder.path().join(name);
        let log = fs::File::create(path("log")).expect("make the log");
        let server = Command::new("dockerd")
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"))
            .arg("--host")
            .arg(format!("unix://{}", path("socket").display()))
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .args(["--storage-driver", "vfs"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start dockerd");
        let docker = Self { folder, server };
        let deadline = Instant::now() + PATIENCE;
        while !docker.run(&["version"]).status.success() {
            let log = || fs::read_to_string(docker.folder.path().join("log")).unwrap_or_default();
            assert!(
                Instant::now() < deadline,
                "dockerd did not answer: {}",
                log()
            );
            thread::sleep(Duration::from_millis(100));
        }
        docker.make_image();
        docker
    }

    fn make_image(&self) {
        let root = self.folder.path().join("image");
        fs::create_dir_all(root.join("bin")).expect("make a root");
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("install busybox-static");
        for name in ["sh", "tail", "sleep"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name))
                .expect("link busybox");
        }
        let archive = self.folder.path().join("image.tar");
        let packed = Command::new("tar")
            .arg("-C")
            .arg(&root)
            .arg("-cf")
            .arg(&archive)
            .arg(".")
            .output()
            .expect("run tar");
        assert!(packed.status.success(), "{packed:?}");
        let imported = self.run(&["import", &archive.to_string_lossy(), IMAGE]);
        assert!(imported.status.success(), "{imported:?}");
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new("docker")
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("run docker")
    }

    /// Runs a command in a container that may use 40 MiB, until it ends.
    fn container(&self, options: &[&str], command: &[&str]) {
        let run = ["run", "--net", "none", "--memory", "40m"];
        let ran = self.run(&[&run, options, &[IMAGE], command].concat());
        assert!(!ran.status.success(), "{ran:?}");
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // On SIGTERM it ends its containerd, too.
        let pid = rustix::process::Pid::from_child(&self.server);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.server.wait();
    }
}

/// Cgroups that look like a kubelet's, below one of the test's own; removed with it.
struct Tree(String);

impl Drop for Tree {
    fn drop(&mut self) {
        let Self(name) = self;
        let hierarchies = fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten();
        for folder in hierarchies
            .map(|entry| entry.path())
            .chain(["/sys/fs/cgroup".into()])
        {
            remove(&folder.join(&name));
        }
    }
}

/// Removes a cgroup with those below it.
fn remove(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(cgroup);
}

/// `oomwatch watch`, which knows Docker's socket alone.
struct Watch {
    child: Child,
    reports: BufReader<ChildStdout>,
}

impl Watch {
    fn start(socket: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_oomwatch"))
            .args([
                "watch",
                "-o",
                "json",
                "--timeout",
                "120s",
                "--cri-socket",
                "off",
            ])
            .args(["--log-root", "/nonexistent", "--docker-socket"])
            .arg(socket)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start oomwatch");
        let mut talk = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        while !line.contains("watching for OOM kills") {
            line.clear();
            let length = talk.read_line(&mut line).expect("read stderr");
            assert_ne!(length, 0, "the command did not get ready");
        }
        // Whatever else it says is not waited for.
        thread::spawn(move || talk.lines().count());
        let reports = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, reports }
    }

    /// The next kill in the container of this name.
    fn next(&mut self, name: &str) -> Value {
        loop {
            let mut line = String::new();
            let length = self.reports.read_line(&mut line).expect("read stdout");
            assert_ne!(length, 0, "no kill in {name}");
            let report: Value = serde_json::from_str(&line).expect("JSON");
            if report["container"]["name"] == name {
                return report;
            }
            eprintln!("not in {name}: {line}");
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn can_run() -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_there = |name: &str| env::split_paths(&path).any(|folder| folder.join(name).exists());
    let missing: Vec<_> = ["dockerd", "docker", "containerd", "runc", "tar"]
        .into_iter()
        .filter(|name| !is_there(name))
        .collect();
    let root = rustix::process::geteuid().is_root();
    let can = missing.is_empty() && root && Path::new("/bin/busybox").exists();
    if !can {
        eprintln!(
            "skipped: needs root (is {root}), busybox-static, and what is missing here: {missing:?}"
        );
        let required = env::var("OOMWATCH_REQUIRE").unwrap_or_default();
        assert!(
            !required
                .split(',')
                .any(|one| one == "docker" || one == "all"),
            "required"
        );
    }
    can
}

#[test]
fn containers_of_docker_are_named_as_docker_names_them() {
    if !can_run() {
        return;
    }
    let docker = Docker::start();
    let mut watch = Watch::start(&docker.socket());

    let tree = Tree(format!("oomwatch-docker-{}", std::process::id()));
    let plain = format!("/{}/docker", tree.0);
    let plain = ["--rm", "--cgroup-parent", &plain];

    let options = [plain.as_slice(), &["--name", "main"]].concat();
    docker.container(&options, &["tail", "/dev/zero"]);
    let report = watch.next("main");
    assert_eq!(report["container"]["runtime"], "docker", "{report}");
    assert_eq!(report["container"]["image"], IMAGE, "{report}");
    assert_eq!(report["main_process"], "yes", "{report}");
    assert!(report["pod"].is_null(), "{report}");

    // In the host's PID namespace, Docker alone knows which process is the first.
    let child = ["sh", "-c", "tail /dev/zero; sleep 1; exit 7"];
    let options = [plain.as_slice(), &["--name", "child", "--pid", "host"]].concat();
    docker.container(&options, &child);
    let report = watch.next("child");
    assert_eq!(report["main_process"], "no", "{report}");

    // A pod's, as dockershim labels it.
    let label = |name: &str, value: &str| format!("io.kubernetes.{name}={value}");
    let labels = [
        label("container.name", "app"),
        label("pod.name", "cart-0"),
        label("pod.namespace", "shop"),
        label("pod.uid", "8a4e6bd2-0f35-4c1b-9a77-2b1d5e6f7081"),
    ];
    let labels: Vec<&str> = labels.iter().flat_map(|label| ["--label", label]).collect();
    let parent = format!(
        "/{}/kubepods/burstable/pod8a4e6bd2-0f35-4c1b-9a77-2b1d5e6f7081",
        tree.0
    );
    let options = [&["--rm", "--cgroup-parent", &parent], labels.as_slice()].concat();
    docker.container(&options, &["tail", "/dev/zero"]);
    let report = watch.next("app");
    assert_eq!(report["pod"]["namespace"], "shop", "{report}");
    assert_eq!(report["pod"]["name"], "cart-0", "{report}");
}
