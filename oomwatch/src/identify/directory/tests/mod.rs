mod kill;
mod restart;

use super::*;
use crate::{
    identify::facts::Container,
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

fn container(name: &str, kind: ContainerKind, ids: &[&str]) -> Container {
    Container {
        name: name.to_owned(),
        kind,
        image: Some(format!("registry.example/{name}:1")),
        memory_limit_bytes: Some(40 * MIB),
        ids: ids.iter().map(|id| (*id).to_owned()).collect(),
    }
}

fn pod(uid: &str, containers: Vec<Container>) -> Pod {
    Pod {
        name: shop("cart-0"),
        uid: uid.to_owned(),
        config_hash: None,
        events_off: false,
        shares_pids: false,
        memory_limit_bytes: None,
        containers,
    }
}

fn instance(name: &str) -> Instance {
    Instance {
        name: name.to_owned(),
        attempt: Some(0),
        pod: Some((POD_UID.to_owned(), shop("cart-0"))),
        sandbox_id: None,
        image: Some("docker.example/library/cart:2".to_owned()),
        init_pid: None,
        exit_code: None,
    }
}

/// A kill in [`CONTAINER_ID`] of [`POD`], of which nobody has told anything yet.
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
    directory.set_kubernetes(Standing::Up);
    directory
}

fn with_cri() -> Directory {
    let mut directory = Directory::default();
    directory.use_cri();
    directory.cri_answers(Some(Runtime::Containerd));
    directory
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
fn every_kind_of_container_is_named_by_the_api() {
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
        assert_eq!(directory.name(&mut report, now()), Answer::Complete);
        assert_eq!(names(&report), CART);
        let container = report.container.expect("the container");
        assert_eq!(container.kind, Some(kind));
        assert_eq!(container.image.as_deref(), Some("registry.example/app:1"));
        assert!(!report.sandbox);
    }
}

#[test]
fn name_from_the_runtime_and_the_rest_from_the_specification() {
    let mut directory = with_cri();
    directory.set_kubernetes(Standing::Up);
    let app = container("app", ContainerKind::Sidecar, &[]);
    directory.insert_pod(pod(POD_UID, vec![app]), Instant::now());
    let mut report = report();
    assert_eq!(
        directory.name(&mut report, now()),
        Answer::Wait(Some(Ask::Container))
    );
    directory.insert_instance(CONTAINER_ID.to_owned(), instance("app"), Instant::now());
    assert_eq!(directory.name(&mut report, now()), Answer::Complete);
    assert_eq!(names(&report), CART);
    let container = report.container.expect("the container");
    assert_eq!(container.kind, Some(ContainerKind::Sidecar));
    assert_eq!(container.image.as_deref(), Some("registry.example/app:1"));
}

#[test]
fn runtime_alone_names_all_but_the_kind() {
    let mut directory = with_cri();
    directory.insert_instance(CONTAINER_ID.to_owned(), instance("app"), Instant::now());
    let mut report = report();
    assert_eq!(directory.name(&mut report, now()), Answer::Complete);
    assert_eq!(names(&report), CART);
    let container = report.container.expect("the container");
    assert_eq!(container.kind, None);
    assert!(container.image.is_some());
}

#[test]
fn static_pod_is_found_by_its_hash_and_keeps_it() {
    let mut directory = with_kubernetes();
    let mut mirror = pod(
        POD_UID,
        vec![container("app", ContainerKind::Main, &[CONTAINER_ID])],
    );
    mirror.config_hash = Some(HASH.to_owned());
    directory.insert_pod(mirror, Instant::now());
    let mut report = report();
    report.pod.as_mut().expect("the pod").uid = HASH.to_owned();
    assert_eq!(directory.name(&mut report, now()), Answer::Complete);
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
    assert_eq!(directory.name(&mut report, now()), Answer::Wait(None));
    assert_eq!(names(&report), [None; 3]);
    directory.insert_sandbox(OTHER_ID.to_owned(), HASH.to_owned(), shop("real"), at);
    directory.name(&mut report, now());
    assert_eq!(names(&report), [Some("shop"), Some("real"), None]);
}

