//! Any bytes as a saved kernel log, as records of `/dev/kmsg`, and as these while they are written.
#![no_main]

use std::time::{Duration, Instant};

use jiff::{Timestamp, tz::Offset};
use libfuzzer_sys::fuzz_target;
use oomwatch::{audit::{backfill::{Filling, Wanted, fill}, recent::Recent}, capture::kmsg::{assemble::{Assembler, LogItem, Trust}, bounded_lines::Lines, follow::Follower, join::{Joiner, OomGroup}, log_file::Saved, record::Record, snapshot::Whole}, deliver::json, model::{kill::{Kill, Scope}, report::{Host, Report, Origin}}, sys::clock::{Moment, ClockSample}};

fuzz_target!(|bytes: &[u8]| {
    read_saved(bytes);
    follow(bytes);
    fill_from(bytes);
});

fn read_saved(bytes: &[u8]) {
    let mut lines = Lines::new(bytes);
    let mut saved = Saved::new(Offset::UTC, Timestamp::UNIX_EPOCH);
    let mut assembler = Assembler::new(Trust::Everyone);
    let mut found = Vec::new();
    while let Some(line) = lines.next_line().expect("memory can be read") {
        found.extend(assembler.push(&saved.parse(line)));
    }
    let (last, counts) = assembler.finish();
    found.extend(last);
    assert_eq!(found.len() as u64, counts.kills + counts.rekills);
    for found in found {
        if let LogItem::Kill(kill) = found {
            check(&Report::new(kill.into_kill(), Origin::SavedLog { node: None }));
        }
    }
}

/// Lines that are no records are taken for the kernel's. Time goes on with each, and a line that is empty is a loss.
fn follow(bytes: &[u8]) {
    let host = Host {
        node: String::new(),
        boot_id: "0f1e2d3c".to_owned(),
    };
    let mut follower = Follower::new();
    let mut joiner = Joiner::default();
    let mut found = Vec::new();
    let started = Instant::now();
    let mut passed = 0;
    for line in bytes.split(|&byte| byte == b'\n') {
        passed += line.len() as u64 * 1_000_000;
        let now = Moment {
            instant: started + Duration::from_nanos(passed),
            raw_ns: passed,
            boot_time_ns: passed / 2,
        };
        let record = Record::parse(line).unwrap_or_else(|_| Record::bare(line));
        if line.is_empty() {
            found.extend(follower.interrupt(&now));
        }
        found.extend(follower.push(&record, &now));
        found.extend(follower.flush(&now));
        for found in found.drain(..) {
            let LogItem::Kill(found) = found else { continue };
            let kill = &found.kill;
            let latest = Some(now.boot_time_ns);
            assert!(kill.boot_time_ns <= latest && kill.incident_boot_time_ns <= kill.boot_time_ns);
            join(&mut follower, &mut joiner, kill, now.instant);
            check(&Report::new(
                found.into_kill(),
                Origin::Boot {
                    host: &host,
                    now: ClockSample {
                        boot_time_ns: now.boot_time_ns,
                        unix_ns: now.boot_time_ns,
                    },
                },
            ));
        }
    }
}

/// As `syslog(2)` gives it: never more is found than is missing, and nothing twice.
fn fill_from(bytes: &[u8]) {
    let now = Moment {
        instant: Instant::now(),
        raw_ns: 5_000_000_000_000,
        boot_time_ns: 6_000_000_000_000,
    };
    let all = Wanted {
        missing: u64::MAX,
        since_boot_time_ns: 0,
        offset_ns: None,
    };
    let mut recent = Recent::default();
    for missing in [2, u64::MAX, u64::MAX] {
        let wanted = Wanted { missing, ..all };
        let Filling { kills, rekills, .. } = fill(Whole::of_text(bytes, now), &recent, wanted);
        let found = (kills.len() + rekills.len()) as u64;
        assert!(found <= missing);
        for found in kills {
            assert!(found.kill.boot_time_ns <= Some(now.boot_time_ns));
            recent.filled(&found.kill);
        }
        rekills.iter().for_each(|aside| recent.rekill(aside));
    }
    let left = fill(Whole::of_text(bytes, now), &recent, all);
    assert!(left.kills.is_empty() && left.rekills.is_empty());
}

/// What the log told is joined with the same kill as a program would have seen it.
fn join(follower: &mut Follower, joiner: &mut Joiner, kill: &Kill, now: Instant) {
    let seen = Kill {
        scope: Scope::Unknown,
        constraint: None,
        allocation: None,
        group_kill: None,
        oom_level: None,
        ..kill.clone()
    };
    let header = follower.take_header(&seen, now);
    let told = header.or_else(|| follower.take_killed(&seen.victim, now));
    for oom_group in [OomGroup::Unknown, OomGroup::Unset, OomGroup::At(1)] {
        let mut joined = seen.clone();
        joiner.join(&mut joined, told.clone(), oom_group);
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
            ..seen.clone()
        };
        assert_eq!(joined, expected);
    }
}

fn check(report: &Report) {
    let text = json::to_json(report).expect("serialize");
    assert!(!text.contains(char::is_control), "{text}");
}
