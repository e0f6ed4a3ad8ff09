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
    Scenario::new("each_kind_of_memory_is_the_cause", each_kind).needing(guest),
];

/// What a process fills a cgroup with, where that shows, and the cause.
const KINDS: &[(&str, &[&str], &str)] = &[
    ("plain", &["anon"], "one_process"),
    ("shared", &["shmem"], "shmem"),
    ("memory-file", &["shmem"], "shmem"),
    ("pipes", &["kernel_other"], "kernel_memory"),
    // Some kernels count them as other memory of the kernel.
    ("sparse", &["pagetables", "kernel_other"], "page_tables"),
];

/// Processes that stand still: more than the account lists.
const STANDING: u64 = 20;
/// Charges and, before 5.13, statistics are counted in batches of 64 pages for each CPU, and a huge page may be in the making.
const BATCH_BYTES: u64 = 3 * MIB;
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

/// The statistics of the cgroup that ran out, by name; on cgroup v1 those of its subtree.
fn statistics(texts: &[String]) -> BTreeMap<String, u64> {
    let begin = texts
        .iter()
        .rposition(|text| text.starts_with("Memory cgroup stats for "));
    let number = |line: &str| {
        let (name, number) = line.trim().split_once(' ')?;
        Some((name.to_owned(), number.parse().ok()?))
    };
    // Up to 6.5 one record has them all, as far as there is room.
    texts[begin.unwrap_or(texts.len())..]
        .join("\n")
        .replace("\\x0a", "\n")
        .lines()
        .filter_map(number)
        .collect()
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
) -> (Report, BTreeMap<u64, Row>, BTreeMap<String, u64>) {
    let deadline = Instant::now() + machine.patience;
    loop {
        log.texts();
        let victim = hog().start(cgroup, machine.patience).killed();
        let report = Report::parse(&watcher.line());
        assert_eq!(report.pid(), victim.pid);
        let texts = log.texts();
        if let Some(table) = task_table(&texts) {
            return (report, table, statistics(&texts));
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
    let (report, table, statistics) = kill_with_table(machine, &mut log, &mut watcher, &own, hog);
    watcher.interrupt();
    if !report.is_function() {
        return;
    }
    let excluded = usize::from(machine.is_guest);
    check(&report, &table, Tolerance::None);
    check_memory(&report, &statistics);
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

fn each_kind(machine: &Machine) {
    let scene = machine.scene("each-kind");
    for (mode, kinds, cause) in KINDS {
        let cgroup = scene.make(mode);
        cgroup.limit(64 * MIB);
        let mut watcher = Watch::new(machine, &["-o", "json"]).below(&cgroup).start();
        let victim = Hog::new(mode).start(&cgroup, machine.patience).killed();
        let report = Report::parse(&watcher.line());
        watcher.interrupt();
        assert_eq!(report.pid(), victim.pid);
        let memory = report.at("/account/memory").and_then(Value::as_object);
        let memory = memory.unwrap_or_else(|| panic!("{mode}: {report:?}"));
        let of_kind = |kind: &&str| memory.get(&format!("{kind}_bytes"))?.as_u64();
        // Older kernels have no statistics of it.
        let Some(found) = kinds.iter().map(of_kind).sum::<Option<u64>>() else {
            continue;
        };
        let usage = report.number("/account/memory/usage_bytes");
        assert!(found > usage / 2, "{mode}: {report:?}");
        let other = report.number("/account/memory/other_bytes");
        let is_unflushed = memory["unflushed"] == true;
        assert!(
            is_unflushed || other <= (usage / 50).max(BATCH_BYTES),
            "{mode}: {report:?}"
        );
        assert_eq!(
            report.at("/account/cause/kind").and_then(Value::as_str),
            Some(*cause),
            "{mode}: {report:?}"
        );
    }
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
    let (report, table, _) = kill_with_table(machine, &mut log, &mut watcher, &scene, hog);
    watcher.interrupt();
    if report.is_function() {
        check(&report, &table, Tolerance::Reclaim);
        report.is("/account/memory/of", "node");
        report.is("/account/memory/source", "log");
        let zones = report.at("/account/zones").and_then(Value::as_array);
        assert!(zones.is_some_and(|zones| !zones.is_empty()), "{report:?}");
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

/// The statistics are those of the log, for which the kernel has brought them up to date a moment before.
fn check_memory(report: &Report, statistics: &BTreeMap<String, u64>) {
    let context = format!("{report:?}\n{statistics:#?}");
    report.is("/account/memory/of", "cgroup");
    // Before 6.8 the kernel does not say whether it has flushed its statistics: those of the log replace them.
    let source = report.at("/account/memory/source").and_then(Value::as_str);
    assert!(matches!(source, Some("kernel" | "log")), "{context}");
    report.is("/account/memory/unflushed", false);
    let logged = |names: &[&str]| names.iter().find_map(|name| statistics.get(*name).copied());
    let shmem = logged(&["total_shmem", "shmem"]).expect("shmem");
    let file = logged(&["total_cache", "file"]).expect("file");
    let mut compared = 0;
    for (kind, expected) in [
        ("anon", logged(&["total_rss", "anon"])),
        ("shmem", Some(shmem)),
        ("file", Some(file.saturating_sub(shmem))),
        ("slab_reclaimable", logged(&["slab_reclaimable"])),
        ("slab_unreclaimable", logged(&["slab_unreclaimable"])),
        ("kernel_stack", logged(&["kernel_stack"])),
        ("percpu", logged(&["percpu"])),
        ("sock", logged(&["sock"])),
        ("vmalloc", logged(&["vmalloc"])),
    ] {
        let Some(expected) = expected else { continue };
        let found = report.number(&format!("/account/memory/{kind}_bytes"));
        assert!(
            found.abs_diff(expected) <= BATCH_BYTES,
            "{kind}: {found} of {expected} in {context}"
        );
        compared += 1;
    }
    assert!(compared >= 3, "{context}");
    let usage = report.number("/account/memory/usage_bytes");
    let limit = report.number("/account/memory/limit_bytes");
    assert!(usage <= limit && usage + BATCH_BYTES >= limit, "{context}");
    assert!(
        report.number("/account/memory/peak_bytes") >= usage,
        "{context}"
    );
    let anon = report.number("/account/memory/anon_bytes");
    assert!(anon > limit / 4 * 3, "{context}");
    assert!(report.number("/account/before/limit_hits") > 0, "{context}");
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
