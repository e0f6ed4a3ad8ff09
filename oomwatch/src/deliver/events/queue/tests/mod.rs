use std::{sync::LazyLock, time::Duration};

use jiff::Timestamp;

use super::*;
use crate::{
    deliver::events::{
        bucket::SECOND_NS,
        event_counter::Ownership,
        object::Reporter,
        pod::pod_event,
        response::{Cause, Method, Refusal, Response},
    },
    testing,
};

mod any_order;
mod load;
mod outage;

const HOUR: u64 = 3600;
/// Time of the start in seconds.
const START: u64 = 1000;

/// An event queue with a clock in seconds.
struct TestQueue {
    inner: EventQueue,
    now: u64,
}

/// The Event called `name` after `count` incidents.
fn event(name: &str, count: u32) -> Event {
    static TEMPLATE: LazyLock<Event> = LazyLock::new(|| {
        let reporter = Reporter {
            component: "oomwatch".to_owned(),
            node: "node-1".to_owned(),
        };
        pod_event(&testing::report(), &reporter, Timestamp::UNIX_EPOCH).expect("a pod")
    });
    let mut event = TEMPLATE.clone();
    name.clone_into(&mut event.metadata.name);
    event.count = count;
    event
}

fn later(cause: Cause) -> Response {
    Response::RetryLater {
        cause,
        retry_after: None,
    }
}

impl TestQueue {
    fn new() -> Self {
        Self {
            inner: EventQueue::restore(&[], HOUR * SECOND_NS, START * SECOND_NS, 0),
            now: START,
        }
    }

    fn now_ns(&self) -> u64 {
        self.now * SECOND_NS
    }

    fn incident(&mut self, event: Event, decision: WriteDecision, pace: u64) {
        let incident = QueuedIncident {
            object: Object::Pod,
            counted: CountedEvent {
                event,
                ownership: Ownership::Ours,
                decision,
                pace_ns: pace * SECOND_NS,
            },
            time_ns: self.now_ns(),
            not_before_ns: 0,
        };
        self.inner.push(incident, self.now_ns());
    }

    /// Adds an incident of the object, after which its count is `count`.
    fn push(&mut self, name: &str, count: u32) {
        self.incident(event(name, count), WriteDecision::Write, 10);
    }

    fn next(&mut self) -> Next {
        let now_ns = self.now_ns();
        self.inner.next(now_ns)
    }

    /// The request that is sent now: method, object and count.
    fn sent(&mut self) -> Option<(Method, String, u32)> {
        match self.next() {
            Next::Send(request) => {
                let Request { method, event, .. } = *request;
                Some((method, event.metadata.name, event.count))
            }
            Next::Wait(_) => None,
        }
    }

    /// Seconds until the next request or expiry.
    fn wait(&mut self) -> Option<u64> {
        match self.next() {
            Next::Send(request) => panic!("{request:?}"),
            Next::Wait(until) => until.map(|until| until.div_ceil(SECOND_NS) - self.now),
        }
    }

    fn respond(&mut self, name: &str, response: &Response) {
        let (name, now_ns) = (event(name, 1).metadata, self.now_ns());
        self.inner.handle_response(&name, response, now_ns, 0.5);
    }

    /// The outcomes and numbers of incidents that were settled since the last call.
    fn settled(&mut self) -> Vec<(Outcome, u32)> {
        let settled = |stat| match stat {
            DeliveryStat::Settled {
                outcome, incidents, ..
            } => Some((outcome, incidents)),
            DeliveryStat::Delayed { .. } => None,
        };
        let stats = self.inner.take_stats();
        stats.into_iter().filter_map(settled).collect()
    }
}

/// Names that sort by number.
fn name(number: usize) -> String {
    format!("e{number:05}")
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "compared with what is sent, if anything"
)]
fn create(name: &str, count: u32) -> Option<(Method, String, u32)> {
    Some((Method::Create, name.to_owned(), count))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "compared with what is sent, if anything"
)]
fn patch(name: &str, count: u32) -> Option<(Method, String, u32)> {
    Some((Method::Patch, name.to_owned(), count))
}

