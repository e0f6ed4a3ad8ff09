//! Reads any bytes as a saved kernel log, as live records of `/dev/kmsg`, and as a snapshot for a backfill.
#![no_main]

use std::time::{Duration, Instant};

use jiff::{Timestamp, tz::Offset};
use libfuzzer_sys::fuzz_target;
use oomwatch::{
    audit::{
        backfill::{Backfill, BackfillRequest, backfill},
        recent_kills::RecentKills,
    },
    capture::kmsg::{
        assemble::{Assembler, LogItem, Trust},
        bounded_lines::BoundedLines,
        follow::Follower,
        join::{Joiner, OomGroup},
        log_file::LogFileParser,
        record::Record,
        snapshot::LogSnapshot,
    },
    deliver::json,
    model::{
        cgroup::KubeletRoot,
        kill::{Kill, Scope},
        report::{Host, NodeKubelet, Origin, Report},
    },
    sys::clock::ClockSample,
};

fuzz_target!(|bytes: &[u8]| {
    read_saved(bytes);
    follow(bytes);
    backfill_from(bytes);
});

fn read_saved(bytes: &[u8]) {
    let mut lines = BoundedLines::new(bytes);
    let mut parser = LogFileParser::new(Offset::UTC, Timestamp::UNIX_EPOCH);
    let mut assembler = Assembler::new(Trust::Everyone);
    let mut items = Vec::new();
    while let Some(line) = lines.next_line().expect("memory can be read") {
        items.extend(assembler.push(&parser.parse(line)));
    }
    let (last, counts) = assembler.finish();
    items.extend(last);
    assert_eq!(items.len() as u64, counts.kills + counts.rekills);
    for item in items {
        if let LogItem::Kill(kill) = item {
            check(&Report::new(
                kill.into_kill(),
                Origin::SavedLog {
                    node: None,
                    kubelet: &KubeletRoot::Unknown,
                },
            ));
        }
    }
}

/// Lines that are not records are taken as text of the kernel. Each advances the time; an empty line is a loss of records.
fn follow(bytes: &[u8]) {
    let host = Host {
        node: String::new(),
        boot_id: "0f1e2d3c".to_owned(),
        kubelet: NodeKubelet::default(),
    };
    let mut follower = Follower::new();
    let mut joiner = Joiner::default();
    let mut items = Vec::new();
    let started = Instant::now();
    let mut passed = 0;
    for line in bytes.split(|&byte| byte == b'\n') {
        passed += line.len() as u64 * 1_000_000;
        let now = ClockSample {
            instant: started + Duration::from_nanos(passed),
            raw_ns: passed,
            boot_time_ns: passed / 2,
            unix_ns: 0,
        };
        let record = Record::parse(line).unwrap_or_else(|_| Record::bare(line));
        if line.is_empty() {
            items.extend(follower.interrupt(&now));
        }
        items.extend(follower.push(&record, &now));
        items.extend(follower.flush(&now));
        for item in items.drain(..) {
            let LogItem::Kill(log_kill) = item else {
                continue;
            };
            let kill = &log_kill.kill;
            let latest = Some(now.boot_time_ns);
            assert!(kill.boot_time_ns <= latest && kill.incident_boot_time_ns <= kill.boot_time_ns);
            join(&mut follower, &mut joiner, kill, now.instant);
            check(&Report::new(
                log_kill.into_kill(),
                Origin::Boot {
                    host: &host,
                    now: ClockSample {
                        unix_ns: now.boot_time_ns,
                        ..now
                    },
                },
            ));
        }
    }
}

/// Reads the text of `syslog(2)`: at most the missing number of kills is found, and none twice.
fn backfill_from(bytes: &[u8]) {
    let now = ClockSample {
        instant: Instant::now(),
        raw_ns: 5_000_000_000_000,
        boot_time_ns: 6_000_000_000_000,
        unix_ns: 0,
    };
    let all = BackfillRequest {
        missing: u64::MAX,
        since_boot_time_ns: 0,
        offset_ns: None,
    };
    let mut recent = RecentKills::default();
    for missing in [2, u64::MAX, u64::MAX] {
        let request = BackfillRequest { missing, ..all };
        let log = LogSnapshot::from_text(bytes, now);
        let Backfill { kills, rekills, .. } = backfill(log, &recent, request);
        let found = (kills.len() + rekills.len()) as u64;
        assert!(found <= missing);
        for kill in kills {
            assert!(kill.kill.boot_time_ns <= Some(now.boot_time_ns));
            recent.backfilled(&kill.kill);
        }
        rekills.iter().for_each(|non_kill| recent.rekill(non_kill));
    }
    let left = backfill(LogSnapshot::from_text(bytes, now), &recent, all);
    assert!(left.kills.is_empty() && left.rekills.is_empty());
}

/// Joins the facts of the log with the same kill as a BPF program would record it.
fn join(follower: &mut Follower, joiner: &mut Joiner, kill: &Kill, now: Instant) {
    let recorded = Kill {
        scope: Scope::Unknown,
        constraint: None,
        allocation: None,
        group_kill: None,
        oom_level: None,
        ..kill.clone()
    };
    let header = follower.take_header(&recorded, now);
    let facts = header.or_else(|| follower.take_killed(&recorded.victim, now));
    for oom_group in [OomGroup::Unknown, OomGroup::Unset, OomGroup::At(1)] {
        let mut joined = recorded.clone();
        joiner.join(&mut joined, facts.clone(), oom_group);
        assert!(
            joined
                .oom_level
                .is_none_or(|level| level < joined.limits.len())
        );
        let Kill {
            scope,
            constraint,
            allocation,
            group_kill,
            oom_level,
            ..
        } = joined;
        let expected = Kill {
            scope,
            constraint,
            allocation,
            group_kill,
            oom_level,
            ..recorded.clone()
        };
        assert_eq!(joined, expected);
    }
}

fn check(report: &Report) {
    let text = json::kill_to_json(report).expect("serialize");
    assert!(!text.contains(char::is_control), "{text}");
}
