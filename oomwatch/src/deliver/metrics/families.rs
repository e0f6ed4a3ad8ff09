//! The metric families of a node and its agent: names, help texts, and the label values that are known at the start. Series
//! with these values exist from the start, at 0, so that `increase()` sees the first kill.
//!
//! The crate adds `_total` to a counter's name and a full stop to each help text.

use std::sync::atomic::Ordering;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry},
};

use super::{
    labels::{AttributionLabels, BackendLabels, CauseLabels, EventLabels, Reason, RetryLabels},
    time_gauge::TimeGauge,
};
use crate::{
    deliver::events::{Cause, Object, Outcome},
    model::{
        cause::CauseKind,
        kill::{Attribution, Scope},
        limit_owner::LimitOwner,
    },
};

/// Every combination of `scope` and `limit_owner` that occurs.
pub(super) const REASONS: [Reason; 10] = [
    Reason::new(Scope::Memcg, Some(LimitOwner::Container)),
    Reason::new(Scope::Memcg, Some(LimitOwner::Pod)),
    Reason::new(Scope::Memcg, Some(LimitOwner::Qos)),
    Reason::new(Scope::Memcg, Some(LimitOwner::Kubepods)),
    Reason::new(Scope::Memcg, Some(LimitOwner::Unit)),
    Reason::new(Scope::Memcg, Some(LimitOwner::Slice)),
    Reason::new(Scope::Memcg, Some(LimitOwner::Cgroup)),
    Reason::new(Scope::Memcg, None),
    Reason::new(Scope::System, Some(LimitOwner::Node)),
    Reason::new(Scope::Unknown, None),
];

/// Every value of `method`.
pub(super) const ATTRIBUTIONS: [Attribution; 3] =
    [Attribution::Kernel, Attribution::Proc, Attribution::Kmsg];

/// Every value of `object`.
pub(super) const OBJECTS: [Object; 2] = [Object::Node, Object::Pod];

/// Every value of `cause`.
pub(super) const RETRY_CAUSES: [Cause; 6] = [
    Cause::Unauthorized,
    Cause::Forbidden,
    Cause::TooMany,
    Cause::ServerError,
    Cause::Unreachable,
    Cause::Unreadable,
];

/// Upper bounds of the delivery histogram's buckets, in seconds: below one second without an outage, one hour at most
/// (`--events-max-age`).
const DELIVERY_BUCKETS: [f64; 13] = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
];

/// What was killed on this node, and whether all of it was seen.
#[derive(Debug)]
pub(super) struct NodeFamilies {
    pub(super) incidents: Family<Reason, Counter>,
    pub(super) kills: Counter,
    pub(super) kernel_kills: Counter,
    pub(super) unobserved_kills: Counter,
    pub(super) rekills: Counter,
    pub(super) marks_without_kill: Counter,
    pub(super) killed_mm_sharers: Counter,
    pub(super) ring_dropped: Counter,
    pub(super) ring_undecoded: Counter,
    pub(super) kmsg_overruns: Counter,
    pub(super) attribution: Family<AttributionLabels, Counter>,
    pub(super) causes: Family<CauseLabels, Counter>,
}

impl NodeFamilies {
    /// Creates the families and registers them.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let mut counter = |name, help| registered(registry, name, help);
        let families = Self {
            kills: counter(
                "oomwatch_node_kills",
                "Processes killed by the OOM killer and reported",
            ),
            kernel_kills: counter(
                "oomwatch_kernel_oom_kills",
                "oom_kill of /proc/vmstat: kills and re-kills counted by the kernel since boot",
            ),
            unobserved_kills: counter(
                "oomwatch_unobserved_kills",
                "Kills that the kernel counted and whose victim is not known",
            ),
            rekills: counter(
                "oomwatch_rekills",
                "Victims that were sent SIGKILL a second time; the kernel counts them again",
            ),
            marks_without_kill: counter(
                "oomwatch_mark_victim_without_kill",
                "mark_victim events for tasks that were already dying and were not killed",
            ),
            killed_mm_sharers: counter(
                "oomwatch_killed_mm_sharers",
                "Processes killed because they shared the victim's memory; the kernel does not count them",
            ),
            ring_dropped: counter(
                "oomwatch_ring_dropped",
                "Records dropped because the ring buffer was full",
            ),
            ring_undecoded: counter(
                "oomwatch_ring_undecoded",
                "Records that could not be decoded",
            ),
            kmsg_overruns: counter(
                "oomwatch_kmsg_overruns",
                "Records of the kernel log that were overwritten before they were read",
            ),
            incidents: registered(
                registry,
                "oomwatch_node_incidents",
                "Calls of the OOM killer that killed at least one process",
            ),
            attribution: registered(
                registry,
                "oomwatch_attribution",
                "Kills by the source of the victim's cgroup",
            ),
            causes: registered(
                registry,
                "oomwatch_kills_by_cause",
                "Kills by why the memory ran out",
            ),
        };
        for cause in CauseKind::ALL {
            let cause = cause.as_str();
            let _ = families.causes.get_or_create(&CauseLabels { cause });
        }
        for reason in REASONS {
            let _ = families.incidents.get_or_create(&reason);
        }
        for attribution in ATTRIBUTIONS {
            let method = attribution.as_str();
            let _ = families
                .attribution
                .get_or_create(&AttributionLabels { method });
        }
        families
    }
}

