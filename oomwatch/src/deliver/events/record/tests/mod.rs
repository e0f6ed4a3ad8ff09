use std::{collections::BTreeMap, sync::LazyLock};

use super::*;
use crate::{
    deliver::events::{bucket::SECOND_NS, pending_event::Request, response::Method},
    model::{
        kill::{Constraint, Scope},
        limit_owner::LimitOwner,
        persist::rows::Rows,
        report::Pod,
    },
    testing,
};

mod any_order;
mod fair;
mod restart;
mod server;

const START: u64 = 5000 * SECOND_NS;

fn policy() -> Policy {
    Policy {
        reporter: Reporter {
            component: "oomwatch".to_owned(),
            node: "node-1".to_owned(),
        },
        node_events: true,
        node_uid: NodeUid::Real,
        pod_events: true,
        excluded_namespaces: BTreeSet::from(["quiet".to_owned()]),
        max_age: Duration::from_hours(1),
        start_delay: Duration::from_secs(20),
    }
}

fn recorder() -> Recorder {
    Recorder::restore(policy(), &[], START)
}

/// `second` seconds after the start.
fn at(second: u64) -> u64 {
    START + second * SECOND_NS
}

/// Records a report at that second. The kill's boot time is taken as the persistent clock's.
fn record(recorder: &mut Recorder, report: &Report, second: u64) {
    let times = RecordTimes {
        now_ns: at(second),
        kill_ns: report.kill.boot_time_ns.expect("a time"),
        wall_time: testing::timestamp(1_790_000_000, 0),
    };
    recorder.record(report, times);
}

/// Kill number `number`, `second` seconds after the start.
fn kill(number: u32, incident: &str, second: u64) -> Report {
    static TEMPLATE: LazyLock<Report> = LazyLock::new(testing::report);
    let mut report = TEMPLATE.clone();
    report.id = format!("0f1e2d3c-1-{number}");
    report.incident = incident.to_owned();
    report.kill.victim.pid = number;
    report.kill.victim.tid = number;
    report.kill.boot_time_ns = Some(at(second));
    report
}

fn system(report: Report) -> Report {
    let mut report = report;
    report.kill.scope = Scope::System;
    report.kill.constraint = Some(Constraint::None);
    report.limit_owner = Some(LimitOwner::Node);
    report
}

/// Sends all that is due at a second; each request is accepted. Returns method, reason and count.
fn send_all(recorder: &mut Recorder, second: u64) -> Vec<(Method, String, u32)> {
    let now_ns = at(second);
    let mut sent = Vec::new();
    while let Next::Send(request) = recorder.next(now_ns) {
        let Request { method, event, .. } = *request;
        recorder.handle_response(&event.metadata, &Response::Accepted, now_ns, 0.5);
        sent.push((method, event.reason, event.count));
    }
    sent.sort_by(|one, other| one.1.cmp(&other.1));
    sent
}

fn outcomes(recorder: &mut Recorder) -> Vec<(Object, Outcome)> {
    let outcome = |stat| match stat {
        DeliveryStat::Settled {
            object, outcome, ..
        } => Some((object, outcome)),
        DeliveryStat::Delayed { .. } => None,
    };
    let stats = recorder.take_stats();
    stats.into_iter().filter_map(outcome).collect()
}

#[test]
fn system_oom_in_a_pod_has_an_event_on_both() {
    let mut recorder = recorder();
    record(&mut recorder, &system(kill(1, "a", 1)), 1);
    assert_eq!(recorder.pending(), 2);
    let sent = send_all(&mut recorder, 1);
    assert_eq!(
        sent,
        [
            (Method::Create, "ContainerOOMKilled".to_owned(), 1),
            (Method::Create, "SystemOOM".to_owned(), 1)
        ]
    );
    let accepted = [Object::Node, Object::Pod].map(|object| (object, Outcome::Accepted));
    let mut settled = outcomes(&mut recorder);
    settled.sort_unstable();
    assert_eq!(settled, accepted);
}

