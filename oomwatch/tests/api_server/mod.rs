//! A real API server with its etcd, of the folder that `KUBEBUILDER_ASSETS` names. Both are the test's own: on loopback, with
//! their files in a temporary folder, and ended with the test.
//!
//! Shared by the targets that talk with one.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each target uses a part of it"
)]

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

/// How long something may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// A user with every right.
pub(crate) const ADMIN: &str = "admin-token";
/// A user with the rights that a test grants.
pub(crate) const AGENT: &str = "agent-token";
/// A known user without any right.
pub(crate) const STRANGER: &str = "stranger-token";
/// An unknown user.
pub(crate) const EXPIRED: &str = "expired-token";

const TOKENS: &str = "admin-token,admin,admin,\"system:masters\"\n\
                      agent-token,agent,agent\n\
                      stranger-token,stranger,stranger\n";

/// etcd and kube-apiserver.
pub(crate) struct ApiServer {
    assets: PathBuf,
    folder: TempDir,
    ports: [u16; 3],
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
        let ports = free_ports();
        let (client_url, peer_url) = (url(ports[1]), url(ports[2]));
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
        let api = Mutex::new(spawn_api(&assets, folder.path(), ports));
        let server = Self {
            assets,
            folder,
            ports,
            etcd,
            api,
        };
        for token in [ADMIN, AGENT, STRANGER, EXPIRED] {
            fs::write(server.kubeconfig(token), server.kubeconfig_text(token))
                .expect("write a kubeconfig");
        }
        server.wait_until_ready();
        server
    }

    /// Makes what this YAML has.
    pub(crate) fn apply(&self, objects: &str) {
        let file = self.folder.path().join("objects.yaml");
        fs::write(&file, objects).expect("write the objects");
        // What the API server makes itself, such as its namespaces, may come a moment later.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let applied = self.try_kubectl(&["apply", "-f", &file.to_string_lossy()]);
            if applied.status.success() {
                return;
            }
            assert!(Instant::now() < deadline, "{applied:?}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// The Events of a namespace about an object.
    pub(crate) fn events(&self, namespace: &str, object: &str) -> Vec<Value> {
        let selector = format!("involvedObject.name={object}");
        let listed = [
            "get",
            "events",
            "-o",
            "json",
            "--show-managed-fields",
            "-n",
            namespace,
            "--field-selector",
            &selector,
        ];
        let list: Value = serde_json::from_str(&self.kubectl(&listed)).expect("JSON");
        list["items"].as_array().expect("a list").clone()
    }

    /// Where files may be put.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client with this token.
    pub(crate) async fn client(&self, token: &str) -> Client {
        client(&self.kubeconfig(token)).await
    }

    /// What kubectl prints, as the administrator.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.try_kubectl(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// What kubectl does, as the administrator.
    pub(crate) fn try_kubectl(&self, arguments: &[&str]) -> Output {
        kubectl(&self.assets, &self.kubeconfig(ADMIN), arguments)
    }

    /// Kills the API server; etcd keeps its data.
    pub(crate) fn kill(&self) {
        let mut api = self.api.lock().unwrap_or_else(PoisonError::into_inner);
        api.kill().expect("kill the API server");
        api.wait().expect("wait for the API server");
    }

    /// Starts it again, where it was.
    pub(crate) fn restart(&self) {
        let child = spawn_api(&self.assets, self.folder.path(), self.ports);
        *self.api.lock().unwrap_or_else(PoisonError::into_inner) = child;
        self.wait_until_ready();
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + 2 * PATIENCE;
        let is_ready = || {
            // The namespace that pods are made in comes last.
            self.try_kubectl(&["get", "--raw", "/readyz"])
                .status
                .success()
                && self
                    .try_kubectl(&["get", "namespace", "default"])
                    .status
                    .success()
        };
        while !is_ready() {
            let log = || fs::read_to_string(self.folder.path().join("api.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "no answer: {}", log());
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// The file that names it, with this token.
    pub(crate) fn kubeconfig(&self, token: &str) -> PathBuf {
        self.folder.path().join(format!("{token}.kubeconfig"))
    }

    fn kubeconfig_text(&self, token: &str) -> String {
        let certificate = self.folder.path().join("certs/apiserver.crt");
        let (port, certificate) = (self.ports[0], certificate.display());
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

/// A client of the cluster that a kubeconfig names.
pub(crate) async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .expect("a configuration");
    // As the agent's own.
    config.default_retry = false;
    Client::try_from(config).expect("a client")
}

/// Runs kubectl.
pub(crate) fn kubectl(assets: &Path, kubeconfig: &Path, arguments: &[&str]) -> Output {
    Command::new(assets.join("kubectl"))
        .arg("--kubeconfig")
        .arg(kubeconfig)
        // What it has learned of one server is not true of another.
        .arg("--cache-dir")
        .arg(kubeconfig.with_extension("cache"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("run kubectl")
}

fn spawn_api(assets: &Path, folder: &Path, [port, etcd_port, _]: [u16; 3]) -> Child {
    let key = folder.join("key").display().to_string();
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("api.log"))
        .expect("make the log");
    Command::new(assets.join("kube-apiserver"))
        .arg(format!("--etcd-servers={}", url(etcd_port)))
        .arg(format!("--secure-port={port}"))
        .arg("--bind-address=127.0.0.1")
        // It would publish its own address for the pods, and refuses to publish one on loopback.
        .arg("--endpoint-reconciler-type=none")
        .arg(format!("--cert-dir={}", folder.join("certs").display()))
        .arg(format!(
            "--token-auth-file={}",
            folder.join("tokens.csv").display()
        ))
        .arg("--authorization-mode=RBAC")
        .arg("--allow-privileged")
        .arg("--disable-admission-plugins=ServiceAccount")
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(format!("--service-account-key-file={key}"))
        .arg(format!("--service-account-signing-key-file={key}"))
        .arg("--service-cluster-ip-range=198.51.100.0/24")
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("start kube-apiserver")
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Ports without a listener.
fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("its address").port())
}
