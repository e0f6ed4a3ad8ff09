use proptest::prelude::*;

use super::*;
use crate::model::account::Before;
use crate::{
    model::{
        backend::Backend,
        kill::{Cgroup, Limit},
    },
    testing,
};

const ALLOCATION: Allocation = Allocation {
    order: 2,
    gfp_mask: 0xcc0,
    total_pages: None,
};

/// A kill in `/pod/app` as the tracepoint backend records it.
fn recorded() -> Kill {
    let mut kill = testing::minimal_kill();
    kill.victim.cgroup = Some(testing::cgroup("/pod/app", 3));
    kill.trigger = testing::kill().trigger;
    kill.limits = vec![
        testing::limit("/pod/app", 3, None),
        testing::limit("/pod", 2, Some(40 << 20)),
    ];
    kill
}

/// The facts of its header: `/pod` ran out.
fn facts() -> LogFacts {
    LogFacts {
        scope: Scope::Memcg,
        constraint: Some(Constraint::Memcg),
        allocation: Some(ALLOCATION),
        oom_path: Some(b"/pod".to_vec()),
        victim_path: Some(b"/pod/app".to_vec()),
        trigger_tid: Some(14671),
        limit_lowered: None,
        account: None,
    }
}

#[test]
fn absent_facts_are_filled_in() {
    let mut kill = recorded();
    assert!(join(&mut kill, &facts(), OomGroup::At(1)));
    let expected = Kill {
        scope: Scope::Memcg,
        constraint: Some(Constraint::Memcg),
        allocation: Some(ALLOCATION),
        oom_level: Some(1),
        group_kill: Some(true),
        ..recorded()
    };
    assert_eq!(kill, expected);
}

#[test]
fn what_function_hooks_know_is_not_replaced() {
    let mut kill = recorded();
    kill.backend = Backend::Fentry;
    kill.scope = Scope::Memcg;
    kill.oom_level = Some(0);
    kill.group_kill = Some(false);
    let facts = LogFacts {
        account: Some(Arc::new(testing::account())),
        ..facts()
    };
    assert!(join(&mut kill, &facts, OomGroup::At(1)));
    assert_eq!((kill.oom_level, kill.group_kill), (Some(0), Some(false)));
    assert_eq!(kill.account, Some(Arc::new(testing::account())));
}

#[test]
fn account_of_the_log_completes_that_of_the_record() {
    let account = |limit_hits, stall_us| {
        Some(Arc::new(Account {
            before: Some(Before {
                limit_hits,
                stall_us,
            }),
            ..Account::default()
        }))
    };
    let facts = LogFacts {
        limit_lowered: Some(true),
        account: account(Some(5), None),
        ..facts()
    };
    let mut joiner = Joiner::default();
    let mut kill = recorded();
    joiner.join(&mut kill, Some(facts.clone()), OomGroup::At(1));
    assert_eq!(kill.limit_lowered, Some(true));
    assert_eq!(kill.account, facts.account);
    // A further member of the group has the same.
    let mut member = recorded();
    joiner.join(&mut member, None, OomGroup::At(1));
    assert_eq!(member.account, facts.account);
    // What the record has stays.
    let mut kill = Kill {
        limit_lowered: Some(false),
        account: account(Some(4), Some(3)),
        ..recorded()
    };
    assert!(join(&mut kill, &facts, OomGroup::At(1)));
    assert_eq!(kill.limit_lowered, Some(false));
    assert_eq!(kill.account, account(Some(4), Some(3)));
}

#[test]
fn system_oom_has_its_constraint_and_no_cgroup() {
    for constraint in [
        Constraint::None,
        Constraint::Cpuset,
        Constraint::MemoryPolicy,
    ] {
        let mut kill = recorded();
        let facts = LogFacts {
            scope: Scope::System,
            constraint: Some(constraint),
            oom_path: None,
            ..facts()
        };
        assert!(join(&mut kill, &facts, OomGroup::Unset));
        assert_eq!(kill.scope, Scope::System);
        assert_eq!(kill.constraint, Some(constraint));
        assert_eq!(kill.oom_level, None);
        assert_eq!(kill.group_kill, None);
    }
}

#[test]
fn kill_line_gives_only_the_scope() {
    for (scope, constraint) in [
        (Scope::Memcg, Some(Constraint::Memcg)),
        (Scope::System, None),
        (Scope::Unknown, None),
    ] {
        let mut kill = recorded();
        assert!(join(&mut kill, &LogFacts::scope(scope), OomGroup::Unknown));
        let expected = Kill {
            scope,
            constraint,
            ..recorded()
        };
        assert_eq!(kill, expected);
    }
}

