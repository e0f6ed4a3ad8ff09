//! The label sets of the metrics.

use prometheus_client::encoding::EncodeLabelSet;

use crate::model::{cgroup::Runtime, kill::Scope, limit_owner::LimitOwner, report::Report};

/// The value of `limit_owner` if the owner is not known.
const UNKNOWN_OWNER: &str = "unknown";

/// What ran out, and whose limit was hit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(super) struct Reason {
    scope: &'static str,
    limit_owner: &'static str,
}

impl Reason {
    pub(super) const fn new(scope: Scope, owner: Option<LimitOwner>) -> Self {
        let limit_owner = match owner {
            Some(owner) => owner.as_str(),
            None => UNKNOWN_OWNER,
        };
        Self {
            scope: scope.as_str(),
            limit_owner,
        }
    }
}

/// A container or a systemd unit by its names. A name that is not known, or that does not apply, is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(super) struct ContainerLabels {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) container: String,
    pub(super) workload: String,
    pub(super) unit: String,
    pub(super) runtime: &'static str,
}

impl ContainerLabels {
    /// The victim's pod and container, or outside of Kubernetes its container, by name or else by id, or its unit; absent if
    /// there is none, or if the pod's name is not known.
    pub(super) fn of(report: &Report) -> Option<Self> {
        let container = report.container.as_ref();
        let name = container.and_then(|container| container.name.as_deref());
        let short_id =
            || container.map(|container| container.id.get(..12).unwrap_or(&container.id));
        let (namespace, pod, name, unit) = match &report.pod {
            Some(pod) => {
                let (namespace, pod) = pod.namespace.as_deref().zip(pod.name.as_deref())?;
                (namespace, pod, name.unwrap_or_default(), "")
            }
            None => match name.or_else(short_id) {
                Some(name) => ("", "", name, ""),
                None => ("", "", "", report.unit.as_deref()?),
            },
        };
        let runtime = container.and_then(|container| container.runtime);
        Some(Self {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            container: name.to_owned(),
            workload: report
                .workload()
                .map(ToString::to_string)
                .unwrap_or_default(),
            unit: unit.to_owned(),
            runtime: runtime.map_or("", Runtime::as_str),
        })
    }
}

/// The labels of a container's kills.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct KillLabels {
    #[prometheus(flatten)]
    pub(super) reason: Reason,
    #[prometheus(flatten)]
    pub(super) container: ContainerLabels,
}

/// Why the memory ran out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CauseLabels {
    pub(super) cause: &'static str,
}

/// Where a victim's cgroup comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AttributionLabels {
    pub(super) method: &'static str,
}

/// What happened to an incident's Kubernetes Event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct EventLabels {
    pub(super) object: &'static str,
    pub(super) outcome: &'static str,
}

/// Why a request to the API server failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RetryLabels {
    pub(super) object: &'static str,
    pub(super) cause: &'static str,
}

/// The capture backend in use.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BackendLabels {
    pub(super) backend: &'static str,
}
