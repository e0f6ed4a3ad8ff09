use super::*;
use crate::testing::{self, CONTAINER_ID, POD};

fn by_namespace(name: &str) -> Filter {
    Filter {
        namespace: Some(name.to_owned()),
        ..Filter::default()
    }
}

fn by_pod(name: &str) -> Filter {
    Filter {
        pod: Some(name.to_owned()),
        ..Filter::default()
    }
}

fn by_unit(name: &str) -> Filter {
    Filter {
        unit: Some(name.to_owned()),
        ..Filter::default()
    }
}

fn by_container(name: &str) -> Filter {
    Filter {
        container: Some(name.to_owned()),
        ..Filter::default()
    }
}

fn by_cgroup(path: &str) -> Filter {
    Filter {
        cgroup: Some(path.parse().expect("a path from the root")),
        ..Filter::default()
    }
}

fn by_scope(scope: Scope) -> Filter {
    Filter {
        scope: Some(scope),
        ..Filter::default()
    }
}

fn shows(filter: &Filter, report: &Report) -> bool {
    filter.matches(report)
}

#[test]
fn cgroup_filter_matches_whole_names() {
    assert!(is_below(b"/a/b", b"/a"));
    assert!(is_below(b"/a", b"/a"));
    assert!(is_below(b"/a", b""));
    assert!(!is_below(b"/ab", b"/a"));
    assert!(!is_below(b"/", b"/a"));
}

#[test]
fn cgroup_path_starts_at_the_root_of_the_hierarchy() {
    for (path, expected) in [
        ("/system.slice/", "/system.slice"),
        ("/a/b", "/a/b"),
        ("/", ""),
        ("/sys/fs/cgroups", "/sys/fs/cgroups"),
    ] {
        let expected = CgroupPath(expected.as_bytes().to_vec());
        assert_eq!(path.parse(), Ok(expected), "{path}");
    }
    for path in [
        "",
        "system.slice",
        "./a",
        "/sys/fs/cgroup",
        "/sys/fs/cgroup/memory/x",
    ] {
        assert_eq!(path.parse::<CgroupPath>(), Err(CgroupPathError), "{path}");
    }
}

#[test]
fn empty_filter_shows_everything() {
    assert!(shows(&Filter::default(), &testing::report()));
    assert!(shows(&Filter::default(), &testing::minimal_report()));
}

#[test]
fn each_condition_selects_matching_reports_only() {
    let report = testing::report();
    let leaf = format!("{}/leaf", testing::container_path());
    for args in [
        by_namespace("shop"),
        by_pod("cart-0"),
        by_container("app"),
        by_container(CONTAINER_ID),
        by_container(&CONTAINER_ID[..12]),
        by_cgroup("/"),
        by_cgroup(POD),
        by_cgroup(&format!("{POD}/")),
        by_cgroup(&leaf),
        by_scope(Scope::Memcg),
    ] {
        let what = format!("{args:?}");
        assert!(shows(&args, &report), "{what}");
    }
    for args in [
        by_namespace("sho"),
        by_pod("cart"),
        by_unit("nginx"),
        by_namespace("cart-0"),
        by_container("ap"),
        by_container(&CONTAINER_ID[1..]),
        by_cgroup("/kubepods"),
        by_cgroup(&format!("{leaf}/deeper")),
        by_scope(Scope::System),
        by_scope(Scope::Unknown),
    ] {
        let what = format!("{args:?}");
        assert!(!shows(&args, &report), "{what}");
    }
}

#[test]
fn unit_is_selected_with_or_without_its_suffix() {
    let mut report = testing::report();
    report.unit = Some("nginx.service".to_owned());
    assert!(shows(&by_unit("nginx.service"), &report));
    assert!(shows(&by_unit("nginx"), &report));
    assert!(!shows(&by_unit("ngin"), &report));
    report.unit = Some("user.slice".to_owned());
    assert!(!shows(&by_unit("user"), &report));
}

#[test]
fn report_without_a_field_does_not_match_it() {
    let report = testing::minimal_report();
    for args in [
        by_namespace("shop"),
        by_container("app"),
        by_cgroup("/"),
        by_scope(Scope::System),
    ] {
        let what = format!("{args:?}");
        assert!(!shows(&args, &report), "{what}");
    }
    assert!(shows(&by_scope(Scope::Unknown), &report));
}

#[test]
fn time_is_within_both_bounds() {
    let at = |seconds| Some(testing::timestamp(seconds, 0));
    let mut report = testing::report();
    report.time = at(100);
    for (since, until, expected) in [
        (None, None, true),
        (at(100), at(100), true),
        (at(101), None, false),
        (None, at(99), false),
    ] {
        let filter = Filter {
            since,
            until,
            ..Filter::default()
        };
        assert_eq!(shows(&filter, &report), expected, "{since:?} {until:?}");
        let mut undated = report.clone();
        undated.time = None;
        assert_eq!(shows(&filter, &undated), since.is_none() && until.is_none());
    }
}

#[test]
fn all_conditions_must_match() {
    let args = |namespace: &str, container: &str| Filter {
        cgroup: by_cgroup(POD).cgroup,
        scope: Some(Scope::Memcg),
        container: Some(container.to_owned()),
        ..by_namespace(namespace)
    };
    let report = testing::report();
    assert!(shows(&args("shop", "app"), &report));
    assert!(!shows(&args("shop", "other"), &report));
    assert!(!shows(&args("other", "app"), &report));
}

#[test]
fn victim_without_a_memory_cgroup_is_matched_by_its_leaf() {
    let mut report = testing::report();
    report.kill.victim.cgroup = None;
    assert!(shows(&by_cgroup(POD), &report));
    report.kill.victim.leaf_cgroup = None;
    assert!(!shows(&by_cgroup(POD), &report));
}

#[test]
fn workload_is_selected_by_name_or_with_its_kind() {
    let by_workload = |text: &str| Filter {
        workload: text.parse().ok(),
        ..Filter::default()
    };
    let mut report = testing::report();
    assert!(shows(&by_workload("cart"), &report));
    assert!(shows(&by_workload("statefulset/cart"), &report));
    assert!(!shows(&by_workload("Deployment/cart"), &report));
    assert!(!shows(&by_workload("cart-0"), &report));
    report.pod = None;
    assert!(!shows(&by_workload("cart"), &report));
}
