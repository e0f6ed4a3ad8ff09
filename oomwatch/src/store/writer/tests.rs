use std::{fs, os::unix::fs::FileExt as _};

use super::{super::testing::*, *};

fn open(temp: &TempHistory) -> (History, Answers, Restored) {
    History::open(temp.config.clone(), temp.identity.clone())
}

/// Waits until the batch is saved. Returns all duplicates, and whether an answer asked for the full state.
async fn saved(answers: &mut Answers, ticket: Ticket) -> (Vec<String>, bool) {
    let (mut all, mut needs_full) = (Vec::new(), false);
    loop {
        let Answer {
            ticket: up_to,
            outcome,
            duplicates,
            needs_full_state,
        } = answers.next().await;
        all.extend(duplicates);
        needs_full |= needs_full_state;
        if outcome == Outcome::Saved && up_to >= ticket {
            return (all, needs_full);
        }
    }
}

fn sum(temp: &TempHistory) -> i64 {
    value(&temp.connect(), "SELECT coalesce(sum(kills), 0) FROM kills")
}

#[tokio::test]
async fn batch_is_answered_once_it_is_in_the_file() {
    let temp = TempHistory::new();
    let (history, mut answers, restored) = open(&temp);
    assert_eq!(restored.provenance, Provenance::First);
    let first = history.write(&delivered(kills(0..5)));
    assert_eq!(saved(&mut answers, first).await, (Vec::new(), false));
    assert_eq!(sum(&temp), 5);
    let second = history.write(&delivered(kills(4..7)));
    assert!(second > first);
    assert_eq!(saved(&mut answers, second).await, (ids(&kills([4])), false));
    let status = history.status();
    assert_eq!(
        (
            status.failure,
            status.errors,
            status.dropped,
            status.pending
        ),
        (None, 0, 0, 0)
    );
    assert!(status.bytes > 4096, "{}", status.bytes);
    history.close().await;
    assert_eq!(temp.files(), ["oomwatch.db"]);
    assert_eq!(sum(&temp), 7);
}

#[tokio::test]
async fn closing_writes_what_is_queued() {
    let temp = TempHistory::new();
    let (history, _answers, _) = open(&temp);
    for number in 0..200 {
        let _ = history.write(&delivered(kills([number])));
    }
    history.close().await;
    assert_eq!(sum(&temp), 200);
}

#[tokio::test]
async fn batches_that_arrive_during_a_transaction_share_the_next() {
    let temp = TempHistory::new();
    let (history, mut answers, _) = open(&temp);
    let first = history.write(&delivered(kills([0])));
    saved(&mut answers, first).await;
    // Another process locks the file while these arrive.
    let other = temp.connect();
    other
        .execute_batch("BEGIN IMMEDIATE")
        .expect("lock the file");
    let tickets: Vec<Ticket> = (1..=100)
        .map(|number| history.write(&delivered(kills([number]))))
        .collect();
    other.execute_batch("COMMIT").expect("unlock it");
    let mut seen = 0;
    loop {
        seen += 1;
        if Some(&answers.next().await.ticket) == tickets.last() {
            break;
        }
    }
    // The one that waited for the lock, and the rest.
    assert!(seen <= 2, "{seen} transactions");
    assert_eq!(sum(&temp), 101);
}

#[tokio::test]
async fn folder_that_cannot_be_used_is_retried() {
    let temp = TempHistory::new();
    fs::write(&temp.config.folder, "in the way").expect("create a file");
    let (history, mut answers, restored) = open(&temp);
    assert_eq!(restored.provenance, Provenance::Unusable);
    let why = history.status().failure.expect("a failure");
    assert!(
        why.starts_with(&format!("failed to use {}: ", temp.config.folder.display())),
        "{why}"
    );
    let ticket = history.write(&delivered(kills(0..3)));
    let answer = answers.next().await;
    assert_eq!((answer.ticket, answer.outcome), (ticket, Outcome::Deferred));
    assert_eq!(history.status().pending, 3);
    // Closing does not wait for the next retry.
    fs::remove_file(&temp.config.folder).expect("make room");
    history.close().await;
    let answer = answers.next().await;
    assert_eq!(
        (answer.ticket, answer.outcome, answer.needs_full_state),
        (ticket, Outcome::Saved, true)
    );
    assert_eq!(sum(&temp), 3);
}

#[tokio::test]
async fn removed_file_is_recreated_and_all_state_is_asked_for() {
    let temp = TempHistory::new();
    let (history, mut answers, _) = open(&temp);
    let ticket = history.write(&delivered(kills([0])));
    saved(&mut answers, ticket).await;
    fs::remove_dir_all(&temp.config.folder).expect("remove all");
    let ticket = history.write(&delivered(kills([1, 2])));
    assert_eq!(saved(&mut answers, ticket).await, (Vec::new(), true));
    let ticket = history.write(&delivered(kills([3])));
    assert_eq!(saved(&mut answers, ticket).await, (Vec::new(), false));
    assert_eq!(sum(&temp), 3);
}

#[tokio::test]
async fn kills_that_arrive_after_damage_are_kept() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    write(&mut store, &delivered(kills(0..500)));
    drop(store);
    let (history, mut answers, _) = open(&temp);
    let file = fs::File::options()
        .write(true)
        .open(temp.path())
        .expect("open");
    let pages = file.metadata().expect("read its metadata").len() / 4096;
    for page in 8..pages {
        file.write_all_at(&[0xa5; 4096], page * 4096)
            .expect("write garbage");
    }
    let ticket = history.write(&delivered(kills(5000..5100)));
    assert_eq!(saved(&mut answers, ticket).await, (Vec::new(), true));
    assert_eq!(sum(&temp), 100);
    assert_eq!(history.status().failure, None);
    history.close().await;
    let moved = temp
        .files()
        .into_iter()
        .find(|name| name.contains("damaged"));
    assert!(moved.is_some(), "{:?}", temp.files());
}
