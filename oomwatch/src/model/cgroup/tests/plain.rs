//! Containers outside Kubernetes, systemd units, and other cgroups: name, path, level, owner.

use super::*;

use Driver::{Cgroupfs, Systemd};
use Runtime::{Containerd, Docker, Podman};

#[test]
fn docker_container_is_identified_by_its_id() {
    check([
        (
            "Docker, systemd",
            "/system.slice/docker-<ID>.scope",
            Level::Container,
            in_no_pod(Docker, ID, Systemd),
        ),
        (
            "Docker, cgroupfs",
            "/docker/<ID>",
            Level::Container,
            in_no_pod(Docker, ID, Cgroupfs),
        ),
        (
            "Docker, --cgroup-parent",
            "/my.slice/my-own.slice/docker-<ID>.scope",
            Level::Container,
            in_no_pod(Docker, ID, Systemd),
        ),
        (
            "Docker Desktop",
            "/podruntime/docker/docker/<ID>",
            Level::Container,
            in_no_pod(Docker, ID, Cgroupfs),
        ),
        (
            "Docker, rootless",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-<ID>.scope",
            Level::Container,
            in_unit("user@1000.service", users(in_no_pod(Docker, ID, Systemd))),
        ),
        (
            "Docker in Docker",
            "/docker/<ID>/docker/<NODE>",
            Level::BelowContainer,
            in_no_pod(Docker, ID, Cgroupfs),
        ),
        (
            "systemd in Docker",
            "/docker/<ID>/system.slice/nginx.service",
            Level::BelowContainer,
            in_no_pod(Docker, ID, Cgroupfs),
        ),
        (
            "request to systemd used as a directory name",
            "/system.slice/docker.service/system.slice:docker:<ID>",
            Level::Container,
            in_unit("docker.service", in_no_pod(Docker, ID, Cgroupfs)),
        ),
        (
            "seen from another cgroup namespace",
            "/../docker-<ID>.scope",
            Level::Container,
            in_no_pod(Docker, ID, Systemd),
        ),
    ]);
}

#[test]
fn containerd_container_is_identified_by_its_id() {
    check([
        (
            "ctr",
            "/default/hog",
            Level::Container,
            in_no_pod(Containerd, "hog", Cgroupfs),
        ),
        (
            "cgroup below a container of ctr",
            "/default/my.hog_1-a/child",
            Level::BelowContainer,
            in_no_pod(Containerd, "my.hog_1-a", Cgroupfs),
        ),
        (
            "ctr -n k8s.io",
            "/k8s.io/hog",
            Level::Container,
            in_no_pod(Containerd, "hog", Cgroupfs),
        ),
        (
            "ctr in another namespace",
            "/moby/hog",
            Level::Other,
            no_owner(),
        ),
        (
            "bare id below an unknown parent",
            "/foo/<ID>",
            Level::Container,
            bare(ID),
        ),
        (
            "nerdctl, systemd",
            "/system.slice/nerdctl-<ID>.scope",
            Level::Container,
            in_no_pod(Containerd, ID, Systemd),
        ),
        (
            "nerdctl, cgroupfs",
            "/default/<ID>",
            Level::Container,
            in_no_pod(Containerd, ID, Cgroupfs),
        ),
    ]);
}

