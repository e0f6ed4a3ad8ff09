use std::borrow::Cow;

use super::*;
use crate::capture::kmsg::record::Part;

fn parser() -> LogFileParser {
    let latest = "2026-11-24T00:00:00Z".parse().expect("time");
    LogFileParser::new(Offset::UTC, latest)
}

/// The parts of a line: time since boot, wall-clock time, host, text.
fn parts(line: &str) -> (Option<u64>, Option<String>, Option<String>, String) {
    let mut parser = parser();
    let record = parser.parse(line.as_bytes());
    assert_eq!(record.origin, RecordOrigin::Kernel, "{line}");
    (
        record.stamp.boot_time_ns,
        record.stamp.calendar.map(|time| time.to_string()),
        record.host.as_deref().map(str::to_owned),
        String::from_utf8_lossy(&record.text).into_owned(),
    )
}

const TEXT: &str = "Out of memory: Killed process 7 (a) total-vm:1kB";
const BOOT_NS: u64 = 3_507_827_545_000;

#[test]
fn every_format_of_dmesg_gives_its_time_and_the_text() {
    let with_boot_time = [
        "[ 3507.827545] {}",
        "[3507.827545] {}",
        "<3>[ 3507.827545] {}",
        "kern  :err   : [ 3507.827545] {}",
        "[ 3507.827545][ T1234] {}",
        "[ 3507.827545] [ T1234] {}",
        "[ 3507.827545] [    C0] {}",
        "[ 3507.827545 <    0.000021>] {}",
        "3,2093,3507827545,-;{}",
        "3,2093,3507827545,-,caller=T1;{}",
    ];
    for format in with_boot_time {
        let line = format.replace("{}", TEXT);
        assert_eq!(parts(&line), (Some(BOOT_NS), None, None, TEXT.to_owned()));
    }
    for (format, time) in [
        ("[Mon Nov 23 18:54:33 2026] {}", "2026-11-23T18:54:33Z"),
        ("[Sun Nov  1 08:04:03 2026] {}", "2026-11-01T08:04:03Z"),
        (
            "kern  :err   : [Mon Nov 23 18:54:33 2026] {}",
            "2026-11-23T18:54:33Z",
        ),
        (
            "2026-11-23T18:54:33,827545+00:00 {}",
            "2026-11-23T18:54:33.827545Z",
        ),
        (
            "2026-11-23T18:54:33,827545-05:30 {}",
            "2026-11-24T00:24:33.827545Z",
        ),
    ] {
        let line = format.replace("{}", TEXT);
        let expected = (None, Some(time.to_owned()), None, TEXT.to_owned());
        assert_eq!(parts(&line), expected, "{line}");
    }
    for format in [
        "{}",
        "<3>{}",
        "kern  :err   : {}",
        "[  +0.000021] {}",
        "[Nov23 18:54] {}",
    ] {
        let line = format.replace("{}", TEXT);
        assert_eq!(parts(&line), (None, None, None, TEXT.to_owned()), "{line}");
    }
}

#[test]
fn every_format_of_journal_and_syslog_gives_time_and_host() {
    for (format, boot_time_ns, time) in [
        (
            "Nov 23 18:54:33 n-1.x kernel: {}",
            None,
            Some("2026-11-23T18:54:33Z"),
        ),
        (
            "Nov  3 18:54:33 n-1.x kernel: {}",
            None,
            Some("2026-11-03T18:54:33Z"),
        ),
        (
            "Nov 23 18:54:33.827545 n-1.x kernel: {}",
            None,
            Some("2026-11-23T18:54:33.827545Z"),
        ),
        (
            "2026-11-23T18:54:33+0200 n-1.x kernel: {}",
            None,
            Some("2026-11-23T16:54:33Z"),
        ),
        (
            "2026-11-23T18:54:33.827545+02:00 n-1.x kernel: {}",
            None,
            Some("2026-11-23T16:54:33.827545Z"),
        ),
        (
            "2026-11-23T18:54:33.827545Z n-1.x kernel: {}",
            None,
            Some("2026-11-23T18:54:33.827545Z"),
        ),
        (
            "Mon 2026-11-23 18:54:33 UTC n-1.x kernel: {}",
            None,
            Some("2026-11-23T18:54:33Z"),
        ),
        (
            "1795460073.827545 n-1.x kernel: {}",
            None,
            Some("2026-11-23T18:54:33.827545Z"),
        ),
        ("[ 3507.827545] n-1.x kernel: {}", Some(BOOT_NS), None),
        (
            "Nov 23 18:54:33 n-1.x kernel: [ 3507.827545] {}",
            Some(BOOT_NS),
            Some("2026-11-23T18:54:33Z"),
        ),
    ] {
        let line = format.replace("{}", TEXT);
        let expected = (
            boot_time_ns,
            time.map(str::to_owned),
            Some("n-1.x".to_owned()),
            TEXT.to_owned(),
        );
        assert_eq!(parts(&line), expected, "{line}");
    }
}

