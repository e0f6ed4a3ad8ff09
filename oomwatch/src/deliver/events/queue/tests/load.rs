//! Many Events at once: the request rate, the order, a full queue, and what one namespace can take from others.

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
        queue.respond(&name, &later(Cause::Forbidden));
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

/// An incident of an object in a namespace.
fn push_in(queue: &mut TestQueue, namespace: &str, name: &str, count: u32) {
    let mut event = event(name, count);
    namespace.clone_into(&mut event.metadata.namespace);
    queue.incident(event, WriteDecision::Write, 10);
}

/// The namespaces that the next requests are for; each request is accepted.
fn namespaces_sent(queue: &mut TestQueue) -> Vec<String> {
    let mut namespaces = Vec::new();
    while let Next::Send(request) = queue.next() {
        let name = &request.event.metadata;
        let now_ns = queue.now_ns();
        queue
            .inner
            .handle_response(name, &Response::Accepted, now_ns, 0.5);
        namespaces.push(name.namespace.clone());
    }
    namespaces
}

#[test]
fn namespaces_take_turns() {
    let mut queue = TestQueue::new();
    for number in 0..100 {
        push_in(&mut queue, "large", &name(number), 1);
    }
    for number in 0..3 {
        push_in(&mut queue, "small", &name(number), 1);
        push_in(&mut queue, "other", &name(number), 1);
    }
    let sent = namespaces_sent(&mut queue);
    assert_eq!(sent.len(), 25);
    for namespace in ["small", "other"] {
        let positions = sent.iter().enumerate();
        let mut positions = positions.filter(|(_, sent)| *sent == namespace);
        let last = positions.nth(2).expect("three requests");
        assert!(last.0 < 9, "{sent:?}");
    }
}

#[test]
fn first_event_precedes_the_counts_of_every_namespace() {
    let mut queue = TestQueue::new();
    for namespace in ["a", "b", "c"] {
        push_in(&mut queue, namespace, "x", 2);
    }
    queue.now += 10;
    // It had a request a moment ago.
    push_in(&mut queue, "d", "x", 1);
    assert_eq!(namespaces_sent(&mut queue)[0], "d");
    for namespace in ["a", "b", "c"] {
        push_in(&mut queue, namespace, "y", 2);
    }
    queue.now += 10;
    push_in(&mut queue, "d", "y", 1);
    assert_eq!(namespaces_sent(&mut queue)[0], "d");
}

#[test]
fn full_queue_has_room_for_the_namespace_with_fewer_objects() {
    let mut queue = TestQueue::new();
    for number in 0..CAPACITY {
        push_in(&mut queue, "large", &name(number), 1);
    }
    queue.now += 1;
    push_in(&mut queue, "small", "a", 1);
    assert_eq!(queue.settled(), [(Outcome::Overflow, 1)]);
    assert_eq!(queue.inner.events.len(), CAPACITY);
    assert!(queue.inner.events.get("small/a").is_some());
    // The larger one takes nothing from the smaller one.
    push_in(&mut queue, "large", "one too many", 1);
    assert_eq!(queue.settled(), [(Outcome::Overflow, 1)]);
    assert!(queue.inner.events.get("small/a").is_some());
}

#[test]
fn first_event_takes_the_place_of_a_count_of_its_own_namespace() {
    let mut queue = TestQueue::new();
    push_in(&mut queue, "a", "counted", 2);
    for number in 1..CAPACITY {
        push_in(&mut queue, "a", &name(number), 1);
    }
    push_in(&mut queue, "a", "new", 1);
    assert!(queue.inner.events.get("a/counted").is_none());
    assert!(queue.inner.events.get("a/new").is_some());
    push_in(&mut queue, "a", "counted", 3);
    assert!(queue.inner.events.get("a/counted").is_none());
    assert_eq!(queue.settled(), [(Outcome::Overflow, 1); 2]);
}
