use proptest::prelude::*;
use prost::Message as _;

use super::*;

fn labels(all: &[(&str, &str)]) -> HashMap<String, String> {
    all.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn cart() -> HashMap<String, String> {
    labels(&[
        ("io.kubernetes.container.name", "app"),
        (LABEL_POD_NAME, "cart-0"),
        (LABEL_POD_NAMESPACE, "shop"),
        (LABEL_POD_UID, "uid"),
    ])
}

fn status(state: i32, info: &str) -> ContainerStatusResponse {
    ContainerStatusResponse {
        status: Some(messages::ContainerStatus {
            id: "id".to_owned(),
            metadata: Some(messages::ContainerMetadata {
                name: "app".to_owned(),
            }),
            state,
            exit_code: 137,
            image: Some(ImageSpec {
                image: "docker.io/library/cart:1".to_owned(),
                user_specified_image: String::new(),
            }),
            labels: cart(),
        }),
        info: labels(&[("info", info)]),
    }
}

#[test]
fn status_has_container_pod_and_first_process() {
    let verbose =
        r#"{"sandboxID":"s","pid":4711,"removing":false,"config":{"metadata":{"name":"app"}}}"#;
    let (container, pid) = status(1, verbose).into_container().expect("a container");
    let pod = PodName {
        namespace: "shop".to_owned(),
        name: "cart-0".to_owned(),
    };
    let expected = RuntimeContainer {
        name: "app".to_owned(),
        pod: Some(("uid".to_owned(), pod)),
        image: Some("docker.io/library/cart:1".to_owned()),
        init_pid: None,
        exit_code: None,
    };
    assert_eq!((container, pid), (expected, Some(4711)));
}

#[test]
fn ended_container_has_an_exit_code_and_no_process() {
    let (container, pid) = status(CONTAINER_EXITED, r#"{"pid":0}"#)
        .into_container()
        .expect("a container");
    assert_eq!((container.exit_code, pid), (Some(137), None));
}

#[test]
fn malformed_verbose_status_has_no_process() {
    for info in [
        "",
        "{",
        "[]",
        r#"{"pid":-1}"#,
        r#"{"pid":"1"}"#,
        r#"{"pid":null}"#,
    ] {
        let (_, pid) = status(1, info).into_container().expect("a container");
        assert_eq!(pid, None, "{info}");
    }
}

#[test]
fn container_without_the_kubelets_labels_has_no_pod() {
    for left_out in [LABEL_POD_NAME, LABEL_POD_NAMESPACE, LABEL_POD_UID] {
        let mut labels = cart();
        labels.remove(left_out);
        assert_eq!(pod_of(&labels), None, "{left_out}");
    }
}

#[test]
fn image_is_a_name_and_not_a_digest() {
    for (image, user_specified, expected) in [
        ("sha256:00", "", None),
        ("", "", None),
        ("sha256:00", "cart:1", Some("cart:1")),
        (
            "docker.io/library/cart:1",
            "",
            Some("docker.io/library/cart:1"),
        ),
    ] {
        let spec = ImageSpec {
            image: image.to_owned(),
            user_specified_image: user_specified.to_owned(),
        };
        assert_eq!(
            image_name(spec).as_deref(),
            expected,
            "{image} {user_specified}"
        );
    }
}

/// A container encoded by containerd 1.6, with fields that are not used here.
#[test]
fn unused_fields_are_skipped() {
    let bytes = b"\x0a\x02id\x12\x02sb\x1a\x05\x0a\x03app\x22\x08\x0a\x06cart:1\x2a\x03ref\x30\x01\x38\x07\x42\x06\x0a\x01a\x12\x01b\x4a\x06\x0a\x01c\x12\x01d";
    let decoded = messages::Container::decode(bytes.as_slice()).expect("a container");
    let (id, container) = decoded.into_container().expect("a container");
    assert_eq!((id.as_str(), container.name.as_str()), ("id", "app"));
    assert_eq!(container.image.as_deref(), Some("cart:1"));
}

#[test]
fn more_objects_than_a_node_has_are_skipped() {
    let empty = [0x0a, 0x00].repeat(100_000);
    let list = ListContainersResponse::decode(empty.as_slice()).expect("a list");
    assert_eq!(list.items.len(), messages::ITEMS_MAX);
    let list = ListPodSandboxResponse::decode(empty.as_slice()).expect("a list");
    assert_eq!(list.items.len(), messages::ITEMS_MAX);
    assert_eq!(
        ListPodSandboxResponse::decode(list.encode_to_vec().as_slice()),
        Ok(list)
    );
}

#[test]
fn socket_without_a_listener_is_unreachable() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("start a runtime");
    for path in ["/nonexistent", "/dev/null", "/with space"] {
        let connected = runtime.block_on(CriClient::connect(Path::new(path)));
        assert!(
            connected.is_err_and(|error| error.is_unreachable()),
            "{path}"
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_an_error(bytes: Vec<u8>) {
        if let Ok(list) = ListContainersResponse::decode(bytes.as_slice()) {
            let _ = list.items.into_iter().filter_map(messages::Container::into_container).count();
        }
        if let Ok(status) = ContainerStatusResponse::decode(bytes.as_slice()) {
            let _ = status.into_container();
        }
        if let Ok(list) = ListPodSandboxResponse::decode(bytes.as_slice()) {
            let _ = list.items.into_iter().filter_map(PodSandbox::into_sandbox).count();
        }
    }
}
