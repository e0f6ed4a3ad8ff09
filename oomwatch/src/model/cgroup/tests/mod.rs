mod kubernetes;
mod plain;
mod runtimes;
mod trust;

use proptest::prelude::*;

use super::*;

const ID: &str = "3f1c0e7ab2d94c5586a1f7e2d0b9c8a7f6e5d4c3b2a190817263544536271809";
const NODE: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9";
const UID: &str = "8a4e6bd2-0f35-4c1b-9a77-2b1d5e6f7081";
const UID_IN_SLICE: &str = "8a4e6bd2_0f35_4c1b_9a77_2b1d5e6f7081";
/// The hash that a static pod has instead of a UID.
const HASH: &str = "a3f9d0c1b2e4857696a7b8c9d0e1f203";

/// A path with `<ID>`, `<NODE>`, `<UID>`, `<UID_>` and `<HASH>` filled in.
fn path(template: &str) -> String {
    template
        .replace("<ID>", ID)
        .replace("<NODE>", NODE)
        .replace("<UID>", UID)
        .replace("<UID_>", UID_IN_SLICE)
        .replace("<HASH>", HASH)
}

fn container(runtime: impl Into<Option<Runtime>>, id: &str) -> ContainerRef {
    ContainerRef {
        runtime: runtime.into(),
        id: id.to_owned(),
        user: None,
    }
}

fn in_no_pod(runtime: Runtime, id: &str, driver: Driver) -> CgroupOwner {
    CgroupOwner {
        container: Some(container(runtime, id)),
        driver: Some(driver),
        ..CgroupOwner::default()
    }
}

/// A container whose path does not say which runtime created it.
fn bare(id: &str) -> CgroupOwner {
    CgroupOwner {
        container: Some(container(None, id)),
        driver: Some(Driver::Cgroupfs),
        ..CgroupOwner::default()
    }
}

fn pod_only(uid: &str, qos: Qos, driver: Driver) -> CgroupOwner {
    let uid = uid.to_owned();
    CgroupOwner {
        pod: Some(PodRef { uid, qos }),
        driver: Some(driver),
        ..CgroupOwner::default()
    }
}

fn kube(runtime: impl Into<Option<Runtime>>, qos: Qos, driver: Driver) -> CgroupOwner {
    CgroupOwner {
        container: Some(container(runtime, ID)),
        ..pod_only(UID, qos, driver)
    }
}

fn static_pod(runtime: impl Into<Option<Runtime>>, driver: Driver) -> CgroupOwner {
    CgroupOwner {
        container: Some(container(runtime, ID)),
        ..pod_only(HASH, Qos::Burstable, driver)
    }
}

fn nested(owner: CgroupOwner, runtime: Runtime) -> CgroupOwner {
    CgroupOwner {
        node: Some(container(runtime, NODE)),
        ..owner
    }
}

fn in_unit(unit: &str, owner: CgroupOwner) -> CgroupOwner {
    CgroupOwner {
        unit: Some(unit.to_owned()),
        ..owner
    }
}

fn only_unit(unit: &str) -> CgroupOwner {
    in_unit(unit, CgroupOwner::default())
}

fn users(mut owner: CgroupOwner) -> CgroupOwner {
    owner.container.as_mut().expect("it has a container").user = Some(1000);
    owner
}

fn no_owner() -> CgroupOwner {
    CgroupOwner::default()
}

fn only_driver(driver: Driver) -> CgroupOwner {
    CgroupOwner {
        driver: Some(driver),
        ..CgroupOwner::default()
    }
}

type Row = (&'static str, &'static str, Level, CgroupOwner);

/// The owner where the kubelet's root is not known.
fn owner(path: &[u8]) -> CgroupOwner {
    CgroupOwner::from_path(path, &KubeletRoot::Unknown)
}

fn own_level(path: &[u8]) -> Level {
    level(path, &KubeletRoot::Unknown)
}

#[track_caller]
fn check(rows: impl IntoIterator<Item = Row>) {
    check_with(&KubeletRoot::Unknown, rows);
}

#[track_caller]
fn check_below(root: &str, rows: impl IntoIterator<Item = Row>) {
    check_with(&KubeletRoot::at(path(root).as_bytes()), rows);
}

