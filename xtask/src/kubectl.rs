//! A kubectl that renders kustomizations as they are written today: that of `KUBEBUILDER_ASSETS`, else the machine's own, else
//! Debian's of another release.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::apt::{self, Apt, Archive};
use crate::cargo::Workspace;
use crate::install::{How, Install};
use crate::toolchain::remove_if_there;
use crate::{exec, kube};

/// The Debian suite that has one.
const SUITE: &str = "trixie";
/// The first kustomize that has what `deploy` uses: components, patches with a target, labels without selectors.
const OLDEST_KUSTOMIZE: u64 = 5;
/// Its path below the folder that the package is unpacked in.
const FETCHED: &str = "usr/bin/kubectl";

/// Finds it, fetching it if it is missing.
pub(crate) fn ensure_kubectl(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(kubectl) = found(workspace) {
        return Ok(kubectl);
    }
    let folder = folder(workspace);
    let own = folder.join(FETCHED);
    let apt = Apt::update(&workspace.target.join("tools/apt"), Archive::Main, SUITE)?;
    let candidates = apt.candidates("^kubectl$")?;
    let candidate = candidates
        .first()
        .with_context(|| format!("{SUITE} has no kubectl"))?;
    remove_if_there(&folder)?;
    fs::create_dir_all(&folder)
        .with_context(|| format!("failed to create {}", folder.display()))?;
    let package = apt.download(candidate, &folder)?;
    apt::unpack(&package, &folder)?;
    ensure!(
        is_new_enough(&own),
        "the kubectl {} of {SUITE} does not run here, or is too old",
        candidate.version
    );
    Ok(own)
}

/// What [`ensure_kubectl`] would fetch.
pub(crate) fn missing(workspace: &Workspace) -> Option<Install> {
    found(workspace).is_none().then(|| Install {
        what: "kubectl".to_owned(),
        how: How::Unpack,
        seconds: 30,
    })
}

/// The first that is new enough.
fn found(workspace: &Workspace) -> Option<PathBuf> {
    let assets = kube::assets().ok().map(|folder| folder.join("kubectl"));
    let installed = exec::find("kubectl");
    let fetched = folder(workspace).join(FETCHED);
    let mut all = assets.into_iter().chain(installed).chain([fetched]);
    all.find(|path| is_new_enough(path))
}

/// Where Debian's is unpacked.
fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("tools/kubectl")
}

fn is_new_enough(kubectl: &Path) -> bool {
    kubectl.is_file()
        && exec::output(Command::new(kubectl).args(["version", "--client", "--output", "json"]))
            .is_ok_and(|version| kustomize(&version).is_some_and(|major| major >= OLDEST_KUSTOMIZE))
}

/// The major version in `"kustomizeVersion": "v5.5.0"`; a kubectl that tells none has one that is older.
fn kustomize(version: &str) -> Option<u64> {
    let version: Value = serde_json::from_str(version).ok()?;
    let text = version["kustomizeVersion"].as_str()?;
    text.strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kustomize_is_told_by_newer_kubectls_only() {
        let version = r#"{"clientVersion":{"major":"1"},"kustomizeVersion":"v5.5.0"}"#;
        assert_eq!(kustomize(version), Some(5));
        for odd in [
            "",
            "{}",
            r#"{"clientVersion":{"major":"1","minor":"20"}}"#,
            r#"{"kustomizeVersion":5}"#,
            r#"{"kustomizeVersion":"5.5.0"}"#,
            r#"{"kustomizeVersion":"v"}"#,
        ] {
            assert_eq!(kustomize(odd), None, "{odd}");
        }
    }
}
