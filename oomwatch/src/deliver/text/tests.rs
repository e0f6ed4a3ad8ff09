use super::*;
use crate::{
    model::kill::Trigger,
    sys::escape::is_printable,
    testing::{self, HOSTILE},
};

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

    vec![named, unnamed, in_unit, plain, testing::minimal_report()]
}

fn table(detail: Detail) -> String {
    let lines = reports()
        .iter()
        .map(|report| kill(report, detail, Color::Never))
        .collect::<Vec<_>>();
    format!("{}\n{}", header(detail), lines.join("\n"))
}

#[test]
fn text_is_a_table() {
    insta::assert_snapshot!(table(Detail::Text), @r"
    TIME               PID  COMM                   RSS      LIMIT  LIMIT OWNER  WHERE
    14:13:20.120Z    14665  tail               39.5MiB      40MiB  container    shop/cart-0/app
    14:13:20.120Z  4194303  a-name-of-15-by    39.5MiB      40MiB  pod          pod 8a4e6bd2-0f35-4c1b-9a77-2b1d5e6f7081/3f1c0e7ab2d9
    14:13:20.120Z    14665  tail               39.5MiB          -  node         nginx.service
    14:13:20.120Z    14665  tail               39.5MiB  16777216TiB  container    containerd app
    14:13:20.000Z        7  -                        -          -  -            -
    ");
}

#[test]
fn wide_is_a_table() {
    insta::assert_snapshot!(table(Detail::Wide), @r"
    TIME                      WHAT             PID      TID    NSPID  COMM                UID    ADJ       ANON       FILE      SHMEM       SWAP      USAGE      LIMIT  LIMIT OWNER  SCOPE    MAIN  GROUP  TRIGGER                  WHERE                                     CGROUP
    2026-09-21T14:13:20.120Z  kill           14665    14666        1  tail               1000   -997    39.5MiB       4KiB         0B       1GiB      40MiB      40MiB  container    memcg    yes   yes    writer/14671             shop/cart-0/app                           /pod/app/leaf
    2026-09-21T14:13:20.120Z  kill         4194303    14666        1  a-name-of-15-by    1000   -997    39.5MiB       4KiB         0B       1GiB      40MiB      40MiB  pod          memcg    no    yes    writer/14671             pod 8a4e6bd2-0f35-4c1b-9a77-2b1d5e6f7081/3f1c0e7ab2d9  /pod/app
    2026-09-21T14:13:20.120Z  kill           14665    14666        1  tail               1000   -997    39.5MiB       4KiB         0B       1GiB          -          -  node         system   yes   no     writer/14671             nginx.service                             /system.slice/nginx.service
    2026-09-21T14:13:20.120Z  kill           14665    14666        1  tail               1000   -997    39.5MiB       4KiB         0B       1GiB      40MiB  16777216TiB  container    memcg    yes   yes    writer/14671             containerd app                            /pod/app
    2026-09-21T14:13:20.000Z  kill               7        7        -  -                     -      -          -          -          -          -          -          -  -            unknown  -     -      -                        -                                         -
    ");
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
    let lines = [
        non_kill_of(NonKillKind::Rekill),
        non_kill_of(NonKillKind::Mark),
        non_kill_of(NonKillKind::Sharer { victim_pid: 14660 }),
        bare,
    ]
    .map(|event| non_kill(&event, Some(testing::timestamp(1_790_000_000, 999_999))))
    .join("\n");
    insta::assert_snapshot!(format!("{}\n{lines}", header(Detail::Wide)), @r"
    TIME                      WHAT             PID      TID    NSPID  COMM                UID    ADJ       ANON       FILE      SHMEM       SWAP      USAGE      LIMIT  LIMIT OWNER  SCOPE    MAIN  GROUP  TRIGGER                  WHERE                                     CGROUP
    2026-09-21T14:13:20.000Z  re-kill        14665    14666        -  ta\x0ail              -      -          -          -          -          -          -          -  -            -        -     -      -                        -                                         /a/\x1b[2J
    2026-09-21T14:13:20.000Z  mark_victim    14665    14666        -  ta\x0ail              -      -          -          -          -          -          -          -  -            -        -     -      -                        -                                         /a/\x1b[2J
    2026-09-21T14:13:20.000Z  mm_sharer      14665    14666        -  ta\x0ail              -      -          -          -          -          -          -          -  -            -        -     -      -                        of 14660                                  /a/\x1b[2J
    2026-09-21T14:13:20.000Z  mark_victim        -    14666        -  -                     -      -          -          -          -          -          -          -  -            -        -     -      -                        -                                         -
    ");
}

#[test]
fn cells_are_aligned_with_their_titles() {
    for (detail, columns) in [(Detail::Text, TEXT), (Detail::Wide, WIDE)] {
        let report = testing::report();
        let (titles, line) = (header(detail), kill(&report, detail, Color::Never));
        let mut start = 0;
        let count = columns.len();
        for Column(title, width, align) in &columns[..count - 1] {
            let cell = |text: &str| text[start..start + width].to_owned();
            // A cell that is too wide would move the next one.
            let (title_cell, cell) = (cell(&titles), cell(&line));
            assert_eq!(title_cell.trim(), *title);
            match align {
                Align::Left => assert!(!cell.starts_with(' '), "{title}: {cell:?}"),
                Align::Right => assert!(!cell.ends_with(' '), "{title}: {cell:?}"),
            }
            start += width + 2;
            assert_eq!(&line[start - 2..start], "  ", "after {title}");
        }
    }
}

#[test]
fn wide_cell_is_not_cut() {
    let mut report = testing::report();
    report.kill.victim.comm = Some(b"\x01\x02\x03\x04\x05".to_vec());
    let line = kill(&report, Detail::Text, Color::Never);
    assert!(
        line.contains("\\x01\\x02\\x03\\x04\\x05    39.5MiB"),
        "{line}"
    );
}

#[test]
fn sizes_are_short_and_never_1024_of_a_unit() {
    const MIB: u64 = 1 << 20;
    for (bytes, expected) in [
        (0, "0B"),
        (1, "1B"),
        (1023, "1023B"),
        (1024, "1KiB"),
        (1025, "1KiB"),
        (1076, "1.1KiB"),
        (1536, "1.5KiB"),
        (1023 * 1024, "1023KiB"),
        (1023 * 1024 + 512, "1023.5KiB"),
        (MIB - 52, "1023.9KiB"),
        (MIB - 51, "1MiB"),
        (MIB - 1, "1MiB"),
        (MIB, "1MiB"),
        (41_422_848, "39.5MiB"),
        (40 * MIB, "40MiB"),
        (1000 * MIB, "1000MiB"),
        (1024 * MIB - 1, "1GiB"),
        (1024 * MIB, "1GiB"),
        (u64::from(u32::MAX), "4GiB"),
        (1 << 40, "1TiB"),
        (1 << 50, "1024TiB"),
        (u64::MAX, "16777216TiB"),
    ] {
        assert_eq!(size(Some(bytes)), expected, "{bytes}");
    }
    assert_eq!(size(None), "-");
}

#[test]
fn sizes_below_a_pebibyte_fit_their_column() {
    for shift in 0..50 {
        for bytes in [
            (1 << shift) - 1,
            1 << shift,
            (1 << shift) + (1 << shift) / 3,
        ] {
            let text = size(Some(bytes));
            assert!(text.len() <= 9, "{bytes}: {text}");
        }
    }
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
        for detail in [Detail::Text, Detail::Wide] {
            let line = kill(&with_text(bytes), detail, Color::Never);
            assert!(line.chars().all(is_printable), "{line:?}");
            assert!(line.contains(&escape(bytes)), "{line:?}");
        }
        let event = NonKill {
            comm: Some(bytes.to_vec()),
            cgroup: Some(testing::cgroup(bytes, 1)),
            ..non_kill_of(NonKillKind::Rekill)
        };
        let line = non_kill(&event, Some(testing::timestamp(0, 0)));
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
    let named = kill(&report, Detail::Wide, Color::Never);
    report.pod = None;
    let plain = kill(&report, Detail::Wide, Color::Never);
    report.container = None;
    report.unit = Some(hostile());
    let in_unit = kill(&report, Detail::Wide, Color::Never);
    for line in [named, plain, in_unit] {
        assert!(line.chars().all(is_printable), "{line:?}");
        assert!(line.contains("n\\x1b[2J"), "{line}");
    }
}

#[test]
fn color_is_optional_and_ends_with_the_line() {
    let styled = |scope, main_process, color| {
        let mut report = testing::report();
        report.kill.scope = scope;
        report.main_process = main_process;
        let plain = kill(&report, Detail::Text, Color::Never);
        let line = kill(&report, Detail::Text, color);
        line.replace(&plain, "LINE")
    };
    for scope in [Scope::Memcg, Scope::System, Scope::Unknown] {
        for main_process in [MainProcess::Yes, MainProcess::No, MainProcess::Unknown] {
            assert_eq!(styled(scope, main_process, Color::Never), "LINE");
            let expected = match (scope, main_process) {
                (Scope::System, _) => "\x1b[31mLINE\x1b[0m",
                (_, MainProcess::Yes) => "\x1b[1mLINE\x1b[0m",
                _ => "LINE",
            };
            assert_eq!(styled(scope, main_process, Color::Always), expected);
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
    for detail in [Detail::Text, Detail::Wide] {
        let lines =
            [one.clone(), testing::gap_report(), wide_gap()].map(|report| gap(&report, detail));
        let table = format!("{}\n{}", header(detail), lines.join("\n"));
        match detail {
            Detail::Text => insta::assert_snapshot!(table, @r"
    TIME               PID  COMM                   RSS      LIMIT  LIMIT OWNER  WHERE
    14:13:20.000Z        -  -                        -          -  -            1 kill counted since 14:13:19.000Z
    14:13:20.000Z        -  -                        -          -  -            3 kills counted since 14:13:19.000Z: 2 in /system.slice/nginx.service, 1 below /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod8a4e6bd2_0f35_4c1b_9a77_2b1d5e6f7081.slice
    14:13:20.000Z        -  -                        -          -  -            11 kills counted since 14:13:19.000Z: 7 in /a\x1bb, 2 in /system.slice/nginx.service, 1 below /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod8a4e6bd2_0f35_4c1b_9a77_2b1d5e6f7081.slice, and in 1 more
    "),
            Detail::Dated | Detail::Wide => insta::assert_snapshot!(table, @r"
    TIME                      WHAT             PID      TID    NSPID  COMM                UID    ADJ       ANON       FILE      SHMEM       SWAP      USAGE      LIMIT  LIMIT OWNER  SCOPE    MAIN  GROUP  TRIGGER                  WHERE                                     CGROUP
    2026-09-21T14:13:20.000Z  gap                -        -        -  -                     -      -          -          -          -          -          -          -  -            -        -     -      -                        1 kill counted since 14:13:19.000Z        -
    2026-09-21T14:13:20.000Z  gap                -        -        -  -                     -      -          -          -          -          -          -          -  -            -        -     -      -                        3 kills counted since 14:13:19.000Z       2 in /system.slice/nginx.service, 1 below /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod8a4e6bd2_0f35_4c1b_9a77_2b1d5e6f7081.slice
    2026-09-21T14:13:20.000Z  gap                -        -        -  -                     -      -          -          -          -          -          -          -  -            -        -     -      -                        11 kills counted since 14:13:19.000Z      7 in /a\x1bb, 2 in /system.slice/nginx.service, 1 below /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod8a4e6bd2_0f35_4c1b_9a77_2b1d5e6f7081.slice, and in 1 more
    "),
        }
    }
}

#[test]
fn hostile_names_in_a_gap_are_printable() {
    for name in HOSTILE {
        let mut report = testing::gap_report();
        report.gap.cgroups[0].path = [b"/", name].concat();
        for detail in [Detail::Text, Detail::Wide] {
            let line = gap(&report, detail);
            assert!(line.chars().all(is_printable), "{line:?}");
        }
    }
}

fn last_of(kills: u64, incidents: u64) -> Coalesced {
    Coalesced {
        kills,
        incidents,
        since: testing::timestamp(1_790_000_000, 0),
    }
}

#[test]
fn history_lines_have_the_date_and_the_number_of_kills() {
    let report = testing::report();
    let lines = [
        header(Detail::Dated),
        kill(&report, Detail::Dated, Color::Never),
        coalesced(&report, &last_of(57, 50), Detail::Dated, Color::Never),
        gap(&testing::gap_report(), Detail::Dated),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r"
    TIME                          PID  COMM                   RSS      LIMIT  LIMIT OWNER  WHERE
    2026-09-21T14:13:20.120Z    14665  tail               39.5MiB      40MiB  container    shop/cart-0/app
    2026-09-21T14:13:20.120Z    14665  tail               39.5MiB      40MiB  container    shop/cart-0/app, the last of 57 kills since 14:13:20.000Z, 50 incidents
    2026-09-21T14:13:20.000Z        -  -                        -          -  -            3 kills counted since 14:13:19.000Z: 2 in /system.slice/nginx.service, 1 below /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod8a4e6bd2_0f35_4c1b_9a77_2b1d5e6f7081.slice
    ");
    let wide = coalesced(&report, &last_of(2, 1), Detail::Wide, Color::Always);
    let end = format!(".scope/leaf, the last of 2 kills since 14:13:20.000Z, 1 incident{RESET}");
    assert!(wide.ends_with(&end), "{wide}");
}

#[test]
fn stored_ids_are_escaped() {
    let mut report = testing::report();
    let pod = report.pod.as_mut().expect("a pod");
    (pod.name, pod.uid) = (None, "\u{1b}[2Juid\n".to_owned());
    let container = report.container.as_mut().expect("a container");
    (container.name, container.id) = (None, "\u{1b}[31m".to_owned());
    assert_eq!(object(&report), r"pod \x1b[2Juid\x0a/\x1b[31m");
}
