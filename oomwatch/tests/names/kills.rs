//! Kills without names, and the resolver that names them.

use std::path::Path;

use oomwatch::{
    identify::{
        resolver::{NameSources, Resolver},
        runtimes::{Listing, RuntimeConfig},
        sockets::SocketChoice,
    },
    model::{
        backend::Backend,
        cgroup::KubeletRoot,
        kill::{Attribution, Cgroup, Kill, Scope, Source, Victim},
        report::{Host, NodeKubelet, Origin, Report},
    },
    sys::clock,
};
use tokio::time::{sleep, timeout};

use crate::api_server::PATIENCE;

/// A resolver with the API as its only source.
pub(crate) fn names() -> Resolver {
    let names = Resolver::new(NameSources {
        runtimes: RuntimeConfig {
            cri: SocketChoice::Off,
            docker: SocketChoice::Off,
            podman: Vec::new(),
            proc_root: "/proc".into(),
            listing: Listing::Never,
        },
        log_root: Path::new("/nonexistent").into(),
        cgroup_root: Path::new("/nonexistent").into(),
        kubelet: KubeletRoot::Unknown,
    });
    names.close();
    names
}

/// What becomes of a kill in a container.
pub(crate) async fn named(names: &Resolver, uid: &str, container: &str) -> Report {
    names.push(report(uid, container));
    timeout(PATIENCE, names.ready()).await.expect("it leaves");
    names.pop().expect("the kill")
}

/// Resolves kills until one is as expected: the watch lags behind.
pub(crate) async fn named_so(
    names: &Resolver,
    uid: &str,
    container: &str,
    is_so: impl Fn(&Report) -> bool,
) -> Report {
    let tried = async {
        loop {
            let report = named(names, uid, container).await;
            if is_so(&report) {
                return report;
            }
            sleep(PATIENCE / 1000).await;
        }
    };
    timeout(PATIENCE, tried).await.expect("it is named so")
}

/// Waits until the watch is up, or down.
pub(crate) async fn until_watch_is(names: &Resolver, up: bool) {
    let polled = async {
        while names.is_watch_up() != Some(up) {
            sleep(PATIENCE / 1000).await;
        }
    };
    timeout(PATIENCE, polled).await.expect("the watch is so");
}

/// Namespace, name and container.
pub(crate) fn all_names(report: &Report) -> [Option<&str>; 3] {
    let pod = report.pod.as_ref();
    let container = report.container.as_ref();
    [
        pod.and_then(|pod| pod.namespace.as_deref()),
        pod.and_then(|pod| pod.name.as_deref()),
        container.and_then(|container| container.name.as_deref()),
    ]
}

/// An id for a container.
pub(crate) fn id(digit: char) -> String {
    digit.to_string().repeat(64)
}

fn report(uid: &str, container: &str) -> Report {
    let path = format!("/kubepods/burstable/pod{uid}/{container}");
    let kill = Kill {
        boot_time_ns: None,
        incident_boot_time_ns: None,
        source: Source::Bpf,
        backend: Backend::Fentry,
        attribution: Attribution::Kernel,
        scope: Scope::Unknown,
        constraint: None,
        allocation: None,
        group_kill: None,
        log_key: None,
        group_cgroup: None,
        oom_level: None,
        oom_group_level: None,
        limit_lowered: None,
        account: None,
        limits: vec![],
        victim: Victim {
            pid: 7,
            tid: 7,
            ns_pid: None,
            comm: None,
            uid: None,
            oom_score_adj: None,
            oom_points: None,
            total_vm_bytes: None,
            anon_rss_bytes: None,
            file_rss_bytes: None,
            shmem_rss_bytes: None,
            swap_bytes: None,
            pgtables_bytes: None,
            start_boot_time_ns: None,
            cgroup: Some(Cgroup {
                path: path.into_bytes(),
                id: None,
            }),
            leaf_cgroup: None,
            is_namespace_init: None,
        },
        trigger: None,
        missing: vec![],
    };
    let host = Host {
        node: "node-1".to_owned(),
        boot_id: "0f1e2d3c".to_owned(),
        kubelet: NodeKubelet::default(),
    };
    Report::new(
        kill,
        Origin::Boot {
            host: &host,
            now: clock::ClockSample::now(),
        },
    )
}
