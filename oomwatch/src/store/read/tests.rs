use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::{
    store::{
        Batch,
        testing::{TempHistory, delivered, execute, kill, kills, write},
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

/// The selected ids, oldest first.
fn found(temp: &TempHistory, query: &Query) -> Vec<String> {
    let reader = Reader::open(&temp.path()).expect("open");
    let items = read(&reader, query, Order::OldestFirst);
    let mut newest = read(&reader, query, Order::NewestFirst);
    newest.reverse();
    assert_eq!(newest, items);
    let id = |item| match item {
        Item::Kill(report, _) => report.id,
        Item::Gap(report) => report.id,
        Item::Unreadable(number) => format!("unreadable {number}"),
    };
    items.into_iter().map(id).collect()
}

/// Kills ten seconds apart, so that each has a row of its own.
fn spread(numbers: impl IntoIterator<Item = i64>) -> Batch {
    delivered(kills(numbers.into_iter().map(|number| number * 10)))
}

fn at(number: i64) -> Option<Timestamp> {
    kill(number * 10).time
}

#[test]
fn rows_are_read_in_the_order_of_time() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    let mut numbers: Vec<i64> = (0..600).collect();
    numbers.rotate_left(250);
    write(&mut store, &spread(numbers));
    let expected: Vec<String> = spread(0..600).delivered;
    // While the agent has the file open, and afterwards.
    assert_eq!(found(&temp, &Query::default()), expected);
    drop(store);
    assert_eq!(found(&temp, &Query::default()), expected);
}

#[test]
fn kills_of_the_same_time_are_each_read_once() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    let mut reports = kills(0..700);
    for report in &mut reports {
        report.time = kill(0).time;
    }
    let open = Batch {
        kills: reports,
        ..Batch::default()
    };
    write(&mut store, &open);
    assert_eq!(found(&temp, &Query::default()).len(), 700);
}

#[test]
fn filters_select_matching_kills_and_every_gap() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
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
        let mut expected = spread(numbers.iter().copied()).delivered;
        if query.until.is_none() {
            expected.push(gap.id.clone());
        }
        assert_eq!(found(&temp, &query), expected, "{query:?}");
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
fn coalesced_row_has_its_counts() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    write(&mut store, &delivered(kills(0..50)));
    let reader = Reader::open(&temp.path()).expect("open");
    let items = read(&reader, &Query::default(), Order::OldestFirst);
    let coalesced = Coalesced {
        kills: 30,
        incidents: 30,
        since: kill(20).time.expect("a time"),
    };
    assert_eq!(
        items.last(),
        Some(&Item::Kill(Box::new(kill(49)), Some(coalesced)))
    );
    assert_eq!(items.first(), Some(&Item::Kill(Box::new(kill(0)), None)));
}

#[test]
fn row_that_cannot_be_decoded_is_unreadable() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    write(&mut store, &spread(0..3));
    execute(
        &mut store,
        "UPDATE kills SET report = '{' WHERE id LIKE '%-a-7'",
    );
    let ids = spread([0, 2]).delivered;
    assert_eq!(
        found(&temp, &Query::default()),
        [&ids[0], "unreadable 2", &ids[1]]
    );
}

#[test]
fn folder_and_file_and_odd_names_are_opened() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    write(&mut store, &spread(0..3));
    Reader::open(&temp.config.folder).expect("open the folder");
    drop(store);
    let odd = temp.folder.path().join("a copy?mode=rw&x#y%20 \u{e4}.db");
    fs::copy(temp.path(), &odd).expect("copy it");
    let reader = Reader::open(&odd).expect("open the copy");
    assert_eq!(
        read(&reader, &Query::default(), Order::OldestFirst).len(),
        3
    );
    assert!(!reader.misses_newest());
    // No files are left beside it.
    let mut names = fs::read_dir(temp.folder.path()).expect("list");
    assert!(names.all(|entry| {
        let name = entry.expect("an entry").file_name();
        !name.to_string_lossy().ends_with("-shm")
    }));
}

#[test]
fn log_is_read_and_an_unreadable_log_is_reported() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    write(&mut store, &spread(0..3));
    let copy = temp.folder.path().join("copy.db");
    for suffix in ["", "-wal"] {
        let from = with_suffix(&temp.path(), suffix);
        fs::copy(from, with_suffix(&copy, suffix)).expect("copy it");
    }
    let reader = Reader::open(&copy).expect("open the copy");
    assert_eq!(
        read(&reader, &Query::default(), Order::OldestFirst).len(),
        3
    );
    assert!(!reader.misses_newest());
    drop((reader, store));
    // Everything is in the file now. A folder in place of the log stands for a log that cannot be read.
    fs::copy(temp.path(), &copy).expect("copy it");
    let log = with_suffix(&copy, "-wal");
    fs::remove_file(&log).expect("remove the log");
    fs::create_dir(&log).expect("create a folder");
    let reader = Reader::open(&copy).expect("open the copy");
    assert!(reader.misses_newest());
    assert_eq!(
        read(&reader, &Query::default(), Order::OldestFirst).len(),
        3
    );
}

