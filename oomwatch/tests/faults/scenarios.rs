//! The tests. Each has an agent of its own, with its own history and pins, and pods of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, thread,
    time::Duration,
};

use serde_json::Value;
use tokio::runtime::{self, Runtime};

use crate::{
    agent::{Home, Row, Setup, is_there},
    api_server::{ADMIN, AGENT, ApiServer, PATIENCE},
    moment::Chance,
    pods::{Container, Killed, NAMESPACE, Pods, Steady, by_pod},
};

/// A test: its name is what it claims.
type Scenario = (&'static str, fn(&ApiServer));

pub(crate) const ALL: [Scenario; 7] = [
    (
        "killed_fifty_times_it_loses_nothing_and_tells_nothing_twice",
        killed_fifty_times,
    ),
    ("kills_while_it_is_down_are_told_by_the_next", down),
    ("removed_pods_are_named_from_the_history", gone),
    ("lost_history_repeats_no_event", lost_history),
    ("lost_bpffs_is_made_up_for_by_the_kernel_log", lost_bpffs),
    (
        "upgrade_and_rollback_over_another_layout_lose_nothing",
        other_layout,
    ),
    ("full_disk_holds_nothing_up_and_loses_nothing", full_disk),
];

/// Lives of the agent.
const LIVES: u32 = 50;
/// The longest of them.
const LIFE: Duration = Duration::from_millis(1800);
/// Between two kills.
const PACE: Duration = Duration::from_millis(120);

fn runtime() -> Runtime {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

fn home(server: &ApiServer) -> Home {
    Home::new(Setup {
        binary: env!("CARGO_BIN_EXE_oomwatch").into(),
        kubeconfig: Some(server.kubeconfig(AGENT)),
        patience: PATIENCE,
    })
}

fn pods(server: &ApiServer, prefix: &str, pods: usize, containers: usize) -> Pods {
    runtime().block_on(async {
        let client = server.client(ADMIN).await;
        Pods::make(&client, prefix, pods, containers).await
    })
}

fn killed_fifty_times(server: &ApiServer) {
    let mut chance = Chance::new();
    let pods = pods(server, "fifty", 10, 3);
    let home = home(server);
    let agent = home.start();
    agent.until_all_is_delivered();
    agent.end();
    let before = kernel_count();
    let steady = Steady::start(pods.containers(), PACE);
    thread::scope(|scope| {
        let mut server_is_down = false;
        for life in 0..LIVES {
            // At any moment of its life, its start included.
            let agent = home.spawn();
            thread::sleep(chance.time(LIFE));
            agent.kill();
            if life % 8 == 5 {
                server.kill();
                server_is_down = true;
            } else if server_is_down && life % 8 == 1 {
                scope.spawn(|| server.restart());
                server_is_down = false;
            }
        }
        if server_is_down {
            server.restart();
        }
    });
    let killed = steady.end();
    let agent = home.start();
    agent.until_all_is_delivered();
    agent.end();
    let counted = kernel_count() - before;

    let rows = home.history();
    each_is_there_once(&rows, &killed);
    assert_eq!(Row::unidentified(&rows), 0);
    // Whatever else was killed on this machine is in the history, too.
    assert_eq!(Row::kills(&rows), counted);
    assert_eq!(events(server, "fifty"), by_pod(&killed));
    // At least once: a line whose writing was not recorded is written again.
    let lines = home.lines();
    let written: BTreeSet<u64> = lines.iter().filter_map(Row::pid).collect();
    let missing: Vec<_> = killed
        .iter()
        .map(|killed| killed.victim.pid)
        .filter(|pid| !written.contains(&u64::from(*pid)))
        .collect();
    assert!(missing.is_empty(), "kills without a line: {missing:?}");
    let repeated = lines.len() - written.len();
    eprintln!("{} lines, {repeated} of them repeated", lines.len());
}

fn down(server: &ApiServer) {
    let pods = pods(server, "down", 1, 3);
    let home = home(server);
    let agent = home.start();
    agent.until_all_is_delivered();
    let mut killed = vec![pods.containers()[0].kill()];
    agent.until("the first is reported", |metrics| {
        metrics.get("oomwatch_node_kills_total") >= Some(&1.0)
    });
    agent.kill();
    for container in pods.containers().iter().cycle().take(12) {
        killed.push(container.kill());
    }
    let agent = home.start();
    agent.until_all_is_delivered();
    agent.end();
    let rows = home.history();
    each_is_there_once(&rows, &killed);
    for row in &rows {
        assert_eq!(row.0["source"], "bpf", "{}", row.0);
    }
    assert_eq!(events(server, "down"), by_pod(&killed));
}

fn gone(server: &ApiServer) {
    let pods = pods(server, "gone", 2, 1);
    let home = home(server);
    let agent = home.start();
    agent.until_all_is_delivered();
    agent.end();
    let killed: Vec<_> = pods.containers().iter().map(Container::kill).collect();
    runtime().block_on(async {
        pods.delete(&server.client(ADMIN).await).await;
    });
    let agent = home.start();
    agent.until_all_is_delivered();
    agent.end();
    let rows = home.history();
    each_is_there_once(&rows, &killed);
    assert_eq!(events(server, "gone"), by_pod(&killed));
}

fn lost_history(server: &ApiServer) {
    let pods = pods(server, "lost", 1, 2);
    let home = home(server);
    let agent = home.start();
    agent.until_all_is_delivered();
    let mut killed: Vec<_> = pods.containers().iter().map(Container::kill).collect();
    agent.until("both are delivered", |metrics| {
        metrics.get("oomwatch_events_total{object=\"pod\",outcome=\"accepted\"}") >= Some(&2.0)
    });
    agent.kill();
    // This kill is in the ring and not delivered; which ones were delivered is lost with the history.
    killed.push(pods.containers()[0].kill());
    for name in ["oomwatch.db", "oomwatch.db-wal", "oomwatch.db-shm"] {
        let file = home.state().join(name);
        if is_there(&file) {
            fs::remove_file(file).expect("remove the history");
        }
    }
    let agent = home.start();
    agent.until_all_is_delivered();
    killed.push(pods.containers()[1].kill());
    agent.until("that is reported, too", |metrics| {
        metrics.get("oomwatch_node_kills_total") >= Some(&2.0)
    });
    agent.until_all_is_delivered();
    agent.end();
    assert_eq!(events(server, "lost"), by_pod(&killed));
}

fn lost_bpffs(server: &ApiServer) {
    let pods = pods(server, "unpinned", 1, 3);
    let home = home(server);
    let agent = home.start();
    agent.until_all_is_delivered();
    agent.end();
    home.lose_bpffs();
    let before = kernel_count();
    let killed: Vec<_> = pods.containers().iter().map(Container::kill).collect();
    let agent = home.start();
    agent.until("they are reported", |metrics| {
        metrics.get("oomwatch_node_kills_total") >= Some(&3.0)
    });
    agent.until_all_is_delivered();
    agent.end();
    let counted = kernel_count() - before;
    let rows = home.history();
    each_is_there_once(&rows, &killed);
    let ours: BTreeSet<_> = killed.iter().map(|one| u64::from(one.victim.pid)).collect();
    for Row(row) in &rows {
        let is_ours = row["victim"]["pid"]
            .as_u64()
            .is_some_and(|pid| ours.contains(&pid));
        assert!(!is_ours || row["source"] == "kmsg", "{row}");
    }
    assert_eq!(Row::kills(&rows) + Row::unidentified(&rows), counted);
    assert_eq!(events(server, "unpinned"), by_pod(&killed));
}

/// From an older version, and back from a newer one: their rings are not for this one to read, but the kernel log tells, too.
fn other_layout(server: &ApiServer) {
    let pods = pods(server, "layout", 1, 3);
    let home = home(server);
    let mut agent = home.start();
    agent.until_all_is_delivered();
    let mut killed = Vec::new();
    for version in [1, 99] {
        agent.kill();
        killed.extend(pods.containers().iter().map(Container::kill));
        home.change_layout(version);
        agent = home.start();
        killed.push(pods.containers()[0].kill());
        // Those of before, and the one of now.
        agent.until("all of them are reported", |metrics| {
            metrics.get("oomwatch_node_kills_total") >= Some(&4.0)
        });
        agent.until_all_is_delivered();
    }
    agent.end();
    let rows = home.history();
    each_is_there_once(&rows, &killed);
    assert_eq!(events(server, "layout"), by_pod(&killed));
}

fn full_disk(server: &ApiServer) {
    let pods = pods(server, "full", 1, 3);
    let home = home(server);
    home.mount_disk(4 << 20);
    let agent = home.start();
    agent.until_all_is_delivered();
    let mut killed = vec![pods.containers()[0].kill()];
    agent.until_all_is_delivered();
    let filler = home.fill_disk();
    for container in pods.containers().iter().cycle().take(9) {
        killed.push(container.kill());
    }
    // Reports do not wait for the disk.
    agent.until("all are reported", |metrics| {
        metrics.get("oomwatch_node_kills_total") >= Some(&10.0)
            && metrics.get("oomwatch_history_errors_total") > Some(&0.0)
    });
    agent.until_all_is_delivered();
    // Killed with a full disk, it has delivered what it could not save.
    agent.kill();
    let agent = home.start();
    killed.push(pods.containers()[1].kill());
    agent.until_all_is_delivered();
    fs::remove_file(filler).expect("make room");
    agent.until("there is room again", |metrics| {
        metrics.get("oomwatch_history_bytes") > Some(&0.0)
    });
    agent.end();
    let rows = home.history();
    each_is_there_once(&rows, &killed);
    assert_eq!(events(server, "full"), by_pod(&killed));
}

/// Each of these is in the history once, with its pod and container; merged rows stand for so many.
fn each_is_there_once(rows: &[Row], killed: &[Killed]) {
    let mut found: BTreeMap<u32, Vec<&Value>> = BTreeMap::new();
    for Row(row) in rows {
        let pid = row["victim"]["pid"].as_u64().unwrap_or_default();
        found
            .entry(u32::try_from(pid).expect("a process id"))
            .or_default()
            .push(row);
    }
    for one in killed {
        let Some([row]) = found.get(&one.victim.pid).map(Vec::as_slice) else {
            panic!("{}: {:#?}", one.victim.pid, found.get(&one.victim.pid));
        };
        assert_eq!(row["pod"]["name"], one.pod, "{row}");
        assert_eq!(row["pod"]["namespace"], NAMESPACE, "{row}");
        assert_eq!(row["container"]["name"], one.container, "{row}");
    }
}

/// What the Events of pods whose names begin so have counted, by pod.
fn events(server: &ApiServer, prefix: &str) -> BTreeMap<String, u64> {
    let listed = server.kubectl(&["get", "events", "-n", NAMESPACE, "-o", "json"]);
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let mut counts = BTreeMap::new();
    for event in listed["items"].as_array().expect("a list") {
        let pod = event["involvedObject"]["name"].as_str().expect("a name");
        if pod.starts_with(&format!("{prefix}-")) {
            *counts.entry(pod.to_owned()).or_default() += event["count"].as_u64().expect("a count");
        }
    }
    counts
}

/// `oom_kill` of `/proc/vmstat`.
fn kernel_count() -> u64 {
    let text = fs::read_to_string("/proc/vmstat").expect("read vmstat");
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .expect("a line oom_kill")
        .parse()
        .expect("a number")
}
