//! Responses of API server and runtimes: pods, containers, files of a process, and responses to Events. The first byte selects
//! one of these.
#![no_main]

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use oomwatch::{
    deliver::{
        events::{Method, Next, RecordTimes, Recorder, classify_response},
        json,
    },
    identify::{
        directory::{Directory, WatchState},
        fuzz,
        resolution::Arrival,
    },
    model::report::Report,
};
use oomwatch_fuzz::{CONTAINER_ID, POD_UID};

static REPORT: LazyLock<Report> = LazyLock::new(oomwatch_fuzz::report);
static NAMED: LazyLock<Report> = LazyLock::new(oomwatch_fuzz::report_of_a_named_pod);

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else {
        return;
    };
    match kind {
        b'p' => named(|directory, now| fuzz::pods(bytes, directory, now)),
        b'c' => named(|directory, now| fuzz::containers(bytes, directory, now)),
        b'd' => named(|directory, now| fuzz::docker(bytes, CONTAINER_ID, directory, now)),
        b'f' => fuzz::files(bytes, POD_UID, CONTAINER_ID),
        b'e' => events(bytes),
        _ => {}
    }
});

/// Whatever the sources report, a kill gets names or none, and can be printed.
fn named(report_to: impl FnOnce(&mut Directory, Instant)) {
    let mut directory = Directory::default();
    directory.enable_cri();
    directory.enable_docker();
    directory.set_watch(WatchState::Up);
    let now = Instant::now();
    report_to(&mut directory, now);
    let mut report = REPORT.clone();
    let killed = Some(now);
    let _ = directory.identify(&mut report, Arrival { at: now, killed });
    assert_eq!(report.id, REPORT.id);
    let _ = directory.pod_names();
    let text = json::kill_to_json(&report).expect("serialize");
    assert!(!text.contains(char::is_control), "{text}");
    let reporter = oomwatch_fuzz::policy().reporter;
    let _ = oomwatch::deliver::events::pod_event(&report, &reporter, Timestamp::UNIX_EPOCH);
}

/// One line per response: two bytes of a status, `Retry-After` up to a space, and the body. At most one Event of an incident is
/// pending, and none after a day.
fn events(bytes: &[u8]) {
    let mut recorder = Recorder::restore(oomwatch_fuzz::policy(), &[], 0);
    let mut now_ns = 1;
    let times = RecordTimes {
        now_ns,
        kill_ns: now_ns,
        wall_time: Timestamp::UNIX_EPOCH,
    };
    recorder.record(&NAMED, times);
    for line in bytes.split(|&byte| byte == b'\n') {
        let request = match recorder.next(now_ns) {
            Next::Send(request) => request,
            Next::Wait(None) => break,
            Next::Wait(Some(wake)) => {
                now_ns = now_ns.max(wake);
                continue;
            }
        };
        let (head, rest) = line.split_at(line.len().min(2));
        let status = head
            .iter()
            .fold(0, |status, byte| status << 8 | u16::from(*byte));
        let mut parts = rest.splitn(2, |&byte| byte == b' ');
        let retry_after = parts.next().and_then(|text| str::from_utf8(text).ok());
        let body = parts.next().unwrap_or_default();
        for method in [Method::Create, Method::Patch] {
            let _ = classify_response(method, status, retry_after, body);
        }
        let answer = classify_response(request.method, status, retry_after, body);
        recorder.handle_response(&request.event.metadata, &answer, now_ns, 0.5);
        assert!(recorder.pending() <= 1);
    }
    let day_ns = u64::try_from(Duration::from_hours(24).as_nanos()).expect("a day");
    let _ = recorder.next(now_ns.saturating_add(day_ns));
    if let Next::Send(request) = recorder.next(now_ns.saturating_add(2 * day_ns)) {
        panic!("a day later: {request:?}");
    }
}
