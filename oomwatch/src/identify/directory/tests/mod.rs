mod account;
mod decisions;
mod health;
mod restart;
mod trust;

use super::*;
use crate::{
    identify::objects::ApiContainer,
    model::report::{Container as ReportContainer, ContainerKind},
    testing::{self, CONTAINER_ID, POD_UID},
};

const OTHER_ID: &str = "b2d94c5586a1f7e2d0b9c8a7f6e5d4c3b2a1908172635445362718093f1c0e7a";
const HASH: &str = "d751713988987e9331980363e24189ce";
const MIB: u64 = 1 << 20;

fn shop(name: &str) -> PodName {
    PodName {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
    }
}

fn container(name: &str, kind: ContainerKind, ids: &[&str]) -> ApiContainer {
    ApiContainer {
        name: name.to_owned(),
        kind,
        image: Some(format!("registry.example/{name}:1")),
        memory_limit_bytes: Some(40 * MIB),
        memory_request_bytes: None,
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
    }
}

fn pod(uid: &str, containers: Vec<ApiContainer>) -> ApiPod {
    ApiPod {
        name: shop("cart-0"),
        uid: uid.to_owned(),
        config_hash: None,
        events_off: false,
        shares_pids: false,
        memory_limit_bytes: None,
        memory_request_bytes: None,
        workload: None,
        containers,
    }
}

fn runtime_container(name: &str) -> RuntimeContainer {
    RuntimeContainer {
        name: name.to_owned(),
        pod: Some((POD_UID.to_owned(), shop("cart-0"))),
        image: Some("docker.example/library/cart:2".to_owned()),
        init_pid: None,
        exit_code: None,
    }
}

/// A kill in [`CONTAINER_ID`] of [`POD_UID`] without any names.
fn report() -> Report {
    let mut report = testing::report();
    report.container = Some(ReportContainer {
        name: None,
        kind: None,
        image: None,
        runtime: None,
        ..report.container.expect("the container")
    });
    if let Some(pod) = &mut report.pod {
        pod.name = None;
        pod.namespace = None;
    }
    report.limit_source = None;
    report
}

fn with_kubernetes() -> Directory {
    let mut directory = Directory::default();
    directory.set_watch(WatchState::Up);
    directory
}

fn with_cri() -> Directory {
    let mut directory = Directory::default();
    directory.enable_cri();
    directory.set_cri_up(Some(Runtime::Containerd));
    directory
}

fn wait_for_cri() -> Resolution {
    Resolution::WaitForName(Some(Query::CriContainer(CONTAINER_ID.to_owned())))
}

fn wait_for_docker() -> Resolution {
    Resolution::WaitForName(Some(Query::DockerContainer(CONTAINER_ID.to_owned())))
}

fn now() -> Arrival {
    let at = Instant::now();
    Arrival {
        at,
        killed: Some(at),
    }
}

/// Namespace, pod and container as a report names them.
fn names(report: &Report) -> [Option<&str>; 3] {
    let pod = report.pod.as_ref();
    let container = report.container.as_ref();
    [
        pod.and_then(|pod| pod.namespace.as_deref()),
        pod.and_then(|pod| pod.name.as_deref()),
        container.and_then(|container| container.name.as_deref()),
    ]
}

const CART: [Option<&str>; 3] = [Some("shop"), Some("cart-0"), Some("app")];

#[test]
fn api_names_every_kind_of_container() {
    for kind in [
        ContainerKind::Main,
        ContainerKind::Init,
        ContainerKind::Sidecar,
        ContainerKind::Ephemeral,
    ] {
        let mut directory = with_kubernetes();
        let app = container("app", kind, &[OTHER_ID, CONTAINER_ID]);
        directory.insert_pod(pod(POD_UID, vec![app]), Instant::now());
        let mut report = report();
        assert_eq!(directory.identify(&mut report, now()), Resolution::Complete);
        assert_eq!(names(&report), CART);
        let container = report.container.expect("the container");
        assert_eq!(container.kind, Some(kind));
        assert_eq!(container.image.as_deref(), Some("registry.example/app:1"));
        assert!(!report.sandbox);
    }
}

