//! client-go's own cases (`events_cache_test.go`), the traces derived from its algorithms, and the two differences.

use jiff::Timestamp;

use super::*;
use crate::{
    deliver::events::object::{ObjectReference, Seconds, Source},
    model::persist::rows::Rows,
};

const SECOND: u64 = 1_000_000_000;

/// A correlator with a clock of its own, which is also the calendar's.
struct Trace {
    correlator: Correlator,
    now: u64,
    names: u64,
}

/// What the API server is asked for.
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

    fn take(&mut self, event: Event) -> Correlated {
        self.correlator.take(event, Ownership::Ours, self.now)
    }

    fn tell(&mut self, message: &str) -> Correlated {
        let event = self.event(message);
        self.take(event)
    }

    /// Tells each message, so many seconds apart, of what is written.
    fn writes(&mut self, messages: impl IntoIterator<Item = String>, apart: u64) -> Vec<Write> {
        let mut writes = Vec::new();
        for message in messages {
            self.pass(apart);
            let Correlated { event, verdict, .. } = self.tell(&message);
            writes.push(match verdict {
                Verdict::Hold => Nothing,
                Verdict::Write if event.count == 1 => Create(1),
                Verdict::Write => Patch(event.count),
            });
        }
        writes
    }

    fn tell_often(&mut self, message: &str, times: u32, apart: u64) {
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
    let told = trace.take(event.clone());
    assert_eq!(told.event, event);
    assert_eq!(told.verdict, Verdict::Write);
}

// C35, the-same-event-should-just-count.
#[test]
fn same_event_is_counted_on_its_own_object() {
    let mut trace = Trace::new();
    let first = trace.tell("one").event;
    trace.pass(15);
    let event = trace.event("one");
    let second = trace.take(event.clone()).event;
    assert_eq!(second.count, 2);
    assert_eq!(second.metadata, first.metadata);
    assert_eq!(second.first_timestamp, first.first_timestamp);
    assert_eq!(second.last_timestamp, event.last_timestamp);
    assert_ne!(second.last_timestamp, second.first_timestamp);
}

// C36, the-same-event-should-just-count-even-if-more-than-aggregate.
#[test]
fn same_event_is_never_combined() {
    let mut trace = Trace::new();
    trace.tell_often("one", 10, 90);
    trace.pass(90);
    let Event { count, message, .. } = trace.tell("one").event;
    assert_eq!((count, message.as_str()), (11, "one"));
}

// the-same-event-is-spam-if-happens-too-frequently.
#[test]
fn same_event_too_often_is_held_back() {
    let mut trace = Trace::new();
    trace.tell_often("one", 26, 3);
    trace.pass(3);
    assert_eq!(trace.tell("one").verdict, Verdict::Hold);
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
        let told = trace.take(event.clone());
        assert_eq!((told.event, told.verdict), (event, Verdict::Write));
    }
}

// C37, C38, C39, C40, C41 and similar-events-should-aggregate-event, similar-events-many-times-should-count-the-aggregate.
#[test]
fn tenth_alike_is_combined_and_the_next_counts_it() {
    let mut trace = Trace::new();
    let mut names = Vec::new();
    for message in distinct(9) {
        trace.pass(15);
        let event = trace.tell(&message).event;
        assert_eq!((event.count, &event.message), (1, &message));
        names.push(event.metadata.name);
    }
    trace.pass(15);
    let tenth = trace.tell("the tenth").event;
    assert_eq!(tenth.count, 1);
    assert_eq!(tenth.message, "(combined from similar events): the tenth");
    assert_eq!(tenth.first_timestamp, tenth.last_timestamp);
    assert_eq!(tenth.reporting_component, "");
    assert_eq!(tenth.reporting_instance, "");
    assert_eq!(tenth.source.component, "oomwatch");
    assert!(!names.contains(&tenth.metadata.name));

    trace.pass(15);
    let next = trace.tell("the eleventh").event;
    assert_eq!(next.count, 2);
    assert_eq!(next.message, "(combined from similar events): the eleventh");
    assert_eq!(next.metadata, tenth.metadata);
    assert_eq!(next.first_timestamp, tenth.first_timestamp);
}

// C42, similar-events-whose-interval-is-greater-than-aggregate-interval-do-not-aggregate.
#[test]
fn alike_is_what_comes_within_ten_minutes_of_the_last() {
    let told_after = |apart| {
        let mut trace = Trace::new();
        trace.writes(distinct(9), apart);
        trace.pass(apart);
        trace.tell("the tenth").event.message
    };
    assert_eq!(told_after(1800), "the tenth");
    assert_eq!(told_after(601), "the tenth");
    assert_eq!(told_after(600), "(combined from similar events): the tenth");
}

// C43.
#[test]
fn message_that_is_still_known_is_counted_on_its_own_object() {
    let mut trace = Trace::new();
    trace.writes(distinct(12), 1);
    // The three oldest were put out for the tenth, eleventh and twelfth.
    let known = "victim process: stress, pid: 7";
    let event = trace.tell(known).event;
    assert_eq!((event.count, event.message.as_str()), (2, known));
}

// C44, events-from-different-containers-do-not-aggregate.
#[test]
fn other_part_of_the_object_is_counted_apart() {
    let mut trace = Trace::new();
    trace.tell("one");
    let mut event = trace.event("one");
    event.involved_object.field_path = Some("spec.containers{other}".to_owned());
    trace.pass(15);
    assert_eq!(trace.take(event.clone()).event, event);
}

