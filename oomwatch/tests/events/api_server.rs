//! A real API server with its etcd, of the folder that `KUBEBUILDER_ASSETS` names. Both are the test's own: on loopback, with
//! their files in a temporary folder, and ended with the test.

use std::{
    env,
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::delivery::{NODE, PATIENCE};

/// Who may do anything.
pub(crate) const ADMIN: &str = "admin-token";
/// Who may do what the agent's role allows.
pub(crate) const AGENT: &str = "agent-token";
/// Who is known, and may do nothing.
pub(crate) const STRANGER: &str = "stranger-token";

const TOKENS: &str = "admin-token,admin,admin,\"system:masters\"\n\
                      agent-token,agent,agent\n\
                      stranger-token,stranger,stranger\n";
/// What there is at the start: a node, namespaces, a pod, and the agent's role, which is bound everywhere but in `closed`.
const OBJECTS: &str = include_str!("objects.yaml");

/// etcd and kube-apiserver.
pub(crate) struct ApiServer {
    assets: PathBuf,
    folder: TempDir,
    port: u16,
    etcd_port: u16,
    etcd: Child,
    api: Mutex<Child>,
}

/// The folder of the programs, or why there is none.
pub(crate) fn assets() -> Result<PathBuf, String> {
    let folder = env::var_os("KUBEBUILDER_ASSETS")
        .map(PathBuf::from)
        .ok_or("KUBEBUILDER_ASSETS does not name a folder with a Kubernetes API server")?;
    for name in ["etcd", "kube-apiserver", "kubectl"] {
        if !folder.join(name).exists() {
            return Err(format!("KUBEBUILDER_ASSETS has no {name}"));
        }
    }
    Command::new("openssl")
        .arg("version")
        .output()
        .map_err(|error| format!("openssl: {error}"))?;
    Ok(folder)
}

impl ApiServer {
    pub(crate) fn start(assets: PathBuf) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("oomwatch-test-")
            .tempdir()
            .expect("make a folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("tokens.csv"), TOKENS).expect("write the tokens");
        let key = Command::new("openssl")
            .args(["genrsa", "-out"])
            .arg(path("key"))
            .arg("2048")
            .output()
            .expect("run openssl");
        assert!(key.status.success(), "{key:?}");

        let [port, etcd_port, peer_port] = free_ports();
        let (client_url, peer_url) = (url(etcd_port), url(peer_port));
        let etcd = Command::new(assets.join("etcd"))
            .arg("--data-dir")
            .arg(path("etcd"))
            .args(["--listen-client-urls", &client_url])
            .args(["--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url])
            .arg("--unsafe-no-fsync")
            .stdout(Stdio::null())
            .stderr(File::create(path("etcd.log")).expect("make the log"))
            .spawn()
            .expect("start etcd");
        let api = Mutex::new(spawn_api(&assets, folder.path(), port, etcd_port));
        let server = Self {
            assets,
            folder,
            port,
            etcd_port,
            etcd,
            api,
        };
        for token in [ADMIN, AGENT, STRANGER, "expired-token"] {
            fs::write(server.kubeconfig(token), server.kubeconfig_text(token))
                .expect("write a kubeconfig");
        }
        server.wait_until_ready();
        fs::write(server.folder.path().join("objects.yaml"), OBJECTS).expect("write the objects");
        let objects = server.folder.path().join("objects.yaml");
        // The namespaces that the API server makes itself may come a moment later.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let applied = server.try_kubectl(&["apply", "-f", &objects.to_string_lossy()]);
            if applied.status.success() {
                return server;
            }
            assert!(Instant::now() < deadline, "{applied:?}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Where files may be put.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client with this token.
    pub(crate) async fn client(&self, token: &str) -> Client {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig(token)).expect("a kubeconfig");
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .expect("a configuration");
        config.default_retry = false;
        Client::try_from(config).expect("a client")
    }

    /// What kubectl prints, as the administrator.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.try_kubectl(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn try_kubectl(&self, arguments: &[&str]) -> Output {
        Command::new(self.assets.join("kubectl"))
            .arg("--kubeconfig")
            .arg(self.kubeconfig(ADMIN))
            .arg("--cache-dir")
            .arg(self.folder.path().join("cache"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("run kubectl")
    }

    /// The Events of a namespace about an object.
    pub(crate) fn events(&self, namespace: &str, object: &str) -> Vec<Value> {
        let selector = format!("involvedObject.name={object}");
        let listed = [
            "get",
            "events",
            "-o",
            "json",
            "-n",
            namespace,
            "--field-selector",
            &selector,
        ];
        let list: Value = serde_json::from_str(&self.kubectl(&listed)).expect("JSON");
        list["items"].as_array().expect("a list").clone()
    }

    /// Forgets the Events of the node, so that each test begins without any.
    pub(crate) fn forget_node_events(&self) {
        let selector = format!("involvedObject.name={NODE}");
        self.kubectl(&[
            "delete",
            "events",
            "-n",
            "default",
            "--field-selector",
            &selector,
        ]);
    }

    /// Kills the API server; etcd keeps what it was told.
    pub(crate) fn kill(&self) {
        let mut api = self.api.lock().unwrap_or_else(PoisonError::into_inner);
        api.kill().expect("kill the API server");
        api.wait().expect("wait for the API server");
    }

    /// Starts it again, where it was.
    pub(crate) fn restart(&self) {
        let child = spawn_api(&self.assets, self.folder.path(), self.port, self.etcd_port);
        *self.api.lock().unwrap_or_else(PoisonError::into_inner) = child;
        self.wait_until_ready();
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + 2 * PATIENCE;
        while !self
            .try_kubectl(&["get", "--raw", "/readyz"])
            .status
            .success()
        {
            let log = || fs::read_to_string(self.folder.path().join("api.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "no answer: {}", log());
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn kubeconfig(&self, token: &str) -> PathBuf {
        self.folder.path().join(format!("{token}.kubeconfig"))
    }

    fn kubeconfig_text(&self, token: &str) -> String {
        let certificate = self.folder.path().join("certs/apiserver.crt");
        let (port, certificate) = (self.port, certificate.display());
        format!(
            "apiVersion: v1
kind: Config
clusters:
- {{name: here, cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority: '{certificate}'}}}}
users:
- {{name: user, user: {{token: {token}}}}}
contexts:
- {{name: here, context: {{cluster: here, user: user}}}}
current-context: here
"
        )
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        let mut api = self.api.lock().unwrap_or_else(PoisonError::into_inner);
        for child in [&mut *api, &mut self.etcd] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn spawn_api(assets: &Path, folder: &Path, port: u16, etcd_port: u16) -> Child {
    let key = folder.join("key");
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("api.log"))
        .expect("make the log");
    Command::new(assets.join("kube-apiserver"))
        .arg(format!("--etcd-servers={}", url(etcd_port)))
        .arg(format!("--secure-port={port}"))
        .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
        .arg(format!("--cert-dir={}", folder.join("certs").display()))
        .arg(format!(
            "--token-auth-file={}",
            folder.join("tokens.csv").display()
        ))
        .arg("--authorization-mode=RBAC")
        .arg("--disable-admission-plugins=ServiceAccount")
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(format!("--service-account-key-file={}", key.display()))
        .arg(format!(
            "--service-account-signing-key-file={}",
            key.display()
        ))
        .arg("--service-cluster-ip-range=198.51.100.0/24")
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("start kube-apiserver")
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Ports that nobody listens on.
fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("its address").port())
}
