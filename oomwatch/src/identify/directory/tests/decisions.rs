//! What is decided about the kill itself: main process and limit owner.

use super::*;
use crate::{
    model::{
        kill::{Attribution, MainProcess, Scope},
        limit_owner::{LimitOwner, LimitSource},
    },
    testing::POD,
};

#[test]
fn main_process_is_decided_by_the_first_process_or_the_exit_code() {
    type Case = (Option<u32>, Option<i32>, MainProcess);
    let victim = testing::kill().victim.pid;
    let cases: [Case; 6] = [
        (Some(victim), None, MainProcess::Yes),
        (Some(victim + 1), None, MainProcess::No),
        (None, Some(1), MainProcess::No),
        (None, Some(137), MainProcess::Unknown),
        (None, Some(255), MainProcess::Unknown),
        (None, None, MainProcess::Unknown),
    ];
    for (init_pid, exit_code, expected) in cases {
        let mut directory = with_cri();
        let container = RuntimeContainer {
            init_pid,
            exit_code,
            ..runtime_container("app")
        };
        directory.insert_container(CONTAINER_ID.to_owned(), container, Instant::now());
        let mut report = report();
        report.kill.victim.is_namespace_init = None;
        report.main_process = MainProcess::Unknown;
        let resolution = directory.identify(&mut report, now());
        assert_eq!(report.main_process, expected);
        let complete = expected != MainProcess::Unknown;
        assert_eq!(
            resolution == Resolution::Complete,
            complete,
            "{init_pid:?} {exit_code:?}"
        );

        // The kernel's answer comes first.
        for (is_namespace_init, expected) in [(true, MainProcess::Yes), (false, MainProcess::No)] {
            report.kill.victim.is_namespace_init = Some(is_namespace_init);
            directory.identify(&mut report, now());
            assert_eq!(report.main_process, expected);
        }
    }
}

#[test]
fn decision_stays_when_the_runtime_has_removed_the_container() {
    let mut report = report();
    report.kill.victim.is_namespace_init = None;
    report.main_process = MainProcess::No;
    report.limit_owner = Some(LimitOwner::Pod);
    report.limit_source = Some(LimitSource::PodResources);
    with_cri().identify(&mut report, now());
    assert_eq!(report.main_process, MainProcess::No);
    assert_eq!(report.limit_owner, Some(LimitOwner::Pod));
    assert_eq!(report.limit_source, Some(LimitSource::PodResources));
}

#[test]
fn empty_directory_decides_by_the_facts_of_the_kill() {
    let mut own = report();
    own.limit_owner = None;
    own.main_process = MainProcess::Unknown;
    let mut pods = pod_ran_out(Attribution::Kmsg, 40 * MIB);
    let mut hosts = testing::minimal_report();
    hosts.kill.scope = Scope::System;
    for (report, owner, main_process) in [
        (&mut own, Some(LimitOwner::Container), MainProcess::Yes),
        (&mut pods, None, MainProcess::Yes),
        (&mut hosts, Some(LimitOwner::Node), MainProcess::Unknown),
    ] {
        Directory::default().decide(report);
        assert_eq!(report.limit_owner, owner);
        assert_eq!(report.limit_source, None);
        assert_eq!(report.main_process, main_process);
    }
}

#[test]
fn first_process_is_kept_when_the_container_has_ended() {
    let at = Instant::now();
    let mut directory = with_cri();
    let running = RuntimeContainer {
        init_pid: Some(4711),
        ..runtime_container("app")
    };
    directory.insert_container(CONTAINER_ID.to_owned(), running, at);
    let ended = RuntimeContainer {
        exit_code: Some(137),
        image: None,
        ..runtime_container("app")
    };
    directory.insert_container(CONTAINER_ID.to_owned(), ended, at);
    let kept = directory
        .runtime_containers
        .get(CONTAINER_ID)
        .expect("the container");
    assert_eq!(kept.init_pid, Some(4711));
    assert!(kept.image.is_some());
}

#[test]
fn first_process_is_queried_for_containers_that_share_pids() {
    let mut directory = with_cri();
    let mut sharing = pod(
        POD_UID,
        vec![container("app", ContainerKind::Main, &[CONTAINER_ID])],
    );
    sharing.shares_pids = true;
    directory.insert_pod(sharing, Instant::now());
    let own = container("app", ContainerKind::Main, &[OTHER_ID]);
    directory.insert_pod(pod("other", vec![own]), Instant::now());
    assert_eq!(directory.containers_without_init_pid(), [CONTAINER_ID]);
    directory.record_cri_reply(CONTAINER_ID, Instant::now(), Reply::Found);
    assert!(directory.containers_without_init_pid().is_empty());
}

/// A kill by the limit of a pod's cgroup, seen by a hook or in the log.
fn pod_ran_out(attribution: Attribution, limit_bytes: u64) -> Report {
    let mut report = report();
    report.kill.scope = Scope::Memcg;
    report.kill.attribution = attribution;
    report.kill.limits[0].limit_bytes = None;
    report.kill.limits[1] = testing::limit(POD, 4004, Some(limit_bytes));
    report.kill.oom_level = Some(1);
    report.limit_owner = None;
    report
}

#[test]
fn limit_of_a_pod_is_its_only_containers_or_its_own() {
    let app = || container("app", ContainerKind::Main, &[CONTAINER_ID]);
    let proxy = || container("proxy", ContainerKind::Sidecar, &[OTHER_ID]);
    let one = pod(POD_UID, vec![app()]);
    let two = pod(POD_UID, vec![app(), proxy()]);
    let mut of_its_own = one.clone();
    of_its_own.memory_limit_bytes = Some(40 * MIB);
    let mut odd = one.clone();
    odd.containers[0].memory_limit_bytes = Some(40_000_000);
    for attribution in [Attribution::Kernel, Attribution::Kmsg] {
        for (pod, limit_bytes, owner, source) in [
            (
                &one,
                40 * MIB,
                LimitOwner::Container,
                LimitSource::ContainerLimits,
            ),
            (
                &odd,
                39_997_440,
                LimitOwner::Container,
                LimitSource::ContainerLimits,
            ),
            (
                &two,
                80 * MIB,
                LimitOwner::Pod,
                LimitSource::ContainerLimits,
            ),
            (
                &of_its_own,
                40 * MIB,
                LimitOwner::Pod,
                LimitSource::PodResources,
            ),
        ] {
            let mut directory = with_kubernetes();
            directory.insert_pod(pod.clone(), Instant::now());
            let mut report = pod_ran_out(attribution, limit_bytes);
            assert_eq!(directory.identify(&mut report, now()), Resolution::Complete);
            assert_eq!(
                report.limit_owner,
                Some(owner),
                "{attribution:?} {limit_bytes}"
            );
            assert_eq!(report.limit_source, Some(source));
        }
    }
}

#[test]
fn limits_of_other_levels_are_not_changed_by_the_specification() {
    let mut directory = with_kubernetes();
    let app = container("app", ContainerKind::Main, &[CONTAINER_ID]);
    directory.insert_pod(pod(POD_UID, vec![app]), Instant::now());
    let mut report = report();
    directory.identify(&mut report, now());
    assert_eq!(report.limit_owner, Some(LimitOwner::Container));
    assert_eq!(report.limit_source, None);
    let mut system = self::report();
    system.kill.scope = Scope::System;
    system.kill.oom_level = None;
    directory.identify(&mut system, now());
    assert_eq!(system.limit_owner, Some(LimitOwner::Node));
    assert_eq!(system.limit_source, None);
}
