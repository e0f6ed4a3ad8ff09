//! Names in a record to cgroup paths.

use proptest::prelude::*;

use super::*;
use crate::testing::pack;

/// Paths of the victim's memory cgroup, of its leaf, and of the limits.
type Paths = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<Vec<u8>>);

fn paths(mark: VictimMark) -> Paths {
    (
        mark.victim.cgroup.map(|cgroup| cgroup.path),
        mark.victim.leaf_cgroup.map(|cgroup| cgroup.path),
        mark.limits
            .into_iter()
            .map(|limit| limit.cgroup.path)
            .collect(),
    )
}

#[test]
fn names_are_joined_from_the_root_unchanged() {
    for path in [
        &b"/a"[..],
        b"/kubepods.slice/x.scope/leaf",
        b"/new\nline/\x1b[31m",
        b"/not utf-8 \xff\xfe/\xc3",
        b"/back\\x2dslash/%s",
        b"/ (deleted)/..",
    ] {
        let record = RecordBuilder::new().levels(&[]).victim_path(path);
        assert_eq!(marked(record).victim.cgroup, Some(cgroup(path, 20)));
    }
}

#[test]
fn root_cgroup_is_a_slash_and_has_no_limits() {
    let record = RecordBuilder::new().levels(&[]).victim_names(b"\0");
    let mark = marked(record);
    assert_eq!(mark.victim.cgroup, Some(cgroup("/", 20)));
    assert_eq!((mark.limits, mark.missing), (vec![], vec![]));
}

#[test]
fn walk_that_did_not_reach_the_root_gives_no_path() {
    for names in [&b""[..], b"b\0", b"b\0a\0", b"b\0a", b"b\0\0a"] {
        let mark = marked(RecordBuilder::new().victim_names(names));
        assert_eq!(mark.missing, ["cgroup", "limits"], "{names:?}");
        assert_eq!(
            mark.levels,
            full_mark().levels,
            "the levels are still known"
        );
        assert_eq!(paths(mark), (None, None, vec![]), "{names:?}");
    }
}

#[test]
fn leaf_below_its_memory_cgroup_has_both_paths() {
    let mark = marked(
        RecordBuilder::new()
            .victim_path(b"/a/b/leaf/deep")
            .set(|record| {
                record.memcg_distance = 2;
                record.cgroup_id = 40;
            }),
    );
    assert_eq!(mark.victim.cgroup, Some(cgroup("/a/b", 20)));
    assert_eq!(mark.victim.leaf_cgroup, Some(cgroup("/a/b/leaf/deep", 40)));
    assert_eq!(mark.limits, full_mark().limits);
    assert_eq!(mark.missing, [""; 0]);
}

#[test]
fn leaf_whose_memory_is_charged_to_the_root_has_a_path() {
    let mark = marked(
        RecordBuilder::new()
            .victim_path(b"/leaf")
            .levels(&[])
            .set(|record| record.memcg_distance = 1),
    );
    let expected = (Some(b"/".to_vec()), Some(b"/leaf".to_vec()), vec![]);
    assert_eq!(paths(mark), expected);
}

#[test]
fn distance_that_is_unknown_or_past_the_root_names_no_memory_cgroup() {
    let unknown = RecordBuilder::new().set(|record| record.flags = FLAG_NO_DISTANCE);
    let mark = marked(unknown);
    assert_eq!(mark.missing, ["cgroup", "limits"]);
    assert_eq!(paths(mark), (None, None, vec![]));

    for distance in [3, u32::MAX] {
        let past = RecordBuilder::new().set(|record| record.memcg_distance = distance);
        let mark = marked(past);
        assert_eq!(mark.missing, ["cgroup", "limits"]);
        assert_eq!(paths(mark), (None, Some(b"/a/b".to_vec()), vec![]));
    }
}

#[test]
fn names_without_a_level_leave_the_others_and_say_so() {
    let mark = marked(RecordBuilder::new().victim_path(b"/top/a/b"));
    let paths: Vec<_> = mark
        .limits
        .into_iter()
        .map(|limit| limit.cgroup.path)
        .collect();
    assert_eq!(paths, [&b"/top/a/b"[..], b"/top/a"]);
    assert_eq!(mark.missing, ["limits"]);
}

#[test]
fn more_levels_than_names_are_no_limits() {
    let levels = [level(3, 1, 9), level(2, 1, 9), level(1, 1, 9)];
    let mark = marked(RecordBuilder::new().levels(&levels));
    assert_eq!(mark.limits, []);
    assert_eq!(mark.missing, ["limits"]);
}

#[test]
fn trigger_in_the_victims_cgroup_has_its_path() {
    let record = |distance| {
        RecordBuilder::new().trigger_names(b"").set(|record| {
            record.trigger.memcg_id = record.victim.memcg_id;
            record.memcg_distance = distance;
        })
    };
    let trigger = |record: RecordBuilder| marked(record).trigger.cgroup;
    assert_eq!(trigger(record(0)), Some(cgroup("/a/b", 20)));
    assert_eq!(trigger(record(1)), Some(cgroup("/a", 20)), "not the leaf's");
    assert_eq!(trigger(record(0).victim_names(b"b\0")), None);
    let unknown = record(0).set(|record| record.flags = FLAG_NO_DISTANCE);
    assert_eq!(trigger(unknown), None);
}

#[test]
fn trigger_in_the_root_cgroup_is_not_in_the_victims() {
    let record = RecordBuilder::new()
        .trigger_names(b"\0")
        .set(|record| record.trigger.memcg_id = 1);
    assert_eq!(marked(record).trigger.cgroup, Some(cgroup("/", 1)));
}

#[test]
fn trigger_whose_cgroup_was_not_read_has_none() {
    let no_id = RecordBuilder::new().set(|record| record.trigger.memcg_id = 0);
    assert_eq!(marked(no_id).trigger.cgroup, None);
    let neither = RecordBuilder::new().trigger_names(b"").set(|record| {
        record.trigger.memcg_id = 0;
        record.victim.memcg_id = 0;
    });
    assert_eq!(marked(neither).trigger.cgroup, None);
    for names in [&b""[..], b"c\0"] {
        let cut = RecordBuilder::new().trigger_names(names);
        assert_eq!(marked(cut).trigger.cgroup, None, "{names:?}");
    }
}

/// Names of a cgroup: any bytes but NUL and `/`.
fn names() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let byte = any::<u8>().prop_filter("not in a name", |byte| !matches!(byte, 0 | b'/'));
    prop::collection::vec(prop::collection::vec(byte, 1..60), 1..16)
}

proptest! {
    #[test]
    fn any_names_give_their_path(victim in names(), trigger in names()) {
        let path = |names: &[Vec<u8>]| {
            names.iter().flat_map(|name| [b"/", name.as_slice()].concat()).collect::<Vec<_>>()
        };
        let levels: Vec<_> = (0..victim.len()).map(|_| level(20, 1, NO_LIMIT)).collect();
        let mark = marked(
            RecordBuilder::new()
                .victim_path(&path(&victim))
                .trigger_names(&pack(&path(&trigger)))
                .levels(&levels),
        );
        prop_assert_eq!(mark.victim.cgroup, Some(cgroup(path(&victim), 20)));
        prop_assert_eq!(mark.trigger.cgroup, Some(cgroup(path(&trigger), 30)));
        for (depth, limit) in mark.limits.iter().enumerate() {
            prop_assert_eq!(&limit.cgroup.path, &path(&victim[..victim.len() - depth]));
        }
    }
}
