use jiff::tz;
use unicode_width::UnicodeWidthStr as _;

use super::*;
use crate::{
    model::{
        gap::{GapCgroup, GapPlace},
        kill::{Allocation, NonKillKind, Trigger},
        limit_owner::LimitOwner,
    },
    sys::escape::{escape, is_printable},
    testing::{self, HOSTILE},
};

fn table(selection: Selection) -> Table {
    styled(selection, TimeZone::UTC, Color::Never)
}

fn styled(selection: Selection, zone: TimeZone, color: Color) -> Table {
    Table::new(Style {
        selection,
        zone,
        color,
        page_bytes: 4096,
    })
}

/// One kill per kind of object: a named container, an unnamed one, a unit (in a system OOM), a container outside of
/// Kubernetes, and a kill of which nothing is known.
fn reports() -> Vec<Report> {
    let report = || {
        let mut report = testing::report();
        report.kill.victim.leaf_cgroup = None;
        report.kill.victim.cgroup = Some(testing::cgroup("/pod/app", 1));
        report
    };
    let mut named = report();
    named.kill.victim.leaf_cgroup = Some(testing::cgroup("/pod/app/leaf", 2));

    let mut unnamed = report();
    unnamed.main_process = MainProcess::No;
    unnamed.kill.victim.pid = 4_194_303;
    unnamed.kill.victim.comm = Some(b"a-name-of-15-by".to_vec());
    unnamed.limit_owner = Some(LimitOwner::Pod);
    unnamed.container = unnamed.container.map(|mut container| {
        container.name = None;
        container
    });
    unnamed.pod = unnamed.pod.map(|mut pod| {
        pod.namespace = None;
        pod
    });

    let mut in_unit = report();
    in_unit.kill.scope = Scope::System;
    in_unit.kill.oom_level = None;
    in_unit.kill.group_kill = Some(false);
    in_unit.limit_owner = Some(LimitOwner::Node);
    in_unit.unit = Some("nginx.service".to_owned());
    (in_unit.pod, in_unit.container) = (None, None);
    let cgroup = testing::cgroup("/system.slice/nginx.service", 9);
    in_unit.kill.victim.cgroup = Some(cgroup);

    let mut plain = report();
    plain.pod = None;
    plain.kill.limits[0].limit_bytes = Some(u64::MAX);

    let mut member = report();
    member.kill.victim.pid = 14_667;

    // The last two are of the same incident.
    let mut reports = [
        in_unit,
        unnamed,
        plain,
        testing::minimal_report(),
        named,
        member,
    ];
    for (report, incident) in reports.iter_mut().zip(["a", "b", "c", "d", "e", "e"]) {
        report.incident = incident.to_owned();
    }
    reports.to_vec()
}

fn lines(selection: Selection, width: Option<usize>, reports: &[Report]) -> String {
    let mut table = table(selection);
    let mut lines = vec![table.header(width)];
    lines.extend(reports.iter().map(|report| table.kill(report, width)));
    lines.join("\n")
}

#[test]
fn text_is_a_table() {
    insta::assert_snapshot!(lines(Selection::Text, None, &reports()));
}

#[test]
fn wide_is_a_table() {
    insta::assert_snapshot!(lines(Selection::Wide, None, &reports()));
}

#[test]
fn text_fits_a_terminal() {
    for width in [40, 80, 120, 200] {
        let lines = lines(Selection::Text, Some(width), &reports());
        for line in lines.lines() {
            assert!(line.width() <= width, "{line:?}");
        }
        insta::assert_snapshot!(format!("text_on_{width}_columns"), lines);
    }
}

#[test]
fn chosen_columns_are_in_the_given_order() {
    let columns = ["pid", "time", "node"].map(|name| name.parse().expect("a column"));
    let report = testing::report();
    insta::assert_snapshot!(lines(Selection::Chosen(columns.to_vec()), None, &[report]));
}