#[test]
fn name_comes_from_the_runtime_and_the_rest_from_the_specification() {
    let mut directory = with_cri();
    directory.set_watch(WatchState::Up);
    let app = container("app", ContainerKind::Sidecar, &[]);
    directory.insert_pod(pod(POD_UID, vec![app]), Instant::now());
    let mut report = report();
    assert_eq!(directory.identify(&mut report, now()), wait_for_cri());
    directory.insert_container(
        CONTAINER_ID.to_owned(),
        runtime_container("app"),
        Instant::now(),
    );
    assert_eq!(directory.identify(&mut report, now()), Resolution::Complete);
    assert_eq!(names(&report), CART);
    let container = report.container.expect("the container");
    assert_eq!(container.kind, Some(ContainerKind::Sidecar));
    assert_eq!(container.image.as_deref(), Some("registry.example/app:1"));
}

#[test]
fn runtime_alone_gives_all_but_the_kind() {
    let mut directory = with_cri();
    directory.insert_container(
        CONTAINER_ID.to_owned(),
        runtime_container("app"),
        Instant::now(),
    );
    let mut report = report();
    assert_eq!(directory.identify(&mut report, now()), Resolution::Complete);
    assert_eq!(names(&report), CART);
    let container = report.container.expect("the container");
    assert_eq!(container.kind, None);
    assert!(container.image.is_some());
}

#[test]
fn static_pod_is_found_by_its_hash_which_stays_the_uid() {
    let mut directory = with_kubernetes();
    let mut mirror = pod(
        POD_UID,
        vec![container("app", ContainerKind::Main, &[CONTAINER_ID])],
    );
    mirror.config_hash = Some(HASH.to_owned());
    directory.insert_pod(mirror, Instant::now());
    let mut report = report();
    report.pod.as_mut().expect("the pod").uid = HASH.to_owned();
    assert_eq!(directory.identify(&mut report, now()), Resolution::Complete);
    assert_eq!(names(&report), CART);
    assert_eq!(report.pod.expect("the pod").uid, HASH);
}

#[test]
fn forged_hash_names_no_pod_unless_the_runtime_does() {
    let at = Instant::now();
    let mut directory = with_kubernetes();
    for (uid, name) in [("one", "real"), ("two", "forged")] {
        let mut mirror = pod(uid, vec![]);
        mirror.name = shop(name);
        mirror.config_hash = Some(HASH.to_owned());
        directory.insert_pod(mirror, at);
    }
    let mut report = report();
    report.pod.as_mut().expect("the pod").uid = HASH.to_owned();
    assert_eq!(
        directory.identify(&mut report, now()),
        Resolution::WaitForName(None)
    );
    assert_eq!(names(&report), [None; 3]);
    directory.insert_sandbox(OTHER_ID.to_owned(), HASH.to_owned(), shop("real"), at);
    directory.identify(&mut report, now());
    assert_eq!(names(&report), [Some("shop"), Some("real"), None]);
}

#[test]
fn removed_pods_and_containers_are_still_named() {
    let at = Instant::now();
    let mut directory = with_kubernetes();
    let app = || container("app", ContainerKind::Main, &[CONTAINER_ID]);
    directory.insert_pod(pod(POD_UID, vec![app()]), at);
    // Restarted twice, so its status has other ids; then deleted.
    let newer = container("app", ContainerKind::Main, &[OTHER_ID]);
    directory.insert_pod(pod(POD_UID, vec![newer]), at);
    directory.remove_pod(POD_UID, at);
    let mut report = report();
    assert_eq!(directory.identify(&mut report, now()), Resolution::Complete);
    assert_eq!(names(&report), CART);

    directory.remove_pod("other", at + Duration::from_mins(11));
    let mut report = self::report();
    assert_eq!(
        directory.identify(&mut report, now()),
        Resolution::WaitForName(None)
    );
    assert_eq!(names(&report), [None; 3]);
}

