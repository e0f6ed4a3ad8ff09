//! Many Events at once: the request rate, the order, and a full queue.

use super::*;

#[test]
fn requests_are_25_at_once_and_then_5_a_second() {
    let mut queue = TestQueue::new();
    let mut requests = 0;
    for number in 0..100 {
        queue.push(&name(number), 1);
    }
    let mut all = |queue: &mut TestQueue| {
        while let Some((_, name, _)) = queue.sent() {
            queue.respond(&name, &Response::Accepted);
            requests += 1;
        }
        requests
    };
    assert_eq!(all(&mut queue), 25);
    assert_eq!(queue.wait(), Some(1));
    queue.now += 1;
    assert_eq!(all(&mut queue), 30);
    queue.now += 2;
    assert_eq!(all(&mut queue), 40);
}

#[test]
fn new_objects_are_sent_before_counts_and_both_before_retries() {
    let mut queue = TestQueue::new();
    queue.push("failed", 1);
    queue.push("counted", 1);
    for _ in 0..2 {
        let (_, name, _) = queue.sent().expect("two objects");
        let response = match name.as_str() {
            "failed" => later(Cause::Forbidden),
            _ => Response::Accepted,
        };
        queue.respond(&name, &response);
    }
    queue.now += 10;
    queue.push("counted", 2);
    queue.now += 10;
    queue.push("new", 1);
    assert_eq!(queue.sent(), create("new", 1));
    assert_eq!(queue.sent(), patch("counted", 2));
    assert_eq!(queue.sent(), create("failed", 1));
}

#[test]
fn retries_without_a_response_leave_room_for_new_objects() {
    let mut queue = TestQueue::new();
    for number in 0..20 {
        queue.push(&name(number), 1);
    }
    while let Some((_, name, _)) = queue.sent() {
        queue.respond(&name, &later(Cause::Unreachable));
    }
    queue.now += 100;
    let hanging = std::iter::from_fn(|| queue.sent()).count();
    assert_eq!(hanging, MAX_RETRIES);
    queue.push("fresh", 1);
    assert_eq!(queue.sent(), create("fresh", 1));
    // The remaining retries wait for a response, not for a time that has passed.
    let wait = queue.wait().expect("they expire");
    assert!(wait > 1000, "{wait}");
    for number in 0..10 {
        queue.push(&format!("f{number}"), 1);
    }
    let more = std::iter::from_fn(|| queue.sent()).count();
    assert_eq!(more, MAX_REQUESTS - MAX_RETRIES - 1);
    assert_eq!(queue.wait(), None);
}

#[test]
fn full_queue_counts_an_overflow_and_drops_idle_objects() {
    let mut queue = TestQueue::new();
    for number in 0..CAPACITY {
        queue.push(&name(number), 1);
    }
    queue.push("one too many", 1);
    assert_eq!(queue.settled(), [(Outcome::Overflow, 1)]);
    // An object in the queue can have any number of incidents.
    queue.push(&name(0), 2);
    assert_eq!(queue.settled(), []);
    let (_, sent, _) = queue.sent().expect("one of them");
    queue.respond(&sent, &Response::Accepted);
    queue.push("one more", 1);
    assert_eq!(queue.settled(), [(Outcome::Accepted, 2)]);
    assert_eq!(queue.inner.events.len(), CAPACITY);
}
