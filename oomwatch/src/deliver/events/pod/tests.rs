use insta::assert_snapshot;
use serde_json::{Value, json};

use super::*;
use crate::{
    model::kill::Limit,
    testing::{self, CONTAINER_ID, HOSTILE, container_path},
};

fn reporter() -> Reporter {
    Reporter {
        component: "oomwatch".to_owned(),
        node: "node-1".to_owned(),
    }
}

/// A kill of the main process of container `app` alone, at the container's limit of 40 MiB, without its account or a workload.
fn report() -> Report {
    let mut report = testing::report();
    report.kill.account = None;
    report.explanation = None;
    report.kill.group_kill = Some(false);
    report.kill.group_cgroup = None;
    pod(&mut report).workload = None;
    report
}

fn event(report: &Report) -> Event {
    let time = report.time.expect("a time");
    pod_event(report, &reporter(), time).expect("a pod with a name")
}

fn message_of(report: &Report) -> String {
    event(report).message
}

/// The usage and limit of the cgroup that ran out.
fn oom(report: &mut Report) -> &mut Limit {
    let level = report.kill.oom_level.expect("a cgroup that ran out");
    &mut report.kill.limits[level]
}

#[test]
fn event_has_exactly_these_fields() {
    let body: Value = serde_json::from_slice(&event(&report()).to_create()).expect("JSON");
    let hash = super::super::name::name_hash(&report().id);
    assert_eq!(
        body,
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": format!("cart-0.{hash:x}"), "namespace": "shop"},
            "involvedObject": {
                "apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "cart-0",
                "uid": testing::POD_UID, "fieldPath": "spec.containers{app}",
            },
            "reason": "ContainerOOMKilled",
            "message": "Out of memory: killed tail (pid 14665), which held 39.5MiB; \
                        memory limit of the container, 40MiB, was reached",
            "source": {"component": "oomwatch", "host": "node-1"},
            "firstTimestamp": "2026-09-21T14:13:20Z",
            "lastTimestamp": "2026-09-21T14:13:20Z",
            "count": 1,
            "type": "Warning",
            "reportingComponent": "oomwatch",
            "reportingInstance": "node-1",
        })
    );
}

#[test]
fn message_ends_with_the_workload() {
    let mut report = report();
    pod(&mut report).workload = testing::report().workload().cloned();
    let message = message_of(&report);
    assert!(
        message.ends_with(" was reached; the pod is of StatefulSet/cart"),
        "{message}"
    );
    report.explanation = Some(testing::explanation());
    let message = message_of(&report);
    assert!(
        message.ends_with(" of the 40 MiB limit. The pod is of StatefulSet/cart."),
        "{message}"
    );
}

#[test]
fn message_ends_with_the_cause_and_names_nothing_outside_the_pod() {
    let mut report = report();
    let mut why = testing::explanation();
    report.explanation = Some(why.clone());
    assert_eq!(
        message_of(&report),
        "Out of memory: killed tail (pid 14665), which held 39.5MiB; memory limit of the container, 40MiB, was reached. \
         One process, tail (pid 14665), held 33 MiB of the 40 MiB limit."
    );
    let cause = why.cause.as_mut().expect("a cause");
    cause.sentence = "other-tenant/db used the memory.".to_owned();
    cause.pod_sentence = Some("Other pods \x1bused the memory.".to_owned());
    report.explanation = Some(why.clone());
    let message = message_of(&report);
    assert!(
        message.ends_with(". Other pods \\x1bused the memory."),
        "{message}"
    );
    let cause = why.cause.as_mut().expect("a cause");
    cause.kind = CauseKind::Unknown;
    report.explanation = Some(why);
    assert!(!message_of(&report).contains("used the memory"));
}

#[test]
fn patch_has_exactly_three_fields() {
    let mut event = event(&report());
    event.count = 7;
    let body: Value = serde_json::from_slice(&event.to_patch()).expect("JSON");
    assert_eq!(
        body,
        json!({"count": 7, "lastTimestamp": "2026-09-21T14:13:20Z", "message": event.message})
    );
}

