use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{capture::incident::IncidentCheckpoint, testing};

fn kill(number: u64) -> Report {
    Report {
        id: number.to_string(),
        ..testing::minimal_report()
    }
}

fn cursor(position: u64) -> Cursor {
    Cursor {
        generation: "generation".to_owned(),
        position,
        dropped: 0,
        incident: IncidentCheckpoint::default(),
    }
}

fn batch(kills: impl IntoIterator<Item = u64>) -> Batch {
    Batch {
        named: kills.into_iter().map(kill).collect(),
        ..Batch::default()
    }
}

fn answer(ticket: u64, outcome: Outcome, duplicates: &[u64]) -> Answer {
    Answer {
        ticket: Ticket(ticket),
        outcome,
        duplicates: duplicates.iter().map(u64::to_string).collect(),
        needs_full_state: false,
    }
}

/// Batches 1 to 3 with a kill each, and the ring positions 10 to 30.
fn three_batches() -> Unsettled {
    let mut unsettled = Unsettled::default();
    for number in 1..=3 {
        unsettled.submit(Ticket(number), batch([number]), Some(&cursor(10 * number)));
    }
    unsettled
}

/// Ids of the kills that an answer releases, and the positions that are saved and unsaved.
fn settle(unsettled: &mut Unsettled, answer: Answer) -> (Vec<String>, Option<u64>, Option<u64>) {
    let Settled {
        kills,
        saved,
        unsaved,
        ..
    } = unsettled.settle(answer);
    let ids = kills.into_iter().map(|report| report.id).collect();
    let position = |cursor: Option<Cursor>| cursor.map(|cursor| cursor.position);
    (ids, position(saved), position(unsaved))
}

fn ids<const N: usize>(numbers: [u64; N]) -> Vec<String> {
    numbers.map(|number| number.to_string()).to_vec()
}

#[test]
fn saved_batches_release_their_kills_in_order_and_their_newest_position() {
    let mut unsettled = three_batches();
    assert!(unsettled.is_waiting());
    let released = settle(&mut unsettled, answer(2, Outcome::Saved, &[]));
    assert_eq!(released, (ids([1, 2]), Some(20), None));
    assert!(unsettled.is_waiting());
    let released = settle(&mut unsettled, answer(3, Outcome::Saved, &[]));
    assert_eq!(released, (ids([3]), Some(30), None));
    assert!(!unsettled.is_waiting());
}

#[test]
fn duplicate_is_not_released_even_if_it_is_named_later() {
    let mut unsettled = Unsettled::default();
    unsettled.submit(Ticket(1), batch([1]), None);
    unsettled.submit(Ticket(2), batch([2, 3]), None);
    let released = settle(&mut unsettled, answer(1, Outcome::Saved, &[1, 3]));
    assert_eq!(released.0, ids([]));
    let released = settle(&mut unsettled, answer(2, Outcome::Saved, &[]));
    assert_eq!(released.0, ids([2]));
    // The id is forgotten then.
    unsettled.submit(Ticket(3), batch([3]), None);
    let released = settle(&mut unsettled, answer(3, Outcome::Saved, &[]));
    assert_eq!(released.0, ids([3]));
}

#[test]
fn deferred_batch_releases_its_kills_at_once_and_its_position_when_it_is_saved() {
    let mut unsettled = three_batches();
    let released = settle(&mut unsettled, answer(2, Outcome::Deferred, &[]));
    assert_eq!(released, (ids([1, 2]), None, Some(20)));
    let released = settle(&mut unsettled, answer(2, Outcome::Saved, &[]));
    assert_eq!(released, (ids([]), Some(20), None));
    let released = settle(&mut unsettled, answer(3, Outcome::Saved, &[]));
    assert_eq!(released, (ids([3]), Some(30), None));
}

