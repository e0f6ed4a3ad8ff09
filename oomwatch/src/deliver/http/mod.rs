//! The agent's HTTP server: `/metrics`, `/livez`, `/readyz`.
//!
//! The server has no authentication, so a response contains nothing that a process chose or that is private to a tenant.
//! What a client can use up is bounded: a connection serves one short request and is closed after ten seconds, and when
//! there are too many the oldest is closed, so that a probe is answered in spite of slow clients. The metrics are encoded a few
//! times a second at most, and connections are accepted at a limited rate. The server runs on the thread that captures kills and
//! never blocks it.
//!
//! `/metrics` is `OpenMetrics` 1.0 whatever the request's `Accept` says: Prometheus since 2.5 and `VictoriaMetrics`'
//! agent read it.

mod accept_rate;
mod health;
mod recent_page;

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Bytes,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::{Duration, sleep, timeout},
};
use tracing::{debug, warn};

pub use self::health::{ComponentHealth, Health};
use self::{accept_rate::AcceptRate, recent_page::RecentPage};
use crate::deliver::metrics::{self, Metrics};

/// The default port.
///
/// The exporter ports that Prometheus lists, 9100 to 9999, are all taken; Kubernetes' components use 10248 to 10259, and
/// node ports begin at 30000. 137 is the exit code of a killed container.
pub const DEFAULT_PORT: u16 = 10137;

/// Concurrent connections.
const MAX_CONNECTIONS: usize = 16;

/// How long a connection may last: Prometheus' default scrape timeout.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes of a request's head: the smallest limit that hyper accepts.
const MAX_HEAD_BYTES: usize = 8192;

/// How long to wait after a failed accept, for example when no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

const TEXT: &str = "text/plain; charset=utf-8";

const INDEX: &str = "\
oomwatch agent

/metrics  Prometheus metrics
/livez    200 while the agent runs
/readyz   200 while OOM kills are captured and recorded, and the state of each component
";

/// The server's address cannot be used.
#[derive(Debug, Error)]
#[error("failed to listen on {address} for metrics and health checks ({})", remedy(*.address, .source))]
pub struct ListenError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

fn remedy(address: SocketAddr, error: &io::Error) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "stop the process that has the port, which `ss -ltnp 'sport = :{port}'` shows, or choose another port with --listen"
        ),
        io::ErrorKind::AddrNotAvailable => {
            "choose an address of this machine with --listen".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "a port below 1024 needs CAP_NET_BIND_SERVICE: choose another with --listen".to_owned()
        }
        _ => "choose another address with --listen".to_owned(),
    }
}

/// Listens on an address, by default on [`DEFAULT_PORT`] of every address of this machine. Needs a tokio runtime.
pub async fn listen(address: Option<SocketAddr>) -> Result<TcpListener, ListenError> {
    if let Some(address) = address {
        return bind(address).await;
    }
    // An IPv6 socket accepts IPv4 connections too.
    match bind((Ipv6Addr::UNSPECIFIED, DEFAULT_PORT).into()).await {
        Err(error) if error.source.kind() != io::ErrorKind::AddrInUse => {
            bind((Ipv4Addr::UNSPECIFIED, DEFAULT_PORT).into()).await
        }
        bound => bound,
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ListenError { address, source })
}

/// Serves requests until the future is dropped.
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    health: watch::Receiver<Health>,
) -> Infallible {
    serve_with_timeout(listener, Pages::new(metrics, health), CONNECTION_TIMEOUT).await
}

async fn serve_with_timeout(listener: TcpListener, pages: Pages, time: Duration) -> Infallible {
    let mut connections = Connections::default();
    let mut rate = AcceptRate::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.open(stream, pages.clone(), time);
                if let Some(pause) = rate.count(Instant::now()) {
                    sleep(pause).await;
                }
            }
            Err(error) => {
                warn!(%error, "failed to accept a connection to the metrics port");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The open connections; they are closed when this is dropped.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    /// Oldest first.
    handles: VecDeque<AbortHandle>,
}

impl Connections {
    fn open(&mut self, stream: TcpStream, pages: Pages, time: Duration) {
        while self.tasks.try_join_next().is_some() {}
        self.handles.retain(|handle| !handle.is_finished());
        if self.handles.len() >= MAX_CONNECTIONS
            && let Some(oldest) = self.handles.pop_front()
        {
            debug!("too many connections to the metrics port, closing the oldest");
            oldest.abort();
        }
        let handle = self.tasks.spawn(answer_with_timeout(stream, pages, time));
        self.handles.push_back(handle);
    }
}

/// Answers one request and closes the connection, after a timeout at the latest.
pub async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, pages: Pages) {
    answer_with_timeout(stream, pages, CONNECTION_TIMEOUT).await;
}

async fn answer_with_timeout(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    pages: Pages,
    time: Duration,
) {
    match timeout(time, converse(stream, pages)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "failed to answer at the metrics port"),
        Err(_) => debug!("a connection to the metrics port timed out"),
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    pages: Pages,
) -> Result<(), hyper::Error> {
    let service = service_fn(|request| {
        let response = pages.respond(&request);
        async { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEAD_BYTES)
        // The timeout covers the whole connection.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// The pages that the server shows.
#[derive(Clone)]
pub struct Pages {
    metrics: Metrics,
    health: watch::Receiver<Health>,
    encoded: Arc<Mutex<RecentPage>>,
}

impl Pages {
    /// Pages that show the current values; with many requests, the metrics of less than a second ago.
    #[must_use]
    pub fn new(metrics: Metrics, health: watch::Receiver<Health>) -> Self {
        Self {
            metrics,
            health,
            encoded: Arc::default(),
        }
    }

    /// The request's body is not read.
    fn respond<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let is_read = [Method::GET, Method::HEAD].contains(request.method());
        let path = request.uri().path();
        let is_known = ["/", "/metrics", "/livez", "/readyz"].contains(&path);
        match path {
            _ if !is_known => text(StatusCode::NOT_FOUND, "not found\n"),
            _ if !is_read => {
                let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
                let allowed = HeaderValue::from_static("GET, HEAD");
                response.headers_mut().insert(ALLOW, allowed);
                response
            }
            "/metrics" => {
                let encode = || self.metrics.encode(Timestamp::now()).into();
                let text = self.encoded.lock().get(Instant::now(), encode);
                page(StatusCode::OK, metrics::CONTENT_TYPE, text)
            }
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => {
                let health = self.health.borrow();
                let status = if health.is_ready() {
                    StatusCode::OK
                } else {
                    StatusCode::SERVICE_UNAVAILABLE
                };
                page(status, TEXT, health.to_string())
            }
            _ => text(StatusCode::OK, INDEX),
        }
    }
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    page(status, TEXT, body)
}

fn page(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests;
