//! Pods and containers in the cgroup layouts of kubelets and runtimes: whose they are, and whose limit was hit.

use std::fs;

use super::MIB;
use crate::{
    Scenario,
    cgroups::Cgroup,
    expected::{Expected, Trigger},
    machine::Machine,
    process::Hog,
    report::Report,
    watcher::Watch,
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("container_in_every_pod_layout_is_named", every_layout),
    Scenario::new("container_outside_of_pods_is_named", plain_container),
    Scenario::new("names_of_logs_name_pod_and_container", names_of_logs),
    Scenario::new(
        "cgroup_three_levels_below_a_container_is_the_containers",
        below_container,
    ),
    Scenario::new(
        "pod_limit_of_an_only_container_is_the_containers",
        only_container,
    ),
    Scenario::new("pod_limit_shared_by_containers_is_the_pods", shared_pod),
    Scenario::new(
        "limits_of_class_and_all_pods_are_theirs",
        class_and_kubepods,
    ),
];

const ID: &str = "3f1c0e7ab2d94c5586a1f7e2d0b9c8a7f6e5d4c3b2a190817263544536271809";
const OTHER_ID: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9";
const UID: &str = "8a4e6bd2-0f35-4c1b-9a77-2b1d5e6f7081";

const CONTAINER_BYTES: u64 = 16 * MIB;

/// Who makes a pod's cgroups.
#[derive(Clone, Copy, Debug)]
enum Driver {
    Systemd,
    Cgroupfs,
}

const DRIVERS: [Driver; 2] = [Driver::Systemd, Driver::Cgroupfs];
const CLASSES: [&str; 3] = ["guaranteed", "burstable", "besteffort"];

impl Driver {
    fn kubepods(self) -> &'static str {
        match self {
            Self::Systemd => "kubepods.slice",
            Self::Cgroupfs => "kubepods",
        }
    }

    /// The cgroup of a class, below that of all pods; none for the guaranteed.
    fn class(self, class: &str) -> Option<String> {
        (class != "guaranteed").then(|| match self {
            Self::Systemd => format!("kubepods-{class}.slice"),
            Self::Cgroupfs => class.to_owned(),
        })
    }

    fn pod(self, class: &str) -> String {
        let uid = UID.replace('-', "_");
        match (self, class) {
            (Self::Cgroupfs, _) => format!("pod{UID}"),
            (Self::Systemd, "guaranteed") => format!("kubepods-pod{uid}.slice"),
            (Self::Systemd, class) => format!("kubepods-{class}-pod{uid}.slice"),
        }
    }

    fn containerd(self, id: &str) -> String {
        match self {
            Self::Systemd => format!("cri-containerd-{id}.scope"),
            Self::Cgroupfs => id.to_owned(),
        }
    }

    fn crio(self, id: &str) -> String {
        match self {
            Self::Systemd => format!("crio-{id}.scope"),
            Self::Cgroupfs => format!("crio-{id}"),
        }
    }

    fn path(self, class: &str) -> String {
        let names = [
            Some(self.kubepods().to_owned()),
            self.class(class),
            Some(self.pod(class)),
        ];
        names.into_iter().flatten().collect::<Vec<_>>().join("/")
    }
}

/// The owner in the cgroup path; a bare id names no runtime.
fn check_owner(report: &Report, class: &str, runtime: Option<&str>, id: &str) {
    report.is("/pod/uid", UID);
    report.is("/pod/qos", class);
    report.lacks("/pod/namespace");
    report.lacks("/container/name");
    report.is("/container/id", id);
    match runtime {
        Some(runtime) => report.is("/container/runtime", runtime),
        None => report.lacks("/container/runtime"),
    }
    report.lacks("/unit");
}

