use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::{
    deliver::events::{
        answer::{Answer, Cause, Refusal},
        bucket::SECOND_NS,
        object::Reporter,
        pod::pod_event,
    },
    testing,
};

mod any;
mod load;

const HOUR: u64 = 3600;
/// The start, by the clock since boot.
const START: u64 = 1000;

/// An outbox with its clock in seconds.
struct Post {
    outbox: Outbox,
    now: u64,
}

/// `name` after `count` incidents.
fn event(name: &str, count: u32) -> Event {
    let reporter = Reporter {
        component: "oomwatch".to_owned(),
        node: "node-1".to_owned(),
    };
    let mut event = pod_event(&testing::report(), &reporter, Timestamp::UNIX_EPOCH).expect("a pod");
    name.clone_into(&mut event.metadata.name);
    event.count = count;
    event
}

fn later(cause: Cause) -> Answer {
    Answer::Later { cause, after: None }
}

impl Post {
    fn new() -> Self {
        Self {
            outbox: Outbox::restore(&[], HOUR * SECOND_NS, START * SECOND_NS, 0),
            now: START,
        }
    }

    fn now_ns(&self) -> u64 {
        self.now * SECOND_NS
    }

    fn incident(&mut self, event: Event, verdict: Verdict, pace: u64) {
        let incident = Incident {
            object: Object::Pod,
            event,
            origin: Ownership::Ours,
            verdict,
            time_ns: self.now_ns(),
            not_before_ns: 0,
            pace_ns: pace * SECOND_NS,
        };
        self.outbox.put(incident, self.now_ns());
    }

    /// One more incident of the object, which makes `count`.
    fn put(&mut self, name: &str, count: u32) {
        self.incident(event(name, count), Verdict::Write, 10);
    }

    fn next(&mut self) -> Next {
        let now_ns = self.now_ns();
        self.outbox.next(now_ns)
    }

    /// The request that is made now, as method, object and count.
    fn sent(&mut self) -> Option<(Method, String, u32)> {
        match self.next() {
            Next::Send(request) => {
                let Request { method, event, .. } = *request;
                Some((method, event.metadata.name, event.count))
            }
            Next::Wait(_) => None,
        }
    }

    /// Seconds until there is something to do.
    fn wait(&mut self) -> Option<u64> {
        match self.next() {
            Next::Send(request) => panic!("{request:?}"),
            Next::Wait(until) => until.map(|until| until.div_ceil(SECOND_NS) - self.now),
        }
    }

    fn answer(&mut self, name: &str, answer: &Answer) {
        let (name, now_ns) = (event(name, 1).metadata, self.now_ns());
        self.outbox.answered(&name, answer, now_ns, 0.5);
    }

    /// What came of how many incidents, since the last call.
    fn settled(&mut self) -> Vec<(Outcome, u32)> {
        let settled = |notice| match notice {
            DeliveryStat::Settled {
                outcome, incidents, ..
            } => Some((outcome, incidents)),
            DeliveryStat::Delayed { .. } => None,
        };
        let notices = self.outbox.notices();
        notices.into_iter().filter_map(settled).collect()
    }
}

/// Names that sort as they are made.
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
fn count(name: &str, count: u32) -> Option<(Method, String, u32)> {
    Some((Method::Count, name.to_owned(), count))
}

#[test]
fn first_incident_is_sent_at_once_and_then_there_is_nothing_to_do() {
    let mut post = Post::new();
    post.put("a", 1);
    assert_eq!(post.sent(), create("a", 1));
    assert_eq!(post.wait(), None);
    post.now += 2;
    post.answer("a", &Answer::Accepted);
    let settled = DeliveryStat::Settled {
        object: Object::Pod,
        outcome: Outcome::Accepted,
        incidents: 1,
        age_ns: 2 * SECOND_NS,
    };
    assert_eq!(post.outbox.notices(), [settled]);
    assert_eq!(post.wait(), None);
    assert_eq!(post.outbox.pending(), 0);
}

#[test]
fn further_incidents_are_counted_at_their_pace() {
    let mut post = Post::new();
    post.put("a", 1);
    assert_eq!(post.sent(), create("a", 1));
    post.answer("a", &Answer::Accepted);
    for number in 2..=50 {
        post.put("a", number);
    }
    assert_eq!(post.wait(), Some(10));
    post.now += 10;
    assert_eq!(post.sent(), count("a", 50));
    post.answer("a", &Answer::Accepted);
    assert_eq!(
        post.settled(),
        [(Outcome::Accepted, 1), (Outcome::Accepted, 49)]
    );
    // After a pause the next one is told at once.
    post.now += 10;
    post.put("a", 51);
    assert_eq!(post.sent(), count("a", 51));
}

// C59.
#[test]
fn object_has_one_request_under_way_and_what_comes_meanwhile_is_in_the_next() {
    let mut post = Post::new();
    post.incident(event("a", 1), Verdict::Write, 0);
    assert_eq!(post.sent(), create("a", 1));
    post.incident(event("a", 2), Verdict::Write, 0);
    post.incident(event("a", 3), Verdict::Write, 0);
    assert_eq!(post.sent(), None);
    post.answer("a", &Answer::Accepted);
    assert_eq!(post.sent(), count("a", 3));
}

