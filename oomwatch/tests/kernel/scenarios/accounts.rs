//! The account of a kill against the kernel's own task table of the same kill, in its log.

use std::{collections::BTreeMap, time::Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{MIB, system::guest};
use crate::{
    Scenario, Skip,
    cgroups::Cgroup,
    kernel::{KernelLog, meminfo_bytes, page_bytes},
    machine::Machine,
    process::{Hog, Process},
    report::Report,
    watcher::{Watch, Watcher},
};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "candidates_agree_with_the_kernels_task_table",
        candidates_of_a_cgroup,
    )
    .needing(log_readable),
    Scenario::new(
        "candidates_agree_when_the_system_runs_out",
        candidates_of_the_system,
    )
    .needing(guest),
];

/// Processes that stand still: more than the account lists.
const STANDING: u64 = 20;
/// Processes that the account lists of each kind.
const LISTED: usize = 16;

fn log_readable(_: &Machine) -> Result<(), Skip> {
    KernelLog::open()
        .map(drop)
        .map_err(|error| Skip(format!("open /dev/kmsg: {error}")))
}

/// A row of the kernel's task table.
#[derive(Debug)]
struct Row {
    uid: u64,
    rss_pages: u64,
    pgtables_bytes: u64,
    swap_pages: u64,
    oom_score_adj: i64,
    comm: String,
}

/// The rows by process id; none if the kernel has held its header back, of which there are ten in five seconds.
fn task_table(texts: &[String]) -> Option<BTreeMap<u64, Row>> {
    let header = texts
        .iter()
        .rposition(|text| text.contains("pgtables_bytes"))?;
    // `rss` is followed by its kinds since 6.8.
    let kinds = if texts[header].contains("rss_anon") {
        3
    } else {
        0
    };
    let rows: BTreeMap<_, _> = texts[header + 1..]
        .iter()
        .map_while(|text| row(text, kinds))
        .collect();
    assert!(!rows.is_empty(), "{texts:#?}");
    Some(rows)
}

fn row(text: &str, kinds: usize) -> Option<(u64, Row)> {
    let (_, rest) = text.strip_prefix('[')?.split_once(']')?;
    let mut words = rest.split_whitespace();
    let mut number = || words.next()?.parse::<i64>().ok();
    let (uid, tgid, _total_vm, rss) = (number()?, number()?, number()?, number()?);
    for _ in 0..kinds {
        number()?;
    }
    let (pgtables, swap, oom_score_adj) = (number()?, number()?, number()?);
    let count = |number: i64| u64::try_from(number).expect("no negative number");
    let row = Row {
        uid: count(uid),
        rss_pages: count(rss),
        pgtables_bytes: count(pgtables),
        swap_pages: count(swap),
        oom_score_adj,
        comm: words.collect::<Vec<_>>().join(" "),
    };
    Some((count(tgid), row))
}

fn stop(process: &Process) {
    let pid = i32::try_from(process.pid()).expect("a process id");
    kill_process(Pid::from_raw(pid).expect("a process id"), Signal::STOP).expect("stop a hog");
}

/// Processes of different size and `oom_score_adj` that stand still, one of them without its leader, and in a guest one that
/// the killer leaves out.
fn standing(machine: &Machine, cgroup: &Cgroup) -> Vec<Process> {
    let mut hogs: Vec<_> = (0..STANDING)
        .map(|number| {
            Hog::holding((1 + number % 5) * MIB / 4)
                .set("adj", number * 10)
                .set("uid", 1000 + number)
                .named(format!("hog {number}").as_bytes())
        })
        .collect();
    hogs.push(Hog::new("leaderless").set("bytes", MIB).named(b"no leader"));
    if machine.is_guest {
        hogs.push(Hog::holding(MIB).set("adj", -1000).named(b"never"));
    }
    hogs.into_iter()
        .map(|hog| {
            let mut process = hog.start(cgroup, machine.patience);
            process.ready();
            stop(&process);
            process
        })
        .collect()
}

/// Starts processes until the kernel has written the table of one's kill.
fn kill_with_table(
    machine: &Machine,
    log: &mut KernelLog,
    watcher: &mut Watcher,
    cgroup: &Cgroup,
    hog: impl Fn() -> Hog,
) -> (Report, BTreeMap<u64, Row>) {
    let deadline = Instant::now() + machine.patience;
    loop {
        log.texts();
        let victim = hog().start(cgroup, machine.patience).killed();
        let report = Report::parse(&watcher.line());
        assert_eq!(report.pid(), victim.pid);
        if let Some(table) = task_table(&log.texts()) {
            return (report, table);
        }
        assert!(Instant::now() < deadline, "no task table");
    }
}

