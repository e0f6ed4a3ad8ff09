//! Names for the account of a kill: the candidates' containers and pods, and the pods of the node.

use super::Directory;
use crate::{
    identify::{cgroup_paths::PodCgroup, objects::ApiPod},
    model::{
        cgroup::{CgroupOwner, KubeletRoot, Qos},
        report::{CandidateOwner, Container, Pod, PodUsage, Report},
    },
};

/// Most pods that are listed.
const PODS_MAX: usize = 32;

/// `oom_score_adj` of a pod's containers by its class; that of a burstable pod depends on its request and the node (Kubernetes
/// `pkg/kubelet/qos/policy.go`).
const fn oom_score_adj(qos: Qos) -> Option<i32> {
    match qos {
        Qos::Guaranteed => Some(-997),
        Qos::Burstable => None,
        Qos::BestEffort => Some(1000),
    }
}

impl Directory {
    /// The owner of the cgroup at `path`, with the names that are known now.
    pub(in crate::identify) fn candidate_owner(
        &self,
        path: Vec<u8>,
        kubelet: &KubeletRoot,
    ) -> CandidateOwner {
        let CgroupOwner {
            container,
            pod,
            unit,
            node: _,
            driver: _,
        } = CgroupOwner::from_path(&path, kubelet);
        let mut owner = CandidateOwner {
            cgroup_path: path,
            container: container.map(Container::from),
            pod: pod.map(Pod::from),
            unit,
        };
        let identity = self.find(owner.container.as_ref(), owner.pod.as_ref());
        identity.add_names(&mut owner.pod, &mut owner.container);
        owner
    }

    /// The node's pods that are known by name, the one that exceeds its request most first. Of the victim's own pod, what was
    /// charged when the victim was killed.
    pub(in crate::identify) fn pod_usages(
        &self,
        report: &Report,
        pods: Vec<PodCgroup>,
        kubelet: &KubeletRoot,
    ) -> Vec<PodUsage> {
        let mut usages: Vec<PodUsage> = pods
            .into_iter()
            .filter_map(|cgroup| {
                let pod = Pod::from(CgroupOwner::from_path(&cgroup.path, kubelet).pod?);
                let identity = self.find(None, Some(&pod));
                let name = identity.pod_name?.clone();
                let limits = report.kill.limits.iter();
                let at_kill = limits
                    .filter(|limit| limit.cgroup.id == Some(cgroup.id))
                    .find_map(|limit| limit.usage_bytes);
                Some(PodUsage {
                    namespace: name.namespace,
                    name: name.name,
                    usage_bytes: at_kill.unwrap_or(cgroup.usage_bytes),
                    request_bytes: identity.pod.map_or(0, ApiPod::request_bytes),
                    limit_bytes: cgroup.limit_bytes,
                    oom_score_adj: oom_score_adj(pod.qos),
                })
            })
            .collect();
        usages.sort_by_key(|pod| {
            std::cmp::Reverse(i128::from(pod.usage_bytes) - i128::from(pod.request_bytes))
        });
        usages.truncate(PODS_MAX);
        usages
    }
}
