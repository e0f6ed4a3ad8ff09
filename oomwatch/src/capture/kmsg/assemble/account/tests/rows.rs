//! The task table.

use proptest::prelude::*;

use super::*;
use crate::{
    capture::kmsg::{
        assemble::{Assembler, LogMachine},
        record::Record,
    },
    model::account::{Exclusion, LISTED},
};

/// The counters of a limit of 400 MB without swap.
const LIMIT: &str =
    "memory: usage 400000kB, limit 400000kB, failcnt 5\nswap: usage 0kB, limit 0kB, failcnt 0\n";

#[test]
fn rows_are_counted_summed_and_ranked_by_points() {
    let mut rows = String::new();
    for pid in 1..=40 {
        let adj = if pid % 10 == 0 { -1000 } else { 0 };
        rows += &row(pid, u64::from(pid) * 100, adj, "c");
    }
    rows += &row(50, 10, 500, "small");
    let found = candidates(&report(&[LIMIT, HEAD, &rows].concat()));
    assert!(found.complete);
    assert_eq!((found.scored, found.excluded), (37, 4));
    let scored = (1..=40).filter(|pid| pid % 10 != 0);
    let pages: u64 = scored.clone().sum::<u64>() * 100 + 10;
    assert_eq!(found.sum.anon_rss_bytes, pages * 4096);
    assert_eq!(found.sum.swap_bytes, 37 * 10 * 4096);
    assert_eq!(found.sum.pgtables_bytes, 37 * 40960);
    // The adjustment is in thousandths of 100,000 pages: 500 of 100.
    let listed: Vec<(u32, Option<i64>)> = found
        .processes
        .iter()
        .map(|process| (process.pid, process.oom_points))
        .collect();
    let mut expected = vec![(50, Some(10 + 10 + 10 + 500 * 100))];
    expected.extend(scored.rev().take(LISTED - 1).map(|pid| {
        let pages = i64::try_from(pid * 100 + 20).expect("small");
        (u32::try_from(pid).expect("small"), Some(pages))
    }));
    expected.extend([40, 30, 20, 10].map(|pid| (pid, None)));
    assert_eq!(listed, expected);
    let excluded = &found.processes[LISTED];
    assert_eq!(excluded.excluded, Some(Exclusion::OomScoreAdj));
    assert!(
        found.processes[..LISTED]
            .iter()
            .all(|process| process.excluded.is_none())
    );
}

#[test]
fn points_are_absent_where_the_log_lacks_what_they_depend_on() {
    let rows = [row(1, 100, 0, "a"), row(2, 50, 900, "b")].concat();
    let points = |found: Candidates| -> Vec<(u32, Option<i64>)> {
        let processes = found.processes.into_iter();
        processes
            .map(|process| (process.pid, process.oom_points))
            .collect()
    };
    let ram = "Mem-Info:\nNode 0 DMA free:4kB min:4kB managed:400000kB\nNode 0 DMA: 1*4kB 0*8kB = 4kB\nFree swap  = 0kB\nTotal swap = 0kB\n100000 pages RAM\n0 pages reserved\n";
    let other = ram.replace(
        "Node 0 DMA: ",
        "Node 1 Normal free:4kB min:4kB\nNode 0 DMA: ",
    );
    let known = vec![(2, Some(50 + 20 + 90_000)), (1, Some(120))];
    let unknown = vec![(1, Some(120)), (2, None)];
    for (log, expected) in [
        (report(&[LIMIT, HEAD, &rows].concat()), &known),
        // The swap that a limit allows is at most the machine's.
        (
            report(&[&LIMIT.replace("limit 0kB", "limit 8kB"), HEAD, &rows].concat()),
            &unknown,
        ),
        (
            report(&[&LIMIT.replace("swap:", "memory+swap:"), HEAD, &rows].concat()),
            &unknown,
        ),
        (
            report(
                &[
                    &LIMIT
                        .replace("swap:", "memory+swap:")
                        .replace("limit 0kB", "limit 400000kB"),
                    HEAD,
                    &rows,
                ]
                .concat(),
            ),
            &known,
        ),
        (report(&[HEAD, &rows].concat()), &unknown),
        (system_report(&[ram, HEAD, &rows].concat()), &known),
        (
            system_report(
                &[
                    &ram.replace("Total swap = 0", "Total swap = 40000000"),
                    HEAD,
                    &rows,
                ]
                .concat(),
            ),
            &vec![(2, Some(70 + 900 * 10_100)), (1, Some(120))],
        ),
        (
            system_report(&[ram, HEAD, &rows].concat())
                .replace("CONSTRAINT_NONE", "CONSTRAINT_CPUSET"),
            &unknown,
        ),
        (
            system_report(&[ram, HEAD, &rows].concat())
                .replace("CONSTRAINT_NONE", "CONSTRAINT_MEMORY_POLICY"),
            &unknown,
        ),
        // Before 5.0 the constraint is not in the log.
        (
            [
                &invoked("t"),
                ram,
                HEAD,
                &rows,
                "Out of memory: Kill process 7 (v) score 1 or sacrifice child\n",
                "Killed process 7 (v) total-vm:8kB, anon-rss:4kB, file-rss:0kB\n",
            ]
            .concat(),
            &known,
        ),
        (
            [
                &invoked("t"),
                &other,
                HEAD,
                &rows,
                "Out of memory: Kill process 7 (v) score 1 or sacrifice child\n",
                "Killed process 7 (v) total-vm:8kB, anon-rss:4kB, file-rss:0kB\n",
            ]
            .concat(),
            &unknown,
        ),
    ] {
        assert_eq!(points(candidates(&log)), *expected, "{log}");
    }
}

