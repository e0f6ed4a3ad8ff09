//! The Helm chart on the node, hardened, installed by the real Helm under names that are not its own.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;

use crate::{
    agent,
    cluster::{Cluster, container},
    scenarios::EAT,
};

const RELEASE: &str = "team";
const NAMESPACE: &str = "monitoring";

pub(crate) fn helm() -> Result<PathBuf, String> {
    let helm = env::var_os("OOMWATCH_HELM").map(PathBuf::from);
    helm.ok_or_else(|| "OOMWATCH_HELM is not set".to_owned())
}

/// An installed release, which is removed with its namespace.
struct Release<'a> {
    cluster: &'a Cluster,
    helm: &'a Path,
}

impl Release<'_> {
    fn helm(&self, arguments: &[&str]) {
        let output = Command::new(self.helm)
            .args(arguments)
            .args(["--namespace", NAMESPACE, "--wait", "--timeout=5m"])
            .output()
            .expect("run helm");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "helm {arguments:?}: {stderr}");
    }
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        let _ = Command::new(self.helm)
            .args(["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait"])
            .output();
        self.cluster
            .kubectl(&["delete", "namespace", "--wait=false", NAMESPACE]);
    }
}

/// Its admission policy is in force: what the Event has was allowed.
pub(crate) fn installed(cluster: &Cluster, helm: &Path) {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let chart = crate_folder.join("../deploy/helm/oomwatch");
    let values = crate_folder.join("tests/node/chart.yaml");
    let folder = cluster.folder().expect("a node on this machine");
    agent::mount(&folder.join("bpf"));

    let release = Release { cluster, helm };
    let [chart, values] = [&chart, &values].map(|path| path.to_str().expect("a path in UTF-8"));
    let from = [chart, "--values", values];
    release.helm(&[&["install", RELEASE, "--create-namespace"], &from[..]].concat());
    cluster.kubectl(&[
        "get",
        "validatingadmissionpolicy",
        "team-oomwatch-own-events",
    ]);

    let namespace = cluster.namespace("chart");
    let pod = json!({"containers": [container("app", "40Mi", EAT)]});
    namespace.pod("eater", &pod);
    namespace.event("eater", "ContainerOOMKilled", 1);

    // An upgrade: another pod of the same release.
    let upgrade = ["--set", "podAnnotations.upgraded=yes"];
    release.helm(&[&["upgrade", RELEASE], &from[..], &upgrade].concat());
    namespace.pod("second", &pod);
    namespace.event("second", "ContainerOOMKilled", 1);
    namespace.event("eater", "ContainerOOMKilled", 1);
}
