use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::{
    store::{
        Batch,
        testing::{Place, execute, kill, kills, told, write},
    },
    testing,
};

fn read(reader: &Reader, query: &Query, order: Order) -> Vec<Item> {
    let mut items = Vec::new();
    let read: Result<(), ReadError> = reader.read(query, order, |item| {
        items.push(item);
        Ok(true)
    });
    read.expect("read");
    items
}

/// Ids of what is found, oldest first.
fn found(place: &Place, query: &Query) -> Vec<String> {
    let reader = Reader::open(&place.path()).expect("open");
    let items = read(&reader, query, Order::OldestFirst);
    let mut newest = read(&reader, query, Order::NewestFirst);
    newest.reverse();
    assert_eq!(newest, items);
    let id = |item| match item {
        Item::Kill(report, _) => report.id,
        Item::Gap(report) => report.id,
        Item::Unreadable => "unreadable".to_owned(),
    };
    items.into_iter().map(id).collect()
}

/// Far apart, so that each has a row of its own.
fn spread(numbers: impl IntoIterator<Item = i64>) -> Batch {
    told(kills(numbers.into_iter().map(|number| number * 10)))
}

fn at(number: i64) -> Option<Timestamp> {
    kill(number * 10).time
}

#[test]
fn all_is_read_in_the_order_of_time() {
    let place = Place::new();
    let (mut store, _) = place.start();
    let mut numbers: Vec<i64> = (0..600).collect();
    numbers.rotate_left(250);
    write(&mut store, &spread(numbers));
    let expected: Vec<String> = spread(0..600).told;
    // While it is open, and after.
    assert_eq!(found(&place, &Query::default()), expected);
    drop(store);
    assert_eq!(found(&place, &Query::default()), expected);
}

#[test]
fn kills_of_one_moment_are_each_read_once() {
    let place = Place::new();
    let (mut store, _) = place.start();
    let mut reports = kills(0..700);
    for report in &mut reports {
        report.time = kill(0).time;
    }
    let open = Batch {
        kills: reports,
        ..Batch::default()
    };
    write(&mut store, &open);
    assert_eq!(found(&place, &Query::default()).len(), 700);
}

#[test]
fn filters_leave_what_is_asked_for_and_every_gap() {
    let place = Place::new();
    let (mut store, _) = place.start();
    let mut batch = spread(0..5);
    batch.named[1].pod = None;
    batch.named[2].container.as_mut().expect("a container").name = Some("init".to_owned());
    batch.named[3].kill.scope = Scope::System;
    batch.kills.clone_from(&batch.named);
    let mut gap = testing::gap_report();
    gap.time = at(9).expect("a time");
    batch.gaps = vec![gap.clone()];
    write(&mut store, &batch);
    let check = |query: Query, numbers: &[i64]| {
        let mut expected = spread(numbers.iter().copied()).told;
        if query.until.is_none() {
            expected.push(gap.id.clone());
        }
        assert_eq!(found(&place, &query), expected, "{query:?}");
    };
    let all = Query::default;
    let text = |text: &str| Some(text.to_owned());
    check(all(), &[0, 1, 2, 3, 4]);
    check(
        Query {
            since: at(2),
            ..all()
        },
        &[2, 3, 4],
    );
    check(
        Query {
            until: at(2),
            ..all()
        },
        &[0, 1, 2],
    );
    check(
        Query {
            namespace: text("shop"),
            ..all()
        },
        &[0, 2, 3, 4],
    );
    check(
        Query {
            namespace: text("sho"),
            ..all()
        },
        &[],
    );
    check(
        Query {
            pod: text("cart-0"),
            ..all()
        },
        &[0, 2, 3, 4],
    );
    check(
        Query {
            container: text("init"),
            ..all()
        },
        &[2],
    );
    check(
        Query {
            container: text(&testing::CONTAINER_ID[..12]),
            ..all()
        },
        &[0, 1, 2, 3, 4],
    );
    check(
        Query {
            scope: Some(Scope::System),
            ..all()
        },
        &[3],
    );
}

#[test]
fn row_of_many_says_so() {
    let place = Place::new();
    let (mut store, _) = place.start();
    write(&mut store, &told(kills(0..50)));
    let reader = Reader::open(&place.path()).expect("open");
    let items = read(&reader, &Query::default(), Order::OldestFirst);
    let many = Coalesced {
        kills: 30,
        incidents: 30,
        since: kill(20).time.expect("a time"),
    };
    assert_eq!(
        items.last(),
        Some(&Item::Kill(Box::new(kill(49)), Some(many)))
    );
    assert_eq!(items.first(), Some(&Item::Kill(Box::new(kill(0)), None)));
}

#[test]
fn row_that_cannot_be_read_is_told_as_that() {
    let place = Place::new();
    let (mut store, _) = place.start();
    write(&mut store, &spread(0..3));
    execute(
        &mut store,
        "UPDATE kills SET report = '{' WHERE id LIKE '%-a-7'",
    );
    let ids = spread([0, 2]).told;
    assert_eq!(
        found(&place, &Query::default()),
        [&ids[0], "unreadable", &ids[1]]
    );
}

