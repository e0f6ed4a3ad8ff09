//! Resolver on a real node: its kubelet and containerd run the pods, the kernel kills in them.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use clap::Parser as _;
use oomwatch::{
    capture::{
        config::CaptureConfig,
        observer::{CaptureItem, Observer},
    },
    cli::{Cli, Command as Typed},
    identify::{
        resolver::{NameSources, Resolver},
        runtimes::{Listing, RuntimeConfig},
        sockets::SocketChoice,
    },
    model::{
        cgroup::KubeletRoot,
        kill::MainProcess,
        limit_owner::{LimitOwner, LimitSource},
        report::{ContainerKind, Host, NodeKubelet, Origin, Report},
    },
    sys::{clock, proc},
};
use serde_json::Value;
use tokio::{runtime::Builder, time::timeout};

use crate::{
    Scenario,
    api_server::{self, PATIENCE, client},
    kills::{all_names, until_watch_is},
};

pub(crate) const ALL: [Scenario<Node>; 2] = [
    ("every_kill_on_a_node_is_named", every_kill),
    ("pod_deleted_with_the_kill_is_named", deleted),
];

const PODS: &str = include_str!("pods.yaml");
const STATIC_POD: &str = include_str!("static-pod.yaml");

/// A node on this machine.
pub(crate) struct Node {
    assets: PathBuf,
    kubeconfig: PathBuf,
    socket: String,
    name: String,
    folder: PathBuf,
}

impl Node {
    /// The node that the environment names, or why there is none.
    pub(crate) fn find() -> Result<Self, String> {
        let variable = |name: &str| env::var(name).map_err(|_| format!("{name} names no node"));
        Ok(Self {
            kubeconfig: variable("KUBECONFIG")?.into(),
            socket: variable("CONTAINER_RUNTIME_ENDPOINT")?,
            name: variable("KUBE_NODE_NAME")?,
            folder: variable("KUBE_NODE_DIR")?.into(),
            assets: api_server::assets()?,
        })
    }

