//! Containers of other owners than the usual runtimes, as found in kernel logs: name, path, level, owner.

use super::*;

use Driver::{Cgroupfs, Systemd};
use Runtime::{BuildKit, Docker, Lxc, Machined, Nspawn, Podman, Slurm};

#[test]
fn docker_below_a_parent_of_its_clients_choice_has_the_id() {
    check([
        (
            "ECS, cgroup v1",
            "/ecs/f209da7f990b45b585488946f0eec404/<ID>",
            Level::Container,
            in_no_pod(Docker, ID, Cgroupfs),
        ),
        (
            "ECS, cgroup v1, process below it",
            "/ecs/ecs-prod/f209da7f990b45b585488946f0eec404/<ID>/a",
            Level::BelowContainer,
            in_no_pod(Docker, ID, Cgroupfs),
        ),
        (
            "ECS, the task",
            "/ecs/f209da7f990b45b585488946f0eec404",
            Level::Other,
            no_owner(),
        ),
        (
            "ECS, cgroup v2",
            "/ecstasks.slice/ecstasks-f209da7f990b45b585488946f0eec404.slice/docker-<ID>.scope",
            Level::Container,
            in_no_pod(Docker, ID, Systemd),
        ),
        (
            "ECS, the task, cgroup v2",
            "/ecstasks.slice/ecstasks-f209da7f990b45b585488946f0eec404.slice",
            Level::Slice,
            no_owner(),
        ),
        (
            "Fargate",
            "/ecs/f209da7f990b45b585488946f0eec404/f209da7f990b45b585488946f0eec404-2531612879",
            Level::Container,
            bare("f209da7f990b45b585488946f0eec404-2531612879"),
        ),
        (
            "GitHub's runner",
            "/actions_job/<ID>",
            Level::Container,
            in_no_pod(Docker, ID, Cgroupfs),
        ),
        (
            "Azure's runner",
            "/azpl_job/<ID>",
            Level::Container,
            in_no_pod(Docker, ID, Cgroupfs),
        ),
        (
            "GitHub's runner on an own machine",
            "/system.slice/actions.runner.acme-shop.box.service",
            Level::Unit,
            only_unit("actions.runner.acme-shop.box.service"),
        ),
        (
            "--cgroup-parent",
            "/build/agents/<ID>",
            Level::Container,
            bare(ID),
        ),
        (
            "--cgroup-parent, a slice",
            "/build.slice/<ID>",
            Level::Container,
            bare(ID),
        ),
        (
            "Docker of snapd",
            "/system.slice/snap.docker.dockerd.service/docker/<ID>",
            Level::Container,
            in_unit(
                "snap.docker.dockerd.service",
                in_no_pod(Docker, ID, Cgroupfs),
            ),
        ),
        (
            "kind in a job",
            "/actions_job/<NODE>/kubepods/burstable/pod<UID>/<ID>",
            Level::BelowContainer,
            in_no_pod(Docker, NODE, Cgroupfs),
        ),
    ]);
}

#[test]
fn step_of_a_build_has_its_id() {
    const STEP: &str = "m0yk3n1r5w2qv8t4x7z6c9b1d";
    check([
        (
            "in Docker",
            "/docker/buildkit/m0yk3n1r5w2qv8t4x7z6c9b1d",
            Level::Container,
            in_no_pod(BuildKit, STEP, Cgroupfs),
        ),
        (
            "buildkitd",
            "/buildkit/m0yk3n1r5w2qv8t4x7z6c9b1d/a",
            Level::BelowContainer,
            in_no_pod(BuildKit, STEP, Cgroupfs),
        ),
        (
            "in Docker's service",
            "/system.slice/docker.service/docker/buildkit/m0yk3n1r5w2qv8t4x7z6c9b1d",
            Level::Container,
            in_unit("docker.service", in_no_pod(BuildKit, STEP, Cgroupfs)),
        ),
        (
            "asked of systemd",
            "/system.slice/buildkit-m0yk3n1r5w2qv8t4x7z6c9b1d.scope",
            Level::Container,
            in_no_pod(BuildKit, STEP, Systemd),
        ),
        (
            "request to systemd used as a directory name",
            "/system.slice/docker.service/system.slice:buildkit:m0yk3n1r5w2qv8t4x7z6c9b1d",
            Level::Container,
            in_unit("docker.service", in_no_pod(BuildKit, STEP, Cgroupfs)),
        ),
        (
            "in a builder that is a container",
            "/docker/<ID>/buildkit/m0yk3n1r5w2qv8t4x7z6c9b1d",
            Level::BelowContainer,
            in_no_pod(Docker, ID, Cgroupfs),
        ),
        ("all steps", "/docker/buildkit", Level::Other, no_owner()),
    ]);
}

