//! The Event on the pod for a kill. Kubernetes itself records none.
//!
//! The message continues the field path that kubectl prints before it: `spec.containers{app}: Out of memory: killed tail …`.

use jiff::Timestamp;

use super::{
    node::escape_as_log,
    object::{Draft, Event, ObjectReference, Reporter},
};
use crate::{
    deliver::text::size::size,
    model::{
        cause::{Cause, CauseKind},
        cgroup::{self, Level, Qos},
        kill::{Constraint, Kill, MainProcess, Scope, Victim},
        limit_owner::{LimitOwner, LimitSource},
        report::{Container, ContainerKind, Pod, Report},
    },
    sys::escape::escape,
};

/// Reason if the container's main process or the whole container was killed.
const CONTAINER: &str = "ContainerOOMKilled";
/// Reason if another process was killed, or it is not known which.
const PROCESS: &str = "ProcessOOMKilled";

/// Why a kill has no Event on a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// The victim is not in a pod.
    NoPod,
    /// The pod's namespace or name is not known.
    Unnamed,
    /// The pod's annotation opts out of Events.
    OptedOut,
}

/// The Event for a kill at `time`.
///
/// # Errors
/// The reason why there is none.
pub fn pod_event(
    report: &Report,
    reporter: &Reporter,
    time: Timestamp,
) -> Result<Event, SkipReason> {
    let pod = report.pod.as_ref().ok_or(SkipReason::NoPod)?;
    let Pod {
        namespace,
        name,
        uid,
        qos,
        events_off,
        workload: _,
    } = pod;
    let (Some(namespace), Some(name)) = (namespace, name) else {
        return Err(SkipReason::Unnamed);
    };
    if *events_off {
        return Err(SkipReason::OptedOut);
    }
    let involved_object = ObjectReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        namespace: Some(namespace.clone()),
        name: name.clone(),
        uid: Some(uid.clone()),
        field_path: report.container.as_ref().and_then(field_path),
    };
    let draft = Draft {
        involved_object,
        reason: reason(report),
        message: message(report, *qos),
        time,
        kill_id: &report.id,
    };
    Ok(Event::new(draft, reporter))
}

/// The field path of a container as in the kubelet (`pkg/kubelet/container/ref.go`); absent if the container's kind or name is not
/// known.
fn field_path(container: &Container) -> Option<String> {
    let list = match container.kind? {
        ContainerKind::Main => "containers",
        ContainerKind::Init | ContainerKind::Sidecar => "initContainers",
        ContainerKind::Ephemeral => "ephemeralContainers",
    };
    Some(format!("spec.{list}{{{}}}", container.name.as_ref()?))
}

fn reason(report: &Report) -> &'static str {
    let is_group = match group_kill(report) {
        GroupKill::None | GroupKill::BelowContainer => false,
        GroupKill::Container | GroupKill::Other => true,
    };
    match report.main_process {
        _ if is_group || report.sandbox => CONTAINER,
        MainProcess::Yes => CONTAINER,
        MainProcess::No | MainProcess::Unknown => PROCESS,
    }
}

/// What a group kill (`memory.oom.group`) killed besides the victim.
#[derive(Clone, Copy)]
enum GroupKill {
    /// Nothing, as far as is known.
    None,
    /// The rest of a cgroup that the container's processes created inside the container.
    BelowContainer,
    /// At least the rest of the container.
    Container,
    /// An unknown set of processes.
    Other,
}

fn group_kill(report: &Report) -> GroupKill {
    let kill = &report.kill;
    if kill.group_kill != Some(true) {
        return GroupKill::None;
    }
    // The kernel kills the topmost group, which may be above the innermost one.
    let innermost = kill
        .oom_group_level
        .and_then(|index| kill.limits.get(index));
    let known = kill.group_cgroup.as_ref();
    let Some(cgroup) = known.or(innermost.map(|limit| &limit.cgroup)) else {
        return GroupKill::Other;
    };
    match cgroup::level(&cgroup.path, &report.kubelet_root()) {
        Level::Container | Level::Pod | Level::Qos | Level::Kubepods | Level::Root => {
            GroupKill::Container
        }
        // crun puts all processes of a container into a cgroup of this name.
        Level::BelowContainer if known.is_some() && !cgroup.path.ends_with(b"/container") => {
            GroupKill::BelowContainer
        }
        Level::BelowContainer | Level::Unit | Level::Slice | Level::Other => GroupKill::Other,
    }
}

