//! client-go's own test cases (`events_cache_test.go`), traces derived from its algorithms, and the two differences.

use jiff::Timestamp;

use super::*;
use crate::{
    deliver::events::object::{ObjectReference, Seconds, Source},
    model::persist::rows::Rows,
};

const SECOND: u64 = 1_000_000_000;

/// A correlator with a clock, which is used as wall-clock time, too.
struct Trace {
    correlator: Correlator,
    now: u64,
    names: u64,
}

/// A request to the API server.
#[derive(Debug, PartialEq, Eq)]
enum Write {
    Create(u32),
    Patch(u32),
    Nothing,
}
use Write::{Create, Nothing, Patch};

impl Trace {
    fn new() -> Self {
        Self {
            correlator: Correlator::restore(&[]),
            now: 1_000_000 * SECOND,
            names: 0,
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += seconds * SECOND;
    }

    fn event(&mut self, message: &str) -> Event {
        let second = i64::try_from(self.now / SECOND).expect("a small number");
        let time = Seconds::from(Timestamp::from_second(second).expect("a time"));
        self.names += 1;
        Event {
            metadata: Metadata {
                namespace: "default".to_owned(),
                name: format!("node-1.{}", self.names),
            },
            involved_object: ObjectReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                namespace: None,
                name: "node-1".to_owned(),
                uid: None,
                field_path: None,
            },
            reason: "SystemOOM".to_owned(),
            message: message.to_owned(),
            source: Source {
                component: "oomwatch".to_owned(),
                host: "node-1".to_owned(),
            },
            first_timestamp: time,
            last_timestamp: time,
            count: 1,
            kind: "Warning".to_owned(),
            reporting_component: "oomwatch".to_owned(),
            reporting_instance: "node-1".to_owned(),
        }
    }

    fn correlate(&mut self, event: Event) -> CountedEvent {
        self.correlator.correlate(event, Ownership::Ours, self.now)
    }

    fn correlate_message(&mut self, message: &str) -> CountedEvent {
        let event = self.event(message);
        self.correlate(event)
    }

    /// Correlates Events with these messages, `apart` seconds apart, and returns the requests.
    fn writes(&mut self, messages: impl IntoIterator<Item = String>, apart: u64) -> Vec<Write> {
        let mut writes = Vec::new();
        for message in messages {
            self.pass(apart);
            let CountedEvent {
                event, decision, ..
            } = self.correlate_message(&message);
            writes.push(match decision {
                WriteDecision::Hold => Nothing,
                WriteDecision::Write if event.count == 1 => Create(1),
                WriteDecision::Write => Patch(event.count),
            });
        }
        writes
    }

    fn repeat(&mut self, message: &str, times: u32, apart: u64) {
        let messages = (0..times).map(|_| message.to_owned());
        self.writes(messages, apart);
    }
}

fn distinct(count: u32) -> impl Iterator<Item = String> {
    (1..=count).map(|pid| format!("victim process: stress, pid: {pid}"))
}

fn same(count: u32) -> impl Iterator<Item = String> {
    (0..count).map(|_| "the same".to_owned())
}

// create-a-single-event.
#[test]
fn one_event_is_itself() {
    let mut trace = Trace::new();
    let event = trace.event("one");
    let correlated = trace.correlate(event.clone());
    assert_eq!(correlated.event, event);
    assert_eq!(correlated.decision, WriteDecision::Write);
}

// C35, the-same-event-should-just-count.
#[test]
fn same_event_is_counted_on_its_own_object() {
    let mut trace = Trace::new();
    let first = trace.correlate_message("one").event;
    trace.pass(15);
    let event = trace.event("one");
    let second = trace.correlate(event.clone()).event;
    assert_eq!(second.count, 2);
    assert_eq!(second.metadata, first.metadata);
    assert_eq!(second.first_timestamp, first.first_timestamp);
    assert_eq!(second.last_timestamp, event.last_timestamp);
    assert_ne!(second.last_timestamp, second.first_timestamp);
}

// C36, the-same-event-should-just-count-even-if-more-than-aggregate.
#[test]
fn same_event_is_never_aggregated() {
    let mut trace = Trace::new();
    trace.repeat("one", 10, 90);
    trace.pass(90);
    let Event { count, message, .. } = trace.correlate_message("one").event;
    assert_eq!((count, message.as_str()), (11, "one"));
}

// the-same-event-is-spam-if-happens-too-frequently.
#[test]
fn same_event_too_often_is_held_back() {
    let mut trace = Trace::new();
    trace.repeat("one", 26, 3);
    trace.pass(3);
    assert_eq!(trace.correlate_message("one").decision, WriteDecision::Hold);
}

// create-many-unique-events.
#[test]
fn many_events_about_others_are_each_themselves() {
    let mut trace = Trace::new();
    for number in 0..30 {
        let mut event = trace.event("one");
        event.involved_object.name = format!("node-{number}");
        event.reason = format!("Reason{number}");
        trace.pass(15);
        let correlated = trace.correlate(event.clone());
        assert_eq!(
            (correlated.event, correlated.decision),
            (event, WriteDecision::Write)
        );
    }
}

