//! What the command may still do once it sees kills, what it does with that, and what others learn from it.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    ops::Range,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    process::{Gid, Signal, Uid},
    thread::{
        CapabilitySet, capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};

use tempfile::{NamedTempFile, TempDir};

use super::MIB;
use oomwatch::model::backend::Backend;

use crate::{
    Scenario,
    confined::{Confined, OTHER_USER, Running, User},
    ended::Ended,
    expected::Expected,
    kernel,
    machine::Machine,
    process::{Hog, Victim},
    report::Report,
    watcher::{Watch, Watcher},
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("watch_drops_capabilities_and_captures_kills", watch),
    Scenario::new(
        "watch_of_another_user_drops_capabilities",
        watch_of_another_user,
    ),
    Scenario::new("agent_drops_capabilities_and_keeps_working", agent),
    Scenario::new(
        "another_user_learns_nothing_of_a_process_from_the_agent",
        other_user,
    ),
    Scenario::new("agent_without_a_cluster_is_not_degraded", plain_host),
    Scenario::new(
        "agent_of_a_cluster_needs_its_configuration",
        no_configuration,
    ),
];

/// What the agent is started with: it asks no source, and names nothing.
const ALONE: [&str; 5] = [
    "--node-events=off",
    "--pod-events=off",
    "--cri-socket=off",
    "--docker-socket=off",
    "--log-level=debug",
];

/// Of an unreachable server, so that the watch of pods fails.
const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
current-context: a
contexts: [{name: a, context: {cluster: a, user: a}}]
clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}]
users: [{name: a, user: {token: secret-token}}]
";
/// An error message may show it.
const MALFORMED_KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
users: [{name: a, user: {token: secret-token}}
clusters: }
";

/// All that is kept. Programs have counters, which Linux before 5.19 does not show to everyone who has them open.
fn kept(has_programs: bool) -> CapabilitySet {
    let disabled = fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled");
    let is_disabled = disabled.is_ok_and(|text| text.trim() != "0");
    if has_programs && is_disabled && kernel::release() < (5, 19) {
        CapabilitySet::SYSLOG | CapabilitySet::BPF
    } else {
        CapabilitySet::SYSLOG
    }
}

/// A thread's status, as the kernel shows it.
struct Status(String);

impl Status {
    /// Those of all threads of a process, the first one's first.
    fn of_all(pid: u32) -> Vec<Self> {
        let folder = format!("/proc/{pid}/task");
        let mut threads: Vec<u32> = fs::read_dir(folder)
            .expect("list the threads")
            .map(|entry| {
                let name = entry.expect("a thread").file_name();
                let number = name.to_str().expect("a number").parse();
                number.expect("a number")
            })
            .collect();
        threads.sort_unstable_by_key(|thread| (*thread != pid, *thread));
        let read = |thread| fs::read_to_string(format!("/proc/{pid}/task/{thread}/status")).ok();
        // Some may have ended.
        threads.into_iter().filter_map(read).map(Self).collect()
    }

    fn field(&self, name: &str) -> &str {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.strip_prefix(':'))
            .unwrap_or_else(|| panic!("no {name} in {}", self.0))
            .trim()
    }

    fn set(&self, name: &str) -> CapabilitySet {
        let bits = u64::from_str_radix(self.field(name), 16).expect("a number");
        CapabilitySet::from_bits_retain(bits)
    }
}

/// All threads, since each has its own.
fn check(pid: u32, kept: CapabilitySet, bounding: CapabilitySet) {
    let threads = Status::of_all(pid);
    let first = threads.first().expect("a thread");
    assert_eq!(first.set("CapEff"), kept, "{}", first.0);
    for thread in &threads {
        for set in ["CapPrm", "CapEff"] {
            assert!(kept.contains(thread.set(set)), "{set} of {}", thread.0);
        }
        for set in ["CapInh", "CapAmb"] {
            assert!(thread.set(set).is_empty(), "{set} of {}", thread.0);
        }
        assert_eq!(thread.set("CapBnd"), bounding, "{}", thread.0);
        assert_eq!(thread.field("NoNewPrivs"), "1", "{}", thread.0);
    }
}

/// What is left of the bounding set to a root that has what these tests have.
fn bounding() -> CapabilitySet {
    let held = capabilities(None).expect("own capabilities").permitted;
    if held.contains(CapabilitySet::SETPCAP) {
        return CapabilitySet::empty();
    }
    Status::of_all(std::process::id())[0].set("CapBnd")
}