#[track_caller]
fn check_with(kubelet: &KubeletRoot, rows: impl IntoIterator<Item = Row>) {
    for (name, template, expected_level, expected) in rows {
        let path = path(template);
        let owner = CgroupOwner::from_path(path.as_bytes(), kubelet);
        assert_eq!(owner, expected, "{name}: {path}");
        let level = level(path.as_bytes(), kubelet);
        assert_eq!(level, expected_level, "{name}: {path}");
        if owner.pod.is_some() {
            let believed = KubeletRoot::Believed;
            assert_eq!(CgroupOwner::from_path(path.as_bytes(), &believed), owner);
        }
    }
}

#[test]
fn bytes_that_are_not_a_kernel_path_have_no_owner() {
    let long_uid = format!("/kubepods/pod{}/{ID}", "a".repeat(253));
    let long_unit = format!("/system.slice/{}.service", "a".repeat(248));
    let overlong_name = format!("/default/{}", "a".repeat(77));
    let not_a_slice = path("/a:docker:<ID>");
    let long_path = "/a".repeat(1 << 16);
    let rows: [(&str, &[u8]); 26] = [
        ("empty", b""),
        ("root only", b"/"),
        ("slashes only", b"//////"),
        ("relative", b"kubepods/burstable"),
        ("relative unit", b"system.slice/nginx.service"),
        ("not UTF-8", b"/\xff\xfe/\x80"),
        ("unit that is not UTF-8", b"/system.slice/ngin\xff.service"),
        ("unit with a newline", b"/system.slice/a\nb.service"),
        ("unit with a space", b"/system.slice/a b.service"),
        ("unit with a NUL", b"/system.slice/a\0.service"),
        ("type without a name", b"/system.slice/.service"),
        ("instance without a template", b"/system.slice/@1.service"),
        ("unit below no slice", b"/foo/nginx.service"),
        ("unit too long for a cgroup", long_unit.as_bytes()),
        ("very deep", long_path.as_bytes()),
        ("parent names", b"/../../.."),
        ("namespace without a container", b"/default/"),
        ("containerd id with a doubled separator", b"/default/a..b"),
        ("containerd id ending in a separator", b"/default/a-"),
        ("containerd id too long", overlong_name.as_bytes()),
        ("request to systemd for no slice", not_a_slice.as_bytes()),
        ("containerd namespace not at the top", b"/foo/default/hog"),
        ("docker with a short id", b"/docker/3f1c0e7ab2d9"),
        ("docker itself", b"/docker"),
        ("pod outside kubepods", b"/burstable/pod8a4e6bd2"),
        ("colons of another kind", b"/a:b:c"),
    ];
    for (name, path) in rows {
        assert_eq!(owner(path), no_owner(), "{name}");
        let is_root = path == b"/";
        let expected = if is_root { Level::Root } else { Level::Other };
        assert_eq!(own_level(path), expected, "{name}");
        assert_eq!(
            container_prefix(path, &KubeletRoot::Believed),
            None,
            "{name}"
        );
    }
    assert_eq!(owner(long_uid.as_bytes()).pod, None);
}

#[test]
fn name_that_is_not_a_container_id_leaves_the_container_absent() {
    for name in [
        "<ID>0",
        "3f1c0e7ab2d9",
        "3F1C0E7AB2D94C5586A1F7E2D0B9C8A7F6E5D4C3B2A190817263544536271809",
        "zf1c0e7ab2d94c5586a1f7e2d0b9c8a7f6e5d4c3b2a190817263544536271809",
        "<ID>.scope",
        "kata_<ID>",
        "cri-containerd-<ID>",
        "cri-containerd-<ID>.slice",
        "cri-containerd<ID>.scope",
        "cri-containerd-<ID>.scope ",
        "x-cri-containerd-<ID>.scope",
        "unknown-<ID>.scope",
        "crio-conmon-<ID>.scope",
        "crio-conmon-<ID>",
        "libpod-conmon-<ID>.scope",
        "é-<ID>.scope",
        "-<ID>.scope",
        "",
    ] {
        for parent in [
            "/kubepods/pod<UID>",
            "/kubepods.slice/kubepods-pod<UID_>.slice",
        ] {
            let path = path(&format!("{parent}/{name}"));
            let found = owner(path.as_bytes());
            assert_eq!(found.container, None, "{path}");
            assert_eq!(found.pod.map(|pod| pod.uid).as_deref(), Some(UID), "{path}");
            assert_eq!(own_level(path.as_bytes()), Level::Other, "{path}");
        }
    }
}

