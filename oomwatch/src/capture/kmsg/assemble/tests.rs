mod groups;
mod properties;

use jiff::tz::Offset;

use super::*;
use crate::{
    capture::kmsg::{
        log_file::LogFileParser,
        testing::{at, group, invoked, killed, oom_kill, row},
    },
    model::kill::{Constraint, Kill, Scope},
};

/// The kills of a log, and the counters.
fn assemble(log: &str) -> (Vec<LogItem>, LogCounts) {
    assemble_bytes(log.as_bytes())
}

fn assemble_bytes(log: &[u8]) -> (Vec<LogItem>, LogCounts) {
    let mut parser = LogFileParser::new(Offset::UTC, "2026-11-24T00:00:00Z".parse().expect("time"));
    let mut assembler = Assembler::new(Trust::Kernel);
    let mut items: Vec<LogItem> = log
        .split(|&byte| byte == b'\n')
        .filter_map(|line| assembler.push(&parser.parse(line)))
        .collect();
    let (last, counts) = assembler.finish();
    items.extend(last);
    (items, counts)
}

fn kills(log: &str) -> Vec<Kill> {
    let kill = |item| match item {
        LogItem::Kill(kill) => Some(kill.kill),
        LogItem::Rekill { .. } => None,
    };
    assemble(log).0.into_iter().filter_map(kill).collect()
}

fn path(kill: &Kill) -> Option<&str> {
    let cgroup = kill.victim.cgroup.as_ref()?;
    Some(str::from_utf8(&cgroup.path).expect("UTF-8"))
}

#[test]
fn header_is_used_for_the_kill_that_it_names() {
    let log = [invoked("t"), oom_kill("/a", "v", 7), killed(7, "v")].concat();
    let kills = kills(&log);
    assert_eq!(path(&kills[0]), Some("/a"));
    assert_eq!(kills[0].oom_level, Some(0));
    assert_eq!(kills[0].missing, [""; 0]);
    let trigger = kills[0].trigger.as_ref().expect("trigger");
    assert_eq!(trigger.comm.as_deref(), Some(&b"t"[..]));
}

#[test]
fn header_of_another_kill_is_not_used() {
    let (items, counts) = assemble(
        &[
            invoked("t"),
            row(7, 7),
            oom_kill("/a", "v", 7),
            // 7 was dying already, which kernels before 5.9 did not log.
            killed(8, "v"),
            killed(9, "v"),
        ]
        .concat(),
    );
    assert_eq!(items.len(), 2);
    for item in &items {
        let LogItem::Kill(kill) = item else {
            panic!("{item:?}")
        };
        assert_eq!(path(&kill.kill), None);
        assert_eq!(kill.kill.trigger, None);
        let missing = ["cgroup", "oom_cgroup", "allocation", "trigger"];
        assert_eq!(kill.kill.missing, missing);
        assert_eq!(kill.kill.constraint, Some(Constraint::Memcg));
    }
    assert_eq!(
        (counts.headers_without_kill, counts.kills_without_header),
        (1, 2)
    );
}

#[test]
fn header_is_used_once() {
    let log = [
        invoked("t"),
        oom_kill("/a", "v", 7),
        killed(7, "v"),
        killed(8, "v"),
    ];
    let kills = kills(&log.concat());
    assert_eq!(path(&kills[0]), Some("/a"));
    assert_eq!(path(&kills[1]), None);
}

#[test]
fn header_without_the_line_that_names_the_victim_is_not_used() {
    let kills = kills(&[invoked("t"), killed(7, "v")].concat());
    assert_eq!(kills[0].trigger, None);
}

#[test]
fn table_gives_the_process_of_a_thread() {
    let log = [
        invoked("worker"),
        "CPU: 1 UID: 0 PID: 128 Comm: worker Not tainted 7.3.4 #1\n".to_owned(),
        row(128, 126),
        oom_kill("/l", "leader", 126),
        killed(128, "worker"),
    ];
    let kills = kills(&log.concat());
    assert_eq!((kills[0].victim.pid, kills[0].victim.tid), (126, 128));
    assert_eq!(path(&kills[0]), Some("/l"));
    let trigger = kills[0].trigger.as_ref().expect("trigger");
    assert_eq!((trigger.pid, trigger.tid), (Some(126), Some(128)));
}

