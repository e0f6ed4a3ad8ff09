//! Any bytes as a connection to the metrics port, in pieces: what comes is one answer of HTTP or none, and nothing of a
//! process. The first byte says how long the pieces are; a client that does not end what it says is cut off.
#![no_main]

use std::cell::LazyCell;

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use oomwatch::deliver::{
    http::{self, Health, Pages, State},
    metrics::Metrics,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, split},
    runtime::{Builder, Runtime},
    sync::watch,
    time::{Duration, Instant},
};

/// What is on its way between the two, at most.
const PIPE_BYTES: usize = 4096;
/// More than any page has here.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// How long a connection may last, and a little.
const MAX_TIME: Duration = Duration::from_secs(11);
/// In the metrics there is a kill of such a process.
const COMM: &str = "secret-comm";
const STATUSES: [&str; 8] = ["200", "400", "404", "405", "414", "431", "501", "503"];

thread_local! {
    // Its clock goes on by itself when nobody has anything to do.
    static RUNTIME: LazyCell<Runtime> = LazyCell::new(|| {
        let mut builder = Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().expect("start a runtime")
    });
    static METRICS: LazyCell<Metrics> = LazyCell::new(|| {
        let metrics = Metrics::new();
        let mut report = oomwatch_fuzz::report();
        report.kill.victim.comm = Some(COMM.into());
        metrics.kill(&report, Timestamp::UNIX_EPOCH);
        metrics
    });
}

fuzz_target!(|input: &[u8]| {
    let Some((first, request)) = input.split_first() else {
        return;
    };
    let pages = |health| METRICS.with(|metrics| Pages::new((**metrics).clone(), health));
    let is_ended = first & 1 == 1;
    let piece = usize::from(first >> 1) + 1;
    let answer = RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let (health, receiver) = watch::channel(Health::default());
            health.send_modify(|health| health.hooks = State::Ok);
            let started = Instant::now();
            let (server, client) = duplex(PIPE_BYTES);
            let (mut answers, mut requests) = split(client);
            let talk = async {
                for piece in request.chunks(piece) {
                    // It may have heard enough.
                    if requests.write_all(piece).await.is_err() {
                        break;
                    }
                }
                if is_ended {
                    let _ = requests.shutdown().await;
                }
            };
            let listen = async {
                let mut answer = Vec::new();
                let _ = answers.read_to_end(&mut answer).await;
                answer
            };
            let (_, (), answer) = tokio::join!(http::answer(server, pages(receiver)), talk, listen);
            assert!(started.elapsed() < MAX_TIME, "{:?}", started.elapsed());
            answer
        })
    });
    check(&answer);
});

fn check(answer: &[u8]) {
    assert!(answer.len() <= MAX_ANSWER_BYTES, "{}", answer.len());
    if answer.is_empty() {
        return;
    }
    let text = str::from_utf8(answer).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
    assert!(
        status.is_some_and(|status| STATUSES.contains(&status)),
        "{text}"
    );
    for secret in [COMM, "14665", "HTTP/1."] {
        assert!(!body.contains(secret), "{secret}: {text}");
    }
}
