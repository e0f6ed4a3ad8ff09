//! Every shape of a pod's path found in the field: name, path, level, owner.

use super::*;

use Driver::{Cgroupfs, Systemd};
use Qos::{BestEffort, Burstable, Guaranteed};
use Runtime::{Containerd, CriO, Docker, Lxc, Podman};

#[test]
fn paths_of_the_cgroupfs_driver_have_pod_class_and_container() {
    check([
        (
            "all pods",
            "/kubepods",
            Level::Kubepods,
            only_driver(Cgroupfs),
        ),
        (
            "burstable class",
            "/kubepods/burstable",
            Level::Qos,
            only_driver(Cgroupfs),
        ),
        (
            "best-effort class",
            "/kubepods/besteffort",
            Level::Qos,
            only_driver(Cgroupfs),
        ),
        (
            "guaranteed pod",
            "/kubepods/pod<UID>",
            Level::Pod,
            pod_only(UID, Guaranteed, Cgroupfs),
        ),
        (
            "guaranteed",
            "/kubepods/pod<UID>/<ID>",
            Level::Container,
            kube(None, Guaranteed, Cgroupfs),
        ),
        (
            "burstable",
            "/kubepods/burstable/pod<UID>/<ID>",
            Level::Container,
            kube(None, Burstable, Cgroupfs),
        ),
        (
            "best effort",
            "/kubepods/besteffort/pod<UID>/<ID>",
            Level::Container,
            kube(None, BestEffort, Cgroupfs),
        ),
        (
            "static pod",
            "/kubepods/burstable/pod<HASH>/<ID>",
            Level::Container,
            static_pod(None, Cgroupfs),
        ),
        (
            "uid from a manifest",
            "/kubepods/podmy-pod/<ID>",
            Level::Container,
            CgroupOwner {
                container: Some(container(None, ID)),
                ..pod_only("my-pod", Guaranteed, Cgroupfs)
            },
        ),
        (
            "--cgroup-root",
            "/a/b/kubepods/burstable/pod<UID>/<ID>",
            Level::Container,
            kube(None, Burstable, Cgroupfs),
        ),
        (
            "pod seen from another cgroup namespace",
            "/../../kubepods/pod<UID>/<ID>",
            Level::Container,
            kube(None, Guaranteed, Cgroupfs),
        ),
        (
            "CRI-O",
            "/kubepods/besteffort/pod<UID>/crio-<ID>",
            Level::Container,
            kube(CriO, BestEffort, Cgroupfs),
        ),
        (
            "CRI-O's inner child",
            "/kubepods/besteffort/pod<UID>/crio-<ID>/container",
            Level::BelowContainer,
            kube(CriO, BestEffort, Cgroupfs),
        ),
        (
            "CRI-O's conmon",
            "/kubepods/pod<UID>/crio-conmon-<ID>",
            Level::Other,
            pod_only(UID, Guaranteed, Cgroupfs),
        ),
    ]);
}

#[test]
fn cgroups_created_inside_a_container_belong_to_it() {
    check([
        (
            "cgroup below a container",
            "/kubepods/pod<UID>/<ID>/a/b/c",
            Level::BelowContainer,
            kube(None, Guaranteed, Cgroupfs),
        ),
        (
            "pod forged below a container",
            "/kubepods/pod<UID>/<ID>/kubepods/podother/<NODE>",
            Level::BelowContainer,
            kube(None, Guaranteed, Cgroupfs),
        ),
        (
            "docker in a pod",
            "/kubepods/pod<UID>/<ID>/docker/<NODE>",
            Level::BelowContainer,
            kube(None, Guaranteed, Cgroupfs),
        ),
        (
            "kind in a pod",
            "/kubepods/pod<UID>/<ID>/docker/<NODE>/kubelet/kubepods/podother/<NODE>",
            Level::BelowContainer,
            kube(None, Guaranteed, Cgroupfs),
        ),
    ]);
}

