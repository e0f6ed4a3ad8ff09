use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::{
    store::{
        Batch,
        testing::{
            TempHistory, change, count, delivered, identity, ids, kill, kills, now, pending, value,
            write,
        },
    },
    testing::gap_report,
};

mod damage;

fn entry(part: &str, key: &str, value: &str) -> Entry {
    Entry {
        part: part.to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

fn named(numbers: &[i64]) -> Batch {
    Batch {
        named: kills(numbers.iter().copied()),
        ..Batch::default()
    }
}

#[test]
fn undelivered_kills_are_restored_at_the_next_start() {
    let temp = TempHistory::new();
    let (mut store, restored) = temp.start();
    assert_eq!(restored.provenance, Provenance::First);
    let seen = Batch {
        kills: kills(1..=5),
        ..Batch::default()
    };
    write(&mut store, &seen);
    write(&mut store, &named(&[4, 2]));
    write(&mut store, &named(&[1]));
    let mine = Batch {
        delivered: ids(&kills([2])),
        ..Batch::default()
    };
    write(&mut store, &mine);
    drop(store);
    let (_, restored) = temp.start();
    assert_eq!(restored.provenance, Provenance::SameBoot);
    let expected = [
        (RowState::Named, kill(4)),
        (RowState::Named, kill(1)),
        (RowState::New, kill(3)),
        (RowState::New, kill(5)),
    ];
    assert_eq!(restored.undelivered, expected);
}

#[test]
fn sequence_numbers_continue_after_a_restart() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    write(&mut store, &named(&[3]));
    drop(store);
    let (mut store, _) = temp.start();
    write(&mut store, &named(&[1]));
    drop(store);
    let (_, restored) = temp.start();
    assert_eq!(
        restored.undelivered,
        [(RowState::Named, kill(3)), (RowState::Named, kill(1))]
    );
}

#[test]
fn names_replace_the_kill_without_names() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    let mut bare = kill(1);
    bare.pod = None;
    let seen = Batch {
        kills: vec![bare],
        ..Batch::default()
    };
    write(&mut store, &seen);
    assert_eq!(
        count(&mut store, "SELECT count(*) FROM kills WHERE pod IS NULL"),
        1
    );
    write(&mut store, &named(&[1]));
    let pod: String = value(store.connection(), "SELECT pod FROM kills");
    assert_eq!(pod, "cart-0");
    drop(store);
    assert_eq!(temp.start().1.undelivered, [(RowState::Named, kill(1))]);
}

#[test]
fn kill_that_is_in_the_database_is_a_duplicate_and_unchanged() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    write(&mut store, &delivered(kills([1])));
    let again = Batch {
        kills: kills([1, 2]),
        ..named(&[1])
    };
    let written = write(&mut store, &again);
    assert_eq!(written.duplicates, ids(&kills([1])));
    assert_eq!(count(&mut store, "SELECT count(*) FROM kills"), 2);
    drop(store);
    assert_eq!(temp.start().1.undelivered, [(RowState::New, kill(2))]);
}

#[test]
fn repeated_gap_is_one_row() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    let batch = Batch {
        gaps: vec![gap_report()],
        ..Batch::default()
    };
    write(&mut store, &batch);
    write(&mut store, &batch);
    assert_eq!(
        count(
            &mut store,
            "SELECT sum(kills) FROM kills WHERE source = 'audit'"
        ),
        3
    );
}

#[test]
fn state_is_restored_as_last_changed() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    let batch = |state: Vec<_>| Batch {
        state,
        ..Batch::default()
    };
    write(
        &mut store,
        &batch(vec![
            change("who", "a", Some("1")),
            change("who", "b", Some("1")),
            change("audit", "a", Some("1")),
        ]),
    );
    write(
        &mut store,
        &batch(vec![
            change("who", "a", Some("2")),
            change("who", "a", Some("3")),
            change("who", "b", None),
            change("who", "missing", None),
        ]),
    );
    drop(store);
    let state = temp.start().1.state;
    assert_eq!(state, [entry("audit", "a", "1"), entry("who", "a", "3")]);
}