#[test]
fn first_incident_is_sent_at_once() {
    let mut queue = TestQueue::new();
    queue.push("a", 1);
    assert_eq!(queue.sent(), create("a", 1));
    assert_eq!(queue.wait(), None);
    queue.now += 2;
    queue.respond("a", &Response::Accepted);
    let settled = DeliveryStat::Settled {
        object: Object::Pod,
        about: event("a", 1).about(),
        outcome: Outcome::Accepted,
        incidents: 1,
        age_ns: 2 * SECOND_NS,
    };
    assert_eq!(queue.inner.take_stats(), [settled]);
    assert_eq!(queue.wait(), None);
    assert_eq!(queue.inner.pending(), 0);
}

#[test]
fn further_incidents_are_sent_at_the_pace() {
    let mut queue = TestQueue::new();
    queue.push("a", 1);
    assert_eq!(queue.sent(), create("a", 1));
    queue.respond("a", &Response::Accepted);
    for number in 2..=50 {
        queue.push("a", number);
    }
    assert_eq!(queue.wait(), Some(10));
    queue.now += 10;
    assert_eq!(queue.sent(), patch("a", 50));
    queue.respond("a", &Response::Accepted);
    assert_eq!(
        queue.settled(),
        [(Outcome::Accepted, 1), (Outcome::Accepted, 49)]
    );
    // After a pause the next one is sent at once.
    queue.now += 10;
    queue.push("a", 51);
    assert_eq!(queue.sent(), patch("a", 51));
}

// C59.
#[test]
fn object_has_one_request_in_flight_and_the_next_one_counts_what_came_meanwhile() {
    let mut queue = TestQueue::new();
    queue.incident(event("a", 1), WriteDecision::Write, 0);
    assert_eq!(queue.sent(), create("a", 1));
    queue.incident(event("a", 2), WriteDecision::Write, 0);
    queue.incident(event("a", 3), WriteDecision::Write, 0);
    assert_eq!(queue.sent(), None);
    queue.respond("a", &Response::Accepted);
    assert_eq!(queue.sent(), patch("a", 3));
}

#[test]
fn refusal_settles_its_own_incidents_and_blocks_no_other_object() {
    for (refusal, outcome) in [
        (Refusal::Invalid, Outcome::Refused),
        (Refusal::NoNamespace, Outcome::NoNamespace),
    ] {
        let mut queue = TestQueue::new();
        queue.push("a", 1);
        queue.push("b", 1);
        assert_eq!(queue.sent(), create("a", 1));
        queue.push("a", 2);
        assert_eq!(queue.sent(), create("b", 1));
        queue.respond("a", &Response::Refused(refusal));
        queue.respond("b", &Response::Accepted);
        assert_eq!(queue.settled(), [(outcome, 1), (Outcome::Accepted, 1)]);
        // What came meanwhile is sent at the pace.
        assert_eq!(queue.wait(), Some(10));
        queue.now += 10;
        assert_eq!(queue.sent(), create("a", 2));
    }
}

// C50.
#[test]
fn deleted_event_is_created_again_with_its_count() {
    let mut queue = TestQueue::new();
    queue.push("a", 7);
    assert_eq!(queue.sent(), patch("a", 7));
    queue.respond("a", &Response::NotFound);
    assert_eq!(queue.sent(), create("a", 7));
    queue.respond("a", &Response::Accepted);
    assert_eq!(queue.settled(), [(Outcome::Accepted, 1)]);
}

#[test]
fn created_event_whose_response_was_lost_is_accepted() {
    let mut queue = TestQueue::new();
    queue.push("a", 1);
    assert_eq!(queue.sent(), create("a", 1));
    queue.respond("a", &later(Cause::Unreachable));
    queue.now += 1;
    assert_eq!(queue.sent(), create("a", 1));
    queue.respond("a", &Response::AlreadyExists);
    assert_eq!(queue.settled(), [(Outcome::Accepted, 1)]);
    assert_eq!(queue.wait(), None);
}

#[test]
fn count_that_an_existing_event_may_lack_is_patched() {
    let mut queue = TestQueue::new();
    queue.push("a", 1);
    assert_eq!(queue.sent(), create("a", 1));
    queue.push("a", 2);
    queue.respond("a", &later(Cause::Unreachable));
    queue.now += 1;
    assert_eq!(queue.sent(), create("a", 2));
    queue.respond("a", &Response::AlreadyExists);
    assert_eq!(queue.settled(), []);
    queue.now += 2;
    assert_eq!(queue.sent(), patch("a", 2));
    queue.respond("a", &Response::Accepted);
    assert_eq!(queue.inner.pending(), 0);
}