// C16.
#[test]
fn group_kill_is_one_incident_with_the_message_of_its_first_victim() {
    let mut recorder = recorder();
    for number in 1..=5 {
        record(&mut recorder, &system(kill(number, "a", 1)), 1);
    }
    let now_ns = at(1);
    for _ in 0..2 {
        let Next::Send(request) = recorder.next(now_ns) else {
            panic!("two Events");
        };
        assert_eq!(request.event.count, 1);
        let first = ["tail (pid 1)", "tail, pid: 1"];
        let message = &request.event.message;
        assert!(
            first.iter().any(|first| message.contains(first)),
            "{message}"
        );
    }
    assert_eq!(recorder.next(now_ns), Next::Wait(None));
}

#[test]
fn fifty_kills_a_second_are_few_requests_with_the_exact_count() {
    let mut recorder = recorder();
    let (mut requests, mut last) = (0, 0);
    for second in 0..600_u32 {
        for number in 0..50 {
            let number = second * 50 + number + 1;
            let report = kill(number, &format!("i-{number}"), second.into());
            record(&mut recorder, &report, second.into());
        }
        let sent = send_all(&mut recorder, second.into());
        requests += sent.len();
        last = sent.last().map_or(last, |(_, _, count)| *count);
    }
    assert!(requests <= 31 + 6, "{requests}");
    send_all(&mut recorder, 700);
    assert_eq!(recorder.pending(), 0);
    record(&mut recorder, &kill(90_000, "last", 800), 800);
    let sent = send_all(&mut recorder, 800);
    assert_eq!(
        sent,
        [(Method::Patch, "ContainerOOMKilled".to_owned(), 30_001)]
    );
}

#[test]
fn events_held_back_by_the_bucket_are_written_when_it_refills() {
    let mut recorder = recorder();
    let sent = |recorder: &mut Recorder, number: u32| {
        let mut report = system(kill(7, &format!("i-{number}"), 1));
        report.pod = None;
        record(recorder, &report, 1);
        send_all(recorder, 1)
    };
    for number in 1..=25 {
        assert_eq!(sent(&mut recorder, number).len(), 1, "{number}");
    }
    for number in 26..=30 {
        assert_eq!(sent(&mut recorder, number), [], "{number}");
    }
    let now_ns = at(1);
    let Next::Wait(Some(wake)) = recorder.next(now_ns) else {
        panic!("it waits for the bucket");
    };
    assert_eq!((wake - now_ns) / SECOND_NS, 300);
    let sent = send_all(&mut recorder, 302);
    assert_eq!(sent, [(Method::Patch, "SystemOOM".to_owned(), 30)]);
    assert_eq!(recorder.next(at(303)), Next::Wait(None));
}

/// A kill in a system OOM of the same process each time, outside of a pod: all are counted on one object.
fn same_system_kill(number: u32, second: u64) -> Report {
    let mut report = system(kill(number, &format!("i-{number}"), second));
    report.kill.victim.pid = 7;
    report.kill.victim.tid = 7;
    report.pod = None;
    report
}

/// A recorder that has sent 24 Events, so that the bucket has one token left.
fn nearly_held_back() -> Recorder {
    let mut recorder = recorder();
    for number in 1..=24 {
        record(&mut recorder, &same_system_kill(number, 1), 1);
        send_all(&mut recorder, 1);
    }
    recorder
}

#[test]
fn event_held_back_during_a_request_is_released_after_its_response() {
    let mut recorder = nearly_held_back();
    record(&mut recorder, &same_system_kill(25, 1), 1);
    let Next::Send(request) = recorder.next(at(1)) else {
        panic!("the last token");
    };
    record(&mut recorder, &same_system_kill(26, 1), 1);
    recorder.handle_response(&request.event.metadata, &Response::Accepted, at(1), 0.5);
    assert_eq!(send_all(&mut recorder, 1), []);
    let sent = send_all(&mut recorder, 302);
    assert_eq!(sent, [(Method::Patch, "SystemOOM".to_owned(), 26)]);
}