#[test]
fn points_of_root_are_unknown_before_4_17() {
    let cpu = |release: &str| format!("CPU: 0 PID: 4 Comm: t Not tainted {release} #1\n");
    let rows = row(7, 100, 0, "v");
    for (release, expected) in [
        ("4.15.0-20-generic", None),
        ("4.17.0", Some(120)),
        ("5.10.0", Some(120)),
    ] {
        let found = candidates(&report(&[&cpu(release), HEAD, &rows].concat()));
        assert_eq!(found.processes[0].oom_points, expected, "{release}");
    }
}

#[test]
fn cut_tables_are_not_complete() {
    let rows = [row(7, 100, 0, "v"), row(8, 50, 0, "w")];
    let [first, second] = &rows;
    let is_complete = |lines: &[&str]| candidates(&report(&lines.concat())).complete;
    assert!(is_complete(&[HEAD, first, second]));
    // Other lines between the rows are no loss.
    assert!(is_complete(&[HEAD, first, "eth0: link is up\n", second]));
    for lines in [
        // The victim's row is missing.
        &[HEAD, second][..],
        &[HEAD],
        &[HEAD, first, &second[..30], "\n"],
        &[HEAD, first, "** 12 printk messages dropped **\n", second],
        &[HEAD, first, "Missed 3 kernel messages\n", second],
    ] {
        assert!(!is_complete(lines), "{lines:?}");
    }
    // The end of the table is missing.
    let log = [invoked("t"), HEAD.to_owned(), first.clone(), killed(7, "v")].concat();
    assert_eq!(kills(log.as_bytes())[0].account, None);
    let task_in = "Task in /a killed as a result of limit of /a\n";
    let log = [task_in, HEAD, first, &killed(7, "v")].concat();
    assert!(!candidates(&log).complete);
    // Without the head nothing shows what the columns are.
    let log = report(&[first.as_str(), second].concat());
    assert_eq!(account(&log).candidates, None);
}

#[test]
fn records_that_are_missing_make_a_table_incomplete() {
    let rows = [row(7, 100, 0, "v"), row(8, 100, 0, "v")].concat();
    let lines = report(&["x\n", HEAD, &rows].concat());
    for (missing, expected) in [(1, true), (4, false), (10, true)] {
        let log = records_without(&lines, missing);
        assert_eq!(candidates(&log).complete, expected, "without {missing}");
    }
}

#[test]
fn repeated_rows_count_once() {
    let rows = [row(7, 100, 0, "v"), row(8, 50, 0, "w")].concat();
    let log = report(&[HEAD, &rows, &rows].concat());
    let found = candidates(&log);
    assert_eq!(found.scored, 2);
    assert_eq!(found.sum.anon_rss_bytes, 150 * 4096);
}

#[test]
fn lines_of_other_callers_are_passed_over() {
    let own = |line: &str| format!("[    1.000000][   T50] {line}");
    let other = |line: &str| format!("[    1.000000][   T51] {line}");
    let kill = [oom_kill("/a", "v", 7), killed(7, "v")];
    let log = [
        own(&invoked("t")),
        other("Memory cgroup stats for /x:\n"),
        own("memory: usage 40kB, limit 40kB, failcnt 0\n"),
        own("Memory cgroup stats for /a:\n"),
        own("anon 4096\n"),
        other("anon 8192\n"),
        own(HEAD),
        own(&row(7, 100, 0, "v")),
        other(&row(8, 100, 0, "v")),
        own(&kill[0]),
        own(&kill[1]),
    ]
    .concat();
    let account = account(&log);
    assert_eq!(account.candidates.expect("candidates").scored, 1);
    assert_eq!(account.memory.expect("memory").parts.anon_bytes, Some(4096));
}

