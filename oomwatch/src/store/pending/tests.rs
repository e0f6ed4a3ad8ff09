use super::{super::testing::*, *};
use crate::testing::gap_report;

fn add(pending: &mut Pending, ticket: u64, batch: &Batch) {
    assert_eq!(pending.add(ticket, batch).lost, 0);
}

/// Of each kill its id, and whether it is new, named and told.
fn kinds(pending: &Pending) -> Vec<(String, bool, bool, bool)> {
    let kinds = pending.in_order().map(|waiting| {
        let Waiting {
            id,
            is_new,
            named,
            is_told,
            ..
        } = waiting;
        (id.clone(), *is_new, named.is_some(), *is_told)
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
fn kill_is_there_once_as_far_as_it_has_come() {
    let mut pending = Pending::default();
    assert!(pending.is_empty());
    add(&mut pending, 1, &seen([1, 2]));
    add(&mut pending, 2, &named([2]));
    let told = Batch {
        told: ids(&kills([2, 7])),
        ..Batch::default()
    };
    add(&mut pending, 3, &told);
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
fn kill_that_comes_twice_is_known() {
    let mut pending = Pending::default();
    add(&mut pending, 1, &seen([1]));
    add(&mut pending, 2, &seen([2, 1]));
    assert_eq!(pending.known(), ids(&kills([1])));
    assert_eq!(pending.kills(), 2);
}

#[test]
fn names_keep_their_order_and_the_last_of_a_row_wins() {
    let mut pending = Pending::default();
    add(&mut pending, 1, &seen([1, 2, 3]));
    add(&mut pending, 2, &named([3, 1]));
    add(&mut pending, 3, &named([2]));
    let order: Vec<&str> = pending
        .named()
        .iter()
        .map(|waiting| waiting.id.as_str())
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
fn rows_that_come_and_go_while_nothing_is_written_leave_no_trace() {
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
        assert_eq!(pending.extend(later).lost, 0);
    }
    assert_eq!(pending.state().count(), 0);
    // One that is in the journal is to be removed there, and stays so if it comes anew.
    add(&mut pending, 100, &batch("a", None, false));
    add(&mut pending, 101, &batch("a", Some("3"), true));
    add(&mut pending, 102, &batch("a", None, false));
    assert_eq!(pending.state().collect::<Vec<_>>(), [("who", "a", None)]);
}

#[test]
fn what_came_later_goes_behind_what_could_not_be_written() {
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
        told(kills([4, 5])),
        named([3]),
        seen([2, 6]),
        state("2"),
        Batch {
            told: ids(&kills([2, 3])),
            gaps: vec![gap_report()],
            ..Batch::default()
        },
    ];
    for (batch, ticket) in batches.iter().zip(1..) {
        add(&mut whole, ticket, batch);
        let mut later = Pending::default();
        add(&mut later, ticket, batch);
        assert_eq!(pieces.extend(later).lost, 0);
    }
    assert_eq!(kinds(&pieces), kinds(&whole));
    let names = |pending: &Pending| -> Vec<String> {
        pending
            .named()
            .iter()
            .map(|waiting| waiting.id.clone())
            .collect()
    };
    assert_eq!(names(&pieces), names(&whole));
    assert_eq!(pieces.known(), whole.known());
    assert!(pieces.state().eq(whole.state()));
    assert!(pieces.gaps().eq(whole.gaps()));
    assert_eq!(pieces.ticket(), whole.ticket());
}

#[test]
fn oldest_are_given_up_and_counted() {
    let mut pending = Pending::default();
    let most = i64::try_from(MAX_KILLS).expect("few");
    assert_eq!(pending.add(1, &seen(0..most)).lost, 0);
    let gaps = Batch {
        gaps: (0..=MAX_GAPS).map(|_| gap_report()).collect(),
        ..seen([most, most + 1])
    };
    assert_eq!(
        pending.add(2, &gaps),
        Load {
            kills: MAX_KILLS,
            lost: 3
        }
    );
    assert_eq!(kinds(&pending)[0].0, kill(2).id);
    // They are no longer known, but new.
    assert_eq!(pending.add(3, &seen([0])).lost, 1);
    assert!(pending.known().is_empty());
    // A mark for a row that was written stays, or that kill would be told again.
    let mut pending = Pending::default();
    let mark = Batch {
        told: ids(&kills([9])),
        ..Batch::default()
    };
    assert_eq!(pending.add(1, &mark).lost, 0);
    assert_eq!(pending.add(2, &seen(100..100 + most)).lost, 1);
    assert!(pending.in_order().next().is_some_and(|first| first.is_told));
}