// C37, C38, C39, C40, C41 and similar-events-should-aggregate-event, similar-events-many-times-should-count-the-aggregate.
#[test]
fn tenth_similar_event_is_aggregated_and_the_next_counts_it() {
    let mut trace = Trace::new();
    let mut names = Vec::new();
    for message in distinct(9) {
        trace.pass(15);
        let event = trace.correlate_message(&message).event;
        assert_eq!((event.count, &event.message), (1, &message));
        names.push(event.metadata.name);
    }
    trace.pass(15);
    let tenth = trace.correlate_message("the tenth").event;
    assert_eq!(tenth.count, 1);
    assert_eq!(tenth.message, "(combined from similar events): the tenth");
    assert_eq!(tenth.first_timestamp, tenth.last_timestamp);
    assert_eq!(tenth.reporting_component, "");
    assert_eq!(tenth.reporting_instance, "");
    assert_eq!(tenth.source.component, "oomwatch");
    assert!(!names.contains(&tenth.metadata.name));

    trace.pass(15);
    let next = trace.correlate_message("the eleventh").event;
    assert_eq!(next.count, 2);
    assert_eq!(next.message, "(combined from similar events): the eleventh");
    assert_eq!(next.metadata, tenth.metadata);
    assert_eq!(next.first_timestamp, tenth.first_timestamp);
}

// C42, similar-events-whose-interval-is-greater-than-aggregate-interval-do-not-aggregate.
#[test]
fn events_within_ten_minutes_of_the_last_are_aggregated() {
    let message_after = |apart| {
        let mut trace = Trace::new();
        trace.writes(distinct(9), apart);
        trace.pass(apart);
        trace.correlate_message("the tenth").event.message
    };
    assert_eq!(message_after(1800), "the tenth");
    assert_eq!(message_after(601), "the tenth");
    assert_eq!(
        message_after(600),
        "(combined from similar events): the tenth"
    );
}

#[test]
fn late_event_does_not_shorten_the_aggregation_interval() {
    let mut trace = Trace::new();
    trace.writes(distinct(8), 1);
    let now = trace.now;
    // It waited for the kernel log for longer than events usually do.
    trace.now = now - 300 * SECOND;
    trace.correlate_message("the ninth");
    trace.now = now + 600 * SECOND;
    let message = trace.correlate_message("the tenth").event.message;
    assert_eq!(message, "(combined from similar events): the tenth");
}

// C43.
#[test]
fn remembered_message_is_counted_on_its_own_object() {
    let mut trace = Trace::new();
    trace.writes(distinct(12), 1);
    // The three oldest were dropped for the tenth, eleventh and twelfth.
    let known = "victim process: stress, pid: 7";
    let event = trace.correlate_message(known).event;
    assert_eq!((event.count, event.message.as_str()), (2, known));
}

// C44, events-from-different-containers-do-not-aggregate.
#[test]
fn other_field_path_is_counted_separately() {
    let mut trace = Trace::new();
    trace.correlate_message("one");
    let mut event = trace.event("one");
    event.involved_object.field_path = Some("spec.containers{other}".to_owned());
    trace.pass(15);
    assert_eq!(trace.correlate(event.clone()).event, event);
}

// TestEventAggregatorByReasonFunc.
#[test]
fn other_reasons_are_not_aggregated() {
    let mut trace = Trace::new();
    trace.writes(distinct(9), 1);
    let mut event = trace.event("the tenth");
    event.reason = "Other".to_owned();
    assert_eq!(trace.correlate(event.clone()).event, event);
}

// C45, C38, C41: first trace of the checklist.
#[test]
fn thirty_different_events_are_nine_then_aggregated_then_held_back() {
    let writes = Trace::new().writes(distinct(30), 1);
    let mut expected: Vec<Write> = (1..=10).map(|_| Create(1)).collect();
    expected.extend((2..=16).map(Patch));
    expected.extend((0..5).map(|_| Nothing));
    assert_eq!(writes, expected);
}

// Second trace.
#[test]
fn thirty_equal_events_are_counted_up_to_twenty_five() {
    let writes = Trace::new().writes(same(30), 1);
    let mut expected = vec![Create(1)];
    expected.extend((2..=25).map(Patch));
    expected.extend((0..5).map(|_| Nothing));
    assert_eq!(writes, expected);
}

// Third trace: 600 is not more than 600.
#[test]
fn events_exactly_ten_minutes_apart_are_aggregated() {
    let writes = Trace::new().writes(distinct(15), 600);
    let mut expected: Vec<Write> = (1..=10).map(|_| Create(1)).collect();
    expected.extend((2..=6).map(Patch));
    assert_eq!(writes, expected);
}

