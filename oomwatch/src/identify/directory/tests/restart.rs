//! Names known before a restart.

use super::*;
use crate::model::{kill::MainProcess, persist::rows::Rows};

fn saved(directory: &mut Directory) -> Rows {
    let mut rows = Rows::default();
    rows.save(directory.changes());
    rows
}

/// A directory with everything about one pod from the API and the runtime.
fn full() -> Directory {
    let mut directory = with_cri();
    directory.set_watch(WatchState::Up);
    insert_all(&mut directory);
    directory
}

fn insert_all(directory: &mut Directory) {
    let at = Instant::now();
    let app = container("app", ContainerKind::Sidecar, &[CONTAINER_ID]);
    let mut known = pod(POD_UID, vec![app]);
    known.events_off = true;
    known.config_hash = Some(HASH.to_owned());
    known.workload = testing::report().workload().cloned();
    directory.insert_pod(known, at);
    let container = RuntimeContainer {
        init_pid: Some(testing::kill().victim.pid),
        ..runtime_container("app")
    };
    directory.insert_container(CONTAINER_ID.to_owned(), container, at);
    directory.insert_sandbox(OTHER_ID.to_owned(), POD_UID.to_owned(), shop("cart-0"), at);
}

fn restored(rows: &Rows, at: Instant) -> Directory {
    let mut directory = Directory::default();
    directory.restore(&rows.entries(), at);
    directory
}

/// A kill of hours ago.
fn late(at: Instant) -> Arrival {
    Arrival { at, killed: None }
}

#[test]
fn kill_while_the_agent_was_down_is_named_from_the_history() {
    let mut before = full();
    let mut expected = report();
    expected.kill.victim.is_namespace_init = None;
    expected.main_process = MainProcess::Unknown;
    let mut report = expected.clone();
    before.identify(&mut expected, now());

    let at = Instant::now();
    let mut after = restored(&saved(&mut before), at);
    assert_eq!(after.identify(&mut report, late(at)), Resolution::Complete);
    assert_eq!(names(&report), CART);
    assert_eq!(report.container, expected.container);
    assert_eq!(report.pod, expected.pod);
    assert!(report.pod.as_ref().is_some_and(|pod| pod.events_off));
    let workload = report.workload().map(ToString::to_string);
    assert_eq!(workload.as_deref(), Some("StatefulSet/cart"));
    assert_eq!(report.main_process, MainProcess::Yes);
    // What is saved already is not saved again.
    assert_eq!(after.changes(), []);
}

#[test]
fn restored_pods_are_not_live() {
    let mut after = restored(&saved(&mut full()), Instant::now());
    after.set_watch(WatchState::Up);
    assert_eq!(after.pod_names(), Some(HashSet::new()));
    assert!(!after.has_pod(POD_UID));
    assert_eq!(after.reply_from_listing(CONTAINER_ID), Reply::NotFound);
}

#[test]
fn static_pod_is_restored_by_its_hash_unless_it_may_be_forged() {
    let rows = saved(&mut full());
    let at = Instant::now();
    let directory = restored(&rows, at);
    let mut report = report();
    report.pod.as_mut().expect("the pod").uid = HASH.to_owned();
    let mut named = report.clone();
    assert_eq!(
        directory.identify(&mut named, late(at)),
        Resolution::Complete
    );
    assert_eq!(names(&named), CART);
    let mut forged = pod("two", vec![]);
    forged.name = shop("forged");
    forged.config_hash = Some(HASH.to_owned());
    let mut before = full();
    before.insert_pod(forged, at);
    let mut directory = restored(&saved(&mut before), at);
    directory.runtime_containers = TtlCache::default();
    directory.statuses = TtlCache::default();
    directory.identify(&mut report, late(at));
    assert_eq!(names(&report)[..2], [None; 2]);
}

#[test]
fn current_source_replaces_restored_objects() {
    let at = Instant::now();
    let rows = saved(&mut full());
    let mut directory = restored(&rows, at);
    directory.set_watch(WatchState::Up);
    directory.begin_pod_listing();
    let app = container("app", ContainerKind::Main, &[CONTAINER_ID]);
    directory.insert_pod(pod(POD_UID, vec![app]), at);
    directory.end_pod_listing(at);
    let mut report = report();
    directory.identify(&mut report, late(at));
    let container = report.container.expect("the container");
    assert_eq!(container.kind, Some(ContainerKind::Main));
    assert!(!report.pod.expect("the pod").events_off);
    assert_eq!(directory.changes().len(), 1);
}

