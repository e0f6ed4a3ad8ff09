//! Pods of the API server, each with containers, whose cgroups are made as the kubelet makes them; and processes that are killed
//! in them.

use std::{
    collections::BTreeMap,
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    agent::NODE,
    api_server::PATIENCE,
    cgroups::{Cgroup, Hierarchy, Scene},
    process::{Hog, Victim},
};

/// Where the pods are.
pub(crate) const NAMESPACE: &str = "shop";
/// What a container may use.
const LIMIT_BYTES: u64 = 8 << 20;

/// Pods with their cgroups, which are gone with this.
pub(crate) struct Pods {
    containers: Vec<Container>,
    names: Vec<String>,
    _scene: Scene,
}

/// A container, in which processes can be killed.
#[derive(Clone)]
pub(crate) struct Container {
    /// Its pod's name.
    pub(crate) pod: String,
    /// Its name.
    pub(crate) name: String,
    cgroup: Cgroup,
}

/// A process that was killed, and where.
pub(crate) struct Killed {
    pub(crate) victim: Victim,
    pub(crate) pod: String,
    pub(crate) container: String,
}

impl Pods {
    /// Makes so many, with so many containers each. The cgroups' names begin with `prefix`.
    pub(crate) async fn make(
        client: &Client,
        prefix: &str,
        pods: usize,
        containers: usize,
    ) -> Self {
        let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
        let top = Hierarchy::find("memory")
            .expect("a memory controller")
            .root();
        let scene = Scene::new(
            top.make(format!("oomwatch-faults-{prefix}-{}", process::id())),
            PATIENCE,
        );
        let class = scene.make_all("kubepods/burstable");
        let mut made = Vec::new();
        let mut names = Vec::new();
        for pod in 0..pods {
            let name = format!("{prefix}-{pod}");
            let container = |index| format!("c{index}");
            let spec: Vec<Value> = (0..containers)
                .map(|index| json!({"name": container(index), "image": "app"}))
                .collect();
            let pod: Pod = serde_json::from_value(json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
                "spec": {"nodeName": NODE, "automountServiceAccountToken": false, "containers": spec},
            }))
            .expect("a pod");
            let pod = api.create(&PostParams::default(), &pod).await;
            let uid = pod.expect("made").metadata.uid.expect("a UID");
            let id = |index: usize| {
                format!(
                    "{:064x}",
                    u128::from_str_radix(&uid[..8], 16).expect("hex") << 8 | index as u128
                )
            };
            let statuses: Vec<Value> = (0..containers)
                .map(|index| status(&container(index), &id(index)))
                .collect();
            let patch = Patch::Merge(json!({"status": {"containerStatuses": statuses}}));
            api.patch_status(&name, &PatchParams::default(), &patch)
                .await
                .expect("a status");
            for index in 0..containers {
                let cgroup = class.make_all(&format!("pod{uid}/{}", id(index)));
                cgroup.limit(LIMIT_BYTES);
                made.push(Container {
                    pod: name.clone(),
                    name: container(index),
                    cgroup,
                });
            }
            names.push(name);
        }
        Self {
            containers: made,
            names,
            _scene: scene,
        }
    }

    /// All containers.
    pub(crate) fn containers(&self) -> &[Container] {
        &self.containers
    }

    /// Deletes them from the API; their cgroups stay.
    pub(crate) async fn delete(&self, client: &Client) {
        let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
        let now = DeleteParams::default().grace_period(0);
        for name in &self.names {
            api.delete(name, &now).await.expect("deleted");
        }
    }
}

impl Container {
    /// Has a process killed in it.
    pub(crate) fn kill(&self) -> Killed {
        let victim = Hog::plain().start(&self.cgroup, PATIENCE).killed();
        Killed {
            victim,
            pod: self.pod.clone(),
            container: self.name.clone(),
        }
    }
}

/// Kills that go on, one container after the other, until it is ended.
pub(crate) struct Steady {
    is_over: Arc<AtomicBool>,
    killer: JoinHandle<Vec<Killed>>,
}

impl Steady {
    /// One in so long.
    pub(crate) fn start(containers: &[Container], every: Duration) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (containers, end) = (containers.to_vec(), is_over.clone());
        let killer = thread::spawn(move || {
            let mut killed = Vec::new();
            let mut turn = containers.iter().cycle();
            let mut next = Instant::now();
            while !end.load(Ordering::Relaxed) {
                killed.push(turn.next().expect("a container").kill());
                next += every;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            killed
        });
        Self { is_over, killer }
    }

    /// Ends it, and tells who was killed.
    pub(crate) fn end(self) -> Vec<Killed> {
        self.is_over.store(true, Ordering::Relaxed);
        self.killer.join().expect("the killer ends well")
    }
}

/// How many were killed in each pod.
pub(crate) fn by_pod(killed: &[Killed]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for one in killed {
        *counts.entry(one.pod.clone()).or_default() += 1;
    }
    counts
}

fn status(name: &str, id: &str) -> Value {
    json!({"name": name, "containerID": format!("containerd://{id}"), "image": "", "imageID": "", "ready": true,
        "restartCount": 0, "state": {"running": {}}, "lastState": {}})
}