#[test]
fn pod_missing_in_a_listing_is_removed() {
    let at = Instant::now();
    let mut directory = with_kubernetes();
    let app = container("app", ContainerKind::Main, &[CONTAINER_ID]);
    directory.insert_pod(pod(POD_UID, vec![app]), at);
    directory.begin_pod_listing();
    directory.insert_pod(pod("other", vec![]), at);
    directory.end_pod_listing(at);
    assert!(!directory.pods.is_live(POD_UID));
    assert!(!directory.statuses.is_live(CONTAINER_ID));
    assert!(directory.pods.is_live("other"));
}

#[test]
fn opt_out_of_events_is_in_the_report() {
    let mut directory = with_kubernetes();
    let mut opted_out = pod(
        POD_UID,
        vec![container("app", ContainerKind::Main, &[CONTAINER_ID])],
    );
    opted_out.events_off = true;
    directory.insert_pod(opted_out, Instant::now());
    let mut report = report();
    directory.identify(&mut report, now());
    assert!(report.pod.expect("the pod").events_off);
}

#[test]
fn sandbox_is_not_a_container() {
    let at = Instant::now();
    let mut directory = with_cri();
    directory.insert_sandbox(
        CONTAINER_ID.to_owned(),
        POD_UID.to_owned(),
        shop("cart-0"),
        at,
    );
    let mut report = report();
    assert_eq!(directory.identify(&mut report, now()), Resolution::Complete);
    assert!(report.sandbox);
    assert_eq!(report.container, None);
    assert_eq!(names(&report), [Some("shop"), Some("cart-0"), None]);
    // Identified again, it stays one.
    assert_eq!(directory.identify(&mut report, now()), Resolution::Complete);
    assert!(report.sandbox);
}

#[test]
fn container_that_no_runtime_has_is_a_sandbox_that_did_not_start() {
    let arrival = now();
    let mut directory = with_cri();
    directory.set_watch(WatchState::Up);
    directory.insert_pod(
        pod(POD_UID, vec![container("app", ContainerKind::Main, &[])]),
        arrival.at,
    );
    let mut report = report();
    assert_eq!(directory.identify(&mut report, arrival), wait_for_cri());
    directory.record_cri_reply(CONTAINER_ID, arrival.at, Reply::NotFound);
    assert_eq!(
        directory.identify(&mut report, arrival),
        Resolution::Complete
    );
    assert!(report.sandbox);
    assert_eq!(report.container, None);
}

#[test]
fn runtime_may_be_slow_to_say_that_a_pod_has_no_container_yet() {
    let arrival = now();
    for (ids, seconds, is_sandbox) in [
        (&[][..], 12, true),
        (&[], 21, false),
        (&[OTHER_ID], 12, false),
    ] {
        let mut directory = with_cri();
        directory.set_watch(WatchState::Up);
        let app = container("app", ContainerKind::Main, ids);
        directory.insert_pod(pod(POD_UID, vec![app]), arrival.at);
        let queried_at = arrival.at + Duration::from_secs(seconds);
        directory.record_cri_reply(CONTAINER_ID, queried_at, Reply::NotFound);
        let mut report = report();
        directory.identify(&mut report, arrival);
        assert_eq!(report.sandbox, is_sandbox, "{ids:?} {seconds}");
    }
}

/// What a source reports at a time.
type SourceUpdate = fn(&mut Directory, Instant);