#[test]
fn held_event_that_was_sent_with_another_takes_no_further_token() {
    let mut recorder = nearly_held_back();
    record(&mut recorder, &same_system_kill(25, 1), 1);
    record(&mut recorder, &same_system_kill(26, 1), 1);
    let sent = send_all(&mut recorder, 1);
    assert_eq!(sent, [(Method::Patch, "SystemOOM".to_owned(), 26)]);
    assert_eq!(recorder.next(at(1)), Next::Wait(None));
}

#[test]
fn held_event_does_not_hold_back_an_earlier_one_after_a_restart() {
    let mut recorder = nearly_held_back();
    record(&mut recorder, &same_system_kill(25, 1), 1);
    record(&mut recorder, &same_system_kill(26, 1), 1);
    let mut rows = Rows::default();
    rows.save(recorder.changes());
    let mut recorder = Recorder::restore(policy(), &rows.entries(), at(10));
    let sent = send_all(&mut recorder, 30);
    assert_eq!(sent, [(Method::Patch, "SystemOOM".to_owned(), 26)]);
}

fn pod(report: &mut Report) -> &mut Pod {
    report.pod.as_mut().expect("a pod")
}

#[test]
fn incident_without_an_event_is_counted_once() {
    let outcome = |change: fn(&mut Report)| {
        let mut recorder = recorder();
        for number in 1..=2 {
            let mut report = kill(number, "a", 1);
            change(&mut report);
            record(&mut recorder, &report, 1);
        }
        assert_eq!(recorder.next(at(1)), Next::Wait(None));
        outcomes(&mut recorder)
    };
    assert_eq!(
        outcome(|report| pod(report).name = None),
        [(Object::Pod, Outcome::Unnamed)]
    );
    assert_eq!(
        outcome(|report| pod(report).events_off = true),
        [(Object::Pod, Outcome::OptedOut)]
    );
    assert_eq!(
        outcome(|report| pod(report).namespace = Some("quiet".to_owned())),
        [(Object::Pod, Outcome::Excluded)]
    );
    assert_eq!(outcome(|report| report.pod = None), []);
}

#[test]
fn each_kind_of_event_can_be_switched_off() {
    let sent = |node_events, pod_events| {
        let policy = Policy {
            node_events,
            pod_events,
            ..policy()
        };
        let mut recorder = Recorder::restore(policy, &[], START);
        record(&mut recorder, &system(kill(1, "a", 1)), 1);
        let sent = send_all(&mut recorder, 1);
        let reasons = sent.into_iter().map(|(_, reason, _)| reason);
        reasons.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(sent(true, true), "ContainerOOMKilled SystemOOM");
    assert_eq!(sent(true, false), "SystemOOM");
    assert_eq!(sent(false, true), "ContainerOOMKilled");
    assert_eq!(sent(false, false), "");
}

#[test]
fn kill_from_before_the_start_waits_for_the_start_delay_and_a_later_one_does_not() {
    let mut recorder = recorder();
    let mut old = kill(1, "a", 0);
    old.kill.boot_time_ns = Some(START - SECOND_NS);
    record(&mut recorder, &old, 1);
    assert_eq!(send_all(&mut recorder, 19), []);
    assert_eq!(send_all(&mut recorder, 20).len(), 1);
    let mut new = kill(2, "b", 1);
    new.pod.as_mut().expect("a pod").uid = "another".to_owned();
    record(&mut recorder, &new, 1);
    assert_eq!(send_all(&mut recorder, 1).len(), 1);
}

#[test]
fn kill_that_is_too_old_has_no_event() {
    let mut recorder = recorder();
    let mut old = kill(1, "a", 0);
    old.kill.boot_time_ns = Some(START - 3601 * SECOND_NS);
    record(&mut recorder, &old, 0);
    assert_eq!(recorder.next(START), Next::Wait(None));
    assert_eq!(outcomes(&mut recorder), [(Object::Pod, Outcome::Expired)]);
}