fn every_layout(machine: &Machine) {
    let scene = machine.scene("layouts");
    let watcher = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let mut expected = Vec::new();
    for driver in DRIVERS {
        for class in CLASSES {
            let pod = scene.make_all(&driver.path(class));
            let containerd = pod.make(driver.containerd(ID));
            let crio = pod.make(driver.crio(OTHER_ID));
            let bare = matches!(driver, Driver::Cgroupfs);
            for (container, inner, runtime, id) in [
                (containerd, false, (!bare).then_some("containerd"), ID),
                (crio, true, Some("cri-o"), OTHER_ID),
            ] {
                container.limit(CONTAINER_BYTES);
                // crun puts the container's processes one level down.
                let own = if inner {
                    container.make("container")
                } else {
                    container
                };
                let victim = Hog::plain().start(&own, machine.patience).killed();
                let kill = Expected::new(&victim, &own).out_of(inner.into(), "container");
                expected.push((kill, class, runtime, id));
            }
        }
    }
    let reports = watcher.interrupt().reports();
    assert_eq!(reports.len(), expected.len(), "{reports:?}");
    for ((kill, class, runtime, id), report) in expected.iter().zip(&reports) {
        kill.check(report);
        check_owner(report, class, *runtime, id);
    }
}

fn names_of_logs(machine: &Machine) {
    let logs = tempfile::tempdir().expect("a temporary folder");
    for entry in [
        format!("pods/team-a_web-7d9f_{UID}"),
        format!("containers/web-7d9f_team-a_app-{ID}.log"),
    ] {
        fs::create_dir_all(logs.path().join(entry)).expect("make a folder");
    }
    let scene = machine.scene("named");
    let pod = scene.make_all(&Driver::Systemd.path("burstable"));
    let [app, unnamed] = [ID, OTHER_ID].map(|id| pod.make(Driver::Systemd.containerd(id)));
    app.limit(CONTAINER_BYTES);
    unnamed.limit(CONTAINER_BYTES);
    let root = logs.path().to_str().expect("a plain path");
    let watch = |filter: &[&str]| {
        let arguments = [&["-o", "json", "--log-root", root], filter].concat();
        Watch::new(machine, &arguments).below(&scene).start()
    };
    let watchers = [
        (watch(&["--namespace", "team-a"]), vec![0, 1]),
        (watch(&["--namespace", "team"]), vec![]),
        (watch(&["--container", "app"]), vec![0]),
    ];
    let pids = [&app, &unnamed].map(|container| {
        let process = Hog::plain().start(container, machine.patience);
        process.killed().pid
    });
    for (watcher, shown) in watchers {
        let reports = watcher.interrupt().reports();
        let found: Vec<_> = reports.iter().map(Report::pid).collect();
        let expected: Vec<_> = shown.into_iter().map(|index: usize| pids[index]).collect();
        assert_eq!(found, expected, "{reports:?}");
        for report in reports {
            report.is("/pod/namespace", "team-a");
            report.is("/pod/name", "web-7d9f");
            if report.pid() == pids[0] {
                report.is("/container/name", "app");
            } else {
                report.lacks("/container/name");
            }
        }
    }
}

fn plain_container(machine: &Machine) {
    let scene = machine.scene("plain-container");
    let watcher = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let victims = [
        (format!("docker-{ID}.scope"), "docker"),
        (format!("docker/{ID}"), "docker"),
        (format!("libpod-{ID}.scope"), "podman"),
        (format!("nerdctl-{ID}.scope"), "containerd"),
    ]
    .map(|(path, runtime)| {
        let container = scene.make_all(&path);
        container.limit(CONTAINER_BYTES);
        let victim = Hog::plain().start(&container, machine.patience).killed();
        (
            Expected::new(&victim, &container).out_of(0, "container"),
            runtime,
        )
    });
    let reports = watcher.interrupt().reports();
    assert_eq!(reports.len(), victims.len(), "{reports:?}");
    for ((kill, runtime), report) in victims.iter().zip(&reports) {
        kill.check(report);
        report.is("/container/id", ID);
        report.is("/container/runtime", *runtime);
        report.lacks("/pod");
    }
}

fn below_container(machine: &Machine) {
    let scene = machine.scene("below-container");
    let watcher = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let kills = DRIVERS.map(|driver| {
        let pod = scene.make_all(&driver.path("burstable"));
        let container = pod.make(driver.crio(ID));
        container.limit(CONTAINER_BYTES);
        // Named to be taken for another pod's.
        let deep = container.make_all(&format!("kubepods/podfake/{OTHER_ID}"));
        let first = Hog::plain().start(&deep, machine.patience).killed();
        let first = Expected::new(&first, &deep).out_of(3, "container");
        // A limit of the container's own making is none of Kubernetes'.
        deep.limit(CONTAINER_BYTES / 2);
        let second = Hog::plain().start(&deep, machine.patience).killed();
        [first, Expected::new(&second, &deep)]
    });
    let reports = watcher.interrupt().reports();
    assert_eq!(reports.len(), kills.len() * 2, "{reports:?}");
    for (kill, report) in kills.iter().flatten().zip(&reports) {
        kill.check(report);
        check_owner(report, "burstable", Some("cri-o"), ID);
    }
}