#[test]
fn time_without_a_year_is_the_last_before_the_latest_time() {
    for (line, time) in [
        ("Nov 24 00:00:00 h kernel: x", "2026-11-24T00:00:00Z"),
        ("Nov 24 00:00:01 h kernel: x", "2025-11-24T00:00:01Z"),
        ("Dec 31 23:59:60 h kernel: x", "2025-12-31T23:59:59Z"),
        ("Feb 29 12:00:00 h kernel: x", "2024-02-29T12:00:00Z"),
    ] {
        assert_eq!(parts(line).1.as_deref(), Some(time), "{line}");
    }
}

#[test]
fn time_without_a_zone_takes_the_given_one() {
    let mut parser = LogFileParser::new(
        Offset::constant(2),
        "2026-11-24T00:00:00Z".parse().expect("time"),
    );
    for line in [
        "[Mon Nov 23 18:54:33 2026] x",
        "Nov 23 18:54:33 h kernel: x",
        "Mon 2026-11-23 18:54:33 CET h kernel: x",
        "2026-11-23T18:54:33 h kernel: x",
    ] {
        parser.calendar.has_assumed_zone = false;
        let time = parser.parse(line.as_bytes()).stamp.calendar;
        let time = time.map(|time| time.to_string());
        assert_eq!(time.as_deref(), Some("2026-11-23T16:54:33Z"), "{line}");
        assert!(parser.has_assumed_zone(), "{line}");
    }
    parser.calendar.has_assumed_zone = false;
    let _ = parser.parse(b"2026-11-23T18:54:33Z h kernel: x");
    assert!(!parser.has_assumed_zone());
}

#[test]
fn lines_of_processes_have_the_origin_user() {
    for line in [
        "<12>[ 3507.827545] Out of memory: Killed process 7 (a)",
        "user  :warn  : [ 3507.827545] Out of memory: Killed process 7 (a)",
        "12,1,1,-;Out of memory: Killed process 7 (a)",
        "Nov 23 18:54:33 host systemd[1]: Out of memory: Killed process 7 (a)",
        "Nov 23 18:54:33 host kubelet: kernel: Out of memory: Killed process 7 (a)",
        "2026-11-23T18:54:33Z Out of memory: Killed process 7 (a)",
        "2026-11-23T18:54:33Z stdout F host kernel: Out of memory: Killed process 7 (a)",
    ] {
        assert_eq!(
            parser().parse(line.as_bytes()).origin,
            RecordOrigin::User,
            "{line}"
        );
    }
}

#[test]
fn name_chosen_by_a_user_is_not_parsed_as_a_host() {
    for text in [
        "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=x kernel: Out of memory: Killed process 7 (a)",
        "Task in /x kernel: Killed process 7 (a) killed as a result of limit of /x",
        "[    478]     0   478     5785 x kernel: y",
    ] {
        for stamp in ["[ 3507.827545] ", ""] {
            let line = format!("{stamp}{text}");
            let record = parser().parse(line.as_bytes()).text.into_owned();
            assert_eq!(String::from_utf8_lossy(&record), text);
        }
    }
}

#[test]
fn rows_of_the_task_table_are_text() {
    for row in [
        "[    478]     0   478     5785     5509",
        "[  pid  ]   uid  tgid total_vm",
    ] {
        assert_eq!(parts(row).3, row);
        assert_eq!(parts(&format!("[ 3507.827545] {row}")).3, row);
    }
}

#[test]
fn malformed_lines_are_text() {
    for line in [
        "",
        "[",
        "[]",
        "[.]",
        "[1.] x",
        "[-1.5] x",
        "[99999999999999999999.0] x",
        "[Mon Nov 31 18:54:33 2026] x",
        "[Mon Nov 23 25:54:33 2026] x",
        "<999>x",
        "<>x",
        " SUBSYSTEM=acpi",
    ] {
        let record = parser().parse(line.as_bytes()).text.into_owned();
        let text = String::from_utf8_lossy(&record);
        assert_eq!(text, line);
    }
}

#[test]
fn only_the_format_of_the_device_is_escaped() {
    let escaped = r"6,1,1,-;\x5cx2d";
    assert_eq!(&*parser().parse(escaped.as_bytes()).text, br"\x2d");
    let plain = r"[    0.000001] \x2d";
    assert_eq!(
        parser().parse(plain.as_bytes()),
        Record {
            sequence: None,
            stamp: crate::capture::kmsg::record::Stamp {
                boot_time_ns: Some(1000),
                calendar: None
            },
            origin: RecordOrigin::Kernel,
            caller: None,
            host: None,
            part: Part::Line,
            text: Cow::Borrowed(br"\x2d"),
        }
    );
}
