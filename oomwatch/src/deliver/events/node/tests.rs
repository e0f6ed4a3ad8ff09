use serde_json::{Value, json};

use super::*;
use crate::{
    model::{
        kill::{Constraint, MainProcess},
        limit_owner::LimitOwner,
    },
    testing,
};

fn reporter() -> Reporter {
    Reporter {
        component: "oomwatch".to_owned(),
        node: "node-1".to_owned(),
    }
}

fn system_kill(comm: &[u8], pid: u32) -> Report {
    let mut report = testing::report();
    report.kill.scope = Scope::System;
    report.kill.constraint = Some(Constraint::None);
    report.limit_owner = Some(LimitOwner::Node);
    report.kill.victim.comm = Some(comm.to_vec());
    report.kill.victim.pid = pid;
    report.kill.victim.tid = pid;
    report
}

fn event(report: &Report) -> Option<Event> {
    let time = report.time.expect("a time");
    node_event(report, &reporter(), time)
}

fn message_of(report: &Report) -> String {
    event(report).expect("a system OOM").message
}

// C01, C02, C03, C18, C21, C22, C24, C25, C26, C27, C28, C29, C30, C31: the whole object, so that no other field is set.
#[test]
fn system_oom_event_equals_the_kubelets() {
    let event = event(&system_kill(b"stress", 16713)).expect("a system OOM");
    let body: Value = serde_json::from_slice(&event.to_create()).expect("JSON");
    assert_eq!(
        body,
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": format!("node-1.{}", hex()), "namespace": "default"},
            "involvedObject": {"apiVersion": "v1", "kind": "Node", "name": "node-1"},
            "reason": "SystemOOM",
            "message": "System OOM encountered, victim process: stress, pid: 16713",
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

/// The hexadecimal hash of the id of [`testing::report`].
fn hex() -> String {
    format!("{:x}", super::super::name::name_hash(&testing::report().id))
}

// C03, C66, W3 of the checklist.
#[test]
fn message_equals_the_kubelets() {
    assert_eq!(
        message_of(&system_kill(b"fakeProcess", 1000)),
        "System OOM encountered, victim process: fakeProcess, pid: 1000"
    );
}

// C04.
#[test]
fn message_without_a_name_or_a_pid_has_no_victim() {
    let mut unnamed = system_kill(b"", 1000);
    assert_eq!(message_of(&unnamed), "System OOM encountered");
    unnamed.kill.victim.comm = None;
    assert_eq!(message_of(&unnamed), "System OOM encountered");
    assert_eq!(
        message_of(&system_kill(b"stress", 0)),
        "System OOM encountered"
    );
}

// C05, C06, C07.
#[test]
fn memory_cgroup_oom_has_no_event_on_the_node() {
    for owner in [
        LimitOwner::Container,
        LimitOwner::Pod,
        LimitOwner::Qos,
        LimitOwner::Kubepods,
        LimitOwner::Cgroup,
    ] {
        let mut report = testing::report();
        report.limit_owner = Some(owner);
        assert_eq!(event(&report), None, "{owner:?}");
    }
}

#[test]
fn unknown_scope_has_no_event_on_the_node() {
    let mut report = system_kill(b"stress", 1000);
    report.kill.scope = Scope::Unknown;
    assert_eq!(event(&report), None);
}

// C08: the report's victim is in a container.
#[test]
fn system_oom_with_a_victim_in_a_container_has_an_event_on_the_node() {
    let report = system_kill(b"stress", 1000);
    assert!(report.container.is_some() && report.main_process == MainProcess::Yes);
    assert!(event(&report).is_some());
}

// C09, C10: for any constraint of the allocation and any victim.
#[test]
fn every_constraint_of_a_system_oom_has_an_event_on_the_node() {
    for constraint in [
        None,
        Some(Constraint::None),
        Some(Constraint::Cpuset),
        Some(Constraint::MemoryPolicy),
    ] {
        let mut report = system_kill(b"stress", 1000);
        report.kill.constraint = constraint;
        assert!(event(&report).is_some(), "{constraint:?}");
    }
}

// C11, C12, C13.
#[test]
fn comm_is_escaped_as_in_the_kernel_log() {
    for (comm, escaped) in [
        (&b"foo"[..], "foo"),
        (b"python3.4", "python3.4"),
        (b"foo-bar", "foo-bar"),
        (b"Plex Media Server", "Plex Media Server"),
        (
            b"x86_64-pc-linux-gnu-c++-5.4.0",
            "x86_64-pc-linux-gnu-c++-5.4.0",
        ),
        (b"[", "["),
        (b"()", "()"),
        (b"x) (y", "x) (y"),
        (b"\"with quotes\"", "\"with quotes\""),
        (b"100%s", "100%s"),
        (b"a\nb\x1b[31m\x7f", "a\\x0ab\\x1b[31m\\x7f"),
        (b"a\\b", "a\\x5cb"),
        ("中".as_bytes(), "\\xe4\\xb8\\xad"),
        (b"\xff", "\\xff"),
    ] {
        assert_eq!(
            message_of(&system_kill(comm, 42)),
            format!("System OOM encountered, victim process: {escaped}, pid: 42")
        );
    }
}

// C14.
#[test]
fn pid_is_the_thread_id_as_in_the_kernel_log() {
    let mut report = system_kill(b"stress", 4242);
    report.kill.victim.tid = 4243;
    assert!(message_of(&report).ends_with(", pid: 4243"));
}