#[test]
fn folder_and_file_and_odd_names_are_opened() {
    let place = Place::new();
    let (mut store, _) = place.start();
    write(&mut store, &spread(0..3));
    Reader::open(&place.config.folder).expect("open the folder");
    drop(store);
    let odd = place.folder.path().join("a copy?mode=rw&x#y%20 \u{e4}.db");
    fs::copy(place.path(), &odd).expect("copy it");
    let reader = Reader::open(&odd).expect("open the copy");
    assert_eq!(
        read(&reader, &Query::default(), Order::OldestFirst).len(),
        3
    );
    assert!(!reader.is_cut());
    // Nothing was left beside it.
    let mut names = fs::read_dir(place.folder.path()).expect("list");
    assert!(names.all(|entry| {
        let name = entry.expect("an entry").file_name();
        !name.to_string_lossy().ends_with("-shm")
    }));
}

#[test]
fn what_is_in_the_log_is_seen_and_a_log_that_cannot_be_read_is_told() {
    let place = Place::new();
    let (mut store, _) = place.start();
    write(&mut store, &spread(0..3));
    let copy = place.folder.path().join("copy.db");
    for suffix in ["", "-wal"] {
        let from = with_suffix(&place.path(), suffix);
        fs::copy(from, with_suffix(&copy, suffix)).expect("copy it");
    }
    let reader = Reader::open(&copy).expect("open the copy");
    assert_eq!(
        read(&reader, &Query::default(), Order::OldestFirst).len(),
        3
    );
    assert!(!reader.is_cut());
    drop((reader, store));
    // All is in the file now. A folder stands for a log that may not be read.
    fs::copy(place.path(), &copy).expect("copy it");
    let log = with_suffix(&copy, "-wal");
    fs::remove_file(&log).expect("remove the log");
    fs::create_dir(&log).expect("make a folder");
    let reader = Reader::open(&copy).expect("open the copy");
    assert!(reader.is_cut());
    assert_eq!(
        read(&reader, &Query::default(), Order::OldestFirst).len(),
        3
    );
}

#[test]
fn what_cannot_be_read_is_an_error_that_says_what_to_do() {
    let place = Place::new();
    let (mut store, _) = place.start();
    write(&mut store, &spread(0..500));
    drop(store);
    let whole = fs::read(place.path()).expect("read it");
    let copy = place.folder.path().join("copy.db");
    let error = |bytes: &[u8]| {
        fs::write(&copy, bytes).expect("write it");
        let read = Reader::open(&copy).and_then(|reader| {
            reader.read(&Query::default(), Order::OldestFirst, |_| {
                Ok::<_, ReadError>(true)
            })
        });
        read.expect_err("not a journal").to_string()
    };
    let garbage = [
        &whole[..32 * 4096],
        &vec![0xa5; 100 * 4096],
        &whole[132 * 4096..],
    ]
    .concat();
    for damaged in [
        &b"no database, and long enough to be told from an empty one"[..],
        &garbage,
        &whole[..5000],
    ] {
        let error = error(damaged);
        assert!(
            error.contains("is damaged") && error.contains(".recover"),
            "{error}"
        );
    }
    assert!(error(b"").contains("there is no journal"));
    let other = Connection::open(place.path()).expect("open");
    other
        .pragma_update(None, "user_version", 9)
        .expect("make it newer");
    drop(other);
    let newer = error(&fs::read(place.path()).expect("read it"));
    assert!(newer.contains("1 is its version"), "{newer}");
    let missing = Reader::open(&place.folder.path().join("nothing")).expect_err("nothing is there");
    assert!(missing.to_string().contains("--state-dir"), "{missing}");
    if !rustix::process::geteuid().is_root() {
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o000)).expect("close it");
        let denied = Reader::open(&copy).expect_err("closed").to_string();
        assert!(denied.contains("sudo"), "{denied}");
    }
}

#[test]
fn default_query_and_filters_use_an_index() {
    let place = Place::new();
    let (store, _) = place.start();
    let plan = |filter: &str| -> String {
        let connection = place.look();
        let sql = format!(
            "EXPLAIN QUERY PLAN SELECT report FROM kills
             WHERE (time_ns, number) < (1, 1) AND time_ns BETWEEN 0 AND 1 {filter}
             ORDER BY time_ns DESC, number DESC LIMIT 9"
        );
        let mut statement = connection.prepare(&sql).expect("prepare");
        let rows = statement
            .query_map([], |row| row.get::<_, String>(3))
            .expect("explain");
        rows.map(|row| row.expect("a row"))
            .collect::<Vec<_>>()
            .join("; ")
    };
    for filter in [
        "",
        "AND (source = 'audit' OR (namespace = 'x' AND pod = 'y'))",
    ] {
        let plan = plan(filter);
        assert!(
            plan.starts_with("SEARCH kills USING INDEX kills_by_time"),
            "{plan}"
        );
    }
    drop(store);
}
