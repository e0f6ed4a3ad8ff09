//! What function hooks make of an incident: nothing has to be concluded.

use super::*;
use crate::{
    capture::decode::OomTarget,
    model::{
        backend::Backend,
        kill::{Allocation, Constraint},
    },
};

const MEMCG: OomTarget = OomTarget::Memcg(10);

/// The `number`th kill of one call of `oom_kill_process`, in `/a/b`; the kernel shows no stack.
fn kill(pid: u32, number: u32, ran_out: Option<OomTarget>) -> Mark {
    Mark {
        backend: Backend::Fentry,
        call: Some(OomKillCall {
            first_kill_boot_time_ns: 77,
            kill_number: number,
            ran_out,
            constraint: Some(Constraint::Cpuset),
            allocation: Some(Allocation {
                order: 3,
                gfp_mask: 4,
                total_pages: Some(5),
            }),
            points: Some(6),
        }),
        stack: vec![],
        ..mark(pid, Sigkill::Sent)
    }
}

fn told(mark: Mark) -> Kill {
    let mut story = Story::default();
    story.mark(mark, NO_SYMBOLS);
    story.kills.remove(0)
}

#[test]
fn kernels_own_answer_is_taken_as_it_is() {
    // `/a/b` is at its limit, but it is `/a` that the kernel names.
    let kill = told(kill(7, 1, Some(MEMCG)));
    assert_eq!((kill.scope, kill.oom_level), (Scope::Memcg, Some(1)));
    assert_eq!(kill.constraint, Some(Constraint::Cpuset));
    assert_eq!(kill.allocation.map(|asked| asked.order), Some(3));
    assert_eq!(kill.victim.oom_points, Some(6));
    assert_eq!(kill.incident_boot_time_ns, Some(77));
    assert_eq!(kill.backend, Backend::Fentry);
    assert_eq!(kill.missing, [""; 0]);
}

#[test]
fn system_has_no_cgroup_that_ran_out() {
    let kill = told(kill(7, 1, Some(OomTarget::System)));
    assert_eq!((kill.scope, kill.oom_level), (Scope::System, None));
    assert_eq!(kill.missing, [""; 0]);
}

#[test]
fn what_ran_out_is_unknown_if_it_could_not_be_read() {
    let kill = told(kill(7, 1, None));
    assert_eq!((kill.scope, kill.oom_level), (Scope::Unknown, None));
}

#[test]
fn cgroup_that_is_none_of_the_victims_is_missing() {
    let kill = told(kill(7, 1, Some(OomTarget::Memcg(99))));
    assert_eq!((kill.scope, kill.oom_level), (Scope::Memcg, None));
    assert_eq!(kill.missing, ["oom_cgroup"]);
}

#[test]
fn further_kills_of_a_call_are_a_groups_and_were_not_weighed() {
    let mut story = Story::default();
    let mut first = kill(7, 1, Some(MEMCG));
    first.levels[0].oom_group = true;
    let rekill = kill(7, 3, Some(MEMCG));
    story
        .mark(first, NO_SYMBOLS)
        .mark(kill(8, 2, Some(MEMCG)), NO_SYMBOLS)
        .mark(rekill, NO_SYMBOLS);
    assert_eq!(story.pids(), [7, 8]);
    assert_eq!(story.asides, [NonKillKind::Rekill]);
    for kill in &story.kills {
        assert_eq!(kill.group_kill, Some(true));
        assert_eq!(kill.incident_boot_time_ns, Some(77));
    }
    assert_eq!(story.kills[1].victim.oom_points, None);
}

#[test]
fn points_that_the_kernel_left_at_zero_are_none() {
    let mut mark = kill(7, 1, Some(OomTarget::System));
    if let Some(call) = &mut mark.call {
        call.points = Some(0);
    }
    assert_eq!(told(mark).victim.oom_points, None);
}

#[test]
fn sharer_is_told_without_a_stack_and_by_an_exiting_trigger() {
    let mut story = Story::default();
    let signal = Signal {
        is_certain: true,
        sender_exiting: true,
        ..signal(8, Relation::Sharer { victim_pid: 7 })
    };
    story.signal(signal, NO_SYMBOLS);
    assert_eq!(story.asides, [NonKillKind::Sharer { victim_pid: 7 }]);
}

#[test]
fn thread_whose_start_is_unknown_is_the_same_for_some_seconds() {
    let story = |later_ns: u64| {
        let mut story = Story::default();
        let mut first = mark(7, Sigkill::Sent);
        first.victim.start_boot_time_ns = None;
        let mut second = first.clone();
        second.boot_time_ns += later_ns;
        story.mark(first, MEMCG_KILL).mark(second, MEMCG_KILL);
        story.kills.len()
    };
    assert_eq!(story(9_000_000_000), 1);
    assert_eq!(story(10_000_000_000), 2);
}
