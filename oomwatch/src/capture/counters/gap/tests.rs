use super::*;

/// Path, own count, count with those below. The id is the path's, unless a number stands behind it.
type Row = (&'static str, Option<u64>, Option<u64>);

fn snapshot(rows: &[Row]) -> Snapshot {
    let mut cgroups: Vec<Cgroup> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (text, own, all) in rows {
        let (path, again) = text.split_once('#').unwrap_or((text, ""));
        let (above, name) = path.rsplit_once('/').expect("a path");
        places.insert(if path == "/" { "" } else { path }, cgroups.len());
        cgroups.push(Cgroup {
            parent: places.get(above).copied().unwrap_or(0),
            name: name.as_bytes().into(),
            id: text
                .bytes()
                .fold(again.len() as u64, |id, byte| id * 131 + u64::from(byte)),
            kills: Kills {
                own: *own,
                all: *all,
            },
        });
    }
    Snapshot {
        cgroups,
        is_whole: true,
        is_of_one_moment: true,
    }
}

fn told(before: &Snapshot, now: &Snapshot) -> Vec<(String, u64, GapPlace)> {
    told_beyond(before, now, &AttributedKills::default())
}

fn told_beyond(
    before: &Snapshot,
    now: &Snapshot,
    explained: &AttributedKills,
) -> Vec<(String, u64, GapPlace)> {
    growth(&Baseline::of(before, usize::MAX), now, explained)
        .into_iter()
        .map(|cgroup| {
            let path = String::from_utf8(cgroup.path).expect("a plain path");
            (path, cgroup.kills, cgroup.place)
        })
        .collect()
}

fn here(path: &str, kills: u64) -> (String, u64, GapPlace) {
    (path.to_owned(), kills, GapPlace::Own)
}

fn below(path: &str, kills: u64) -> (String, u64, GapPlace) {
    (path.to_owned(), kills, GapPlace::Descendants)
}

const ROOT: Row = ("/", None, None);

#[test]
fn path_is_made_of_the_names_from_the_root_on() {
    let snapshot = snapshot(&[ROOT, ("/a", None, None), ("/a/b", None, None)]);
    let paths: Vec<_> = (0..4).map(|index| snapshot.path(index)).collect();
    assert_eq!(paths, [&b"/"[..], b"/a", b"/a/b", b"/"]);
}

#[test]
fn own_count_that_grew_tells_the_cgroup() {
    let before = [ROOT, ("/a", Some(1), Some(3)), ("/a/b", Some(2), Some(2))];
    let now = [ROOT, ("/a", Some(1), Some(6)), ("/a/b", Some(5), Some(5))];
    assert_eq!(told(&snapshot(&before), &snapshot(&before)), []);
    assert_eq!(told(&snapshot(&before), &snapshot(&now)), [here("/a/b", 3)]);
    // On v1 there is no other.
    let v1 = |kills| snapshot(&[("/", Some(0), None), ("/a", Some(kills), None)]);
    assert_eq!(told(&v1(7), &v1(9)), [here("/a", 2)]);
}

#[test]
fn deepest_cgroup_above_one_that_is_gone_is_told() {
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
        // It came and survived.
        ("/a/b/e", Some(1), Some(1)),
    ];
    assert_eq!(
        told(&snapshot(&before), &snapshot(&now)),
        [here("/a/b", 1), below("/a/b", 3), here("/a/b/e", 1)]
    );
}

#[test]
fn cgroup_of_the_same_name_is_another() {
    let before = [ROOT, ("/a", Some(5), Some(5))];
    let now = [ROOT, ("/a#2", Some(6), Some(6))];
    assert_eq!(told(&snapshot(&before), &snapshot(&now)), [here("/a", 6)]);
}

#[test]
fn before_5_3_a_count_is_of_the_cgroup_and_of_all_below_it() {
    let before = [ROOT, ("/a", None, Some(0)), ("/a/b", None, Some(0))];
    let now = [ROOT, ("/a", None, Some(2)), ("/a/b", None, Some(2))];
    assert_eq!(
        told(&snapshot(&before), &snapshot(&now)),
        [below("/a/b", 2)]
    );
    // And before 5.2, or mounted with `memory_localevents`, of the cgroup alone.
    let now = [ROOT, ("/a", None, Some(0)), ("/a/b", None, Some(2))];
    assert_eq!(
        told(&snapshot(&before), &snapshot(&now)),
        [below("/a/b", 2)]
    );
}