#[test]
fn podman_containers_are_distinguished_from_its_pods_and_monitors() {
    check([
        (
            "Podman",
            "/machine.slice/libpod-<ID>.scope",
            Level::Container,
            in_no_pod(Podman, ID, Systemd),
        ),
        (
            "Podman's inner child",
            "/machine.slice/libpod-<ID>.scope/container",
            Level::BelowContainer,
            in_no_pod(Podman, ID, Systemd),
        ),
        (
            "Podman's conmon",
            "/machine.slice/libpod-conmon-<ID>.scope",
            Level::Unit,
            only_unit(&path("libpod-conmon-<ID>.scope")),
        ),
        (
            "Podman pod",
            "/machine.slice/machine-libpod_pod_<NODE>.slice",
            Level::Slice,
            no_owner(),
        ),
        (
            "in a Podman pod",
            "/machine.slice/machine-libpod_pod_<NODE>.slice/libpod-<ID>.scope/container",
            Level::BelowContainer,
            in_no_pod(Podman, ID, Systemd),
        ),
        (
            "Podman, cgroupfs",
            "/libpod_parent/libpod-<ID>",
            Level::Container,
            in_no_pod(Podman, ID, Cgroupfs),
        ),
        (
            "Podman pod, cgroupfs",
            "/libpod_parent/<NODE>",
            Level::Other,
            no_owner(),
        ),
        (
            "in a Podman pod, cgroupfs",
            "/libpod_parent/<NODE>/libpod-<ID>",
            Level::Container,
            in_no_pod(Podman, ID, Cgroupfs),
        ),
        (
            "Podman, rootless",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-<ID>.scope/container",
            Level::BelowContainer,
            in_unit("user@1000.service", users(in_no_pod(Podman, ID, Systemd))),
        ),
        (
            "Quadlet",
            "/system.slice/web.service/libpod-payload-<ID>",
            Level::Container,
            in_unit("web.service", in_no_pod(Podman, ID, Cgroupfs)),
        ),
        (
            "Quadlet's conmon",
            "/system.slice/web.service/runtime",
            Level::Other,
            only_unit("web.service"),
        ),
        (
            "Quadlet, rootless",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service/libpod-payload-<ID>",
            Level::Container,
            in_unit("web.service", users(in_no_pod(Podman, ID, Cgroupfs))),
        ),
    ]);
}

#[test]
fn unit_is_found_as_systemd_finds_it() {
    let rows = [
        ("/system.slice/nginx.service", "nginx.service"),
        ("/system.slice/nginx.service/worker", "nginx.service"),
        (
            "/system.slice/nginx.service/worker/evil.service",
            "nginx.service",
        ),
        ("/system.slice/nginx.service/evil.service", "nginx.service"),
        (
            "/system.slice/system-getty.slice/getty@tty1.service",
            "getty@tty1.service",
        ),
        (
            r"/system.slice/systemd-fsck@dev-disk-by\x2duuid-1\x2d2.service",
            r"systemd-fsck@dev-disk-by\x2duuid-1\x2d2.service",
        ),
        (
            r"/system.slice/system-serial\x2dgetty.slice/serial-getty@ttyS0.service",
            "serial-getty@ttyS0.service",
        ),
        ("/system.slice/docker.socket", "docker.socket"),
        ("/system.slice/home.mount", "home.mount"),
        ("/system.slice/swapfile.swap", "swapfile.swap"),
        ("/system.slice/_cpu.service", "cpu.service"),
        ("/init.scope", "init.scope"),
        (
            "/user.slice/user-1000.slice/session-3.scope",
            "session-3.scope",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service",
            "user@1000.service",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/init.scope",
            "init.scope",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice",
            "user@1000.service",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service",
            "foo.service",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service/bar.service",
            "foo.service",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/user@0.service/evil.service",
            "user@0.service",
        ),
    ];
    for (path, unit) in rows {
        let level = match path.rsplit_once('.') {
            Some((_, "slice")) => Level::Slice,
            _ if path.ends_with(unit) => Level::Unit,
            _ => Level::Other,
        };
        check([(path, path, level, only_unit(unit))]);
    }
    for path in [
        "/system.slice",
        "/user.slice/user-1000.slice",
        "/web.slice/web-shop.slice",
    ] {
        check([(path, path, Level::Slice, no_owner())]);
    }
    for path in [
        "/foo/bar",
        "/foo/system.slice",
        "/user/1000.user/c2",
        "/system.slice/foo.timer",
        "/libpod_parent/conmon",
    ] {
        check([(path, path, Level::Other, no_owner())]);
    }
    check([("root", "/", Level::Root, no_owner())]);
}