#[test]
fn date_is_a_line_where_it_changes_in_the_time_zone() {
    let kill_at = |seconds| {
        let mut report = testing::report();
        report.time = Some(testing::timestamp(seconds, 0));
        report
    };
    // Half an hour before midnight, midnight, and a second later.
    let reports = [1_790_022_600, 1_790_024_400, 1_790_024_401].map(kill_at);
    let mut table = styled(
        Selection::Text,
        TimeZone::fixed(tz::offset(3)),
        Color::Never,
    );
    let lines = reports.map(|report| table.kill(&report, Some(80)));
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn local_times_have_their_offset_without_a_terminal() {
    let zone = TimeZone::fixed(tz::offset(-5));
    let line = styled(Selection::Text, zone, Color::Never).kill(&testing::report(), None);
    assert!(line.starts_with("2026-09-21T09:13:20.120-05:00"), "{line}");
}

#[test]
fn time_since_boot_takes_room_from_the_object() {
    let mut report = testing::report();
    report.time = None;
    for (boot_time_ns, time) in [
        (812_310_020_000, "[812]     "),
        (12_345_678_000_000_000, "[12345678]  "),
    ] {
        report.kill.boot_time_ns = Some(boot_time_ns);
        let line = table(Selection::Text).kill(&report, Some(80));
        let first = line.lines().next().expect("a line");
        assert!(first.starts_with(time), "{line}");
        assert!(first.width() <= 80, "{line}");
    }
}

#[test]
fn members_of_a_group_are_marked() {
    let mut reports = [(); 3].map(|()| testing::report());
    reports[2].incident = "another".to_owned();
    let mut table = table(Selection::Chosen(vec![Column::Note]));
    let notes = reports.map(|mut report| {
        report.kill.trigger = None;
        table.kill(&report, None)
    });
    assert_eq!(notes, ["group kill", "same group", "group kill"]);
}

#[test]
fn trigger_is_shown_where_it_is_another_process() {
    let note = |pid| {
        let mut report = testing::report();
        report.kill.group_kill = None;
        let trigger = report.kill.trigger.as_mut().expect("a trigger");
        trigger.pid = pid;
        table(Selection::Chosen(vec![Column::Note])).kill(&report, None)
    };
    assert_eq!(note(Some(testing::report().kill.victim.pid)), "");
    assert_eq!(note(None), "");
    assert_eq!(note(Some(7)), "trigger writer[7]");
}

fn cell(column: Column, report: &Report) -> String {
    let line = table(Selection::Chosen(vec![column])).kill(report, None);
    line.trim().to_owned()
}

#[test]
fn limit_of_a_system_oom_is_the_memory_that_could_be_had() {
    let mut report = testing::report();
    report.kill.scope = Scope::System;
    report.limit_owner = Some(LimitOwner::Node);
    let allocation = |order| Allocation {
        order,
        gfp_mask: 0,
        total_pages: Some(1 << 20),
    };
    report.kill.allocation = Some(allocation(0));
    let shown = |report: &Report| [Column::Limit, Column::LimitOwner].map(|c| cell(c, report));
    assert_eq!(shown(&report), ["4GiB", "node"]);
    report.kill.allocation = Some(allocation(-1));
    assert_eq!(shown(&report), ["-", "sysrq"]);
    report.kill.allocation = None;
    assert_eq!(shown(&report), ["-", "node"]);
}

#[test]
fn cgroup_that_ran_out_is_named_where_its_kind_does_not_say_which() {
    let mut report = testing::report();
    report.kill.oom_level = Some(0);
    report.kill.limits[0].cgroup = testing::cgroup("/web\n.slice", 5);
    for (owner, expected) in [
        (LimitOwner::Slice, "web\\x0a.slice"),
        (LimitOwner::Cgroup, "web\\x0a.slice"),
        (LimitOwner::Container, "container"),
    ] {
        report.limit_owner = Some(owner);
        assert_eq!(cell(Column::LimitOwner, &report), expected);
    }
    report.kill.victim.cgroup = Some(report.kill.limits[0].cgroup.clone());
    report.limit_owner = Some(LimitOwner::Unit);
    assert_eq!(cell(Column::LimitOwner, &report), "unit");
}

#[test]
fn rss_is_a_lower_bound_where_shared_memory_is_not_counted_apart() {
    let mut report = testing::report();
    report.kill.victim.shmem_rss_bytes = None;
    assert_eq!(cell(Column::Rss, &report), "39.5MiB+");
    report.kill.victim.anon_rss_bytes = None;
    assert_eq!(cell(Column::Rss, &report), "-");
}

#[test]
fn rss_is_absent_if_a_part_of_it_is() {
    let mut report = testing::report();
    report.kill.victim.shmem_rss_bytes = None;
    assert_eq!(report.kill.victim.rss_bytes(), None);
    report.kill.victim.shmem_rss_bytes = Some(7);
    assert_eq!(report.kill.victim.rss_bytes(), Some(41_418_752 + 7));
}

#[test]
fn rss_saturates() {
    let mut victim = testing::report().kill.victim;
    victim.anon_rss_bytes = Some(u64::MAX);
    victim.shmem_rss_bytes = Some(1);
    assert_eq!(victim.rss_bytes(), Some(u64::MAX));
}

fn non_kill_of(kind: NonKillKind) -> NonKill {
    NonKill {
        boot_time_ns: Some(1),
        kind,
        pid: 14665,
        tid: 14666,
        comm: Some(b"ta\nil".to_vec()),
        cgroup: Some(testing::cgroup("/a/\x1b[2J", 1)),
    }
}

#[test]
fn non_kill_events_are_lines_of_the_wide_table() {
    let bare = NonKill {
        pid: 0,
        comm: None,
        cgroup: None,
        ..non_kill_of(NonKillKind::Mark)
    };
    let events = [
        non_kill_of(NonKillKind::Rekill),
        non_kill_of(NonKillKind::Mark),
        non_kill_of(NonKillKind::Sharers {
            victim_pid: 14660,
            count: 3,
        }),
        bare,
    ];
    let mut table = table(Selection::Wide);
    let time = Some(testing::timestamp(1_790_000_000, 999_999));
    let lines = events.map(|event| table.non_kill(&event, time, None));
    insta::assert_snapshot!(format!("{}\n{}", table.header(None), lines.join("\n")));
}

/// A report in which every string that a process can choose is `bytes`.
fn with_text(bytes: &[u8]) -> Report {
    let mut report = testing::report();
    (report.pod, report.container, report.unit) = (None, None, None);
    report.kill.victim.comm = Some(bytes.to_vec());
    report.kill.victim.cgroup = Some(testing::cgroup(bytes, 1));
    report.kill.victim.leaf_cgroup = None;
    report.kill.trigger = Some(Trigger {
        pid: Some(1),
        tid: Some(1),
        comm: Some(bytes.to_vec()),
        cgroup: None,
    });
    report
}

#[test]
fn hostile_names_are_printable() {
    for bytes in HOSTILE {
        for (selection, width) in [
            (Selection::Text, None),
            (Selection::Text, Some(80)),
            (Selection::Wide, None),
        ] {
            let lines = table(selection).kill(&with_text(bytes), width);
            for line in lines.lines() {
                assert!(line.chars().all(is_printable), "{line:?}");
            }
            assert!(
                width.is_some() || lines.contains(&escape(bytes)),
                "{lines:?}"
            );
        }
        let event = NonKill {
            comm: Some(bytes.to_vec()),
            cgroup: Some(testing::cgroup(bytes, 1)),
            ..non_kill_of(NonKillKind::Rekill)
        };
        let time = Some(testing::timestamp(0, 0));
        let line = table(Selection::Wide).non_kill(&event, time, None);
        assert!(line.chars().all(is_printable), "{line:?}");
    }
}

#[test]
fn names_of_pods_and_units_are_printable() {
    let hostile = || "n\x1b[2J\u{9b}\u{202e}\n".to_owned();
    let mut report = testing::report();
    let pod = report.pod.as_mut().expect("a pod");
    pod.namespace = Some(hostile());
    pod.name = Some(hostile());
    let container = report.container.as_mut().expect("a container");
    container.name = Some(hostile());
    let kill = |report: &Report| table(Selection::Wide).kill(report, None);
    let named = kill(&report);
    report.pod = None;
    let plain = kill(&report);
    report.container = None;
    report.unit = Some(hostile());
    let in_unit = kill(&report);
    for line in [named, plain, in_unit] {
        assert!(line.chars().all(is_printable), "{line:?}");
        assert!(line.contains("n\\x1b[2J"), "{line}");
    }
}

#[test]
fn color_is_optional_and_ends_with_the_line() {
    let colored = |scope, main_process, color| {
        let mut report = testing::report();
        report.kill.scope = scope;
        report.main_process = main_process;
        let plain = table(Selection::Text).kill(&report, None);
        let line = styled(Selection::Text, TimeZone::UTC, color).kill(&report, None);
        line.replace(&plain, "LINE")
    };
    for scope in [Scope::Memcg, Scope::System, Scope::Unknown] {
        for main_process in [MainProcess::Yes, MainProcess::No, MainProcess::Unknown] {
            assert_eq!(colored(scope, main_process, Color::Never), "LINE");
            let expected = match (scope, main_process) {
                (Scope::System, _) => "\x1b[31mLINE\x1b[0m",
                (_, MainProcess::Yes) => "\x1b[1mLINE\x1b[0m",
                _ => "LINE",
            };
            assert_eq!(colored(scope, main_process, Color::Always), expected);
        }
    }
}

/// A gap with more cgroups than its line names.
fn wide_gap() -> GapReport {
    let mut report = testing::gap_report();
    for (path, kills) in [(&b"/a\x1bb"[..], 7), (b"/", 1)] {
        report.gap.cgroups.push(GapCgroup {
            path: path.to_vec(),
            kills,
            place: GapPlace::Own,
        });
    }
    report.gap.kills = 11;
    report
}

#[test]
fn gap_is_a_line_of_the_table() {
    let mut one = testing::gap_report();
    one.gap.kills = 1;
    one.gap.cgroups.clear();
    let gaps = [one, testing::gap_report(), wide_gap()];
    for (name, selection, width) in [
        ("gaps_in_text", Selection::Text, None),
        ("gaps_on_80_columns", Selection::Text, Some(80)),
        ("gaps_in_wide", Selection::Wide, None),
    ] {
        let mut table = table(selection);
        let header = table.header(width);
        let lines = [header]
            .into_iter()
            .chain(gaps.iter().map(|report| table.gap(report, width)));
        insta::assert_snapshot!(name, lines.collect::<Vec<_>>().join("\n"));
    }
}

#[test]
fn hostile_names_in_a_gap_are_printable() {
    for name in HOSTILE {
        let mut report = testing::gap_report();
        report.gap.cgroups[0].path = [b"/", name].concat();
        for selection in [Selection::Text, Selection::Wide] {
            let line = table(selection).gap(&report, None);
            assert!(line.chars().all(is_printable), "{line:?}");
        }
    }
}

#[test]
fn coalesced_kills_have_their_number() {
    let report = testing::report();
    let coalesced = |kills, incidents| Coalesced {
        kills,
        incidents,
        since: testing::timestamp(1_790_000_000, 0),
    };
    let mut table = table(Selection::Text);
    let lines = [
        table.coalesced(&report, &coalesced(57, 50), None),
        table.coalesced(&report, &coalesced(2, 1), Some(80)),
    ];
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn stored_ids_are_escaped() {
    let mut report = testing::report();
    let pod = report.pod.as_mut().expect("a pod");
    (pod.name, pod.uid) = (None, "\u{1b}[2Juid\n".to_owned());
    let container = report.container.as_mut().expect("a container");
    (container.name, container.id) = (None, "\u{1b}[31m".to_owned());
    let line = table(Selection::Text).kill(&report, None);
    let object = r"pod \x1b[2Juid\x0a/\x1b[31m";
    assert!(line.contains(object), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
}
