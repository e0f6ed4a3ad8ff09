use super::{super::testing::*, *};
use std::ops::Range;

use crate::{
    model::report::Report,
    testing::{gap_report, minimal_report},
};

fn add(pending: &mut Pending, ticket: u64, batch: &Batch) {
    assert_eq!(pending.add(ticket, batch).dropped, 0);
}

/// The id of each kill, and whether it is new, named and delivered.
fn kinds(pending: &Pending) -> Vec<(String, bool, bool, bool)> {
    let kinds = pending.in_order().map(|kill| {
        let PendingKill {
            id,
            is_new,
            named,
            is_delivered,
            ..
        } = kill;
        (id.clone(), *is_new, named.is_some(), *is_delivered)
    });
    kinds.collect()
}

fn named(numbers: impl IntoIterator<Item = i64>) -> Batch {
    Batch {
        named: kills(numbers),
        ..Batch::default()
    }
}

fn seen(numbers: impl IntoIterator<Item = i64>) -> Batch {
    Batch {
        kills: kills(numbers),
        ..Batch::default()
    }
}

#[test]
fn kill_is_queued_once_with_its_latest_state() {
    let mut pending = Pending::default();
    assert!(pending.is_empty());
    add(&mut pending, 1, &seen([1, 2]));
    add(&mut pending, 2, &named([2]));
    let delivered = Batch {
        delivered: ids(&kills([2, 7])),
        ..Batch::default()
    };
    add(&mut pending, 3, &delivered);
    let id = |number| kill(number).id;
    assert_eq!(
        kinds(&pending),
        [
            (id(1), true, false, false),
            (id(2), true, true, true),
            (id(7), false, false, true),
        ]
    );
    assert_eq!(
        (pending.ticket(), pending.kills(), pending.is_empty()),
        (3, 3, false)
    );
}

#[test]
fn kill_that_arrives_twice_is_a_duplicate() {
    let mut pending = Pending::default();
    add(&mut pending, 1, &seen([1]));
    add(&mut pending, 2, &seen([2, 1]));
    assert_eq!(pending.duplicates(), ids(&kills([1])));
    assert_eq!(pending.kills(), 2);
}

#[test]
fn names_keep_their_order_and_the_last_change_of_a_row_wins() {
    let mut pending = Pending::default();
    add(&mut pending, 1, &seen([1, 2, 3]));
    add(&mut pending, 2, &named([3, 1]));
    add(&mut pending, 3, &named([2]));
    let order: Vec<&str> = pending
        .named()
        .iter()
        .map(|kill| kill.id.as_str())
        .collect();
    assert_eq!(order, ids(&kills([3, 1, 2])));
    for value in [Some("1"), None, Some("3")] {
        let batch = Batch {
            state: vec![change("who", "a", value)],
            ..Batch::default()
        };
        add(&mut pending, 4, &batch);
    }
    assert_eq!(
        pending.state().collect::<Vec<_>>(),
        [("who", "a", Some("3"))]
    );
}

#[test]
fn row_that_is_created_and_removed_before_a_write_leaves_no_trace() {
    let batch = |key: &str, value, is_new| Batch {
        state: vec![Change {
            is_new,
            ..change("who", key, value)
        }],
        ..Batch::default()
    };
    let mut pending = Pending::default();
    for ticket in 1..100 {
        let key = ticket.to_string();
        add(&mut pending, ticket, &batch(&key, Some("1"), true));
        let mut later = Pending::default();
        add(&mut later, ticket, &batch(&key, Some("2"), false));
        add(&mut later, ticket, &batch(&key, None, false));
        assert_eq!(pending.extend(later).dropped, 0);
    }
    assert_eq!(pending.state().count(), 0);
    // A row that the database has stays in the queue as removed, also if it is created again meanwhile.
    add(&mut pending, 100, &batch("a", None, false));
    add(&mut pending, 101, &batch("a", Some("3"), true));
    add(&mut pending, 102, &batch("a", None, false));
    assert_eq!(pending.state().collect::<Vec<_>>(), [("who", "a", None)]);
}

#[test]
fn extending_is_the_same_as_adding_to_one_queue() {
    let state = |value| Batch {
        state: vec![change("who", "a", Some(value))],
        ..Batch::default()
    };
    let mut whole = Pending::default();
    let mut pieces = Pending::default();
    let batches = [
        seen([1, 2, 3]),
        named([2, 1]),
        state("1"),
        delivered(kills([4, 5])),
        named([3]),
        seen([2, 6]),
        state("2"),
        Batch {
            delivered: ids(&kills([2, 3])),
            gaps: vec![gap_report()],
            ..Batch::default()
        },
    ];
    for (batch, ticket) in batches.iter().zip(1..) {
        add(&mut whole, ticket, batch);
        let mut later = Pending::default();
        add(&mut later, ticket, batch);
        assert_eq!(pieces.extend(later).dropped, 0);
    }
    assert_eq!(kinds(&pieces), kinds(&whole));
    let names = |pending: &Pending| -> Vec<String> {
        pending.named().iter().map(|kill| kill.id.clone()).collect()
    };
    assert_eq!(names(&pieces), names(&whole));
    assert_eq!(pieces.duplicates(), whole.duplicates());
    assert!(pieces.state().eq(whole.state()));
    assert!(pieces.gaps().eq(whole.gaps()));
    assert_eq!(pieces.ticket(), whole.ticket());
}

#[test]
fn oldest_are_dropped_and_counted() {
    // Small, since they are many.
    let seen = |numbers: Range<i64>| {
        let small = |number| Report {
            id: kill(number).id,
            ..minimal_report()
        };
        Batch {
            kills: numbers.map(small).collect(),
            ..Batch::default()
        }
    };
    let mut pending = Pending::default();
    let most = i64::try_from(MAX_KILLS).expect("few");
    assert_eq!(pending.add(1, &seen(0..most)).dropped, 0);
    let gaps = Batch {
        gaps: (0..=MAX_GAPS).map(|_| gap_report()).collect(),
        ..seen(most..most + 2)
    };
    assert_eq!(
        pending.add(2, &gaps),
        Backlog {
            kills: MAX_KILLS,
            dropped: 3
        }
    );
    assert_eq!(kinds(&pending)[0].0, kill(2).id);
    // Dropped kills are no duplicates.
    assert_eq!(pending.add(3, &seen(0..1)).dropped, 1);
    assert!(pending.duplicates().is_empty());
    // A mark for a kill that is in the database stays, otherwise the kill would be delivered twice.
    let mut pending = Pending::default();
    let mark = Batch {
        delivered: ids(&kills([9])),
        ..Batch::default()
    };
    assert_eq!(pending.add(1, &mark).dropped, 0);
    assert_eq!(pending.add(2, &seen(100..100 + most)).dropped, 1);
    assert!(
        pending
            .in_order()
            .next()
            .is_some_and(|first| first.is_delivered)
    );
}
