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
fn plain_container_has_dockers_name() {
    let Ok(DockerObject::Container(container, pid)) = parse(PLAIN.as_bytes()) else {
        panic!("no container");
    };
    assert_eq!(container.name, "web");
    assert_eq!(container.image.as_deref(), Some("nginx:1.27"));
    assert_eq!(
        (container.pod, container.exit_code, pid),
        (None, None, Some(4711))
    );
}

#[test]
fn container_of_a_pod_has_the_name_in_the_pod() {
    let Ok(DockerObject::Container(container, pid)) = parse(kubernetes("app").as_bytes()) else {
        panic!("no container");
    };
    let pod = PodName {
        namespace: "shop".to_owned(),
        name: "cart-0".to_owned(),
    };
    assert_eq!(container.name, "app");
    assert_eq!(container.pod, Some(("uid".to_owned(), pod.clone())));
    assert_eq!(
        (container.image, container.exit_code, pid),
        (None, Some(3), None)
    );
    let found = parse(kubernetes("POD").as_bytes()).expect("an answer");
    assert_eq!(found, DockerObject::Sandbox("uid".to_owned(), pod));
}

#[test]
fn malformed_responses_are_errors() {
    for body in [
        "",
        "null",
        "{}",
        r#"{"Name":7}"#,
        r#"{"Name":"/a","State":{},"Config":null}"#,
    ] {
        assert!(parse(body.as_bytes()).is_err(), "{body}");
    }
}

proptest! {
    #[test]
    fn any_response_is_parsed_or_an_error(body: Vec<u8>) {
        let _ = parse(&body);
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("start a runtime")
}

/// The result of a lookup at a server that responds with `response`, and the request it received.
async fn looked_up(response: Vec<u8>) -> (Result<DockerObject, DockerError>, String) {
    let folder = tempfile::tempdir().expect("make a folder");
    let socket = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).expect("listen");
    let server = async {
        let (mut stream, _) = listener.accept().await?;
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await?;
        request.truncate(length);
        // The client may close before it has read everything.
        let _ = stream.write_all(&response).await;
        drop(stream);
        Ok::<_, io::Error>(String::from_utf8_lossy(&request).into_owned())
    };
    let (found, request) = tokio::join!(request(&socket, ID, None), server);
    (found, request.expect("a request"))
}

#[test]
fn container_is_looked_up_by_its_id() {
    let response = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{PLAIN}",
        PLAIN.len()
    );
    let (found, request) = runtime().block_on(looked_up(response.into()));
    assert!(
        matches!(found, Ok(DockerObject::Container(..))),
        "{found:?}"
    );
    assert!(
        request.starts_with(&format!("GET /containers/{ID}/json HTTP/1.1\r\n")),
        "{request}"
    );
}

#[test]
fn responses_of_a_server_are_distinguished() {
    let with_body = |head: &str, body: &str| {
        format!(
            "HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    };
    let runtime = runtime();
    let found = |response| runtime.block_on(looked_up(response)).0;
    let not_found = found(with_body(
        "404 Not Found",
        r#"{"message":"No such container"}"#,
    ));
    assert!(
        matches!(not_found, Ok(DockerObject::NotFound)),
        "{not_found:?}"
    );
    let refused = found(with_body("500 Internal Server Error", ""));
    assert!(
        matches!(refused, Err(DockerError::Status(_))),
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
fn ids_that_docker_cannot_have_are_not_looked_up() {
    for id in ["", "a/../b", "a b", "é", "x?y"] {
        let found = runtime().block_on(request(Path::new("/nonexistent"), id, None));
        assert!(
            matches!(found, Err(DockerError::InvalidId)),
            "{id:?} {found:?}"
        );
    }
    let absent = runtime().block_on(find(Path::new("/nonexistent"), ID, None));
    assert!(matches!(absent, Err(DockerError::Connect(_))), "{absent:?}");
}

#[test]
fn server_that_never_responds_is_a_timeout() {
    let folder = tempfile::tempdir().expect("make a folder");
    let socket = folder.path().join("docker.sock");
    let timed_out = runtime().block_on(async {
        let _listener = UnixListener::bind(&socket).expect("listen");
        tokio::time::pause();
        find(&socket, ID, None).await
    });
    assert!(
        matches!(timed_out, Err(DockerError::Timeout)),
        "{timed_out:?}"
    );
}

#[test]
fn socket_of_another_user_is_not_asked() {
    let folder = tempfile::tempdir().expect("make a folder");
    let socket = folder.path().join("podman.sock");
    let own = rustix::process::geteuid().as_raw();
    let found = |user| {
        runtime().block_on(async {
            let listener = UnixListener::bind(&socket).expect("listen");
            let close = async { drop(listener.accept().await) };
            let (found, ()) = tokio::join!(request(&socket, ID, Some(user)), close);
            std::fs::remove_file(&socket).expect("remove the socket");
            found
        })
    };
    assert!(matches!(found(own + 1), Err(DockerError::OtherUser)));
    // Asked, and closed.
    assert!(matches!(found(own), Err(DockerError::Http(_))));
}