fn watch(machine: &Machine) {
    let scene = machine.scene("watch-privileges");
    scene.limit(16 * MIB);
    let mut watchers = Vec::new();
    for backend in Backend::ALL {
        match Watch::on(machine, backend).try_start() {
            Ok(watcher) => {
                let has_programs = !matches!(backend, Backend::Kmsg | Backend::Counters);
                check(watcher.pid(), kept(has_programs), bounding());
                watchers.push((backend, watcher));
            }
            Err(why) => eprintln!("skipped: backend {}: {why}", backend.flag()),
        }
    }
    assert!(!watchers.is_empty(), "no backend could be had");
    let victim = Hog::plain().start(&scene, machine.patience).killed();
    for (backend, watcher) in watchers {
        let ended = watcher.interrupt();
        if backend == Backend::Counters {
            assert!(ended.unidentified() >= 1, "{ended:?}");
            continue;
        }
        // Behind a storm the log names no cgroup: none is asked for.
        let is_told = |report: &Report| report.pid() == victim.pid;
        assert!(ended.reports().iter().any(is_told), "{ended:?}");
        assert!(ended.sum().kills >= 1, "{ended:?}");
    }
}

/// As the service for systemd is: a user with no more than it needs, which are ambient.
fn watch_of_another_user(machine: &Machine) {
    let mut capabilities = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::SYSLOG;
    if kernel::locks_maps() {
        capabilities |= CapabilitySet::SYS_RESOURCE;
    }
    let confined = Confined {
        user: User::Other,
        capabilities,
        ..Confined::root(machine)
    };
    let running = Running::start(&confined, &["--backend", "raw-tracepoint"]);
    check(running.pid(), kept(true), capabilities);
    // The files of a process whose core may not be dumped are root's.
    let environ = fs::metadata(format!("/proc/{}/environ", running.pid())).expect("its owner");
    assert_eq!(environ.uid(), 0);
    let scene = machine.scene("another-users-privileges");
    scene.limit(16 * MIB);
    let victim = Hog::plain().start(&scene, machine.patience).killed();
    let ended = running.interrupt();
    let is_told = |report: &serde_json::Value| report["victim"]["pid"] == victim.pid;
    assert!(ended.reports.iter().any(is_told), "{ended:?}");
    assert!(ended.messages.contains(" 0 missed"), "{ended:?}");
}

/// An agent on a port of its own.
struct Agent {
    watcher: Watcher,
    address: SocketAddr,
    patience: Duration,
    _state: TempDir,
}

impl Agent {
    /// With an API server in `kubeconfig`.
    fn start(machine: &Machine, kubeconfig: &str) -> Self {
        let mut file = NamedTempFile::new().expect("make a file");
        file.write_all(kubeconfig.as_bytes()).expect("write it");
        let address = free_address();
        let listen = format!("--listen={address}");
        let state = tempfile::tempdir().expect("make a folder");
        let own = |flag: &str, name: &str| format!("{flag}={}", state.path().join(name).display());
        let (history, pins) = (own("--state-dir", "history"), own("--bpffs", "none"));
        let arguments = [&ALONE[..], &["--cmdline", &listen, &history, &pins]].concat();
        let agent = Watch::agent(machine, &arguments).with("KUBECONFIG", file.path());
        Self {
            watcher: agent.start(),
            address,
            patience: machine.patience,
            _state: state,
        }
    }

    /// Waits for the report of a kill.
    fn report_of(&mut self, victim: &Victim) -> Report {
        loop {
            let report = Report::parse(&self.watcher.line());
            if report.pid() == victim.pid {
                return report;
            }
        }
    }

    fn ask(&self, request: &str) -> String {
        ask(self.address, request).expect("an answer")
    }

