//! Kills that were not captured: found in the kernel log, or counted.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use oomwatch::capture::kmsg::{
    assemble::{LogItem, LogKill},
    snapshot::LogSnapshot,
};
use rustix::process::Signal;

use super::{MIB, storm};
use crate::{
    Scenario, Skip,
    backends::attempt,
    cgroups::Cgroup,
    ended::Ended,
    expected::Expected,
    machine::{Machine, boot_time_ns},
    process::Hog,
    report::Line,
    watcher::{Watch, Watcher},
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "what_the_ring_cannot_hold_is_found_in_the_log_or_counted",
        overflow,
    )
    .needing(fast),
    Scenario::new("what_no_log_has_is_counted", without_log).needing(fast),
    Scenario::new("kills_that_go_on_hide_none_that_is_missing", going_on).needing(fast),
    Scenario::new(
        "kernel_log_is_found_without_its_device_and_while_the_command_runs",
        without_device,
    )
    .needing(|machine| fast(machine).and_then(|()| syslog(machine))),
    Scenario::new("kernel_log_is_the_same_by_device_and_by_call", both_ways).needing(syslog),
];

/// Kills that the ring cannot hold: with such paths a record takes 3 KiB.
const KILLS: usize = 700;
const DEPTH: usize = 9;
const NAME_BYTES: usize = 200;

const LIMIT_BYTES: u64 = 16 * MIB;

const KMSG: &str = "/dev/kmsg";
/// Where there is no device.
const NO_KMSG: &str = "/nonexistent/kmsg";
/// What is there and no log, so that nothing else is tried.
const UNREADABLE: &str = "/";

/// An emulated machine is asked for fewer kills than fill a ring.
fn fast(machine: &Machine) -> Result<(), Skip> {
    let is_fast = machine.storm >= KILLS / 2;
    is_fast
        .then_some(())
        .ok_or_else(|| Skip(format!("OOMWATCH_STORM is {}", machine.storm)))
}

fn syslog(_: &Machine) -> Result<(), Skip> {
    let whole = LogSnapshot::read(Path::new(NO_KMSG));
    whole.map(drop).map_err(|error| Skip(error.to_string()))
}

/// Kills while the command stands still, until its ring is full.
fn fill_ring(machine: &Machine, scene: &Cgroup, watcher: &Watcher) -> Vec<Expected> {
    let names = vec!["x".repeat(NAME_BYTES); DEPTH];
    let deep = scene.make_all(&names.join("/"));
    watcher.signal(Signal::STOP);
    let kills = storm::kill_many(machine, &deep, KILLS);
    watcher.signal(Signal::CONT);
    kills
}

fn overflow(machine: &Machine) {
    let scene = machine.scene("overflow");
    let watcher = Watch::new(machine, &["-o", "json"]).start();
    let reported = Reported::new();
    let kills = fill_ring(machine, &scene, &watcher);
    let reported = check_at_end(&kills, watcher, reported);
    assert!(reported.filled > 0);
}

fn without_log(machine: &Machine) {
    let scene = machine.scene("without-log");
    let watcher = Watch::new(machine, &["-o", "json", "--kmsg", UNREADABLE]).start();
    let reported = Reported::new();
    let kills = fill_ring(machine, &scene, &watcher);
    let reported = check_at_end(&kills, watcher, reported);
    assert!(reported.unidentified > 0);
    assert_eq!(reported.filled, 0);
}

fn going_on(machine: &Machine) {
    let scene = machine.scene("going-on");
    let watcher = Watch::new(machine, &["-o", "json"]).start();
    let reported = Reported::new();
    let kills = fill_ring(machine, &scene, &watcher);
    let others = scene.make("others");
    others.limit(LIMIT_BYTES);
    let has_ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !has_ended.load(Ordering::Relaxed) {
                Hog::plain().start(&others, machine.patience).killed();
            }
        });
        let checked = attempt(|| check_at_end(&kills, watcher, reported));
        has_ended.store(true, Ordering::Relaxed);
        checked.map_or_else(|why| panic!("{why}"), drop);
    });
}

fn check_at_end(kills: &[Expected], watcher: Watcher, mut reported: Reported) -> Reported {
    let ended = watcher.interrupt();
    ended.lines.iter().for_each(|line| reported.take(line));
    check(kills, &reported, &ended);
    reported
}

