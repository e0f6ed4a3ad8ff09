mod server;

use super::*;
use crate::{
    identify::{
        objects::ApiPod,
        resolution::{Arrival, Resolution},
    },
    model::report::{ContainerKind, Report},
    testing::{self, CONTAINER_ID, POD_UID},
};

const POD: &str = include_str!("tests/pod.json");

fn parse(json: &str) -> ApiPod {
    serde_json::from_str::<PodJson>(json)
        .expect("a pod")
        .into_object()
}

#[test]
fn real_pod_is_parsed() {
    let pod = parse(POD);
    insta::assert_debug_snapshot!(pod);
    assert_eq!(pod.containers[1].kind, ContainerKind::Init);
    assert_eq!(pod.containers[2].kind, ContainerKind::Sidecar);
}

#[test]
fn minimal_pod_is_parsed() {
    let pod = parse(
        r#"{"metadata":{"namespace":"a","name":"b","uid":"c"},"spec":{"containers":null},"status":null}"#,
    );
    assert_eq!(pod.name.to_string(), "a/b");
    assert!(pod.containers.is_empty() && !pod.events_off && !pod.shares_pids);
}

#[test]
fn annotations_and_limits_are_parsed() {
    let with = |annotations: &str, spec: &str| {
        parse(&format!(
            r#"{{"metadata":{{"namespace":"a","name":"b","uid":"c","annotations":{annotations}}},"spec":{spec}}}"#
        ))
    };
    assert!(with(r#"{"oomwatch.dev/events":"off","x":"y"}"#, "{}").events_off);
    assert!(!with(r#"{"oomwatch.dev/events":"on"}"#, "{}").events_off);
    assert!(with("null", r#"{"hostPID":true}"#).shares_pids);
    assert!(with("{}", r#"{"shareProcessNamespace":true}"#).shares_pids);
    let limits = with("{}", r#"{"resources":{"limits":{"memory":"64Mi"}}}"#);
    assert_eq!(limits.memory_limit_bytes, Some(64 << 20));
    let mirror = r#"{"kubernetes.io/config.hash":"h","kubernetes.io/config.mirror":"m"}"#;
    assert_eq!(with(mirror, "{}").config_hash.as_deref(), Some("m"));
    let hash = r#"{"kubernetes.io/config.hash":"h"}"#;
    assert_eq!(with(hash, "{}").config_hash, None);
}

#[test]
fn workload_is_that_of_the_controlling_owner() {
    let of = |metadata: &str| {
        let pod = parse(&format!(
            r#"{{"metadata":{{"namespace":"a","name":"b","uid":"c",{metadata}}},"spec":{{}}}}"#
        ));
        pod.workload.map(|workload| workload.to_string())
    };
    let owner = |kind: &str, name: &str, controller: bool| {
        let group = if kind == "Job" { "batch" } else { "apps" };
        format!(
            r#"{{"apiVersion":"{group}/v1","kind":"{kind}","name":"{name}","uid":"u","controller":{controller}}}"#
        )
    };
    let other = owner("DaemonSet", "other", false);
    let set = owner("ReplicaSet", "web-7d4b9c6f5", true);
    let labels = r#""labels":{"app":"web","pod-template-hash":"7d4b9c6f5"}"#;
    assert_eq!(
        of(&format!(r#"{labels},"ownerReferences":[{other},{set}]"#)).as_deref(),
        Some("Deployment/web")
    );
    assert_eq!(
        of(&format!(r#""ownerReferences":[{set}]"#)).as_deref(),
        Some("ReplicaSet/web-7d4b9c6f5")
    );
    let job = owner("Job", "nightly-29924388", true);
    let created = r#""creationTimestamp":"2026-11-23T19:48:02Z""#;
    assert_eq!(
        of(&format!(r#"{created},"ownerReferences":[{job}]"#)).as_deref(),
        Some("CronJob/nightly")
    );
    assert_eq!(
        of(&format!(
            r#""creationTimestamp":"no time","ownerReferences":[{job}]"#
        ))
        .as_deref(),
        Some("Job/nightly-29924388")
    );
    assert_eq!(of(&format!(r#""ownerReferences":[{other}]"#)), None);
    assert_eq!(of(r#""ownerReferences":null"#), None);
}

#[test]
fn malformed_pods_are_errors() {
    for json in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"metadata":{"namespace":"a","name":"b"},"spec":{}}"#,
        r#"{"metadata":{"namespace":"a","name":"b","uid":7},"spec":{}}"#,
        r#"{"metadata":{"namespace":"a","name":"b","uid":"c"},"spec":{"containers":{}}}"#,
        r#"{"metadata":{"namespace":"a","name":"b","uid":"c"},"spec":{"containers":[{}]}}"#,
    ] {
        assert!(serde_json::from_str::<PodJson>(json).is_err(), "{json}");
    }
}

/// As large as a pod can be, created to exhaust the agent's memory.
#[test]
fn hostile_pod_is_small() {
    let large = "x".repeat(100_000);
    let container = format!(r#"{{"name":"a","image":"{large}"}},"#);
    let many = r#"{"name":"b","image":"i"},"#.repeat(20_000);
    let pod = parse(&format!(
        r#"{{"metadata":{{"namespace":"a","name":"b","uid":"c","annotations":{{"kubernetes.io/config.mirror":"{large}"}}}},
            "spec":{{"containers":[{container}{many}{container}{{"name":"last"}}],"initContainers":[{many}{{"name":"last"}}]}}}}"#
    ));
    assert_eq!(pod.config_hash, None);
    assert_eq!(pod.containers[0].image, None);
    assert_eq!(pod.containers.len(), pod::CONTAINERS_MAX);
    assert!(pod.bytes() < 32 << 10, "{}", pod.bytes());
}

#[test]
fn pods_that_are_too_large_together_are_skipped() {
    let mut directory = Directory::default();
    directory.set_watch(WatchState::Up);
    let mut cursor = WatchCursor::default();
    cursor.begin(&mut directory);
    let image = "i".repeat(500);
    let containers = format!(r#"{{"name":"a","image":"{image}"}},"#).repeat(127);
    let pod = |uid: u32| {
        format!(
            r#"{{"type":"ADDED","object":{{"metadata":{{"namespace":"shop","name":"p{uid}","uid":"{uid}"}},
                "spec":{{"containers":[{containers}{{"name":"z"}}]}}}}}}"#
        )
    };
    for uid in 0..200 {
        handle(&mut cursor, &mut directory, &pod(uid)).expect("handled");
    }
    let kept = directory.pod_names().map_or(0, |names| names.len());
    assert!((50..150).contains(&kept), "{kept}");
    assert!(cursor.is_full_logged);
    // Others are removed, so there is room.
    let now = Instant::now();
    for uid in 0..50 {
        directory.remove_pod(&uid.to_string(), now);
    }
    let later = now + Duration::from_hours(1);
    directory.remove_pod("0", later);
    let event = serde_json::from_str(&pod(1000)).expect("an event");
    cursor
        .handle(event, &mut directory, later)
        .expect("handled");
    assert!(directory.knows_pod("1000"));
}

/// Lets a cursor handle an event in the server's JSON.
fn handle(
    cursor: &mut WatchCursor,
    directory: &mut Directory,
    json: &str,
) -> Result<(), WatchError> {
    let event = serde_json::from_str(json).expect("an event");
    cursor.handle(event, directory, Instant::now())
}

fn pod_event(kind: &str, uid: &str, version: u32) -> String {
    format!(
        r#"{{"type":"{kind}","object":{{"metadata":{{"namespace":"shop","name":"{uid}","uid":"{uid}","resourceVersion":"{version}"}},
            "spec":{{"containers":[{{"name":"app"}}]}},
            "status":{{"containerStatuses":[{{"name":"app","containerID":"containerd://{CONTAINER_ID}"}}]}}}}}}"#
    )
}

/// The bookmark after the existing pods.
fn end_of_pods(version: u32) -> String {
    bookmark(version).replace(
        r#""creationTimestamp":null"#,
        r#""creationTimestamp":null,"annotations":{"k8s.io/initial-events-end":"true"}"#,
    )
}

fn bookmark(version: u32) -> String {
    format!(
        r#"{{"type":"BOOKMARK","object":{{"kind":"Pod","apiVersion":"v1","metadata":{{"resourceVersion":"{version}","creationTimestamp":null}},"spec":{{"containers":null}},"status":{{}}}}}}"#
    )
}

fn identify(directory: &Directory) -> (Report, Resolution) {
    let mut report = testing::report();
    if let Some(pod) = &mut report.pod {
        pod.name = None;
    }
    let arrival = Arrival {
        at: Instant::now(),
        killed: None,
    };
    let resolution = directory.identify(&mut report, arrival);
    (report, resolution)
}

#[test]
fn watch_resumes_only_after_a_bookmark() {
    let mut directory = Directory::default();
    let mut cursor = WatchCursor::default();
    cursor.begin(&mut directory);
    handle(&mut cursor, &mut directory, &pod_event("ADDED", "a", 90)).expect("handled");
    assert_eq!(cursor.version(), "0", "other pods may have older versions");
    handle(&mut cursor, &mut directory, &bookmark(95)).expect("handled");
    assert_eq!(
        cursor.version(),
        "0",
        "it is not the end of the existing pods"
    );
    handle(&mut cursor, &mut directory, &end_of_pods(100)).expect("handled");
    assert_eq!(cursor.version(), "100");
    handle(
        &mut cursor,
        &mut directory,
        &pod_event("MODIFIED", "a", 107),
    )
    .expect("handled");
    assert_eq!(cursor.version(), "107");
}

#[test]
fn pods_missing_in_a_new_watch_are_removed_at_its_first_bookmark() {
    let mut directory = Directory::default();
    directory.set_watch(WatchState::Up);
    let mut cursor = WatchCursor::default();
    cursor.begin(&mut directory);
    handle(
        &mut cursor,
        &mut directory,
        &pod_event("ADDED", POD_UID, 90),
    )
    .expect("handled");
    handle(&mut cursor, &mut directory, &end_of_pods(100)).expect("handled");

    let gone = r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version","reason":"Expired","code":410}}"#;
    let error = handle(&mut cursor, &mut directory, gone).expect_err("an error");
    cursor.on_error(&error);
    assert_eq!(cursor.version(), "0");
    cursor.begin(&mut directory);
    handle(&mut cursor, &mut directory, &pod_event("ADDED", "b", 300)).expect("handled");
    assert!(directory.has_pod(POD_UID));
    handle(&mut cursor, &mut directory, &end_of_pods(310)).expect("handled");
    assert!(!directory.has_pod(POD_UID) && directory.has_pod("b"));
    // Kills in it are still named.
    assert_eq!(identify(&directory).1, Resolution::Complete);
}

#[test]
fn interrupted_watch_starts_over_only_if_its_version_expired() {
    let mut cursor = WatchCursor {
        resume: Some("100".to_owned()),
        ..WatchCursor::default()
    };
    cursor.on_error(&WatchError::Timeout);
    assert_eq!(cursor.version(), "100");
    let status = |code| {
        let mut status = kube::core::Status::failure("no", "No");
        status.code = code;
        WatchError::Client(kube::Error::Api(Box::new(status)))
    };
    assert_eq!(
        status(403).describe(),
        "the API server responded with 403 no"
    );
    cursor.on_error(&status(500));
    assert_eq!(cursor.version(), "100");
    cursor.on_error(&status(410));
    assert_eq!(cursor.version(), "0");
}

#[test]
fn last_status_of_a_deleted_pod_names_its_container() {
    let mut directory = Directory::default();
    directory.set_watch(WatchState::Up);
    let mut cursor = WatchCursor::default();
    handle(
        &mut cursor,
        &mut directory,
        &pod_event("DELETED", POD_UID, 5),
    )
    .expect("handled");
    assert!(!directory.has_pod(POD_UID));
    let (report, resolution) = identify(&directory);
    assert_eq!(resolution, Resolution::Complete);
    assert_eq!(
        report.pod.and_then(|pod| pod.name).as_deref(),
        Some(POD_UID)
    );
}

#[test]
fn watch_names_its_program() {
    let request = with_user_agent(HttpRequest::new(Vec::new()));
    let agent = request.headers().get("user-agent").expect("a header");
    assert!(agent.to_str().expect("text").starts_with("oomwatch/"));
}