#[test]
fn refusal_ends_its_own_incidents_and_blocks_nobody() {
    for (refusal, outcome) in [
        (Refusal::Invalid, Outcome::Refused),
        (Refusal::NoNamespace, Outcome::NoNamespace),
    ] {
        let mut post = Post::new();
        post.put("a", 1);
        post.put("b", 1);
        assert_eq!(post.sent(), create("a", 1));
        post.put("a", 2);
        assert_eq!(post.sent(), create("b", 1));
        post.answer("a", &Answer::Refused(refusal));
        post.answer("b", &Answer::Accepted);
        assert_eq!(post.settled(), [(outcome, 1), (Outcome::Accepted, 1)]);
        // What came meanwhile is tried, but not at once.
        assert_eq!(post.wait(), Some(10));
        post.now += 10;
        assert_eq!(post.sent(), create("a", 2));
    }
}

// C50.
#[test]
fn event_that_is_gone_is_made_anew_with_its_count() {
    let mut post = Post::new();
    post.put("a", 7);
    assert_eq!(post.sent(), count("a", 7));
    post.answer("a", &Answer::NoSuchEvent);
    assert_eq!(post.sent(), create("a", 7));
    post.answer("a", &Answer::Accepted);
    assert_eq!(post.settled(), [(Outcome::Accepted, 1)]);
}

#[test]
fn event_that_is_there_already_is_told() {
    let mut post = Post::new();
    post.put("a", 1);
    assert_eq!(post.sent(), create("a", 1));
    post.answer("a", &later(Cause::Unreachable));
    post.now += 1;
    assert_eq!(post.sent(), create("a", 1));
    post.answer("a", &Answer::AlreadyExists);
    assert_eq!(post.settled(), [(Outcome::Accepted, 1)]);
    assert_eq!(post.wait(), None);
}

#[test]
fn count_that_an_existing_event_may_lack_is_written() {
    let mut post = Post::new();
    post.put("a", 1);
    assert_eq!(post.sent(), create("a", 1));
    post.put("a", 2);
    post.answer("a", &later(Cause::Unreachable));
    post.now += 1;
    assert_eq!(post.sent(), create("a", 2));
    post.answer("a", &Answer::AlreadyExists);
    assert_eq!(post.settled(), []);
    post.now += 2;
    assert_eq!(post.sent(), count("a", 2));
    post.answer("a", &Answer::Accepted);
    assert_eq!(post.outbox.pending(), 0);
}

#[test]
fn server_that_denies_and_affirms_an_event_in_turn_is_not_asked_without_end() {
    let mut post = Post::new();
    post.put("a", 2);
    let mut requests = 0;
    while let Some((method, ..)) = post.sent() {
        requests += 1;
        let answer = match method {
            Method::Create => Answer::AlreadyExists,
            Method::Count => Answer::NoSuchEvent,
        };
        post.answer("a", &answer);
    }
    assert_eq!(requests, 2);
}

#[test]
fn every_failure_that_may_pass_is_tried_again_later_and_later() {
    for cause in [
        Cause::Unauthorized,
        Cause::Forbidden,
        Cause::TooMany,
        Cause::ServerError,
        Cause::Unreachable,
        Cause::Unreadable,
    ] {
        let mut post = Post::new();
        post.put("a", 1);
        let mut waits = Vec::new();
        for _ in 0..8 {
            assert_eq!(post.sent(), create("a", 1), "{cause:?}");
            post.answer("a", &later(cause));
            let delayed = DeliveryStat::Delayed {
                object: Object::Pod,
                cause,
            };
            assert_eq!(post.outbox.notices(), [delayed]);
            let wait = post.wait().expect("a retry");
            waits.push(wait);
            post.now += wait;
        }
        assert_eq!(waits, [1, 1, 2, 4, 8, 16, 30, 30], "{cause:?}");
    }
}

#[test]
fn time_that_the_server_asks_for_is_given() {
    let mut post = Post::new();
    post.put("a", 1);
    assert_eq!(post.sent(), create("a", 1));
    let after = Some(Duration::from_mins(2));
    let cause = Cause::TooMany;
    post.answer("a", &Answer::Later { cause, after });
    // Nor do others' answers shorten it.
    post.put("b", 1);
    assert_eq!(post.sent(), create("b", 1));
    post.answer("b", &Answer::Accepted);
    assert_eq!(post.wait(), Some(121));
}