/// The sandbox's own process is charged to the pod too, so that the pod runs out before its only container does.
fn only_container(machine: &Machine) {
    let scene = machine.scene("only-container");
    let watcher = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let kills = DRIVERS.map(|driver| {
        let pod = scene.make_all(&driver.path("burstable"));
        pod.limit(CONTAINER_BYTES);
        let container = pod.make(driver.containerd(ID));
        container.limit(CONTAINER_BYTES);
        let sandbox = pod.make(driver.containerd(OTHER_ID));
        let mut pause = Hog::holding(4 * MIB)
            .named(b"pause")
            .start(&sandbox, machine.patience);
        pause.ready();
        let victim = Hog::plain()
            .set("adj", 500)
            .start(&container, machine.patience)
            .killed();
        Expected::new(&victim, &container).out_of(1, "container")
    });
    let reports = watcher.interrupt().reports();
    assert_eq!(reports.len(), kills.len(), "{reports:?}");
    for (kill, report) in kills.iter().zip(&reports) {
        kill.check(report);
        assert_eq!(report.text("/container/id"), ID);
    }
}

fn shared_pod(machine: &Machine) {
    let scene = machine.scene("shared-pod");
    let watcher = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let kills = DRIVERS.map(|driver| {
        let pod = scene.make_all(&driver.path("guaranteed"));
        // Less than the containers' limits together, as the pod's own resources can have it.
        pod.limit(CONTAINER_BYTES * 3 / 2);
        let [other, container] = [OTHER_ID, ID].map(|id| pod.make(driver.crio(id)));
        other.limit(CONTAINER_BYTES);
        container.limit(CONTAINER_BYTES);
        let mut holder = Hog::holding(12 * MIB)
            .named(b"neighbour")
            .start(&other, machine.patience);
        holder.ready();
        let victim = Hog::plain()
            .set("adj", 500)
            .start(&container, machine.patience)
            .killed();
        let mut kill = Expected::new(&victim, &container).out_of(1, "pod");
        kill.min_rss_bytes = 6 * MIB;
        kill
    });
    let reports = watcher.interrupt().reports();
    assert_eq!(reports.len(), kills.len(), "{reports:?}");
    for (kill, report) in kills.iter().zip(&reports) {
        kill.check(report);
        check_owner(report, "guaranteed", Some("cri-o"), ID);
    }
}

fn class_and_kubepods(machine: &Machine) {
    let scene = machine.scene("class");
    let watcher = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let mut kills = Vec::new();
    for driver in DRIVERS {
        let kubepods = scene.make(driver.kubepods());
        for (class, limited, level, owner) in [
            (
                "burstable",
                class_of(driver, &kubepods, "burstable"),
                2,
                "qos",
            ),
            (
                "besteffort",
                class_of(driver, &kubepods, "besteffort"),
                2,
                "qos",
            ),
            ("guaranteed", kubepods.clone(), 2, "kubepods"),
        ] {
            let container = scene.make_all(&driver.path(class)).make(driver.crio(ID));
            limited.limit(CONTAINER_BYTES);
            let victim = Hog::plain().start(&container, machine.patience).killed();
            let mut kill = Expected::new(&victim, &container)
                .out_of(level, owner)
                .triggered_by(Trigger::Victim);
            kill.min_rss_bytes = CONTAINER_BYTES / 2;
            kills.push((kill, class));
        }
    }
    let reports = watcher.interrupt().reports();
    assert_eq!(reports.len(), kills.len(), "{reports:?}");
    for ((kill, class), report) in kills.iter().zip(&reports) {
        kill.check(report);
        check_owner(report, class, Some("cri-o"), ID);
    }
}

fn class_of(driver: Driver, kubepods: &Cgroup, class: &str) -> Cgroup {
    kubepods.make_all(&driver.class(class).expect("a class with a cgroup"))
}
