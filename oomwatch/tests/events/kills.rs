//! Kills as the agent would hand them over, each of its own.

use oomwatch::{
    identify::directory::Directory,
    model::{
        backend::Backend,
        kill::{Attribution, Cgroup, Constraint, Kill, Limit, Scope, Source, Victim},
        limit_owner::LimitOwner,
        report::{Container, ContainerKind, Host, NodeKubelet, Origin, Report},
    },
    sys::clock,
};

use crate::delivery::NODE;

/// The UID of every pod here.
pub(crate) const POD_UID: &str = "8a4e6bd2-0f35-4c1b-9a77-2b1d5e6f7081";
const CONTAINER_ID: &str = "3f1c0e7ab2d94c5586a1f7e2d0b9c8a7f6e5d4c3b2a190817263544536271809";

/// The main process of container `app` of a pod, killed now at the container's limit.
pub(crate) fn in_pod(namespace: &str, pod: &str, pid: u32) -> Report {
    let path = format!("/kubepods/burstable/pod{POD_UID}/{CONTAINER_ID}");
    let cgroup = Cgroup {
        path: path.into_bytes(),
        id: Some(5005),
    };
    let limit = Limit {
        cgroup: cgroup.clone(),
        usage_bytes: Some(40 << 20),
        limit_bytes: Some(40 << 20),
        swap_usage_bytes: Some(0),
        swap_limit_bytes: None,
    };
    let kill = Kill {
        scope: Scope::Memcg,
        constraint: Some(Constraint::Memcg),
        oom_level: Some(0),
        limits: vec![limit],
        ..kill(pid, Some(cgroup))
    };
    let mut report = report(kill);
    let container = report.container.get_or_insert_with(|| Container {
        runtime: None,
        id: CONTAINER_ID.to_owned(),
        user: None,
        name: None,
        kind: None,
        image: None,
    });
    container.name = Some("app".to_owned());
    container.kind = Some(ContainerKind::Main);
    let its_pod = report.pod.as_mut().expect("the cgroup is a pod's");
    its_pod.namespace = Some(namespace.to_owned());
    its_pod.name = Some(pod.to_owned());
    report.limit_owner = Some(LimitOwner::Container);
    report
}

/// A process of no pod, killed now because the system ran out.
pub(crate) fn of_system(pid: u32) -> Report {
    let kill = Kill {
        scope: Scope::System,
        constraint: Some(Constraint::None),
        ..kill(pid, None)
    };
    report(kill)
}

fn report(kill: Kill) -> Report {
    let mut report = Report::new(
        kill,
        Origin::Boot {
            host: &host(),
            now: clock::ClockSample::now(),
        },
    );
    Directory::default().decide(&mut report);
    report
}

/// Where and on which boot they are.
pub(crate) fn host() -> Host {
    Host {
        node: NODE.to_owned(),
        boot_id: "0f1e2d3c4b5a69788796a5b4c3d2e1f0".to_owned(),
        kubelet: NodeKubelet::default(),
    }
}

fn kill(pid: u32, cgroup: Option<Cgroup>) -> Kill {
    let now_ns = clock::since_boot_ns();
    Kill {
        boot_time_ns: Some(now_ns),
        incident_boot_time_ns: Some(now_ns),
        source: Source::Bpf,
        backend: Backend::Fentry,
        attribution: Attribution::Kernel,
        scope: Scope::Unknown,
        constraint: None,
        allocation: None,
        group_kill: Some(false),
        log_key: None,
        group_cgroup: None,
        oom_level: None,
        oom_group_level: None,
        limit_lowered: None,
        account: None,
        limits: Vec::new(),
        victim: Victim {
            pid,
            tid: pid,
            ns_pid: Some(1),
            comm: Some(b"tail".to_vec()),
            uid: Some(0),
            oom_score_adj: Some(0),
            oom_points: None,
            total_vm_bytes: Some(64 << 20),
            anon_rss_bytes: Some(41_418_752),
            file_rss_bytes: Some(4096),
            shmem_rss_bytes: Some(0),
            swap_bytes: Some(0),
            pgtables_bytes: Some(126_976),
            start_boot_time_ns: Some(now_ns - 1),
            cgroup,
            leaf_cgroup: None,
            is_namespace_init: Some(true),
        },
        trigger: None,
        missing: Vec::new(),
    }
}
