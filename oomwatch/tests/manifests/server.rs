//! An API server of the test's own, with its etcd, both on loopback and gone with it.

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use tempfile::TempDir;

use crate::render::{kubectl, root};

/// How long a start may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// A running API server.
pub(crate) struct Server {
    folder: TempDir,
    kubectl: PathBuf,
    etcd: Child,
    api: Child,
}

impl Server {
    /// Starts one; absent if there is none, or nothing to talk to it with.
    pub(crate) fn start() -> Option<Self> {
        let kubectl = kubectl()?;
        let assets = PathBuf::from(env::var_os("KUBEBUILDER_ASSETS")?);
        let (etcd, api) = (assets.join("etcd"), assets.join("kube-apiserver"));
        if !etcd.is_file() || !api.is_file() {
            return None;
        }
        let folder = tempfile::Builder::new()
            .prefix("oomwatch-test-")
            .tempdir()
            .expect("make a folder");
        let path = |name: &str| folder.path().join(name);
        // All at once, or they would be the same.
        let sockets = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let [clients, peers, secure] =
            sockets.map(|socket| socket.local_addr().expect("its address").port());
        let key = path("key");
        let made = Command::new("openssl")
            .args(["genrsa", "-out"])
            .arg(&key)
            .stderr(Stdio::null())
            .status()
            .expect("start openssl");
        assert!(made.success(), "make a key");
        fs::write(
            path("tokens"),
            "test-token,admin,admin,\"system:masters\"\n",
        )
        .expect("write the tokens");
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "test", "cluster": {
                "server": format!("https://127.0.0.1:{secure}"), "insecure-skip-tls-verify": true,
            } }],
            "users": [{ "name": "admin", "user": { "token": "test-token" } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "admin" } }],
            "current-context": "test",
        });
        fs::write(path("kubeconfig"), config.to_string()).expect("write the configuration");

        let (clients, peers) = (
            format!("http://127.0.0.1:{clients}"),
            format!("http://127.0.0.1:{peers}"),
        );
        let etcd = start(
            Command::new(etcd)
                .arg("--data-dir")
                .arg(path("etcd"))
                .args(["--listen-client-urls", &clients])
                .args(["--advertise-client-urls", &clients])
                .args(["--listen-peer-urls", &peers])
                .args(["--initial-advertise-peer-urls", &peers])
                .args(["--initial-cluster", &format!("default={peers}")]),
            &path("etcd.log"),
        );
        let api = start(
            Command::new(api)
                .args(["--etcd-servers", &clients])
                .args(["--secure-port", &secure.to_string()])
                .args(["--bind-address", "127.0.0.1"])
                // It would publish its own address for the pods, and refuses to publish one on loopback.
                .args(["--endpoint-reconciler-type", "none"])
                .args(["--service-cluster-ip-range", "198.51.100.0/24"])
                .args(["--authorization-mode", "RBAC"])
                .arg("--allow-privileged")
                .args(["--service-account-issuer", "https://test"])
                .arg(flag("--service-account-key-file", &key))
                .arg(flag("--service-account-signing-key-file", &key))
                .arg(flag("--token-auth-file", &path("tokens")))
                .arg(flag("--cert-dir", &path("certificates"))),
            &path("api.log"),
        );
        let mut server = Self {
            folder,
            kubectl,
            etcd,
            api,
        };
        server.wait_until_ready();
        Some(server)
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.run(&["get", "--raw", "/readyz"]).status.success() {
            let ended = self.api.try_wait().expect("look at the server");
            assert!(ended.is_none(), "it ended: {}", self.log());
            assert!(Instant::now() < deadline, "no answer: {}", self.log());
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("api.log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Runs kubectl in the repository's root, which must succeed.
    pub(crate) fn kubectl(&self, arguments: &[&str]) {
        let Output { status, stderr, .. } = self.run(arguments);
        assert!(
            status.success(),
            "kubectl {arguments:?}: {}",
            String::from_utf8_lossy(&stderr)
        );
    }

    /// What kubectl says, whether it likes it or not.
    pub(crate) fn answer(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(&self.kubectl)
            .arg("--kubeconfig")
            .arg(self.folder.path().join("kubeconfig"))
            // Where it keeps what it learned of a server.
            .env("KUBECACHEDIR", self.folder.path().join("cache"))
            .args(arguments)
            .current_dir(root())
            .stdin(Stdio::null())
            .output()
            .expect("start kubectl")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for server in [&mut self.api, &mut self.etcd] {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn flag(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

fn start(command: &mut Command, log: &Path) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(log).expect("make a log"))
        .spawn()
        .expect("start a server")
}