#[test]
fn page_size_is_that_of_the_machine_of_the_zones_or_of_the_victim() {
    let rows = "[      7]     0     7     1000      300    65536        0             0 v\n";
    let kill = |kib: u64| killed(7, "v").replace("total-vm:8kB", &format!("total-vm:{kib}kB"));
    for (kib, page_bytes) in [
        (4000, 4096),
        (16_000, 16_384),
        (64_000, 65_536),
        (8, 4096),
        (5000, 4096),
    ] {
        let log = [
            &invoked("t"),
            HEAD,
            rows,
            &oom_kill("/a", "v", 7),
            &kill(kib),
        ]
        .concat();
        let found = candidates(&log);
        assert_eq!(found.sum.anon_rss_bytes, 300 * page_bytes, "{kib}");
        let points = i64::try_from(300 + 65_536 / page_bytes).expect("small");
        assert_eq!(found.processes[0].oom_points, Some(points));
    }
    let zones = "Mem-Info:\nNode 0 Normal: 1*64kB (U) 0*128kB 3*256kB = 832kB\n";
    let log = system_report(&[zones, HEAD, rows].concat());
    assert_eq!(candidates(&log).sum.anon_rss_bytes, 300 * 65_536);
    let machine = LogMachine {
        page_bytes: Some(16_384),
        cpus: Some(4),
    };
    let mut assembler = Assembler::of_machine(Trust::Kernel, machine);
    let log = report(&[HEAD, rows].concat());
    for line in log.lines() {
        assert_eq!(assembler.push(&Record::bare(line.as_bytes())), None);
    }
    let (Some(LogItem::Kill(kill)), _) = assembler.finish() else {
        panic!("no kill");
    };
    let found = kill
        .kill
        .account
        .as_ref()
        .and_then(|account| account.candidates.clone());
    let found = found.expect("candidates");
    assert_eq!(found.sum.anon_rss_bytes, 300 * 16_384);
    assert_eq!(found.rss_error_bytes, 4 * 32 * 16_384);
}

#[test]
fn members_of_a_group_share_one_account() {
    let rows = [row(7, 100, 0, "v"), row(8, 50, 0, "w")].concat();
    let log = [
        report(&[HEAD, &rows].concat()),
        crate::capture::kmsg::testing::group("/a"),
        killed(7, "v"),
        killed(8, "w"),
    ]
    .concat();
    let kills = kills(log.as_bytes());
    assert_eq!(kills.len(), 2);
    let account = |kill: &Kill| kill.account.clone().expect("account");
    assert!(std::sync::Arc::ptr_eq(
        &account(&kills[0]),
        &account(&kills[1])
    ));
}

/// Resident and swapped-out memory, adjustment, name.
type Row = (u64, u64, i32, Vec<u8>);

