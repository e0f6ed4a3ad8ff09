//! Kills in containers that a real containerd runs through runc, and our own image in one.
//!
//! Needs root, containerd with its `ctr`, runc and a static busybox. The containerd is the test's own: its folders and socket
//! lie in a temporary folder, and both end with the test. The image is the archive that `OOMWATCH_IMAGE` names, as
//! `cargo xtask image` wrote it; `cargo xtask test` builds one.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test says what it expects, and fails by panicking"
)]

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// What a container may use.
const LIMIT_BYTES: u64 = 30 << 20;
/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A containerd of our own, with a folder that containers take for their root.
struct Containerd {
    folder: TempDir,
    server: Child,
}

impl Containerd {
    fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("oomwatch-test-")
            .tempdir()
            .expect("make a folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("rootfs/bin")).expect("make the containers' root");
        fs::create_dir_all(path("rootfs/dev")).expect("make the containers' /dev");
        fs::create_dir_all(path("rootfs/proc")).expect("make the containers' /proc");
        fs::copy("/bin/busybox", path("rootfs/bin/busybox")).expect("install busybox-static");
        for name in ["sh", "tail"] {
            symlink("busybox", path("rootfs/bin").join(name)).expect("link busybox");
        }
        fs::write(
            path("config.toml"),
            "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n",
        )
        .expect("write the configuration");
        let log = fs::File::create(path("log")).expect("make the log");
        let server = Command::new("containerd")
            .arg("--config")
            .arg(path("config.toml"))
            .arg("--root")
            .arg(path("root"))
            .arg("--state")
            .arg(path("state"))
            .arg("--address")
            .arg(path("socket"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start containerd");
        let containerd = Self { folder, server };
        containerd.wait_until_ready();
        containerd
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.ctr(&["version"]).status.success() {
            assert!(
                Instant::now() < deadline,
                "containerd did not answer: {}",
                self.log()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn ctr(&self, arguments: &[&str]) -> Output {
        Command::new("ctr")
            .arg("--address")
            .arg(self.folder.path().join("socket"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("run ctr")
    }

    /// Runs a command in a container that may use [`LIMIT_BYTES`], until it ends.
    fn run(&self, id: &str, command: &[&str]) -> Output {
        let (limit, root) = (LIMIT_BYTES.to_string(), self.folder.path().join("rootfs"));
        let root = root.to_str().expect("a path in UTF-8");
        let mut arguments = vec![
            "run",
            "--rm",
            "--rootfs",
            "--memory-limit",
            &limit,
            root,
            id,
        ];
        arguments.extend(command);
        self.ctr(&arguments)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // All containers have ended with their `ctr run`.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The report of the one kill in a container, made while `kill` runs.
fn report_of(container: &str, kill: impl FnOnce()) -> Value {
    let mut watch = Command::new(env!("CARGO_BIN_EXE_oomwatch"))
        .args([
            "watch",
            "-o",
            "json",
            "--count",
            "1",
            "--timeout",
            "60s",
            "--container",
            container,
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start oomwatch");
    let mut talk = BufReader::new(watch.stderr.take().expect("a piped stderr"));
    let mut line = String::new();
    while !line.contains("watching for OOM kills") {
        line.clear();
        assert_ne!(
            talk.read_line(&mut line).expect("read stderr"),
            0,
            "the command did not get ready"
        );
    }
    kill();
    let mut stderr = String::new();
    talk.read_to_string(&mut stderr).expect("read stderr");
    let output = watch.wait_with_output().expect("wait for oomwatch");
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?} {stderr}"))
}

fn can_run() -> bool {
    let missing: Vec<_> = [
        "/usr/bin/containerd",
        "/usr/bin/ctr",
        "/usr/sbin/runc",
        "/bin/busybox",
    ]
    .into_iter()
    .filter(|path| !Path::new(path).exists())
    .collect();
    let root = rustix::process::geteuid().is_root();
    let can = missing.is_empty() && root;
    if !can {
        skip(&format!(
            "needs root (is {root}) and what is missing here: {missing:?}"
        ));
    }
    can
}

fn skip(why: &str) {
    eprintln!("skipped: {why}");
    assert!(
        env::var_os("OOMWATCH_REQUIRE").is_none_or(|value| value != "1"),
        "required"
    );
}

#[test]
fn containers_of_containerd_are_named_by_their_id() {
    if !can_run() {
        return;
    }
    let containerd = Containerd::start();
    let tag = std::process::id();

    let id = format!("oomwatch-main-{tag}");
    let report = report_of(&id, || {
        let ended = containerd.run(&id, &["/bin/tail", "/dev/zero"]);
        assert_eq!(
            ended.status.code(),
            Some(137),
            "{ended:?} {}",
            containerd.log()
        );
    });
    assert_eq!(report["container"]["id"], id.as_str(), "{report}");
    assert_eq!(report["container"]["runtime"], "containerd", "{report}");
    assert_eq!(
        report["victim"]["cgroup"]["path"],
        format!("/default/{id}"),
        "{report}"
    );
    assert_eq!(report["victim"]["ns_pid"], 1, "{report}");
    assert_eq!(report["main_process"], "yes", "{report}");
    assert_eq!(report["limit_owner"], "container", "{report}");
    assert_eq!(report["oom_cgroup"]["limit_bytes"], LIMIT_BYTES, "{report}");

    // The silent kill: a child dies, and the container goes on.
    let id = format!("oomwatch-child-{tag}");
    let report = report_of(&id, || {
        let ended = containerd.run(&id, &["/bin/sh", "-c", "tail /dev/zero; exit 7"]);
        assert_eq!(
            ended.status.code(),
            Some(7),
            "{ended:?} {}",
            containerd.log()
        );
    });
    assert_eq!(report["container"]["id"], id.as_str(), "{report}");
    assert_eq!(report["victim"]["comm"], "tail", "{report}");
    assert_eq!(report["main_process"], "no", "{report}");
}

#[test]
fn image_is_imported_by_its_name_and_runs_without_anything_else() {
    if !can_run() {
        return;
    }
    let Some(archive) = env::var_os("OOMWATCH_IMAGE") else {
        return skip("OOMWATCH_IMAGE names no archive of `cargo xtask image`");
    };
    let archive = archive.to_str().expect("a path in UTF-8");
    let containerd = Containerd::start();
    let ctr = |arguments: &[&str]| {
        let output = containerd.ctr(&[&["--namespace", "k8s.io"], arguments].concat());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let stderr = format!("{}{}", text(&output.stderr), containerd.log());
        (output.status.code(), text(&output.stdout), stderr)
    };

    let (code, _, stderr) = ctr(&["images", "import", archive]);
    assert_eq!(code, Some(0), "{stderr}");
    let (_, listed, stderr) = ctr(&["images", "list", "--quiet"]);
    let name = listed.trim_end();
    assert_eq!(
        name,
        concat!("ghcr.io/oomwatch/oomwatch:", env!("CARGO_PKG_VERSION")),
        "{stderr}"
    );

    let run = |arguments: &[&str]| {
        let id = format!("oomwatch-image-{}", std::process::id());
        ctr(&[&["run", "--rm", "--read-only", name, &id], arguments].concat())
    };
    let (code, version, stderr) = run(&["/oomwatch", "--version"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(
        version.trim_end(),
        concat!("oomwatch ", env!("CARGO_PKG_VERSION"))
    );
    // The entry point is the command: without a word of ours it says how it is used.
    let (code, _, stderr) = run(&[]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("Usage: oomwatch"), "{stderr}");
}
