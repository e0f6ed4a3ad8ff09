//! Sends any bytes to the metrics port, in chunks. The response is one HTTP response or none, without data of a process. The
//! first byte chooses the chunk size and whether the client closes its side; if it does not, the connection times out.
#![no_main]

use std::cell::LazyCell;

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use oomwatch::deliver::{
    http::{self, ComponentHealth, Health, Pages},
    metrics::Metrics,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, split},
    runtime::{Builder, Runtime},
    sync::watch,
    time::{Duration, Instant},
};

/// The size of each buffer between client and server.
const PIPE_BYTES: usize = 4096;
/// Larger than any page of this target.
const MAX_RESPONSE_BYTES: usize = 64 << 10;
/// The connection timeout, and a margin.
const MAX_TIME: Duration = Duration::from_secs(11);
/// The comm of a kill that the metrics have counted.
const COMM: &str = "secret-comm";
const STATUSES: [&str; 8] = ["200", "400", "404", "405", "414", "431", "501", "503"];

thread_local! {
    // The paused clock advances when all tasks are idle.
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
    let chunk_bytes = usize::from(first >> 1) + 1;
    let response = RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let (health, receiver) = watch::channel(Health::default());
            health.send_modify(|health| health.backend = ComponentHealth::Ok);
            let started = Instant::now();
            let (server, client) = duplex(PIPE_BYTES);
            let (mut responses, mut requests) = split(client);
            let send = async {
                for chunk in request.chunks(chunk_bytes) {
                    // The server may close the connection before it has read everything.
                    if requests.write_all(chunk).await.is_err() {
                        break;
                    }
                }
                if is_ended {
                    let _ = requests.shutdown().await;
                }
            };
            let receive = async {
                let mut response = Vec::new();
                let _ = responses.read_to_end(&mut response).await;
                response
            };
            let (_, (), response) =
                tokio::join!(http::answer(server, pages(receiver)), send, receive);
            assert!(started.elapsed() < MAX_TIME, "{:?}", started.elapsed());
            response
        })
    });
    check(&response);
});

fn check(response: &[u8]) {
    assert!(response.len() <= MAX_RESPONSE_BYTES, "{}", response.len());
    if response.is_empty() {
        return;
    }
    let text = str::from_utf8(response).expect("text");
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
