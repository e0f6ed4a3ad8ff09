use super::*;
use crate::{
    identify::cgroup_paths::PodCgroup,
    model::{cgroup::KubeletRoot, report::PodUsage},
};

fn at_root() -> KubeletRoot {
    KubeletRoot::At(Vec::new())
}

#[test]
fn candidate_has_the_names_that_are_known_now() {
    let mut directory = Directory::default();
    let path = testing::container_path().into_bytes();
    let unnamed = directory.candidate_owner(path.clone(), &at_root());
    assert_eq!(unnamed.container.expect("a container").id, CONTAINER_ID);
    assert_eq!(unnamed.pod.expect("a pod").name, None);
    let app = container("app", ContainerKind::Main, &[CONTAINER_ID]);
    directory.insert_pod(pod(POD_UID, vec![app]), Instant::now());
    let named = directory.candidate_owner(path, &at_root());
    assert_eq!(
        named.container.expect("a container").name.as_deref(),
        Some("app")
    );
    assert_eq!(named.pod.expect("a pod").name.as_deref(), Some("cart-0"));
}

#[test]
fn candidate_below_a_unit_is_no_pods() {
    let directory = Directory::default();
    let path = format!("/system.slice/a.service{}", testing::container_path());
    let owner = directory.candidate_owner(path.into_bytes(), &at_root());
    assert_eq!((owner.pod, owner.container), (None, None));
    assert_eq!(owner.unit.as_deref(), Some("a.service"));
}

#[test]
fn pods_are_ranked_by_what_exceeds_their_request() {
    let mut directory = Directory::default();
    let uids = [POD_UID, "11111111-2222-3333-4444-555555555555", "no-name"];
    for (uid, request, name) in [(uids[0], 100, "victim"), (uids[1], 10, "greedy")] {
        let mut app = container("app", ContainerKind::Main, &[]);
        app.memory_request_bytes = Some(request * MIB);
        let mut named = pod(uid, vec![app]);
        named.name = shop(name);
        directory.insert_pod(named, Instant::now());
    }
    let cgroup = |uid: &str, id, usage: u64| PodCgroup {
        path: format!("/kubepods/besteffort/pod{uid}").into_bytes(),
        id,
        usage_bytes: usage * MIB,
        limit_bytes: None,
    };
    // The victim's memory is free already: what counts is what it held at the kill.
    let mut report = report();
    report.kill.limits = vec![testing::limit("/v", 7, Some(240 * MIB))];
    let cgroups = vec![
        cgroup(uids[0], 7, 1),
        cgroup(uids[1], 8, 90),
        cgroup(uids[2], 9, 500),
    ];
    let usages = directory.pod_usages(&report, cgroups, &at_root());
    let usage = |name: &str, usage: u64, request: u64| PodUsage {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        usage_bytes: usage * MIB,
        request_bytes: request * MIB,
        limit_bytes: None,
        oom_score_adj: Some(1000),
    };
    assert_eq!(usages, [usage("greedy", 90, 10), usage("victim", 120, 100)]);
}
