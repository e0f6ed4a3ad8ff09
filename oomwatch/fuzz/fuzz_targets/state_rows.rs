//! Hostile rows of the saved state to all that is restored from them: nothing panics, every name is printable, and delivery
//! comes to an end.
//!
//! Input: lines of part, key and value, with 0x1f between them; 0x1e in a key stands for a newline.
#![no_main]

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use oomwatch::{
    deliver::{
        events::{Method, Next, Policy, RecordTimes, Recorder, Undelivered, classify_response},
        json,
    },
    identify::{directory::Directory, resolution::Arrival},
    model::{
        persist::{Entry, clock::PersistentClock},
        report::Report,
    },
    sys::{clock::ClockSample, escape::is_printable},
};

const EXISTS: &[u8] = br#"{"kind":"Status","reason":"AlreadyExists","details":{"kind":"events"}}"#;
const EVENT: &[u8] = br#"{"kind":"Event","apiVersion":"v1"}"#;

static REPORT: LazyLock<Report> = LazyLock::new(oomwatch_fuzz::report_of_a_named_pod);

fuzz_target!(|input: &[u8]| {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    let entries: Vec<Entry> = text.split('\n').filter_map(entry).collect();
    let now = ClockSample {
        boot_time_ns: 1_000_000_000_000,
        unix_ns: 1_790_000_000_000_000_000,
        ..ClockSample::now()
    };
    let saved = entries.iter().find(|entry| entry.part == "clock");
    let saved = saved.map(|entry| &*entry.value);
    let clock = PersistentClock::restore(saved, "0f1e2d3c4b5a69788796a5b4c3d2e1f0", now);
    let now_ns = clock.at_ns(now.boot_time_ns);
    let kill_ns = clock.of_kill_ns(&REPORT, now);
    let _ = clock.to_json(now);

    name(&entries);
    deliver(&entries, now_ns, kill_ns);
});

fn entry(line: &str) -> Option<Entry> {
    let mut parts = line.splitn(3, '\x1f');
    Some(Entry {
        part: parts.next()?.to_owned(),
        key: parts.next()?.replace('\x1e', "\n"),
        value: parts.next()?.to_owned(),
    })
}

fn name(entries: &[Entry]) {
    let mut directory = Directory::default();
    let at = Instant::now();
    directory.restore(entries, at);
    let mut report = REPORT.clone();
    let _ = directory.identify(&mut report, Arrival { at, killed: None });
    let line = json::kill_to_json(&report).expect("serialize");
    assert!(line.chars().all(is_printable), "{line}");
    let _ = directory.changes();
}

fn deliver(entries: &[Entry], now_ns: u64, kill_ns: u64) {
    let policy = Policy {
        start_delay: Duration::from_secs(1),
        ..oomwatch_fuzz::policy()
    };
    let mut recorder = Recorder::restore(policy, entries, now_ns);
    let times = RecordTimes {
        now_ns,
        kill_ns,
        wall_time: Timestamp::UNIX_EPOCH,
    };
    recorder.record(&REPORT, times);
    let mut time_ns = now_ns;
    for turn in 0..200_u32 {
        match recorder.next(time_ns) {
            Next::Send(request) => {
                let (status, body) = match (turn % 3, request.method) {
                    (0, _) => (409, EXISTS),
                    (_, Method::Create) => (201, EVENT),
                    _ => (200, EVENT),
                };
                assert!(request.event.count >= 1);
                let response = classify_response(request.method, status, None, body);
                recorder.handle_response(&request.event.metadata, &response, time_ns, 0.5);
                let _ = request.event.to_create();
                let _ = request.event.to_patch();
            }
            Next::Wait(None) => break,
            Next::Wait(Some(wake)) => time_ns = time_ns.max(wake).saturating_add(1),
        }
    }
    let _ = recorder.take_stats();
    let _ = recorder.changes();
    let _ = recorder.pending();
    recorder.close(Undelivered::Abandoned, time_ns);
    recorder.abandon(time_ns);
}