#[test]
fn event_survives_serialization() {
    let event = event(&report());
    let text = serde_json::to_string(&event).expect("JSON");
    assert_eq!(
        serde_json::from_str::<Event>(&text).expect("the same"),
        event
    );
}

#[test]
fn reason_is_the_container_for_its_main_process_or_a_group_kill() {
    let reason_of = |main, group| {
        let mut report = report();
        report.main_process = main;
        report.kill.group_kill = group;
        event(&report).reason
    };
    for alone in [Some(false), None] {
        assert_eq!(reason_of(MainProcess::Yes, alone), "ContainerOOMKilled");
        assert_eq!(reason_of(MainProcess::No, alone), "ProcessOOMKilled");
        assert_eq!(reason_of(MainProcess::Unknown, alone), "ProcessOOMKilled");
    }
    for main in [MainProcess::Yes, MainProcess::No, MainProcess::Unknown] {
        assert_eq!(reason_of(main, Some(true)), "ContainerOOMKilled");
    }
}

#[test]
fn group_kill_below_the_container_is_a_process_kill() {
    let mut report = report();
    report.kill.group_kill = Some(true);
    report.main_process = MainProcess::No;
    let below = format!("{}/worker", container_path());
    report.kill.group_cgroup = Some(testing::cgroup(below, 7));
    assert_eq!(event(&report).reason, "ProcessOOMKilled");
    assert_snapshot!(message_of(&report), @"Out of memory: killed tail (pid 14665), which held 39.5MiB, and all other processes of its cgroup in the container; memory limit of the container, 40MiB, was reached");

    let crun = format!("{}/container", container_path());
    report.kill.group_cgroup = Some(testing::cgroup(crun, 7));
    assert_eq!(event(&report).reason, "ContainerOOMKilled");
}

#[test]
fn message_names_the_killed_group() {
    let mut report = report();
    report.kill.group_kill = Some(true);
    assert_snapshot!(message_of(&report), @"Out of memory: killed tail (pid 14665), which held 39.5MiB, and all other processes of its group; memory limit of the container, 40MiB, was reached");
    report.kill.oom_group_level = Some(0);
    assert_snapshot!(message_of(&report), @"Out of memory: killed tail (pid 14665), which held 39.5MiB, and all other processes of the container; memory limit of the container, 40MiB, was reached");
}

#[test]
fn message_names_the_limit_owner() {
    let message = |owner, source| {
        let mut report = report();
        report.limit_owner = owner;
        report.limit_source = source;
        message_of(&report)
    };
    assert_snapshot!(message(Some(LimitOwner::Pod), None), @"Out of memory: killed tail (pid 14665), which held 39.5MiB; memory limit of the pod, 40MiB, was reached");
    assert_snapshot!(message(Some(LimitOwner::Pod), Some(LimitSource::PodResources)), @"Out of memory: killed tail (pid 14665), which held 39.5MiB; memory limit of the pod, 40MiB (of the pod as a whole), was reached");
    assert_snapshot!(message(Some(LimitOwner::Pod), Some(LimitSource::InitContainer)), @"Out of memory: killed tail (pid 14665), which held 39.5MiB; memory limit of the pod, 40MiB (that of an init container, more than the sum of its other containers'), was reached");
    assert_snapshot!(message(Some(LimitOwner::Pod), Some(LimitSource::ContainerLimits)), @"Out of memory: killed tail (pid 14665), which held 39.5MiB; memory limit of the pod, 40MiB (the sum of its containers'), was reached");
    assert_snapshot!(message(Some(LimitOwner::Qos), None), @"Out of memory: killed tail (pid 14665), which held 39.5MiB; memory limit of all burstable pods together, 40MiB, was reached");
    assert_snapshot!(message(Some(LimitOwner::Kubepods), None), @"Out of memory: killed tail (pid 14665), which held 39.5MiB; memory limit of all pods together, 40MiB, was reached");
    assert_snapshot!(message(None, None), @"Out of memory: killed tail (pid 14665), which held 39.5MiB; a memory limit was reached");
}

#[test]
fn message_has_the_path_of_a_cgroup_below_the_container() {
    let mut report = report();
    report.limit_owner = Some(LimitOwner::Cgroup);
    oom(&mut report).cgroup.path = b"/kubepods/a\x1b[31m".to_vec();
    assert_snapshot!(message_of(&report), @r"Out of memory: killed tail (pid 14665), which held 39.5MiB; memory limit of the cgroup /kubepods/a\x1b[31m, 40MiB, was reached");
}

