//! What the agent tells about itself over HTTP: `/metrics`, `/livez`, `/readyz`.
//!
//! Everybody who can reach the port may ask, so that nothing is told that a process chose or that only its owner should
//! know, and nobody can take more than a little: a connection is for one short request and ends after ten seconds, and
//! where there are too many the oldest makes room, so that a probe is answered however many others dawdle. All of it
//! runs beside the hooks on their one thread and waits for no one.

mod accept;
mod health;

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Bytes,
    header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::{Duration, sleep, timeout},
};
use tracing::{debug, warn};

use self::accept::format;
pub use self::health::{Health, State};
use crate::deliver::metrics::Metrics;

/// The port, if no other is given.
///
/// Prometheus' list of exporters' ports, 9100 to 9999, is full; Kubernetes' own components have 10248 to 10259, services
/// on nodes 30000 and above. 137 is how a container ends that was killed.
pub const DEFAULT_PORT: u16 = 10137;

/// Connections at a time.
const MAX_CONNECTIONS: usize = 16;

/// How long a connection may last: as long as Prometheus waits, by default.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// Bytes of a request's head: the least that hyper takes for a bound.
const MAX_HEAD_BYTES: usize = 8192;

/// How long to wait after a connection that could not be accepted, for want of files.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

const TEXT: &str = "text/plain; charset=utf-8";

const INDEX: &str = "\
oomwatch agent

/metrics  Prometheus metrics
/livez    200 while the agent runs
/readyz   200 while it sees OOM kills and keeps them, and how it is
";

/// An address that cannot be listened on.
#[derive(Debug, Error)]
#[error("listen on {address} for metrics and health: {}", remedy(*.address, .source))]
pub struct ListenError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

fn remedy(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "another program has the port, perhaps another agent (`ss -ltnp 'sport = :{}'` shows which): end it, or choose another port with --listen",
            address.port()
        ),
        io::ErrorKind::AddrNotAvailable => {
            "this machine does not have that address: choose another with --listen".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "a port below 1024 takes CAP_NET_BIND_SERVICE: choose another with --listen".to_owned()
        }
        _ => "choose another address with --listen".to_owned(),
    }
}

/// Listens on an address, by default on every address of this machine and [`DEFAULT_PORT`]. Needs a tokio runtime.
pub async fn listen(address: Option<SocketAddr>) -> Result<TcpListener, ListenError> {
    if let Some(address) = address {
        return bind(address).await;
    }
    // The one for IPv6 takes IPv4 too, where both are there.
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

/// Answers until it is dropped.
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    health: watch::Receiver<Health>,
) -> Infallible {
    serve_within(listener, Pages::new(metrics, health), CONNECTION_TIME).await
}

async fn serve_within(listener: TcpListener, pages: Pages, time: Duration) -> Infallible {
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => connections.open(stream, pages.clone(), time),
            Err(error) => {
                warn!(%error, "accept a connection to the metrics port");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Those that are open; they end with this.
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
            debug!("too many connections to the metrics port: the oldest is closed");
            oldest.abort();
        }
        let handle = self.tasks.spawn(answer_within(stream, pages, time));
        self.handles.push_back(handle);
    }
}

/// Answers on a connection, and ends it after its time.
pub async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, pages: Pages) {
    answer_within(stream, pages, CONNECTION_TIME).await;
}

async fn answer_within(stream: impl AsyncRead + AsyncWrite + Unpin, pages: Pages, time: Duration) {
    match timeout(time, converse(stream, pages)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "answer at the metrics port"),
        Err(_) => debug!("a connection to the metrics port took too long"),
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
        // The whole connection has its time.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

/// What there is to be seen.
#[derive(Clone)]
pub struct Pages {
    metrics: Metrics,
    health: watch::Receiver<Health>,
}

impl Pages {
    /// As they are at each request.
    #[must_use]
    pub fn new(metrics: Metrics, health: watch::Receiver<Health>) -> Self {
        Self { metrics, health }
    }

    /// Whatever the body of the request may be, it is not read.
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
                let format = format(request.headers().get_all(ACCEPT));
                let metrics = self.metrics.render(format, Timestamp::now());
                page(StatusCode::OK, format.content_type(), metrics)
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