#[test]
fn pods_and_containers_that_are_gone_are_still_named() {
    let at = Instant::now();
    let mut directory = with_kubernetes();
    let app = || container("app", ContainerKind::Main, &[CONTAINER_ID]);
    directory.insert_pod(pod(POD_UID, vec![app()]), at);
    // Restarted twice, so that its status has other ids by now; then deleted.
    let newer = container("app", ContainerKind::Main, &[OTHER_ID]);
    directory.insert_pod(pod(POD_UID, vec![newer]), at);
    directory.remove_pod(POD_UID, at);
    let mut report = report();
    assert_eq!(directory.name(&mut report, now()), Answer::Complete);
    assert_eq!(names(&report), CART);

    directory.remove_pod("nobody", at + Duration::from_mins(11));
    let mut report = self::report();
    assert_eq!(directory.name(&mut report, now()), Answer::Wait(None));
    assert_eq!(names(&report), [None; 3]);
}

#[test]
fn pod_that_a_new_list_leaves_out_is_gone() {
    let at = Instant::now();
    let mut directory = with_kubernetes();
    let app = container("app", ContainerKind::Main, &[CONTAINER_ID]);
    directory.insert_pod(pod(POD_UID, vec![app]), at);
    directory.begin_pods();
    directory.insert_pod(pod("other", vec![]), at);
    directory.end_pods(at);
    assert!(!directory.pods.is_there(POD_UID));
    assert!(!directory.statuses.is_there(CONTAINER_ID));
    assert!(directory.pods.is_there("other"));
}

#[test]
fn opt_out_is_told() {
    let mut directory = with_kubernetes();
    let mut silent = pod(
        POD_UID,
        vec![container("app", ContainerKind::Main, &[CONTAINER_ID])],
    );
    silent.events_off = true;
    directory.insert_pod(silent, Instant::now());
    let mut report = report();
    directory.name(&mut report, now());
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
    assert_eq!(directory.name(&mut report, now()), Answer::Complete);
    assert!(report.sandbox);
    assert_eq!(report.container, None);
    assert_eq!(names(&report), [Some("shop"), Some("cart-0"), None]);
    // Asked once more, it stays one.
    assert_eq!(directory.name(&mut report, now()), Answer::Complete);
    assert!(report.sandbox);
}

#[test]
fn sandbox_that_never_was_is_told_by_nobody_having_it() {
    let arrival = now();
    let mut directory = with_cri();
    directory.set_kubernetes(Standing::Up);
    directory.insert_pod(
        pod(POD_UID, vec![container("app", ContainerKind::Main, &[])]),
        arrival.at,
    );
    let mut report = report();
    assert_eq!(
        directory.name(&mut report, arrival),
        Answer::Wait(Some(Ask::Container))
    );
    directory.cri_replied(CONTAINER_ID, arrival.at, Reply::NotFound);
    assert_eq!(directory.name(&mut report, arrival), Answer::Complete);
    assert!(report.sandbox);
    assert_eq!(report.container, None);
}

/// What a source tells at a time.
type Change = fn(&mut Directory, Instant);

