//! Damaged files, and files of other programs and versions.

use std::{fs, os::unix::fs::FileExt as _};

use super::*;
use crate::store::testing::execute;

const PAGE: u64 = 4096;

/// Opens a database that cannot be used, which moves it away. Returns the new name.
fn start_replaces(temp: &TempHistory) -> Vec<String> {
    let before = fs::read(temp.path()).expect("read the file");
    let (mut store, restored) = temp.start();
    assert_eq!(restored.provenance, Provenance::Replaced);
    assert!(restored.undelivered.is_empty() && restored.state.is_empty());
    let moved = temp.files().into_iter().filter(|name| {
        let path = temp.config.folder.join(name);
        name.starts_with("oomwatch.db.") && fs::read(path).expect("read it") == before
    });
    let moved: Vec<String> = moved.collect();
    assert_eq!(moved.len(), 1, "{:?}", temp.files());
    // The provenance stays the same until something is written.
    drop(store);
    let (again, restored) = temp.start();
    assert_eq!(restored.provenance, Provenance::Replaced);
    store = again;
    write(&mut store, &delivered(kills([100])));
    drop(store);
    assert_eq!(temp.start().1.provenance, Provenance::SameBoot);
    moved
}

/// A database with kills that was closed.
fn closed(number: i64) -> TempHistory {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    write(&mut store, &delivered(kills(0..number)));
    drop(store);
    temp
}

#[test]
fn file_that_is_not_a_database_is_moved_away() {
    let second = now(0).unix_ns / 1_000_000_000;
    for bytes in [
        &b"not a database, but long enough for its header. ".repeat(9)[..],
        b"short",
    ] {
        let temp = TempHistory::new();
        fs::create_dir(&temp.config.folder).expect("create the folder");
        fs::write(temp.path(), bytes).expect("write it");
        assert_eq!(
            start_replaces(&temp),
            [format!("oomwatch.db.damaged-{second}")]
        );
    }
}

#[test]
fn database_of_another_program_is_moved_away() {
    let temp = TempHistory::new();
    fs::create_dir(&temp.config.folder).expect("create the folder");
    temp.connect()
        .execute_batch("CREATE TABLE t (a)")
        .expect("make it");
    start_replaces(&temp);
}

#[test]
fn truncated_file_is_moved_away() {
    let temp = closed(200);
    let file = fs::File::options()
        .write(true)
        .open(temp.path())
        .expect("open");
    file.set_len(PAGE * 3 + 100).expect("truncate it");
    start_replaces(&temp);
}

#[test]
fn file_with_garbage_in_its_schema_is_moved_away() {
    let temp = closed(10);
    let file = fs::File::options()
        .write(true)
        .open(temp.path())
        .expect("open");
    file.write_all_at(&[0xa5; 2048], 1024)
        .expect("write garbage");
    start_replaces(&temp);
}

#[test]
fn database_of_a_newer_version_is_moved_away_unchanged() {
    let temp = closed(3);
    temp.connect()
        .pragma_update(None, "user_version", 7)
        .expect("set the version");
    assert_eq!(start_replaces(&temp), ["oomwatch.db.version-7"]);
    let moved = temp.config.folder.join("oomwatch.db.version-7");
    let connection = Connection::open(moved).expect("open it");
    assert_eq!(value::<i64>(&connection, "SELECT count(*) FROM kills"), 3);
}

#[test]
fn two_damaged_files_are_kept() {
    let temp = TempHistory::new();
    for round in 0..4 {
        let (mut store, _) = temp.start();
        write(&mut store, &delivered(kills([round])));
        drop(store);
        fs::write(temp.path(), format!("damage {round}")).expect("damage it");
        fs::write(files::with_suffix(&temp.path(), "-wal"), "log").expect("a log");
        temp.start();
    }
    let second = now(0).unix_ns / 1_000_000_000;
    let kept = [2, 3].map(|round| format!("oomwatch.db.damaged-{}", second + round));
    let kept: Vec<String> = kept
        .iter()
        .flat_map(|name| [name.clone(), format!("{name}-wal")])
        .collect();
    let files: Vec<String> = temp
        .files()
        .into_iter()
        .filter(|name| name.contains("damaged"))
        .collect();
    assert_eq!(files, kept);
    let newest = fs::read_to_string(temp.config.folder.join(&kept[2])).expect("read it");
    assert_eq!(newest, "damage 3");
}