#[test]
fn rows_of_a_part_are_bounded() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    let rows = MAX_STATE_ROWS + 3;
    let state = (0..rows).map(|key| change("who", &key.to_string(), Some("1")));
    let batch = Batch {
        state: state.chain([change("audit", "a", Some("1"))]).collect(),
        ..Batch::default()
    };
    assert_eq!(write(&mut store, &batch).refused, 3);
    let freed = Batch {
        state: vec![change("who", "0", None), change("who", "1", Some("2"))],
        ..Batch::default()
    };
    assert_eq!(write(&mut store, &freed).refused, 0);
    let mine = Batch {
        state: vec![
            change("who", "new", Some("1")),
            change("who", "newer", Some("1")),
        ],
        ..Batch::default()
    };
    assert_eq!(write(&mut store, &mine).refused, 1);
    assert_eq!(
        count(&mut store, "SELECT count(*) FROM state"),
        1 + i64::try_from(MAX_STATE_ROWS).expect("few")
    );
}

#[test]
fn batch_is_written_completely_or_not_at_all() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    write(&mut store, &named(&[1]));
    store
        .connection()
        .execute_batch(
            "CREATE TRIGGER t BEFORE INSERT ON state BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        .expect("make a trigger");
    let batch = Batch {
        state: vec![change("cursor", "a", Some("1"))],
        ..delivered(kills(2..9))
    };
    store
        .write(&pending(&batch), now(1))
        .expect_err("the trigger");
    assert_eq!(count(&mut store, "SELECT count(*) FROM kills"), 1);
    store
        .connection()
        .execute_batch("DROP TRIGGER t")
        .expect("drop it");
    write(&mut store, &batch);
    assert_eq!(count(&mut store, "SELECT count(*) FROM kills"), 8);
}

/// A database with an undelivered kill and two parts of state.
fn left_behind() -> TempHistory {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    let batch = Batch {
        state: vec![
            change("cursor", "a", Some("1")),
            change("who", "a", Some("1")),
        ],
        ..named(&[1])
    };
    write(&mut store, &batch);
    temp
}

#[test]
fn reboot_voids_only_the_state_of_the_boot() {
    let temp = left_behind();
    let rebooted = identity("machine", "node-1", "boot-2");
    // The same at each start until something is written.
    for _ in 0..2 {
        let (_, restored) = temp.start_as(&rebooted);
        assert_eq!(restored.provenance, Provenance::Rebooted);
        assert_eq!(restored.state, [entry("who", "a", "1")]);
        assert_eq!(restored.undelivered, [(RowState::Named, kill(1))]);
    }
    let (mut store, _) = temp.start_as(&rebooted);
    write(&mut store, &Batch::default());
    drop(store);
    let (_, restored) = temp.start_as(&rebooted);
    assert_eq!(restored.provenance, Provenance::SameBoot);
    assert_eq!(restored.state, [entry("who", "a", "1")]);
}

#[test]
fn renamed_node_keeps_the_state_of_the_machine_and_what_was_not_delivered() {
    let temp = left_behind();
    let renamed = identity("machine", "node-2", "boot-1");
    for _ in 0..2 {
        let (_, restored) = temp.start_as(&renamed);
        assert_eq!(restored.provenance, Provenance::Renamed);
        assert_eq!(restored.state, [entry("cursor", "a", "1")]);
        assert_eq!(restored.undelivered, [(RowState::Named, kill(1))]);
    }
    let (mut store, _) = temp.start_as(&renamed);
    write(&mut store, &Batch::default());
    drop(store);
    let (_, restored) = temp.start_as(&renamed);
    assert_eq!(restored.provenance, Provenance::SameBoot);
    assert_eq!(restored.state, [entry("cursor", "a", "1")]);
}

