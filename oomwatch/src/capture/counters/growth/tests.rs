use super::*;

/// Path, own count, count of the subtree. The id follows from the path and the text after `#`.
type Row = (&'static str, Option<u64>, Option<u64>);

fn snapshot(rows: &[Row]) -> CgroupSnapshot {
    let mut cgroups: Vec<CgroupEntry> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (text, own, subtree) in rows {
        let (path, again) = text.split_once('#').unwrap_or((text, ""));
        let (above, name) = path.rsplit_once('/').expect("a path");
        places.insert(if path == "/" { "" } else { path }, cgroups.len());
        cgroups.push(CgroupEntry {
            parent: places.get(above).copied().unwrap_or(0),
            name: name.as_bytes().into(),
            id: text
                .bytes()
                .fold(again.len() as u64, |id, byte| id * 131 + u64::from(byte)),
            kills: KillCounts {
                own: *own,
                subtree: *subtree,
            },
        });
    }
    CgroupSnapshot {
        cgroups,
        is_complete: true,
        is_consistent: true,
    }
}

fn grown(before: &CgroupSnapshot, now: &CgroupSnapshot) -> Vec<(String, u64, GapPlace)> {
    grown_beyond(before, now, &AttributedKills::default())
}

fn grown_beyond(
    before: &CgroupSnapshot,
    now: &CgroupSnapshot,
    attributed: &AttributedKills,
) -> Vec<(String, u64, GapPlace)> {
    growth(&Baseline::new(before, usize::MAX), now, attributed)
        .into_iter()
        .map(|cgroup| {
            let path = String::from_utf8(cgroup.path).expect("a plain path");
            (path, cgroup.kills, cgroup.place)
        })
        .collect()
}

fn own(path: &str, kills: u64) -> (String, u64, GapPlace) {
    (path.to_owned(), kills, GapPlace::Own)
}

fn descendants(path: &str, kills: u64) -> (String, u64, GapPlace) {
    (path.to_owned(), kills, GapPlace::Descendants)
}

const ROOT: Row = ("/", None, None);

#[test]
fn path_consists_of_the_names_from_the_root() {
    let snapshot = snapshot(&[ROOT, ("/a", None, None), ("/a/b", None, None)]);
    let paths: Vec<_> = (0..4).map(|index| snapshot.path(index)).collect();
    assert_eq!(paths, [&b"/"[..], b"/a", b"/a/b", b"/"]);
}

#[test]
fn growth_of_the_own_count_gives_the_cgroup() {
    let before = [ROOT, ("/a", Some(1), Some(3)), ("/a/b", Some(2), Some(2))];
    let now = [ROOT, ("/a", Some(1), Some(6)), ("/a/b", Some(5), Some(5))];
    assert_eq!(grown(&snapshot(&before), &snapshot(&before)), []);
    assert_eq!(grown(&snapshot(&before), &snapshot(&now)), [own("/a/b", 3)]);
    // On v1 there is no other count.
    let v1 = |kills| snapshot(&[("/", Some(0), None), ("/a", Some(kills), None)]);
    assert_eq!(grown(&v1(7), &v1(9)), [own("/a", 2)]);
}

#[test]
fn kill_in_a_removed_cgroup_is_in_its_parent() {
    let before = [
        ROOT,
        ("/a", Some(0), Some(2)),
        ("/a/b", Some(0), Some(2)),
        ("/a/b/c", Some(2), Some(2)),
        ("/d", Some(0), Some(0)),
    ];
    let now = [
        ROOT,
        ("/a", Some(0), Some(7)),
        ("/a/b", Some(1), Some(7)),
        ("/d", Some(0), Some(0)),
        // New, and still there.
        ("/a/b/e", Some(1), Some(1)),
    ];
    assert_eq!(
        grown(&snapshot(&before), &snapshot(&now)),
        [own("/a/b", 1), descendants("/a/b", 3), own("/a/b/e", 1)]
    );
}

#[test]
fn new_cgroup_of_the_same_name_is_another_one() {
    let before = [ROOT, ("/a", Some(5), Some(5))];
    let now = [ROOT, ("/a#2", Some(6), Some(6))];
    assert_eq!(grown(&snapshot(&before), &snapshot(&now)), [own("/a", 6)]);
}

#[test]
fn before_5_3_there_is_only_a_count_of_the_subtree() {
    let before = [ROOT, ("/a", None, Some(0)), ("/a/b", None, Some(0))];
    let now = [ROOT, ("/a", None, Some(2)), ("/a/b", None, Some(2))];
    assert_eq!(
        grown(&snapshot(&before), &snapshot(&now)),
        [descendants("/a/b", 2)]
    );
    // Before 5.2, or mounted with `memory_localevents`, it is the cgroup's own count.
    let now = [ROOT, ("/a", None, Some(0)), ("/a/b", None, Some(2))];
    assert_eq!(
        grown(&snapshot(&before), &snapshot(&now)),
        [descendants("/a/b", 2)]
    );
}

#[test]
fn kills_in_a_cgroup_without_the_controller_count_in_its_parent() {
    let before = [ROOT, ("/a", Some(0), Some(0)), ("/a/leaf", None, None)];
    let now = [ROOT, ("/a", Some(2), Some(2)), ("/a/leaf", None, None)];
    assert_eq!(grown(&snapshot(&before), &snapshot(&now)), [own("/a", 2)]);
}

#[test]
fn counts_that_decrease_are_no_growth() {
    let before = [ROOT, ("/a", Some(9), Some(9))];
    let now = [ROOT, ("/a", Some(1), Some(1))];
    assert_eq!(grown(&snapshot(&before), &snapshot(&now)), []);
}

/// The controller was enabled in it meanwhile.
#[test]
fn cgroup_that_begins_to_count_has_grown() {
    let before = [ROOT, ("/b", None, None)];
    let now = [ROOT, ("/b", Some(5), Some(5))];
    assert_eq!(grown(&snapshot(&before), &snapshot(&now)), [own("/b", 5)]);
}

#[test]
fn cgroup_left_out_before_is_not_new() {
    let mut before = snapshot(&[ROOT, ("/a", Some(0), Some(9))]);
    let now = snapshot(&[ROOT, ("/a", Some(1), Some(10)), ("/a/b", Some(9), Some(9))]);
    before.is_complete = false;
    assert_eq!(grown(&before, &now), [own("/a", 1)]);
    before.is_complete = true;
    assert_eq!(grown(&before, &now), [own("/a", 1), own("/a/b", 9)]);
}

#[test]
fn kill_while_the_counts_are_read_is_not_one_in_a_removed_cgroup() {
    let before = || snapshot(&[ROOT, ("/a", Some(0), Some(0)), ("/a/b", Some(0), Some(0))]);
    // Killed in `/a/b` after that was read, and before `/a` was read.
    let now = || snapshot(&[ROOT, ("/a", Some(0), Some(1)), ("/a/b", Some(0), Some(0))]);
    assert_eq!(grown(&before(), &now()), [descendants("/a", 1)]);
    // Complete and consistent: before, and now.
    for (complete, consistent) in [
        ([true, true], [false, true]),
        ([true, true], [true, false]),
        ([false, true], [true, true]),
        ([true, false], [true, true]),
    ] {
        let with = |snapshot, at: usize| CgroupSnapshot {
            is_complete: complete[at],
            is_consistent: consistent[at],
            ..snapshot
        };
        assert_eq!(grown(&with(before(), 0), &with(now(), 1)), []);
    }
}

#[test]
fn attributed_kills_are_subtracted() {
    let before = [ROOT, ("/a", Some(1), Some(1)), ("/a/b", Some(0), Some(0))];
    let now = [ROOT, ("/a", Some(4), Some(9))];
    let mut attributed = AttributedKills::default();
    for path in [&b"/a"[..], b"/a", b"/a/b"] {
        attributed.add(Some(&crate::model::kill::Cgroup {
            path: path.to_vec(),
            id: None,
        }));
    }
    let grown = grown_beyond(&snapshot(&before), &snapshot(&now), &attributed);
    assert_eq!(grown, [own("/a", 1), descendants("/a", 4)]);
}

#[test]
fn baseline_is_restored_from_json() {
    let before = snapshot(&[
        ROOT,
        ("/a", Some(0), Some(2)),
        ("/b", Some(3), Some(3)),
        ("/idle", Some(0), Some(0)),
        ("/none", None, None),
    ]);
    let kept = Baseline::new(&before, 2);
    assert_eq!(kept.cgroups.len(), 2);
    let text = serde_json::to_string(&kept).expect("serialize");
    let kept: Baseline = serde_json::from_str(&text).expect("read back");
    let now = snapshot(&[
        ROOT,
        ("/a", Some(1), Some(3)),
        ("/b", Some(3), Some(3)),
        ("/idle", Some(5), Some(5)),
        ("/none", None, None),
        ("/new", Some(7), Some(7)),
    ]);
    let all = [own("/a", 1), own("/idle", 5), own("/new", 7)];
    let paths = |growth: Vec<GapCgroup>| -> Vec<_> {
        let path = |cgroup: GapCgroup| String::from_utf8(cgroup.path).expect("a plain path");
        growth.into_iter().map(path).collect()
    };
    let grown = growth(&kept, &now, &AttributedKills::default());
    assert_eq!(paths(grown), all.map(|(path, _, _)| path));
    // A cgroup that was left out is not new.
    let some = Baseline::new(&before, 1);
    assert_eq!(
        paths(growth(&some, &now, &AttributedKills::default())),
        ["/a"],
    );
}

#[test]
fn at_boot_every_count_is_zero() {
    let now = snapshot(&[ROOT, ("/a", Some(1), Some(3))]);
    let grown = growth(&Baseline::at_boot(), &now, &AttributedKills::default());
    assert_eq!(grown.len(), 2);
}
