//! The backends without BPF, the kernel log and the counts, with real kills.
//!
//! Each test kills in a memory cgroup of its own. A test that cannot run on this machine prints why and is skipped. With
//! `OOMWATCH_FLOOD_LOG=1` one test overwrites the machine's kernel log.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "tests print why they skip, and fail by panicking"
)]

use std::{
    env, fs,
    io::{self, Read as _},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use oomwatch::{
    capture::{
        counters::Counters,
        kmsg::{
            assemble::{LogItem, LogKill},
            tail::{Drained, LogTail},
        },
    },
    model::{
        backend::Backend,
        gap::{Gap, GapPlace},
        kill::{Constraint, Kill, Scope, Source},
        report::{Host, NodeKubelet, Origin, Report},
    },
    sys::clock,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::Builder,
    time::sleep_until,
};

const KMSG: &str = "/dev/kmsg";
const CGROUPS: &str = "/sys/fs/cgroup";
/// Memory limit of a victim.
const LIMIT_BYTES: u64 = 24 << 20;
/// Timeout, for a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A memory cgroup of the test, removed on drop.
struct Cgroup {
    /// Path from the root of its hierarchy.
    path: String,
    directory: PathBuf,
    is_v2: bool,
}

impl Cgroup {
    /// A cgroup below the root; prints why if none can be made.
    fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "oomwatch-log-test-{}-{}",
            process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let roots = [("memory", false), ("", true)];
        let made = roots.into_iter().find_map(|(below, is_v2)| {
            let root = Path::new(CGROUPS).join(below);
            if is_v2 {
                fs::write(root.join("cgroup.subtree_control"), "+memory").ok()?;
            } else if !root.join("memory.limit_in_bytes").exists() {
                return None;
            }
            let made = Self {
                path: format!("/{name}"),
                directory: root.join(&name),
                is_v2,
            };
            fs::create_dir(&made.directory).ok()?;
            Some(made)
        });
        if let Some(made) = &made {
            let file = if made.is_v2 {
                "memory.max"
            } else {
                "memory.limit_in_bytes"
            };
            made.write(file, &LIMIT_BYTES.to_string());
            // Absent without swap accounting.
            let (swap, bytes) = if made.is_v2 {
                ("memory.swap.max", 0)
            } else {
                ("memory.memsw.limit_in_bytes", LIMIT_BYTES)
            };
            if made.directory.join(swap).exists() {
                made.write(swap, &bytes.to_string());
            }
        } else {
            println!("skipped: no memory cgroup can be made below {CGROUPS}");
        }
        made
    }

    fn below(&self, name: &str) -> Self {
        if self.is_v2 {
            self.write("cgroup.subtree_control", "+memory");
        }
        let made = Self {
            path: format!("{}/{name}", self.path),
            directory: self.directory.join(name),
            is_v2: self.is_v2,
        };
        fs::create_dir(&made.directory).expect("make a cgroup");
        made
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.directory.join(file), text).expect("write to a cgroup");
    }

    /// Makes the OOM killer kill a process in it. Returns its pid.
    fn kill(&self) -> u32 {
        killed(self.start("tail /dev/zero"))
    }

    /// Starts a command in it.
    fn start(&self, command: &str) -> Child {
        let script = format!("echo $$ > \"$0\" && echo && exec {command}");
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .arg(self.directory.join("cgroup.procs"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("start a process");
        let stdout = child.stdout.as_mut().expect("a piped stdout");
        stdout
            .read_exact(&mut [0])
            .expect("wait until it is in the cgroup");
        child
    }
}

/// Waits until the process is killed. Returns its pid.
fn killed(mut child: Child) -> u32 {
    let status = child.wait().expect("wait for a victim");
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
    child.id()
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        // Its last process may still be exiting.
        while let Err(error) = fs::remove_dir(&self.directory) {
            if error.kind() != io::ErrorKind::ResourceBusy || Instant::now() > deadline {
                println!("failed to remove {}: {error}", self.directory.display());
                return;
            }
            thread::yield_now();
        }
    }
}

