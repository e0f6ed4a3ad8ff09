//! A real Kubernetes for the tests: an API server alone, or a whole node on which pods run and are killed.
//!
//! Neither is made here. Who has them says where they are:
//! `KUBEBUILDER_ASSETS`, the folder of etcd, kube-apiserver and kubectl as envtest has it, and
//! `OOMWATCH_KUBE_NODE`, a command that brings a node of its own up (`up`, which prints its environment as lines for a
//! shell), loads an archive of images into it (`load FILE`), and takes it down (`down`).

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::exec;

const ASSETS: &str = "KUBEBUILDER_ASSETS";
const NODE: &str = "OOMWATCH_KUBE_NODE";

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

/// A node that is up; it goes down when this is dropped.
pub(crate) struct Node {
    command: PathBuf,
    /// What its users need to be told.
    pub(crate) environment: Vec<(String, String)>,
}

impl Node {
    /// The command for one, and the folder of its programs.
    pub(crate) fn found() -> Result<(PathBuf, PathBuf)> {
        let command = env::var_os(NODE).with_context(|| format!("{NODE} is not set"))?;
        Ok((command.into(), assets()?))
    }

    /// Brings one up, with its programs in a folder of ours.
    pub(crate) fn up(command: PathBuf, assets: &Path, folder: &Path) -> Result<Self> {
        link_programs(assets, folder)?;
        let mut node = Self {
            command,
            environment: Vec::new(),
        };
        let mut up = Command::new(&node.command);
        up.arg("up").env("KUBE_BIN", folder);
        eprintln!("$ {}", exec::shown(&up));
        // It waits a minute for its kubelet, which on a busy machine is not always enough.
        let told = exec::output(&mut up).or_else(|error| {
            eprintln!("{error:#}; once more");
            exec::output(&mut up)
        })?;
        node.environment = told.lines().filter_map(parse_export).collect();
        Ok(node)
    }

    /// Loads an archive of images.
    pub(crate) fn load(&self, archive: &Path) -> Result<()> {
        exec::run(Command::new(&self.command).arg("load").arg(archive))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = exec::run(Command::new(&self.command).arg("down")) {
            eprintln!("{error:#}");
        }
    }
}

/// The kubelet tells its help to whoever does not listen to the end, too: it would fail by it, and with `pipefail` whoever
/// looks for a flag there takes it for absent.
const KUBELET: &str = r#"#!/bin/sh
if [ "$1" = --help ]; then
    help=$(KUBELET --help 2>&1)
    trap '' PIPE
    printf '%s\n' "$help" 2>/dev/null
    exit 0
fi
exec KUBELET "$@"
"#;

fn link_programs(assets: &Path, folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    for entry in fs::read_dir(assets).with_context(|| format!("read {}", assets.display()))? {
        let program = entry?.path();
        let name = program.file_name().context("a program has a name")?;
        let ours = folder.join(name);
        if name == "kubelet" {
            let text = KUBELET.replace("KUBELET", &program.to_string_lossy());
            fs::write(&ours, text).with_context(|| format!("write {}", ours.display()))?;
            fs::set_permissions(&ours, Permissions::from_mode(0o755))?;
        } else {
            symlink(&program, &ours).with_context(|| format!("link {}", ours.display()))?;
        }
    }
    Ok(())
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