#[test]
fn message_of_a_system_oom_has_no_limit() {
    let message = |constraint| {
        let mut report = report();
        report.kill.scope = Scope::System;
        report.kill.constraint = constraint;
        report.kill.oom_level = None;
        report.limit_owner = Some(LimitOwner::Node);
        message_of(&report)
    };
    assert_snapshot!(message(Some(Constraint::None)), @"Out of memory: killed tail (pid 14665), which held 39.5MiB; the node ran out of memory");
    assert_eq!(message(None), message(Some(Constraint::None)));
    assert_snapshot!(message(Some(Constraint::Cpuset)), @"Out of memory: killed tail (pid 14665), which held 39.5MiB; the memory nodes that its cpuset allows ran out");
    assert_snapshot!(message(Some(Constraint::MemoryPolicy)), @"Out of memory: killed tail (pid 14665), which held 39.5MiB; the memory nodes that its memory policy allows ran out");
}

#[test]
fn message_leaves_out_unknown_values() {
    let mut report = report();
    oom(&mut report).limit_bytes = None;
    assert_snapshot!(message_of(&report), @"Out of memory: killed tail (pid 14665), which held 39.5MiB; memory limit of the container was reached");
    report.kill.victim.anon_rss_bytes = None;
    assert_snapshot!(message_of(&report), @"Out of memory: killed tail (pid 14665); memory limit of the container was reached");
    report.kill.victim.comm = None;
    assert_snapshot!(message_of(&report), @"Out of memory: killed process 14665; memory limit of the container was reached");
    report.kill.scope = Scope::Unknown;
    assert_snapshot!(message_of(&report), @"Out of memory: killed process 14665");
}

#[test]
fn message_has_the_usage_if_the_victim_held_less_than_half_of_it() {
    let mut report = report();
    report.kill.victim.anon_rss_bytes = Some(1 << 20);
    assert_snapshot!(message_of(&report), @"Out of memory: killed tail (pid 14665), which held 1MiB; memory limit of the container, 40MiB, was reached; 40MiB were in use, mostly not by it but by other processes, the kernel, or files in memory-backed volumes");
    // With half of the usage the victim counts as its cause.
    report.kill.victim.anon_rss_bytes = Some(20 << 20);
    assert_snapshot!(message_of(&report), @"Out of memory: killed tail (pid 14665), which held 20MiB; memory limit of the container, 40MiB, was reached");
    report.kill.victim.anon_rss_bytes = Some(1 << 20);
    oom(&mut report).usage_bytes = None;
    assert!(!message_of(&report).contains("in use"));
    // For the limit of all pods together the usage is left out.
    oom(&mut report).usage_bytes = Some(40 << 20);
    report.limit_owner = Some(LimitOwner::Kubepods);
    assert!(!message_of(&report).contains("in use"));
}

#[test]
fn message_of_a_sandbox_kill_says_that_the_limit_is_too_small() {
    let mut report = report();
    report.sandbox = true;
    report.container = None;
    report.limit_owner = Some(LimitOwner::Pod);
    report.kill.victim.comm = Some(b"runc:[2:INIT]".to_vec());
    report.main_process = MainProcess::Unknown;
    report.kill.victim.anon_rss_bytes = Some(500 << 10);
    oom(&mut report).limit_bytes = Some(1 << 20);
    let event = event(&report);
    assert_eq!(event.reason, "ContainerOOMKilled");
    assert_eq!(event.involved_object.field_path, None);
    assert_snapshot!(event.message, @"Out of memory: killed runc:[2:INIT] (pid 14665), which held 500KiB, while the pod's sandbox was being made; memory limit of the pod, 1MiB, is too small to start the pod");

    report.limit_owner = Some(LimitOwner::Kubepods);
    assert!(message_of(&report).ends_with("memory limit of all pods together, 1MiB, was reached"));
}