/// A name of a process: any bytes that a log of one line a record can carry.
fn any_name() -> impl Strategy<Value = Vec<u8>> {
    let hostile = prop_oneof![
        Just("\n[1] 0 1 1 1 1 1".to_owned()),
        Just("] 0 1 2 3 4".to_owned()),
        Just("  7  8".to_owned()),
        Just(" name".to_owned()),
        Just("oom-kill:".to_owned()),
        Just("\nMem-Info:".to_owned()),
        Just("\nanon 99999999".to_owned()),
        "[ -~]{0,15}",
    ];
    prop_oneof![
        hostile.prop_map(String::into_bytes),
        proptest::collection::vec(1_u8..=255, 0..15),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// As `/dev/kmsg` writes them: what is not printable is escaped.
    #[test]
    fn table_equals_its_rows_whatever_the_names(
        rows in proptest::collection::vec((0_u64..1 << 30, 0_u64..1 << 20, -1000_i32..=1000, any_name()), 1..60),
        is_escaped: bool,
    ) {
        let escape = |bytes: &[u8]| -> Vec<u8> {
            let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'\\';
            bytes.iter().flat_map(|&byte| match byte {
                byte if plain(byte) => vec![byte],
                byte => format!("\\x{byte:02x}").into_bytes(),
            }).collect()
        };
        let mut lines: Vec<Vec<u8>> = Vec::new();
        let mut push = |line: &[u8]| lines.push(line.to_vec());
        for line in [invoked("t").as_str(), LIMIT, HEAD].concat().lines() {
            push(line.as_bytes());
        }
        for (pid, (rss, swap, adj, name)) in (7..).zip(&rows) {
            let row = format!("[{pid:>7}]     0 {pid:>5} {rss:>8} {rss:>8} {:>8} {swap:>8}         {adj:>5} ", 4096 * 3);
            push(&[row.as_bytes(), name].concat());
        }
        for line in [oom_kill("/a", "v", 7), killed(7, "v")] {
            push(line.trim_end().as_bytes());
        }
        let log: Vec<u8> = lines.iter().zip(1..).flat_map(|(line, number)| {
            let (prefix, line) = if is_escaped {
                (format!("6,{number},{number},-;"), escape(line))
            } else {
                (format!("[    1.{number:06}] "), line.clone())
            };
            [prefix.as_bytes(), &line, b"\n"].concat()
        }).collect();
        let kills = kills(&log);
        prop_assert_eq!(kills.len(), 1);
        let account = kills[0].account.clone().expect("account");
        let found = account.candidates.clone().expect("candidates");
        let scored: Vec<_> = (7_u32..).zip(&rows).filter(|(_, (_, _, adj, _))| *adj != -1000).collect();
        prop_assert!(found.complete);
        prop_assert_eq!(found.scored, scored.len() as u64);
        prop_assert_eq!(found.excluded, (rows.len() - scored.len()) as u64);
        let sum = |of: fn(&Row) -> u64| scored.iter().map(|(_, row)| of(row)).sum::<u64>() * 4096;
        prop_assert_eq!(found.sum.rss_bytes(), sum(|row| row.0));
        prop_assert_eq!(found.sum.swap_bytes, sum(|row| row.1));
        prop_assert_eq!(found.sum.pgtables_bytes, sum(|_| 3));
        let mut points: Vec<i64> = scored.iter().map(|(_, (rss, swap, adj, _))| {
            i64::try_from(rss + swap + 3).expect("small") + i64::from(*adj) * 100
        }).collect();
        points.sort_unstable_by(|a, b| b.cmp(a));
        points.truncate(LISTED);
        let listed: Vec<i64> = found.processes.iter().filter_map(|process| process.oom_points).collect();
        prop_assert_eq!(listed, points);
        prop_assert!(account.memory.is_some_and(|memory| memory.parts.anon_bytes.is_none()));
        if is_escaped {
            for process in &found.processes {
                prop_assert_eq!(&process.comm, &rows[process.pid as usize - 7].3);
            }
        }
    }
}

/// 20,000 rows are sums and the first few.
#[test]
fn long_tables_are_not_kept() {
    let mut assembler = Assembler::new(Trust::Kernel);
    let mut push = |line: &str| {
        let _ = assembler.push(&Record::bare(line.trim_end().as_bytes()));
    };
    push(&invoked("t"));
    push(HEAD);
    for pid in 1..=20_000 {
        push(&row(pid, 1, 0, "name of 15 byte"));
    }
    let state_bytes = format!("{assembler:?}").len();
    assert!(state_bytes < 1 << 18, "{state_bytes}");
    let mut push = |line: &str| assembler.push(&Record::bare(line.trim_end().as_bytes()));
    assert_eq!(push(&oom_kill("/a", "v", 7)), None);
    assert_eq!(push(&killed(7, "v")), None);
    let (Some(LogItem::Kill(kill)), _) = assembler.finish() else {
        panic!("no kill");
    };
    let account = kill.kill.account.expect("account");
    let found = account.candidates.as_ref().expect("candidates");
    assert_eq!(found.scored, 20_000);
    assert!(found.complete);
    assert_eq!(found.processes.len(), LISTED);
}

#[test]
fn split_of_resident_memory_is_kept() {
    let rows = "[      7]     5     7     1000      300      200       90        10    4096        0             0 v\n";
    let found = candidates(&report(&[SPLIT_HEAD, rows].concat()));
    let process = &found.processes[0];
    assert!(process.is_rss_split);
    assert_eq!(process.uid, Some(5));
    assert_eq!(process.memory, found.sum);
    assert_eq!(process.memory.anon_rss_bytes, 200 * 4096);
    assert_eq!(process.memory.file_rss_bytes, 90 * 4096);
    assert_eq!(process.memory.shmem_rss_bytes, 10 * 4096);
}
