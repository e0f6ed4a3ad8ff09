use jiff::Timestamp;

use super::*;
use crate::deliver::events::{node::node_event, object::Reporter, pod::pod_event};
use crate::{
    model::{persist::rows::Rows, report::Report},
    testing,
};

fn event_of(report: &Report) -> Event {
    let reporter = Reporter {
        component: "oomwatch".to_owned(),
        node: "node-1".to_owned(),
    };
    pod_event(report, &reporter, Timestamp::UNIX_EPOCH)
        .ok()
        .or_else(|| node_event(report, &reporter, Timestamp::UNIX_EPOCH))
        .expect("an Event")
}

/// The Event of kill number `number`.
fn event(number: u32) -> Event {
    let mut report = testing::report();
    report.id = format!("0f1e2d3c-1-{number}");
    report.kill.victim.pid = number;
    event_of(&report)
}

/// Counts an incident at each of these seconds.
fn count_at(series: &mut Series, seconds: &[u64]) -> Vec<CountedEvent> {
    let count = |&second: &u64| {
        let number = u32::try_from(second).expect("a small number");
        series
            .count(
                event(number),
                None,
                &format!("i-{second}"),
                Ownership::Ours,
                second * SECOND_NS,
            )
            .expect("a new incident")
    };
    seconds.iter().map(count).collect()
}

#[test]
fn incidents_are_counted_on_one_object_with_the_newest_message() {
    let counted = count_at(&mut Series::restore(&[]), &[1, 2, 3]);
    let counts: Vec<u32> = counted.iter().map(|counted| counted.event.count).collect();
    assert_eq!(counts, [1, 2, 3]);
    let [first, .., last] = counted.as_slice() else {
        panic!("three");
    };
    assert_eq!(first.event, event(1));
    assert_eq!(last.event.metadata, first.event.metadata);
    assert_eq!(last.event.message, event(3).message);
    assert_ne!(last.event.message, first.event.message);
}

#[test]
fn further_victims_of_an_incident_are_not_counted() {
    let mut series = Series::restore(&[]);
    let mut count = |number, incident: &str| {
        let counted = series.count(event(number), None, incident, Ownership::Ours, SECOND_NS);
        counted.map(|counted| counted.event.count)
    };
    assert_eq!(count(1, "a"), Some(1));
    assert_eq!(count(2, "a"), None);
    assert_eq!(count(3, "b"), Some(2));
    // A victim that waited for the kernel log comes late.
    assert_eq!(count(4, "a"), None);
}

#[test]
fn pods_containers_and_reasons_are_counted_apart() {
    let mut series = Series::restore(&[]);
    let mut events = vec![event(1)];
    let mut other = |change: fn(&mut Event)| {
        let mut event = event(1);
        change(&mut event);
        events.push(event);
    };
    other(|event| event.reason = "ProcessOOMKilled".to_owned());
    other(|event| event.involved_object.field_path = Some("spec.containers{b}".to_owned()));
    other(|event| event.involved_object.field_path = None);
    other(|event| event.involved_object.uid = Some("another".to_owned()));
    other(|event| event.involved_object.name = "cart-1".to_owned());
    other(|event| event.metadata.namespace = "other".to_owned());
    for (number, event) in events.into_iter().enumerate() {
        let counted = series.count(event, None, &number.to_string(), Ownership::Ours, SECOND_NS);
        assert_eq!(counted.map(|counted| counted.event.count), Some(1));
    }
}

#[test]
fn long_series_of_incidents_is_written_less_often() {
    let pace = |seconds: &[u64]| {
        let counted = count_at(&mut Series::restore(&[]), seconds);
        counted.last().expect("some").pace_ns / SECOND_NS
    };
    assert_eq!(pace(&[0]), 10);
    assert_eq!(pace(&[0, 100, 200, 300]), 10);
    assert_eq!(pace(&[0, 100, 200, 301]), 60);
    // A late incident neither ends the series nor starts one.
    assert_eq!(pace(&[0, 100, 200, 301, 250, 421]), 60);
    // A pause starts a new series.
    assert_eq!(pace(&[0, 100, 200, 301, 422]), 10);
    assert_eq!(pace(&[0, 100, 200, 301, 421]), 60);
}

#[test]
fn container_whose_name_becomes_known_later_has_one_object() {
    let saved = |series: &mut Series| {
        let mut rows = Rows::default();
        rows.save(series.changes());
        rows.entries()
    };
    let counted = |series: &mut Series, number: u32, id: &str, is_named: bool| {
        let mut report = testing::report();
        report.id = format!("0f1e2d3c-1-{number}");
        if !is_named {
            let container = report.container.as_mut().expect("a container");
            (container.name, container.kind) = (None, None);
        }
        let event = event_of(&report);
        assert_eq!(event.involved_object.field_path.is_some(), is_named);
        let incident = number.to_string();
        let counted = series.count(event, Some(id), &incident, Ownership::Ours, SECOND_NS);
        let event = counted.expect("a new incident").event;
        (event.metadata.name, event.count)
    };
    for is_named_first in [false, true] {
        let mut series = Series::restore(&[]);
        let (name, count) = counted(&mut series, 1, "a", is_named_first);
        assert_eq!(count, 1);
        let mut series = Series::restore(&saved(&mut series));
        let second = counted(&mut series, 2, "a", !is_named_first);
        assert_eq!(second, (name.clone(), 2));
        // Restarted, it has another id.
        assert_eq!(counted(&mut series, 3, "b", true), (name.clone(), 3));
        assert_eq!(counted(&mut series, 4, "b", false), (name.clone(), 4));
        // Another container without a name has an object of its own.
        let (other, count) = counted(&mut series, 5, "c", false);
        assert_eq!(count, 1);
        assert_ne!(other, name);
    }
}