/// How the agent works, and what became of the Events.
#[derive(Debug)]
pub(super) struct AgentFamilies {
    pub(super) events: Family<EventLabels, Counter>,
    pub(super) event_retries: Family<RetryLabels, Counter>,
    pub(super) events_pending: Gauge,
    pub(super) delivery_seconds: Histogram,
    pub(super) backend: Family<BackendLabels, Gauge>,
    pub(super) backend_silent: Counter,
    pub(super) last_audit: TimeGauge,
    pub(super) history_bytes: Gauge,
    pub(super) history_errors: Counter,
}

impl AgentFamilies {
    /// Creates the families and registers them.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let delivery_seconds = Histogram::new(DELIVERY_BUCKETS);
        registry.register(
            "oomwatch_delivery_seconds",
            "Time from a kill to its accepted Kubernetes Event",
            delivery_seconds.clone(),
        );
        let build: Family<[(&str, &str); 1], Gauge> =
            registered(registry, "oomwatch_build_info", "The version of oomwatch");
        build
            .get_or_create(&[("version", env!("CARGO_PKG_VERSION"))])
            .set(1);
        let families = Self {
            events: registered(
                registry,
                "oomwatch_events",
                "Incidents by the outcome of their Kubernetes Event",
            ),
            event_retries: registered(
                registry,
                "oomwatch_event_retries",
                "Requests for Kubernetes Events that failed and are retried",
            ),
            events_pending: registered(
                registry,
                "oomwatch_events_pending",
                "Incidents whose Kubernetes Event is not delivered yet",
            ),
            delivery_seconds,
            backend: registered(
                registry,
                "oomwatch_backend_info",
                "The capture backend in use",
            ),
            backend_silent: registered(
                registry,
                "oomwatch_backend_silent",
                "Backends that were attached, recorded nothing of what the kernel counted, and were replaced",
            ),
            last_audit: registered(
                registry,
                "oomwatch_last_audit_timestamp_seconds",
                "Time of the last comparison with the kernel's count; 0 if there was none",
            ),
            history_bytes: registered(
                registry,
                "oomwatch_history_bytes",
                "Size of the history database",
            ),
            history_errors: registered(
                registry,
                "oomwatch_history_errors",
                "Failed writes to the history database",
            ),
        };
        for object in OBJECTS {
            families.create_series(object);
        }
        families
    }

    fn create_series(&self, object: Object) {
        for outcome in Outcome::ALL {
            if has_outcome(object, outcome) {
                let _ = self.events.get_or_create(&EventLabels {
                    object: object.as_str(),
                    outcome: outcome.as_str(),
                });
            }
        }
        for cause in RETRY_CAUSES {
            let _ = self.event_retries.get_or_create(&RetryLabels {
                object: object.as_str(),
                cause: cause.as_str(),
            });
        }
    }
}

/// A metric that is registered under this name.
pub(super) fn registered<M: Metric + Clone + Default>(
    registry: &mut Registry,
    name: &str,
    help: &str,
) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// Sets a counter whose total is counted elsewhere.
pub(super) fn set_total(counter: &Counter, total: u64) {
    counter.inner().store(total, Ordering::Relaxed);
}

/// Whether an Event on this kind of object can have this outcome. A node always has a name, and no annotation or
/// namespace turns its Events off.
pub(super) fn has_outcome(object: Object, outcome: Outcome) -> bool {
    let is_for_pods = matches!(
        outcome,
        Outcome::Unnamed | Outcome::OptedOut | Outcome::Excluded
    );
    object == Object::Pod || !is_for_pods
}
