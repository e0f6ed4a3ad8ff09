//! Resolver from the API alone.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use oomwatch::model::{
    persist::{Change, Entry},
    report::ContainerKind,
};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::{
    Scenario,
    api_server::{ADMIN, AGENT, ApiServer},
    kills::{all_names, id, named, named_so, names, until_watch_is},
};

const NODE: &str = "node-1";

pub(crate) const ALL: [Scenario<ApiServer>; 8] = [
    ("containers_are_named_with_their_kind", kinds),
    ("restarted_container_is_named_by_both_ids", restarted),
    ("static_pod_is_named_by_its_hash", static_pod),
    ("deleted_pod_is_still_named", deleted),
    (
        "pod_that_was_deleted_while_the_agent_was_down_is_named",
        deleted_while_down,
    ),
    ("pods_of_other_nodes_are_nobodys", other_node),
    (
        "whoever_may_not_watch_is_told_and_waits_for_nothing",
        forbidden,
    ),
    ("server_that_comes_back_is_asked_again", server_restart),
];

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("start a runtime")
}

/// A pod as a kubelet leaves it.
struct Made {
    api: Api<Pod>,
    name: String,
    uid: String,
}

impl Made {
    async fn new(client: &Client, name: &str, annotations: Value, spec: Value) -> Self {
        let api = Api::namespaced(client.clone(), "default");
        let mut object = json!({"metadata": {"name": name, "annotations": annotations}, "spec": {
            "nodeName": NODE,
            "containers": [{"name": "app", "image": "registry.example/cart:1.4"}],
        }});
        for (key, value) in spec.as_object().expect("an object") {
            object["spec"][key] = value.clone();
        }
        let pod = serde_json::from_value(object).expect("a pod");
        let made: Pod = api
            .create(&PostParams::default(), &pod)
            .await
            .expect("a pod");
        Self {
            api,
            name: name.to_owned(),
            uid: made.metadata.uid.expect("a UID"),
        }
    }

    async fn status(&self, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        self.api
            .patch_status(&self.name, &PatchParams::default(), &patch)
            .await
            .expect("a status");
    }

    async fn delete(&self) {
        let now = DeleteParams::default().grace_period(0);
        self.api.delete(&self.name, &now).await.expect("deleted");
    }
}

fn status(name: &str, id: &str) -> Value {
    json!({"name": name, "containerID": format!("containerd://{id}"), "image": "", "imageID": "", "ready": true,
        "restartCount": 0, "state": {"running": {}}, "lastState": {}})
}

fn kinds(server: &ApiServer) {
    runtime().block_on(async {
        let client = server.client(ADMIN).await;
        let spec =
            json!({"initContainers": [{"name": "migrate", "image": "registry.example/migrate:2"}]});
        // One pod is there before the watch, its status comes while it runs.
        let pod = Made::new(
            &client,
            "kinds",
            json!({"oomwatch.dev/events": "off"}),
            spec,
        )
        .await;
        let mut names = names();
        names.watch_pods(client, NODE);
        until_watch_is(&names, true).await;
        pod.status(json!({
            "containerStatuses": [status("app", &id('a'))],
            "initContainerStatuses": [status("migrate", &id('b'))],
        }))
        .await;
        for (digit, name, kind) in [
            ('a', "app", ContainerKind::Main),
            ('b', "migrate", ContainerKind::Init),
        ] {
            let expected = [Some("default"), Some("kinds"), Some(name)];
            let report = named_so(&names, &pod.uid, &id(digit), |report| {
                all_names(report) == expected
            })
            .await;
            let container = report.container.expect("the container");
            assert_eq!(container.kind, Some(kind));
            assert!(
                container
                    .image
                    .is_some_and(|image| image.starts_with("registry.example/"))
            );
            assert!(report.pod.expect("the pod").events_off);
            assert!(!report.sandbox);
        }
    });
}

fn restarted(server: &ApiServer) {
    runtime().block_on(async {
        let client = server.client(ADMIN).await;
        let pod = Made::new(&client, "restarted", json!({}), json!({})).await;
        let mut names = names();
        names.watch_pods(client, NODE);
        let mut status = status("app", &id('d'));
        let before = format!("containerd://{}", id('c'));
        status["lastState"] = json!({"terminated": {"exitCode": 137, "containerID": before}});
        pod.status(json!({"containerStatuses": [status]})).await;
        for digit in ['c', 'd'] {
            let expected = [Some("default"), Some("restarted"), Some("app")];
            named_so(&names, &pod.uid, &id(digit), |report| {
                all_names(report) == expected
            })
            .await;
        }
    });
}

fn static_pod(server: &ApiServer) {
    const HASH: &str = "d751713988987e9331980363e24189ce";
    runtime().block_on(async {
        let client = server.client(ADMIN).await;
        let annotations = json!({
            "kubernetes.io/config.hash": HASH,
            "kubernetes.io/config.mirror": HASH,
            "kubernetes.io/config.source": "file",
        });
        let pod = Made::new(&client, "mirror-node-1", annotations, json!({})).await;
        pod.status(json!({"containerStatuses": [status("app", &id('e'))]}))
            .await;
        let mut names = names();
        names.watch_pods(client, NODE);
        let expected = [Some("default"), Some("mirror-node-1"), Some("app")];
        let report = named_so(&names, HASH, &id('e'), |report| {
            all_names(report) == expected
        })
        .await;
        assert_eq!(report.pod.expect("the pod").uid, HASH);
    });
}

