//! Every kernel log of `tests/logs`, through generated carriers, gives the same kills; what other programs write in the
//! same carriers gives none.

#![expect(
    clippy::expect_used,
    reason = "a test: the helpers outside of its functions may fail too"
)]

use std::{fs, path::Path, sync::LazyLock};

use jiff::{Timestamp, tz::Offset};
use oomwatch::capture::kmsg::{
    assemble::{LogItem, Trust},
    log_file::LogFile,
    record::{Part, Record},
};
use proptest::prelude::*;

/// A line of the kernel: level, microseconds since boot, text.
type KernelLine = (u8, u64, String);

/// What must be the same in each carrier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Facts {
    host: Option<String>,
    pid: u32,
    comm: Option<Vec<u8>>,
    anon_rss_bytes: Option<u64>,
    scope: &'static str,
    cgroup: Option<Vec<u8>>,
    oom_cgroup: Option<(Vec<u8>, Option<u64>)>,
    has_trigger: bool,
    trigger_tid: Option<u32>,
}

/// The logs that are saved from `/dev/kmsg` and have a line in each record.
static LOGS: LazyLock<Vec<Vec<KernelLine>>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logs");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("list the logs")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension() == Some("log".as_ref()))
        .collect();
    paths.sort();
    let logs: Vec<Vec<KernelLine>> = paths.iter().filter_map(|path| lines_of(path)).collect();
    assert!(logs.len() >= 5, "{}", logs.len());
    logs
});

fn lines_of(path: &Path) -> Option<Vec<KernelLine>> {
    let text = fs::read_to_string(path).ok()?;
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with("13,")) {
        let record = Record::parse(line.as_bytes()).ok()?;
        let level = line.split(',').next()?.parse::<u8>().ok()?;
        let us = record.stamp.boot_time_ns? / 1000;
        // The memory of the machine is several lines in one record.
        for text in str::from_utf8(&record.text).ok()?.split('\n') {
            let is_plain = level < 8 && !text.contains(char::is_control);
            (is_plain && record.part == Part::Line).then_some(())?;
            lines.push((level, us, text.to_owned()));
        }
    }
    Some(lines)
}

fn read<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Facts> {
    let mut log = LogFile::new(Offset::UTC, Timestamp::MAX, Trust::Kernel);
    let mut items = Vec::new();
    for line in lines {
        log.push(line.as_bytes());
    }
    let _ = log.finish();
    while let Some(item) = log.next_item() {
        items.push(item);
    }
    let mut facts: Vec<Facts> = items.into_iter().filter_map(facts).collect();
    facts.sort();
    facts
}

fn facts(item: LogItem) -> Option<Facts> {
    let LogItem::Kill(log_kill) = item else {
        return None;
    };
    let host = log_kill.host.clone();
    let kill = log_kill.into_kill();
    let oom = kill.oom_level.and_then(|level| kill.limits.get(level));
    Some(Facts {
        host,
        pid: kill.victim.pid,
        comm: kill.victim.comm,
        anon_rss_bytes: kill.victim.anon_rss_bytes,
        scope: kill.scope.as_str(),
        cgroup: kill.victim.cgroup.map(|cgroup| cgroup.path),
        oom_cgroup: oom.map(|limit| (limit.cgroup.path.clone(), limit.limit_bytes)),
        has_trigger: kill.trigger.is_some(),
        trigger_tid: kill.trigger.and_then(|trigger| trigger.tid),
    })
}

/// Writes a line as a carrier does: host, level, microseconds, text.
type Carrier = fn(&str, u8, u64, &str) -> String;

fn seconds(us: u64) -> String {
    format!("{:5}.{:06}", us / 1_000_000, us % 1_000_000)
}

