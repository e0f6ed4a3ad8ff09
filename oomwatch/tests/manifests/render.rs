//! Kustomizations to documents, by kubectl.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// What there is to deploy, and what tests deploy.
const DEPLOYED: [&str; 9] = [
    "deploy/base",
    "deploy/overlays/hardened",
    "deploy/overlays/uninstall",
    "oomwatch/tests/manifests/elsewhere",
    "oomwatch/tests/node/base",
    "oomwatch/tests/node/hardened",
    "oomwatch/tests/node/uninstall",
    "oomwatch/tests/node/vm-base",
    "oomwatch/tests/node/vm-hardened",
];

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_owned()
}

/// A kubectl that knows what the kustomizations use: one that was named must, one that was found may.
pub(crate) fn kubectl() -> Option<PathBuf> {
    let Some(named) = env::var_os("OOMWATCH_KUBECTL").map(PathBuf::from) else {
        let found = PathBuf::from("kubectl");
        return is_new_enough(&found).then_some(found);
    };
    assert!(
        is_new_enough(&named),
        "{} is no kubectl with kustomize 5",
        named.display()
    );
    Some(named)
}

fn is_new_enough(kubectl: &Path) -> bool {
    let version = || {
        let version = Command::new(kubectl)
            .args(["version", "--client", "--output=json"])
            .output()
            .ok()?;
        let version: Value = serde_json::from_slice(&version.stdout).ok()?;
        let kustomize = version["kustomizeVersion"].as_str()?.strip_prefix('v')?;
        kustomize.split('.').next()?.parse::<u32>().ok()
    };
    version().is_some_and(|major| major >= 5)
}

/// The documents of a kustomization below the repository's root; absent without kubectl.
pub(crate) fn render(folder: &str) -> Option<Vec<Value>> {
    let output = Command::new(kubectl()?)
        .arg("kustomize")
        .arg(root().join(folder))
        .output()
        .expect("start kubectl");
    let stderr = String::from_utf8_lossy(&output.stderr);
    // A warning is of something that will not be for long.
    assert!(
        output.status.success() && stderr.is_empty(),
        "{folder}: {stderr}"
    );
    let text = String::from_utf8(output.stdout).expect("YAML in UTF-8");
    Some(documents(&text))
}

/// The documents of a stream that kustomize or Helm prints.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let text = text.strip_prefix("---\n").unwrap_or(text);
    let document = |document: &str| {
        serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{error}: {document}"))
    };
    text.split("\n---\n").map(document).collect()
}

/// All documents of all kustomizations, each with its folder.
pub(crate) fn every_document() -> Option<Vec<(&'static str, Value)>> {
    let mut all = Vec::new();
    for folder in DEPLOYED {
        all.extend(
            render(folder)?
                .into_iter()
                .map(|document| (folder, document)),
        );
    }
    Some(all)
}

/// What the objects of a list have under this key.
pub(crate) fn strings<'a>(list: &'a Value, key: &str) -> Vec<&'a str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(|object| object[key].as_str())
        .collect()
}