#[test]
fn field_path_equals_the_kubelets() {
    let path = |kind, name: Option<&str>| {
        let mut report = report();
        let container = report.container.as_mut().expect("a container");
        container.kind = kind;
        container.name = name.map(str::to_owned);
        event(&report).involved_object.field_path
    };
    let expected = |path: &str| Some(path.to_owned());
    let app = Some("app");
    assert_eq!(
        path(Some(ContainerKind::Main), app),
        expected("spec.containers{app}")
    );
    assert_eq!(
        path(Some(ContainerKind::Init), app),
        expected("spec.initContainers{app}")
    );
    assert_eq!(
        path(Some(ContainerKind::Sidecar), app),
        expected("spec.initContainers{app}")
    );
    assert_eq!(
        path(Some(ContainerKind::Ephemeral), app),
        expected("spec.ephemeralContainers{app}")
    );
    assert_eq!(path(None, app), None);
    assert_eq!(path(Some(ContainerKind::Main), None), None);
}

#[test]
fn message_names_a_container_without_a_field_path() {
    let mut report = report();
    let container = report.container.as_mut().expect("a container");
    container.kind = None;
    assert!(message_of(&report).starts_with(
        "Out of memory: killed tail (pid 14665), which held 39.5MiB, in container app; "
    ));
    report.container.as_mut().expect("a container").name = None;
    let short = &CONTAINER_ID[..12];
    assert!(message_of(&report).contains(&format!(", in container {short}; ")));
    report.kill.victim.anon_rss_bytes = None;
    assert!(message_of(&report).contains(&format!("(pid 14665) in container {short}; ")));
    report.container = None;
    assert!(message_of(&report).starts_with("Out of memory: killed tail (pid 14665); "));
}

#[test]
fn static_pod_has_its_configuration_hash_as_uid() {
    let mut report = report();
    let pod = report.pod.as_mut().expect("a pod");
    pod.uid = "0123456789abcdef0123456789abcdef".to_owned();
    assert_eq!(
        event(&report).involved_object.uid.as_deref(),
        Some("0123456789abcdef0123456789abcdef")
    );
}

fn pod(report: &mut Report) -> &mut Pod {
    report.pod.as_mut().expect("a pod")
}

#[test]
fn unnamed_pod_and_opted_out_pod_have_no_event() {
    let reason = |change: fn(&mut Report)| {
        let mut report = report();
        change(&mut report);
        let time = report.time.expect("a time");
        pod_event(&report, &reporter(), time).expect_err("no Event")
    };
    assert_eq!(reason(|report| report.pod = None), SkipReason::NoPod);
    assert_eq!(
        reason(|report| pod(report).name = None),
        SkipReason::Unnamed
    );
    assert_eq!(
        reason(|report| pod(report).namespace = None),
        SkipReason::Unnamed
    );
    assert_eq!(
        reason(|report| pod(report).events_off = true),
        SkipReason::OptedOut
    );
}

#[test]
fn untrusted_bytes_are_escaped_in_the_message() {
    for bytes in HOSTILE {
        let mut report = report();
        report.kill.victim.comm = Some(bytes.to_vec());
        report.limit_owner = Some(LimitOwner::Cgroup);
        oom(&mut report).cgroup.path = bytes.to_vec();
        let message = message_of(&report);
        assert!(
            message.chars().all(crate::sys::escape::is_printable),
            "{message}"
        );
    }
}

#[test]
fn message_is_no_longer_than_the_api_allows() {
    for (length, expected) in [(3, 3), (1024, 1024), (1025, 1024), (5000, 1024)] {
        let draft = Draft {
            involved_object: ObjectReference {
                api_version: "v1".to_owned(),
                kind: "Pod".to_owned(),
                namespace: Some("shop".to_owned()),
                name: "web".to_owned(),
                uid: None,
                field_path: None,
            },
            reason: CONTAINER,
            message: "ü".repeat(length),
            time: Timestamp::UNIX_EPOCH,
            kill_id: "1",
        };
        let reporter = Reporter {
            component: "oomwatch".to_owned(),
            node: "node-1".to_owned(),
        };
        let message = Event::new(draft, &reporter).message;
        assert_eq!(message.chars().count(), expected);
        assert_eq!(message.ends_with('…'), length > 1024);
    }
}