/// The log from its end onwards; prints why if it cannot be read.
fn open_log() -> Option<LogTail> {
    match LogTail::open(Path::new(KMSG)) {
        Ok(log) => Some(log),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

/// Waits for the kills of processes as an event loop does. Returns them in the order of the log.
fn kills(log: LogTail, pids: &[u32]) -> (Vec<LogKill>, LogTail) {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime
        .expect("start a runtime")
        .block_on(wait_for(log, pids))
}

async fn wait_for(log: LogTail, pids: &[u32]) -> (Vec<LogKill>, LogTail) {
    // SAFETY: it owns its file descriptor and always returns the same one.
    let log = unsafe { AsyncFd::register_with_interest(log, Interest::READABLE) };
    let mut log = log.expect("watch the log");
    let mut found = Vec::new();
    let until = Instant::now() + PATIENCE;
    while found.len() < pids.len() {
        let mut items = Vec::new();
        let due = log.get_ref().flush_due();
        tokio::select! {
            guard = log.readable_mut() => {
                let mut guard = guard.expect("wait for the log");
                let drained = guard.get_inner_mut().drain(|kill| items.push(kill));
                assert_eq!(drained.expect("read the log"), Drained::Empty);
                guard.clear_ready();
            }
            () = sleep_until(due.unwrap_or(until).into()) => {
                log.get_mut().flush(|kill| items.push(kill)).expect("read the log");
            }
        }
        found.extend(items.into_iter().filter_map(|kill| match kill {
            LogItem::Kill(kill) if pids.contains(&kill.kill.victim.tid) => Some(*kill),
            LogItem::Kill(_) | LogItem::Rekill { .. } => None,
        }));
        assert!(Instant::now() < until, "only {found:?} of {pids:?}");
    }
    (found, log.into_inner())
}

/// The same kill as the tracepoint backend records it: without scope and allocation.
fn as_recorded(kill: &Kill) -> Kill {
    Kill {
        source: Source::Bpf,
        backend: Backend::RawTracepoint,
        scope: Scope::Unknown,
        constraint: None,
        allocation: None,
        oom_level: None,
        ..kill.clone()
    }
}

#[test]
fn real_kill_is_read_from_the_log() {
    let (Some(log), Some(cgroup)) = (open_log(), Cgroup::new()) else {
        return;
    };
    let before = clock::since_boot_ns();
    let pid = cgroup.kill();
    let (found, mut log) = kills(log, &[pid]);
    let [log_kill] = &found[..] else {
        panic!("one kill")
    };
    let kill = &log_kill.kill;
    assert_eq!((kill.source, kill.backend), (Source::Kmsg, Backend::Kmsg));
    assert_eq!(
        (kill.scope, kill.constraint),
        (Scope::Memcg, Some(Constraint::Memcg))
    );
    assert_eq!(kill.victim.pid, pid);
    assert_eq!(kill.victim.comm.as_deref(), Some(&b"tail"[..]));
    let time = kill.boot_time_ns.expect("a time");
    assert!((before..=clock::since_boot_ns()).contains(&time));
    assert_eq!(kill.incident_boot_time_ns, kill.boot_time_ns);

    let host = Host {
        node: "node-1".to_owned(),
        boot_id: "0f1e2d3c4b5a".to_owned(),
        kubelet: NodeKubelet::default(),
    };
    let report = Report::new(
        log_kill.clone().into_kill(),
        Origin::Boot {
            host: &host,
            now: clock::ClockSample::now(),
        },
    );
    let stamp = log_kill.stamp.boot_time_ns.expect("a stamp");
    assert_eq!(report.id, format!("0f1e2d3c-{stamp:x}-{pid}"));
    assert_eq!(report.incident, format!("0f1e2d3c-{stamp:x}"));

    // The kernel writes ten headers in five seconds, for the whole machine.
    let facts = log.take_header(&as_recorded(kill));
    if kill.missing.contains(&"allocation") {
        println!("the kernel withheld the header");
        assert_eq!(facts, None);
    } else {
        let path = cgroup.path.as_bytes();
        assert_eq!(
            kill.victim
                .cgroup
                .as_ref()
                .map(|cgroup| cgroup.path.as_slice()),
            Some(path)
        );
        assert_eq!(kill.missing, [""; 0]);
        let facts = facts.expect("the header");
        assert_eq!(facts.allocation, kill.allocation);
        assert_eq!(facts.oom_path.as_deref(), Some(path));
        assert_eq!(facts.victim_path.as_deref(), Some(path));
        assert_eq!(facts.trigger_tid, Some(pid));
    }
    let facts = log.take_killed(&kill.victim).expect("the kill line");
    assert_eq!(facts.scope, Scope::Memcg);
    assert_eq!(log.losses().overruns, 0);
}

#[test]
fn real_group_is_one_incident() {
    let (Some(log), Some(cgroup)) = (open_log(), Cgroup::new()) else {
        return;
    };
    if !cgroup.is_v2 {
        println!("skipped: memory.oom.group is of cgroup v2 only");
        return;
    }
    cgroup.write("memory.oom.group", "1");
    let members = [(); 3].map(|()| cgroup.start("sleep 1000"));
    let first = cgroup.kill();
    let members = members.map(killed);
    let pids: Vec<u32> = members.into_iter().chain([first]).collect();
    let (found, log) = kills(log, &pids);
    assert_eq!(found[0].kill.victim.pid, first);
    let begun = found[0].kill.boot_time_ns;
    for LogKill { kill, incident, .. } in &found {
        assert_eq!(kill.group_kill, Some(true));
        assert_eq!(kill.incident_boot_time_ns, begun);
        assert!(kill.boot_time_ns >= begun);
        assert_eq!(*incident, found[0].stamp);
        let group = kill.group_cgroup.as_ref().expect("the group");
        assert_eq!(group.path, cgroup.path.as_bytes());
    }
    // The kernel kills the first twice.
    let (counts, _) = log.finish(|_| {}).expect("read the log");
    assert_eq!(counts.rekills, 1);
}

#[test]
fn kill_line_of_a_process_is_ignored() {
    const FORGED: &str = "Memory cgroup out of memory: Killed process 4194303 (forged) total-vm:8kB, anon-rss:4kB, \
                          file-rss:4kB, shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0";
    let Some(mut log) = open_log() else { return };
    // A process cannot set facility 0. Without a newline the record would become available only with the next one.
    if fs::write(KMSG, format!("<3>{FORGED}\n")).is_err() {
        println!("skipped: {KMSG} cannot be written");
        return;
    }
    let mut found = Vec::new();
    log.drain(|kill| found.push(kill)).expect("read the log");
    if log.counts().untrusted == 0 {
        println!(
            "skipped: what is written to {KMSG} does not arrive (see the sysctl printk.devkmsg)"
        );
        return;
    }
    let (counts, _) = log.finish(|kill| found.push(kill)).expect("read the log");
    assert_eq!(counts.untrusted, 1);
    let is_forged = |found: &LogItem| matches!(found, LogItem::Kill(kill) if kill.kill.victim.comm.as_deref() == Some(b"forged"));
    assert!(!found.iter().any(is_forged), "{found:?}");
}

/// The largest default buffer has 32 MiB (`CONFIG_LOG_BUF_SHIFT` 25).
#[test]
fn records_overwritten_before_they_are_read_are_counted() {
    if env::var_os("OOMWATCH_FLOOD_LOG").is_none() {
        println!("skipped: it overwrites the kernel log, set OOMWATCH_FLOOD_LOG=1 to allow that");
        return;
    }
    let Some(mut log) = open_log() else { return };
    let read = |log: &mut LogTail| log.drain(|_| {}).expect("read the log");
    fs::write(KMSG, "oomwatch-test: before the flood\n").expect("write to the log");
    assert_eq!(read(&mut log), Drained::Empty);
    assert_eq!(log.losses().overruns, 0);
    let text = format!("oomwatch-test: {}\n", "x".repeat(900));
    let mut written = 0_u64;
    while log.losses().overruns == 0 {
        for _ in 0..4096 {
            // A new file each time: writes per open file are rate-limited.
            fs::write(KMSG, &text).expect("write to the log");
        }
        written += 4096;
        assert!(written < 1 << 16, "it is never full");
        while read(&mut log) == Drained::More {}
    }
    let losses = log.losses();
    println!("{written} records were written: {losses:?}");
    assert_eq!(losses.overruns, 1);
    assert!(losses.records > 0 && losses.records < written, "{losses:?}");
    // Reading continues after the loss.
    fs::write(KMSG, "oomwatch-test: after the flood\n").expect("write to the log");
    assert_eq!(read(&mut log), Drained::Empty);
    assert_eq!(log.losses(), losses);
}

/// The growth in the test's own cgroup; other processes may be killed meanwhile.
fn places(gap: &Gap, cgroup: &Cgroup) -> Vec<(String, u64, GapPlace)> {
    let places = gap.cgroups.iter().map(|place| {
        let path = String::from_utf8_lossy(&place.path).into_owned();
        (path, place.kills, place.place)
    });
    places
        .filter(|(path, ..)| path.starts_with(&cgroup.path))
        .collect()
}

#[test]
fn counts_give_the_cgroup_of_a_real_kill() {
    let Some(cgroup) = Cgroup::new() else { return };
    let (proc_root, cgroup_root) = (Path::new("/proc"), Path::new(CGROUPS));
    let mut counters = match Counters::new(proc_root, cgroup_root) {
        Ok(counters) => counters,
        Err(error) => panic!("{error}"),
    };
    let mut poll = || counters.poll().expect("read the counts").expect("a gap");
    let before = clock::since_boot_ns();
    cgroup.kill();
    let gap = poll();
    assert!(gap.kills >= 1);
    assert!(gap.boot_time_ns >= before && gap.since_boot_time_ns <= before);
    let path = cgroup.path.clone();
    assert_eq!(places(&gap, &cgroup), [(path.clone(), 1, GapPlace::Own)]);

    // In a new cgroup that is removed before the counts are read.
    let below = cgroup.below("below");
    below.kill();
    below.kill();
    drop(below);
    let gap = poll();
    let expected = if cgroup.is_v2 {
        vec![(path, 2, GapPlace::Descendants)]
    } else {
        vec![]
    };
    assert!(gap.kills >= 2);
    assert_eq!(places(&gap, &cgroup), expected);
}
