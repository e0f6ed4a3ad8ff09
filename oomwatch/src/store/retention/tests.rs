use std::time::Duration;

use super::{super::testing::*, *};
use crate::{model::persist::clock::PersistentClock, store::Batch};

fn prune_all(store: &mut Store, config: &Config, hours: i64) {
    let mut steps = 0;
    while store.prune(config, 0, now(hours)).expect("prune") {
        steps += 1;
        assert!(steps < 1000, "pruning does not end");
    }
}

/// Kills ten seconds apart, so that each has a row of its own.
fn spread(numbers: impl IntoIterator<Item = i64>) -> Batch {
    delivered(kills(numbers.into_iter().map(|number| number * 10)))
}

#[test]
fn rows_that_are_too_old_are_deleted() {
    let temp = TempHistory::new();
    let config = Config {
        max_age: Duration::from_hours(10),
        ..temp.config.clone()
    };
    let (mut store, _) = temp.start();
    for hours in [0, 5, 9] {
        let batch = pending(&spread(hours * 100..hours * 100 + 30));
        store.write(&batch, now(hours)).expect("write");
    }
    prune_all(&mut store, &config, 10);
    assert_eq!(count(&mut store, "SELECT count(*) FROM kills"), 90);
    prune_all(&mut store, &config, 11);
    assert_eq!(count(&mut store, "SELECT count(*) FROM kills"), 60);
    prune_all(&mut store, &config, 1000);
    assert_eq!(count(&mut store, "SELECT count(*) FROM kills"), 0);
}

#[test]
fn calendar_that_jumps_deletes_nothing() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    let ahead = ClockSample {
        unix_ns: u64::MAX / 4,
        ..now(1)
    };
    write(&mut store, &spread(0..30));
    store
        .write(&pending(&spread(30..60)), ahead)
        .expect("write");
    assert!(!store.prune(&temp.config, 0, ahead).expect("prune"));
    drop(store);
    let rebooted = identity("machine", "node-1", "boot-2");
    let at_boot = ClockSample {
        boot_time_ns: 0,
        unix_ns: u64::MAX / 2,
        ..now(1)
    };
    let opened = Store::open(
        &temp.config,
        &rebooted,
        crate::store::OpenMode::Start,
        at_boot,
    );
    let (mut store, _) = opened.expect("open");
    store
        .write(&pending(&spread(60..90)), at_boot)
        .expect("write");
    assert!(!store.prune(&temp.config, 0, at_boot).expect("prune"));
    assert_eq!(count(&mut store, "SELECT count(*) FROM kills"), 90);
}

#[test]
fn rows_keep_their_age_when_an_agent_with_another_clock_reopens_the_database() {
    let temp = TempHistory::new();
    let config = Config {
        max_age: Duration::from_hours(10),
        ..temp.config.clone()
    };
    let (mut store, _) = temp.start();
    write(&mut store, &spread(0..30));
    drop(store);
    let years_ahead = ClockSample {
        unix_ns: u64::MAX / 4,
        ..now(5)
    };
    for sample in [years_ahead, now(5)] {
        let clock = PersistentClock::restore(None, &temp.identity.boot_id, sample);
        let opened = Store::open(
            &config,
            &temp.identity,
            crate::store::OpenMode::Reopen(&clock),
            sample,
        );
        let (mut store, _) = opened.expect("open");
        store
            .write(&pending(&Batch::default()), sample)
            .expect("write");
        assert!(!store.prune(&config, 0, now(10)).expect("prune"));
        assert_eq!(count(&mut store, "SELECT count(*) FROM kills"), 30);
    }
    let (mut store, _) = temp.start();
    prune_all(&mut store, &config, 12);
    assert_eq!(count(&mut store, "SELECT count(*) FROM kills"), 0);
}

