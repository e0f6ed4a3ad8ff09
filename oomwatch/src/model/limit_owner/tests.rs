use super::*;
use crate::testing::{self, CONTAINER_ID, POD};

const MIB: u64 = 1 << 20;
const NODE: &str = "/docker/0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9";

/// The owner if the level with index `oom_level` ran out; a level is a path and its limit in MiB.
fn owner(levels: &[(&str, Option<u64>)], oom_level: usize) -> Option<LimitOwner> {
    let limits = levels
        .iter()
        .map(|(path, mebibytes)| testing::limit(path, 1, mebibytes.map(|n| n * MIB)))
        .collect();
    let kill = Kill {
        scope: Scope::Memcg,
        limits,
        oom_level: Some(oom_level),
        ..testing::minimal_kill()
    };
    owner_of(&kill)
}

fn owner_of(kill: &Kill) -> Option<LimitOwner> {
    by_kernel(kill, &KubeletRoot::Believed)
}

/// The levels of a container in a burstable pod, with the limits of container and pod in MiB.
fn in_pod(container: Option<u64>, pod: Option<u64>) -> Vec<(String, Option<u64>)> {
    vec![
        (testing::container_path(), container),
        (POD.to_owned(), pod),
        ("/kubepods.slice/kubepods-burstable.slice".to_owned(), None),
        ("/kubepods.slice".to_owned(), Some(4096)),
    ]
}

fn owner_in_pod(levels: &[(String, Option<u64>)], oom_level: usize) -> Option<LimitOwner> {
    let levels: Vec<_> = levels
        .iter()
        .map(|(path, limit)| (path.as_str(), *limit))
        .collect();
    owner(&levels, oom_level)
}

#[test]
fn level_of_the_tree_owns_its_limit() {
    let levels = in_pod(Some(40), Some(80));
    for (oom_level, expected) in [
        LimitOwner::Container,
        LimitOwner::Pod,
        LimitOwner::Qos,
        LimitOwner::Kubepods,
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(owner_in_pod(&levels, oom_level), Some(expected));
    }
}

#[test]
fn limit_of_a_pod_equal_to_its_containers_is_the_containers() {
    let container = Some(LimitOwner::Container);
    let pod = Some(LimitOwner::Pod);
    for (what, container_limit, pod_limit, expected) in [
        ("one container", Some(40), Some(40), container),
        ("two containers", Some(40), Some(80), pod),
        ("pod's own, below", Some(40), Some(30), pod),
        ("pod's own alone", None, Some(40), pod),
        ("limit removed since", None, None, pod),
    ] {
        let levels = in_pod(container_limit, pod_limit);
        assert_eq!(owner_in_pod(&levels, 1), expected, "{what}");
    }
}

#[test]
fn limit_of_a_pod_is_the_pods_for_a_victim_beside_its_containers() {
    let conmon = format!("{POD}/crio-conmon-{CONTAINER_ID}.scope");
    let levels = [(conmon.as_str(), Some(40)), (POD, Some(40))];
    assert_eq!(owner(&levels, 1), Some(LimitOwner::Pod));
}

#[test]
fn victim_below_its_container_hits_the_containers_limit() {
    let container = format!("{POD}/crio-{CONTAINER_ID}.scope");
    let inner = format!("{container}/worker");
    let levels = [
        (inner.as_str(), None),
        (container.as_str(), Some(40)),
        (POD, Some(40)),
    ];
    assert_eq!(owner(&levels, 1), Some(LimitOwner::Container));
    assert_eq!(owner(&levels, 2), Some(LimitOwner::Container));
    assert_eq!(
        owner(&levels, 0),
        Some(LimitOwner::Cgroup),
        "a limit that was set inside of the container"
    );
}

#[test]
fn limit_that_crun_sets_in_the_scope_is_the_containers() {
    let podmans = format!("/machine.slice/libpod-{CONTAINER_ID}.scope");
    let cri_os = format!("{POD}/crio-{CONTAINER_ID}.scope");
    for scope in [podmans, cri_os] {
        let owner_of = |below: &str| {
            let inner = format!("{scope}{below}");
            owner(&[(inner.as_str(), Some(20)), (scope.as_str(), None)], 0)
        };
        assert_eq!(owner_of("/container"), Some(LimitOwner::Container));
        assert_eq!(owner_of("/container/job"), Some(LimitOwner::Cgroup));
        assert_eq!(owner_of("/containers"), Some(LimitOwner::Cgroup));
    }
    let docker = format!("/docker/{CONTAINER_ID}");
    let inner = format!("{docker}/container");
    assert_eq!(
        owner(&[(inner.as_str(), Some(20)), (docker.as_str(), None)], 0),
        Some(LimitOwner::Cgroup),
        "a cgroup that the container made"
    );
}

#[test]
fn kind_node_is_not_the_container_of_a_victim_in_its_pods() {
    let pod = format!("{NODE}/kubelet{POD}");
    let container = format!("{NODE}/kubelet{}", testing::container_path());
    let levels = [
        (container.as_str(), Some(40)),
        (pod.as_str(), Some(40)),
        (NODE, Some(8192)),
    ];
    assert_eq!(owner(&levels, 0), Some(LimitOwner::Container));
    assert_eq!(owner(&levels, 1), Some(LimitOwner::Container));
    assert_eq!(owner(&levels, 2), Some(LimitOwner::Cgroup));

    let kubelet = format!("{NODE}/system.slice/kubelet.service");
    let levels = [(kubelet.as_str(), None), (NODE, Some(8192))];
    assert_eq!(
        owner(&levels, 1),
        Some(LimitOwner::Container),
        "the node's own process"
    );
}

