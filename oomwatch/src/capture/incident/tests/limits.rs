//! Which cgroup ran out of memory, and whether the kill is a group kill.

use oomwatch_ebpf::record::{FLAG_CGROUP_V1, Level};

use super::*;
use crate::{
    capture::decode::decode,
    testing::{self, RecordBuilder},
};

fn locked() -> LevelState {
    LevelState {
        oom_lock: true,
        ..LevelState::default()
    }
}

fn memsw_free(pages: u64) -> LevelState {
    LevelState {
        memsw_free_pages: Some(pages),
        ..LevelState::default()
    }
}

#[test]
fn topmost_locked_level_else_the_only_full_one_ran_out() {
    let cases: &[(&str, &[LevelState], Option<usize>)] = &[
        ("no level", &[], None),
        (
            "nothing near its limit",
            &[free(Some(65)), free(None)],
            None,
        ),
        ("own limit", &[free(Some(0)), free(None)], Some(0)),
        ("within a batch", &[free(None), free(Some(64))], Some(1)),
        ("two full", &[free(Some(0)), free(Some(64))], None),
        ("three full", &[free(Some(0)); 3], None),
        ("locked, none full", &[locked(), free(None)], Some(0)),
        (
            "topmost of the locked",
            &[locked(), locked(), free(None)],
            Some(1),
        ),
        (
            "lock beats a full level",
            &[free(Some(0)), locked(), free(Some(0))],
            Some(1),
        ),
        (
            "memory and swap together",
            &[free(Some(900)), memsw_free(3)],
            Some(1),
        ),
        (
            "both limits of one level",
            &[LevelState {
                free_pages: Some(0),
                ..memsw_free(0)
            }],
            Some(0),
        ),
        ("one of each", &[free(Some(0)), memsw_free(0)], None),
    ];
    for (what, levels, expected) in cases {
        assert_eq!(oom_level(levels, false), *expected, "{what}");
    }
}

#[test]
fn no_oom_level_if_it_may_be_above_the_record() {
    for (what, levels, expected) in [
        ("locked below", &[locked(), free(None)][..], Some(0)),
        ("locked to the end", &[locked(), locked()], None),
        ("full", &[free(Some(0)), free(None)], None),
        ("none full", &[free(None), free(None)], None),
    ] {
        assert_eq!(oom_level(levels, true), expected, "{what}");
    }
}

#[test]
fn no_swap_is_not_out_of_memory_but_a_full_memsw_is() {
    let no_swap = Level {
        swap_usage_pages: 0,
        swap_limit_pages: 0,
        ..testing::level(20, 100, 5000)
    };
    let oom_level_with = |flags| {
        let record = RecordBuilder::new().levels(&[no_swap]);
        let bytes = record.set(|record| record.flags = flags).bytes();
        let mut incidents = Incidents::default();
        match incidents.observe(decode(&bytes, 4096).expect("a record"), |_| MEMCG_KILL) {
            Outcome::Kill(kill) => kill.oom_level,
            other => panic!("no kill: {other:?}"),
        }
    };
    assert_eq!(oom_level_with(0), None);
    assert_eq!(oom_level_with(FLAG_CGROUP_V1), Some(0));
}

#[test]
fn oom_level_without_limits_is_absent() {
    let unnamed = VictimMark {
        limits: vec![],
        missing: vec!["cgroup", "limits"],
        ..mark(100, Sigkill::Sent)
    };
    let kill = only_kill(unnamed, MEMCG_KILL);
    assert_eq!(kill.oom_level, None);
    assert_eq!(kill.group_kill, Some(false), "the levels are known");
}

#[test]
fn group_members_inherit_the_cgroup_that_ran_out() {
    let no_longer_full = |pid| VictimMark {
        levels: vec![free(Some(5000)), free(None)],
        ..mark(pid, Sigkill::Sent)
    };
    let deeper = VictimMark {
        limits: vec![
            limit("/a/b/c", 30, None),
            limit("/a/b", 20, Some(1 << 20)),
            limit("/a", 10, Some(1 << 30)),
        ],
        levels: vec![free(Some(0)), free(Some(5000)), free(None)],
        ..mark(102, Sigkill::Sent)
    };
    let elsewhere = VictimMark {
        limits: vec![limit("/x", 99, None)],
        levels: vec![free(Some(0))],
        ..mark(103, Sigkill::Sent)
    };
    let mut scenario = Scenario::default();
    scenario
        .mark(mark(100, Sigkill::Sent), MEMCG_KILL)
        .mark(no_longer_full(101), GROUP_MEMBER)
        .mark(deeper, GROUP_MEMBER)
        .mark(elsewhere, GROUP_MEMBER);
    let levels: Vec<_> = scenario.kills.iter().map(|kill| kill.oom_level).collect();
    assert_eq!(levels, [Some(0), Some(0), Some(1), None]);
    assert_eq!(
        scenario.kills[2].limits[1].cgroup.id,
        scenario.kills[0].limits[0].cgroup.id
    );
}

#[test]
fn group_kill_is_one_incident_where_the_stack_is_cut() {
    let cut = |group_member| {
        Some(OomStack {
            memcg: None,
            kill: true,
            group_member,
            limit_lowered: false,
        })
    };
    let mut scenario = Scenario::default();
    scenario
        .mark(mark(100, Sigkill::Sent), cut(false))
        .mark(mark(101, Sigkill::Sent), cut(true))
        .mark(mark(102, Sigkill::Sent), cut(true));
    assert_eq!(scenario.incidents(), [100_000; 3]);
    for kill in &scenario.kills {
        assert_eq!((kill.scope, kill.oom_level), (Scope::Unknown, None));
    }
    assert_eq!(scenario.kills[2].group_kill, Some(true));
}

