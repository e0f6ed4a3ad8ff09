//! What a tenant cannot make the directory say.

use super::*;

/// A report of a static pod's kill, and two pods that have its hash.
fn static_pod_and_forger(real: &[&str], forged: &[&str]) -> (Directory, Report) {
    let mut directory = with_kubernetes();
    for (uid, name, ids) in [("one", "forged", forged), ("two", "real", real)] {
        let app = container("app", ContainerKind::Main, ids);
        let mut mirror = pod(uid, vec![app]);
        mirror.name = shop(name);
        mirror.config_hash = Some(HASH.to_owned());
        directory.insert_pod(mirror, Instant::now());
    }
    let mut report = report();
    report.pod.as_mut().expect("the pod").uid = HASH.to_owned();
    (directory, report)
}

#[test]
fn static_pod_with_the_container_in_its_status_comes_before_a_forged_hash() {
    let (directory, mut report) = static_pod_and_forger(&[CONTAINER_ID], &[OTHER_ID]);
    assert_eq!(directory.identify(&mut report, now()), Resolution::Complete);
    assert_eq!(names(&report), [Some("shop"), Some("real"), Some("app")]);
}

#[test]
fn status_of_another_pod_with_the_same_id_takes_no_name_away() {
    let mut directory = with_kubernetes();
    for uid in [POD_UID, "another"] {
        let app = container("app", ContainerKind::Main, &[CONTAINER_ID]);
        directory.insert_pod(pod(uid, vec![app]), Instant::now());
    }
    let mut report = report();
    assert_eq!(directory.identify(&mut report, now()), Resolution::Complete);
    assert_eq!(names(&report), CART);
}

#[test]
fn runtimes_word_comes_before_the_only_pod_with_a_forged_hash() {
    let (mut directory, mut report) = static_pod_and_forger(&[], &[OTHER_ID]);
    directory.remove_pod("two", Instant::now());
    directory.remove_pod("other", Instant::now() + Duration::from_mins(11));
    let mut found = runtime_container("app");
    found.pod = Some((HASH.to_owned(), shop("real")));
    directory.insert_container(CONTAINER_ID.to_owned(), found, Instant::now());
    directory.identify(&mut report, now());
    assert_eq!(names(&report), [Some("shop"), Some("real"), Some("app")]);
    assert!(!directory.knows_pod("one-that-only-an-annotation-has"));
}

#[test]
fn removed_pod_makes_a_hash_ambiguous_too() {
    let (mut directory, mut report) = static_pod_and_forger(&[], &[OTHER_ID]);
    directory.remove_pod("two", Instant::now());
    directory.identify(&mut report, now());
    assert_eq!(names(&report), [None; 3]);
}

#[test]
fn container_of_another_pod_and_one_of_a_user_are_not_named() {
    let mut directory = with_cri();
    let mut others = runtime_container("victim");
    others.pod = Some(("another".to_owned(), shop("another")));
    directory.insert_container(CONTAINER_ID.to_owned(), others, Instant::now());
    let mut forged = report();
    directory.identify(&mut forged, now());
    assert_eq!(names(&forged), [None; 3]);

    let mut plain = runtime_container("victim");
    plain.pod = None;
    let mut directory = Directory::default();
    directory.enable_docker();
    directory.insert_container(CONTAINER_ID.to_owned(), plain, Instant::now());
    let mut rootless = report();
    rootless.pod = None;
    let container = rootless.container.as_mut().expect("the container");
    container.user = Some(1000);
    container.runtime = Some(Runtime::Docker);
    let resolution = directory.identify(&mut rootless, now());
    assert_eq!(resolution, Resolution::Unknown);
    assert_eq!(names(&rootless), [None; 3]);
}

#[test]
fn users_podman_names_his_own_containers_alone() {
    let podmans = |user| {
        let mut report = report();
        report.pod = None;
        let container = report.container.as_mut().expect("the container");
        container.user = user;
        container.runtime = Some(Runtime::Podman);
        report
    };
    let mut directory = Directory::default();
    directory.enable_podman();
    for (user, key) in [
        (None, CONTAINER_ID.to_owned()),
        (Some(1000), format!("1000/{CONTAINER_ID}")),
    ] {
        let query = Query::PodmanContainer(key);
        assert_eq!(
            directory.identify(&mut podmans(user), now()),
            Resolution::WaitForName(Some(query))
        );
    }
    let mut his = runtime_container("his");
    his.pod = None;
    let key = format!("1000/{CONTAINER_ID}");
    directory.insert_container(key, his, Instant::now());
    for (user, name) in [(Some(1000), Some("his")), (Some(1001), None), (None, None)] {
        let mut report = podmans(user);
        directory.identify(&mut report, now());
        assert_eq!(names(&report), [None, None, name], "{user:?}");
    }
}

#[test]
fn large_pods_of_one_namespace_leave_the_next_ones_pod_its_name() {
    let at = Instant::now();
    let mut directory = with_kubernetes();
    for number in 0..250 {
        let large = (0..128).map(|other| {
            let ids = [0, 1, 2].map(|id| format!("{number}-{other}-{id}"));
            let mut app = container(
                "app",
                ContainerKind::Main,
                &ids.each_ref().map(String::as_str),
            );
            app.image = Some("i".repeat(512));
            app
        });
        let mut greedy = pod(&number.to_string(), large.collect());
        greedy.name.namespace = "greedy".to_owned();
        directory.insert_pod(greedy, at);
    }
    let app = container("app", ContainerKind::Main, &[CONTAINER_ID]);
    assert!(directory.insert_pod(pod(POD_UID, vec![app]), at));
    let mut report = report();
    assert_eq!(directory.identify(&mut report, now()), Resolution::Complete);
    assert_eq!(names(&report), CART);
}
