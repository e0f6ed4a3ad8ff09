//! Whose limit a pod's cgroup has: its specification tells what the kernel cannot.

use crate::{
    identify::objects::{ApiContainer, ApiPod},
    model::{
        cgroup::{self, Level},
        kill::Scope,
        limit_owner::{LimitOwner, LimitSource},
        report::Report,
    },
};

/// Limits are whole pages in the kernel, and no page is larger.
const LARGEST_PAGE_BYTES: u64 = 64 << 10;

/// Says whose limit it was where a pod's cgroup ran out: `container` is the victim's.
///
/// The kubelet sets the sum of the containers' limits on the pod, unless that has limits of its own. So with one container
/// it is the pod's cgroup that runs out, by that container's limit.
pub(super) fn refine(report: &mut Report, pod: &ApiPod, container: Option<&ApiContainer>) {
    let Some(oom) = report.oom_limit() else {
        return;
    };
    if report.kill.scope != Scope::Memcg || cgroup::level(&oom.cgroup.path) != Level::Pod {
        return;
    }
    if pod.memory_limit_bytes.is_some() {
        report.limit_owner = Some(LimitOwner::Pod);
        report.limit_source = Some(LimitSource::PodResources);
        return;
    }
    let own = container.and_then(|container| container.memory_limit_bytes);
    let is_own = own
        .zip(oom.limit_bytes)
        .is_some_and(|(own, limit)| own >= limit && own - limit < LARGEST_PAGE_BYTES);
    report.limit_source = Some(LimitSource::ContainerLimits);
    if is_own {
        report.limit_owner = Some(LimitOwner::Container);
    } else if report.limit_owner.is_none() && (container.is_some() || report.sandbox) {
        // The log alone told of it, and left this open.
        report.limit_owner = Some(LimitOwner::Pod);
    }
}
