//! A kill as an Event on its pod, which nobody else records.
//!
//! The message reads on from what kubectl puts before it: `spec.containers{app}: Out of memory: killed tail …`.

use jiff::Timestamp;

use super::{
    node::escape_as_log,
    object::{Draft, Event, ObjectReference, Reporter},
};
use crate::{
    deliver::text::size,
    model::{
        cgroup::{self, Level, Qos},
        kill::{Constraint, Kill, MainProcess, Scope, Victim},
        limit_owner::{LimitOwner, LimitSource},
        report::{Container, ContainerKind, Pod, Report},
    },
    sys::escape::escape,
};

/// The container's main process was killed, or all of it.
const CONTAINER: &str = "ContainerOOMKilled";
/// Another process was killed, or it is not known which.
const PROCESS: &str = "ProcessOOMKilled";

/// Why a kill has no Event on a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutEvent {
    /// It was in no pod.
    NoPod,
    /// Nobody told the pod's namespace and name.
    Unnamed,
    /// The pod asks for none.
    OptedOut,
}

/// The Event of a kill that happened at `time`.
pub fn pod_event(
    report: &Report,
    reporter: &Reporter,
    time: Timestamp,
) -> Result<Event, WithoutEvent> {
    let pod = report.pod.as_ref().ok_or(WithoutEvent::NoPod)?;
    let Pod {
        namespace,
        name,
        uid,
        qos,
        events_off,
    } = pod;
    let (Some(namespace), Some(name)) = (namespace, name) else {
        return Err(WithoutEvent::Unnamed);
    };
    if *events_off {
        return Err(WithoutEvent::OptedOut);
    }
    let about = ObjectReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        namespace: Some(namespace.clone()),
        name: name.clone(),
        uid: Some(uid.clone()),
        field_path: report.container.as_ref().and_then(field_path),
    };
    let draft = Draft {
        about,
        reason: reason(report),
        message: message(report, *qos),
        time,
        kill: &report.id,
    };
    Ok(Event::new(draft, reporter))
}

/// As the kubelet names a container (`pkg/kubelet/container/ref.go`); absent if it is not known what the container is.
fn field_path(container: &Container) -> Option<String> {
    let list = match container.kind? {
        ContainerKind::Main => "containers",
        ContainerKind::Init | ContainerKind::Sidecar => "initContainers",
        ContainerKind::Ephemeral => "ephemeralContainers",
    };
    Some(format!("spec.{list}{{{}}}", container.name.as_ref()?))
}

fn reason(report: &Report) -> &'static str {
    let whole = match group(&report.kill) {
        Group::None | Group::BelowContainer => false,
        Group::Container | Group::Other => true,
    };
    match report.main_process {
        _ if whole || report.sandbox => CONTAINER,
        MainProcess::Yes => CONTAINER,
        MainProcess::No | MainProcess::Unknown => PROCESS,
    }
}

/// What `memory.oom.group` made the killer take.
#[derive(Clone, Copy)]
enum Group {
    /// Nothing but the victim, as far as is known.
    None,
    /// A cgroup that the container's processes made in it.
    BelowContainer,
    /// At least the container.
    Container,
    /// It is not known how much.
    Other,
}

fn group(kill: &Kill) -> Group {
    if kill.group_kill != Some(true) {
        return Group::None;
    }
    // The kernel takes the topmost group: above the innermost one there may be another.
    let innermost = kill
        .oom_group_level
        .and_then(|index| kill.limits.get(index));
    let known = kill.group_cgroup.as_ref();
    let Some(cgroup) = known.or(innermost.map(|limit| &limit.cgroup)) else {
        return Group::Other;
    };
    match cgroup::level(&cgroup.path) {
        Level::Container | Level::Pod | Level::Qos | Level::Kubepods | Level::Root => {
            Group::Container
        }
        // crun puts all of a container into a cgroup of this name.
        Level::BelowContainer if known.is_some() && !cgroup.path.ends_with(b"/container") => {
            Group::BelowContainer
        }
        Level::BelowContainer | Level::Other => Group::Other,
    }
}

fn message(report: &Report, qos: Qos) -> String {
    let held = report.kill.victim.held_bytes();
    let mut killed = victim(&report.kill.victim);
    if let Some(held) = held {
        killed = format!("{killed}, which held {}", size(Some(held)));
    }
    if let Some(place) = place(report) {
        let comma = if held.is_some() { "," } else { "" };
        killed = format!("{killed}{comma} {place}");
    }
    let others = match group(&report.kill) {
        Group::None => "",
        Group::BelowContainer => ", and all other processes of its cgroup in the container",
        Group::Container => ", and all other processes of the container",
        Group::Other => ", and all other processes of its group",
    };
    let killed = format!("Out of memory: killed {killed}{others}");
    let in_use = usage_of_others(report, held).map(|usage| {
        let usage = size(Some(usage));
        format!("{usage} were in use, mostly not by it but by other processes, the kernel, or files in memory-backed volumes")
    });
    let clauses = [Some(killed), what_ran_out(report, qos), in_use];
    clauses.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Where it was, if `fieldPath` does not say it.
fn place(report: &Report) -> Option<String> {
    if report.sandbox {
        return Some("while the pod's sandbox was being made".to_owned());
    }
    let container = report.container.as_ref()?;
    if field_path(container).is_some() {
        return None;
    }
    let id = container.id.get(..12).unwrap_or(&container.id);
    let name = container.name.as_deref().unwrap_or(id);
    Some(format!("in container {}", escape(name.as_bytes())))
}

fn victim(victim: &Victim) -> String {
    match victim.comm.as_deref() {
        None | Some([]) => format!("process {}", victim.pid),
        Some(comm) => format!("{} (pid {})", escape_as_log(comm), victim.pid),
    }
}

fn what_ran_out(report: &Report, qos: Qos) -> Option<String> {
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
        LimitOwner::Cgroup => match oom {
            Some(oom) => (false, format!("the cgroup {}", escape(&oom.cgroup.path))),
            None => (false, "a cgroup".to_owned()),
        },
        // The node has no limit that could be reached: its memory ran out, which is another scope.
        LimitOwner::Node => return Some("the node ran out of memory".to_owned()),
    };
    let limit = oom.and_then(|oom| oom.limit_bytes);
    let limit = limit.map_or_else(String::new, |limit| {
        let sum = match report.limit_source {
            Some(LimitSource::ContainerLimits) if owner == LimitOwner::Pod && !report.sandbox => {
                " (the sum of its containers')"
            }
            _ => "",
        };
        format!(", {}{sum},", size(Some(limit)))
    });
    let verdict = if report.sandbox && is_own {
        "is too small to start the pod"
    } else {
        "was reached"
    };
    Some(format!("memory limit of {whose}{limit} {verdict}"))
}

fn qos_word(qos: Qos) -> &'static str {
    match qos {
        Qos::Guaranteed => "guaranteed",
        Qos::Burstable => "burstable",
        Qos::BestEffort => "besteffort",
    }
}

/// What was used of a limit that was not used up by the victim, for most of it: by other processes of the container or the
/// pod, or by files in a memory-backed volume, which no process holds.
fn usage_of_others(report: &Report, held: Option<u64>) -> Option<u64> {
    if report.sandbox {
        return None;
    }
    match report.limit_owner? {
        LimitOwner::Container | LimitOwner::Pod | LimitOwner::Cgroup => {}
        LimitOwner::Qos | LimitOwner::Kubepods | LimitOwner::Node => return None,
    }
    let usage = report.oom_limit()?.usage_bytes?;
    (held?.checked_mul(2)? < usage).then_some(usage)
}

#[cfg(test)]
mod tests;
