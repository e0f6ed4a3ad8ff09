use std::io;

use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
    runtime::{Builder, Runtime},
};

use super::*;

const ID: &str = "3f1c0e7ab2d94c5586a1f7e2d0b9c8a7f6e5d4c3b2a190817263544536271809";

const PLAIN: &str = r#"{"Id":"3f1c","Name":"/web","Image":"sha256:00",
    "State":{"Status":"running","Running":true,"Pid":4711,"ExitCode":0,"OOMKilled":false},
    "Config":{"Image":"nginx:1.27","Labels":{"maintainer":"x"},"Env":["A=B"]}}"#;

fn kubernetes(name: &str) -> String {
    format!(
        r#"{{"Name":"/k8s_{name}_cart-0_shop_uid_2","State":{{"Status":"exited","Pid":0,"ExitCode":3}},
        "Config":{{"Image":"sha256:0011","Labels":{{"io.kubernetes.container.name":"{name}","io.kubernetes.pod.name":"cart-0",
        "io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.uid":"uid"}}}}}}"#
    )
}

#[test]
fn plain_container_is_named_as_docker_names_it() {
    let Ok(Found::Container(instance, pid)) = read(PLAIN.as_bytes()) else {
        panic!("no container");
    };
    assert_eq!(instance.name, "web");
    assert_eq!(instance.image.as_deref(), Some("nginx:1.27"));
    assert_eq!(
        (instance.pod, instance.exit_code, pid),
        (None, None, Some(4711))
    );
}

#[test]
fn pods_container_is_named_as_the_kubelet_names_it() {
    let Ok(Found::Container(instance, pid)) = read(kubernetes("app").as_bytes()) else {
        panic!("no container");
    };
    let pod = PodName {
        namespace: "shop".to_owned(),
        name: "cart-0".to_owned(),
    };
    assert_eq!(instance.name, "app");
    assert_eq!(instance.pod, Some(("uid".to_owned(), pod.clone())));
    assert_eq!(
        (instance.image, instance.exit_code, pid),
        (None, Some(3), None)
    );
    let found = read(kubernetes("POD").as_bytes()).expect("an answer");
    assert_eq!(found, Found::Sandbox("uid".to_owned(), pod));
}

#[test]
fn malformed_answers_are_errors() {
    for body in [
        "",
        "null",
        "{}",
        r#"{"Name":7}"#,
        r#"{"Name":"/a","State":{},"Config":null}"#,
    ] {
        assert!(read(body.as_bytes()).is_err(), "{body}");
    }
}

proptest! {
    #[test]
    fn any_answer_is_read_or_refused(body: Vec<u8>) {
        let _ = read(&body);
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("start a runtime")
}

/// What comes of a server that answers so to whatever is asked, and what was asked.
async fn asked(answer: Vec<u8>) -> (Result<Found, DockerError>, String) {
    let folder = tempfile::tempdir().expect("make a folder");
    let socket = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).expect("listen");
    let server = async {
        let (mut stream, _) = listener.accept().await?;
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await?;
        request.truncate(length);
        // Whoever has enough closes.
        let _ = stream.write_all(&answer).await;
        drop(stream);
        Ok::<_, io::Error>(String::from_utf8_lossy(&request).into_owned())
    };
    let (found, request) = tokio::join!(ask(&socket, ID), server);
    (found, request.expect("a request"))
}

#[test]
fn container_is_asked_for_by_its_id() {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{PLAIN}",
        PLAIN.len()
    );
    let (found, request) = runtime().block_on(asked(answer.into()));
    assert!(matches!(found, Ok(Found::Container(..))), "{found:?}");
    assert!(
        request.starts_with(&format!("GET /containers/{ID}/json HTTP/1.1\r\n")),
        "{request}"
    );
}

#[test]
fn answers_of_a_server_are_told_apart() {
    let with_body = |head: &str, body: &str| {
        format!(
            "HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    };
    let runtime = runtime();
    let found = |answer| runtime.block_on(asked(answer)).0;
    let nobody = found(with_body(
        "404 Not Found",
        r#"{"message":"No such container"}"#,
    ));
    assert!(matches!(nobody, Ok(Found::NotFound)), "{nobody:?}");
    let refused = found(with_body("500 Internal Server Error", ""));
    assert!(
        matches!(refused, Err(DockerError::Refused(_))),
        "{refused:?}"
    );
    let garbage = found(b"what?\r\n\r\n".to_vec());
    assert!(garbage.is_err(), "{garbage:?}");
    let broken = found(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{".to_vec());
    assert!(broken.is_err(), "{broken:?}");
    let closed = found(Vec::new());
    assert!(closed.is_err(), "{closed:?}");
    let mut endless = b"HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n".to_vec();
    endless.resize(8 << 20, b' ');
    let endless = found(endless);
    assert!(matches!(endless, Err(DockerError::Body(_))), "{endless:?}");
}

#[test]
fn ids_that_docker_cannot_have_are_not_asked_for() {
    for id in ["", "a/../b", "a b", "é", "x?y"] {
        let found = runtime().block_on(ask(Path::new("/nonexistent"), id));
        assert!(matches!(found, Err(DockerError::NoId)), "{id:?} {found:?}");
    }
    let absent = runtime().block_on(find(Path::new("/nonexistent"), ID));
    assert!(matches!(absent, Err(DockerError::Connect(_))), "{absent:?}");
}

#[test]
fn server_that_never_answers_is_given_up() {
    let folder = tempfile::tempdir().expect("make a folder");
    let socket = folder.path().join("docker.sock");
    let silent = runtime().block_on(async {
        let _listener = UnixListener::bind(&socket).expect("listen");
        tokio::time::pause();
        find(&socket, ID).await
    });
    assert!(matches!(silent, Err(DockerError::Silent)), "{silent:?}");
}