#[test]
fn trigger_is_the_task_with_its_name_whose_stack_is_dumped() {
    let log = [
        invoked("t"),
        "CPU: 1 UID: 0 PID: 3 Comm: tt Not tainted 7.3.4 #1\n".to_owned(),
        "CPU: 0 UID: 0 PID: 4 Comm: t Not tainted 7.3.4 #1\n".to_owned(),
        "CPU: 0 UID: 0 PID: 5 Comm: t Not tainted 7.3.4 #1\n".to_owned(),
        oom_kill("/a", "v", 7),
        killed(7, "v"),
    ];
    let kills = kills(&log.concat());
    let trigger = kills[0].trigger.as_ref().expect("trigger");
    assert_eq!((trigger.pid, trigger.tid), (None, Some(4)));
}

#[test]
fn group_is_one_incident_and_its_first_victim_is_killed_twice() {
    let log = [
        at(1000, &invoked("t")),
        at(1001, &row(7, 7)),
        at(1001, &row(8, 8)),
        at(1002, &oom_kill("/g/a", "v", 7)),
        at(1003, &killed(7, "v")),
        at(1004, &group("/g")),
        at(1005, &killed(8, "w")),
        at(1006, &killed(7, "v")),
        // Of another call, whose header was withheld: it is not in the table.
        at(1007, &killed(9, "other")),
    ];
    let (items, counts) = assemble(&log.concat());
    assert_eq!((counts.kills, counts.rekills), (3, 1));
    let [
        LogItem::Kill(first),
        LogItem::Kill(member),
        LogItem::Rekill { non_kill, .. },
        LogItem::Kill(other),
    ] = items.as_slice()
    else {
        panic!("{items:?}")
    };
    assert_eq!(non_kill.pid, 7);
    assert_eq!(first.kill.group_kill, Some(true));
    assert_eq!(path(&first.kill), Some("/g/a"));
    assert_eq!(member.kill.group_kill, Some(true));
    assert_eq!(path(&member.kill), None);
    let group = member.kill.group_cgroup.as_ref().expect("group");
    assert_eq!(group.path, b"/g");
    assert_eq!(member.kill.missing, [""; 0]);
    assert_eq!(member.incident, first.incident);
    assert_eq!(other.kill.group_kill, None);
    assert_eq!(other.kill.group_cgroup, None);
    assert_eq!(other.incident, other.stamp);
}

#[test]
fn each_group_has_its_own_members_without_headers() {
    let log = [
        at(1000, &killed(7, "v")),
        at(1000, &group("/g")),
        at(1000, &killed(8, "w")),
        at(1000, &killed(17, "v")),
        at(1000, &group("/h")),
        at(1000, &killed(18, "w")),
    ];
    let kills = kills(&log.concat());
    let groups: Vec<_> = kills
        .iter()
        .map(|kill| {
            kill.group_cgroup
                .as_ref()
                .map(|group| group.path.as_slice())
        })
        .collect();
    assert_eq!(
        groups,
        [Some(&b"/g"[..]), Some(b"/g"), Some(b"/h"), Some(b"/h")]
    );
}

#[test]
fn late_members_in_the_table_belong_to_the_group() {
    let log = [
        at(1000, &invoked("t")),
        at(1001, &row(7, 7)),
        at(1001, &row(8, 8)),
        at(1001, &row(9, 9)),
        at(1002, &oom_kill("/g/a", "v", 7)),
        at(1003, &killed(7, "v")),
        at(1004, &group("/g")),
        at(1500, &killed(8, "w")),
        at(4000, &killed(9, "w")),
        at(4001, &invoked("t")),
    ];
    let kills = kills(&log.concat());
    for kill in &kills {
        assert_eq!(kill.group_kill, Some(true), "{kill:?}");
        assert_eq!(kill.incident_boot_time_ns, kills[0].incident_boot_time_ns);
    }
    assert_eq!(kills.len(), 3);
}