// C46.
#[test]
fn bucket_refills_by_one_in_five_minutes() {
    let mut trace = Trace::new();
    trace.repeat("one", 25, 0);
    trace.pass(299);
    assert_eq!(trace.correlate_message("one").decision, WriteDecision::Hold);
    trace.pass(2);
    assert_eq!(
        trace.correlate_message("one").decision,
        WriteDecision::Write
    );
    assert_eq!(trace.correlate_message("one").decision, WriteDecision::Hold);
    // It never holds more than 25.
    trace.pass(1_000_000);
    let writes = trace.writes(same(26), 0);
    assert_eq!(writes.iter().filter(|write| **write != Nothing).count(), 25);
}

// C47, TestEventSpamFilter.
#[test]
fn bucket_depends_on_object_type_and_source_but_not_on_reason() {
    let mut trace = Trace::new();
    trace.repeat("one", 25, 0);
    let mut other_reason = trace.event("two");
    other_reason.reason = "Other".to_owned();
    assert_eq!(trace.correlate(other_reason).decision, WriteDecision::Hold);
    let mut other_type = trace.event("one");
    other_type.kind = "Normal".to_owned();
    assert_eq!(trace.correlate(other_type).decision, WriteDecision::Write);
    let mut other_object = trace.event("one");
    other_object.involved_object.name = "node-2".to_owned();
    assert_eq!(trace.correlate(other_object).decision, WriteDecision::Write);
    let mut other_source = trace.event("one");
    other_source.source.component = "kubelet".to_owned();
    assert_eq!(trace.correlate(other_source).decision, WriteDecision::Write);
}

// C48.
#[test]
fn next_write_includes_the_count_of_held_events() {
    let mut trace = Trace::new();
    trace.repeat("one", 30, 0);
    trace.pass(301);
    let correlated = trace.correlate_message("one");
    assert_eq!(
        (correlated.event.count, correlated.decision),
        (31, WriteDecision::Write)
    );
    // Nothing is left to be written.
    assert_eq!(trace.correlator.next_release_ns(trace.now), None);
}

// A deliberate difference: client-go would write the count only with a further Event.
#[test]
fn held_object_is_released_when_the_bucket_has_a_token() {
    let mut trace = Trace::new();
    let mut held = None;
    for _ in 0..30 {
        held = Some(trace.correlate_message("one"));
    }
    let held = held.expect("thirty").event;
    assert_eq!(held.count, 30);
    assert_eq!(trace.correlator.release(trace.now), None);
    let ready = trace.correlator.next_release_ns(trace.now);
    let ready = ready.expect("one is held back");
    assert_eq!((ready - trace.now) / SECOND, 300);
    assert_eq!(trace.correlator.release(ready), Some(held.metadata));
    assert_eq!(trace.correlator.release(ready), None);
    assert_eq!(trace.correlator.next_release_ns(ready), None);
}

#[test]
fn object_held_longest_is_released_first_and_each_takes_a_token() {
    let mut trace = Trace::new();
    trace.repeat("one", 25, 0);
    let first = trace.correlate_message("two").event.metadata;
    let second = trace.correlate_message("three").event.metadata;
    trace.correlate_message("two");
    trace.pass(301);
    assert_eq!(trace.correlator.release(trace.now), Some(first));
    assert_eq!(trace.correlator.release(trace.now), None);
    trace.pass(301);
    assert_eq!(trace.correlator.release(trace.now), Some(second));
}

#[test]
fn object_written_meanwhile_is_not_released() {
    let mut trace = Trace::new();
    trace.repeat("one", 25, 0);
    let held = trace.correlate_message("one").event;
    trace.correlator.mark_written(&held.metadata);
    trace.pass(1000);
    assert_eq!(trace.correlator.release(trace.now), None);
}

// C49.
#[test]
fn least_recently_used_of_4096_is_dropped() {
    let mut trace = Trace::new();
    let about = |trace: &mut Trace, number: u32| {
        let mut event = trace.event("one");
        event.involved_object.name = format!("node-{number}");
        trace.correlate(event).event.count
    };
    for number in 0..4096 {
        assert_eq!(about(&mut trace, number), 1);
    }
    assert_eq!(about(&mut trace, 0), 2);
    assert_eq!(about(&mut trace, 4096), 1);
    // Object 1 was used before object 0, and was dropped.
    assert_eq!(about(&mut trace, 0), 3);
    assert_eq!(about(&mut trace, 1), 1);
}

#[test]
fn restored_correlator_continues_as_before() {
    let mut trace = Trace::new();
    trace.writes(distinct(12), 1);
    trace.repeat("one", 20, 0);
    let mut rows = Rows::default();
    rows.save(trace.correlator.changes());
    let mut restored = Correlator::restore(&rows.entries());
    let event = trace.event("one");
    for held in &trace.correlator.held {
        restored.hold(&Event {
            metadata: held.object.clone(),
            ..event.clone()
        });
    }
    let now = trace.now;
    assert_eq!(
        restored.correlate(event.clone(), Ownership::Ours, now),
        trace.correlate(event)
    );
    assert_eq!(
        restored.next_release_ns(now),
        trace.correlator.next_release_ns(now)
    );
}