#[test]
fn tree_that_is_not_nested_as_the_kubelet_does_has_no_pod() {
    for template in [
        "/kubepods/pod",
        "/kubepods/pod/<ID>",
        "/kubepods/podä/<ID>",
        "/kubepods/pod a/<ID>",
        "/kubepods/pod\n/<ID>",
        "/kubepods//burstable/pod<UID>/<ID>",
        "/kubepods/./pod<UID>/<ID>",
        "/kubepods/guaranteed/pod<UID>/<ID>",
        "/kubepods/burstable/burstable/pod<UID>/<ID>",
        "/kubepods/besteffort/<ID>",
        "/kubepods/foo/pod<UID>/<ID>",
        "/kubepods/foo/kubepods/pod<UID>/<ID>",
        "/xkubepods/pod<UID>/<ID>",
        "/kubepods.slice/pod<UID>/<ID>",
        "/kubepods.slice/kubepods-pod<UID>.slice/<ID>",
        "/kubepods.slice/kubepods-burstable-pod<UID_>.slice/<ID>",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-pod<UID_>.slice/<ID>",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-besteffort-pod<UID_>.slice/<ID>",
        "/kubepods.slice/kubepods-pod<UID_>/<ID>",
        "/kubelet-kubepods.slice/kubelet-kubepods-pod<UID_>.slice/<ID>",
        "/other.slice/kubelet-kubepods.slice/kubelet-kubepods-pod<UID_>.slice/<ID>",
        "/kubepods-pod<UID_>.slice:cri-containerd:3f1c",
        "/foo-pod<UID_>.slice:cri-containerd:<ID>",
        "/foo-burstable-pod<UID_>.slice:cri-containerd:<ID>",
        "/kubepods-pod<UID_>.slice:unknown:<ID>",
        "/kubepods-pod<UID_>.slice:cri-containerd:<ID>:x",
        "/kubepods-pod<UID_>:cri-containerd:<ID>",
    ] {
        let path = path(template);
        assert_eq!(owner(path.as_bytes()).pod, None, "{path}");
    }
}

#[test]
fn json_names_match_the_schema() {
    let json = serde_json::json!([
        [
            Runtime::Containerd,
            Runtime::CriO,
            Runtime::Docker,
            Runtime::Podman
        ],
        [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort],
        [Driver::Systemd, Driver::Cgroupfs],
    ]);
    let expected = r#"[["containerd","cri-o","docker","podman"],["guaranteed","burstable","besteffort"],["systemd","cgroupfs"]]"#;
    assert_eq!(json.to_string(), expected);
}

#[test]
fn cgroup_below_a_container_has_the_path_of_the_container_as_prefix() {
    for template in [
        "/kubepods/burstable/pod<UID>/<ID>",
        "/kubepods.slice/kubepods-pod<UID_>.slice/crio-<ID>.scope",
        "/system.slice/kubepods-pod<UID_>.slice:cri-containerd:<ID>",
        "/docker/<ID>",
        "/default/hog",
        "/docker/<NODE>/kubelet/kubepods/pod<UID>/<ID>",
    ] {
        let own = path(template);
        let deeper = format!("{own}/init.scope/a");
        assert_eq!(
            container_prefix(own.as_bytes(), &KubeletRoot::Believed),
            Some(own.as_bytes())
        );
        assert_eq!(
            container_prefix(deeper.as_bytes(), &KubeletRoot::Believed),
            Some(own.as_bytes())
        );
        assert_eq!(own_level(deeper.as_bytes()), Level::BelowContainer);
    }
}