// TestEventAggregatorByReasonFunc.
#[test]
fn other_reasons_are_not_alike() {
    let mut trace = Trace::new();
    trace.writes(distinct(9), 1);
    let mut event = trace.event("the tenth");
    event.reason = "Other".to_owned();
    assert_eq!(trace.take(event.clone()).event, event);
}

// C45, C38, C41: the first of the reference's traces.
#[test]
fn thirty_different_are_nine_then_combined_then_held_back() {
    let writes = Trace::new().writes(distinct(30), 1);
    let mut expected: Vec<Write> = (1..=10).map(|_| Create(1)).collect();
    expected.extend((2..=16).map(Patch));
    expected.extend((0..5).map(|_| Nothing));
    assert_eq!(writes, expected);
}

// The second.
#[test]
fn thirty_of_the_same_are_counted_up_to_twenty_five() {
    let writes = Trace::new().writes(same(30), 1);
    let mut expected = vec![Create(1)];
    expected.extend((2..=25).map(Patch));
    expected.extend((0..5).map(|_| Nothing));
    assert_eq!(writes, expected);
}

// The third: 600 is not more than 600.
#[test]
fn every_ten_minutes_is_still_alike() {
    let writes = Trace::new().writes(distinct(15), 600);
    let mut expected: Vec<Write> = (1..=10).map(|_| Create(1)).collect();
    expected.extend((2..=6).map(Patch));
    assert_eq!(writes, expected);
}

// C46.
#[test]
fn bucket_gives_one_in_five_minutes() {
    let mut trace = Trace::new();
    trace.tell_often("one", 25, 0);
    trace.pass(299);
    assert_eq!(trace.tell("one").verdict, Verdict::Hold);
    trace.pass(2);
    assert_eq!(trace.tell("one").verdict, Verdict::Write);
    assert_eq!(trace.tell("one").verdict, Verdict::Hold);
    // It never holds more than 25.
    trace.pass(1_000_000);
    let writes = trace.writes(same(26), 0);
    assert_eq!(writes.iter().filter(|write| **write != Nothing).count(), 25);
}

// C47, TestEventSpamFilter.
#[test]
fn bucket_is_the_objects_and_the_types_whatever_the_reason() {
    let mut trace = Trace::new();
    trace.tell_often("one", 25, 0);
    let mut other_reason = trace.event("two");
    other_reason.reason = "Other".to_owned();
    assert_eq!(trace.take(other_reason).verdict, Verdict::Hold);
    let mut other_type = trace.event("one");
    other_type.kind = "Normal".to_owned();
    assert_eq!(trace.take(other_type).verdict, Verdict::Write);
    let mut other_object = trace.event("one");
    other_object.involved_object.name = "node-2".to_owned();
    assert_eq!(trace.take(other_object).verdict, Verdict::Write);
    let mut other_source = trace.event("one");
    other_source.source.component = "kubelet".to_owned();
    assert_eq!(trace.take(other_source).verdict, Verdict::Write);
}

// C48.
#[test]
fn next_write_has_the_count_of_what_was_held_back() {
    let mut trace = Trace::new();
    trace.tell_often("one", 30, 0);
    trace.pass(301);
    let told = trace.tell("one");
    assert_eq!((told.event.count, told.verdict), (31, Verdict::Write));
    // It is written, and nothing is left to be.
    assert_eq!(trace.correlator.next_release_ns(trace.now), None);
}

// The deliberate difference: client-go would never write it if nothing came after.
#[test]
fn what_is_held_back_is_released_when_the_bucket_has_room() {
    let mut trace = Trace::new();
    let mut held = None;
    for _ in 0..30 {
        held = Some(trace.tell("one"));
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
fn longest_held_back_is_released_first_and_each_takes_a_token() {
    let mut trace = Trace::new();
    trace.tell_often("one", 25, 0);
    let first = trace.tell("two").event.metadata;
    let second = trace.tell("three").event.metadata;
    trace.tell("two");
    trace.pass(301);
    assert_eq!(trace.correlator.release(trace.now), Some(first));
    assert_eq!(trace.correlator.release(trace.now), None);
    trace.pass(301);
    assert_eq!(trace.correlator.release(trace.now), Some(second));
}

#[test]
fn what_was_written_meanwhile_is_not_released() {
    let mut trace = Trace::new();
    trace.tell_often("one", 25, 0);
    let held = trace.tell("one").event;
    trace.correlator.written(&held.metadata);
    trace.pass(1000);
    assert_eq!(trace.correlator.release(trace.now), None);
}

// C49.
#[test]
fn least_recently_told_of_4096_is_forgotten() {
    let mut trace = Trace::new();
    let about = |trace: &mut Trace, number: u32| {
        let mut event = trace.event("one");
        event.involved_object.name = format!("node-{number}");
        trace.take(event).event.count
    };
    for number in 0..4096 {
        assert_eq!(about(&mut trace, number), 1);
    }
    assert_eq!(about(&mut trace, 0), 2);
    assert_eq!(about(&mut trace, 4096), 1);
    // Of 0 and 1 the latter had to go.
    assert_eq!(about(&mut trace, 0), 3);
    assert_eq!(about(&mut trace, 1), 1);
}

#[test]
fn restored_it_goes_on_as_it_was() {
    let mut trace = Trace::new();
    trace.writes(distinct(12), 1);
    trace.tell_often("one", 20, 0);
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
        restored.take(event.clone(), Ownership::Ours, now),
        trace.take(event)
    );
    assert_eq!(
        restored.next_release_ns(now),
        trace.correlator.next_release_ns(now)
    );
}
