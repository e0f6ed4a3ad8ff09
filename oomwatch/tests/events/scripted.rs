//! An HTTP server with scripted answers, for those that a real API server cannot be made to give.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};

use kube::{Client, Config};

/// What to answer.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A status, headers and a body.
    Say(u16, &'static str, String),
    /// Nothing, and the connection ends.
    HangUp,
    /// Nothing, for ever.
    Silence,
}

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: String,
    pub(crate) at: Instant,
}

/// The server.
pub(crate) struct Scripted {
    url: String,
    state: Arc<Mutex<State>>,
}

struct State {
    script: VecDeque<Reply>,
    asked: Vec<Asked>,
}

impl Scripted {
    /// Answers with these, one after another, and with an Event from then on. A node is never known.
    pub(crate) fn start(script: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let state = Arc::new(Mutex::new(State {
            script: script.into(),
            asked: Vec::new(),
        }));
        let shared = state.clone();
        // It ends with the tests.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                thread::spawn(move || serve(&stream, &state));
            }
        });
        Self { url, state }
    }

    pub(crate) fn client(&self) -> Client {
        let mut config = Config::new(self.url.parse().expect("a URL"));
        config.default_retry = false;
        Client::try_from(config).expect("a client")
    }

    /// All requests for Events so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.lock().expect("no panic").asked.clone()
    }
}

/// What the API server answers when all is well.
pub(crate) fn event() -> Reply {
    let body = r#"{"kind":"Event","apiVersion":"v1","metadata":{"name":"a"}}"#;
    Reply::Say(201, "", body.to_owned())
}

/// A failure as the API server tells it.
pub(crate) fn failure(code: u16, reason: &str) -> Reply {
    let body = format!(
        r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"{reason}","code":{code}}}"#
    );
    Reply::Say(code, "", body)
}

/// Answers all requests of a connection.
fn serve(stream: &TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read(&mut reader) {
        let reply = if asked.path.contains("/events") {
            let mut state = state.lock().expect("no panic");
            state.asked.push(asked);
            state.script.pop_front().unwrap_or_else(event)
        } else {
            failure(404, "NotFound")
        };
        let (status, headers, body) = match reply {
            Reply::Say(status, headers, body) => (status, headers, body),
            Reply::HangUp => return,
            Reply::Silence => loop {
                thread::park();
            },
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        let mut stream = stream;
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked {
        method,
        path,
        body: String::from_utf8(body).ok()?,
        at: Instant::now(),
    })
}
