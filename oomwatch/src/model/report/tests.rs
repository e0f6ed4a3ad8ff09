use std::time::Instant;

use super::*;
use crate::{model::kill::LogKey, testing};

fn logged() -> Kill {
    let mut kill = testing::kill();
    kill.log_key = Some(LogKey {
        kill: 0xb2,
        incident: 0xa1,
        incident_tid: 7,
        time: Some(Timestamp::UNIX_EPOCH),
        host: Some("from-the-log".to_owned()),
    });
    kill
}

#[test]
fn ids_from_this_boots_log_have_the_time_of_the_line_itself() {
    let host = Host {
        node: "node-1".to_owned(),
        boot_id: "0f1e2d3c4b5a69788796a5b4c3d2e1f0".to_owned(),
        kubelet: NodeKubelet::default(),
    };
    let now = ClockSample {
        instant: Instant::now(),
        raw_ns: 0,
        boot_time_ns: 2_000_000_000,
        unix_ns: 12_000_000_000,
    };
    let mut kill = logged();
    kill.boot_time_ns = Some(1_000_000_000);
    let report = Report::new(kill.clone(), Origin::Boot { host: &host, now });
    assert_eq!(report.id, "0f1e2d3c-b2-14665");
    assert_eq!(report.incident, "0f1e2d3c-a1");
    assert_eq!(report.node, "node-1");
    assert_eq!(report.kill, kill);
    assert_eq!(report.time, Timestamp::from_second(11).ok());
}

#[test]
fn ids_from_a_saved_log_name_no_boot_and_the_incidents_thread() {
    let report = Report::new(
        logged(),
        Origin::SavedLog {
            node: None,
            kubelet: &KubeletRoot::Unknown,
        },
    );
    assert_eq!(report.id, "log-b2-14665");
    assert_eq!(report.incident, "log-a1-7");
    assert_eq!(report.node, "from-the-log");
    assert_eq!(report.time, Some(Timestamp::UNIX_EPOCH));
    let named = Report::new(
        logged(),
        Origin::SavedLog {
            node: Some("n1"),
            kubelet: &KubeletRoot::Unknown,
        },
    );
    assert_eq!(named.node, "n1");
}

#[test]
fn pod_of_a_node_in_a_container_is_believed_in_that_nodes_cgroup() {
    let node = "/docker/0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9";
    let path = format!("{node}/kubelet{}", testing::container_path());
    let mut kill = testing::kill();
    kill.victim.cgroup = Some(testing::cgroup(&path, 9));
    kill.victim.leaf_cgroup = None;
    kill.limits = vec![
        testing::limit(&path, 9, None),
        testing::limit(node, 7, None),
    ];
    for (namespace, is_pods) in [(Some(7), true), (Some(8), false), (None, false)] {
        let kubelet = NodeKubelet {
            root: KubeletRoot::At("/kubelet".into()),
            namespace,
        };
        let host = Host {
            node: "node-1".to_owned(),
            boot_id: "0f1e2d3c".to_owned(),
            kubelet,
        };
        let now = ClockSample::now();
        let report = Report::new(kill.clone(), Origin::Boot { host: &host, now });
        assert_eq!(report.pod.is_some(), is_pods, "{namespace:?}");
    }
}