#[test]
fn end_of_an_outage_is_news_to_all() {
    for (cause, wait) in [(Cause::Unreachable, None), (Cause::Forbidden, Some(16))] {
        let mut post = Post::new();
        post.put("a", 1);
        for _ in 0..6 {
            assert_eq!(post.sent(), create("a", 1));
            post.answer("a", &later(cause));
            post.now += post.wait().expect("a retry");
        }
        assert_eq!(post.sent(), create("a", 1));
        post.answer("a", &later(cause));
        post.put("b", 1);
        assert_eq!(post.sent(), create("b", 1));
        post.answer("b", &Answer::Accepted);
        let (sent, expected) = match wait {
            None => (post.sent(), create("a", 1)),
            Some(_) => (None, None),
        };
        assert_eq!(sent, expected);
        assert_eq!(post.wait().is_some(), wait.is_some());
    }
}

#[test]
fn what_is_older_than_its_time_is_given_up_and_the_rest_is_told() {
    let mut post = Post::new();
    post.put("a", 1);
    assert_eq!(post.sent(), create("a", 1));
    post.answer("a", &later(Cause::Forbidden));
    post.now = START + HOUR;
    assert_eq!(post.sent(), create("a", 1));
    post.answer("a", &later(Cause::Forbidden));
    post.put("a", 2);
    post.now += 1;
    // The first is still part of the count, which is the number of all.
    assert_eq!(post.sent(), create("a", 2));
    assert_eq!(post.settled(), [(Outcome::Expired, 1)]);
    post.answer("a", &Answer::Accepted);
    assert_eq!(post.settled(), [(Outcome::Accepted, 1)]);
}

#[test]
fn expiry_is_not_slept_through() {
    let mut post = Post::new();
    post.incident(event("a", 26), Verdict::Hold, 0);
    assert_eq!(post.wait(), Some(HOUR + 1));
    post.now += HOUR + 1;
    assert_eq!(post.wait(), None);
    assert_eq!(post.settled(), [(Outcome::Expired, 1)]);
    assert_eq!(post.outbox.pending(), 0);
}

#[test]
fn what_is_held_back_is_sent_when_it_is_released() {
    let mut post = Post::new();
    post.incident(event("a", 25), Verdict::Write, 0);
    assert_eq!(post.sent(), count("a", 25));
    post.answer("a", &Answer::Accepted);
    post.incident(event("a", 26), Verdict::Hold, 0);
    post.incident(event("a", 27), Verdict::Hold, 0);
    assert_eq!(post.sent(), None);
    post.now += 300;
    let now_ns = post.now_ns();
    post.outbox.release(&event("a", 1).metadata, now_ns);
    assert_eq!(post.sent(), count("a", 27));
}

#[test]
fn what_is_held_back_goes_with_what_is_sent_anyway() {
    let mut post = Post::new();
    post.incident(event("a", 1), Verdict::Write, 0);
    post.incident(event("a", 2), Verdict::Hold, 0);
    assert_eq!(post.sent(), create("a", 2));
    post.answer("a", &Answer::Accepted);
    assert_eq!(post.settled(), [(Outcome::Accepted, 2)]);
    // Nor does an answer release what was held back meanwhile.
    post.incident(event("a", 3), Verdict::Write, 0);
    assert_eq!(post.sent(), count("a", 3));
    post.incident(event("a", 4), Verdict::Hold, 0);
    post.answer("a", &Answer::Accepted);
    assert_eq!(post.sent(), None);
}

#[test]
fn kills_from_before_the_start_wait_for_it() {
    let mut post = Post::new();
    let incident = Incident {
        object: Object::Pod,
        event: event("a", 1),
        origin: Ownership::Ours,
        verdict: Verdict::Write,
        time_ns: (START - 60) * SECOND_NS,
        not_before_ns: (START + 20) * SECOND_NS,
        pace_ns: 0,
    };
    post.outbox.put(incident, START * SECOND_NS);
    assert_eq!(post.wait(), Some(20));
}

// C56.
#[test]
fn at_the_end_each_is_tried_once_more_whatever_its_pace() {
    let mut post = Post::new();
    post.put("failed", 1);
    assert_eq!(post.sent(), create("failed", 1));
    post.answer("failed", &later(Cause::Forbidden));
    post.put("paced", 1);
    assert_eq!(post.sent(), create("paced", 1));
    post.answer("paced", &Answer::Accepted);
    post.put("paced", 2);
    post.incident(event("held", 30), Verdict::Hold, 0);
    post.settled();
    assert_eq!(post.sent(), None);

    let now_ns = post.now_ns();
    post.outbox.close(Undelivered::Abandoned, now_ns);
    let mut requests: Vec<_> = std::iter::from_fn(|| post.sent()).collect();
    requests.sort_by(|one, other| one.1.cmp(&other.1));
    let expected = [create("failed", 1), count("held", 30), count("paced", 2)];
    assert_eq!(requests, expected.map(Option::unwrap));
    post.answer("failed", &later(Cause::Forbidden));
    assert_eq!(post.settled(), [(Outcome::Abandoned, 1)]);
    post.answer("held", &Answer::Accepted);
    assert_eq!(post.settled(), [(Outcome::Accepted, 1)]);
    // `paced` has no answer in time.
    post.outbox.abandon(now_ns);
    assert_eq!(post.settled(), [(Outcome::Abandoned, 1)]);
    assert_eq!(post.outbox.pending(), 0);
}