#[test]
fn file_that_cannot_be_read_is_an_error_that_says_what_to_do() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    write(&mut store, &spread(0..500));
    drop(store);
    let whole = fs::read(temp.path()).expect("read it");
    let copy = temp.folder.path().join("copy.db");
    let error = |bytes: &[u8]| {
        fs::write(&copy, bytes).expect("write it");
        let read = Reader::open(&copy).and_then(|reader| {
            reader.read(&Query::default(), Order::OldestFirst, |_| {
                Ok::<_, ReadError>(true)
            })
        });
        read.expect_err("not a history database").to_string()
    };
    let garbage = [
        &whole[..32 * 4096],
        &vec![0xa5; 100 * 4096],
        &whole[132 * 4096..],
    ]
    .concat();
    for damaged in [
        &b"not a database, and long enough not to pass for an empty one"[..],
        &garbage,
        &whole[..5000],
    ] {
        let error = error(damaged);
        assert!(
            error.contains("is damaged") && error.contains(".recover"),
            "{error}"
        );
    }
    assert!(error(b"").contains("no history database"));
    let other = Connection::open(temp.path()).expect("open");
    other
        .pragma_update(None, "user_version", 9)
        .expect("set the version");
    drop(other);
    let newer = error(&fs::read(temp.path()).expect("read it"));
    assert!(
        newer.contains(&format!("schema version {VERSION}")),
        "{newer}"
    );
    let missing = Reader::open(&temp.folder.path().join("nothing")).expect_err("no file");
    assert!(missing.to_string().contains("--state-dir"), "{missing}");
    if !rustix::process::geteuid().is_root() {
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o000)).expect("close it");
        let denied = Reader::open(&copy).expect_err("closed").to_string();
        assert!(denied.contains("sudo"), "{denied}");
    }
}

#[test]
fn kills_are_read_with_the_accounts_that_are_kept() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    write(&mut store, &spread(0..3));
    execute(&mut store, "DELETE FROM accounts WHERE number = 2");
    let accounts = || {
        let reader = Reader::open(&temp.path()).expect("open");
        let items = read(&reader, &Query::default(), Order::OldestFirst);
        let accounts = items.into_iter().map(|item| match item {
            Item::Kill(report, _) => report.kill.account.is_some(),
            Item::Gap(_) | Item::Unreadable(_) => panic!("a kill"),
        });
        accounts.collect::<Vec<_>>()
    };
    assert_eq!(accounts(), [true, false, true]);
    // A file that an earlier version wrote.
    execute(&mut store, "DROP TABLE accounts; PRAGMA user_version = 1");
    assert_eq!(accounts(), [false, false, false]);
}

#[test]
fn default_query_and_filters_use_an_index() {
    let temp = TempHistory::new();
    let (store, _) = temp.start();
    let plan = |filter: &str| -> String {
        let connection = temp.connect();
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

#[test]
fn bad_byte_makes_one_row_unreadable() {
    for damage in [
        "report = CAST(CAST(substr(report, 1, 40) AS BLOB) || x'ff' || CAST(substr(report, 42) AS BLOB) AS TEXT)",
        "report = CAST(report AS BLOB)",
        "report = substr(report, 2)",
        "source = CAST(x'80' AS TEXT)",
        "source = x'80'",
        "kills = 'x'",
        "incidents = x'00'",
        "since_ns = 'x'",
    ] {
        let temp = TempHistory::new();
        let (mut store, _) = temp.start();
        write(&mut store, &spread(0..3));
        let damaging = format!("UPDATE kills SET {damage} WHERE number = 2");
        execute(&mut store, &damaging);
        drop(store);
        let mut expected = spread(0..3).delivered;
        expected[1] = "unreadable 2".to_owned();
        assert_eq!(found(&temp, &Query::default()), expected, "{damage}");
        // Nor is the agent's start prevented, or its history moved away.
        let (store, _) = temp.start();
        drop(store);
        assert_eq!(found(&temp, &Query::default()), expected, "{damage}");
    }
}