#[test]
fn paths_of_the_systemd_driver_have_pod_class_and_container() {
    check([
        (
            "all pods",
            "/kubepods.slice",
            Level::Kubepods,
            only_driver(Systemd),
        ),
        (
            "burstable class",
            "/kubepods.slice/kubepods-burstable.slice",
            Level::Qos,
            only_driver(Systemd),
        ),
        (
            "best-effort pod",
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod<UID_>.slice",
            Level::Pod,
            pod_only(UID, BestEffort, Systemd),
        ),
        (
            "guaranteed",
            "/kubepods.slice/kubepods-pod<UID_>.slice/cri-containerd-<ID>.scope",
            Level::Container,
            kube(Containerd, Guaranteed, Systemd),
        ),
        (
            "burstable",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<UID_>.slice/cri-containerd-<ID>.scope",
            Level::Container,
            kube(Containerd, Burstable, Systemd),
        ),
        (
            "best effort",
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod<UID_>.slice/cri-containerd-<ID>.scope",
            Level::Container,
            kube(Containerd, BestEffort, Systemd),
        ),
        (
            "static pod",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<HASH>.slice/cri-containerd-<ID>.scope",
            Level::Container,
            static_pod(Containerd, Systemd),
        ),
        (
            "systemd in the container",
            "/kubepods.slice/kubepods-pod<UID_>.slice/cri-containerd-<ID>.scope/init.scope",
            Level::BelowContainer,
            kube(Containerd, Guaranteed, Systemd),
        ),
        (
            "unit in the container",
            "/kubepods.slice/kubepods-pod<UID_>.slice/cri-containerd-<ID>.scope/system.slice/sshd.service",
            Level::BelowContainer,
            kube(Containerd, Guaranteed, Systemd),
        ),
    ]);
}

#[test]
fn scope_in_a_pod_identifies_its_runtime() {
    check([
        (
            "CRI-O",
            "/kubepods.slice/kubepods-pod<UID_>.slice/crio-<ID>.scope",
            Level::Container,
            kube(CriO, Guaranteed, Systemd),
        ),
        (
            "CRI-O's inner child",
            "/kubepods.slice/kubepods-pod<UID_>.slice/crio-<ID>.scope/container",
            Level::BelowContainer,
            kube(CriO, Guaranteed, Systemd),
        ),
        (
            "CRI-O's conmon in the pod",
            "/kubepods.slice/kubepods-pod<UID_>.slice/crio-conmon-<ID>.scope",
            Level::Other,
            in_unit(
                &path("crio-conmon-<ID>.scope"),
                pod_only(UID, Guaranteed, Systemd),
            ),
        ),
        (
            "dockershim and cri-dockerd",
            "/kubepods.slice/kubepods-pod<UID_>.slice/docker-<ID>.scope",
            Level::Container,
            kube(Docker, Guaranteed, Systemd),
        ),
    ]);
}

#[test]
fn runtime_with_cgroupfs_is_found_below_a_kubelet_with_systemd() {
    check([
        (
            "an older containerd without systemd",
            "/kubepods.slice/kubepods-pod<UID_>.slice/<ID>",
            Level::Container,
            kube(None, Guaranteed, Systemd),
        ),
        (
            "request to systemd used as a directory name, v2",
            "/system.slice/kubepods-burstable-pod<UID_>.slice:cri-containerd:<ID>",
            Level::Container,
            kube(Containerd, Burstable, Systemd),
        ),
        (
            "request to systemd used as a directory name, v1",
            "/system.slice/containerd.service/kubepods-pod<UID_>.slice:cri-containerd:<ID>",
            Level::Container,
            in_unit("containerd.service", kube(Containerd, Guaranteed, Systemd)),
        ),
        (
            "--cgroup-root",
            "/a_b.slice/a_b-c.slice/a_b-c-kubepods.slice/a_b-c-kubepods-pod<UID_>.slice/crio-<ID>.scope",
            Level::Container,
            kube(CriO, Guaranteed, Systemd),
        ),
    ]);
}

#[test]
fn pod_of_a_rootless_kubelet_has_the_unit_that_contains_it() {
    check_below(
        "/user.slice/user-1000.slice/user@1000.service/app.slice/k3s.service",
        [(
            "rootless kubelet",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/k3s.service/kubepods/pod<UID>/<ID>",
            Level::Container,
            in_unit("k3s.service", kube(None, Guaranteed, Cgroupfs)),
        )],
    );
    check([(
        "no pod cgroups (--cgroups-per-qos=false)",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/cri-containerd-<ID>.scope",
        Level::Container,
        in_unit(
            "user@1000.service",
            users(in_no_pod(Containerd, ID, Systemd)),
        ),
    )]);
}

