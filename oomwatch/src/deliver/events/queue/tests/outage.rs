//! A server that is away: few attempts, and all that waits when it is back.

use super::*;

#[test]
fn end_of_an_outage_makes_all_retries_due() {
    for (cause, expected) in [
        (Cause::Unreachable, create("a", 1)),
        (Cause::Forbidden, None),
    ] {
        let mut queue = TestQueue::new();
        queue.push("a", 1);
        queue.push("b", 1);
        assert_eq!(queue.sent(), create("a", 1));
        assert_eq!(queue.sent(), create("b", 1));
        queue.respond("a", &later(cause));
        assert_eq!(queue.sent(), None);
        queue.respond("b", &Response::Accepted);
        assert_eq!(queue.sent(), expected, "{cause:?}");
    }
}

#[test]
fn new_object_waits_for_the_next_attempt_of_an_outage() {
    let mut queue = TestQueue::new();
    queue.push("a", 1);
    for _ in 0..6 {
        assert_eq!(queue.sent(), create("a", 1));
        queue.respond("a", &later(Cause::Unreachable));
        queue.now += queue.wait().expect("a retry");
    }
    assert_eq!(queue.sent(), create("a", 1));
    queue.respond("a", &later(Cause::Unreachable));
    queue.push("b", 1);
    assert_eq!(queue.wait(), Some(30));
    queue.now += 30;
    assert_eq!(queue.sent(), create("b", 1));
    assert_eq!(queue.sent(), None);
    queue.respond("b", &Response::Accepted);
    assert_eq!(queue.sent(), create("a", 1));
}

#[test]
fn outage_has_few_attempts_whatever_waits() {
    for cause in [Cause::Unreachable, Cause::ServerError, Cause::Unreadable] {
        let mut queue = TestQueue::new();
        let mut requests = 0;
        for second in 0..60 {
            for number in 0..10 {
                queue.push(&name(second * 10 + number), 1);
            }
            let in_flight: Vec<_> = std::iter::from_fn(|| queue.sent()).collect();
            requests += in_flight.len();
            for (_, sent, _) in in_flight {
                queue.respond(&sent, &later(cause));
            }
            queue.now += 1;
        }
        assert!(requests <= MAX_REQUESTS + 8, "{requests}: {cause:?}");
        // They go on for as long as the outage, and one answer ends it.
        queue.now += 60;
        let (_, sent, _) = queue.sent().expect("an attempt");
        assert_eq!(queue.sent(), None);
        queue.respond(&sent, &Response::Accepted);
        let sent = std::iter::from_fn(|| queue.sent()).count();
        assert_eq!(sent, MAX_REQUESTS, "{cause:?}");
    }
}

#[test]
fn requests_that_fail_together_are_one_attempt() {
    let mut queue = TestQueue::new();
    for number in 0..MAX_REQUESTS {
        queue.push(&name(number), 1);
    }
    let in_flight: Vec<_> = std::iter::from_fn(|| queue.sent()).collect();
    assert_eq!(in_flight.len(), MAX_REQUESTS);
    for (_, sent, _) in in_flight {
        queue.respond(&sent, &later(Cause::Unreachable));
    }
    assert_eq!(queue.wait(), Some(1));
}