#[test]
fn deferred_position_is_replaced_by_a_newer_one() {
    let mut unsettled = three_batches();
    settle(&mut unsettled, answer(1, Outcome::Deferred, &[]));
    let released = settle(&mut unsettled, answer(3, Outcome::Deferred, &[]));
    assert_eq!(released, (ids([2, 3]), None, Some(30)));
    let released = settle(&mut unsettled, answer(3, Outcome::Saved, &[]));
    assert_eq!(released, (ids([]), Some(30), None));
}

#[test]
fn position_of_a_batch_that_is_under_way_is_not_released_by_an_earlier_one() {
    // A timeout defers all batches; then the first of them is saved after all.
    let mut unsettled = three_batches();
    settle(&mut unsettled, answer(3, Outcome::Deferred, &[]));
    let released = settle(&mut unsettled, answer(1, Outcome::Saved, &[]));
    assert_eq!(released, (ids([]), None, None));
    assert!(!unsettled.is_waiting());
}

#[test]
fn position_that_did_not_change_is_released_once() {
    let mut unsettled = Unsettled::default();
    unsettled.submit(Ticket(1), batch([]), Some(&cursor(10)));
    unsettled.submit(Ticket(2), batch([]), Some(&cursor(10)));
    let released = settle(&mut unsettled, answer(1, Outcome::Saved, &[]));
    assert_eq!(released.1, Some(10));
    let released = settle(&mut unsettled, answer(2, Outcome::Saved, &[]));
    assert_eq!(released.1, None);
}

#[test]
fn request_for_the_full_state_is_passed_on() {
    let mut unsettled = three_batches();
    for needs_full_state in [true, false] {
        let answer = Answer {
            needs_full_state,
            ..answer(3, Outcome::Saved, &[])
        };
        assert_eq!(unsettled.settle(answer).needs_full_state, needs_full_state);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A batch with this many kills; the ring position advances, or not.
    Submit(u8, bool),
    /// An answer for all batches but this many.
    Answer(u8, bool),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4_u8, any::<bool>()).prop_map(|(kills, advances)| Step::Submit(kills, advances)),
        (0..4_u8, any::<bool>()).prop_map(|(behind, is_saved)| Step::Answer(behind, is_saved)),
    ]
}

proptest! {
    #[test]
    fn every_kill_is_released_once_in_order_and_no_position_before_it_is_saved(
        steps in vec(any_step(), 0..60),
    ) {
        let mut unsettled = Unsettled::default();
        let (mut ticket, mut kills, mut position) = (0_u64, 0_u64, 0_u64);
        // The position of each batch, from ticket 1 on.
        let mut positions = Vec::new();
        let (mut released, mut saved) = (Vec::new(), 0);
        let last = [Step::Submit(1, true), Step::Answer(0, true)];
        for step in steps.into_iter().chain(last) {
            match step {
                Step::Submit(count, advances) => {
                    ticket += 1;
                    position += u64::from(advances);
                    positions.push(position);
                    let first = kills;
                    kills += u64::from(count);
                    let current = cursor(position);
                    unsettled.submit(Ticket(ticket), batch(first..kills), Some(&current));
                }
                Step::Answer(behind, is_saved) => {
                    let up_to = ticket.saturating_sub(behind.into());
                    let outcome = if is_saved { Outcome::Saved } else { Outcome::Deferred };
                    let (ids, now, unsaved) = settle(&mut unsettled, answer(up_to, outcome, &[]));
                    released.extend(ids);
                    let reached = up_to.checked_sub(1).map(|last| positions[usize::try_from(last).expect("few")]);
                    prop_assert!(now.is_none() || unsaved.is_none());
                    prop_assert!(now <= reached && unsaved <= reached);
                    prop_assert!(is_saved || now.is_none());
                    prop_assert!(now.is_none_or(|now| now >= saved));
                    saved = now.unwrap_or(saved);
                }
            }
        }
        let all: Vec<String> = (0..kills).map(|number| number.to_string()).collect();
        prop_assert_eq!(released, all);
        prop_assert_eq!(saved, position);
    }
}
