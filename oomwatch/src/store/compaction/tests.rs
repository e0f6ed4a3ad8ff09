use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};

use super::{super::testing::*, *};
use crate::{
    model::report::Report,
    store::{Batch, Store, database::begin},
    testing,
};

/// Kills, incidents, and the seconds of the first and the last kill of the coalesced row.
fn coalesced(store: &mut Store) -> (i64, i64, i64, i64) {
    let sql = "SELECT kills, incidents, since_ns / 1000000000, time_ns / 1000000000 FROM kills WHERE since_ns IS NOT NULL";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    store.connection().query_row(sql, [], row).expect("one row")
}

#[test]
fn further_kills_of_a_minute_are_one_row_with_exact_counts() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    write(&mut store, &delivered(kills(0..21)));
    assert_eq!(count(&mut store, "SELECT count(*) FROM kills"), 21);
    write(&mut store, &delivered(kills(21..40)));
    write(&mut store, &delivered(kills(40..60)));
    assert_eq!(count(&mut store, "SELECT count(*) FROM kills"), 21);
    assert_eq!(count(&mut store, "SELECT sum(kills) FROM kills"), 60);
    let first = kill(20).time.expect("a time").as_second();
    assert_eq!(coalesced(&mut store), (40, 40, first, first + 39));
    let newest: String = value(
        store.connection(),
        "SELECT report FROM kills WHERE since_ns IS NOT NULL",
    );
    assert_eq!(
        crate::store::codec::to_report(&newest).expect("read").id,
        kill(59).id
    );
}

#[test]
fn next_minute_and_another_container_have_rows_of_their_own() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    let of_another = |mut report: Report| {
        report.id.push_str("-other");
        report.container.as_mut().expect("a container").id = "another".to_owned();
        report
    };
    write(&mut store, &delivered(kills(0..59)));
    let others: Vec<Report> = kills(0..59).into_iter().map(of_another).collect();
    write(&mut store, &delivered(others));
    assert_eq!(count(&mut store, "SELECT count(*) FROM kills"), 42);
    write(&mut store, &delivered(kills(60..70)));
    assert_eq!(count(&mut store, "SELECT count(*) FROM kills"), 52);
    assert_eq!(count(&mut store, "SELECT sum(kills) FROM kills"), 128);
}

#[test]
fn undelivered_kill_keeps_its_row() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    let named = Batch {
        named: kills(0..50),
        ..Batch::default()
    };
    write(&mut store, &named);
    assert_eq!(count(&mut store, "SELECT count(*) FROM kills"), 50);
}

#[test]
fn merged_kill_is_recognised_as_a_duplicate() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    write(&mut store, &delivered(kills(0..40)));
    drop(store);
    let (mut store, _) = temp.start();
    let mut written = write(&mut store, &delivered(kills(0..41)));
    let mut expected = ids(&kills(0..40));
    written.duplicates.sort();
    expected.sort();
    assert_eq!(written.duplicates, expected);
    assert_eq!(count(&mut store, "SELECT sum(kills) FROM kills"), 41);
}

#[test]
fn incident_is_counted_once_in_whichever_rows_its_kills_are() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    // The twentieth to the twenty-fifth are one group, and so are the last two.
    let incident = |number: i64| match number {
        19..25 => 19,
        29..31 => 29,
        other => other,
    };
    let mut reports = kills(0..31);
    for (report, number) in reports.iter_mut().zip(0..) {
        report.incident = incident(number).to_string();
    }
    write(&mut store, &delivered(reports));
    let (kills, incidents, ..) = coalesced(&mut store);
    // 21 to 31: the group's are counted in the rows before, the last two are one.
    assert_eq!((kills, incidents), (11, 1 + 5));
}

#[test]
fn ids_of_merged_kills_are_bounded() {
    let temp = TempHistory::new();
    let (mut store, _) = temp.start();
    let transaction = begin(store.connection()).expect("begin");
    let kept = i64::try_from(MAX_MERGED).expect("few");
    for number in 1..=2 * kept {
        transaction
            .execute(
                "INSERT INTO merged VALUES (?1, ?2)",
                params![number.to_string(), number],
            )
            .expect("insert");
    }
    let mut merged = 2 * MAX_MERGED;
    prune_merged_ids(&transaction, &mut merged).expect("forget");
    assert_eq!(merged, MAX_MERGED);
    assert!(is_merged(&transaction, &(kept + 1).to_string()).expect("look"));
    assert!(!is_merged(&transaction, &kept.to_string()).expect("look"));
}