fn clock(us: u64) -> String {
    let seconds = us / 1_000_000;
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Carriers with a host, each with the form in which another program appears in it.
const HOSTS: &[(Carrier, Carrier)] = &[
    (
        |host, _, us, text| {
            format!(
                "Nov 23 {} {host} kernel: [{}] {text}",
                clock(us),
                seconds(us)
            )
        },
        |host, _, us, text| {
            format!(
                "Nov 23 {} {host} app[7]: [{}] {text}",
                clock(us),
                seconds(us)
            )
        },
    ),
    (
        |host, level, us, text| {
            format!(
                "<{level}>Nov 23 {} {host} kernel: [{}] {text}",
                clock(us),
                seconds(us)
            )
        },
        |host, level, us, text| {
            format!("<{}>Nov 23 {} {host} kernel: {text}", 8 + level, clock(us))
        },
    ),
    (
        |host, level, us, text| {
            format!(
                "<{level}>1 2026-11-23T{}Z {host} kernel - - - [{}] {text}",
                clock(us),
                seconds(us)
            )
        },
        |host, _, us, text| {
            format!(
                "<14>1 2026-11-23T{}Z {host} app 7 - - [{}] {text}",
                clock(us),
                seconds(us)
            )
        },
    ),
    (
        |host, _, us, text| {
            format!(
                "2026-11-23T{}.{:06}+02:00 {host} kernel: {text}",
                clock(us),
                us % 1_000_000
            )
        },
        |host, _, us, text| {
            format!(
                "2026-11-23T{}.{:06}+02:00 {host} root: {text}",
                clock(us),
                us % 1_000_000
            )
        },
    ),
    (
        |host, _, us, text| format!("Mo 2026-11-23 {} UTC {host} kernel: {text}", clock(us)),
        |host, _, us, text| format!("Mo 2026-11-23 {} UTC {host} app: kernel: {text}", clock(us)),
    ),
    (
        |host, _, us, text| format!("11月 23 {} {host} kernel: {text}", clock(us)),
        |host, _, us, text| format!("11月 23 {} {host} app[1]: {text}", clock(us)),
    ),
    (
        |host, _, us, text| format!("[{}] {host} kernel: {text}", seconds(us)),
        |host, _, us, text| format!("Nov 23 {} {host} app[1]: {text}", clock(us)),
    ),
    (
        |host, _, us, text| {
            format!(
                "Nov 23 {} {host} kern.warn kernel: [{}] {text}",
                clock(us),
                seconds(us)
            )
        },
        |host, _, us, text| {
            format!(
                "Nov 23 {} {host} user.warn kernel: [{}] {text}",
                clock(us),
                seconds(us)
            )
        },
    ),
    (
        |host, _, us, text| {
            format!(
                "{host}: kern: warning: [2026-11-23T{}.{:06}Z]: {text}",
                clock(us),
                us % 1_000_000
            )
        },
        |host, _, us, text| {
            format!(
                "{host}: user: warning: [2026-11-23T{}.{:06}Z]: {text}",
                clock(us),
                us % 1_000_000
            )
        },
    ),
    (
        |host, _, us, text| json(host, us, text, "kernel"),
        |host, _, us, text| json(host, us, text, "stdout"),
    ),
    (
        |host, _, us, text| {
            format!(
                "2026-11-23T{}Z {{host=\"{host}\",transport=\"kernel\"}} {text}",
                clock(us)
            )
        },
        |host, _, us, text| {
            format!(
                "2026-11-23T{}Z {{host=\"{host}\",transport=\"syslog\"}} {text}",
                clock(us)
            )
        },
    ),
    (
        |host, _, us, text| {
            format!(
                "__CURSOR=x\n_TRANSPORT=kernel\n_HOSTNAME={host}\n_SOURCE_MONOTONIC_TIMESTAMP={us}\nMESSAGE={text}\n"
            )
        },
        |host, _, us, text| {
            format!(
                "__CURSOR=x\n_TRANSPORT=syslog\n_HOSTNAME={host}\n_SOURCE_MONOTONIC_TIMESTAMP={us}\nMESSAGE={text}\n"
            )
        },
    ),
];

fn json(host: &str, us: u64, text: &str, transport: &str) -> String {
    serde_json::json!({
        "MESSAGE": text,
        "_HOSTNAME": host,
        "_TRANSPORT": transport,
        "SYSLOG_IDENTIFIER": "kernel",
        "_SOURCE_MONOTONIC_TIMESTAMP": us.to_string(),
    })
    .to_string()
}

/// Carriers without a host.
const PLAIN: &[Carrier] = &[
    |_, _, us, text| format!("[{}] {text}", seconds(us)),
    |_, level, us, text| format!("<{level}>[{}] {text}", seconds(us)),
    |_, _, us, text| format!("kern  :warn  : [{}] {text}", seconds(us)),
    |_, _, us, text| format!("[Вт ноя 23 {} 2026] {text}", clock(us)),
    |_, _, us, text| format!("[火 11月 23 {} 2026] {text}", clock(us)),
    |_, _, us, text| format!("2026-11-23T{},000000+00:00 {text}", clock(us)),
    |_, _, us, text| format!("2026-11-23T10:00:00.1234567Z [{}] {text}", seconds(us)),
    |_, _, us, text| {
        format!(
            "2026-11-23T10:00:00.123456789Z stdout F [{}] {text}",
            seconds(us)
        )
    },
    |_, _, us, text| format!("> [{}] {text}", seconds(us)),
    |_, _, us, text| format!("  12  [{}] {text}", seconds(us)),
    |_, _, us, text| format!("&gt; [{}] {text}", seconds(us)),
    |_, _, us, text| format!("job\tstep\t2026-11-23T10:00:00Z [{}] {text}", seconds(us)),
    |_, _, us, text| format!("machine # [{}] {text}", seconds(us)),
    |_, _, us, text| {
        serde_json::json!({"log": format!("[{}] {text}\n", seconds(us)), "stream": "stdout"})
            .to_string()
    },
    |_, _, us, text| {
        serde_json::json!({"textPayload": format!("[{}] {text}", seconds(us))}).to_string()
    },
    |_, _, us, text| format!("<6>[{}] .(3)[42:a b]{text}", seconds(us)),
];

#[derive(Clone, Copy, Debug)]
enum Layout {
    Plain,
    Wrapped(usize),
    Colored,
    Blanks,
    NewestFirst,
}

fn layout() -> impl Strategy<Value = Layout> {
    prop_oneof![
        Just(Layout::Plain),
        (72..140_usize).prop_map(Layout::Wrapped),
        Just(Layout::Colored),
        Just(Layout::Blanks),
        Just(Layout::NewestFirst),
    ]
}

fn lay_out(lines: &[String], layout: Layout) -> String {
    let is_structured = lines
        .iter()
        .any(|line| line.starts_with('{') || line.contains('\n'));
    let mut text = String::new();
    match layout {
        _ if is_structured => text = lines.join("\n"),
        Layout::Plain => text = lines.join("\n"),
        Layout::Wrapped(width) => {
            for line in lines {
                // The source of a page is of text that was broken where it was shown.
                let escaped = line.strip_prefix("&gt;");
                let shown = escaped.map_or_else(|| line.clone(), |rest| format!(">{rest}"));
                let characters: Vec<char> = shown.chars().collect();
                let pieces = characters.chunks(width).map(String::from_iter);
                let mut broken = pieces.collect::<Vec<_>>().join("\n");
                if escaped.is_some() {
                    broken = broken.replacen('>', "&gt;", 1);
                }
                text.extend([&*broken, "\n"]);
            }
        }
        Layout::Colored => {
            for line in lines {
                text.extend(["\x1b[33m", line, "\x1b[0m\n"]);
            }
        }
        Layout::Blanks => {
            for line in lines {
                text.extend([line, "  \r\n"]);
            }
        }
        Layout::NewestFirst => {
            for line in lines.iter().rev() {
                text.extend([line, "\n"]);
            }
        }
    }
    text
}

fn carried(log: &[KernelLine], carrier: Carrier, host: &str) -> Vec<String> {
    log.iter()
        .map(|(level, us, text)| carrier(host, *level, *us, text))
        .collect()
}

/// The facts of a log as it is in `/dev/kmsg`.
fn expected(log: &[KernelLine], host: Option<&str>) -> Vec<Facts> {
    let lines: Vec<String> = log
        .iter()
        .map(|(level, us, text)| format!("{level},1,{us},-;{text}"))
        .collect();
    let mut facts = read(lines.iter().map(String::as_str));
    for fact in &mut facts {
        fact.host = host.map(str::to_owned);
    }
    facts
}

const KILL: &str = "Memory cgroup out of memory: Killed process 4242 (java) total-vm:1kB, anon-rss:1kB, file-rss:1kB, shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0";

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None,
        max_shrink_iters: 50, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn carrier_without_a_host_changes_no_kill(log: prop::sample::Index, carrier: prop::sample::Index, layout in layout()) {
        let log = log.get(&LOGS);
        let text = lay_out(&carried(log, *carrier.get(PLAIN), ""), layout);
        prop_assert_eq!(read(text.lines()), expected(log, None), "{}", text);
    }

    #[test]
    fn machines_in_one_file_do_not_mix(
        one: prop::sample::Index,
        two: prop::sample::Index,
        carrier: prop::sample::Index,
        turns in proptest::collection::vec(any::<bool>(), 1..200),
    ) {
        let ((carrier, program), one, two) = (*carrier.get(HOSTS), one.get(&LOGS), two.get(&LOGS));
        let (mut first, mut second) = (carried(one, carrier, "node-a").into_iter(), carried(two, carrier, "node-b").into_iter());
        let mut lines = Vec::new();
        for turn in turns.iter().cycle() {
            // Between the kernel's lines another program quotes it.
            lines.push(program("node-a", 4, 1_000_000, KILL));
            match if *turn { first.next() } else { second.next() } {
                Some(line) => lines.push(line),
                None => break,
            }
        }
        lines.extend(first.chain(second));
        let mut both = expected(one, Some("node-a"));
        both.extend(expected(two, Some("node-b")));
        both.sort();
        let text = lines.join("\n");
        prop_assert_eq!(read(text.lines()), both, "{}", text);
    }

    #[test]
    fn line_of_another_program_is_no_kill(carrier: prop::sample::Index, layout in layout(), kernel: prop::sample::Index) {
        let (_, program) = *carrier.get(HOSTS);
        let mut lines = Vec::new();
        for (level, us, text) in kernel.get(&LOGS) {
            lines.push(program("node-a", *level, *us, text));
        }
        let text = lay_out(&lines, layout);
        prop_assert_eq!(read(text.lines()), [], "{}", text);
    }
}
