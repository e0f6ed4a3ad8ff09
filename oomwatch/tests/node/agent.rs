//! The agent on the node, as its manifests run it.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use aya::programs::loaded_links;

use crate::cluster::Cluster;

const NAMESPACE: &str = "oomwatch";

/// A way to deploy it: the manifests, for this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overlay {
    Base,
    Hardened,
    Uninstall,
}

impl Overlay {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Hardened => "hardened",
            Self::Uninstall => "uninstall",
        }
    }
}

/// How it is deployed.
pub(crate) struct Agent {
    /// A kubectl that renders kustomizations as they are written today.
    kubectl: PathBuf,
    deployed: Mutex<Option<Overlay>>,
    /// Ids of what kept programs attached before, on the whole machine.
    links: BTreeSet<u32>,
}

impl Agent {
    /// Finds what deploys it, or says why there is none.
    pub(crate) fn find() -> Result<Self, String> {
        let kubectl = env::var_os("OOMWATCH_KUBECTL").ok_or("OOMWATCH_KUBECTL is not set")?;
        Ok(Self {
            kubectl: kubectl.into(),
            deployed: Mutex::new(None),
            links: links(),
        })
    }

    /// Deploys it, if it is not, and waits until it says that it is ready.
    pub(crate) fn deploy(&self, cluster: &Cluster, overlay: Overlay) {
        let mut deployed = self.deployed.lock().unwrap_or_else(PoisonError::into_inner);
        if *deployed == Some(overlay) {
            return;
        }
        mount(&cluster.pins());
        *deployed = Some(overlay);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node");
        cluster.apply(&self.kubectl, &folder.join(overlay.name()));
        cluster.kubectl(&[
            "rollout",
            "status",
            "daemonset/oomwatch",
            "-n",
            NAMESPACE,
            "--timeout=120s",
        ]);
    }

    /// Ids of what has been attached since and still is.
    pub(crate) fn new_links(&self) -> Vec<u32> {
        links().difference(&self.links).copied().collect()
    }

    /// Value of a metric's series, as `/metrics` names it.
    pub(crate) fn metric(cluster: &Cluster, series: &str) -> u64 {
        let pods = cluster.get(&["pods", "-n", NAMESPACE]);
        let pod = pods["items"][0]["metadata"]["name"]
            .as_str()
            .expect("the agent's pod");
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:10137/proxy/metrics");
        let text = cluster.kubectl(&["get", "--raw", &path]);
        let value = text.lines().find_map(|line| line.strip_prefix(series));
        let value = value.unwrap_or_else(|| panic!("no {series} in {text}"));
        value.trim().parse().expect("a whole number")
    }
}

fn links() -> BTreeSet<u32> {
    loaded_links()
        .filter_map(Result::ok)
        .map(|link| link.id())
        .collect()
}

/// A file system for what stays in the kernel, which goes with the node.
fn mount(folder: &Path) {
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