#[test]
fn node_in_a_container_has_the_levels_of_a_node() {
    check([
        (
            "kind seen from within",
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod<UID_>.slice/cri-containerd-<ID>.scope",
            Level::Container,
            kube(Containerd, Burstable, Systemd),
        ),
        (
            "kind seen from within, cgroupfs",
            "/kubelet/kubepods/besteffort/pod<UID>/<ID>",
            Level::Container,
            kube(None, BestEffort, Cgroupfs),
        ),
        (
            "kind node",
            "/system.slice/docker-<NODE>.scope",
            Level::Container,
            in_no_pod(Docker, NODE, Systemd),
        ),
        (
            "kind node's kubelet",
            "/system.slice/docker-<NODE>.scope/kubelet.slice/kubelet.service",
            Level::BelowContainer,
            in_no_pod(Docker, NODE, Systemd),
        ),
    ]);
    check_below(
        "/docker/<NODE>/kubelet.slice",
        [(
            "kind node's pods",
            "/docker/<NODE>/kubelet.slice/kubelet-kubepods.slice",
            Level::Kubepods,
            in_no_pod(Docker, NODE, Cgroupfs),
        )],
    );
    check_below(
        "/docker/<NODE>/kubelet",
        [(
            "kind node's class",
            "/docker/<NODE>/kubelet/kubepods/burstable",
            Level::Qos,
            in_no_pod(Docker, NODE, Cgroupfs),
        )],
    );
}

#[test]
fn pod_on_a_node_in_a_container_has_that_node() {
    let rows = [
        (
            "kind on v2",
            "/system.slice/docker-<NODE>.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod<UID_>.slice/cri-containerd-<ID>.scope",
            Level::Container,
            nested(kube(Containerd, Guaranteed, Systemd), Docker),
        ),
        (
            "kind on v1",
            "/docker/<NODE>/kubelet/kubepods/burstable/pod<UID>/<ID>",
            Level::Container,
            nested(kube(None, Burstable, Cgroupfs), Docker),
        ),
        (
            "kind on v1, node twice",
            "/docker/<NODE>/docker/<NODE>/kubelet/kubepods/pod<UID>/<ID>/a",
            Level::BelowContainer,
            nested(kube(None, Guaranteed, Cgroupfs), Docker),
        ),
        (
            "kind's pod",
            "/docker/<NODE>/kubelet/kubepods/pod<UID>",
            Level::Pod,
            nested(pod_only(UID, Guaranteed, Cgroupfs), Docker),
        ),
        (
            "beside the containers of kind's pod",
            "/docker/<NODE>/kubelet/kubepods/pod<UID>/foo",
            Level::Other,
            nested(pod_only(UID, Guaranteed, Cgroupfs), Docker),
        ),
        (
            "minikube and k3d",
            "/docker/<NODE>/kubepods/besteffort/pod<UID>/<ID>",
            Level::Container,
            nested(kube(None, BestEffort, Cgroupfs), Docker),
        ),
        (
            "kind with Podman",
            "/machine.slice/libpod-<NODE>.scope/container/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod<UID_>.slice/cri-containerd-<ID>.scope",
            Level::Container,
            nested(kube(Containerd, Guaranteed, Systemd), Podman),
        ),
        (
            "kind with rootless nerdctl",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/nerdctl-<NODE>.scope/kubelet/kubepods/pod<UID>/<ID>",
            Level::Container,
            in_unit(
                "user@1000.service",
                users_node(nested(kube(None, Guaranteed, Cgroupfs), Containerd)),
            ),
        ),
        (
            "Kubernetes in LXC",
            "/lxc.payload.ny2g2r5hh3-lxc/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<UID_>.slice/cri-containerd-<ID>.scope",
            Level::Container,
            CgroupOwner {
                node: Some(container(Lxc, "ny2g2r5hh3-lxc")),
                ..kube(Containerd, Burstable, Systemd)
            },
        ),
    ];
    for row in rows {
        let (_, path, ..) = row;
        let tree = path.find("kubelet-kubepods").or(path.find("kubepods"));
        let root = path
            .get(..tree.expect("it has a tree"))
            .expect("in the path");
        check_below(root, [row]);
    }
}

fn users_node(mut owner: CgroupOwner) -> CgroupOwner {
    owner.node.as_mut().expect("it has a node").user = Some(1000);
    owner
}

#[test]
fn small_distributions_have_the_layout_of_a_kubelet() {
    check([
        (
            "k3s, k0s and microk8s on the host",
            "/kubepods/burstable/pod<UID>/<ID>",
            Level::Container,
            kube(None, Burstable, Cgroupfs),
        ),
        (
            "microk8s itself",
            "/system.slice/snap.microk8s.daemon-kubelite.service",
            Level::Unit,
            only_unit("snap.microk8s.daemon-kubelite.service"),
        ),
        (
            "Talos itself",
            "/podruntime/kubelet",
            Level::Other,
            no_owner(),
        ),
        ("k3s on OpenRC", "/k3s", Level::Other, no_owner()),
    ]);
}
