//! The agent on the node, as its manifests run it.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::cluster::Cluster;

const NAMESPACE: &str = "oomwatch";

/// The manifests, for this node.
const OVERLAY: &str = "tests/node/base";

/// How it is deployed.
pub(crate) struct Agent {
    /// A kubectl that renders kustomizations as they are written today.
    kubectl: PathBuf,
}

impl Agent {
    /// Finds what deploys it, or says why there is none.
    pub(crate) fn find() -> Result<Self, String> {
        let kubectl = env::var_os("OOMWATCH_KUBECTL").ok_or("OOMWATCH_KUBECTL is not set")?;
        Ok(Self {
            kubectl: kubectl.into(),
        })
    }

    /// Deploys it and waits until it says that it is ready.
    pub(crate) fn deploy(&self, cluster: &Cluster) {
        let overlay = Path::new(env!("CARGO_MANIFEST_DIR")).join(OVERLAY);
        cluster.apply(&self.kubectl, &overlay);
        cluster.kubectl(&[
            "rollout",
            "status",
            "daemonset/oomwatch",
            "-n",
            NAMESPACE,
            "--timeout=120s",
        ]);
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
