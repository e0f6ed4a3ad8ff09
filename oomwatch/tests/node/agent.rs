//! oomwatch's DaemonSet on the node.

use std::{env, path::PathBuf};

use crate::cluster::Cluster;

const NAMESPACE: &str = "oomwatch";

/// How it is deployed.
pub(crate) struct Agent {
    overlay: PathBuf,
}

impl Agent {
    /// Finds its manifests, or says why there are none.
    pub(crate) fn find() -> Result<Self, String> {
        let overlay = env::var_os("OOMWATCH_OVERLAY").ok_or("OOMWATCH_OVERLAY is not set")?;
        Ok(Self {
            overlay: overlay.into(),
        })
    }

    /// Deploys it and waits until it says that it is ready.
    pub(crate) fn deploy(&self, cluster: &Cluster) {
        cluster.apply(&self.overlay);
        cluster.kubectl(&[
            "rollout",
            "status",
            "daemonset/oomwatch",
            "-n",
            NAMESPACE,
            "--timeout=120s",
        ]);
    }

    /// What it has written.
    pub(crate) fn log(&self, cluster: &Cluster) -> String {
        cluster.kubectl(&["logs", "daemonset/oomwatch", "-n", NAMESPACE])
    }

    /// Value of a metric's series, as `/metrics` names it; 0 if there is none.
    pub(crate) fn metric(&self, cluster: &Cluster, series: &str) -> f64 {
        let pods = cluster.get(&["pods", "-n", NAMESPACE]);
        let pod = pods["items"][0]["metadata"]["name"]
            .as_str()
            .expect("the agent's pod");
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:10137/proxy/metrics");
        let text = cluster.kubectl(&["get", "--raw", &path]);
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
            .unwrap_or(0.0)
    }
}