#[test]
fn cgroup_in_a_pod_has_the_path_of_the_pod_as_prefix() {
    for pod in [
        "/kubepods/burstable/pod<UID>",
        "/kubepods.slice/kubepods-pod<UID_>.slice",
        "/docker/<NODE>/kubelet/kubepods/pod<UID>",
    ] {
        let pod = path(pod);
        for deeper in [
            pod.clone(),
            format!("{pod}/{ID}"),
            format!("{pod}/{ID}/a/b"),
        ] {
            assert_eq!(
                pod_prefix(deeper.as_bytes(), &KubeletRoot::Believed),
                Some(pod.as_bytes())
            );
        }
    }
    let unexpanded = path("/kubepods-pod<UID_>.slice:cri-containerd:<ID>");
    assert_eq!(
        pod_prefix(unexpanded.as_bytes(), &KubeletRoot::Believed),
        None
    );
}

/// A name that a hostile process could choose: any bytes, or a name that has a meaning elsewhere in a path.
fn any_name() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "",
        ".",
        "..",
        "kubepods",
        "kubepods.slice",
        "burstable",
        "besteffort",
        "docker",
        "default",
        "pod11111111-2222-3333-4444-555555555555",
        "kubepods-burstable.slice",
        "kubepods-pod11111111_2222_3333_4444_555555555555.slice",
        "kubepods-burstable-pod11111111_2222_3333_4444_555555555555.slice",
        "kubepods-pod11111111_2222.slice:cri-containerd:<NODE>",
        "<NODE>",
        "cri-containerd-<NODE>.scope",
        "docker-<NODE>.scope",
        "libpod-payload-<NODE>",
        "system.slice",
        "user@0.service",
        "evil.service",
        "init.scope",
        "container",
    ];
    prop_oneof![
        prop::collection::vec(
            any::<u8>().prop_filter("not a slash", |byte| *byte != b'/'),
            0..40
        ),
        prop::sample::select(known.map(path).to_vec()).prop_map(String::into_bytes),
    ]
}

fn below(base: &str, names: &[Vec<u8>]) -> Vec<u8> {
    let mut path = path(base).into_bytes();
    for name in names {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    path
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_and_prefixes_are_ancestors(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        names in prop::collection::vec(any_name(), 0..12),
    ) {
        let roots = [KubeletRoot::Unknown, KubeletRoot::at(b"/"), KubeletRoot::Believed];
        let paths = [bytes, below("", &names)];
        for (path, kubelet) in paths.iter().flat_map(|path| roots.iter().map(move |root| (path, root))) {
            let found = CgroupOwner::from_path(path, kubelet);
            let container = container_prefix(path, kubelet);
            prop_assert_eq!(container.is_some(), found.container.is_some());
            let is_containers = level(path, kubelet) == Level::Container;
            prop_assert_eq!(container == Some(path.as_slice()), is_containers);
            for prefix in [container, pod_prefix(path, kubelet)].into_iter().flatten() {
                prop_assert!(path.starts_with(prefix));
                prop_assert!(matches!(path.get(prefix.len()), None | Some(b'/')));
            }
        }
    }

    #[test]
    fn names_below_a_container_of_a_pod_do_not_change_the_owner(
        base in prop::sample::select(vec![
            "/kubepods/besteffort/pod<UID>/<ID>",
            "/kubepods/pod<HASH>/crio-<ID>",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<UID_>.slice/cri-containerd-<ID>.scope",
            "/kubepods-pod<UID_>.slice:cri-containerd:<ID>",
            "/docker/<NODE>/kubelet/kubepods/burstable/pod<UID>/<ID>",
        ]),
        names in prop::collection::vec(any_name(), 1..8),
    ) {
        let deeper = below(base, &names);
        let own = path(base);
        prop_assert_eq!(owner(&deeper), owner(own.as_bytes()));
        prop_assert_eq!(container_prefix(&deeper, &KubeletRoot::Believed), Some(own.as_bytes()));
        prop_assert_eq!(own_level(&deeper), Level::BelowContainer);
    }

    #[test]
    fn path_below_a_plain_container_belongs_to_it(
        base in prop::sample::select(vec!["/docker/<ID>", "/default/<ID>", "/a.slice/libpod-<ID>.scope"]),
        names in prop::collection::vec(any_name(), 1..8),
    ) {
        let deeper = owner(&below(base, &names));
        let own = owner(path(base).as_bytes());
        prop_assert_eq!(&deeper.unit, &own.unit);
        prop_assert_eq!(deeper, own);
    }
}