#[test]
fn group_members_inherit_an_unknown_cgroup() {
    let undecided = VictimMark {
        levels: vec![free(Some(0)), free(Some(0))],
        ..mark(100, Sigkill::Sent)
    };
    let mut scenario = Scenario::default();
    scenario
        .mark(undecided, MEMCG_KILL)
        .mark(mark(101, Sigkill::Sent), GROUP_MEMBER);
    let levels: Vec<_> = scenario.kills.iter().map(|kill| kill.oom_level).collect();
    assert_eq!(levels, [None, None]);
    assert_eq!(scenario.incidents(), [100_000; 2]);
}

#[test]
fn group_kill_of_a_system_oom_has_no_oom_level() {
    let member = Some(OomStack {
        memcg: Some(false),
        kill: true,
        group_member: true,
        limit_lowered: false,
    });
    let mut scenario = Scenario::default();
    scenario
        .mark(mark(100, Sigkill::Sent), SYSTEM_KILL)
        .mark(mark(101, Sigkill::Sent), member);
    for kill in &scenario.kills {
        assert_eq!((kill.scope, kill.oom_level), (Scope::System, None));
    }
    assert_eq!(scenario.incidents(), [100_000; 2]);
    assert_eq!(scenario.kills[1].group_kill, Some(true));
}

#[test]
fn group_kill_is_what_the_kernel_does_or_absent() {
    /// A mark with `memory.oom.group` set on level `set` of three; the middle one ran out of memory.
    fn grouped(set: Option<usize>) -> VictimMark {
        let mut levels = vec![free(None), free(Some(0)), free(None)];
        if let Some(set) = set {
            levels[set].oom_group = true;
        }
        VictimMark {
            limits: vec![
                limit("/a/b/c", 30, None),
                limit("/a/b", 20, Some(1 << 20)),
                limit("/a", 10, None),
            ],
            levels,
            ..mark(100, Sigkill::Sent)
        }
    }
    let on_v1 = |mark| VictimMark {
        cgroup_v1: true,
        ..mark
    };
    let undecided = |mut mark: VictimMark| {
        mark.levels[1].free_pages = None;
        mark
    };
    let unread = |mark| VictimMark {
        limits: vec![],
        levels: vec![],
        missing: vec!["cgroup", "limits"],
        ..mark
    };
    let in_root = |mark| VictimMark {
        limits: vec![],
        levels: vec![],
        ..mark
    };
    let cut = |mut mark: VictimMark| {
        mark.levels = vec![free(None); MAX_LEVELS];
        mark.missing = vec!["limits"];
        mark
    };
    let set = |level| grouped(Some(level));
    let (yes, no) = (Some(true), Some(false));
    for (what, mark, stack, expected) in [
        ("not set", grouped(None), MEMCG_KILL, no),
        ("set below", set(0), MEMCG_KILL, yes),
        ("set on what ran out", set(1), MEMCG_KILL, yes),
        ("set above what ran out", set(2), MEMCG_KILL, no),
        ("system", set(2), SYSTEM_KILL, yes),
        ("system, not set", grouped(None), SYSTEM_KILL, no),
        ("unknown scope", set(0), NO_SYMBOLS, None),
        ("unknown scope, not set", grouped(None), NO_SYMBOLS, no),
        ("unknown cgroup", undecided(set(0)), MEMCG_KILL, None),
        ("unknown, not set", undecided(grouped(None)), MEMCG_KILL, no),
        ("member", grouped(None), GROUP_MEMBER, yes),
        ("cgroup v1", on_v1(set(0)), MEMCG_KILL, no),
        ("levels not read", unread(set(0)), MEMCG_KILL, None),
        ("version not read", on_v1(unread(set(0))), MEMCG_KILL, None),
        ("in the root cgroup", in_root(set(0)), SYSTEM_KILL, no),
        ("set, perhaps, where cut", cut(set(0)), MEMCG_KILL, None),
        ("the same for the system", cut(set(0)), SYSTEM_KILL, None),
        ("cut on cgroup v1", on_v1(cut(set(0))), MEMCG_KILL, no),
    ] {
        assert_eq!(only_kill(mark, stack).group_kill, expected, "{what}");
    }
}

#[test]
fn lowered_limit_is_in_the_stack_or_not_known() {
    let lowered = |stack: Option<OomStack>| {
        stack.map(|stack| OomStack {
            limit_lowered: true,
            ..stack
        })
    };
    for (stack, expected) in [
        (lowered(MEMCG_KILL), Some(true)),
        (MEMCG_KILL, Some(false)),
        (SYSTEM_KILL, Some(false)),
        (NO_SYMBOLS, None),
    ] {
        let kill = only_kill(mark(1, Sigkill::Sent), stack);
        assert_eq!(kill.limit_lowered, expected, "{stack:?}");
    }
    // A member's stack may end before the caller of the killer.
    let cut = GROUP_MEMBER.map(|stack| OomStack {
        memcg: None,
        ..stack
    });
    let mut scenario = Scenario::default();
    scenario
        .mark(mark(1, Sigkill::Sent), lowered(MEMCG_KILL))
        .mark(mark(2, Sigkill::Sent), cut);
    let lowered: Vec<_> = scenario
        .kills
        .iter()
        .map(|kill| kill.limit_lowered)
        .collect();
    assert_eq!(lowered, [Some(true); 2]);
}
