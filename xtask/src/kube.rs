//! A real Kubernetes for the tests: an API server alone, or whole nodes on which pods run and are killed.
//!
//! Neither is made here. The environment says where they are:
//!
//! | variable | means |
//! |---|---|
//! | `KUBEBUILDER_ASSETS` | the folder of etcd, kube-apiserver, kubectl and the programs of a node, as envtest has it |
//! | `OOMWATCH_KUBE_NODE` | a command that starts a cluster with a node on this machine (`up`, which prints its environment as lines for a shell), loads an archive of images into it (`load FILE`), and stops it (`down`) |
//! | `OOMWATCH_KUBE_VM_NODE` | a command that adds a node in a virtual machine to that cluster (`up NAME FILE`, with an archive of images), runs a command on it (`exec NAME COMMAND`), and removes it (`down NAME`) |

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::exec;

const ASSETS: &str = "KUBEBUILDER_ASSETS";
const NODE: &str = "OOMWATCH_KUBE_NODE";
const VM_NODE: &str = "OOMWATCH_KUBE_VM_NODE";
const VM_NODE_NAME: &str = "OOMWATCH_KUBE_VM_NODE_NAME";

/// Name of the node in a virtual machine, as the tests' overlays have it.
const VM_NAME: &str = "node-2";
/// Its memory, in MiB: so little that a container without a limit uses it up in seconds.
const VM_MEMORY: &str = "1024";

/// A flag of the kubelet: on a machine whose disk is full to 85 % it would remove the images that no pod uses at the moment.
const KEEP_IMAGES: &str = "--image-gc-high-threshold=100";

/// Folder of the API server's programs.
pub(crate) fn assets() -> Result<PathBuf> {
    let folder =
        PathBuf::from(env::var_os(ASSETS).with_context(|| format!("{ASSETS} is not set"))?);
    for program in ["etcd", "kube-apiserver", "kubectl"] {
        let path = folder.join(program);
        if !path.is_file() {
            bail!("{ASSETS}: there is no {}", path.display());
        }
    }
    Ok(folder)
}

/// Tells tests where the programs are, and which of them are not to be skipped.
pub(crate) fn tell<'a>(tests: &'a mut Command, assets: &Path, required: &str) -> &'a mut Command {
    tests.env(ASSETS, assets).env("OOMWATCH_REQUIRE", required)
}

/// A cluster with one node, which is up; it is stopped when this is dropped.
pub(crate) struct Node {
    command: PathBuf,
    assets: PathBuf,
    /// What its users need in their environment.
    pub(crate) environment: Vec<(String, String)>,
}

impl Node {
    /// The command for one, and the folder of its programs.
    pub(crate) fn found() -> Result<(PathBuf, PathBuf)> {
        let command = env::var_os(NODE).with_context(|| format!("{NODE} is not set"))?;
        Ok((command.into(), assets()?))
    }

    /// Starts one.
    pub(crate) fn up(command: PathBuf, assets: &Path) -> Result<Self> {
        let mut node = Self {
            command,
            assets: assets.to_owned(),
            environment: Vec::new(),
        };
        let mut up = node.command("up");
        up.env("KUBELET_EXTRA", KEEP_IMAGES);
        eprintln!("$ {}", exec::shown(&up));
        // It waits a minute for its kubelet, which on a busy machine is not always enough.
        let printed = exec::output(&mut up).or_else(|error| {
            eprintln!("{error:#}; once more");
            exec::output(&mut up)
        })?;
        node.environment = printed.lines().filter_map(parse_export).collect();
        Ok(node)
    }

    /// Loads an archive of images.
    pub(crate) fn load(&self, archive: &Path) -> Result<()> {
        exec::run(self.command("load").arg(archive))
    }

    fn command(&self, action: &str) -> Command {
        let mut command = Command::new(&self.command);
        command.arg(action).env("KUBE_BIN", &self.assets);
        command
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = exec::run(&mut self.command("down")) {
            eprintln!("{error:#}");
        }
    }
}

/// A second node of a cluster, in a virtual machine; it is removed when this is dropped.
pub(crate) struct VmNode {
    command: PathBuf,
    cluster: Vec<(String, String)>,
}

impl VmNode {
    /// Adds one that has the images of an archive; absent if there is no command for it.
    pub(crate) fn up(cluster: &Node, archive: &Path) -> Result<Option<Self>> {
        let Some(command) = env::var_os(VM_NODE) else {
            return Ok(None);
        };
        let node = Self {
            command: command.into(),
            cluster: cluster.environment.clone(),
        };
        exec::run(node.command("up").arg(archive).env("MEMORY", VM_MEMORY))?;
        Ok(Some(node))
    }

    /// What its users need in their environment besides that of the cluster.
    pub(crate) fn environment(&self) -> [(&'static str, &Path); 2] {
        [(VM_NODE, &self.command), (VM_NODE_NAME, Path::new(VM_NAME))]
    }

    fn command(&self, action: &str) -> Command {
        let mut command = Command::new(&self.command);
        command.args([action, VM_NAME]);
        command.envs(self.cluster.iter().cloned());
        command
    }
}

impl Drop for VmNode {
    fn drop(&mut self) {
        if let Err(error) = exec::run(&mut self.command("down")) {
            eprintln!("{error:#}");
        }
    }
}

/// `export NAME=VALUE`.
fn parse_export(line: &str) -> Option<(String, String)> {
    let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
    Some((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_is_read_from_lines_for_a_shell() {
        let pair = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(
            parse_export("export KUBECONFIG=/tmp/a=b/kubeconfig"),
            pair("KUBECONFIG", "/tmp/a=b/kubeconfig")
        );
        for odd in ["", "export X", "X=1", "# export X=1"] {
            assert_eq!(parse_export(odd), None, "{odd}");
        }
    }
}