fn candidates_of_a_cgroup(machine: &Machine) {
    let mut log = KernelLog::open().expect("opened before");
    let scene = machine.scene("candidates");
    scene.limit(256 * MIB);
    let middle = scene.make("middle");
    let [own, nested] = ["own", "nested"].map(|name| middle.make(name));
    let hogs = standing(machine, &nested);
    let mut watcher = Watch::new(machine, &["-o", "json"]).below(&scene).start();
    let hog = || Hog::plain().set("cap", 512 * MIB);
    let (report, table) = kill_with_table(machine, &mut log, &mut watcher, &own, hog);
    watcher.interrupt();
    if !report.is_function() {
        return;
    }
    let excluded = usize::from(machine.is_guest);
    check(&report, &table, Tolerance::None);
    assert_eq!(table.len(), hogs.len() + 1, "{table:#?}");
    report.is("/account/candidates/excluded", excluded);
    report.is("/account/candidates/scored", table.len() - excluded);
    let ids: Vec<_> = processes(&report)
        .iter()
        .map(|process| process.pointer("/cgroup/id").and_then(Value::as_u64))
        .collect();
    assert_eq!(ids[0], Some(own.id()), "{report:?}");
    assert!(
        ids[1..].iter().all(|id| *id == Some(nested.id())),
        "{report:?}"
    );
}

fn candidates_of_the_system(machine: &Machine) {
    let mut log = KernelLog::open().expect("a guest's log");
    let _never = super::system::never_these_tests();
    let scene = machine.scene("candidates-system");
    let _hogs = standing(machine, &scene);
    let mut watcher = Watch::new(machine, &["-o", "json"]).start();
    let hog = || {
        let hog = Hog::plain().set("adj", 999);
        hog.set("cap", 2 * meminfo_bytes("MemTotal"))
    };
    let (report, table) = kill_with_table(machine, &mut log, &mut watcher, &scene, hog);
    watcher.interrupt();
    if report.is_function() {
        check(&report, &table, Tolerance::Reclaim);
    }
}

/// By how much the table may differ.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tolerance {
    /// By the error of per-CPU counters.
    None,
    /// Pages of files are reclaimed between the two.
    Reclaim,
}

fn processes(report: &Report) -> &[Value] {
    report
        .at("/account/candidates/processes")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Each listed process, the number of processes and the sums are those of the kernel's table.
fn check(report: &Report, table: &BTreeMap<u64, Row>, tolerance: Tolerance) {
    let context = format!("{report:?}\n{table:#?}");
    report.is("/account/candidates/source", "kernel");
    report.is("/account/candidates/complete", true);
    let number = |value: &Value, name: &str| {
        value[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no number {name} in {value:#}"))
    };
    let candidates = report.at("/account/candidates").expect("candidates");
    let (scored, excluded) = (number(candidates, "scored"), number(candidates, "excluded"));
    assert_eq!(scored + excluded, table.len() as u64, "{context}");

    let error_pages = number(candidates, "rss_error_bytes") / page_bytes()
        + if tolerance == Tolerance::Reclaim {
            2048
        } else {
            0
        };
    let mut left_out = [0u64; 3];
    for process in processes(report) {
        let row = &table[&number(process, "pid")];
        let rss_pages = number(process, "rss_bytes") / page_bytes();
        assert!(
            rss_pages.abs_diff(row.rss_pages) <= 3 * error_pages,
            "{process:#} {row:?} {context}"
        );
        assert_eq!(
            number(process, "pgtables_bytes"),
            row.pgtables_bytes,
            "{context}"
        );
        assert_eq!(
            number(process, "swap_bytes") / page_bytes(),
            row.swap_pages,
            "{context}"
        );
        assert_eq!(number(process, "uid"), row.uid, "{context}");
        assert_eq!(process["oom_score_adj"], row.oom_score_adj, "{context}");
        assert_eq!(process["comm"], row.comm, "{context}");
        if process["excluded"].is_null() {
            continue;
        }
        assert_eq!(process["excluded"], "oom_score_adj", "{context}");
        assert_eq!(row.oom_score_adj, -1000, "{context}");
        left_out[0] += row.rss_pages;
        left_out[1] += row.pgtables_bytes;
        left_out[2] += row.swap_pages;
    }
    let points: Vec<_> = processes(report)
        .iter()
        .filter_map(|process| process["oom_points"].as_i64())
        .collect();
    assert_eq!(
        points.len(),
        LISTED.min(usize::try_from(scored).expect("a number"))
    );
    assert!(
        points.is_sorted_by(|more, fewer| more >= fewer),
        "{context}"
    );
    // The kernel leaves no points where it chose nothing.
    report.is("/victim/oom_points", points[0]);
    assert_eq!(processes(report)[0]["pid"], report.pid(), "{context}");

    if excluded > LISTED as u64 {
        return;
    }
    let sum = &candidates["sum"];
    let of_table = |value: fn(&Row) -> u64| table.values().map(value).sum::<u64>();
    assert_eq!(
        number(sum, "pgtables_bytes"),
        of_table(|row| row.pgtables_bytes) - left_out[1],
        "{context}"
    );
    assert_eq!(
        number(sum, "swap_bytes") / page_bytes(),
        of_table(|row| row.swap_pages) - left_out[2],
        "{context}"
    );
    let rss_pages = of_table(|row| row.rss_pages) - left_out[0];
    assert!(
        (number(sum, "rss_bytes") / page_bytes()).abs_diff(rss_pages)
            <= 3 * error_pages * table.len() as u64,
        "{context}"
    );
}
