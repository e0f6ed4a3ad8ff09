//! Much at once: the budget, what goes first, and what has no room.

use super::*;

#[test]
fn requests_are_25_at_once_and_then_5_a_second() {
    let mut post = Post::new();
    let mut requests = 0;
    for number in 0..100 {
        post.put(&name(number), 1);
    }
    let mut all = |post: &mut Post| {
        while let Some((_, name, _)) = post.sent() {
            post.answer(&name, &Answer::Accepted);
            requests += 1;
        }
        requests
    };
    assert_eq!(all(&mut post), 25);
    assert_eq!(post.wait(), Some(1));
    post.now += 1;
    assert_eq!(all(&mut post), 30);
    post.now += 2;
    assert_eq!(all(&mut post), 40);
}

#[test]
fn new_objects_go_before_counts_and_both_before_what_failed() {
    let mut post = Post::new();
    post.put("failed", 1);
    post.put("counted", 1);
    for _ in 0..2 {
        let (_, name, _) = post.sent().expect("two objects");
        let answer = match name.as_str() {
            "failed" => later(Cause::Forbidden),
            _ => Answer::Accepted,
        };
        post.answer(&name, &answer);
    }
    post.now += 10;
    post.put("counted", 2);
    post.now += 10;
    post.put("new", 1);
    assert_eq!(post.sent(), create("new", 1));
    assert_eq!(post.sent(), count("counted", 2));
    assert_eq!(post.sent(), create("failed", 1));
}

#[test]
fn requests_that_hang_leave_room_for_others() {
    let mut post = Post::new();
    for number in 0..20 {
        post.put(&name(number), 1);
    }
    while let Some((_, name, _)) = post.sent() {
        post.answer(&name, &later(Cause::Unreachable));
    }
    post.now += 100;
    let hanging = std::iter::from_fn(|| post.sent()).count();
    assert_eq!(hanging, MAX_RETRIES);
    post.put("fresh", 1);
    assert_eq!(post.sent(), create("fresh", 1));
    // The rest waits for an answer, not for a time that has passed.
    let wait = post.wait().expect("they expire");
    assert!(wait > 1000, "{wait}");
    for number in 0..10 {
        post.put(&format!("f{number}"), 1);
    }
    let more = std::iter::from_fn(|| post.sent()).count();
    assert_eq!(more, MAX_REQUESTS - MAX_RETRIES - 1);
    assert_eq!(post.wait(), None);
}

#[test]
fn object_that_has_no_room_is_told_as_lost_and_idle_ones_make_room() {
    let mut post = Post::new();
    for number in 0..CAPACITY {
        post.put(&name(number), 1);
    }
    post.put("one too many", 1);
    assert_eq!(post.settled(), [(Outcome::Overflow, 1)]);
    // One that is known has room for any number.
    post.put(&name(0), 2);
    assert_eq!(post.settled(), []);
    let (_, told, _) = post.sent().expect("one of them");
    post.answer(&told, &Answer::Accepted);
    post.put("one more", 1);
    assert_eq!(post.settled(), [(Outcome::Accepted, 2)]);
    assert_eq!(post.outbox.letters.len(), CAPACITY);
}