#[test]
fn another_machine_gets_the_history_without_the_state() {
    for other in [
        identity("machine", "node-2", "boot-2"),
        identity("clone", "node-1", "boot-1"),
    ] {
        let temp = left_behind();
        for _ in 0..2 {
            let (_, restored) = temp.start_as(&other);
            assert_eq!(restored.provenance, Provenance::Other);
            assert!(restored.state.is_empty() && restored.undelivered.is_empty());
        }
        let (mut store, _) = temp.start_as(&other);
        write(&mut store, &Batch::default());
        assert_eq!(
            count(&mut store, "SELECT count(*) FROM kills WHERE state = 2"),
            1
        );
        assert_eq!(count(&mut store, "SELECT count(*) FROM state"), 0);
        drop(store);
        assert_eq!(temp.start_as(&other).1.provenance, Provenance::SameBoot);
    }
}

#[test]
fn reopening_keeps_only_the_state_of_the_same_process() {
    let temp = left_behind();
    let clock = PersistentClock::restore(None, &temp.identity.boot_id, now(2));
    let open = |identity: &Identity| {
        Store::open(&temp.config, identity, OpenMode::Reopen(&clock), now(2))
            .expect("open")
            .0
    };
    assert!(!open(&temp.identity).needs_full_state());
    let mut other = temp.identity.clone();
    other.run.push('x');
    let mut store = open(&other);
    assert!(store.needs_full_state());
    write(&mut store, &Batch::default());
    assert!(!store.needs_full_state());
    assert_eq!(count(&mut store, "SELECT count(*) FROM state"), 0);
    assert_eq!(
        count(&mut store, "SELECT count(*) FROM kills WHERE state < 2"),
        0
    );
}

#[test]
fn reopening_keeps_the_state_that_was_read_exclusively() {
    let temp = left_behind();
    let mut other = temp.identity.clone();
    other.run.push('x');
    let read =
        Store::restore_exclusive(&temp.config, &mut other, now(2)).expect("read exclusively");
    assert_eq!(read.provenance, Provenance::SameBoot);
    let clock = PersistentClock::restore(None, &temp.identity.boot_id, now(2));
    let open = |identity: &Identity| {
        Store::open(&temp.config, identity, OpenMode::Reopen(&clock), now(2))
            .expect("open")
            .0
    };
    let mut store = open(&other);
    assert!(!store.needs_full_state());
    write(&mut store, &Batch::default());
    let rows = i64::try_from(read.state.len()).expect("few");
    assert_eq!(count(&mut store, "SELECT count(*) FROM state"), rows);
    drop(store);
    // Another process writes before it is reopened.
    let mut third = temp.identity.clone();
    third.run.push('y');
    let _ = Store::restore_exclusive(&temp.config, &mut third, now(2)).expect("read exclusively");
    write(&mut open(&other), &Batch::default());
    drop(temp.start());
    let (mut store, _) = temp.start();
    write(&mut store, &Batch::default());
    drop(store);
    assert!(open(&third).needs_full_state());
}

#[test]
fn files_are_accessible_to_their_owner_only() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    write(&mut store, &delivered(kills([1])));
    let mode = |path: &Path| {
        let metadata = std::fs::metadata(path).expect("read its metadata");
        metadata.permissions().mode() & 0o7777
    };
    assert_eq!(mode(&temp.config.folder), 0o700);
    for suffix in ["", "-wal", "-shm"] {
        let path = files::with_suffix(&temp.path(), suffix);
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn write_ahead_log_stays_small_and_is_removed_on_close() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    let wal = files::with_suffix(&temp.path(), "-wal");
    // Without checkpoints the log would have some 4 MiB.
    for start in 0..15 {
        write(
            &mut store,
            &delivered(kills(start * 100..start * 100 + 100)),
        );
        let bytes = std::fs::metadata(&wal).expect("it is there").len();
        assert!(bytes < 2 << 20, "{bytes}");
    }
    drop(store);
    assert_eq!(temp.files(), ["oomwatch.db"]);
}

#[test]
fn removed_or_replaced_file_is_noticed() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    write(&mut store, &delivered(kills([1])));
    assert!(store.is_in_place());
    std::fs::rename(temp.path(), temp.folder.path().join("moved")).expect("move it");
    assert!(!store.is_in_place());
    std::fs::write(temp.path(), "another").expect("make another");
    assert!(!store.is_in_place());
}
