//! The real Helm: the one in `PATH`, else one that Go builds below the target folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::cargo::Workspace;
use crate::exec;
use crate::install::{How, Install};

const PACKAGE: &str = "helm.sh/helm/v4/cmd/helm@v4.3.1";

/// Finds it, building it if it is missing.
pub(crate) fn ensure_helm(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(helm) = found(workspace) {
        return Ok(helm);
    }
    ensure!(exec::find("go").is_some(), "no helm, nor Go to build it");
    let folder = folder(workspace);
    fs::create_dir_all(&folder)
        .with_context(|| format!("failed to create {}", folder.display()))?;
    let mut install = Command::new("go");
    install.args(["install", PACKAGE]);
    exec::run(install.env("GOBIN", &folder).env("CGO_ENABLED", "0"))?;
    let helm = folder.join("helm");
    ensure!(runs(&helm), "the Helm that was just built does not run");
    Ok(helm)
}

/// What [`ensure_helm`] would build.
pub(crate) fn missing(workspace: &Workspace) -> Option<Install> {
    found(workspace).is_none().then(|| Install {
        what: PACKAGE.to_owned(),
        how: How::Go,
        seconds: 300,
    })
}

fn found(workspace: &Workspace) -> Option<PathBuf> {
    let own = folder(workspace).join("helm");
    let mut all = exec::find("helm").into_iter().chain([own]);
    all.find(|helm| runs(helm))
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("tools/helm")
}

fn runs(helm: &Path) -> bool {
    helm.is_file() && exec::output(Command::new(helm).arg("version")).is_ok()
}