    /// Waits until a metric without labels is so large.
    fn wait_for(&self, metric: &str, values: &Range<u64>) {
        let deadline = Instant::now() + self.patience;
        loop {
            let page = self.ask("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
            let line = page.lines().find_map(|line| line.strip_prefix(metric));
            let value = line.and_then(|value| value.trim().split('.').next()?.parse().ok());
            if value.is_some_and(|value| values.contains(&value)) {
                return;
            }
            assert!(Instant::now() < deadline, "{metric} not {values:?}: {page}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn end(self) -> Ended {
        self.watcher.signal(Signal::TERM);
        let ended = self.watcher.end();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        ended
    }
}

/// On which nothing listens, most likely.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address")
}

fn ask(address: SocketAddr, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    // It may be closed before all was read that was sent.
    let _ = stream.read_to_string(&mut answer);
    Ok(answer)
}

fn agent(machine: &Machine) {
    let scene = machine.scene("agent-privileges");
    scene.limit(16 * MIB);
    let mut agent = Agent::start(machine, KUBECONFIG);
    let pid = agent.watcher.pid();
    check(pid, kept(true), bounding());
    for _ in 0..2 {
        // The victim is another user's.
        let victim = Hog::plain()
            .set("uid", OTHER_USER)
            .start(&scene, machine.patience)
            .killed();
        Expected::new(&victim, &scene).check(&agent.report_of(&victim));
        agent.wait_for("oomwatch_node_kills_total ", &(1..u64::MAX));
        // It compares a second after a kill, with the programs' counters and the kernel's.
        agent.wait_for("oomwatch_kernel_oom_kills_total ", &(1..u64::MAX));
        agent.wait_for("oomwatch_last_audit_timestamp_seconds ", &(1..u64::MAX));
    }
    // Threads that were made meanwhile, too.
    check(pid, kept(true), bounding());
    agent.end();
}

/// `auto` says which it is and why; without a cluster nothing is missing.
fn plain_host(machine: &Machine) {
    let state = tempfile::tempdir().expect("make a folder");
    let address = free_address();
    let flag = |flag: &str, name: &str| format!("{flag}={}", state.path().join(name).display());
    let arguments = [
        flag("--state-dir", "history"),
        flag("--bpffs", "none"),
        format!("--listen={address}"),
    ];
    for choice in ["--kubernetes=auto", "--kubernetes=off"] {
        let arguments = arguments.iter().map(String::as_str).chain([choice]);
        let watcher = Watch::agent(machine, &arguments.collect::<Vec<_>>()).start();
        let page = || ask(address, "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").expect("an answer");
        let deadline = Instant::now() + machine.patience;
        while !page().ends_with("[ ] api-server off\n[+] runtime ok\nready\n") {
            assert!(Instant::now() < deadline, "{choice}: {}", page());
            thread::sleep(Duration::from_millis(50));
        }
        watcher.signal(Signal::TERM);
        let messages = watcher.end().messages.join("\n");
        let says_why = messages.contains("neither KUBECONFIG nor KUBERNETES_SERVICE_HOST is set");
        assert_eq!(says_why, choice.ends_with("auto"), "{messages}");
        for word in ["API server", "CRI socket"] {
            assert!(!messages.contains(word), "{messages}");
        }
    }
}

fn no_configuration(machine: &Machine) {
    let arguments = [
        "--kubernetes=on",
        "--bpffs=/nonexistent",
        "--listen=127.0.0.1:0",
    ];
    let state = tempfile::tempdir().expect("make a folder");
    let state = format!("--state-dir={}", state.path().display());
    let agent = Watch::agent(machine, &[&arguments[..], &[&state]].concat());
    let refused = agent.with("KUBECONFIG", "/nonexistent").try_start();
    let why = refused.map(|_| ()).expect_err("no configuration");
    assert!(
        why.contains("--kubernetes on: no configuration of an API server"),
        "{why}"
    );
}

/// Runs it as an unprivileged user, in that thread alone.
fn as_nobody<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::spawn(|| {
        let (uid, gid) = (Uid::from_raw(OTHER_USER), Gid::from_raw(OTHER_USER));
        set_thread_groups(&[]).expect("leave all groups");
        set_thread_res_gid(gid, gid, gid).expect("be another group");
        set_thread_res_uid(uid, uid, uid).expect("be another user");
        work()
    });
    thread.join().expect("no panic")
}

/// Whatever is asked for, and however.
const REQUESTS: [&str; 8] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: application/openmetrics-text\r\n\r\n",
    "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /history HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "nonsense\r\n\r\n",
];

/// Files of a process that its own user alone should read.
const CLOSED: [&str; 7] = ["environ", "fd", "io", "maps", "mem", "root", "stack"];

fn other_user(machine: &Machine) {
    let scene = machine.scene("secret-cgroup");
    scene.limit(16 * MIB);
    let mut agent = Agent::start(machine, MALFORMED_KUBECONFIG);
    let victim = Hog::plain()
        .named(b"secret-comm")
        .set("uid", 54321)
        .start(&scene, machine.patience)
        .killed();
    // The reader of its stdout has it.
    Expected::new(&victim, &scene).check(&agent.report_of(&victim));
    agent.wait_for("oomwatch_node_kills_total ", &(1..u64::MAX));
    let address = agent.address;
    let pages = as_nobody(move || REQUESTS.map(|request| ask(address, request).expect("answer")));
    assert!(
        pages[1].contains("oomwatch_node_kills_total "),
        "{}",
        pages[1]
    );
    let pid = format!("\"{}\"", victim.pid);
    for page in &pages {
        for secret in ["secret-", "oomwatch-test-", &pid] {
            assert!(!page.contains(secret), "{secret}: {page}");
        }
    }
    let process = PathBuf::from(format!("/proc/{}", agent.watcher.pid()));
    let open = as_nobody(move || {
        let read = |name: &&str| {
            let path = process.join(name);
            fs::read(&path).is_ok() || fs::read_dir(&path).is_ok()
        };
        CLOSED.into_iter().filter(read).collect::<Vec<_>>()
    });
    assert_eq!(open, [""; 0]);
    let log = agent.end().messages.join("\n");
    assert!(log.contains("no API server"), "{log}");
    assert!(!log.contains("secret-"), "{log}");
}
