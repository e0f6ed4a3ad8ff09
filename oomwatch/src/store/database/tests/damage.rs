//! Files that are not as they were written.

use std::{fs, os::unix::fs::FileExt as _};

use super::*;

const PAGE: u64 = 4096;

/// Starts, which sets a file aside; how it is called then.
fn started_anew(place: &Place) -> Vec<String> {
    let before = fs::read(place.path()).expect("read the file");
    let (mut store, restored) = place.start();
    assert_eq!(restored.standing, Provenance::Replaced);
    assert!(restored.open.is_empty() && restored.state.is_empty());
    let aside = place.files().into_iter().filter(|name| {
        let path = place.config.folder.join(name);
        name.starts_with("oomwatch.db.") && fs::read(path).expect("read it") == before
    });
    let aside: Vec<String> = aside.collect();
    assert_eq!(aside.len(), 1, "{:?}", place.files());
    // Until something is written it is told again.
    drop(store);
    let (again, restored) = place.start();
    assert_eq!(restored.standing, Provenance::Replaced);
    store = again;
    write(&mut store, &told(kills([100])));
    drop(store);
    assert_eq!(place.start().1.standing, Provenance::SameBoot);
    aside
}

/// A journal that was closed.
fn closed(number: i64) -> Place {
    let place = Place::new();
    let (mut store, _) = place.start();
    write(&mut store, &told(kills(0..number)));
    drop(store);
    place
}

#[test]
fn what_is_no_database_is_set_aside() {
    let second = now(0).unix_ns / 1_000_000_000;
    for bytes in [
        &b"not a database, but long enough for its header. ".repeat(9)[..],
        b"short",
    ] {
        let place = Place::new();
        fs::create_dir(&place.config.folder).expect("make the folder");
        fs::write(place.path(), bytes).expect("write it");
        assert_eq!(
            started_anew(&place),
            [format!("oomwatch.db.damaged-{second}")]
        );
    }
}

#[test]
fn other_programs_database_is_set_aside() {
    let place = Place::new();
    fs::create_dir(&place.config.folder).expect("make the folder");
    place
        .look()
        .execute_batch("CREATE TABLE t (a)")
        .expect("make it");
    started_anew(&place);
}

#[test]
fn truncated_file_is_set_aside() {
    let place = closed(200);
    let file = fs::File::options()
        .write(true)
        .open(place.path())
        .expect("open");
    file.set_len(PAGE * 3 + 100).expect("truncate it");
    started_anew(&place);
}

#[test]
fn garbage_where_the_tables_are_told_is_set_aside() {
    let place = closed(10);
    let file = fs::File::options()
        .write(true)
        .open(place.path())
        .expect("open");
    file.write_all_at(&[0xa5; 2048], 1024)
        .expect("write garbage");
    started_anew(&place);
}

#[test]
fn journal_of_a_newer_version_is_set_aside_whole() {
    let place = closed(3);
    place
        .look()
        .pragma_update(None, "user_version", 7)
        .expect("make it newer");
    assert_eq!(started_anew(&place), ["oomwatch.db.version-7"]);
    let aside = place.config.folder.join("oomwatch.db.version-7");
    let connection = Connection::open(aside).expect("open it");
    assert_eq!(value::<i64>(&connection, "SELECT count(*) FROM kills"), 3);
}

#[test]
fn two_damaged_files_are_kept() {
    let place = Place::new();
    for round in 0..4 {
        let (mut store, _) = place.start();
        write(&mut store, &told(kills([round])));
        drop(store);
        fs::write(place.path(), format!("damage {round}")).expect("damage it");
        fs::write(files::with_suffix(&place.path(), "-wal"), "log").expect("a log");
        place.start();
    }
    let second = now(0).unix_ns / 1_000_000_000;
    let kept = [2, 3].map(|round| format!("oomwatch.db.damaged-{}", second + round));
    let kept: Vec<String> = kept
        .iter()
        .flat_map(|name| [name.clone(), format!("{name}-wal")])
        .collect();
    let files: Vec<String> = place
        .files()
        .into_iter()
        .filter(|name| name.contains("damaged"))
        .collect();
    assert_eq!(files, kept);
    let newest = fs::read_to_string(place.config.folder.join(&kept[2])).expect("read it");
    assert_eq!(newest, "damage 3");
}

#[test]
fn damage_that_is_met_on_the_way_is_told_as_that() {
    let place = closed(2000);
    let (mut store, _) = place.start();
    let file = fs::File::options()
        .write(true)
        .open(place.path())
        .expect("open");
    let pages = file.metadata().expect("look at it").len() / PAGE;
    for page in 8..pages {
        file.write_all_at(&[0xa5; 4096], page * PAGE)
            .expect("write garbage");
    }
    let batch = Batch {
        state: vec![change("cursor", "a", Some("1"))],
        ..told(kills(5000..5100))
    };
    let error = store.write(&pending(&batch), now(1)).expect_err("garbage");
    assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
    let mut store = store
        .replace(&error, &place.config, now(1))
        .expect("begin anew");
    assert!(store.is_fresh());
    write(&mut store, &batch);
    assert_eq!(count(&mut store, "SELECT sum(kills) FROM kills"), 100);
    assert!(
        place
            .files()
            .iter()
            .any(|name| name.starts_with("oomwatch.db.damaged-"))
    );
}

#[test]
fn new_file_that_is_damaged_at_once_takes_no_older_ones_place() {
    let place = Place::new();
    let (store, _) = place.start();
    let error = StoreError::Damaged("a bug of ours".into());
    let store = store
        .replace(&error, &place.config, now(1))
        .expect("begin anew");
    drop(store);
    assert_eq!(place.files(), ["oomwatch.db"]);
}

#[test]
fn kill_that_cannot_be_read_is_left_to_the_history() {
    let place = Place::new();
    let (mut store, _) = place.start();
    write(&mut store, &named(&[1, 2]));
    crate::store::testing::execute(&mut store, "UPDATE kills SET report = '{' WHERE number = 1");
    drop(store);
    for _ in 0..2 {
        assert_eq!(place.start().1.open, [(RowState::Named, kill(2))]);
    }
    let told: i64 = value(&place.look(), "SELECT count(*) FROM kills WHERE state = 2");
    assert_eq!(told, 1);
}

#[test]
fn folder_that_cannot_be_made_is_an_error_that_names_it() {
    let mut place = Place::new();
    fs::write(&place.config.folder, "a file").expect("a file in its place");
    place.config.folder.push("below");
    let error = Store::open(&place.config, &place.identity, OpenMode::Start, now(0));
    let error = error.expect_err("no folder").to_string();
    assert_eq!(error, format!("use {}", place.config.folder.display()));
}

#[test]
fn full_disk_is_tried_again_and_nothing_is_half_written() {
    let place = closed(1);
    let (mut store, _) = place.start();
    let pages: i64 = value(store.connection(), "PRAGMA page_count");
    let bound = |store: &mut Store, pages: i64| {
        store
            .connection()
            .pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0))
            .expect("bound the file");
    };
    bound(&mut store, pages + 2);
    let batch = told(kills(1..=500));
    let error = store.write(&pending(&batch), now(1)).expect_err("full");
    assert!(matches!(error, StoreError::Later(_)), "{error:?}");
    assert_eq!(count(&mut store, "SELECT sum(kills) FROM kills"), 1);
    bound(&mut store, 1_000_000);
    write(&mut store, &batch);
    assert_eq!(count(&mut store, "SELECT sum(kills) FROM kills"), 501);
}
