use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::testing;

/// Longer than a passing test takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server on loopback.
struct Server {
    address: SocketAddr,
    health: watch::Sender<Health>,
    task: tokio::task::JoinHandle<Infallible>,
}

impl Server {
    async fn start(time: Duration) -> Self {
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let listener = listen(Some(address)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (health, receiver) = watch::channel(Health::default());
        let metrics = Metrics::new();
        metrics.kill(&testing::report(), Timestamp::now());
        let pages = Pages::new(metrics, receiver);
        let task = tokio::spawn(serve_with_timeout(listener, pages, time));
        Self {
            address,
            health,
            task,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connect")
    }

    /// Sends a request and reads until the connection ends.
    async fn ask(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        // The server may reject it before all of it is sent.
        let _ = stream.write_all(request).await;
        read(&mut stream).await
    }

    async fn get(&self, path: &str) -> String {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
            .await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Everything received until the connection ends, in whatever way.
async fn read(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = async {
        let mut buffer = [0; 4096];
        while let Ok(count) = stream.read(&mut buffer).await {
            if count == 0 {
                break;
            }
            bytes.extend_from_slice(&buffer[..count]);
        }
    };
    timeout(PATIENCE, read).await.expect("the connection ends");
    String::from_utf8(bytes).expect("text")
}

fn status(response: &str) -> &str {
    response
        .split_once(' ')
        .and_then(|(_, rest)| rest.get(..3))
        .unwrap_or("")
}

fn body(response: &str) -> &str {
    response.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[tokio::test]
async fn metrics_are_openmetrics_whatever_is_accepted() {
    let server = Server::start(PATIENCE).await;
    for accept in [
        "",
        "Accept: text/plain\r\n",
        // Prometheus 3.
        "Accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3\r\n",
    ] {
        let request = format!("GET /metrics?a=b HTTP/1.1\r\nHost: a\r\n{accept}\r\n");
        let response = server.ask(request.as_bytes()).await;
        assert_eq!(status(&response), "200");
        assert!(
            response.contains(
                "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"
            ),
            "{response}"
        );
        let body = body(&response);
        assert!(
            body.contains("\n# TYPE oomwatch_node_kills counter\noomwatch_node_kills_total 1\n")
        );
        assert!(body.contains("\nprocess_resident_memory_bytes "));
        assert!(body.ends_with("\n# EOF\n"), "{body}");
    }
}

#[tokio::test]
async fn readiness_follows_health() {
    let server = Server::start(PATIENCE).await;
    let response = server.get("/readyz").await;
    assert_eq!(status(&response), "503", "{response}");
    assert!(body(&response).ends_with("not ready\n"), "{response}");
    server.health.send_modify(|health| {
        health.backend = ComponentHealth::Ok;
        health.history = ComponentHealth::Ok;
    });
    let response = server.get("/readyz").await;
    assert_eq!(status(&response), "200", "{response}");
    assert!(
        body(&response).starts_with("[+] backend ok\n"),
        "{response}"
    );
    assert!(body(&response).ends_with("ready, degraded\n"), "{response}");
}

#[tokio::test]
async fn every_path_is_answered() {
    let server = Server::start(PATIENCE).await;
    for (request, expected) in [
        ("GET /", "200"),
        ("GET /livez", "200"),
        ("HEAD /metrics", "200"),
        ("GET /nothing", "404"),
        ("GET /metrics/", "404"),
        ("GET /../metrics", "404"),
        ("POST /nothing", "404"),
        ("POST /metrics", "405"),
        ("DELETE /", "405"),
        ("OPTIONS *", "404"),
        ("CONNECT a:1", "404"),
    ] {
        let response = server
            .ask(format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
            .await;
        assert_eq!(status(&response), expected, "{request}: {response}");
        if expected == "405" {
            assert!(response.contains("allow: GET, HEAD\r\n"), "{response}");
        }
        if request.starts_with("HEAD") {
            assert_eq!(body(&response), "");
        }
    }
}

#[tokio::test]
async fn connection_is_closed_after_one_request() {
    let server = Server::start(PATIENCE).await;
    let twice = "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2);
    let response = server.ask(twice.as_bytes()).await;
    assert_eq!(response.matches("HTTP/1.1 200").count(), 1, "{response}");
    assert!(response.contains("connection: close\r\n"), "{response}");
}

#[tokio::test]
async fn malformed_requests_are_rejected_and_others_are_served() {
    let server = Server::start(PATIENCE).await;
    let huge = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n",
        "x".repeat(100_000)
    );
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(100_000));
    for request in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\na\x00: b\r\n\r\n",
        b"\r\n\r\n\r\n\xff\xff\xff\xff\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        huge.as_bytes(),
        many.as_bytes(),
        long.as_bytes(),
    ] {
        let shown = String::from_utf8_lossy(&request[..request.len().min(60)]);
        let response = server.ask(request).await;
        assert_ne!(status(&response), "200", "{shown}: {response}");
    }
    assert_eq!(status(&server.get("/livez").await), "200");
}

#[tokio::test]
async fn request_body_is_not_waited_for() {
    let server = Server::start(PATIENCE).await;
    let mut stream = server.connect().await;
    let head = b"GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
    stream.write_all(head).await.expect("write");
    let mut start = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut start))
        .await
        .expect("an answer")
        .expect("read");
    assert_eq!(&start, b"HTTP/1.1 200");
}

#[tokio::test]
async fn slow_connections_time_out() {
    let server = Server::start(Duration::from_millis(50)).await;
    // One client sends nothing, the other never ends the request's head.
    let mut silent = server.connect().await;
    let mut slow = server.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nA: b")
        .await
        .expect("write");
    assert_eq!(read(&mut silent).await, "");
    assert_eq!(read(&mut slow).await, "");
}

#[tokio::test]
async fn probe_is_answered_in_spite_of_many_slow_clients() {
    let server = Server::start(PATIENCE).await;
    let mut slow = Vec::new();
    for _ in 0..3 * MAX_CONNECTIONS {
        let mut stream = server.connect().await;
        stream
            .write_all(b"GET / HTTP/1.1\r\n")
            .await
            .expect("write");
        slow.push(stream);
    }
    assert_eq!(status(&server.get("/livez").await), "200");
    // The oldest was closed; the youngest may still complete its request.
    assert_eq!(read(&mut slow[0]).await, "");
    let youngest = slow.last_mut().expect("one");
    youngest.write_all(b"\r\n").await.expect("write");
    assert_eq!(status(&read(youngest).await), "200");
}

#[tokio::test]
async fn connections_are_bounded() {
    let listener = listen(Some((Ipv4Addr::LOCALHOST, 0).into()))
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (_health, receiver) = watch::channel(Health::default());
    let pages = Pages::new(Metrics::new(), receiver);
    let mut connections = Connections::default();
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(TcpStream::connect(address).await.expect("connect"));
        let (stream, _) = listener.accept().await.expect("accept");
        connections.open(stream, pages.clone(), PATIENCE);
        assert!(connections.handles.len() <= MAX_CONNECTIONS);
        // Aborted tasks end when they run next.
        tokio::task::yield_now().await;
        assert!(connections.tasks.len() <= MAX_CONNECTIONS + 2);
    }
}

#[tokio::test]
async fn address_in_use_is_an_error_with_a_remedy() {
    let server = Server::start(PATIENCE).await;
    let error = listen(Some(server.address)).await.expect_err("it is taken");
    let port = server.address.port();
    assert_eq!(
        error.to_string(),
        format!(
            "failed to listen on 127.0.0.1:{port} for metrics and health checks (stop the process that has the port, which `ss -ltnp 'sport = :{port}'` shows, or choose another port with --listen)"
        )
    );
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0));
    let error = listen(Some(elsewhere)).await.expect_err("not ours");
    assert!(
        error
            .to_string()
            .ends_with("(choose an address of this machine with --listen)"),
        "{error}"
    );
}