#[test]
fn damage_met_while_writing_is_reported_as_damage() {
    let temp = closed(500);
    let (mut store, _) = temp.start();
    let file = fs::File::options()
        .write(true)
        .open(temp.path())
        .expect("open");
    let pages = file.metadata().expect("read its metadata").len() / PAGE;
    for page in 8..pages {
        file.write_all_at(&[0xa5; 4096], page * PAGE)
            .expect("write garbage");
    }
    let batch = Batch {
        state: vec![change("cursor", "a", Some("1"))],
        ..delivered(kills(5000..5100))
    };
    let error = store.write(&pending(&batch), now(1)).expect_err("garbage");
    assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
    let mut store = store
        .replace(&error, &temp.config, now(1))
        .expect("replace it");
    assert!(store.needs_full_state());
    write(&mut store, &batch);
    assert_eq!(count(&mut store, "SELECT sum(kills) FROM kills"), 100);
    assert!(
        temp.files()
            .iter()
            .any(|name| name.starts_with("oomwatch.db.damaged-"))
    );
}

#[test]
fn new_file_without_rows_is_removed_instead_of_moved_away() {
    let temp = TempHistory::new();
    let (store, _) = temp.start();
    let error = StoreError::Damaged("a bug of oomwatch".into());
    let store = store
        .replace(&error, &temp.config, now(1))
        .expect("replace it");
    drop(store);
    assert_eq!(temp.files(), ["oomwatch.db"]);
}

#[test]
fn kill_that_cannot_be_decoded_is_marked_as_delivered() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    write(&mut store, &named(&[1, 2]));
    execute(&mut store, "UPDATE kills SET report = '{' WHERE number = 1");
    drop(store);
    for _ in 0..2 {
        assert_eq!(temp.start().1.undelivered, [(RowState::Named, kill(2))]);
    }
    let delivered: i64 = value(
        &temp.connect(),
        "SELECT count(*) FROM kills WHERE state = 2",
    );
    assert_eq!(delivered, 1);
}

#[test]
fn folder_that_cannot_be_created_is_an_error_with_its_path() {
    let mut temp = TempHistory::new();
    fs::write(&temp.config.folder, "a file").expect("a file in its temp");
    temp.config.folder.push("below");
    let error = Store::open(&temp.config, &temp.identity, OpenMode::Start, now(0));
    let error = error.expect_err("no folder").to_string();
    assert_eq!(
        error,
        format!("failed to use {}", temp.config.folder.display())
    );
}

#[test]
fn write_to_a_full_disk_is_a_temporary_error_and_changes_nothing() {
    let temp = closed(1);
    let (mut store, _) = temp.start();
    let pages: i64 = value(store.connection(), "PRAGMA page_count");
    let bound = |store: &mut Store, pages: i64| {
        store
            .connection()
            .pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0))
            .expect("bound the file");
    };
    bound(&mut store, pages + 2);
    let batch = delivered(kills(1..=500));
    let error = store.write(&pending(&batch), now(1)).expect_err("full");
    assert!(matches!(error, StoreError::Temporary(_)), "{error:?}");
    assert_eq!(count(&mut store, "SELECT sum(kills) FROM kills"), 1);
    bound(&mut store, 1_000_000);
    write(&mut store, &batch);
    assert_eq!(count(&mut store, "SELECT sum(kills) FROM kills"), 501);
}

#[test]
fn bad_byte_costs_one_undelivered_kill_or_one_row_of_the_state() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    let batch = Batch {
        kills: kills(0..3),
        state: vec![
            change("part", "a", Some("1")),
            change("part", "b", Some("2")),
        ],
        ..Batch::default()
    };
    write(&mut store, &batch);
    execute(
        &mut store,
        "UPDATE kills SET report = CAST(x'7bff7d' AS TEXT) WHERE number = 2;
         UPDATE state SET value = CAST(x'31ff' AS TEXT) WHERE key = 'a';
         UPDATE state SET key = CAST(x'62ff' AS TEXT) WHERE key = 'b';",
    );
    drop(store);
    let (_store, restored) = temp.start();
    assert_ne!(restored.provenance, Provenance::Replaced);
    let undelivered: Vec<_> = restored
        .undelivered
        .iter()
        .map(|(_, kill)| &kill.id)
        .collect();
    let all = ids(&kills(0..3));
    assert_eq!(undelivered, [&all[0], &all[2]]);
    let part = restored.state.iter().filter(|entry| entry.part == "part");
    let state: Vec<_> = part
        .map(|entry| (entry.key.as_str(), entry.value.as_str()))
        .collect();
    assert_eq!(state, [("a", ""), ("b\u{fffd}", "2")]);
}