#[test]
fn group_kill_is_unknown_some_time_after_a_group_without_a_table() {
    let group_kills = |times: &[u64]| {
        let mut log = at(1000, &killed(7, "v")) + &at(1000, &group("/g"));
        for (tid, &time) in (8..).zip(times) {
            log += &at(time, &killed(tid, "w"));
        }
        log += &at(20_000, &invoked("t"));
        kills(&log)
            .iter()
            .map(|kill| kill.group_kill)
            .collect::<Vec<_>>()
    };
    assert_eq!(group_kills(&[1500]), [Some(true), None]);
    assert_eq!(group_kills(&[1500, 1501]), [Some(true), None, None]);
    assert_eq!(group_kills(&[7000]), [Some(true), Some(false)]);
    assert_eq!(group_kills(&[1500, 7000]), [Some(true), None, Some(false)]);
}

#[test]
fn kill_is_pending_until_no_group_line_can_follow() {
    let mut parser = LogFileParser::new(Offset::UTC, "2026-11-24T00:00:00Z".parse().expect("time"));
    let mut assembler = Assembler::new(Trust::Kernel);
    for line in [
        at(1000, &oom_kill("/a", "v", 7)),
        at(1000, &killed(7, "v")),
        at(1199, "eth0: link up"),
    ] {
        assert_eq!(
            assembler.push(&parser.parse(line.trim_end().as_bytes())),
            None
        );
    }
    let pending = assembler
        .pending_since()
        .and_then(|stamp| stamp.boot_time_ns);
    assert_eq!(pending, Some(1_000_000_000));
    let mut timed = assembler.push(&parser.parse(at(1201, "eth0: link down").as_bytes()));
    let Some(LogItem::Kill(kill)) = timed.take() else {
        panic!("no kill")
    };
    assert_eq!(kill.kill.group_kill, Some(false));
    assert_eq!(assembler.pending_since(), None);
    let _ = assembler.push(&parser.parse(at(1300, &killed(8, "w")).trim_end().as_bytes()));
    assert!(matches!(assembler.flush(), Some(LogItem::Kill(_))));
    assert_eq!(assembler.flush(), None);
}

#[test]
fn group_kill_is_unknown_in_a_log_without_info_lines() {
    // `dmesg --level err`, and the end of a log.
    let log = [at(1000, &killed(7, "v")), at(9000, &killed(8, "v"))].concat();
    let kills = kills(&log);
    assert_eq!(kills[0].group_kill, None);
    assert_eq!(kills[1].group_kill, None);
}

#[test]
fn process_that_is_killed_again_soon_is_a_rekill() {
    let log = |later| [at(1000, &killed(7, "v")), at(later, &killed(7, "v"))].concat();
    assert_eq!(assemble(&log(9000)).1.rekills, 1);
    assert_eq!(assemble(&log(19000)).1.kills, 2);
    let other = [at(1000, &killed(7, "v")), at(1001, &killed(7, "w"))].concat();
    assert_eq!(assemble(&other).1.kills, 2);
}

#[test]
fn another_boot_starts_without_state() {
    let log = [
        at(5000, &invoked("t")),
        at(5000, &killed(7, "v")),
        at(1000, &oom_kill("/a", "v", 7)),
        at(1000, &killed(7, "v")),
    ];
    let (items, counts) = assemble(&log.concat());
    assert_eq!((items.len(), counts.kills), (2, 2));
}

#[test]
fn message_of_a_bpf_program_takes_its_scope_from_the_header() {
    let kill = killed(7, "v").replace("Memory cgroup out of memory", "used up");
    let with_header = kills(&[oom_kill("/a", "v", 7), kill.clone()].concat());
    assert_eq!(with_header[0].scope, Scope::Memcg);
    let without_header = kills(&kill);
    assert_eq!(without_header[0].scope, Scope::Unknown);
    assert_eq!(
        without_header[0].missing,
        ["cgroup", "constraint", "allocation", "trigger"]
    );
}

