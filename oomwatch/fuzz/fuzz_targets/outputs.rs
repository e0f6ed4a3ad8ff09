//! Any kill to every output: nothing that is shown has a control or format character, JSON is one line, an Event is what
//! the API server takes.
//!
//! Input: `r` and records of the ring, each with two bytes of length before it; or `j` and the JSON of a stored report or gap.
#![no_main]

use jiff::{Timestamp, tz::TimeZone};
use libfuzzer_sys::fuzz_target;
use oomwatch::{
    capture::{
        decode::decode,
        incident::{Incidents, Outcome},
    },
    deliver::{
        color::Color,
        events::{RecordTimes, Recorder, pod_event},
        json,
        metrics::Metrics,
        text::{Selection, Style, Table},
    },
    model::{
        cgroup::KubeletRoot,
        report::{Coalesced, GapReport, Origin, Report},
    },
    store::codec,
    sys::escape::is_printable,
};

fuzz_target!(|input: &[u8]| match input.split_first() {
    Some((b'r', bytes)) => records(bytes),
    Some((b'j', bytes)) => stored(bytes),
    _ => {}
});

fn records(bytes: &[u8]) {
    let mut incidents = Incidents::default();
    let mut rest = bytes;
    while let [low, high, more @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(more.len());
        let (record, behind) = more.split_at(length);
        rest = behind;
        let Ok(observation) = decode(record, 4096) else {
            continue;
        };
        match incidents.observe(observation, |_| None) {
            Outcome::Kill(kill) => {
                assert!(kill.oom_level.is_none_or(|level| level < kill.limits.len()));
                let origin = Origin::SavedLog {
                    node: Some("n\u{1b}"),
                    kubelet: &KubeletRoot::Unknown,
                };
                show(&Report::new(*kill, origin));
            }
            Outcome::NonKill(event) => {
                for (mut table, width) in tables() {
                    check(&table.non_kill(&event, None, width));
                }
            }
            Outcome::Nothing => {}
        }
    }
}

fn stored(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    if let Ok(report) = codec::to_report(text) {
        show(&report);
        let again = codec::from_report(&report).expect("it was read");
        assert_eq!(codec::to_report(&again).expect("it was written"), report);
    }
    if let Ok(gap) = codec::to_gap(text) {
        show_gap(&gap);
        let again = codec::from_gap(&gap).expect("it was read");
        assert_eq!(codec::to_gap(&again).expect("it was written"), gap);
    }
}

/// Text in full width and on a terminal, and all columns.
fn tables() -> [(Table, Option<usize>); 3] {
    [
        (Selection::Text, None),
        (Selection::Text, Some(80)),
        (Selection::Wide, None),
    ]
    .map(|(selection, width)| {
        let style = Style {
            selection,
            zone: TimeZone::UTC,
            color: Color::Never,
            page_bytes: 4096,
        };
        (Table::new(style), width)
    })
}

fn check(lines: &str) {
    for line in lines.lines() {
        assert!(line.chars().all(is_printable), "{line:?}");
    }
}

fn show_gap(gap: &GapReport) {
    for (mut table, width) in tables() {
        check(&table.gap(gap, width));
    }
    check(&json::gap_to_json(gap).expect("serialize"));
    Metrics::new().gap(gap);
}

fn show(report: &Report) {
    let coalesced = Coalesced {
        kills: u64::MAX,
        incidents: 1,
        since: Timestamp::UNIX_EPOCH,
    };
    for (mut table, width) in tables() {
        check(&table.kill(report, width));
        check(&table.coalesced(report, &coalesced, width));
    }
    let line = json::kill_to_json(report).expect("serialize");
    assert_eq!(line.lines().count(), 1, "{line}");
    check(&line);
    serde_json::from_str::<serde_json::Value>(&line).expect("JSON");

    let mut named = report.clone();
    if let Some(pod) = &mut named.pod {
        pod.namespace = Some("shop".to_owned());
        pod.name = Some("cart".to_owned());
    }
    let policy = oomwatch_fuzz::policy();
    if let Ok(event) = pod_event(&named, &policy.reporter, Timestamp::UNIX_EPOCH) {
        check(&event.message);
        serde_json::from_slice::<serde_json::Value>(&event.to_create()).expect("JSON");
    }
    let mut recorder = Recorder::restore(policy, &[], 1);
    let times = RecordTimes {
        now_ns: 1,
        kill_ns: 1,
        wall_time: Timestamp::UNIX_EPOCH,
    };
    recorder.record(&named, times);
    let _ = recorder.next(1);
    let _ = recorder.changes();

    let metrics = Metrics::new();
    metrics.kill(&named, Timestamp::UNIX_EPOCH);
    let text = metrics.encode(Timestamp::UNIX_EPOCH);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("a sample");
        assert!(value.parse::<f64>().is_ok(), "{line:?}");
        assert!(
            name.starts_with(|c: char| c.is_ascii_lowercase()),
            "{line:?}"
        );
    }
}
