//! The real cluster, through kubectl.

use std::{
    env,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// The image of the pods.
const IMAGE: &str = "localhost/busybox:1";

/// What the environment says of the cluster.
#[derive(Clone)]
pub(crate) struct Cluster {
    kubectl: PathBuf,
    /// The node's own folder.
    folder: PathBuf,
    /// Name of the one node.
    pub(crate) node: String,
    /// What names of namespaces begin with.
    prefix: String,
}

impl Cluster {
    /// Finds it, or says why there is none.
    pub(crate) fn find() -> Result<Self, String> {
        let folder = |name: &str| {
            env::var_os(name)
                .map(PathBuf::from)
                .ok_or_else(|| format!("{name} is not set"))
        };
        env::var_os("KUBECONFIG").ok_or("KUBECONFIG is not set")?;
        Ok(Self {
            kubectl: folder("KUBEBUILDER_ASSETS")?.join("kubectl"),
            folder: folder("KUBE_NODE_DIR")?,
            node: env::var("KUBE_NODE_NAME").map_err(|error| format!("KUBE_NODE_NAME: {error}"))?,
            prefix: "oomwatch".to_owned(),
        })
    }

    /// With namespaces of their own for one who does again what another did.
    pub(crate) fn for_one(&self, name: &str) -> Self {
        Self {
            prefix: format!("{}-{name}", self.prefix),
            ..self.clone()
        }
    }

    /// Where a manifest becomes a static pod.
    pub(crate) fn manifests(&self) -> PathBuf {
        self.folder.join("manifests")
    }

    /// What the overlays for this node take for `/sys/fs/bpf`.
    pub(crate) fn pins(&self) -> PathBuf {
        self.folder.join("bpf")
    }

    /// What they take for `/var/lib/oomwatch`.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// What kubectl prints.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        let output = Command::new(&self.kubectl)
            .args(arguments)
            .output()
            .expect("run kubectl");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {arguments:?}: {stderr}");
        String::from_utf8(output.stdout).expect("kubectl prints text")
    }

    /// What kubectl prints as JSON.
    pub(crate) fn get(&self, arguments: &[&str]) -> Value {
        let text = self.kubectl(&[&["get", "-o", "json"], arguments].concat());
        serde_json::from_str(&text).expect("kubectl prints JSON")
    }

    /// Creates what the object describes.
    pub(crate) fn create(&self, object: &Value) {
        self.feed(&["create", "-f", "-"], object.to_string().as_bytes());
    }

    /// Applies a folder of kustomize's, rendered by another kubectl.
    pub(crate) fn apply(&self, renders: &Path, folder: &Path) {
        let rendered = Command::new(renders)
            .arg("kustomize")
            .arg(folder)
            .output()
            .expect("run kubectl");
        let stderr = String::from_utf8_lossy(&rendered.stderr);
        assert!(
            rendered.status.success(),
            "render {}: {stderr}",
            folder.display()
        );
        self.feed(&["apply", "-f", "-"], &rendered.stdout);
    }

    fn feed(&self, arguments: &[&str], input: &[u8]) {
        let mut child = Command::new(&self.kubectl)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("run kubectl");
        let mut stdin = child.stdin.take().expect("a piped stdin");
        stdin.write_all(input).expect("write to kubectl");
        drop(stdin);
        let status = child.wait().expect("wait for kubectl");
        let input = String::from_utf8_lossy(input);
        assert!(status.success(), "kubectl {arguments:?} of {input}");
    }

    /// Asks again and again until there is an answer.
    pub(crate) fn until<T>(&self, what: &str, mut ask: impl FnMut(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(answer) = ask(self) {
                return answer;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{what} did not come in {PATIENCE:?}"
            );
        }
    }

    /// How many requests for Events to be written the API server has had, from anyone.
    pub(crate) fn event_requests(&self) -> u64 {
        let metrics = self.kubectl(&["get", "--raw", "/metrics"]);
        let counts = metrics.lines().filter_map(|line| {
            let labels = line.strip_prefix("apiserver_request_total{")?;
            let (labels, count) = labels.split_once("} ")?;
            let is_write = labels.contains("verb=\"POST\"") || labels.contains("verb=\"PATCH\"");
            (labels.contains("resource=\"events\"") && is_write).then(|| count.parse::<u64>())
        });
        counts.map(|count| count.expect("a count")).sum()
    }

    /// A namespace of a test's own.
    pub(crate) fn namespace(&self, name: &str) -> Namespace<'_> {
        let name = format!("{}-{name}", self.prefix);
        self.create(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
        // Pods are refused until it has its account.
        self.until("the namespace's service account", |cluster| {
            let accounts = cluster.get(&["serviceaccounts", "-n", &name]);
            (!accounts["items"].as_array()?.is_empty()).then_some(())
        });
        Namespace {
            cluster: self,
            name,
        }
    }
}

/// A namespace that goes with its test.
pub(crate) struct Namespace<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) name: String,
}

impl Namespace<'_> {
    /// Starts a pod of these containers.
    pub(crate) fn pod(&self, name: &str, spec: &Value) {
        let mut whole = json!({
            "hostNetwork": true,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
        });
        let members = whole.as_object_mut().expect("an object");
        members.extend(spec.as_object().expect("an object").clone());
        self.cluster.create(&json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": self.name},
            "spec": whole,
        }));
    }

    /// Waits for the one Event of this reason that a pod has from oomwatch, with this count.
    pub(crate) fn event(&self, pod: &str, reason: &str, count: u64) -> Value {
        let what = format!("Event {reason} of {pod} with count {count}");
        self.cluster.until(&what, |_| {
            let mut events = self.events(pod);
            events.retain(|event| event["reason"] == reason);
            assert!(events.len() <= 1, "{events:?}");
            events.pop().filter(|event| event["count"] == count)
        })
    }

    /// All that a pod has from oomwatch.
    pub(crate) fn events(&self, pod: &str) -> Vec<Value> {
        let selector = format!("involvedObject.name={pod},source=oomwatch");
        let mut list =
            self.cluster
                .get(&["events", "-n", &self.name, "--field-selector", &selector]);
        match list["items"].take() {
            Value::Array(events) => events,
            other => panic!("a list: {other}"),
        }
    }

    /// What people see.
    pub(crate) fn describe(&self, pod: &str) -> String {
        self.cluster
            .kubectl(&["describe", "pod", "-n", &self.name, pod])
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        let arguments = ["delete", "namespace", "--wait=false", &self.name];
        let _ = Command::new(&self.cluster.kubectl).args(arguments).output();
    }
}

/// A container with a memory limit that runs a line of shell.
pub(crate) fn container(name: &str, limit: &str, line: &str) -> Value {
    json!({
        "name": name,
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", line],
        "resources": {"limits": {"memory": limit}},
    })
}