#[test]
fn cgroup_that_is_not_an_ancestor_is_ignored() {
    let mut kill = recorded();
    let facts = LogFacts {
        oom_path: Some(b"/po".to_vec()),
        ..facts()
    };
    assert!(join(&mut kill, &facts, OomGroup::At(0)));
    assert_eq!(kill.oom_level, None);
    assert_eq!(kill.group_kill, None);
}

#[test]
fn facts_that_contradict_the_record_are_all_ignored() {
    let other_scope = Kill {
        scope: Scope::System,
        ..recorded()
    };
    let mut other_cgroup = recorded();
    other_cgroup.victim.cgroup = Some(testing::cgroup("/pod/other", 4));
    for before in [other_scope, other_cgroup] {
        let mut kill = before.clone();
        assert!(!join(&mut kill, &facts(), OomGroup::At(0)));
        assert_eq!(kill, before);
    }
}

#[test]
fn logged_cgroup_replaces_the_inferred_one() {
    let mut kill = recorded();
    kill.scope = Scope::Memcg;
    kill.oom_level = Some(0);
    kill.group_kill = Some(false);
    assert!(join(&mut kill, &facts(), OomGroup::At(1)));
    assert_eq!(kill.oom_level, Some(1));
    assert_eq!(kill.group_kill, Some(true));
    assert_eq!(kill.allocation, Some(ALLOCATION));
}

#[test]
fn inferred_cgroup_is_kept_if_the_log_names_no_ancestor() {
    let mut kill = recorded();
    kill.oom_level = Some(0);
    let facts = LogFacts {
        oom_path: Some(b"/po".to_vec()),
        ..facts()
    };
    assert!(join(&mut kill, &facts, OomGroup::At(1)));
    assert_eq!(kill.oom_level, Some(0));
    assert_eq!(kill.group_kill, Some(false));
}

#[test]
fn group_is_killed_if_its_flag_is_at_or_below_the_cgroup_that_ran_out() {
    use OomGroup::{At, Unknown, Unset};
    for (oom_group, scope, oom_level, expected) in [
        (At(0), Scope::Memcg, Some(0), Some(true)),
        (At(0), Scope::Memcg, Some(1), Some(true)),
        (At(1), Scope::Memcg, Some(0), Some(false)),
        (At(1), Scope::Memcg, None, None),
        (At(5), Scope::System, None, Some(true)),
        (At(0), Scope::Unknown, None, None),
        (Unset, Scope::Memcg, Some(1), Some(false)),
        (Unset, Scope::Memcg, None, None),
        (Unset, Scope::System, None, None),
        (Unset, Scope::Unknown, None, None),
        (Unknown, Scope::Memcg, Some(0), None),
        (Unknown, Scope::System, None, None),
    ] {
        let fields = group_kill(oom_group, scope, oom_level);
        assert_eq!(fields, expected, "{oom_group:?} {scope:?} {oom_level:?}");
    }
}

#[test]
fn members_of_a_group_get_the_facts_of_the_first() {
    let mut joiner = Joiner::default();
    let at = |incident, path: &str| {
        let mut kill = recorded();
        kill.incident_boot_time_ns = Some(incident);
        kill.victim.cgroup = Some(testing::cgroup(path, 9));
        kill
    };
    let mut first = at(5, "/pod/app");
    joiner.join(&mut first, Some(facts()), OomGroup::At(1));
    let mut member = at(5, "/pod/other");
    joiner.join(&mut member, None, OomGroup::At(1));
    assert_eq!(member.allocation, Some(ALLOCATION));
    assert_eq!((member.oom_level, member.scope), (Some(1), Scope::Memcg));

    let mut other = at(6, "/pod/app");
    joiner.join(&mut other, None, OomGroup::At(1));
    assert_eq!(other, at(6, "/pod/app"));
}

#[test]
fn facts_ignored_for_the_first_are_not_used_for_its_members() {
    let mut joiner = Joiner::default();
    let member = || {
        let mut kill = recorded();
        kill.scope = Scope::System;
        kill
    };
    let mut first = member();
    joiner.join(&mut first, Some(facts()), OomGroup::Unknown);
    let mut second = Kill {
        scope: Scope::Unknown,
        ..member()
    };
    joiner.join(&mut second, None, OomGroup::Unknown);
    assert_eq!(second.allocation, None);
}