#[test]
fn sandbox_is_not_assumed_without_proof() {
    let arrival = now();
    let late = |seconds| arrival.at + Duration::from_secs(seconds);
    let updates: [(&str, u64, SourceUpdate); 4] = [
        ("the runtime did not reply", 0, |directory, at| {
            directory.insert_name(POD_UID, shop("cart-0"), at);
            directory.record_cri_reply(CONTAINER_ID, at, Reply::Failed);
        }),
        ("the pod is unknown", 0, |directory, at| {
            directory.record_cri_reply(CONTAINER_ID, at, Reply::NotFound);
        }),
        ("queried too long after the kill", 3, |directory, at| {
            directory.insert_name(POD_UID, shop("cart-0"), at);
            directory.record_cri_reply(CONTAINER_ID, at, Reply::NotFound);
        }),
        ("Docker may have it", 0, |directory, at| {
            directory.insert_name(POD_UID, shop("cart-0"), at);
            directory.record_cri_reply(CONTAINER_ID, at, Reply::NotFound);
            directory.enable_docker();
            directory.record_docker_reply(Runtime::Docker, CONTAINER_ID, at, Reply::Failed);
        }),
    ];
    for (why, seconds, update) in updates {
        let mut directory = with_cri();
        update(&mut directory, late(seconds));
        let mut report = report();
        let arrival = Arrival {
            at: late(seconds),
            ..arrival
        };
        assert_eq!(
            directory.identify(&mut report, arrival),
            Resolution::Unknown,
            "{why}"
        );
        assert!(!report.sandbox, "{why}");
        assert!(report.container.is_some(), "{why}");
    }
}

#[test]
fn docker_is_queried_for_its_own_containers_only() {
    let mut directory = Directory::default();
    directory.enable_docker();
    directory.set_cri_up(Some(Runtime::Containerd));
    let mut plain = report();
    plain.pod = None;
    for (runtime, expected) in [
        (Some(Runtime::Docker), wait_for_docker()),
        (Some(Runtime::Podman), Resolution::Unknown),
        (Some(Runtime::Containerd), Resolution::Unknown),
    ] {
        plain.container.as_mut().expect("the container").runtime = runtime;
        assert_eq!(
            directory.identify(&mut plain, now()),
            expected,
            "{runtime:?}"
        );
    }
    let mut podded = report();
    podded.container.as_mut().expect("the container").runtime = Some(Runtime::Docker);
    assert_eq!(directory.identify(&mut podded, now()), wait_for_docker());
    let mut found = runtime_container("web");
    found.pod = None;
    directory.insert_container(CONTAINER_ID.to_owned(), found, Instant::now());
    plain.container.as_mut().expect("the container").runtime = Some(Runtime::Docker);
    assert_eq!(directory.identify(&mut plain, now()), Resolution::Complete);
    assert_eq!(names(&plain), [None, None, Some("web")]);
}

#[test]
fn sources_that_are_off_or_down_are_not_waited_for() {
    for (watch, cri, expected) in [
        (WatchState::Off, None, Resolution::Unknown),
        (WatchState::Down, Some(0), Resolution::Unknown),
        (WatchState::Up, Some(0), Resolution::WaitForName(None)),
        (WatchState::Down, Some(6), wait_for_cri()),
    ] {
        let arrival = now();
        let mut directory = Directory::default();
        directory.set_watch(watch);
        if let Some(seconds) = cri {
            directory.enable_cri();
            let failed = arrival.at.checked_sub(Duration::from_secs(seconds));
            directory.set_cri_down(failed.expect("the clock runs for longer"));
        }
        let resolution = directory.identify(&mut report(), arrival);
        assert_eq!(resolution, expected, "{watch:?} {cri:?}");
    }
    let mut host = testing::minimal_report();
    assert_eq!(with_cri().identify(&mut host, now()), Resolution::Complete);
}

#[test]
fn status_of_the_pod_is_waited_for_if_the_runtime_fails() {
    let mut directory = with_cri();
    directory.set_watch(WatchState::Up);
    let app = container("app", ContainerKind::Main, &[]);
    directory.insert_pod(pod(POD_UID, vec![app]), Instant::now());
    let arrival = now();
    directory.record_cri_reply(CONTAINER_ID, arrival.at, Reply::Failed);
    let mut report = report();
    assert_eq!(
        directory.identify(&mut report, arrival),
        Resolution::WaitForName(None)
    );
    let app = container("app", ContainerKind::Main, &[CONTAINER_ID]);
    directory.insert_pod(pod(POD_UID, vec![app]), Instant::now());
    assert_eq!(
        directory.identify(&mut report, arrival),
        Resolution::Complete
    );
    assert_eq!(names(&report), CART);
}
