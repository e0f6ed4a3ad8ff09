use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::{
    model::{
        cgroup::{Qos, Runtime},
        kill::Kill,
        workload::Workload,
    },
    sys::escape::is_printable,
    testing::{self, HOSTILE},
};

fn json(report: &Report) -> String {
    kill_to_json(report).expect("serialize")
}

/// The record with one key per line, which is easier to review.
fn keys_apart(line: &str) -> String {
    line.replace(",\"", ",\n\"").replace("},{", "},\n{")
}

#[test]
fn every_field_of_a_kill_is_written() {
    let mut report = testing::report();
    let account = json(&report);
    let (_, account) = account.split_once(r#","account":"#).expect("an account");
    insta::assert_snapshot!("account", keys_apart(account));
    report.kill.account = None;
    report.explanation = None;
    insta::assert_snapshot!(keys_apart(&json(&report)), @r#"
    {"schema":"oomwatch/v1",
    "kind":"kill",
    "id":"0f1e2d3c-1176592e000-14665",
    "incident":"0f1e2d3c-11f71fb0450",
    "time":"2026-09-21T14:13:20.120000000Z",
    "boot_time_ns":1234567890123,
    "node":"node-1",
    "source":"bpf",
    "backend":"raw_tracepoint",
    "attribution":"kernel",
    "scope":"memcg",
    "constraint":"memcg",
    "limit_owner":"container",
    "limit_source":"container_limits",
    "oom_cgroup":{"path":"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod8a4e6bd2_0f35_4c1b_9a77_2b1d5e6f7081.slice/cri-containerd-3f1c0e7ab2d94c5586a1f7e2d0b9c8a7f6e5d4c3b2a190817263544536271809.scope",
    "id":5005,
    "usage_bytes":41943040,
    "limit_bytes":41943040},
    "limits":[{"path":"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod8a4e6bd2_0f35_4c1b_9a77_2b1d5e6f7081.slice/cri-containerd-3f1c0e7ab2d94c5586a1f7e2d0b9c8a7f6e5d4c3b2a190817263544536271809.scope",
    "id":5005,
    "usage_bytes":41943040,
    "limit_bytes":41943040,
    "swap_usage_bytes":4096,
    "swap_limit_bytes":8192},
    {"path":"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod8a4e6bd2_0f35_4c1b_9a77_2b1d5e6f7081.slice",
    "id":4004,
    "swap_usage_bytes":0}],
    "allocation":{"order":3,
    "gfp_mask":3264,
    "total_pages":10240},
    "group_kill":true,
    "group_cgroup":{"path":"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod8a4e6bd2_0f35_4c1b_9a77_2b1d5e6f7081.slice",
    "id":4004},
    "missing":["uid"],
    "main_process":"yes",
    "victim":{"pid":14665,
    "tid":14666,
    "ns_pid":1,
    "comm":"tail",
    "cmdline":["tail",
    "/dev/zero"],
    "uid":1000,
    "oom_score_adj":-997,
    "total_vm_bytes":67108864,
    "anon_rss_bytes":41418752,
    "file_rss_bytes":4096,
    "shmem_rss_bytes":0,
    "swap_bytes":1073741824,
    "pgtables_bytes":126976,
    "start_time":"2026-09-21T14:12:45.000000001Z",
    "cgroup":{"path":"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod8a4e6bd2_0f35_4c1b_9a77_2b1d5e6f7081.slice/cri-containerd-3f1c0e7ab2d94c5586a1f7e2d0b9c8a7f6e5d4c3b2a190817263544536271809.scope",
    "id":5005},
    "leaf_cgroup":{"path":"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod8a4e6bd2_0f35_4c1b_9a77_2b1d5e6f7081.slice/cri-containerd-3f1c0e7ab2d94c5586a1f7e2d0b9c8a7f6e5d4c3b2a190817263544536271809.scope/leaf",
    "id":6006}},
    "trigger":{"pid":14670,
    "tid":14671,
    "comm":"writer",
    "cgroup":{"path":"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod8a4e6bd2_0f35_4c1b_9a77_2b1d5e6f7081.slice/cri-containerd-3f1c0e7ab2d94c5586a1f7e2d0b9c8a7f6e5d4c3b2a190817263544536271809.scope",
    "id":5005}},
    "container":{"runtime":"containerd",
    "id":"3f1c0e7ab2d94c5586a1f7e2d0b9c8a7f6e5d4c3b2a190817263544536271809",
    "name":"app",
    "kind":"main",
    "image":"registry.example/cart:1.4"},
    "pod":{"namespace":"shop",
    "name":"cart-0",
    "uid":"8a4e6bd2-0f35-4c1b-9a77-2b1d5e6f7081",
    "qos":"burstable"},
    "workload":{"kind":"StatefulSet",
    "name":"cart"},
    "unit":"kubelet.service"}
    "#);
}

#[test]
fn unknown_fields_are_left_out() {
    insta::assert_snapshot!(keys_apart(&json(&testing::minimal_report())), @r#"
    {"schema":"oomwatch/v1",
    "kind":"kill",
    "id":"0f1e2d3c-1-7",
    "incident":"0f1e2d3c-1",
    "time":"2026-09-21T14:13:20.000000000Z",
    "boot_time_ns":1,
    "node":"node-1",
    "source":"bpf",
    "backend":"raw_tracepoint",
    "scope":"unknown",
    "missing":["cgroup",
    "limits"],
    "main_process":"unknown",
    "victim":{"pid":7,
    "tid":7}}
    "#);
}

#[test]
fn keys_are_the_documented_ones() {
    let parsed: Value = serde_json::from_str(&json(&testing::report())).expect("parse");
    let keys = |pointer: &str| -> Vec<String> {
        let object = parsed.pointer(pointer).and_then(Value::as_object);
        object.expect(pointer).keys().cloned().collect()
    };
    let is = |pointer: &str, documented: &str| {
        let mut documented: Vec<_> = documented.split_whitespace().collect();
        documented.sort_unstable();
        let mut found = keys(pointer);
        found.sort_unstable();
        assert_eq!(found, documented, "{pointer}");
    };
    is(
        "",
        "schema kind id incident time boot_time_ns node source backend attribution scope constraint limit_owner limit_source
         oom_cgroup limits allocation group_kill group_cgroup missing main_process victim trigger container pod workload unit account",
    );
    is("/oom_cgroup", "path id usage_bytes limit_bytes");
    is(
        "/limits/0",
        "path id usage_bytes limit_bytes swap_usage_bytes swap_limit_bytes",
    );
    is(
        "/victim",
        "pid tid ns_pid comm cmdline uid oom_score_adj total_vm_bytes anon_rss_bytes file_rss_bytes shmem_rss_bytes
         swap_bytes pgtables_bytes start_time cgroup leaf_cgroup",
    );
    is("/allocation", "order gfp_mask total_pages");
    is("/group_cgroup", "path id");
    is("/victim/cgroup", "path id");
    is("/trigger", "pid tid comm cgroup");
    is("/trigger/cgroup", "path id");
    is("/container", "runtime id name kind image");
    is("/pod", "namespace name uid qos");
    is("/workload", "kind name");
    is("/account", "candidates memory zones pods before cause");
    let held = "rss_bytes anon_rss_bytes file_rss_bytes shmem_rss_bytes swap_bytes pgtables_bytes";
    is(
        "/account/candidates",
        "source complete scored excluded rss_error_bytes sum processes",
    );
    is("/account/candidates/sum", held);
    is(
        "/account/candidates/processes/0",
        &format!("{held} pid comm uid oom_score_adj oom_points cgroup container pod unit"),
    );
    is(
        "/account/candidates/processes/2",
        &format!("{held} pid comm uid oom_score_adj excluded cgroup"),
    );
    is("/account/candidates/processes/2/cgroup", "id");
    is(
        "/account/memory",
        "of source unflushed usage_bytes limit_bytes peak_bytes swap_bytes anon_bytes shmem_bytes file_bytes
         slab_reclaimable_bytes slab_unreclaimable_bytes kernel_stack_bytes pagetables_bytes sock_bytes percpu_bytes
         vmalloc_bytes kernel_other_bytes hugetlb_bytes zswap_bytes other_bytes",
    );
    is(
        "/account/zones/0",
        "numa_node name free_bytes min_bytes managed_bytes free_blocks",
    );
    is(
        "/account/pods/0",
        "namespace name usage_bytes request_bytes limit_bytes oom_score_adj",
    );
    is("/account/before", "limit_hits stall_us victim_age_ms");
    is("/account/cause", "kind share sentence");
}

#[test]
fn sandbox_is_written_only_if_true() {
    let mut report = testing::report();
    assert!(!json(&report).contains("sandbox"), "{report:?}");
    report.sandbox = true;
    let parsed: Value = serde_json::from_str(&json(&report)).expect("parse");
    assert_eq!(parsed["sandbox"], true);
}

#[test]
fn enum_values_are_the_documented_ones() {
    let word = |value: Value| value.as_str().expect("a word").to_owned();
    let scopes = [Scope::Memcg, Scope::System, Scope::Unknown];
    assert_eq!(
        scopes.map(|scope| word(serde_json::json!(scope))),
        ["memcg", "system", "unknown"]
    );
    let constraints = [
        Constraint::None,
        Constraint::Cpuset,
        Constraint::MemoryPolicy,
        Constraint::Memcg,
    ];
    assert_eq!(
        constraints.map(|constraint| word(serde_json::json!(constraint))),
        ["none", "cpuset", "memory_policy", "memcg"]
    );
    let main = [MainProcess::Yes, MainProcess::No, MainProcess::Unknown];
    assert_eq!(
        main.map(|main| word(serde_json::json!(main))),
        ["yes", "no", "unknown"]
    );
    let qos = [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort];
    assert_eq!(
        qos.map(|qos| word(serde_json::json!(qos))),
        ["guaranteed", "burstable", "besteffort"]
    );
    let runtimes = [
        Runtime::Containerd,
        Runtime::CriO,
        Runtime::Docker,
        Runtime::Podman,
    ];
    for runtime in runtimes {
        assert_eq!(word(serde_json::json!(runtime)), runtime.as_str());
    }
}

#[test]
fn times_are_utc_with_nine_digits() {
    let time = |second, nanosecond| rfc3339(testing::timestamp(second, nanosecond));
    assert_eq!(time(0, 0), "1970-01-01T00:00:00.000000000Z");
    assert_eq!(time(1_790_000_000, 7), "2026-09-21T14:13:20.000000007Z");
}

#[test]
fn largest_numbers_are_exact() {
    let mut report = testing::report();
    report.kill.boot_time_ns = Some(u64::MAX);
    report.kill.victim.uid = Some(u32::MAX);
    report.kill.victim.oom_score_adj = Some(-1000);
    let parsed: Value = serde_json::from_str(&json(&report)).expect("parse");
    assert_eq!(parsed["boot_time_ns"], u64::MAX);
    assert_eq!(parsed["victim"]["uid"], u32::MAX);
    assert_eq!(parsed["victim"]["oom_score_adj"], -1000);
}

/// A report in which every string that a process can choose is `bytes`.
fn with_text(bytes: &[u8]) -> Report {
    let mut report = testing::report();
    let chosen = || Some(testing::cgroup(bytes, 1));
    let Kill {
        victim,
        trigger: Some(trigger),
        limits,
        ..
    } = &mut report.kill
    else {
        panic!("no trigger");
    };
    victim.comm = Some(bytes.to_vec());
    victim.cgroup = chosen();
    victim.leaf_cgroup = chosen();
    trigger.comm = Some(bytes.to_vec());
    trigger.cgroup = chosen();
    for limit in limits {
        limit.cgroup.path = bytes.to_vec();
    }
    report.cmdline = Some(vec![bytes.to_vec(), b"plain".to_vec()]);
    report
}

/// The bytes of a string field, from its `_hex` field if there is one.
fn bytes_of(text: &Value, hex: Option<&Value>) -> Vec<u8> {
    let text = text.as_str().expect("a string");
    let Some(hex) = hex else {
        return text.as_bytes().to_vec();
    };
    assert!(text.contains('\u{fffd}'), "hexadecimal without need");
    let digits = hex.as_str().expect("a string").as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a digit");
    digits
        .chunks(2)
        .map(|pair| u8::try_from(16 * digit(pair[0]) + digit(pair[1])).expect("a byte"))
        .collect()
}

/// Every string of [`with_text`], read back as bytes.
fn texts(line: &str) -> Vec<Vec<u8>> {
    let parsed: Value = serde_json::from_str(line).expect("parse");
    let read = |pointer: &str| {
        let text = parsed.pointer(pointer).expect(pointer);
        bytes_of(text, parsed.pointer(&format!("{pointer}_hex")))
    };
    let fields = [
        "/victim/comm",
        "/victim/cgroup/path",
        "/victim/leaf_cgroup/path",
        "/trigger/comm",
        "/trigger/cgroup/path",
        "/oom_cgroup/path",
        "/limits/0/path",
        "/limits/1/path",
    ];
    let victim = &parsed["victim"];
    let argument = |at: usize| {
        let hex = victim.pointer("/cmdline_hex").map(|all| &all[at]);
        (&victim["cmdline"][at], hex)
    };
    let (plain, hex) = argument(1);
    assert_eq!(plain, "plain");
    assert!(hex.is_none_or(|hex| hex == "706c61696e"));
    let (text, hex) = argument(0);
    fields
        .into_iter()
        .map(read)
        .chain([bytes_of(text, hex)])
        .collect()
}

#[test]
fn hostile_names_are_printable_and_lossless() {
    for bytes in HOSTILE {
        let line = json(&with_text(bytes));
        assert!(line.chars().all(is_printable), "{line}");
        for text in texts(&line) {
            assert_eq!(text, bytes);
        }
    }
}

#[test]
fn hexadecimal_is_written_only_for_bytes_that_are_not_utf8() {
    let line = json(&with_text("a\u{fffd}\n\u{202e}".as_bytes()));
    assert!(!line.contains("_hex"), "{line}");
    let line = json(&with_text(b"a\xff"));
    assert!(
        line.contains("\"comm\":\"a\u{fffd}\",\"comm_hex\":\"61ff\""),
        "{line}"
    );
    assert!(line.contains("\"cmdline_hex\":[\"61ff\",\"706c61696e\"]"));
}

#[test]
fn names_of_pods_and_units_are_printable() {
    let mut report = testing::report();
    let hostile = "n\u{1b}[2J\u{9b}\u{202e}\n\"".to_owned();
    report.node.clone_from(&hostile);
    report.unit = Some(hostile.clone());
    let container = report.container.as_mut().expect("a container");
    container.name = Some(hostile.clone());
    let pod = report.pod.as_mut().expect("a pod");
    pod.namespace = Some(hostile.clone());
    pod.name = Some(hostile.clone());
    pod.workload = Some(Workload {
        kind: hostile.clone(),
        name: hostile.clone(),
    });
    let line = json(&report);
    assert!(line.chars().all(is_printable), "{line}");
    let parsed: Value = serde_json::from_str(&line).expect("parse");
    for pointer in [
        "/node",
        "/unit",
        "/container/name",
        "/pod/namespace",
        "/workload/kind",
        "/workload/name",
    ] {
        assert_eq!(parsed.pointer(pointer), Some(&hostile.clone().into()));
    }
}

proptest! {
    #[test]
    fn any_name_is_printable_and_lossless(bytes: Vec<u8>) {
        let line = json(&with_text(&bytes));
        prop_assert!(line.chars().all(is_printable), "{}", line);
        for text in texts(&line) {
            prop_assert_eq!(&text, &bytes);
        }
    }

    #[test]
    fn any_text_is_printable_and_lossless(text: String) {
        let line = json(&with_text(text.as_bytes()));
        prop_assert!(line.chars().all(is_printable), "{}", line);
        prop_assert!(!line.contains("_hex"));
        for read in texts(&line) {
            prop_assert_eq!(read, text.as_bytes());
        }
    }
}

#[test]
fn coalesced_kills_are_the_last_report_and_their_number() {
    let coalesced = Coalesced {
        kills: 57,
        incidents: 50,
        since: testing::timestamp(1_790_000_000, 0),
    };
    let report = testing::report();
    let line = coalesced_to_json(&report, &coalesced).expect("serialize");
    let own = json(&report);
    let rest = line.strip_prefix(own.strip_suffix('}').expect("an object"));
    assert_eq!(
        rest,
        Some(r#","since":"2026-09-21T14:13:20.000000000Z","kills":57,"incidents":50}"#)
    );
}
