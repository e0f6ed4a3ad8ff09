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

/// A machine that is out of memory is not for tests here: the kubelet believes a log that is forged. It may have been told of
/// others by then, since it reads all of the log at its start, and up to 1.20 takes a container's kill for a system OOM. Of those
/// it combines all but the first.
pub(crate) fn compare(cluster: &Cluster) {
    assert_eq!(cluster.node, NODE);
    forge();
    let find = |component: &str| {
        let selector = format!("involvedObject.name={NODE},reason=SystemOOM,source={component}");
        let mut events = cluster.get(&["events", "-n", "default", "--field-selector", &selector]);
        let mut events: Vec<Value> = events["items"].as_array_mut()?.drain(..).collect();
        let is_one = |event: &Value| {
            let message = event["message"].as_str().unwrap_or_default();
            // Names that nobody forged to be taken for another.
            event["count"] == 1 && message.starts_with(WORDS) && !message.contains('\\')
        };
        events.retain(is_one);
        (!events.is_empty()).then(|| events.remove(0))
    };
    let mut theirs = cluster.until("an Event of the kubelet's", |_| find("kubelet"));
    let message = theirs["message"].as_str().expect("a message");
    let victim = message.strip_prefix(WORDS).expect("its words");
    let (name, pid) = victim.rsplit_once(", pid: ").expect("a pid");
    let mut kill = of_system(pid.parse().expect("a number"));
    kill.kill.victim.comm = Some(name.as_bytes().to_vec());
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let client = Client::try_default().await.expect("a client");
        // As this kubelet has it.
        let mut agent = Agent::with(client, PATIENCE, NodeUid::Name);
        agent.take(&kill);
        agent.until(Outcome::Accepted, 1).await;
    });
    let mut ours = cluster.until("our Event", |_| find("oomwatch"));
    for event in [&mut theirs, &mut ours] {
        assert_eq!(event["firstTimestamp"], event["lastTimestamp"]);
        differ(event);
    }
    assert_eq!(ours, theirs);
}

/// What the document says to differ: the name, who says so, and when it was.
fn differ(event: &mut Value) {
    event["metadata"] = json!({"namespace": event["metadata"]["namespace"]});
    event["source"]["component"].take();
    // Kubelets have it since 1.35.
    event["involvedObject"]["apiVersion"].take();
    for name in [
        "firstTimestamp",
        "lastTimestamp",
        "reportingComponent",
        "reportingInstance",
    ] {
        event[name].take();
    }
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
    ] {
        log.write_all(line.as_bytes())
            .expect("write to the kernel log");
    }
}
