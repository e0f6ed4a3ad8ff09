//! Names of pods and containers from the file names of their logs; needs neither API server nor runtime.
//!
//! The kubelet creates a folder `NAMESPACE_POD_UID` below `/var/log/pods` before it starts a pod (`BuildPodLogsDirectory` in
//! `pkg/kubelet/kuberuntime/helpers.go`), and a link `POD_NAMESPACE_CONTAINER-ID.log` below `/var/log/containers` when a
//! container has started (`pkg/kubelet/kuberuntime/legacy.go`). A container that ends at once may have no link yet.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tracing::debug;

use crate::{identify::objects::PodName, model::report::Report};

/// The host's log folders.
#[derive(Debug)]
pub struct PodLogs {
    pods: PathBuf,
    containers: PathBuf,
}

impl PodLogs {
    /// `log_root` is the host's `/var/log`.
    #[must_use]
    pub fn new(log_root: &Path) -> Self {
        Self {
            pods: log_root.join("pods"),
            containers: log_root.join("containers"),
        }
    }

    /// Adds the names that a report lacks, as far as they are found. Whether the container's was.
    pub fn add_names(&self, report: &mut Report) -> bool {
        let Some(pod) = &mut report.pod else {
            return false;
        };
        if pod.name.is_none()
            && let Some(PodName { namespace, name }) = self.pod(&pod.uid)
        {
            pod.namespace = Some(namespace);
            pod.name = Some(name);
        }
        if let Some(container) = &mut report.container
            && container.name.is_none()
        {
            container.name = find(&self.containers, |entry| container_of(entry, &container.id));
            return container.name.is_some();
        }
        false
    }

    /// The names of the pod with this UID.
    #[must_use]
    pub fn pod(&self, uid: &str) -> Option<PodName> {
        find(&self.pods, |entry| pod_of(entry, uid))
    }
}

/// The first result of `parse` for an entry of `folder`.
fn find<T>(folder: &Path, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    let entries = fs::read_dir(folder)
        .inspect_err(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                debug!(%error, folder = %folder.display(), "failed to read a log folder");
            }
        })
        .ok()?;
    entries
        .flatten()
        .find_map(|entry| parse(entry.file_name().to_str()?))
}

/// Namespace and name in `NAMESPACE_POD_UID`; Kubernetes allows no `_` in either.
pub(super) fn pod_of(entry: &str, uid: &str) -> Option<PodName> {
    let (namespace, name) = entry
        .strip_suffix(uid)?
        .strip_suffix('_')?
        .split_once('_')?;
    let valid = |name: &str| !name.is_empty() && !name.contains('_');
    (valid(namespace) && valid(name)).then(|| PodName {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

/// Container name in `POD_NAMESPACE_CONTAINER-ID.log`.
pub(super) fn container_of(entry: &str, id: &str) -> Option<String> {
    let names = entry
        .strip_suffix(".log")?
        .strip_suffix(id)?
        .strip_suffix('-')?;
    let mut parts = names.split('_');
    let (_pod, _namespace, container) = (parts.next()?, parts.next()?, parts.next()?);
    (parts.next().is_none() && !container.is_empty()).then(|| container.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "7c1d9a52-33f1-4b3e-9e0c-6f1d8e2a4b10";
    const ID: &str = "2f6e0c1b7d3a95e84b10c2d7f6a39e5081b4c7d2e6f3a0958c1b2d4e7f6a3098";

    #[test]
    fn names_are_parsed_from_complete_entries() {
        assert_eq!(
            pod_of(&format!("shop_web-7d4b-x2_{UID}"), UID),
            Some(PodName {
                namespace: "shop".into(),
                name: "web-7d4b-x2".into(),
            })
        );
        assert_eq!(
            container_of(&format!("web-7d4b-x2_shop_app-{ID}.log"), ID),
            Some("app".into())
        );
        assert_eq!(
            container_of(&format!("web_shop_my-app-{ID}.log"), ID),
            Some("my-app".into())
        );
    }

    #[test]
    fn other_entries_have_no_names() {
        for entry in [
            "",
            "_",
            UID,
            &format!("_{UID}"),
            &format!("__{UID}"),
            &format!("a_b_c_{UID}"),
            &format!("a_b{UID}"),
        ] {
            assert_eq!(pod_of(entry, UID), None, "{entry}");
        }
        for entry in [
            "",
            ".log",
            &format!("{ID}.log"),
            &format!("a_b_-{ID}.log"),
            &format!("a_b_c_d-{ID}.log"),
            &format!("a_b_c-{ID}"),
        ] {
            assert_eq!(container_of(entry, ID), None, "{entry}");
        }
    }

    #[test]
    fn absent_folder_has_no_names() {
        assert_eq!(find(Path::new("/nonexistent"), |_| Some(())), None);
    }
}
