//! Finds what the directory has about a kill.

use super::{Directory, identity::Identity};
use crate::{
    identify::objects::{ApiContainer, ApiPod, PodName, container_key},
    model::report::{Container, Pod, Report},
};

impl Directory {
    pub(super) fn look_up(&self, report: &Report) -> Identity<'_> {
        self.find(report.container.as_ref(), report.pod.as_ref())
    }

    /// What there is about a container and its pod, by their ids.
    pub(super) fn find(&self, container: Option<&Container>, pod: Option<&Pod>) -> Identity<'_> {
        let key = container.map(|own| container_key(&own.id, own.user));
        let runtime_container = key.and_then(|key| self.runtime_containers.get(&key));
        // A user may give another container's id to a cgroup in his own slice: only his own runtime names it.
        let container = container.filter(|own| own.user.is_none());
        let id = container.map(|container| container.id.as_str());
        let uid = pod.map(|pod| pod.uid.as_str());
        let is_pods = |other: &str| uid.is_none_or(|uid| uid == other);
        let runtime_container = runtime_container
            .filter(|found| found.pod.as_ref().is_none_or(|(uid, _)| is_pods(uid)));
        let sandbox = id
            .and_then(|id| self.sandboxes.get(id))
            .filter(|(uid, _)| is_pods(uid));
        // The runtime's word on whose container it is, or the kubelet's on whose folder of logs.
        let runtime_name = runtime_container
            .and_then(|container| Some(&container.pod.as_ref()?.1))
            .or(sandbox.map(|(_, name)| name))
            .or(uid.and_then(|uid| self.names.get(uid)));
        let status = id.and_then(|id| self.statuses.get(id));
        let owner = status.map(|(uid, _)| uid.as_str());
        let pod = uid.and_then(|uid| self.pod(uid, owner, runtime_name));
        let status =
            status.filter(|(owner, _)| pod.map_or(is_pods(owner), |pod| pod.uid == *owner));
        // Its own status comes first: that of another pod may have the same id.
        let own = pod.zip(id).and_then(|(pod, id)| {
            let has_id = |container: &&ApiContainer| container.ids.iter().any(|own| own == id);
            Some(&pod.containers.iter().find(has_id)?.name)
        });
        // The name in its log's file name, if that was found before.
        let logged = container.and_then(|container| container.name.as_deref());
        let container_name = own
            .or(status.map(|(_, name)| name))
            .or(runtime_container.map(|container| &container.name))
            .map(String::as_str);
        Identity {
            pod,
            pod_name: pod.map(|pod| &pod.name).or(runtime_name),
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

    /// The pod with this UID in its cgroup path, or the mirror of the static pod whose configuration has this hash.
    ///
    /// Any pod can be given the annotation with the hash. Of those with the same, the one is taken that has the victim's
    /// container in its status (`owner`); else the one that the runtime names, and no other; else the only one.
    fn pod(
        &self,
        uid: &str,
        owner: Option<&str>,
        runtime_name: Option<&PodName>,
    ) -> Option<&ApiPod> {
        if let Some(pod) = self.pods.get(uid) {
            return Some(pod);
        }
        let has_hash = |pod: &&ApiPod| pod.config_hash.as_deref() == Some(uid);
        if let Some(pod) = owner
            .and_then(|owner| self.pods.get(owner))
            .filter(has_hash)
        {
            return Some(pod);
        }
        // One that exists comes before a removed one of the same name.
        let live = self.pods.live().map(|(_, pod)| pod).filter(has_hash);
        let mut mirrors = live.chain(self.pods.all().map(|(_, pod)| pod).filter(has_hash));
        if let Some(name) = runtime_name {
            return mirrors.find(|pod| pod.name == *name);
        }
        let first = mirrors.next()?;
        mirrors
            .all(|other| other.name == first.name)
            .then_some(first)
    }
}
