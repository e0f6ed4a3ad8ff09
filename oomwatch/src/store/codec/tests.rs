use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::{
    model::kill::{Cgroup, Limit, Scope},
    testing::{self, HOSTILE},
};

fn round_trip(report: &Report) -> Report {
    let json = from_report(report).expect("serialize");
    let account = from_account(report).expect("serialize");
    let mut decoded = to_report(&json).expect("read");
    add_account(&mut decoded, account.as_deref());
    decoded
}

#[test]
fn reports_survive_a_round_trip() {
    for report in [testing::report(), testing::minimal_report()] {
        assert_eq!(round_trip(&report), report);
    }
    let gap = testing::gap_report();
    let json = from_gap(&gap).expect("serialize");
    assert_eq!(to_gap(&json).expect("read"), gap);
}

#[test]
fn shared_path_is_stored_once() {
    let json = from_report(&testing::report()).expect("serialize");
    assert_eq!(json.matches("/kubepods.slice").count(), 1, "{json}");
    assert!(!json.contains("null"), "{json}");
    assert!(json.len() < 2000, "{} bytes", json.len());
}

#[test]
fn encoding_is_the_one_of_earlier_versions() {
    insta::assert_snapshot!(
        "report",
        from_report(&testing::report()).expect("serialize")
    );
    insta::assert_snapshot!("gap", from_gap(&testing::gap_report()).expect("serialize"));
}

#[test]
fn names_that_are_not_utf8_survive_a_round_trip() {
    for name in HOSTILE {
        let mut report = testing::report();
        let path = [b"/a/", name].concat();
        report.kill.victim.comm = Some(name.to_vec());
        report.kill.victim.leaf_cgroup = None;
        report.kill.victim.cgroup = Some(testing::cgroup(&path, 1));
        report.kill.limits[0] = testing::limit(path, 1, None);
        report.cmdline = Some(vec![name.to_vec(), Vec::new()]);
        assert_eq!(round_trip(&report), report);
        let mut gap = testing::gap_report();
        gap.gap.cgroups[0].path = name.to_vec();
        let json = from_gap(&gap).expect("serialize");
        assert_eq!(to_gap(&json).expect("read"), gap);
    }
}

#[test]
fn reports_of_other_versions_are_decoded() {
    let json = from_report(&testing::report()).expect("serialize");
    let newer = json.replace(
        r#""missing":["uid"]"#,
        r#""missing":["uid","karma"],"mood":7"#,
    );
    assert_ne!(newer, json);
    assert_eq!(
        to_report(&newer).expect("read"),
        to_report(&json).expect("read")
    );
    let older = json.replace(r#","missing":["uid"]"#, "");
    assert_ne!(older, json);
    assert!(to_report(&older).expect("read").kill.missing.is_empty());
}

#[test]
fn account_is_kept_apart_and_a_damaged_one_costs_no_kill() {
    let report = testing::report();
    let json = from_report(&report).expect("serialize");
    assert!(
        !json.contains("candidates") && !json.contains("owners"),
        "{json}"
    );
    let account = from_account(&report)
        .expect("serialize")
        .expect("an account");
    for odd in [
        None,
        Some(""),
        Some("[]"),
        Some(&account[..account.len() / 2]),
    ] {
        let mut decoded = to_report(&json).expect("read");
        add_account(&mut decoded, odd);
        assert_eq!(decoded.kill.account, None);
        assert_eq!(decoded.id, report.id);
    }
    let none = from_account(&testing::minimal_report()).expect("serialize");
    assert_eq!(none, None);
}

#[test]
fn malformed_report_is_an_error() {
    let json = from_report(&testing::report()).expect("serialize");
    for odd in [
        "",
        "{}",
        "[]",
        "null",
        r#"{"cgroup":7}"#,
        &json[..json.len() - 1],
        &json.replace(r#""path":"#, r#""path":9"#),
        &json.replace(r#""path":"#, r#""path":-"#),
        &json.replace(r#""scope":"memcg""#, r#""scope":"whole""#),
    ] {
        assert!(to_report(odd).is_err(), "{odd}");
    }
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just(b"/kubepods".to_vec()),
        Just(b"/\xc3\xa4".to_vec()),
        vec(any::<u8>(), 0..4)
    ];
    vec(part, 0..4).prop_map(|parts| parts.concat())
}

fn any_cgroup() -> impl Strategy<Value = Cgroup> {
    (any_bytes(), option::of(any::<u64>())).prop_map(|(path, id)| Cgroup { path, id })
}

fn any_limit() -> impl Strategy<Value = Limit> {
    (any_cgroup(), option::of(any::<u64>())).prop_map(|(cgroup, limit_bytes)| Limit {
        cgroup,
        usage_bytes: None,
        limit_bytes,
        swap_usage_bytes: limit_bytes,
        swap_limit_bytes: None,
    })
}

proptest! {
    #[test]
    fn any_report_survives_a_round_trip(
        limits in vec(any_limit(), 0..4),
        (cgroup, leaf_cgroup) in (option::of(any_cgroup()), option::of(any_cgroup())),
        comm in option::of(any_bytes()),
        cmdline in option::of(vec(any_bytes(), 0..3)),
        scope in select(vec![Scope::Memcg, Scope::System, Scope::Unknown]),
        time in option::of(-1_000_000_000..4_000_000_000_i64),
        (unit, id) in (option::of(any::<String>()), any::<String>()),
        is_full in any::<bool>(),
    ) {
        let mut report = if is_full { testing::report() } else { testing::minimal_report() };
        report.kill.limits = limits;
        report.kill.victim.cgroup = cgroup;
        report.kill.victim.leaf_cgroup = leaf_cgroup;
        report.kill.victim.comm = comm;
        report.kill.scope = scope;
        report.time = time.map(|time| testing::timestamp(time, 7));
        report.cmdline = cmdline;
        report.unit = unit;
        report.id = id;
        prop_assert_eq!(round_trip(&report), report);
    }

    #[test]
    fn decoding_any_text_returns(text in any::<String>()) {
        let _ = to_report(&text);
        let _ = to_gap(&text);
    }
}