#[test]
fn cgroup_without_the_controller_counts_in_the_one_above_it() {
    let before = [ROOT, ("/a", Some(0), Some(0)), ("/a/leaf", None, None)];
    let now = [ROOT, ("/a", Some(2), Some(2)), ("/a/leaf", None, None)];
    assert_eq!(told(&snapshot(&before), &snapshot(&now)), [here("/a", 2)]);
}

#[test]
fn nothing_is_made_of_counts_that_went_back() {
    let before = [ROOT, ("/a", Some(9), Some(9))];
    let now = [ROOT, ("/a", Some(1), Some(1))];
    assert_eq!(told(&snapshot(&before), &snapshot(&now)), []);
}

/// The controller was enabled there meanwhile.
#[test]
fn cgroup_that_begins_to_count_has_counted_since() {
    let before = [ROOT, ("/b", None, None)];
    let now = [ROOT, ("/b", Some(5), Some(5))];
    assert_eq!(told(&snapshot(&before), &snapshot(&now)), [here("/b", 5)]);
}

#[test]
fn what_was_left_out_before_is_not_taken_for_new() {
    let mut before = snapshot(&[ROOT, ("/a", Some(0), Some(9))]);
    let now = snapshot(&[ROOT, ("/a", Some(1), Some(10)), ("/a/b", Some(9), Some(9))]);
    before.is_whole = false;
    assert_eq!(told(&before, &now), [here("/a", 1)]);
    before.is_whole = true;
    assert_eq!(told(&before, &now), [here("/a", 1), here("/a/b", 9)]);
}

#[test]
fn kill_between_two_cgroups_is_not_taken_for_one_in_a_cgroup_that_is_gone() {
    let before = || snapshot(&[ROOT, ("/a", Some(0), Some(0)), ("/a/b", Some(0), Some(0))]);
    // Killed in `/a/b` after that was read, and before `/a` was.
    let now = || snapshot(&[ROOT, ("/a", Some(0), Some(1)), ("/a/b", Some(0), Some(0))]);
    assert_eq!(told(&before(), &now()), [below("/a", 1)]);
    // Whole and of one moment: those before, and now.
    for (wholes, moments) in [
        ([true, true], [false, true]),
        ([true, true], [true, false]),
        ([false, true], [true, true]),
        ([true, false], [true, true]),
    ] {
        let with = |snapshot, at: usize| Snapshot {
            is_whole: wholes[at],
            is_of_one_moment: moments[at],
            ..snapshot
        };
        assert_eq!(told(&with(before(), 0), &with(now(), 1)), []);
    }
}

#[test]
fn what_is_known_is_taken_off() {
    let before = [ROOT, ("/a", Some(1), Some(1)), ("/a/b", Some(0), Some(0))];
    let now = [ROOT, ("/a", Some(4), Some(9))];
    let mut explained = AttributedKills::default();
    for path in [&b"/a"[..], b"/a", b"/a/b"] {
        explained.add(Some(&crate::model::kill::Cgroup {
            path: path.to_vec(),
            id: None,
        }));
    }
    let told = told_beyond(&snapshot(&before), &snapshot(&now), &explained);
    assert_eq!(told, [here("/a", 1), below("/a", 4)]);
}

#[test]
fn what_is_kept_of_the_counts_is_as_good_as_all_of_them() {
    let before = snapshot(&[
        ROOT,
        ("/a", Some(0), Some(2)),
        ("/b", Some(3), Some(3)),
        ("/idle", Some(0), Some(0)),
        ("/none", None, None),
    ]);
    let kept = Baseline::of(&before, 2);
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
    let all = [here("/a", 1), here("/idle", 5), here("/new", 7)];
    let paths = |growth: Vec<GapCgroup>| -> Vec<_> {
        let path = |cgroup: GapCgroup| String::from_utf8(cgroup.path).expect("a plain path");
        growth.into_iter().map(path).collect()
    };
    let told = growth(&kept, &now, &AttributedKills::default());
    assert_eq!(paths(told), all.map(|(path, _, _)| path));
    // What was left out is not taken for new.
    let some = Baseline::of(&before, 1);
    assert_eq!(
        paths(growth(&some, &now, &AttributedKills::default())),
        ["/a"],
    );
}

#[test]
fn at_boot_nothing_had_been_counted() {
    let now = snapshot(&[ROOT, ("/a", Some(1), Some(3))]);
    let told = growth(&Baseline::nothing(), &now, &AttributedKills::default());
    assert_eq!(told.len(), 2);
}
