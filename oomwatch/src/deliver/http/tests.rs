use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::testing;

/// Longer than any test lasts that passes.
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
        let pages = Pages {
            metrics,
            health: receiver,
        };
        let task = tokio::spawn(serve_within(listener, pages, time));
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
        // It may be refused before all of it is sent.
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

/// All that comes until the connection ends, however it ends.
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
async fn metrics_come_in_the_form_that_is_asked_for() {
    let server = Server::start(PATIENCE).await;
    let plain = server.get("/metrics").await;
    assert_eq!(status(&plain), "200");
    assert!(
        plain.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{plain}"
    );
    assert!(
        body(&plain)
            .contains("\n# TYPE oomwatch_node_kills_total counter\noomwatch_node_kills_total 1\n")
    );
    assert!(body(&plain).contains("\nprocess_resident_memory_bytes "));
    let open = server
        .ask(
            b"GET /metrics?a=b HTTP/1.1\r\nHost: a\r\nAccept: application/openmetrics-text\r\n\r\n",
        )
        .await;
    assert!(
        open.contains(
            "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"
        ),
        "{open}"
    );
    assert!(body(&open).ends_with("\n# EOF\n"), "{open}");
}

#[tokio::test]
async fn readiness_follows_health() {
    let server = Server::start(PATIENCE).await;
    let response = server.get("/readyz").await;
    assert_eq!(status(&response), "503", "{response}");
    assert!(body(&response).ends_with("not ready\n"), "{response}");
    server.health.send_modify(|health| {
        health.hooks = State::Ok;
        health.journal = State::Ok;
    });
    let response = server.get("/readyz").await;
    assert_eq!(status(&response), "200", "{response}");
    assert!(body(&response).starts_with("[+] hooks ok\n"), "{response}");
    assert!(body(&response).ends_with("ready, degraded\n"), "{response}");
}

#[tokio::test]
async fn every_path_has_its_answer() {
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
async fn connection_ends_with_its_request() {
    let server = Server::start(PATIENCE).await;
    let twice = "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2);
    let response = server.ask(twice.as_bytes()).await;
    assert_eq!(response.matches("HTTP/1.1 200").count(), 1, "{response}");
    assert!(response.contains("connection: close\r\n"), "{response}");
}

#[tokio::test]
async fn malformed_is_refused_and_others_are_served() {
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
async fn body_is_not_waited_for() {
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
async fn whoever_is_slow_is_cut_off() {
    let server = Server::start(Duration::from_millis(50)).await;
    // One who says nothing, and one who never comes to the end of a head.
    let mut silent = server.connect().await;
    let mut slow = server.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nA: b")
        .await
        .expect("write");
    assert_eq!(read(&mut silent).await, "");
    assert_eq!(read(&mut slow).await, "");
}

#[tokio::test]
async fn however_many_dawdle_a_probe_is_answered() {
    let server = Server::start(PATIENCE).await;
    let mut dawdlers = Vec::new();
    for _ in 0..3 * MAX_CONNECTIONS {
        let mut stream = server.connect().await;
        stream
            .write_all(b"GET / HTTP/1.1\r\n")
            .await
            .expect("write");
        dawdlers.push(stream);
    }
    assert_eq!(status(&server.get("/livez").await), "200");
    // The oldest made room; the youngest may still end its request.
    assert_eq!(read(&mut dawdlers[0]).await, "");
    let youngest = dawdlers.last_mut().expect("one");
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
    let pages = Pages {
        metrics: Metrics::new(),
        health: receiver,
    };
    let mut connections = Connections::default();
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(TcpStream::connect(address).await.expect("connect"));
        let (stream, _) = listener.accept().await.expect("accept");
        connections.open(stream, pages.clone(), PATIENCE);
        assert!(connections.handles.len() <= MAX_CONNECTIONS);
        // What was aborted has ended once others have run.
        tokio::task::yield_now().await;
        assert!(connections.tasks.len() <= MAX_CONNECTIONS + 2);
    }
}

#[tokio::test]
async fn address_that_is_taken_is_told_with_a_remedy() {
    let server = Server::start(PATIENCE).await;
    let error = listen(Some(server.address)).await.expect_err("it is taken");
    let port = server.address.port();
    assert_eq!(
        error.to_string(),
        format!(
            "listen on 127.0.0.1:{port} for metrics and health: another program has the port, perhaps another agent (`ss -ltnp 'sport = :{port}'` shows which): end it, or choose another port with --listen"
        )
    );
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0));
    let error = listen(Some(elsewhere)).await.expect_err("not ours");
    assert!(
        error.to_string().ends_with("choose another with --listen"),
        "{error}"
    );
}
