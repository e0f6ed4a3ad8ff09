use std::{fs, os::unix::fs::FileExt as _};

use super::{super::testing::*, *};

fn open(place: &Place) -> (History, Answers, Restored) {
    History::open(place.config.clone(), place.identity.clone())
}

/// The answers until one says that this is saved: what was known, and whether one was fresh.
async fn saved(answers: &mut Answers, ticket: Ticket) -> (Vec<String>, bool) {
    let (mut all, mut is_any_fresh) = (Vec::new(), false);
    loop {
        let Answer {
            ticket: up_to,
            outcome,
            known,
            is_fresh,
        } = answers.next().await;
        all.extend(known);
        is_any_fresh |= is_fresh;
        if outcome == Outcome::Saved && up_to >= ticket {
            return (all, is_any_fresh);
        }
    }
}

fn sum(place: &Place) -> i64 {
    value(&place.look(), "SELECT coalesce(sum(kills), 0) FROM kills")
}

#[tokio::test]
async fn what_is_written_is_answered_and_there() {
    let place = Place::new();
    let (journal, mut answers, restored) = open(&place);
    assert_eq!(restored.standing, Provenance::First);
    let first = journal.write(&told(kills(0..5)));
    assert_eq!(saved(&mut answers, first).await, (Vec::new(), false));
    assert_eq!(sum(&place), 5);
    let second = journal.write(&told(kills(4..7)));
    assert!(second > first);
    assert_eq!(saved(&mut answers, second).await, (ids(&kills([4])), false));
    let status = journal.status();
    assert_eq!(
        (status.failure, status.errors, status.lost, status.waiting),
        (None, 0, 0, 0)
    );
    assert!(status.bytes > 4096, "{}", status.bytes);
    journal.close().await;
    assert_eq!(place.files(), ["oomwatch.db"]);
    assert_eq!(sum(&place), 7);
}

#[tokio::test]
async fn what_waits_at_the_end_is_written() {
    let place = Place::new();
    let (journal, _answers, _) = open(&place);
    for number in 0..200 {
        let _ = journal.write(&told(kills([number])));
    }
    journal.close().await;
    assert_eq!(sum(&place), 200);
}

#[tokio::test]
async fn what_comes_while_it_writes_is_one_transaction() {
    let place = Place::new();
    let (journal, mut answers, _) = open(&place);
    let first = journal.write(&told(kills([0])));
    saved(&mut answers, first).await;
    // Another has the file while these come.
    let other = place.look();
    other
        .execute_batch("BEGIN IMMEDIATE")
        .expect("lock the file");
    let tickets: Vec<Ticket> = (1..=100)
        .map(|number| journal.write(&told(kills([number]))))
        .collect();
    other.execute_batch("COMMIT").expect("unlock it");
    let mut seen = 0;
    loop {
        seen += 1;
        if Some(&answers.next().await.ticket) == tickets.last() {
            break;
        }
    }
    // The one that met the lock, and the rest.
    assert!(seen <= 2, "{seen} transactions");
    assert_eq!(sum(&place), 101);
}

#[tokio::test]
async fn folder_that_cannot_be_used_is_tried_again() {
    let place = Place::new();
    fs::write(&place.config.folder, "in the way").expect("make a file");
    let (journal, mut answers, restored) = open(&place);
    assert_eq!(restored.standing, Provenance::Unusable);
    let why = journal.status().failure.expect("a failure");
    assert!(
        why.starts_with(&format!("use {}: ", place.config.folder.display())),
        "{why}"
    );
    let ticket = journal.write(&told(kills(0..3)));
    let answer = answers.next().await;
    assert_eq!((answer.ticket, answer.outcome), (ticket, Outcome::Kept));
    assert_eq!(journal.status().waiting, 3);
    // The end does not wait for the time at which it would be tried again.
    fs::remove_file(&place.config.folder).expect("make room");
    journal.close().await;
    let answer = answers.next().await;
    assert_eq!(
        (answer.ticket, answer.outcome, answer.is_fresh),
        (ticket, Outcome::Saved, true)
    );
    assert_eq!(sum(&place), 3);
}

#[tokio::test]
async fn file_that_is_removed_is_made_anew_and_told() {
    let place = Place::new();
    let (journal, mut answers, _) = open(&place);
    let ticket = journal.write(&told(kills([0])));
    saved(&mut answers, ticket).await;
    fs::remove_dir_all(&place.config.folder).expect("remove all");
    let ticket = journal.write(&told(kills([1, 2])));
    assert_eq!(saved(&mut answers, ticket).await, (Vec::new(), true));
    let ticket = journal.write(&told(kills([3])));
    assert_eq!(saved(&mut answers, ticket).await, (Vec::new(), false));
    assert_eq!(sum(&place), 3);
}

#[tokio::test]
async fn damage_costs_no_kill_that_comes_then() {
    let place = Place::new();
    let (mut store, _) = place.start();
    write(&mut store, &told(kills(0..2000)));
    drop(store);
    let (journal, mut answers, _) = open(&place);
    let file = fs::File::options()
        .write(true)
        .open(place.path())
        .expect("open");
    let pages = file.metadata().expect("look at it").len() / 4096;
    for page in 8..pages {
        file.write_all_at(&[0xa5; 4096], page * 4096)
            .expect("write garbage");
    }
    let ticket = journal.write(&told(kills(5000..5100)));
    assert_eq!(saved(&mut answers, ticket).await, (Vec::new(), true));
    assert_eq!(sum(&place), 100);
    assert_eq!(journal.status().failure, None);
    journal.close().await;
    let aside = place
        .files()
        .into_iter()
        .find(|name| name.contains("damaged"));
    assert!(aside.is_some(), "{:?}", place.files());
}
