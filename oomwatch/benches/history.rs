//! Fills a history database with kills of simulated times, and prints one line of JSON with its figures, for `cargo xtask bench`.
//!
//! `history FOLDER week`: 10,000 kills a day for seven days, in 200 containers. `history FOLDER storm`: 50 kills a second for an
//! hour, in one container. Checks that the oldest kill that is left and all newer ones are there.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a failed measurement aborts the bench"
)]

use std::{
    env, fs,
    path::Path,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use oomwatch::sys::clock::ClockSample;
use oomwatch::{
    model::report::Report,
    store::{Batch, Config, FILE, Identity, OpenMode, Pending, Store, codec},
};
use rusqlite::Connection;

const SECOND_NS: i64 = 1_000_000_000;
/// Start of the simulated time, in nanoseconds since 1970.
const BEGIN_NS: i64 = 1_790_000_040 * SECOND_NS;

/// The simulated load.
struct Load {
    kills: i64,
    /// Nanoseconds from one kill to the next.
    pause_ns: i64,
    containers: i64,
    /// Kills per transaction.
    batch: usize,
}

const WEEK: Load = Load {
    kills: 70_000,
    pause_ns: 86_400 * SECOND_NS / 10_000,
    containers: 200,
    batch: 20,
};

const STORM: Load = Load {
    kills: 180_000,
    pause_ns: SECOND_NS / 50,
    containers: 1,
    batch: 50,
};

fn main() {
    let mut words = env::args().skip(1);
    let (folder, load) = match (words.next(), words.next().as_deref()) {
        (Some(folder), Some("week")) => (folder, WEEK),
        (Some(folder), Some("storm")) => (folder, STORM),
        // Started by `cargo bench`: only `cargo xtask bench` passes a folder and a load.
        _ => return,
    };
    let config = Config {
        folder: folder.into(),
        ..Config::default()
    };
    let times = fill(&config, &load);
    let start = Instant::now();
    drop(open(&config, &load, load.kills));
    let start = start.elapsed();
    let path = config.folder.join(FILE);
    let (rows, kept) = check(&path, &load);
    let longest = times.iter().max().copied().unwrap_or_default();
    let whole: Duration = times.iter().sum();
    let bytes = fs::metadata(&path).expect("look at it").len();
    println!(
        r#"{{"kills":{},"kept":{kept},"rows":{rows},"bytes":{bytes},"bound":{},"open_us":{},"longest_us":{},"per_kill_ns":{},"peak_bytes":{}}}"#,
        load.kills,
        config.max_bytes,
        start.as_micros(),
        longest.as_micros(),
        whole.as_nanos() / u128::try_from(load.kills).expect("some"),
        peak_bytes(),
    );
}

/// Returns the duration of each transaction including pruning.
fn fill(config: &Config, load: &Load) -> Vec<Duration> {
    let mut store = open(config, load, 0);
    let template = codec::to_report(include_str!("../tests/history/kill.json"));
    let template = template.expect("a report");
    let mut times = Vec::new();
    let mut next = 0;
    while next < load.kills {
        let end = load
            .kills
            .min(next + i64::try_from(load.batch).expect("few"));
        let kills: Vec<Report> = (next..end)
            .map(|number| kill(&template, load, number))
            .collect();
        let delivered = kills.iter().map(|kill| kill.id.clone()).collect();
        let now = now(load, end);
        for batch in [
            Batch {
                kills: kills.clone(),
                ..Batch::default()
            },
            Batch {
                named: kills,
                ..Batch::default()
            },
            Batch {
                delivered,
                ..Batch::default()
            },
        ] {
            let mut pending = Pending::default();
            let _ = pending.add(1, &batch);
            let start = Instant::now();
            store.write(&pending, now).expect("write");
            store.prune(config, pending.kills(), now).expect("prune");
            times.push(start.elapsed());
        }
        next = end;
    }
    times
}

fn open(config: &Config, load: &Load, number: i64) -> Store {
    let [machine, node, boot] = ["machine", "node-1", "boot"].map(str::to_owned);
    let identity = Identity::new(machine, node, boot);
    let opened = Store::open(config, &identity, OpenMode::Start, now(load, number));
    opened.expect("open the history database").0
}

fn now(load: &Load, number: i64) -> ClockSample {
    let passed_ns = (number * load.pause_ns).unsigned_abs();
    ClockSample {
        boot_time_ns: passed_ns,
        unix_ns: BEGIN_NS.unsigned_abs() + passed_ns,
        ..ClockSample::now()
    }
}

fn kill(template: &Report, load: &Load, number: i64) -> Report {
    let mut report = template.clone();
    report.id = format!("0f1e2d3c-{number:x}-7");
    report.incident = format!("0f1e2d3c-{number:x}");
    report.time = Timestamp::from_nanosecond(i128::from(BEGIN_NS + number * load.pause_ns)).ok();
    if let Some(container) = &mut report.container {
        container.id = format!("{:064x}", number % load.containers);
    }
    report
}

/// Returns the number of rows, and the number of kills that they stand for, which must be the newest.
fn check(path: &Path, load: &Load) -> (i64, i64) {
    let history = Connection::open(path).expect("open it");
    let number = |sql: &str| {
        history
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .expect(sql)
    };
    let kept = number("SELECT sum(kills) FROM kills");
    let oldest_ns = number("SELECT min(coalesce(since_ns, time_ns)) FROM kills");
    let oldest = (oldest_ns - BEGIN_NS) / load.pause_ns;
    assert_eq!(kept, load.kills - oldest, "each kill once");
    (number("SELECT count(*) FROM kills"), kept)
}

/// `VmHWM`.
fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("read it");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<u64>().ok())
        .expect("a number")
        * 1024
}