fn deleted(server: &ApiServer) {
    runtime().block_on(async {
        let client = server.client(ADMIN).await;
        let pod = Made::new(&client, "deleted", json!({}), json!({})).await;
        pod.status(json!({"containerStatuses": [status("app", &id('f'))]}))
            .await;
        let mut names = names();
        names.watch_pods(client.clone(), NODE);
        let expected = [Some("default"), Some("deleted"), Some("app")];
        named_so(&names, &pod.uid, &id('f'), |report| {
            all_names(report) == expected
        })
        .await;
        pod.delete().await;
        // The watch reports objects in the order they were made.
        let marker = Made::new(&client, "after-deleted", json!({}), json!({})).await;
        named_so(&names, &marker.uid, &id('0'), |report| {
            all_names(report)[1].is_some()
        })
        .await;
        let report = named(&names, &pod.uid, &id('f')).await;
        assert_eq!(all_names(&report), expected);
    });
}

fn deleted_while_down(server: &ApiServer) {
    runtime().block_on(async {
        let client = server.client(ADMIN).await;
        let pod = Made::new(&client, "down", json!({}), json!({})).await;
        pod.status(json!({"containerStatuses": [status("app", &id('e'))]}))
            .await;
        let mut before = names();
        before.watch_pods(client.clone(), NODE);
        let expected = [Some("default"), Some("down"), Some("app")];
        named_so(&before, &pod.uid, &id('e'), |report| {
            all_names(report) == expected
        })
        .await;
        let saved = before.changes().into_iter().filter_map(|change| {
            let Change {
                part, key, value, ..
            } = change;
            let part = part.to_owned();
            value.map(|value| Entry { part, key, value })
        });
        let saved: Vec<_> = saved.collect();
        drop(before);
        pod.delete().await;
        let mut after = names();
        after.restore(&saved);
        after.watch_pods(client, NODE);
        // Neither a watch that is yet to come up nor one that knows no such pod takes the name away.
        for _ in 0..2 {
            let report = named(&after, &pod.uid, &id('e')).await;
            assert_eq!(all_names(&report), expected);
            until_watch_is(&after, true).await;
        }
    });
}

fn other_node(server: &ApiServer) {
    runtime().block_on(async {
        let client = server.client(ADMIN).await;
        let elsewhere = json!({"nodeName": "node-2"});
        let pod = Made::new(&client, "elsewhere", json!({}), elsewhere).await;
        let marker = Made::new(&client, "after-elsewhere", json!({}), json!({})).await;
        let mut names = names();
        names.watch_pods(client, NODE);
        named_so(&names, &marker.uid, &id('0'), |report| {
            all_names(report)[1].is_some()
        })
        .await;
        let report = named(&names, &pod.uid, &id('0')).await;
        assert_eq!(all_names(&report), [None; 3]);
    });
}

fn forbidden(server: &ApiServer) {
    runtime().block_on(async {
        let admin = server.client(ADMIN).await;
        let pod = Made::new(&admin, "forbidden", json!({}), json!({})).await;
        let mut names = names();
        names.watch_pods(server.client(AGENT).await, NODE);
        assert_eq!(names.is_watch_up(), Some(false));
        let report = named(&names, &pod.uid, &id('0')).await;
        assert_eq!(all_names(&report), [None; 3]);
        server.kubectl(&[
            "create",
            "clusterrole",
            "names",
            "--verb=watch",
            "--resource=pods",
        ]);
        server.kubectl(&[
            "create",
            "clusterrolebinding",
            "names",
            "--clusterrole=names",
            "--user=agent",
        ]);
        until_watch_is(&names, true).await;
        named_so(&names, &pod.uid, &id('0'), |report| {
            all_names(report)[1].is_some()
        })
        .await;
    });
}

fn server_restart(server: &ApiServer) {
    runtime().block_on(async {
        let client = server.client(ADMIN).await;
        let before = Made::new(&client, "before", json!({}), json!({})).await;
        let mut names = names();
        names.watch_pods(client.clone(), NODE);
        let has_name = |report: &oomwatch::model::report::Report| all_names(report)[1].is_some();
        named_so(&names, &before.uid, &id('0'), has_name).await;
        server.kill();
        until_watch_is(&names, false).await;
        // A known pod keeps its name, and an unknown one is not waited for.
        assert!(has_name(&named(&names, &before.uid, &id('0')).await));
        assert!(!has_name(
            &named(&names, "0b5f7f9c-0000-4000-8000-000000000000", &id('0')).await
        ));
        server.restart();
        let after = Made::new(&client, "after", json!({}), json!({})).await;
        until_watch_is(&names, true).await;
        named_so(&names, &after.uid, &id('0'), has_name).await;
        assert!(has_name(&named(&names, &before.uid, &id('0')).await));
    });
}
