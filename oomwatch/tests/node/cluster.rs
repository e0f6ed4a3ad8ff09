//! The real cluster, through kubectl.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(5);
/// Between two questions whether it has happened.
const PAUSE: Duration = Duration::from_millis(100);

/// The image of the pods.
const IMAGE: &str = "localhost/busybox:1";

/// What the environment says of the cluster, and the node that a test is about.
#[derive(Clone)]
pub(crate) struct Cluster {
    kubectl: PathBuf,
    machine: Machine,
    /// Name of the node.
    pub(crate) node: String,
    /// What names of namespaces begin with.
    prefix: String,
}

/// The machine of a node.
#[derive(Clone)]
enum Machine {
    /// This one: what is the node's own is in a folder.
    This { folder: PathBuf },
    /// A virtual one: a command runs others in it.
    Vm { command: PathBuf },
}

/// Where a node in a virtual machine reads static pods.
const VM_MANIFESTS: &str = "/etc/kubernetes/manifests";

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
            machine: Machine::This {
                folder: folder("KUBE_NODE_DIR")?,
            },
            node: env::var("KUBE_NODE_NAME").map_err(|error| format!("KUBE_NODE_NAME: {error}"))?,
            prefix: "oomwatch".to_owned(),
        })
    }

    /// The same cluster, for tests about its node in a virtual machine; or why there is none.
    pub(crate) fn on_vm(&self) -> Result<Self, String> {
        let variable = |name: &str| env::var(name).map_err(|_| format!("{name} is not set"));
        Ok(Self {
            machine: Machine::Vm {
                command: variable("OOMWATCH_KUBE_VM_NODE")?.into(),
            },
            node: variable("OOMWATCH_KUBE_VM_NODE_NAME")?,
            ..self.clone()
        })
    }

    /// With namespaces of their own for one who does again what another did.
    pub(crate) fn for_one(&self, name: &str) -> Self {
        Self {
            prefix: format!("{}-{name}", self.prefix),
            ..self.clone()
        }
    }

    /// Has the kubelet start a static pod.
    pub(crate) fn write_static_pod(&self, name: &str, pod: &Value) {
        match &self.machine {
            Machine::This { folder } => {
                let file = folder.join("manifests").join(format!("{name}.json"));
                fs::write(file, pod.to_string()).expect("write a manifest");
            }
            Machine::Vm { .. } => {
                let write = format!("cat >{VM_MANIFESTS}/{name}.json <<'END'\n{pod}\nEND");
                self.run(&["sh", "-c", &write]);
            }
        }
    }

    /// Has the kubelet end it.
    pub(crate) fn remove_static_pod(&self, name: &str) {
        match &self.machine {
            Machine::This { folder } => {
                let file = folder.join("manifests").join(format!("{name}.json"));
                fs::remove_file(file).expect("remove a manifest");
            }
            Machine::Vm { .. } => {
                self.run(&["rm", &format!("{VM_MANIFESTS}/{name}.json")]);
            }
        }
    }

    /// The folder of a node on this machine.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match &self.machine {
            Machine::This { folder } => Some(folder),
            Machine::Vm { .. } => None,
        }
    }

    /// What the agent's `/metrics` has.
    pub(crate) fn metrics(&self) -> String {
        match &self.machine {
            Machine::This { .. } => {
                let selector = format!("spec.nodeName={}", self.node);
                let pods = self.get(&["pods", "-n", "oomwatch", "--field-selector", &selector]);
                let pod = pods["items"][0]["metadata"]["name"]
                    .as_str()
                    .expect("the agent's pod");
                let path = format!("/api/v1/namespaces/oomwatch/pods/{pod}:10137/proxy/metrics");
                self.kubectl(&["get", "--raw", &path])
            }
            // Its address is of no use outside.
            Machine::Vm { .. } => {
                self.run(&["wget", "-q", "-O", "-", "http://127.0.0.1:10137/metrics"])
            }
        }
    }

    /// What a command prints that runs on a node in a virtual machine.
    pub(crate) fn run(&self, words: &[&str]) -> String {
        let Machine::Vm { command } = &self.machine else {
            panic!("{} is this machine", self.node);
        };
        let output = Command::new(command)
            .args(["exec", &self.node])
            .args(words)
            .output()
            .expect("run the command of the node");
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).expect("it prints text")
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
        let mut child = Command::new(&self.kubectl)
            .args(["create", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("run kubectl");
        let mut stdin = child.stdin.take().expect("a piped stdin");
        let written = stdin.write_all(object.to_string().as_bytes());
        written.expect("write to kubectl");
        drop(stdin);
        let status = child.wait().expect("wait for kubectl");
        assert!(status.success(), "kubectl create of {object}");
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
            thread::sleep(PAUSE);
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
    /// Starts a pod of these containers on the node.
    pub(crate) fn pod(&self, name: &str, spec: &Value) {
        let mut whole = json!({
            "nodeSelector": {"kubernetes.io/hostname": self.cluster.node},
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
