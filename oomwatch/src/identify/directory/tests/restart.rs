//! Who was who before the start.

use super::*;
use crate::model::{kill::MainProcess, persist::rows::Rows};

fn saved(directory: &mut Directory) -> Rows {
    let mut rows = Rows::default();
    rows.save(directory.changes());
    rows
}

/// All that the API and the runtime know of the one pod.
fn full() -> Directory {
    let mut directory = with_cri();
    directory.set_kubernetes(Standing::Up);
    tell_all(&mut directory);
    directory
}

fn tell_all(directory: &mut Directory) {
    let at = Instant::now();
    let app = container("app", ContainerKind::Sidecar, &[CONTAINER_ID]);
    let mut known = pod(POD_UID, vec![app]);
    known.events_off = true;
    known.config_hash = Some(HASH.to_owned());
    directory.insert_pod(known, at);
    let told = Instance {
        init_pid: Some(testing::kill().victim.pid),
        ..instance("app")
    };
    directory.insert_instance(CONTAINER_ID.to_owned(), told, at);
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
fn kill_while_the_agent_was_down_is_named_by_what_it_knew() {
    let mut before = full();
    let mut expected = report();
    expected.kill.victim.main_process = MainProcess::Unknown;
    let mut report = expected.clone();
    before.name(&mut expected, now());

    let at = Instant::now();
    let mut after = restored(&saved(&mut before), at);
    assert_eq!(after.name(&mut report, late(at)), Answer::Complete);
    assert_eq!(names(&report), CART);
    assert_eq!(report.container, expected.container);
    assert_eq!(report.pod, expected.pod);
    assert!(report.pod.as_ref().is_some_and(|pod| pod.events_off));
    assert_eq!(report.kill.victim.main_process, MainProcess::Yes);
    // Nothing is written of what is known already.
    assert_eq!(after.changes(), []);
}

#[test]
fn restored_pods_are_not_there() {
    let mut after = restored(&saved(&mut full()), Instant::now());
    after.set_kubernetes(Standing::Up);
    assert_eq!(after.pod_names(), Some(HashSet::new()));
    assert!(!after.has_pod(POD_UID));
    assert_eq!(after.reply_of(CONTAINER_ID), Reply::NotFound);
}

#[test]
fn static_pod_is_restored_by_its_hash_unless_it_may_be_forged() {
    let rows = saved(&mut full());
    let at = Instant::now();
    let directory = restored(&rows, at);
    let mut report = report();
    report.pod.as_mut().expect("the pod").uid = HASH.to_owned();
    let mut named = report.clone();
    assert_eq!(directory.name(&mut named, late(at)), Answer::Complete);
    assert_eq!(names(&named), CART);
    let mut forged = pod("two", vec![]);
    forged.name = shop("forged");
    forged.config_hash = Some(HASH.to_owned());
    let mut before = full();
    before.insert_pod(forged, at);
    let mut directory = restored(&saved(&mut before), at);
    directory.instances = TtlCache::default();
    directory.name(&mut report, late(at));
    assert_eq!(names(&report)[..2], [None; 2]);
}

#[test]
fn whoever_tells_now_is_believed() {
    let at = Instant::now();
    let rows = saved(&mut full());
    let mut directory = restored(&rows, at);
    directory.set_kubernetes(Standing::Up);
    directory.begin_pods();
    let app = container("app", ContainerKind::Main, &[CONTAINER_ID]);
    directory.insert_pod(pod(POD_UID, vec![app]), at);
    directory.end_pods(at);
    let mut report = report();
    directory.name(&mut report, late(at));
    let container = report.container.expect("the container");
    assert_eq!(container.kind, Some(ContainerKind::Main));
    assert!(!report.pod.expect("the pod").events_off);
    assert_eq!(directory.changes().len(), 1);
}

#[test]
fn whoever_is_restored_stays_until_it_is_told_who_is_there_and_minutes_more() {
    let start = Instant::now();
    let after = |minutes| start + Duration::from_mins(minutes);
    let mut rows = saved(&mut full());
    let mut directory = restored(&rows, start);
    directory.set_kubernetes(Standing::Up);
    // The API server cannot be reached for a day.
    directory.remove_pod("nobody", after(24 * 60));
    directory.insert_sandbox("x".to_owned(), "y".to_owned(), shop("z"), after(24 * 60));
    assert_eq!(rows.entries().len(), 3);
    let is_named = |directory: &Directory| {
        let mut report = report();
        directory.name(&mut report, late(start));
        names(&report) == CART
    };
    assert!(is_named(&directory));
    directory.begin_pods();
    directory.end_pods(after(24 * 60));
    directory.begin_runtime();
    directory.end_runtime(after(24 * 60));
    directory.remove_pod("nobody", after(24 * 60 + 10));
    assert!(is_named(&directory));
    directory.remove_pod("nobody", after(24 * 60 + 11));
    directory.end_runtime(after(24 * 60 + 11));
    assert!(!is_named(&directory));
    rows.save(directory.changes());
    assert_eq!(rows.entries(), []);
}

#[test]
fn whoever_nobody_tells_of_is_forgotten_after_a_week() {
    let start = Instant::now();
    let mut rows = saved(&mut full());
    let mut directory = restored(&rows, start);
    let week = start + Duration::from_hours(7 * 24 + 1);
    directory.remove_pod("nobody", week);
    directory.instances.expire(week);
    directory.sandboxes.expire(week);
    rows.save(directory.changes());
    assert_eq!(rows.entries(), []);
}

#[test]
fn first_process_of_a_container_that_can_be_started_again_is_not_restored() {
    let at = Instant::now();
    let mut before = Directory::default();
    before.use_docker();
    let told = Instance {
        pod: None,
        init_pid: Some(testing::kill().victim.pid),
        ..instance("web")
    };
    before.insert_instance(CONTAINER_ID.to_owned(), told, at);
    let directory = restored(&saved(&mut before), at);
    let mut report = report();
    report.pod = None;
    report.kill.victim.main_process = MainProcess::Unknown;
    directory.name(&mut report, late(at));
    assert_eq!(names(&report), [None, None, Some("web")]);
    assert_eq!(report.kill.victim.main_process, MainProcess::Unknown);
}

#[test]
fn rows_that_cannot_be_read_are_left_out_and_removed() {
    let mut rows = saved(&mut full());
    rows.spoil("who");
    let mut directory = restored(&rows, Instant::now());
    rows.save(directory.changes());
    assert_eq!(rows.entries(), []);
}

#[test]
fn what_is_told_again_is_not_written_again() {
    let mut directory = full();
    assert_eq!(directory.changes().len(), 3);
    tell_all(&mut directory);
    assert_eq!(directory.changes(), []);
    let mut after = restored(&saved(&mut full()), Instant::now());
    tell_all(&mut after);
    assert_eq!(after.changes(), []);
}

#[test]
fn pods_that_come_and_go_are_written_once() {
    let start = Instant::now();
    let mut rows = Rows::default();
    let mut directory = with_cri();
    directory.set_kubernetes(Standing::Up);
    let mut written = 0;
    let (pods, every) = (3600, 10);
    for second in 0..pods {
        let at = start + Duration::from_secs(second);
        let uid = format!("uid-{second}");
        let id = format!("{second:064}");
        // Pending, with an id, and then told three times more before it is deleted.
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
    // Each is written when it comes and removed when it is forgotten.
    let most = usize::try_from(pods * 2).expect("few");
    assert!(written <= most, "{written}");
    assert!(rows.entries().len() <= 620, "{}", rows.entries().len());
}

#[test]
fn no_more_is_saved_than_there_is_room_for() {
    let at = Instant::now();
    let mut directory = with_cri();
    for number in 0..3000 {
        let name = shop(&format!("cart-{number}"));
        directory.insert_pod(pod(&number.to_string(), vec![]), at);
        directory.insert_sandbox(number.to_string(), number.to_string(), name, at);
        directory.insert_instance(number.to_string(), instance("app"), at);
    }
    let rows = saved(&mut directory);
    assert_eq!(rows.entries().len(), 4096);
    assert_eq!(directory.changes(), []);
    let mut again = restored(&rows, at);
    assert_eq!(again.changes(), []);
}
