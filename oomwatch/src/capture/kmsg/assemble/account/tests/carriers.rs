//! Accounts in the forms of text that logs are saved in.

use super::*;

const V2: &str =
    "memory: usage 100kB, limit 100kB, failcnt 9\nswap: usage 30kB, limit 200kB, failcnt 0\n";
const STATISTICS: &str = "Memory cgroup stats for /a:\nanon 40960\nshmem 8192\n";

fn rows() -> String {
    [row(7, 100, 0, "v"), row(8, 50, 0, "w")].concat()
}

fn assert_whole(found: &Account) {
    let candidates = found.candidates.as_ref().expect("candidates");
    assert_eq!((candidates.scored, candidates.complete), (2, true));
    let memory = found.memory.expect("memory");
    assert_eq!(memory.parts.anon_bytes, Some(40960));
    assert_eq!(memory.parts.shmem_bytes, Some(8192));
}

const PREFIXES: &[&str] = &[
    "[ 5547.862071] ",
    "[ 5547.862071] [  T4746] ",
    "[Tue Nov 24 02:16:48 2026] ",
    "<6>[ 5547.862071] ",
    "kern  :info  : [ 5547.862071] ",
    "Nov 23 18:00:00 db-1 kernel: ",
    "Nov 23 18:00:00 db-1 kernel: [ 5547.862071] ",
    "2026-11-23T18:00:00.000001+00:00 db-1 kernel: ",
];

#[test]
fn every_carrier_gives_the_account() {
    let plain = report(&[V2, STATISTICS, HEAD, &rows()].concat());
    assert_whole(&account(&plain));
    for prefix in PREFIXES {
        let log = with_prefix(&plain, prefix);
        assert_whole(&account(&log));
    }
    assert_whole(&account(&records(&plain)));
    let mut json = String::new();
    for line in plain.lines() {
        let message = serde_json::to_string(line).expect("JSON");
        let entry = format!(
            "{{\"MESSAGE\":{message},\"_TRANSPORT\":\"kernel\",\"_HOSTNAME\":\"h\",\"__REALTIME_TIMESTAMP\":\"1795456800000000\"}}\n"
        );
        json += &entry;
    }
    assert_whole(&account(&json));
}

#[test]
fn every_carrier_gives_the_zones() {
    const NODE: &str = "Mem-Info:\nactive_anon:6800 inactive_anon:6900 isolated_anon:0\n active_file:22 inactive_file:125 isolated_file:0\n free:250 slab_reclaimable:190\nNormal free:1000kB min:1016kB low:1268kB\nlowmem_reserve[]: 0 0\nNode 1 Normal free:1000kB min:1016kB low:1268kB\nNormal: 8*4kB 2*8kB = 48kB\nNode 1 Normal: 8*4kB 2*8kB = 48kB\nTotal swap = 0kB\n16384 pages RAM\n1087 pages reserved\n";
    let plain = system_report(&[NODE, HEAD, &rows()].concat());
    for prefix in PREFIXES.iter().chain(&[""]) {
        let log = with_prefix(&plain, prefix);
        let found = account(&log);
        let memory = found.memory.expect("memory");
        let limit_bytes = Some((16384 - 1087) * 4096);
        assert_eq!(memory.limit_bytes, limit_bytes, "{prefix}");
        assert_eq!(memory.parts.slab_reclaimable_bytes, Some(190 * 4096));
        assert_eq!(found.zones.len(), 2, "{prefix}");
        assert!(
            found.zones.iter().all(|zone| zone.free_blocks == [8, 2]),
            "{prefix}"
        );
    }
}

#[test]
fn log_with_the_newest_line_first_gives_the_account() {
    let lines = report(&[V2, STATISTICS, HEAD, &rows()].concat());
    let mut lines: Vec<String> = lines
        .lines()
        .zip(100..)
        .map(|(line, time)| format!("[  {time}.000000] {line}\n"))
        .collect();
    lines.reverse();
    assert_whole(&account(&lines.concat()));
}

/// Up to 6.4 the statistics are one record with line ends. A journal shows the further lines without a prefix.
#[test]
fn further_lines_of_a_record_need_no_prefix() {
    let prefix = "Nov 23 18:00:00 db-1 kernel: ";
    let log = |between: &str| -> String {
        let lines = report(&[V2, STATISTICS, HEAD, &rows()].concat());
        lines
            .lines()
            .map(|line| match line {
                line if line.starts_with("shmem ") => {
                    format!("{between}                             {line}\n")
                }
                line => format!("{prefix}{line}\n"),
            })
            .collect()
    };
    assert_whole(&account(&log("")));
    // Not if they are a program's.
    let forged = log("Nov 23 18:00:00 db-1 app[7]: some text\n");
    let parts = memory(&forged).parts;
    assert_eq!((parts.anon_bytes, parts.shmem_bytes), (Some(40960), None));
}

#[test]
fn hosts_do_not_mix() {
    let of = |host: &str, anon: u64, extra: &str| -> Vec<String> {
        let statistics = STATISTICS.replace("40960", &anon.to_string());
        report(&[V2, &statistics, HEAD, &rows(), extra].concat())
            .lines()
            .map(|line| format!("Nov 23 18:00:00 {host} kernel: {line}\n"))
            .collect()
    };
    let extra = row(9, 1000, 0, "x");
    let (a, b) = (of("a", 40960, ""), of("b", 99, &extra));
    let mut log = String::new();
    for index in 0..a.len().max(b.len()) {
        for lines in [&a, &b] {
            log += lines.get(index).map_or("", String::as_str);
        }
    }
    let kills = kills(log.as_bytes());
    assert_eq!(kills.len(), 2);
    assert_whole(kills[0].account.as_ref().expect("account"));
    let other = kills[1].account.as_ref().expect("account");
    assert_eq!(other.candidates.as_ref().map(|found| found.scored), Some(3));
    assert_eq!(other.memory.expect("memory").parts.anon_bytes, Some(99));
}

/// A filter kept the lines with `oom` in them: the table has its head and its end.
#[test]
fn filtered_log_has_its_table() {
    let log = [HEAD, &rows(), &oom_kill("/a", "v", 7), &killed(7, "v")].concat();
    let found = candidates(&log);
    assert_eq!((found.scored, found.complete), (2, true));
}

#[test]
fn lines_of_a_program_change_nothing() {
    let own = |line: &str| format!("6,1,1000,-;{line}");
    let program = |line: &str| format!("12,1,1000,-;{line}");
    let log = [
        own(&invoked("t")),
        own("memory: usage 100kB, limit 100kB, failcnt 9\n"),
        own("Memory cgroup stats for /a:\n"),
        program("anon 1\n"),
        own("anon 40960\n"),
        own("shmem 8192\n"),
        program("anon 2\n"),
        own(HEAD),
        own(&row(7, 100, 0, "v")),
        program(&row(9, 100, 0, "v")),
        own(&row(8, 50, 0, "w")),
        own(&oom_kill("/a", "v", 7)),
        own(&killed(7, "v")),
    ]
    .concat();
    assert_whole(&account(&log));
}
