//! The real Helm, on the chart in `deploy/helm`.

use std::{env, path::PathBuf, process::Command};

use serde_json::Value;

use crate::render::{documents, root};

/// The chart, below the repository's root.
pub(crate) const CHART: &str = "deploy/helm/oomwatch";

pub(crate) struct Helm(PathBuf);

impl Helm {
    /// One that was named must run, one in `PATH` may.
    pub(crate) fn find() -> Option<Self> {
        let named = env::var_os("OOMWATCH_HELM").map(PathBuf::from);
        let is_named = named.is_some();
        let helm = Self(named.unwrap_or_else(|| "helm".into()));
        let runs = Command::new(&helm.0).arg("version").output().is_ok();
        assert!(runs || !is_named, "{} does not run", helm.0.display());
        runs.then_some(helm)
    }

    /// What it prints, or its complaint.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(&self.0)
            .args(arguments)
            .current_dir(root())
            .output()
            .expect("run helm");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    pub(crate) fn template(
        &self,
        release: &str,
        namespace: &str,
        values: &[&str],
    ) -> Result<String, String> {
        let mut arguments = vec!["template", release, CHART, "--namespace", namespace];
        for value in values {
            arguments.extend(["--set", value]);
        }
        self.run(&arguments)
    }

    /// The objects of a release.
    pub(crate) fn render(&self, release: &str, namespace: &str, values: &[&str]) -> Vec<Value> {
        let text = self
            .template(release, namespace, values)
            .unwrap_or_else(|error| panic!("{values:?}: {error}"));
        documents(&text)
    }
}

/// The first of that kind.
pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    objects
        .iter()
        .find(|object| object["kind"] == kind)
        .unwrap_or_else(|| panic!("no {kind}"))
}