#[test]
fn sandbox_is_not_guessed() {
    let arrival = now();
    let late = |seconds| arrival.at + Duration::from_secs(seconds);
    let changes: [(&str, u64, Change); 4] = [
        ("the runtime did not answer", 0, |directory, at| {
            directory.insert_name(POD_UID, shop("cart-0"), at);
            directory.cri_replied(CONTAINER_ID, at, Reply::Failed);
        }),
        ("nobody knows the pod", 0, |directory, at| {
            directory.cri_replied(CONTAINER_ID, at, Reply::NotFound);
        }),
        ("asked too long after the kill", 3, |directory, at| {
            directory.insert_name(POD_UID, shop("cart-0"), at);
            directory.cri_replied(CONTAINER_ID, at, Reply::NotFound);
        }),
        ("Docker may have it", 0, |directory, at| {
            directory.insert_name(POD_UID, shop("cart-0"), at);
            directory.cri_replied(CONTAINER_ID, at, Reply::NotFound);
            directory.use_docker();
            directory.docker_replied(CONTAINER_ID, at, Reply::Failed);
        }),
    ];
    for (why, seconds, change) in changes {
        let mut directory = with_cri();
        change(&mut directory, late(seconds));
        let mut report = report();
        let arrival = Arrival {
            at: late(seconds),
            ..arrival
        };
        assert_eq!(
            directory.name(&mut report, arrival),
            Answer::Unknown,
            "{why}"
        );
        assert!(!report.sandbox, "{why}");
        assert!(report.container.is_some(), "{why}");
    }
}

#[test]
fn docker_is_asked_of_its_own_containers_alone() {
    let mut directory = Directory::default();
    directory.use_docker();
    directory.cri_answers(Some(Runtime::Containerd));
    let mut plain = report();
    plain.pod = None;
    for (runtime, expected) in [
        (Some(Runtime::Docker), Answer::Wait(Some(Ask::Docker))),
        (Some(Runtime::Podman), Answer::Unknown),
        (Some(Runtime::Containerd), Answer::Unknown),
    ] {
        plain.container.as_mut().expect("the container").runtime = runtime;
        assert_eq!(directory.name(&mut plain, now()), expected, "{runtime:?}");
    }
    let mut podded = report();
    podded.container.as_mut().expect("the container").runtime = Some(Runtime::Docker);
    assert_eq!(
        directory.name(&mut podded, now()),
        Answer::Wait(Some(Ask::Docker))
    );
    let mut found = instance("web");
    found.pod = None;
    directory.insert_instance(CONTAINER_ID.to_owned(), found, Instant::now());
    plain.container.as_mut().expect("the container").runtime = Some(Runtime::Docker);
    assert_eq!(directory.name(&mut plain, now()), Answer::Complete);
    assert_eq!(names(&plain), [None, None, Some("web")]);
}

#[test]
fn nobody_is_waited_for_who_cannot_be_asked() {
    let asked = Answer::Wait(Some(Ask::Container));
    for (kubernetes, cri, expected) in [
        (Standing::Off, None, Answer::Unknown),
        (Standing::Down, Some(0), Answer::Unknown),
        (Standing::Up, Some(0), Answer::Wait(None)),
        (Standing::Down, Some(6), asked),
    ] {
        let arrival = now();
        let mut directory = Directory::default();
        directory.set_kubernetes(kubernetes);
        if let Some(seconds) = cri {
            directory.use_cri();
            let failed = arrival.at.checked_sub(Duration::from_secs(seconds));
            directory.cri_failed(failed.expect("the clock runs for longer"));
        }
        let answer = directory.name(&mut report(), arrival);
        assert_eq!(answer, expected, "{kubernetes:?} {cri:?}");
    }
    let mut host = testing::minimal_report();
    assert_eq!(with_cri().name(&mut host, now()), Answer::Complete);
}

#[test]
fn status_of_the_pod_is_waited_for_if_the_runtime_fails() {
    let mut directory = with_cri();
    directory.set_kubernetes(Standing::Up);
    let app = container("app", ContainerKind::Main, &[]);
    directory.insert_pod(pod(POD_UID, vec![app]), Instant::now());
    let arrival = now();
    directory.cri_replied(CONTAINER_ID, arrival.at, Reply::Failed);
    let mut report = report();
    assert_eq!(directory.name(&mut report, arrival), Answer::WaitForStatus);
    let app = container("app", ContainerKind::Main, &[CONTAINER_ID]);
    directory.insert_pod(pod(POD_UID, vec![app]), Instant::now());
    assert_eq!(directory.name(&mut report, arrival), Answer::Complete);
    assert_eq!(names(&report), CART);
}