/// Something that happens to a history database.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// This many kills of this container are captured, in one incident or each in its own.
    Kills(u8, u8, bool),
    /// All kills without names get their names.
    Name,
    /// This many kills are delivered.
    Deliver(u8),
    /// All kills are written a second time.
    Repeat,
    Restart,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..40_u8, 0..2_u8, any::<bool>()).prop_map(|(kills, owner, group)| Step::Kills(kills, owner, group)),
        3 => Just(Step::Name),
        3 => (1..60_u8).prop_map(Step::Deliver),
        1 => Just(Step::Repeat),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn sums_are_exact_whatever_happens(steps in vec(any_step(), 1..16)) {
        let temp = TempHistory::new();
        let (mut store, _) = temp.start();
        let (mut all, mut bare, mut open) = (Vec::new(), Vec::new(), Vec::new());
        let mut incidents = BTreeSet::new();
        for step in steps {
            match step {
                Step::Kills(kills, owner, is_group) => {
                    let first = all.len();
                    for number in first..first + usize::from(kills) {
                        let mut report = kill(i64::try_from(number).expect("few"));
                        // Ten kills per second.
                        let tenths = i64::try_from(number).expect("few");
                        report.time = Some(testing::timestamp(1_790_000_040 + tenths / 10, 0));
                        report.container.as_mut().expect("a container").id = format!("c{owner}");
                        report.incident = if is_group { first } else { number }.to_string();
                        incidents.insert((owner, report.incident.clone()));
                        all.push(report.clone());
                        bare.push(report);
                    }
                    let kills = bare[bare.len() - usize::from(kills)..].to_vec();
                    let duplicates = write(&mut store, &Batch { kills, ..Batch::default() }).duplicates;
                    prop_assert!(duplicates.is_empty());
                }
                Step::Name => {
                    let named = std::mem::take(&mut bare);
                    open.extend(named.clone());
                    write(&mut store, &Batch { named, ..Batch::default() });
                }
                Step::Deliver(count) => {
                    let delivered = open.drain(..open.len().min(count.into())).map(|report: Report| report.id);
                    let delivered = delivered.collect();
                    write(&mut store, &Batch { delivered, ..Batch::default() });
                }
                Step::Repeat => {
                    let written = write(&mut store, &delivered(all.clone()));
                    prop_assert_eq!(written.duplicates.len(), all.len());
                    // Kills that are delivered a second time stay delivered.
                    bare.clear();
                    open.clear();
                }
                Step::Restart => {
                    drop(store);
                    let (again, restored) = temp.start();
                    store = again;
                    let expected: Vec<Report> = open.iter().chain(&bare).cloned().collect();
                    let found: Vec<Report> = restored.undelivered.into_iter().map(|(_, report)| report).collect();
                    prop_assert_eq!(found, expected);
                }
            }
            let sum = count(&mut store, "SELECT coalesce(sum(kills), 0) FROM kills");
            prop_assert_eq!(sum, i64::try_from(all.len()).expect("few"));
        }
        // All are delivered in the end, which counts the incidents.
        open.append(&mut bare);
        write(&mut store, &delivered(open));
        let most = count(&mut store, "SELECT coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM kills GROUP BY owner, time_ns / 60000000000)");
        prop_assert!(most <= MAX_ROWS + 1, "{}", most);
        let own: i64 = value(store.connection(), "SELECT count(DISTINCT owner || incident) FROM kills WHERE since_ns IS NULL");
        let merged: i64 = value(store.connection(), "SELECT coalesce(sum(incidents), 0) FROM kills WHERE since_ns IS NOT NULL");
        let incidents = i64::try_from(incidents.len()).expect("few");
        // The row that became many's may hold the rest of a group that began before it.
        let rows: i64 = value(store.connection(), "SELECT count(*) FROM kills WHERE since_ns IS NOT NULL");
        prop_assert!((incidents..=incidents + rows).contains(&(own + merged)), "{} {} {}", own, merged, incidents);
    }
}
