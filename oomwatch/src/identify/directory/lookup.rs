//! Finds what the directory has about a kill.

use super::{Directory, identity::Identity};
use crate::{identify::objects::ApiPod, model::report::Report};

impl Directory {
    pub(super) fn look_up(&self, report: &Report) -> Identity<'_> {
        let container = report.container.as_ref();
        let id = container.map(|container| container.id.as_str());
        let uid = report.pod.as_ref().map(|pod| pod.uid.as_str());
        let status = id.and_then(|id| self.statuses.get(id));
        let runtime_container = id.and_then(|id| self.runtime_containers.get(id));
        let sandbox = id.and_then(|id| self.sandboxes.get(id));
        let pod = uid.and_then(|uid| self.pod(uid));
        let name_by_uid = uid.and_then(|uid| self.names.get(uid));
        // The name in its log's file name, if that was found before.
        let logged = container.and_then(|container| container.name.as_deref());
        let container_name = status
            .map(|(_, name)| name)
            .or(runtime_container.map(|container| &container.name))
            .map(String::as_str);
        Identity {
            pod,
            pod_name: pod
                .map(|pod| &pod.name)
                .or(name_by_uid)
                .or(runtime_container.and_then(|container| Some(&container.pod.as_ref()?.1)))
                .or(sandbox.map(|(_, name)| name)),
            runtime_container,
            container_name,
            api_container: pod.zip(container_name.or(logged)).and_then(|(pod, name)| {
                pod.containers
                    .iter()
                    .find(|container| container.name == name)
            }),
            is_sandbox: sandbox.is_some(),
        }
    }

    /// The pod with this UID in its cgroup path.
    pub(super) fn pod(&self, uid: &str) -> Option<&ApiPod> {
        self.pods.get(uid).or_else(|| self.static_pod(uid))
    }

    /// The mirror of the static pod whose configuration has this hash; one that exists comes before a removed one.
    ///
    /// Any pod can be given such an annotation. If pods of different names have the same hash, only the one that the runtime
    /// names is trusted.
    fn static_pod(&self, hash: &str) -> Option<&ApiPod> {
        let has_hash = |(_, pod): &(&str, &ApiPod)| pod.config_hash.as_deref() == Some(hash);
        let live = self.pods.live().filter(has_hash);
        let mut mirrors: Vec<&ApiPod> = live.map(|(_, pod)| pod).collect();
        if mirrors.is_empty() {
            let all = self.pods.all().filter(has_hash);
            mirrors = all.map(|(_, pod)| pod).collect();
        }
        let first = *mirrors.first()?;
        if mirrors.iter().all(|other| other.name == first.name) {
            return Some(first);
        }
        let name = self.names.get(hash)?;
        mirrors.into_iter().find(|pod| pod.name == *name)
    }
}
