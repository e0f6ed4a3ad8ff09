//! The watch against a server of our own.

use kube::Config;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

/// What the server answers to each request in turn: status line and body. The last one's connection stays open.
type Script = Vec<(&'static str, String)>;

/// Serves a script; gives a client, and the paths that were requested.
async fn serve(script: Script) -> (Client, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let address = listener.local_addr().expect("an address");
    let paths = Arc::new(Mutex::new(Vec::new()));
    let requested = paths.clone();
    tokio::spawn(async move {
        let mut open = Vec::new();
        for (status, body) in script {
            let (mut stream, _) = listener.accept().await.expect("accept");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.expect("a byte"));
            }
            let request = String::from_utf8(request).expect("text");
            let path = request.split(' ').nth(1).expect("a path").to_owned();
            requested.lock().push(path);
            let is_watch = status == "200 OK" && !body.contains("PodList");
            let length = if is_watch {
                String::new()
            } else {
                format!("content-length: {}\r\n", body.len())
            };
            let head =
                format!("HTTP/1.1 {status}\r\nconnection: close\r\nlocation: /\r\n{length}\r\n");
            let response = [head.as_bytes(), body.as_bytes()].concat();
            stream.write_all(&response).await.expect("write");
            if is_watch {
                open.push(stream);
            }
        }
        std::future::pending::<()>().await;
    });
    let url = format!("http://{address}").parse().expect("a URL");
    let client = Client::try_from(Config::new(url)).expect("a client");
    (client, paths)
}

fn line(json: &str) -> String {
    format!("{}\n", json.replace('\n', ""))
}

/// Runs the watch until the directory is as wanted.
async fn watch_until(script: Script, is_wanted: impl Fn(&Directory) -> bool) -> Vec<String> {
    let (client, paths) = serve(script).await;
    let shared = Arc::new(Shared::default());
    shared.update(|directory| directory.set_watch(WatchState::Down));
    let watch = tokio::spawn(watch_pods(client, "node-1".to_owned(), shared.clone()));
    let wanted = async {
        while !shared.read(&is_wanted) {
            shared.changed().await;
        }
    };
    timeout(Duration::from_secs(20), wanted)
        .await
        .expect("in time");
    watch.abort();
    paths.lock().clone()
}

#[tokio::test]
async fn watch_is_up_when_the_existing_pods_have_arrived() {
    let head = line(&pod_event("ADDED", "a", 90));
    watch_until(vec![("200 OK", head.clone())], |directory| {
        assert_ne!(directory.watch(), WatchState::Up);
        directory.has_pod("a")
    })
    .await;
    let all = head + &line(&end_of_pods(95));
    let paths = watch_until(vec![("200 OK", all)], |directory| {
        directory.watch() == WatchState::Up && directory.has_pod("a")
    })
    .await;
    let [path] = paths.as_slice() else {
        panic!("{paths:?}");
    };
    for parameter in [
        "watch=true",
        "sendInitialEvents=true",
        "resourceVersionMatch=NotOlderThan",
        "resourceVersion=0",
        "fieldSelector=spec.nodeName%3Dnode-1",
    ] {
        assert!(path.contains(parameter), "{path}");
    }
}

#[tokio::test]
async fn server_without_initial_events_is_listed_in_pages_before_the_watch() {
    let refusal = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"sendInitialEvents is forbidden","reason":"Invalid","code":422}"#;
    let page = |uid: &str, next: &str| {
        format!(
            r#"{{"kind":"PodList","metadata":{{"resourceVersion":"100","continue":"{next}"}},
                "items":[{{"metadata":{{"namespace":"shop","name":"{uid}","uid":"{uid}"}},"spec":{{}}}},{{"bad":1}}]}}"#
        )
    };
    let script = vec![
        ("422 Unprocessable Entity", refusal.to_owned()),
        ("200 OK", page("a", "more")),
        ("200 OK", page("b", "")),
        ("200 OK", line(&pod_event("ADDED", "c", 101))),
    ];
    let paths = watch_until(script, |directory| {
        let is_up = directory.watch() == WatchState::Up;
        assert!(!is_up || directory.has_pod("a") && directory.has_pod("b"));
        is_up && directory.has_pod("c")
    })
    .await;
    assert_eq!(paths.len(), 4, "{paths:?}");
    assert!(paths[1].contains("limit=20") && !paths[1].contains("continue"));
    assert!(paths[2].contains("continue=more"), "{paths:?}");
    assert!(paths[3].contains("resourceVersion=100"), "{paths:?}");
    assert!(!paths[3].contains("sendInitialEvents"), "{paths:?}");
}

#[tokio::test]
async fn redirect_is_not_followed_and_not_up() {
    let script = vec![
        ("307 Temporary Redirect", String::new()),
        ("200 OK", line(&end_of_pods(95))),
    ];
    let paths = watch_until(script, |directory| directory.watch() == WatchState::Up).await;
    assert!(paths[1].starts_with("/api/v1/pods?"), "{paths:?}");
}

#[tokio::test]
async fn line_that_is_too_long_is_skipped() {
    let long = pod_event("ADDED", &"x".repeat(5 << 20), 90);
    let all = line(&long) + &line(&pod_event("ADDED", "a", 91)) + &line(&end_of_pods(95));
    watch_until(vec![("200 OK", all)], |directory| {
        directory.watch() == WatchState::Up
            && directory.has_pod("a")
            && directory.pod_names().is_some_and(|names| names.len() == 1)
    })
    .await;
}