#[test]
fn cgroupfs_tree_gives_the_same_owners_as_systemds() {
    let pod = format!("/kubepods/besteffort/pod{}", testing::POD_UID);
    let container = format!("{pod}/{CONTAINER_ID}");
    let levels = [
        (container.as_str(), Some(40)),
        (pod.as_str(), Some(40)),
        ("/kubepods/besteffort", None),
        ("/kubepods", Some(4096)),
    ];
    let owners: Vec<_> = (0..4)
        .filter_map(|level| owner(&levels, level))
        .map(LimitOwner::as_str)
        .collect();
    assert_eq!(owners, ["container", "container", "qos", "kubepods"]);
}

#[test]
fn limit_of_systemds_is_a_units_or_a_slices() {
    for (path, expected) in [
        ("/system.slice/nginx.service", LimitOwner::Unit),
        (
            "/user.slice/user-1000.slice/session-3.scope",
            LimitOwner::Unit,
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service",
            LimitOwner::Unit,
        ),
        ("/user.slice/user-1000.slice", LimitOwner::Slice),
        ("/web.slice", LimitOwner::Slice),
    ] {
        let worker = format!("{path}/worker");
        let levels = [(worker.as_str(), None), (path, Some(1))];
        assert_eq!(owner(&levels, 1), Some(expected), "{path}");
    }
    let worker = "/system.slice/nginx.service/worker";
    assert_eq!(owner(&[(worker, Some(1))], 0), Some(LimitOwner::Cgroup));
}

#[test]
fn limit_outside_pods_containers_and_units_is_a_cgroups() {
    for path in ["/build\n/job", "/kubepods-like", "/\u{fffd}"] {
        assert_eq!(owner(&[(path, Some(1))], 0), Some(LimitOwner::Cgroup));
    }
    let docker = format!("/system.slice/docker-{CONTAINER_ID}.scope");
    let levels = [(docker.as_str(), Some(1)), ("/system.slice", Some(2))];
    assert_eq!(owner(&levels, 0), Some(LimitOwner::Container));
    assert_eq!(owner(&levels, 1), Some(LimitOwner::Slice));
}

#[test]
fn system_oom_is_the_nodes_and_an_unknown_cgroup_has_no_owner() {
    let kill = |scope, oom_level| Kill {
        scope,
        oom_level,
        ..testing::kill()
    };
    let specified = Some(SpecifiedLimits {
        pod_bytes: Some(40 * MIB),
        of_containers: LimitSource::ContainerLimits,
        container_bytes: None,
        is_place_known: true,
    });
    assert_eq!(
        decide(&kill(Scope::System, None), specified, &KubeletRoot::Unknown),
        (Some(LimitOwner::Node), None)
    );
    assert_eq!(owner_of(&kill(Scope::Unknown, None)), None);
    assert_eq!(owner_of(&kill(Scope::Unknown, Some(0))), None);
    assert_eq!(owner_of(&kill(Scope::Memcg, None)), None);
    assert_eq!(owner_of(&kill(Scope::Memcg, Some(99))), None);
}

#[test]
fn names_are_the_same_in_lines_and_in_json() {
    for owner in [
        LimitOwner::Container,
        LimitOwner::Pod,
        LimitOwner::Qos,
        LimitOwner::Kubepods,
        LimitOwner::Unit,
        LimitOwner::Slice,
        LimitOwner::Cgroup,
        LimitOwner::Node,
    ] {
        let json = serde_json::to_value(owner).expect("serialize");
        assert_eq!(json, owner.as_str());
    }
}

#[test]
fn limit_of_a_pod_is_attributed_by_its_specification() {
    use LimitOwner::{Container, Pod};
    use LimitSource::{ContainerLimits, PodResources};
    let specified = |pod_bytes, container_bytes, is_place_known| SpecifiedLimits {
        pod_bytes,
        of_containers: ContainerLimits,
        container_bytes,
        is_place_known,
    };
    let mib = |n: u64| Some(n * MIB);
    let nearly = Some(40 * MIB + LARGEST_PAGE_BYTES - 1);
    let too_large = Some(40 * MIB + LARGEST_PAGE_BYTES);
    let too_small = Some(40 * MIB - 1);
    for (specified, owner, source) in [
        (None, None, None),
        (
            Some(specified(mib(40), mib(40), true)),
            Some(Pod),
            Some(PodResources),
        ),
        (
            Some(specified(None, mib(40), true)),
            Some(Container),
            Some(ContainerLimits),
        ),
        (
            Some(specified(None, nearly, true)),
            Some(Container),
            Some(ContainerLimits),
        ),
        (
            Some(specified(None, too_large, true)),
            Some(Pod),
            Some(ContainerLimits),
        ),
        (
            Some(specified(None, too_small, true)),
            Some(Pod),
            Some(ContainerLimits),
        ),
        (
            Some(specified(None, None, true)),
            Some(Pod),
            Some(ContainerLimits),
        ),
        (
            Some(specified(None, None, false)),
            None,
            Some(ContainerLimits),
        ),
    ] {
        let kill = Kill {
            scope: Scope::Memcg,
            attribution: Attribution::Kmsg,
            limits: vec![
                testing::limit(testing::container_path(), 1, None),
                testing::limit(POD, 2, mib(40)),
            ],
            oom_level: Some(1),
            ..testing::minimal_kill()
        };
        assert_eq!(
            decide(&kill, specified, &KubeletRoot::Unknown),
            (owner, source),
            "{specified:?}"
        );
        let of_container = Kill {
            oom_level: Some(0),
            ..kill
        };
        assert_eq!(
            decide(&of_container, specified, &KubeletRoot::Unknown),
            (Some(Container), None)
        );
    }
}