#[test]
fn server_that_contradicts_itself_is_not_asked_in_a_loop() {
    let mut queue = TestQueue::new();
    queue.push("a", 2);
    let mut requests = 0;
    while let Some((method, ..)) = queue.sent() {
        requests += 1;
        let response = match method {
            Method::Create => Response::AlreadyExists,
            Method::Patch => Response::NotFound,
        };
        queue.respond("a", &response);
    }
    assert_eq!(requests, 2);
}

#[test]
fn temporary_failures_are_retried_with_growing_delays() {
    for cause in [
        Cause::Unauthorized,
        Cause::Forbidden,
        Cause::TooMany,
        Cause::ServerError,
        Cause::Unreachable,
        Cause::Unreadable,
    ] {
        let mut queue = TestQueue::new();
        queue.push("a", 1);
        let mut waits = Vec::new();
        for _ in 0..8 {
            assert_eq!(queue.sent(), create("a", 1), "{cause:?}");
            queue.respond("a", &later(cause));
            let delayed = DeliveryStat::Delayed {
                object: Object::Pod,
                cause,
            };
            assert_eq!(queue.inner.take_stats(), [delayed]);
            let wait = queue.wait().expect("a retry");
            waits.push(wait);
            queue.now += wait;
        }
        assert_eq!(waits, [1, 1, 2, 4, 8, 16, 30, 30], "{cause:?}");
    }
}

#[test]
fn retry_after_is_respected() {
    let mut queue = TestQueue::new();
    queue.push("a", 1);
    assert_eq!(queue.sent(), create("a", 1));
    let retry_after = Some(Duration::from_mins(2));
    let cause = Cause::TooMany;
    queue.respond("a", &Response::RetryLater { cause, retry_after });
    // Responses for other objects do not shorten it.
    queue.push("b", 1);
    assert_eq!(queue.sent(), create("b", 1));
    queue.respond("b", &Response::Accepted);
    assert_eq!(queue.wait(), Some(121));
}

#[test]
fn incidents_older_than_the_maximum_age_expire_and_the_rest_is_sent() {
    let mut queue = TestQueue::new();
    queue.push("a", 1);
    assert_eq!(queue.sent(), create("a", 1));
    queue.respond("a", &later(Cause::Forbidden));
    queue.now = START + HOUR;
    assert_eq!(queue.sent(), create("a", 1));
    queue.respond("a", &later(Cause::Forbidden));
    queue.push("a", 2);
    queue.now += 1;
    // The expired one is still part of the count.
    assert_eq!(queue.sent(), create("a", 2));
    assert_eq!(queue.settled(), [(Outcome::Expired, 1)]);
    queue.respond("a", &Response::Accepted);
    assert_eq!(queue.settled(), [(Outcome::Accepted, 1)]);
}

#[test]
fn expiry_of_held_incidents_is_a_wake_up_time() {
    let mut queue = TestQueue::new();
    queue.incident(event("a", 26), WriteDecision::Hold, 0);
    assert_eq!(queue.wait(), Some(HOUR + 1));
    queue.now += HOUR + 1;
    assert_eq!(queue.wait(), None);
    assert_eq!(queue.settled(), [(Outcome::Expired, 1)]);
    assert_eq!(queue.inner.pending(), 0);
}

#[test]
fn incidents_are_expired_at_the_wake_up_time() {
    let mut queue = TestQueue::new();
    queue.incident(event("a", 26), WriteDecision::Hold, 0);
    let Next::Wait(Some(wake_ns)) = queue.next() else {
        panic!("they expire");
    };
    assert_eq!(queue.inner.next(wake_ns), Next::Wait(None));
    assert_eq!(queue.settled(), [(Outcome::Expired, 1)]);
}

