//! What the kubelet's own watcher records for a system OOM, beside what is recorded here.

use std::{fs::OpenOptions, io::Write as _};

use kube::Client;
use oomwatch::deliver::events::{NodeUid, Outcome};
use serde_json::{Value, json};
use tokio::runtime;

use crate::{
    cluster::Cluster,
    delivery::{Agent, NODE, PATIENCE},
    kills::of_system,
};

/// How a kubelet words it, before name and pid.
const WORDS: &str = "System OOM encountered, victim process: ";

/// Tests cause no system OOM on this machine, but the kubelet believes a forged line of the kernel log. It may have recorded
/// others before: at its start it reads the whole log, and where the kernel has suppressed lines it takes a container's kill for
/// a system OOM. It combines all but the first ten of them in one Event.
pub(crate) fn forged_system_oom(cluster: &Cluster) {
    assert_eq!(cluster.node, NODE);
    forge();
    let theirs = cluster.until("an Event of the kubelet", |cluster| {
        let mut events = system_ooms(cluster, "kubelet");
        events.retain(|event| {
            let message = event["message"].as_str().unwrap_or_default();
            // No name that is escaped.
            event["count"] == 1 && message.starts_with(WORDS) && !message.contains('\\')
        });
        events.pop()
    });
    let message = theirs["message"].as_str().expect("a message").to_owned();
    let victim = message.strip_prefix(WORDS).expect("its words");
    let (name, pid) = victim.rsplit_once(", pid: ").expect("a pid");
    let mut kill = of_system(pid.parse().expect("a number"));
    kill.kill.victim.comm = Some(name.as_bytes().to_vec());
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let client = Client::try_default().await.expect("a client");
        let mut agent = Agent::with(client, PATIENCE, NodeUid::Real);
        agent.take(&kill);
        agent.until(Outcome::Accepted, 1).await;
    });
    let ours = event(cluster, "oomwatch", &message);
    compare(cluster, theirs, ours);
    // Without a UID kubectl does not take the kubelet's for one of the node: docs/operations.md says so.
    let described = cluster.kubectl(&["describe", "node", NODE]);
    let rows: Vec<_> = described
        .lines()
        .filter(|line| line.trim_end().ends_with(&message))
        .collect();
    let [row] = rows[..] else {
        panic!("not one Event with {message}: {described}");
    };
    assert!(row.contains(" oomwatch "), "{row}");
}

/// Waits for the Event that a component records on the node with this message.
pub(crate) fn event(cluster: &Cluster, component: &str, message: &str) -> Value {
    cluster.until(
        &format!("an Event of {component} with {message}"),
        |cluster| {
            let mut events = system_ooms(cluster, component);
            events.retain(|event| event["message"] == message);
            events.pop()
        },
    )
}

/// All Events of system OOMs that a component has recorded on the node.
pub(crate) fn system_ooms(cluster: &Cluster, component: &str) -> Vec<Value> {
    let node = &cluster.node;
    let selector = format!("involvedObject.name={node},reason=SystemOOM,source={component}");
    let mut events = cluster.get(&["events", "-n", "default", "--field-selector", &selector]);
    match events["items"].take() {
        Value::Array(events) => events,
        other => panic!("a list: {other}"),
    }
}

/// The two Events of one kill differ by what docs/compatibility.md says: the name, the component, the times, and the node's
/// UID, which the kubelet's has not.
pub(crate) fn compare(cluster: &Cluster, mut theirs: Value, mut ours: Value) {
    let uid = cluster.kubectl(&[
        "get",
        "node",
        &cluster.node,
        "-o",
        "jsonpath={.metadata.uid}",
    ]);
    assert_eq!(theirs["involvedObject"]["uid"], Value::Null);
    assert_eq!(ours["involvedObject"]["uid"].take(), uid);
    for (event, component) in [(&mut theirs, "kubelet"), (&mut ours, "oomwatch")] {
        assert_eq!(event["count"], 1);
        assert_eq!(event["firstTimestamp"], event["lastTimestamp"]);
        for name in ["firstTimestamp", "lastTimestamp"] {
            event[name].take();
        }
        assert_eq!(event["source"]["component"].take(), component);
        assert_eq!(event["reportingComponent"].take(), component);
        event["metadata"] = json!({"namespace": event["metadata"]["namespace"]});
        let object = event["involvedObject"].as_object_mut();
        object
            .expect("an object")
            .retain(|_, value| !value.is_null());
    }
    assert_eq!(ours, theirs);
}

fn forge() {
    let mut log = OpenOptions::new()
        .write(true)
        .open("/dev/kmsg")
        .expect("open the kernel log");
    for line in [
        "tail invoked oom-killer: gfp_mask=0x100cca(GFP_HIGHUSER_MOVABLE), order=0, oom_score_adj=0",
        "Out of memory: Killed process 16713 (tail) total-vm:41004kB, anon-rss:40448kB, file-rss:0kB, \
         shmem-rss:0kB, UID:0 pgtables:120kB oom_score_adj:0",
        // The kubelet reads a line when the next one has come.
        "oomwatch: the end of a test's lines",
    ] {
        log.write_all(line.as_bytes())
            .expect("write to the kernel log");
    }
}
