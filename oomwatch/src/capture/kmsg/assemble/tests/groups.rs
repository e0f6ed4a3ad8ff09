//! Which kills belong to a group.

use super::*;

/// Group kill and group of each kill.
fn groups(log: &[String]) -> Vec<(Option<bool>, Option<String>)> {
    let group = |kill: Kill| {
        let path = kill.group_cgroup.map(|group| group.path);
        let path = path.map(|path| String::from_utf8(path).expect("UTF-8"));
        (kill.group_kill, path)
    };
    // The next header completes the last kill.
    let log = log.concat() + &at(20_000, &invoked("t"));
    kills(&log).into_iter().map(group).collect()
}

#[test]
fn members_of_a_group_have_its_message_its_caller_and_no_header() {
    let own = || (Some(true), Some("/g".to_owned()));
    let other = (Some(false), None);
    let system = killed(8, "w").replace("Memory cgroup out", "Out");
    let header = oom_kill("/h", "w", 8);
    for (member, expected) in [
        (killed(8, "w"), own()),
        (system, other.clone()),
        ([header, killed(8, "w")].concat(), other.clone()),
    ] {
        let log = [killed(7, "v"), group("/g"), member];
        assert_eq!(groups(&log), [own(), expected], "{log:?}");
    }
    let by = |thread: u32, line: &str| format!("[    1.000000][    T{thread}] {line}");
    for (thread, expected) in [(5, own()), (6, other)] {
        let log = [
            by(5, &killed(7, "v")),
            by(5, &group("/g")),
            by(thread, &killed(8, "w")),
        ];
        assert_eq!(groups(&log), [own(), expected], "{log:?}");
    }
}

#[test]
fn member_that_is_killed_again_under_another_name_is_a_rekill() {
    let log = [killed(7, "v"), group("/g"), killed(7, "w")];
    let (_, counts) = assemble(&log.concat());
    assert_eq!((counts.kills, counts.rekills), (1, 1));
}

#[test]
fn each_member_extends_the_time_of_its_group() {
    let own = (Some(true), Some("/g".to_owned()));
    let log = [
        at(1000, &killed(7, "v")),
        at(1000, &group("/g")),
        at(1150, &killed(8, "w")),
        at(1300, &killed(9, "w")),
    ];
    assert_eq!(groups(&log), [own.clone(), own.clone(), own.clone()]);
    // Also a late group line.
    let log = [
        at(1000, &killed(7, "v")),
        at(1300, "eth0: link up\n"),
        at(1500, &group("/g")),
        at(1600, &killed(8, "w")),
    ];
    assert_eq!(groups(&log), [(None, None), own]);
}

#[test]
fn group_line_that_is_too_late_belongs_to_no_kill() {
    let log = [
        at(1000, &killed(7, "v")),
        at(7000, &group("/g")),
        at(7001, &killed(8, "w")),
    ];
    let groups = groups(&log);
    assert_eq!(groups[0], (None, None));
    assert_eq!(groups[1].1, None);
}

#[test]
fn neither_header_nor_group_of_another_boot_is_used() {
    let log = [at(5000, &oom_kill("/a", "v", 7)), at(1000, &killed(7, "v"))];
    assert_eq!(path(&kills(&log.concat())[0]), None);
    let log = [
        at(5000, &killed(7, "v")),
        at(5000, &group("/g")),
        at(1000, &killed(8, "w")),
    ];
    let own = (Some(true), Some("/g".to_owned()));
    assert_eq!(groups(&log), [own, (Some(false), None)]);
}