/// What is missing is reported while the command runs, soon after the storm.
fn without_device(machine: &Machine) {
    let scene = machine.scene("without-device");
    let mut watcher = Watch::new(machine, &["-o", "json", "--kmsg", NO_KMSG]).start();
    let mut reported = Reported::new();
    let kills = fill_ring(machine, &scene, &watcher);
    while reported.kills() + reported.unidentified < KILLS as u64 {
        reported.take(&watcher.line());
    }
    let ended = watcher.interrupt();
    ended.lines.iter().for_each(|line| reported.take(line));
    check(&kills, &reported, &ended);
}

/// What the command has reported since it was ready.
struct Reported {
    ready_boot_time_ns: u64,
    /// How often, by process.
    pids: HashMap<u32, u64>,
    /// Kills from the log.
    filled: u64,
    unidentified: u64,
}

impl Reported {
    fn new() -> Self {
        Self {
            ready_boot_time_ns: boot_time_ns(),
            pids: HashMap::new(),
            filled: 0,
            unidentified: 0,
        }
    }

    fn take(&mut self, line: &[u8]) {
        match Line::parse(line) {
            // It belongs to no sum.
            Line::Kill(report) if report.number("/boot_time_ns") < self.ready_boot_time_ns => {}
            Line::Kill(report) => {
                self.filled += u64::from(!report.is_complete());
                *self.pids.entry(report.pid()).or_default() += 1;
            }
            Line::Gap(unidentified) => self.unidentified += unidentified,
        }
    }

    /// Kills.
    fn kills(&self) -> u64 {
        self.pids.values().sum()
    }
}

/// Every kill was reported once or counted, as the closing line says.
#[expect(clippy::print_stdout, reason = "how the machine fared")]
fn check(kills: &[Expected], reported: &Reported, ended: &Ended) {
    let mut absent = 0;
    for kill in kills {
        match reported.pids.get(&kill.victim.pid) {
            None => absent += 1,
            // A number may come twice, but not so soon.
            Some(times) => assert_eq!(*times, 1, "{} was reported twice", kill.victim.pid),
        }
    }
    assert!(
        reported.filled + reported.unidentified > 0,
        "the ring held all"
    );
    assert!(
        absent <= reported.unidentified,
        "{absent} are silently absent"
    );
    let (kills, rekills, unidentified) = ended.counted();
    println!(
        "{kills} kills, {} of them from the log, {unidentified} counted",
        reported.filled
    );
    // Those after its end are counted, but not reported.
    assert!(kills >= reported.kills(), "{kills} < {}", reported.kills());
    assert_eq!(unidentified, reported.unidentified);
    assert!(kills + rekills + unidentified <= ended.growth, "{ended:?}");
    assert!(ended.filled() >= reported.filled, "{ended:?}");
}

/// But for a trigger's name with a newline in it, of which text has only what is behind that, and the rows of its table.
fn both_ways(machine: &Machine) {
    let scene = machine.scene("both-ways");
    scene.limit(LIMIT_BYTES);
    let victims = [b"plain".as_slice(), b"a\nb", b"\xff\\x41%s"].map(|name| {
        let hog = Hog::plain().named(name);
        hog.start(&scene, machine.patience).killed()
    });
    let pids: HashSet<_> = victims.iter().map(|victim| victim.pid).collect();
    let [device, call] = [KMSG, NO_KMSG].map(|path| {
        let found = LogSnapshot::read(Path::new(path))
            .expect("read the log")
            .items;
        let kills = found.into_iter().filter_map(|found| match found {
            LogItem::Kill(found) if pids.contains(&found.kill.victim.pid) => Some(found),
            _ => None,
        });
        let fact = |found: Box<LogKill>| {
            let mut kill = found.kill;
            let name = kill.victim.comm.as_deref().unwrap_or_default();
            if name.contains(&b'\n') {
                kill.trigger = None;
                kill.account = None;
            }
            (found.stamp, found.incident, kill)
        };
        kills.map(fact).collect::<Vec<_>>()
    });
    let comms: Vec<_> = call
        .iter()
        .map(|(.., kill)| kill.victim.comm.clone())
        .collect();
    let names = victims.map(|victim| Some(victim.name));
    assert_eq!(comms[comms.len() - names.len()..], names);
    assert_eq!(device, call);
}