#[test]
fn existing_object_is_not_taken_for_that_of_an_incident_after_an_expired_one() {
    let mut queue = TestQueue::new();
    let push = |queue: &mut TestQueue, count| {
        let incident = QueuedIncident {
            object: Object::Pod,
            counted: CountedEvent {
                event: event("a", count),
                ownership: Ownership::Unknown,
                decision: WriteDecision::Write,
                pace_ns: 0,
            },
            time_ns: queue.now_ns(),
            not_before_ns: 0,
        };
        queue.inner.push(incident, queue.now_ns());
    };
    push(&mut queue, 1);
    queue.now += HOUR + 1;
    push(&mut queue, 2);
    assert_eq!(queue.sent(), create("a", 2));
    queue.respond("a", &Response::AlreadyExists);
    assert_eq!(queue.settled(), [(Outcome::Expired, 1)]);
    let own = event("a", 1).next_name().name;
    assert_eq!(queue.sent(), create(&own, 1));
}

#[test]
fn held_incidents_are_sent_when_released() {
    let mut queue = TestQueue::new();
    queue.incident(event("a", 25), WriteDecision::Write, 0);
    assert_eq!(queue.sent(), patch("a", 25));
    queue.respond("a", &Response::Accepted);
    queue.incident(event("a", 26), WriteDecision::Hold, 0);
    queue.incident(event("a", 27), WriteDecision::Hold, 0);
    assert_eq!(queue.sent(), None);
    queue.now += 300;
    let now_ns = queue.now_ns();
    queue.inner.release(&event("a", 1).metadata, now_ns);
    assert_eq!(queue.sent(), patch("a", 27));
}

#[test]
fn held_incidents_are_sent_with_others_of_their_object() {
    let mut queue = TestQueue::new();
    queue.incident(event("a", 1), WriteDecision::Write, 0);
    queue.incident(event("a", 2), WriteDecision::Hold, 0);
    assert_eq!(queue.sent(), create("a", 2));
    queue.respond("a", &Response::Accepted);
    assert_eq!(queue.settled(), [(Outcome::Accepted, 2)]);
    // A response does not release what was held back meanwhile.
    queue.incident(event("a", 3), WriteDecision::Write, 0);
    assert_eq!(queue.sent(), patch("a", 3));
    queue.incident(event("a", 4), WriteDecision::Hold, 0);
    queue.respond("a", &Response::Accepted);
    assert_eq!(queue.sent(), None);
}

#[test]
fn kills_from_before_the_start_wait_for_the_start_delay() {
    let mut queue = TestQueue::new();
    let incident = QueuedIncident {
        object: Object::Pod,
        counted: CountedEvent {
            event: event("a", 1),
            ownership: Ownership::Ours,
            decision: WriteDecision::Write,
            pace_ns: 0,
        },
        time_ns: (START - 60) * SECOND_NS,
        not_before_ns: (START + 20) * SECOND_NS,
    };
    queue.inner.push(incident, START * SECOND_NS);
    assert_eq!(queue.wait(), Some(20));
}

// C56.
#[test]
fn shutdown_sends_each_object_once_more_whatever_its_pace() {
    let mut queue = TestQueue::new();
    queue.push("failed", 1);
    assert_eq!(queue.sent(), create("failed", 1));
    queue.respond("failed", &later(Cause::Forbidden));
    queue.push("paced", 1);
    assert_eq!(queue.sent(), create("paced", 1));
    queue.respond("paced", &Response::Accepted);
    queue.push("paced", 2);
    queue.incident(event("held", 30), WriteDecision::Hold, 0);
    queue.settled();
    assert_eq!(queue.sent(), None);

    let now_ns = queue.now_ns();
    queue.inner.close(Undelivered::Abandoned, now_ns);
    let mut requests: Vec<_> = std::iter::from_fn(|| queue.sent()).collect();
    requests.sort_by(|one, other| one.1.cmp(&other.1));
    let expected = [create("failed", 1), patch("held", 30), patch("paced", 2)];
    assert_eq!(requests, expected.map(Option::unwrap));
    queue.respond("failed", &later(Cause::Forbidden));
    assert_eq!(queue.settled(), [(Outcome::Abandoned, 1)]);
    queue.respond("held", &Response::Accepted);
    assert_eq!(queue.settled(), [(Outcome::Accepted, 1)]);
    // `paced` gets no response in time.
    queue.inner.abandon(now_ns);
    assert_eq!(queue.settled(), [(Outcome::Abandoned, 1)]);
    assert_eq!(queue.inner.pending(), 0);
}