fn any_scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        Just(Scope::Memcg),
        Just(Scope::System),
        Just(Scope::Unknown)
    ]
}

fn any_constraint() -> impl Strategy<Value = Option<Constraint>> {
    prop_oneof![
        Just(None),
        Just(Some(Constraint::None)),
        Just(Some(Constraint::Cpuset)),
        Just(Some(Constraint::MemoryPolicy)),
        Just(Some(Constraint::Memcg)),
    ]
}

fn any_allocation() -> impl Strategy<Value = Option<Allocation>> {
    proptest::option::of((-1..4, any::<u64>(), any::<Option<u64>>())).prop_map(|fields| {
        fields.map(|(order, gfp_mask, total_pages)| Allocation {
            order,
            gfp_mask,
            total_pages,
        })
    })
}

fn any_path() -> impl Strategy<Value = Vec<u8>> {
    "/[ab](/[ab]){0,2}".prop_map(String::into_bytes)
}

fn any_kill() -> impl Strategy<Value = Kill> {
    let limit = any_path().prop_map(|path| Limit {
        cgroup: Cgroup { path, id: Some(1) },
        usage_bytes: Some(1),
        limit_bytes: Some(2),
        swap_usage_bytes: None,
        swap_limit_bytes: None,
    });
    (
        any_scope(),
        any_constraint(),
        any_allocation(),
        any::<Option<bool>>(),
        proptest::option::of(0..4_usize),
        proptest::collection::vec(limit, 0..4),
        proptest::option::of(any_path()),
    )
        .prop_map(
            |(scope, constraint, allocation, group_kill, oom_level, limits, path)| {
                let mut kill = testing::minimal_kill();
                kill.victim.cgroup = path.map(|path| Cgroup { path, id: Some(1) });
                Kill {
                    scope,
                    constraint,
                    allocation,
                    group_kill,
                    oom_level: oom_level.filter(|level| *level < limits.len()),
                    limits,
                    ..kill
                }
            },
        )
}

fn any_facts() -> impl Strategy<Value = LogFacts> {
    (
        any_scope(),
        any_constraint(),
        any_allocation(),
        proptest::option::of(any_path()),
        proptest::option::of(any_path()),
    )
        .prop_map(
            |(scope, constraint, allocation, oom_path, victim_path)| LogFacts {
                scope,
                constraint,
                allocation,
                oom_path,
                victim_path,
                trigger_tid: None,
                limit_lowered: None,
                account: None,
            },
        )
}

fn any_oom_group() -> impl Strategy<Value = OomGroup> {
    prop_oneof![
        (0..4_usize).prop_map(OomGroup::At),
        Just(OomGroup::Unset),
        Just(OomGroup::Unknown),
    ]
}

/// The kill without the facts that were absent in `before`, and with the inferred ones as before.
fn without_added_facts(mut kill: Kill, before: &Kill, facts: &LogFacts) -> Kill {
    if before.scope == Scope::Unknown {
        kill.scope = Scope::Unknown;
    }
    kill.constraint = kill.constraint.filter(|_| before.constraint.is_some());
    kill.allocation = kill.allocation.filter(|_| before.allocation.is_some());
    if before
        .limits
        .iter()
        .any(|limit| Some(&limit.cgroup.path) == facts.oom_path.as_ref())
    {
        kill.oom_level = before.oom_level;
        kill.group_kill = before.group_kill;
    }
    kill.oom_level = kill.oom_level.filter(|_| before.oom_level.is_some());
    kill.group_kill = kill.group_kill.filter(|_| before.group_kill.is_some());
    kill
}

proptest! {
    #[test]
    fn recorded_facts_never_change(before in any_kill(), facts in any_facts(), oom_group in any_oom_group()) {
        let mut kill = before.clone();
        let is_joined = join(&mut kill, &facts, oom_group);
        prop_assert_eq!(&without_added_facts(kill.clone(), &before, &facts), &before);
        prop_assert!(is_joined || kill == before);
        prop_assert!(kill.oom_level.is_none_or(|level| level < kill.limits.len()));
    }

    #[test]
    fn joined_facts_never_change(
        before in any_kill(),
        first in any_facts(),
        second in any_facts(),
        oom_group in any_oom_group(),
    ) {
        let mut kill = before;
        join(&mut kill, &first, oom_group);
        let joined = kill.clone();
        join(&mut kill, &first, oom_group);
        prop_assert_eq!(&kill, &joined);
        join(&mut kill, &second, oom_group);
        prop_assert_eq!(&without_added_facts(kill, &joined, &second), &joined);
    }
}