#[test]
fn restored_objects_stay_until_minutes_after_a_listing() {
    let start = Instant::now();
    let after = |minutes| start + Duration::from_mins(minutes);
    let mut rows = saved(&mut full());
    let mut directory = restored(&rows, start);
    directory.set_watch(WatchState::Up);
    // The API server is unreachable for a day.
    directory.remove_pod("other", after(24 * 60));
    directory.insert_sandbox("x".to_owned(), "y".to_owned(), shop("z"), after(24 * 60));
    assert_eq!(rows.entries().len(), 3);
    let is_named = |directory: &Directory| {
        let mut report = report();
        directory.identify(&mut report, late(start));
        names(&report) == CART
    };
    assert!(is_named(&directory));
    directory.begin_pod_listing();
    directory.end_pod_listing(after(24 * 60));
    directory.begin_runtime_listing();
    directory.end_runtime_listing(after(24 * 60));
    directory.remove_pod("other", after(24 * 60 + 10));
    assert!(is_named(&directory));
    directory.remove_pod("other", after(24 * 60 + 11));
    directory.end_runtime_listing(after(24 * 60 + 11));
    assert!(!is_named(&directory));
    rows.save(directory.changes());
    assert_eq!(rows.entries(), []);
}

#[test]
fn restored_objects_expire_after_a_week_without_a_listing() {
    let start = Instant::now();
    let mut rows = saved(&mut full());
    let mut directory = restored(&rows, start);
    let week = start + Duration::from_hours(7 * 24 + 1);
    directory.remove_pod("other", week);
    directory.runtime_containers.expire(week);
    directory.sandboxes.expire(week);
    rows.save(directory.changes());
    assert_eq!(rows.entries(), []);
}

#[test]
fn first_process_of_a_restartable_container_is_not_restored() {
    let at = Instant::now();
    let mut before = Directory::default();
    before.enable_docker();
    let container = RuntimeContainer {
        pod: None,
        init_pid: Some(testing::kill().victim.pid),
        ..runtime_container("web")
    };
    before.insert_container(CONTAINER_ID.to_owned(), container, at);
    let directory = restored(&saved(&mut before), at);
    let mut report = report();
    report.pod = None;
    report.kill.victim.is_namespace_init = None;
    report.main_process = MainProcess::Unknown;
    directory.identify(&mut report, late(at));
    assert_eq!(names(&report), [None, None, Some("web")]);
    assert_eq!(report.main_process, MainProcess::Unknown);
}

#[test]
fn malformed_rows_are_skipped_and_deleted() {
    let mut rows = saved(&mut full());
    rows.spoil("names");
    let mut directory = restored(&rows, Instant::now());
    rows.save(directory.changes());
    assert_eq!(rows.entries(), []);
}

#[test]
fn unchanged_objects_are_not_saved_again() {
    let mut directory = full();
    assert_eq!(directory.changes().len(), 3);
    insert_all(&mut directory);
    assert_eq!(directory.changes(), []);
    let mut after = restored(&saved(&mut full()), Instant::now());
    insert_all(&mut after);
    assert_eq!(after.changes(), []);
}

#[test]
fn pod_is_saved_once_and_deleted_once() {
    let start = Instant::now();
    let mut rows = Rows::default();
    let mut directory = with_cri();
    directory.set_watch(WatchState::Up);
    let mut written = 0;
    let (pods, every) = (900, 10);
    for second in 0..pods {
        let at = start + Duration::from_secs(second);
        let uid = format!("uid-{second}");
        let id = format!("{second:064}");
        // Pending, then with an id, then updated three times before it is deleted.
        directory.insert_pod(
            pod(&uid, vec![container("app", ContainerKind::Main, &[])]),
            at,
        );
        for _ in 0..4 {
            let app = container("app", ContainerKind::Main, &[&id]);
            directory.insert_pod(pod(&uid, vec![app]), at);
        }
        directory.remove_pod(&uid, at);
        if second % every == 0 {
            let changes = directory.changes();
            written += changes.len();
            rows.save(changes);
        }
    }
    // One write when it appears, and one when it expires.
    let most = usize::try_from(pods * 2).expect("few");
    assert!(written <= most, "{written}");
    assert!(rows.entries().len() <= 620, "{}", rows.entries().len());
}

#[test]
fn saved_objects_are_bounded() {
    let at = Instant::now();
    let mut directory = with_cri();
    for number in 0..3000 {
        let name = shop(&format!("cart-{number}"));
        directory.insert_pod(pod(&number.to_string(), vec![]), at);
        directory.insert_sandbox(number.to_string(), number.to_string(), name, at);
        directory.insert_container(number.to_string(), runtime_container("app"), at);
    }
    let rows = saved(&mut directory);
    assert_eq!(rows.entries().len(), 4096);
    assert_eq!(directory.changes(), []);
    let mut again = restored(&rows, at);
    assert_eq!(again.changes(), []);
}