    fn kubectl(&self, arguments: &[&str]) {
        let output = api_server::kubectl(&self.assets, &self.kubeconfig, arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    fn apply(&self, pods: &str, folder: &Path) {
        let file = folder.join("pods.yaml");
        fs::write(&file, pods.replace("NODE", &self.name)).expect("write the pods");
        self.kubectl(&["apply", "-f", &file.to_string_lossy()]);
    }

    /// What the agent would report until `is_enough` says so; `doing` provokes it.
    fn reports(
        &self,
        doing: impl FnOnce() + Send,
        mut is_enough: impl FnMut(&[Report]) -> bool,
    ) -> Vec<Report> {
        let runtime = Builder::new_current_thread().enable_all().build();
        thread::scope(|scope| {
            runtime.expect("start a runtime").block_on(async {
                let kernel = kernel();
                let host = Host {
                    node: self.name.clone(),
                    boot_id: proc::boot_id(&kernel.proc_root).expect("a boot id"),
                    kubelet: NodeKubelet::default(),
                };
                let mut names = Resolver::new(self.sources(&kernel));
                names.watch_pods(client(&self.kubeconfig).await, &self.name);
                until_watch_is(&names, true).await;
                let mut observer = Observer::open(&kernel).expect("see kills");
                scope.spawn(doing);
                let mut all = Vec::new();
                let follow = async {
                    while !is_enough(&all) {
                        tokio::select! {
                            drained = observer.drain(|seen| {
                                if let CaptureItem::Kill(kill) = seen {
                                    let origin = Origin::Boot {
                                        host: &host,
                                        now: clock::ClockSample::now(),
                                    };
                                    names.push(Report::new(*kill, origin));
                                }
                                std::ops::ControlFlow::<()>::Continue(())
                            }) => assert!(drained.expect("see kills").is_continue()),
                            () = names.ready() => {}
                        }
                        all.extend(std::iter::from_fn(|| names.pop()));
                    }
                };
                if timeout(2 * PATIENCE, follow).await.is_err() {
                    let summaries: Vec<_> = all.iter().map(summary).collect();
                    panic!("no more kills arrived than {summaries:#?}");
                }
                all
            })
        })
    }

    fn sources(&self, kernel: &CaptureConfig) -> NameSources {
        NameSources {
            runtimes: RuntimeConfig {
                cri: self.socket.parse().expect("a socket"),
                docker: SocketChoice::Off,
                podman: Vec::new(),
                proc_root: kernel.proc_root.clone(),
                listing: Listing::AtStart,
            },
            log_root: Path::new("/nonexistent").into(),
            cgroup_root: kernel.cgroup_root.clone(),
            kubelet: KubeletRoot::Unknown,
        }
    }

    /// `oomwatch watch`, which has no access to the API.
    fn watch(&self) -> Child {
        Command::new(env!("CARGO_BIN_EXE_oomwatch"))
            .args(["watch", "-o", "json", "--log-root", "/nonexistent"])
            .args(["--cri-socket", &self.socket, "--docker-socket", "off"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("start oomwatch")
    }
}

fn kernel() -> CaptureConfig {
    match Cli::parse_from(["oomwatch", "watch"]).command {
        Typed::Watch(args) => args.kernel.into(),
        _ => unreachable!("watch was typed"),
    }
}

fn summary(report: &Report) -> String {
    format!(
        "{:?} {:?} {:?} {:?} sandbox {} {:?}",
        all_names(report),
        report.container.as_ref().map(|container| container.kind),
        report.limit_owner,
        report.main_process,
        report.sandbox,
        report
            .kill
            .victim
            .comm
            .as_deref()
            .map(String::from_utf8_lossy),
    )
}

fn of<'a>(all: &'a [Report], pod: &str) -> Vec<&'a Report> {
    all.iter()
        .filter(|report| all_names(report)[1] == Some(pod))
        .collect()
}

fn every_kill(node: &Node) {
    let folder = tempfile::tempdir().expect("make a folder");
    let manifest = node.folder.join("manifests/names-static.yaml");
    let mirror = format!("names-static-{}", node.name);
    let watch = node.watch();
    let make = || {
        node.apply(PODS, folder.path());
        fs::write(&manifest, STATIC_POD).expect("write the static pod");
    };
    let all = node.reports(make, |all| {
        of(all, "names-main").len() >= 2
            && [
                "names-init",
                "names-shared-child",
                "names-shared-main",
                "names-tiny",
                &mirror,
            ]
            .iter()
            .all(|pod| !of(all, pod).is_empty())
    });
    fs::remove_file(&manifest).expect("remove the static pod");
    let summaries: Vec<_> = all.iter().map(summary).collect();
    eprintln!("{summaries:#?}");

    // Started twice: two ids, one name.
    let main = of(&all, "names-main");
    let ids: Vec<_> = main
        .iter()
        .filter_map(|report| Some(&report.container.as_ref()?.id))
        .collect();
    assert_ne!(ids[0], ids[1]);
    for report in main {
        assert_eq!(
            all_names(report),
            [Some("default"), Some("names-main"), Some("app")]
        );
        let container = report.container.as_ref().expect("the container");
        assert_eq!(container.kind, Some(ContainerKind::Main));
        assert_eq!(container.image.as_deref(), Some("localhost/busybox:1"));
        assert_eq!(report.limit_owner, Some(LimitOwner::Container));
        assert_eq!(report.main_process, MainProcess::Yes);
    }
    for (pod, container, kind, main_process) in [
        (
            "names-init",
            "migrate",
            ContainerKind::Init,
            MainProcess::Yes,
        ),
        (
            "names-shared-child",
            "app",
            ContainerKind::Main,
            MainProcess::No,
        ),
        (
            "names-shared-main",
            "app",
            ContainerKind::Main,
            MainProcess::Yes,
        ),
        (&mirror, "app", ContainerKind::Main, MainProcess::Yes),
    ] {
        let report = of(&all, pod)[0];
        assert_eq!(
            all_names(report),
            [Some("default"), Some(pod), Some(container)]
        );
        let found = report.container.as_ref().expect("the container");
        assert_eq!(found.kind, Some(kind), "{pod}");
        assert_eq!(report.main_process, main_process, "{pod}");
        assert!(!report.sandbox, "{pod}");
    }
    // A pod's limit that ran out is its only container's.
    for report in &all {
        let by_pod = report.limit_source == Some(LimitSource::ContainerLimits);
        if by_pod && !report.sandbox {
            assert_eq!(
                report.limit_owner,
                Some(LimitOwner::Container),
                "{}",
                summary(report)
            );
        }
    }
    let static_uid = &of(&all, &mirror)[0].pod.as_ref().expect("the pod").uid;
    assert!(!static_uid.contains('-'), "{static_uid}");
    for report in of(&all, "names-tiny") {
        assert!(report.sandbox, "{}", summary(report));
        assert_eq!(report.container, None);
    }
    check_watch(watch, &mirror);
    delete_all(node);
}

/// Who has CRI alone names the same, but for the kind.
fn check_watch(mut watch: Child, mirror: &str) {
    let pid = rustix::process::Pid::from_child(&watch);
    let status = fs::read_to_string(format!("/proc/{}/status", watch.id())).unwrap_or_default();
    let memory: Vec<_> = status
        .lines()
        .filter(|line| line.starts_with("VmRSS") || line.starts_with("Rss"))
        .collect();
    eprintln!("watch: {memory:?}");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("end watch");
    let output = watch.stdout.take().map(std::io::read_to_string);
    watch.wait().expect("wait for watch");
    let output = output.expect("a pipe").expect("JSON is UTF-8");
    let reports: Vec<Value> = output
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    for (pod, container) in [
        ("names-main", "app"),
        ("names-init", "migrate"),
        ("names-shared-child", "app"),
        (mirror, "app"),
    ] {
        let found = reports.iter().any(|report| {
            report["pod"]["namespace"] == "default"
                && report["pod"]["name"] == pod
                && report["container"]["name"] == container
                && report["container"]["image"] == "localhost/busybox:1"
        });
        assert!(found, "{pod}: {output}");
    }
    let child = reports
        .iter()
        .find(|report| report["pod"]["name"] == "names-shared-child");
    assert_eq!(child.expect("the kill")["main_process"], "no");
}

fn deleted(node: &Node) {
    let folder = tempfile::tempdir().expect("make a folder");
    let all = node.reports(
        || {
            node.apply(include_str!("doomed.yaml"), folder.path());
            node.kubectl(&[
                "wait",
                "--for=condition=Ready",
                "pod/names-doomed",
                "--timeout=60s",
            ]);
            // Gone from the API at once; its signal makes it eat.
            let now = ["--force", "--grace-period=0", "--wait=false"];
            node.kubectl(&[&["delete", "pod", "names-doomed"], now.as_slice()].concat());
        },
        |all| !all.is_empty(),
    );
    let expected = [Some("default"), Some("names-doomed"), Some("app")];
    assert_eq!(all_names(&all[0]), expected, "{}", summary(&all[0]));
}

fn delete_all(node: &Node) {
    let label = [
        "-l",
        "made-by=oomwatch-names",
        "--grace-period=0",
        "--force",
    ];
    node.kubectl(&[&["delete", "pods"], label.as_slice()].concat());
}