#[test]
fn file_that_is_too_large_loses_its_oldest_rows_and_shrinks() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    for start in 0..10 {
        write(&mut store, &spread(start * 200..start * 200 + 200));
    }
    let before = store.bytes().expect("count");
    let config = Config {
        max_bytes: before / 2,
        ..temp.config.clone()
    };
    prune_all(&mut store, &config, 1);
    let (after, rows) = (
        store.bytes().expect("count"),
        count(&mut store, "SELECT count(*) FROM kills"),
    );
    assert!(after <= config.max_bytes, "{after} of {}", config.max_bytes);
    assert!(rows > 500, "{rows}");
    assert_eq!(
        count(
            &mut store,
            "SELECT max(number) - min(number) + 1 FROM kills"
        ),
        rows
    );
    assert_eq!(count(&mut store, "SELECT max(number) FROM kills"), 2000);
    let pages = u64::try_from(count(&mut store, "PRAGMA page_count")).expect("pages");
    assert!(pages * 4096 <= after + (1 << 20), "{pages} pages");
}

#[test]
fn undelivered_kills_and_state_are_not_pruned() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    let open = Batch {
        kills: kills(0..10),
        state: vec![change("who", "a", Some("1"))],
        ..Batch::default()
    };
    write(&mut store, &open);
    write(&mut store, &spread(10..50));
    let config = Config {
        max_bytes: 0,
        max_age: Duration::ZERO,
        ..temp.config.clone()
    };
    prune_all(&mut store, &config, 5000);
    assert_eq!(count(&mut store, "SELECT count(*) FROM kills"), 10);
    assert_eq!(count(&mut store, "SELECT count(*) FROM state"), 1);
}

#[test]
fn step_is_small_but_keeps_up_with_what_is_written() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    write(&mut store, &spread(0..2000));
    let config = Config {
        max_bytes: 0,
        ..temp.config.clone()
    };
    assert!(store.prune(&config, 100, now(1)).expect("prune"));
    assert_eq!(count(&mut store, "SELECT count(*) FROM kills"), 2000 - STEP);
    assert!(store.prune(&config, 600, now(1)).expect("prune"));
    assert_eq!(
        count(&mut store, "SELECT count(*) FROM kills"),
        2000 - STEP - 1200
    );
}

#[test]
fn accounts_go_before_kills() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    write(&mut store, &spread(0..300));
    let kills = |store: &mut Store| count(store, "SELECT count(*) FROM kills");
    let accounts = |store: &mut Store| count(store, "SELECT count(*) FROM accounts");
    assert_eq!((kills(&mut store), accounts(&mut store)), (300, 300));
    let config = Config {
        max_bytes: store.bytes().expect("size") - 1,
        ..temp.config.clone()
    };
    prune_all(&mut store, &config, 1);
    assert_eq!((kills(&mut store), accounts(&mut store)), (300, 0));
}

#[test]
fn newest_accounts_are_kept() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    execute(
        &mut store,
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5100)
         INSERT INTO accounts (incident, account) SELECT 'i' || i, '{}' FROM n",
    );
    write(&mut store, &spread(0..1));
    assert_eq!(count(&mut store, "SELECT count(*) FROM accounts"), 5000);
    let newest = "SELECT count(*) FROM accounts WHERE incident = '0f1e2d3c-0'";
    assert_eq!(count(&mut store, newest), 1);
}

#[test]
fn members_of_a_group_share_an_account_and_names_replace_none() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    let mut group = kills(0..20);
    for member in &mut group {
        member.incident = "0f1e2d3c-7".to_owned();
    }
    let named = group.clone();
    for member in &mut group {
        member.explanation = None;
    }
    let accounts = "SELECT count(*) FROM accounts";
    let owners = "SELECT count(*) FROM accounts WHERE account LIKE '%cgroup_path%'";
    write(
        &mut store,
        &Batch {
            kills: group,
            ..Batch::default()
        },
    );
    assert_eq!(
        (count(&mut store, accounts), count(&mut store, owners)),
        (1, 0)
    );
    write(&mut store, &delivered(named));
    assert_eq!(
        (count(&mut store, accounts), count(&mut store, owners)),
        (1, 1)
    );
}
