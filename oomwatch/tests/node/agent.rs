//! The agent on the node, as its manifests run it.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
};

use aya::programs::loaded_links;
use serde_json::{Value, json};

use crate::cluster::Cluster;

const NAMESPACE: &str = "oomwatch";

/// A way to deploy it: the manifests, for this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overlay {
    Base,
    Hardened,
    Uninstall,
    VmBase,
    VmHardened,
}

impl Overlay {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Hardened => "hardened",
            Self::Uninstall => "uninstall",
            Self::VmBase => "vm-base",
            Self::VmHardened => "vm-hardened",
        }
    }
}

/// How it is deployed.
pub(crate) struct Agent {
    deployed: Mutex<Option<Overlay>>,
    /// Ids of what kept programs attached before, on the whole machine.
    links: BTreeSet<u32>,
}

impl Agent {
    /// Not deployed yet.
    pub(crate) fn new() -> Self {
        Self {
            deployed: Mutex::new(None),
            links: links(),
        }
    }

    /// Deploys it, if it is not, and waits until it says that it is ready.
    pub(crate) fn deploy(&self, cluster: &Cluster, overlay: Overlay) {
        let mut deployed = self.deployed.lock().unwrap_or_else(PoisonError::into_inner);
        if *deployed == Some(overlay) {
            return;
        }
        if let Some(folder) = cluster.folder() {
            mount(&folder.join("bpf"));
        }
        *deployed = Some(overlay);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node");
        let folder = folder.join(overlay.name());
        cluster.kubectl(&["apply", "-k", &folder.to_string_lossy()]);
        wait_for_rollout(cluster);
    }

    /// Takes it away from all nodes; its programs and its history stay.
    pub(crate) fn take_away(cluster: &Cluster) {
        select(cluster, &json!("true"));
        cluster.until("the end of the agent", |cluster| {
            let pods = cluster.get(&["pods", "-n", NAMESPACE]);
            pods["items"].as_array()?.is_empty().then_some(())
        });
    }

    /// Brings it back to where it was.
    pub(crate) fn bring_back(cluster: &Cluster) {
        select(cluster, &Value::Null);
        wait_for_rollout(cluster);
    }

    /// Ids of what has been attached since and still is.
    pub(crate) fn new_links(&self) -> Vec<u32> {
        links().difference(&self.links).copied().collect()
    }

    /// Value of a metric's series, as `/metrics` names it.
    pub(crate) fn metric(cluster: &Cluster, series: &str) -> u64 {
        let text = cluster.metrics();
        // Further labels may follow.
        let value = text.lines().find_map(|line| {
            let rest = line.strip_prefix(series)?;
            rest.starts_with([',', '}', ' '])
                .then(|| rest.rsplit(' ').next())?
        });
        let value = value.unwrap_or_else(|| panic!("no {series} in {text}"));
        value.parse().expect("a whole number")
    }
}

/// Sets a label that nodes have to have, and none has.
fn select(cluster: &Cluster, value: &Value) {
    let selector = json!({"nodeSelector": {"oomwatch.dev/absent": value}});
    let patch = json!({"spec": {"template": {"spec": selector}}}).to_string();
    cluster.kubectl(&[
        "patch",
        "daemonset",
        "oomwatch",
        "-n",
        NAMESPACE,
        "-p",
        &patch,
    ]);
}

fn wait_for_rollout(cluster: &Cluster) {
    cluster.kubectl(&[
        "rollout",
        "status",
        "daemonset/oomwatch",
        "-n",
        NAMESPACE,
        "--timeout=300s",
    ]);
}

fn links() -> BTreeSet<u32> {
    loaded_links()
        .filter_map(Result::ok)
        .map(|link| link.id())
        .collect()
}

/// A file system for what stays in the kernel, which goes with the node.
pub(crate) fn mount(folder: &Path) {
    if folder.exists() {
        return;
    }
    fs::create_dir(folder).expect("make a folder");
    let mounted = Command::new("mount")
        .args(["-t", "bpf", "bpf"])
        .arg(folder)
        .status();
    assert!(mounted.expect("run mount").success(), "mount a bpffs");
}
