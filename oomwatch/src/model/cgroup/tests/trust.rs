//! Names that a tenant can give to cgroups of his own.

use super::*;

/// Trees with the names of a kubelet's.
const TREES: [&str; 7] = [
    "/kubepods/burstable/pod<UID>/<ID>",
    "/kubepods/pod<UID>",
    "/kubelet/kubepods/pod<UID>/<ID>",
    "/kubepods.slice/kubepods-pod<UID_>.slice/cri-containerd-<ID>.scope",
    "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod<UID_>.slice/crio-<ID>.scope",
    "/kubepods-pod<UID_>.slice:cri-containerd:<ID>",
    "/docker/<NODE>/kubelet/kubepods/pod<UID>/<ID>",
];

/// Cgroups below which a tenant or a user may create others.
const OWN: [&str; 12] = [
    "/user.slice/user-1000.slice/user@1000.service",
    "/user.slice/user-1000.slice/user@1000.service/app.slice",
    "/user.slice/user-1000.slice/user@1000.service/app.slice/a.service",
    "/user.slice/user-1000.slice/session-3.scope",
    "/user/1000.user/c2",
    "/system.slice/evil.service",
    "/docker/<NODE>",
    "/system.slice/docker-<NODE>.scope",
    "/machine.slice/libpod-<NODE>.scope/container",
    "/lxc/107/ns",
    "/lxc.payload.web",
    "/actions_job/<NODE>",
];

#[test]
fn tree_below_a_container_a_unit_or_a_users_slice_is_no_pods() {
    for own in OWN {
        for tree in TREES {
            for kubelet in [
                KubeletRoot::Unknown,
                KubeletRoot::at(b"/"),
                KubeletRoot::at(b"/kubelet"),
                KubeletRoot::at(b"/kubelet.slice"),
            ] {
                let forged = path(&format!("{own}{tree}"));
                let owner = CgroupOwner::from_path(forged.as_bytes(), &kubelet);
                assert_eq!(owner.pod, None, "{forged}, {kubelet:?}");
                let found = level(forged.as_bytes(), &kubelet);
                assert!(
                    !matches!(found, Level::Pod | Level::Qos | Level::Kubepods),
                    "{forged}: {found:?}"
                );
                let is_users = |container: ContainerRef| container.user == Some(1000);
                let container = owner.container.filter(|container| container.id == ID);
                assert!(container.is_none_or(is_users), "{forged}");
            }
        }
    }
}

#[test]
fn tree_elsewhere_than_at_the_kubelets_root_is_no_pods() {
    for (root, tree, is_believed) in [
        ("/", "/kubepods/pod<UID>/<ID>", true),
        ("/kubepods", "/kubepods/pod<UID>/<ID>", true),
        ("/kubepods.slice", "/kubepods/pod<UID>/<ID>", true),
        ("/", "/../../kubepods/pod<UID>/<ID>", true),
        ("/", "/kubelet/kubepods/pod<UID>/<ID>", false),
        ("/kubelet/", "/kubelet/kubepods/pod<UID>/<ID>", true),
        ("/kubelet", "/kubepods/pod<UID>/<ID>", false),
        ("/kubelet", "/kubelet/a/kubepods/pod<UID>/<ID>", false),
        ("/kubelet", "/kubelets/kubepods/pod<UID>/<ID>", false),
        (
            "/a.slice",
            "/a.slice/a-kubepods.slice/a-kubepods-pod<UID_>.slice/crio-<ID>.scope",
            true,
        ),
        (
            "/",
            "/a.slice/a-kubepods.slice/a-kubepods-pod<UID_>.slice/crio-<ID>.scope",
            false,
        ),
    ] {
        let tree = path(tree);
        let owner = CgroupOwner::from_path(tree.as_bytes(), &KubeletRoot::at(root.as_bytes()));
        assert_eq!(owner.pod.is_some(), is_believed, "{root}: {tree}");
    }
}

#[test]
fn unit_cannot_take_another_ones_container() {
    for name in [
        "docker-<ID>.scope",
        "cri-containerd-<ID>.scope",
        "docker/<ID>",
        "lxc/web",
        "lxc.payload.web",
        "crio-<ID>",
        "system.slice:docker:<ID>",
        "buildkit/m0yk3n1r5w2qv8t4x7z6c9b1d",
        "machine-box.scope",
        "slurm/uid_0/job_1",
    ] {
        let forged = path(&format!("/system.slice/evil.service/{name}"));
        assert_eq!(
            owner(forged.as_bytes()),
            only_unit("evil.service"),
            "{forged}"
        );
    }
}

proptest! {
    #[test]
    fn users_cgroups_are_in_no_pod_and_their_containers_are_the_users(
        base in prop::sample::select(vec![
            "/user.slice/user-1000.slice/user@1000.service",
            "/user.slice/user-1000.slice/session-3.scope",
        ]),
        names in prop::collection::vec(any_name(), 1..8),
    ) {
        let owner = owner(&below(base, &names));
        prop_assert_eq!(owner.pod, None);
        if let Some(container) = owner.container {
            prop_assert_eq!(container.user, Some(1000));
        }
    }
}
