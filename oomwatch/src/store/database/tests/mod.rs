use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::{
    store::{
        Batch,
        testing::{
            Place, change, count, identity, ids, kill, kills, now, pending, told, value, write,
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
fn kills_that_were_not_told_are_open_at_the_next_start() {
    let place = Place::new();
    let (mut store, restored) = place.start();
    assert_eq!(restored.standing, Provenance::First);
    let seen = Batch {
        kills: kills(1..=5),
        ..Batch::default()
    };
    write(&mut store, &seen);
    write(&mut store, &named(&[4, 2]));
    write(&mut store, &named(&[1]));
    let mine = Batch {
        told: ids(&kills([2])),
        ..Batch::default()
    };
    write(&mut store, &mine);
    drop(store);
    let (_, restored) = place.start();
    assert_eq!(restored.standing, Provenance::SameBoot);
    let expected = [
        (RowState::Named, kill(4)),
        (RowState::Named, kill(1)),
        (RowState::New, kill(3)),
        (RowState::New, kill(5)),
    ];
    assert_eq!(restored.open, expected);
}

#[test]
fn turns_go_on_behind_those_of_the_run_before() {
    let place = Place::new();
    let (mut store, _) = place.start();
    write(&mut store, &named(&[3]));
    drop(store);
    let (mut store, _) = place.start();
    write(&mut store, &named(&[1]));
    drop(store);
    let (_, restored) = place.start();
    assert_eq!(
        restored.open,
        [(RowState::Named, kill(3)), (RowState::Named, kill(1))]
    );
}

#[test]
fn names_replace_the_bare_kill() {
    let place = Place::new();
    let (mut store, _) = place.start();
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
    assert_eq!(place.start().1.open, [(RowState::Named, kill(1))]);
}

#[test]
fn kill_that_is_there_is_known_and_stays_as_it_is() {
    let place = Place::new();
    let (mut store, _) = place.start();
    write(&mut store, &told(kills([1])));
    let again = Batch {
        kills: kills([1, 2]),
        ..named(&[1])
    };
    let written = write(&mut store, &again);
    assert_eq!(written.known, ids(&kills([1])));
    assert_eq!(count(&mut store, "SELECT count(*) FROM kills"), 2);
    drop(store);
    assert_eq!(place.start().1.open, [(RowState::New, kill(2))]);
}

#[test]
fn gap_is_one_row_however_often_it_comes() {
    let place = Place::new();
    let (mut store, _) = place.start();
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
fn state_is_as_it_was_last_changed() {
    let place = Place::new();
    let (mut store, _) = place.start();
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
            change("who", "nobody", None),
        ]),
    );
    drop(store);
    let state = place.start().1.state;
    assert_eq!(state, [entry("audit", "a", "1"), entry("who", "a", "3")]);
}

#[test]
fn rows_of_a_part_are_bounded() {
    let place = Place::new();
    let (mut store, _) = place.start();
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
fn all_of_a_batch_is_written_or_nothing() {
    let place = Place::new();
    let (mut store, _) = place.start();
    write(&mut store, &named(&[1]));
    store
        .connection()
        .execute_batch(
            "CREATE TRIGGER t BEFORE INSERT ON state BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        .expect("make a trigger");
    let batch = Batch {
        state: vec![change("cursor", "a", Some("1"))],
        ..told(kills(2..9))
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

/// A journal with an open kill and state of two parts.
fn left_behind() -> Place {
    let place = Place::new();
    let (mut store, _) = place.start();
    let batch = Batch {
        state: vec![
            change("cursor", "a", Some("1")),
            change("who", "a", Some("1")),
        ],
        ..named(&[1])
    };
    write(&mut store, &batch);
    place
}

#[test]
fn reboot_voids_the_state_of_the_boot_alone() {
    let place = left_behind();
    let rebooted = identity("machine", "node-1", "boot-2");
    // As often as nothing is written.
    for _ in 0..2 {
        let (_, restored) = place.start_as(&rebooted);
        assert_eq!(restored.standing, Provenance::Rebooted);
        assert_eq!(restored.state, [entry("who", "a", "1")]);
        assert_eq!(restored.open, [(RowState::Named, kill(1))]);
    }
    let (mut store, _) = place.start_as(&rebooted);
    write(&mut store, &Batch::default());
    drop(store);
    let (_, restored) = place.start_as(&rebooted);
    assert_eq!(restored.standing, Provenance::SameBoot);
    assert_eq!(restored.state, [entry("who", "a", "1")]);
}

#[test]
fn another_machine_or_node_has_the_history_alone() {
    for other in [
        identity("machine", "node-2", "boot-1"),
        identity("clone", "node-1", "boot-1"),
    ] {
        let place = left_behind();
        for _ in 0..2 {
            let (_, restored) = place.start_as(&other);
            assert_eq!(restored.standing, Provenance::Other);
            assert!(restored.state.is_empty() && restored.open.is_empty());
        }
        let (mut store, _) = place.start_as(&other);
        write(&mut store, &Batch::default());
        assert_eq!(
            count(&mut store, "SELECT count(*) FROM kills WHERE state = 2"),
            1
        );
        assert_eq!(count(&mut store, "SELECT count(*) FROM state"), 0);
        drop(store);
        assert_eq!(place.start_as(&other).1.standing, Provenance::SameBoot);
    }
}

#[test]
fn agent_that_comes_to_a_journal_late_goes_on_only_from_its_own() {
    let place = left_behind();
    let open = |identity: &Identity| {
        Store::open(&place.config, identity, OpenMode::Resume, now(2))
            .expect("open")
            .0
    };
    assert!(!open(&place.identity).is_fresh());
    let mut other = place.identity.clone();
    other.run.push('x');
    let mut store = open(&other);
    assert!(store.is_fresh());
    write(&mut store, &Batch::default());
    assert!(!store.is_fresh());
    assert_eq!(count(&mut store, "SELECT count(*) FROM state"), 0);
    assert_eq!(
        count(&mut store, "SELECT count(*) FROM kills WHERE state < 2"),
        0
    );
}

#[test]
fn agent_that_could_only_read_goes_on_from_what_it_read() {
    let place = left_behind();
    let mut other = place.identity.clone();
    other.run.push('x');
    let read = Store::restore_alone(&place.config, &mut other).expect("read alone");
    assert_eq!(read.standing, Provenance::SameBoot);
    let open = |identity: &Identity| {
        Store::open(&place.config, identity, OpenMode::Resume, now(2))
            .expect("open")
            .0
    };
    let mut store = open(&other);
    assert!(!store.is_fresh());
    write(&mut store, &Batch::default());
    let rows = i64::try_from(read.state.len()).expect("few");
    assert_eq!(count(&mut store, "SELECT count(*) FROM state"), rows);
    drop(store);
    // Somebody else wrote meanwhile.
    let mut third = place.identity.clone();
    third.run.push('y');
    let _ = Store::restore_alone(&place.config, &mut third).expect("read alone");
    write(&mut open(&other), &Batch::default());
    drop(place.start());
    let (mut store, _) = place.start();
    write(&mut store, &Batch::default());
    drop(store);
    assert!(open(&third).is_fresh());
}

#[test]
fn files_are_for_their_owner_alone() {
    let place = Place::new();
    let (mut store, _) = place.start();
    write(&mut store, &told(kills([1])));
    let mode = |path: &Path| {
        let metadata = std::fs::metadata(path).expect("look at it");
        metadata.permissions().mode() & 0o7777
    };
    assert_eq!(mode(&place.config.folder), 0o700);
    for suffix in ["", "-wal", "-shm"] {
        let path = files::with_suffix(&place.path(), suffix);
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn write_ahead_log_stays_small_and_goes_at_the_end() {
    let place = Place::new();
    let (mut store, _) = place.start();
    let wal = files::with_suffix(&place.path(), "-wal");
    for start in 0..50 {
        write(&mut store, &told(kills(start * 100..start * 100 + 100)));
        let bytes = std::fs::metadata(&wal).expect("it is there").len();
        assert!(bytes < 2 << 20, "{bytes}");
    }
    drop(store);
    assert_eq!(place.files(), ["oomwatch.db"]);
}

#[test]
fn file_that_is_gone_is_noticed() {
    let place = Place::new();
    let (mut store, _) = place.start();
    write(&mut store, &told(kills([1])));
    assert!(store.is_in_place());
    std::fs::rename(place.path(), place.folder.path().join("moved")).expect("move it");
    assert!(!store.is_in_place());
    std::fs::write(place.path(), "another").expect("make another");
    assert!(!store.is_in_place());
}
