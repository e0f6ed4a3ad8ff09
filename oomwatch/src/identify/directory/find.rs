//! Who a kill is of.

use super::{Directory, known::Known};
use crate::{identify::facts::Pod, model::report::Report};

impl Directory {
    pub(super) fn find(&self, report: &Report) -> Known<'_> {
        let id = report
            .container
            .as_ref()
            .map(|container| container.id.as_str());
        let uid = report.pod.as_ref().map(|pod| pod.uid.as_str());
        let status = id.and_then(|id| self.statuses.get(id));
        let instance = id.and_then(|id| self.instances.get(id));
        let sandbox = id.and_then(|id| self.sandboxes.get(id));
        let pod = uid.and_then(|uid| self.pod(uid));
        let told = uid.and_then(|uid| self.names.get(uid));
        // The name of its log, if that was looked up.
        let logged = report
            .container
            .as_ref()
            .and_then(|container| container.name.as_deref());
        let container_name = status
            .map(|(_, name)| name)
            .or(instance.map(|instance| &instance.name))
            .map(String::as_str);
        Known {
            pod,
            pod_name: pod
                .map(|pod| &pod.name)
                .or(told)
                .or(instance.and_then(|instance| Some(&instance.pod.as_ref()?.1)))
                .or(sandbox.map(|(_, name)| name)),
            instance,
            container_name,
            container: pod.zip(container_name.or(logged)).and_then(|(pod, name)| {
                pod.containers
                    .iter()
                    .find(|container| container.name == name)
            }),
            is_sandbox: sandbox.is_some(),
        }
    }

    /// The pod with this UID in its cgroup's path.
    pub(super) fn pod(&self, uid: &str) -> Option<&Pod> {
        self.pods.get(uid).or_else(|| self.static_pod(uid))
    }

    /// The mirror of the static pod whose configuration has this hash: one that is there, else one that is gone. Anyone may give
    /// his pod such an annotation: where several have it, the one that the runtime names.
    fn static_pod(&self, hash: &str) -> Option<&Pod> {
        let has_it = |(_, pod): &(&str, &Pod)| pod.config_hash.as_deref() == Some(hash);
        let mut mirrors: Vec<&Pod> = self
            .pods
            .there()
            .filter(has_it)
            .map(|(_, pod)| pod)
            .collect();
        if mirrors.is_empty() {
            mirrors = self.pods.all().filter(has_it).map(|(_, pod)| pod).collect();
        }
        let one = *mirrors.first()?;
        if mirrors.iter().all(|other| other.name == one.name) {
            return Some(one);
        }
        let told = self.names.get(hash)?;
        mirrors.into_iter().find(|pod| pod.name == *told)
    }
}