#[test]
fn pieces_of_a_line_are_joined() {
    let whole = [oom_kill("/a b/c", "v", 7), killed(7, "v")].concat();
    let expected = kills(&whole);
    for cut in [
        ",cpuset",
        ",mems",
        ",oom_memcg",
        "/a b",
        ",task_memcg",
        ",task=",
    ] {
        // In a text log a piece is recognised by its beginning.
        let place = whole.find(cut).expect(cut);
        let (head, tail) = whole.split_at(place);
        let broken = format!("{head}\neth0: link up\n{tail}");
        assert_eq!(kills(&broken), expected, "{cut}");
    }
    // The device flags every piece.
    let record = |flag, text: &str| format!("6,1,1,{flag};{text}\n");
    let (line, kill) = whole.split_once('\n').expect("two lines");
    for cut in 21..line.len() {
        let (head, tail) = line.split_at(cut);
        let log = [
            record("-", head),
            record("-", "eth0: link up"),
            record("c", tail),
            record("-", kill.trim_end()),
        ];
        assert_eq!(path(&kills(&log.concat())[0]), Some("/a b/c"), "{cut}");
    }
}

/// The kernel cuts a piece that is too long; the rest may be the path of another cgroup.
#[test]
fn path_that_may_have_been_cut_is_absent() {
    let path_of = |length: usize| format!("/{}", "a".repeat(length - 1));
    for (length, is_present) in [(959, true), (960, false), (1021, false)] {
        let cgroup = path_of(length);
        let log = [oom_kill(&cgroup, "v", 7), killed(7, "v"), group(&cgroup)];
        let kill = &kills(&log.concat())[0];
        assert_eq!(kill.scope, Scope::Memcg);
        assert_eq!(kill.constraint, Some(Constraint::Memcg));
        assert_eq!(kill.group_kill, Some(true));
        assert_eq!(path(kill).is_some(), is_present, "{length}");
        assert_eq!(kill.oom_level.is_some(), is_present, "{length}");
        assert_eq!(kill.group_cgroup.is_some(), is_present, "{length}");
        assert_eq!(kill.missing.contains(&"cgroup"), !is_present, "{length}");
    }
}

#[test]
fn newline_in_a_name_does_not_hide_a_kill() {
    let log = at(1000, &killed(7, "a\nb"));
    let kills = kills(&log);
    assert_eq!(kills[0].victim.comm.as_deref(), Some(&b"a\nb"[..]));
}

#[test]
fn incomplete_end_of_a_log_is_counted() {
    let (items, counts) = assemble(
        &[
            invoked("t"),
            "Out of memory: Killed process 7 (x".to_owned(),
        ]
        .concat(),
    );
    assert_eq!(items, []);
    assert_eq!((counts.unreadable, counts.headers_without_kill), (1, 1));
}

#[test]
fn header_of_a_cancelled_kill_is_not_used() {
    for end in [
        "Out of memory: OOM victim 7 (v) is already exiting. Skip killing the task\n",
        "Out of memory and no killable processes...\n",
    ] {
        let log = [
            invoked("t"),
            oom_kill("/a", "v", 7),
            end.to_owned(),
            killed(8, "w"),
        ];
        let (items, counts) = assemble(&log.concat());
        assert_eq!((items.len(), counts.headers_without_kill), (1, 0));
    }
}

#[test]
fn page_tables_are_bytes_on_early_5_4_kernels() {
    let log = |release| {
        let cpu = format!("CPU: 0 PID: 4 Comm: a #1 Not tainted {release} #1 SMP\n");
        kills(&[cpu, killed(7, "v")].concat())[0]
            .victim
            .pgtables_bytes
    };
    for release in ["5.4.0", "5.4.7", "5.4.12", "5.4.12-200.fc31.x86_64"] {
        assert_eq!(log(release), Some(4), "{release}");
    }
    for release in [
        "5.4.13",
        "5.4.0-42-generic",
        "5.4.120",
        "5.40.1",
        "5.4",
        "6.1.0",
    ] {
        assert_eq!(log(release), Some(4096), "{release}");
    }
}