fn message(report: &Report, qos: Qos) -> String {
    let rss_bytes = report.kill.victim.rss_bytes();
    let mut killed = victim(&report.kill.victim);
    if rss_bytes.is_some() {
        killed = format!("{killed}, which held {}", size(rss_bytes));
    }
    if let Some(location) = location(report) {
        let comma = if rss_bytes.is_some() { "," } else { "" };
        killed = format!("{killed}{comma} {location}");
    }
    let others = match group_kill(report) {
        GroupKill::None => "",
        GroupKill::BelowContainer => ", and all other processes of its cgroup in the container",
        GroupKill::Container => ", and all other processes of the container",
        GroupKill::Other => ", and all other processes of its group",
    };
    let killed = format!("Out of memory: killed {killed}{others}");
    let workload = report
        .workload()
        .map(|workload| escape(workload.to_string().as_bytes()));
    if let Some(cause) = cause(report) {
        let clauses = [Some(killed), exhausted(report, qos)];
        let clauses = clauses.into_iter().flatten().collect::<Vec<_>>().join("; ");
        let workload = workload.map_or_else(String::new, |workload| {
            format!(" The pod is of {workload}.")
        });
        return format!("{clauses}. {cause}{workload}");
    }
    let in_use = usage_outside_victim(report, rss_bytes).map(|usage| {
        let usage = size(Some(usage));
        format!("{usage} were in use, mostly not by it but by other processes, the kernel, or files in memory-backed volumes")
    });
    let workload = workload.map(|workload| format!("the pod is of {workload}"));
    let clauses = [Some(killed), exhausted(report, qos), in_use, workload];
    clauses.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// The cause, without names from outside the pod; absent where it is not known.
fn cause(report: &Report) -> Option<String> {
    let Cause {
        kind,
        sentence,
        pod_sentence,
        share_permille: _,
    } = report.cause()?;
    if *kind == CauseKind::Unknown || report.sandbox {
        return None;
    }
    let sentence = pod_sentence.as_ref().unwrap_or(sentence);
    Some(escape(sentence.as_bytes()))
}

/// Where the victim was, if `fieldPath` does not say it.
fn location(report: &Report) -> Option<String> {
    if report.sandbox {
        return Some("while the pod's sandbox was being made".to_owned());
    }
    let container = report.container.as_ref()?;
    if field_path(container).is_some() {
        return None;
    }
    let name = container.name.as_deref();
    let name = name.unwrap_or_else(|| container.short_id());
    Some(format!("in container {}", escape(name.as_bytes())))
}

fn victim(victim: &Victim) -> String {
    match victim.comm.as_deref() {
        None | Some([]) => format!("process {}", victim.pid),
        Some(comm) => format!("{} (pid {})", escape_as_log(comm), victim.pid),
    }
}

/// What ran out of memory: a limit, the node, or part of its memory; absent if it is not known.
fn exhausted(report: &Report, qos: Qos) -> Option<String> {
    let Kill {
        scope, constraint, ..
    } = &report.kill;
    match scope {
        Scope::Unknown => return None,
        Scope::System => {
            let what = match constraint {
                Some(Constraint::Cpuset) => "the memory nodes that its cpuset allows ran out",
                Some(Constraint::MemoryPolicy) => {
                    "the memory nodes that its memory policy allows ran out"
                }
                Some(Constraint::None | Constraint::Memcg) | None => "the node ran out of memory",
            };
            return Some(what.to_owned());
        }
        Scope::Memcg => {}
    }
    let Some(owner) = report.limit_owner else {
        return Some("a memory limit was reached".to_owned());
    };
    let oom = report.oom_limit();
    let (is_own, whose) = match owner {
        LimitOwner::Container => (true, "the container".to_owned()),
        LimitOwner::Pod => (true, "the pod".to_owned()),
        LimitOwner::Qos => (false, format!("all {} pods together", qos_word(qos))),
        LimitOwner::Kubepods => (false, "all pods together".to_owned()),
        LimitOwner::Unit | LimitOwner::Slice | LimitOwner::Cgroup => match oom {
            Some(oom) => (false, format!("the cgroup {}", escape(&oom.cgroup.path))),
            None => (false, "a cgroup".to_owned()),
        },
        // The node has no memory limit: it ran out of memory.
        LimitOwner::Node => return Some("the node ran out of memory".to_owned()),
    };
    let limit = oom.and_then(|oom| oom.limit_bytes);
    let limit = limit.map_or_else(String::new, |limit| {
        let sum = match report.limit_source {
            _ if owner != LimitOwner::Pod || report.sandbox => "",
            Some(LimitSource::ContainerLimits) => " (the sum of its containers')",
            Some(LimitSource::InitContainer) => {
                " (that of an init container, more than the sum of its other containers')"
            }
            Some(LimitSource::PodResources) => " (of the pod as a whole)",
            None => "",
        };
        format!(", {}{sum},", size(Some(limit)))
    });
    let outcome = if report.sandbox && is_own {
        "is too small to start the pod"
    } else {
        "was reached"
    };
    Some(format!("memory limit of {whose}{limit} {outcome}"))
}

fn qos_word(qos: Qos) -> &'static str {
    match qos {
        Qos::Guaranteed => "guaranteed",
        Qos::Burstable => "burstable",
        Qos::BestEffort => "besteffort",
    }
}

/// The usage of the cgroup that ran out, in bytes, if the victim held less than half of it. The rest was used by other processes of
/// the container or the pod, or by files in a memory-backed volume.
fn usage_outside_victim(report: &Report, rss_bytes: Option<u64>) -> Option<u64> {
    if report.sandbox {
        return None;
    }
    match report.limit_owner? {
        LimitOwner::Container
        | LimitOwner::Pod
        | LimitOwner::Unit
        | LimitOwner::Slice
        | LimitOwner::Cgroup => {}
        LimitOwner::Qos | LimitOwner::Kubepods | LimitOwner::Node => return None,
    }
    let usage = report.oom_limit()?.usage_bytes?;
    (rss_bytes?.checked_mul(2)? < usage).then_some(usage)
}

#[cfg(test)]
mod tests;