#[test]
fn lxc_container_has_its_name() {
    check([
        (
            "Proxmox",
            "/lxc/107",
            Level::Container,
            in_no_pod(Lxc, "107", Cgroupfs),
        ),
        (
            "a unit in Proxmox's",
            "/lxc/107/ns/system.slice/paperless-task-queue.service",
            Level::BelowContainer,
            in_no_pod(Lxc, "107", Cgroupfs),
        ),
        (
            "LXC in Proxmox's",
            "/lxc/305/ns/lxc.payload.web",
            Level::BelowContainer,
            in_no_pod(Lxc, "305", Cgroupfs),
        ),
        (
            "LXD and Incus",
            "/lxc.payload.my-web.1/system.slice/nginx.service",
            Level::BelowContainer,
            in_no_pod(Lxc, "my-web.1", Cgroupfs),
        ),
        (
            "LXD's project",
            "/lxc.payload.shop_web",
            Level::Container,
            in_no_pod(Lxc, "shop_web", Cgroupfs),
        ),
        (
            "LXD with LXC 3",
            "/lxc.payload/tryit-select/system.slice/lxd.service",
            Level::BelowContainer,
            in_no_pod(Lxc, "tryit-select", Cgroupfs),
        ),
        (
            "Chrome OS",
            "/lxc.payload.penguin/user.slice/user-1000.slice/user@1000.service",
            Level::BelowContainer,
            in_no_pod(Lxc, "penguin", Cgroupfs),
        ),
        (
            "in the service that started it",
            "/system.slice/lxc@web.service/lxc.payload.web",
            Level::Container,
            in_unit("lxc@web.service", in_no_pod(Lxc, "web", Cgroupfs)),
        ),
        (
            "a user's",
            "/user.slice/user-1000.slice/session-3.scope/lxc.payload.web",
            Level::Container,
            in_unit("session-3.scope", users(in_no_pod(Lxc, "web", Cgroupfs))),
        ),
        (
            "a user's, cgmanager",
            "/user/1000.user/c2/lxc/web",
            Level::Container,
            users(in_no_pod(Lxc, "web", Cgroupfs)),
        ),
        ("monitor", "/lxc.monitor.web", Level::Other, no_owner()),
        (
            "monitor, Proxmox",
            "/lxc.monitor/107",
            Level::Other,
            no_owner(),
        ),
        ("all", "/lxc", Level::Other, no_owner()),
        ("no name", "/lxc.payload.", Level::Other, no_owner()),
        (
            "Kubernetes in LXC",
            "/lxc.payload.web/kubepods.slice/kubepods-pod<UID_>.slice/cri-containerd-<ID>.scope",
            Level::BelowContainer,
            in_no_pod(Lxc, "web", Cgroupfs),
        ),
    ]);
}

#[test]
fn machine_of_systemd_has_its_name() {
    check([
        (
            "nspawn",
            "/machine.slice/systemd-nspawn@box.service",
            Level::Container,
            in_unit(
                "systemd-nspawn@box.service",
                in_no_pod(Nspawn, "box", Systemd),
            ),
        ),
        (
            "a unit in it",
            "/machine.slice/systemd-nspawn@box.service/payload/system.slice/nginx.service",
            Level::BelowContainer,
            in_unit(
                "systemd-nspawn@box.service",
                in_no_pod(Nspawn, "box", Systemd),
            ),
        ),
        (
            "nspawn from a shell",
            r"/machine.slice/machine-my\x2dbox.scope/payload/init.scope",
            Level::BelowContainer,
            in_no_pod(Machined, "my-box", Systemd),
        ),
        (
            "libvirt",
            r"/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/emulator",
            Level::BelowContainer,
            in_no_pod(Machined, "qemu-1-vm", Systemd),
        ),
        (
            "escape that is cut",
            r"/machine.slice/machine-my\x2.scope",
            Level::Unit,
            only_unit(r"machine-my\x2.scope"),
        ),
        (
            "Proxmox's machine",
            "/qemu.slice/100.scope",
            Level::Unit,
            only_unit("100.scope"),
        ),
    ]);
}

#[test]
fn job_of_slurm_has_its_number() {
    check([
        (
            "cgroup v1",
            "/slurm/uid_1000/job_123/step_0/task_0",
            Level::BelowContainer,
            in_no_pod(Slurm, "123", Cgroupfs),
        ),
        (
            "cgroup v1, several daemons",
            "/slurm_node7/uid_1000/job_123",
            Level::Container,
            in_no_pod(Slurm, "123", Cgroupfs),
        ),
        (
            "cgroup v2",
            "/system.slice/slurmstepd.scope/job_1392969/step_batch/user/task_special",
            Level::BelowContainer,
            in_unit("slurmstepd.scope", in_no_pod(Slurm, "1392969", Cgroupfs)),
        ),
        (
            "cgroup v2, several daemons",
            "/system.slice/node7_slurmstepd.scope/job_4",
            Level::Container,
            in_unit("node7_slurmstepd.scope", in_no_pod(Slurm, "4", Cgroupfs)),
        ),
        (
            "its own processes",
            "/system.slice/slurmstepd.scope/system",
            Level::Other,
            only_unit("slurmstepd.scope"),
        ),
        (
            "no number",
            "/slurm/uid_1000/job_x",
            Level::Other,
            no_owner(),
        ),
        (
            "in another unit",
            "/system.slice/evil.service/slurmstepd.scope/job_4",
            Level::Other,
            only_unit("evil.service"),
        ),
    ]);
}

#[test]
fn container_of_a_user_has_that_user() {
    check([
        (
            "Podman",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-<ID>.scope",
            Level::Container,
            in_unit("user@1000.service", users(in_no_pod(Podman, ID, Systemd))),
        ),
        (
            "Podman without systemd",
            "/user.slice/user-1000.slice/session-3.scope/libpod_parent/libpod-<ID>",
            Level::Container,
            in_unit("session-3.scope", users(in_no_pod(Podman, ID, Cgroupfs))),
        ),
        (
            "Toolbx",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_<NODE>.slice/libpod-<ID>.scope/container",
            Level::BelowContainer,
            in_unit("user@1000.service", users(in_no_pod(Podman, ID, Systemd))),
        ),
    ]);
}
