//! Incidents from fentry and kprobe records, which say everything themselves.

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
fn kill(pid: u32, number: u32, target: Option<OomTarget>) -> VictimMark {
    VictimMark {
        backend: Backend::Fentry,
        call: Some(OomKillCall {
            first_kill_boot_time_ns: 77,
            kill_number: number,
            target,
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

fn observed(mark: VictimMark) -> Kill {
    let mut scenario = Scenario::default();
    scenario.mark(mark, NO_SYMBOLS);
    scenario.kills.remove(0)
}

#[test]
fn cgroup_named_by_the_kernel_is_the_one_that_ran_out() {
    // `/a/b` is at its limit, but the kernel names `/a`.
    let kill = observed(kill(7, 1, Some(MEMCG)));
    assert_eq!((kill.scope, kill.oom_level), (Scope::Memcg, Some(1)));
    assert_eq!(kill.constraint, Some(Constraint::Cpuset));
    assert_eq!(kill.allocation.map(|asked| asked.order), Some(3));
    assert_eq!(kill.victim.oom_points, Some(6));
    assert_eq!(kill.incident_boot_time_ns, Some(77));
    assert_eq!(kill.backend, Backend::Fentry);
    assert_eq!(kill.missing, [""; 0]);
}

#[test]
fn system_oom_has_no_oom_level() {
    let kill = observed(kill(7, 1, Some(OomTarget::System)));
    assert_eq!((kill.scope, kill.oom_level), (Scope::System, None));
    assert_eq!(kill.missing, [""; 0]);
}

#[test]
fn scope_is_unknown_if_the_oom_cgroup_could_not_be_read() {
    let kill = observed(kill(7, 1, None));
    assert_eq!((kill.scope, kill.oom_level), (Scope::Unknown, None));
}

#[test]
fn oom_cgroup_that_is_none_of_the_victims_is_missing() {
    let kill = observed(kill(7, 1, Some(OomTarget::Memcg(99))));
    assert_eq!((kill.scope, kill.oom_level), (Scope::Memcg, None));
    assert_eq!(kill.missing, ["oom_cgroup"]);
}

#[test]
fn further_kills_of_a_call_are_group_members_without_points() {
    let mut scenario = Scenario::default();
    let mut first = kill(7, 1, Some(MEMCG));
    first.levels[0].oom_group = true;
    let rekill = kill(7, 3, Some(MEMCG));
    scenario
        .mark(first, NO_SYMBOLS)
        .mark(kill(8, 2, Some(MEMCG)), NO_SYMBOLS)
        .mark(rekill, NO_SYMBOLS);
    assert_eq!(scenario.pids(), [7, 8]);
    assert_eq!(scenario.non_kills, [NonKillKind::Rekill]);
    for kill in &scenario.kills {
        assert_eq!(kill.group_kill, Some(true));
        assert_eq!(kill.incident_boot_time_ns, Some(77));
    }
    assert_eq!(scenario.kills[1].victim.oom_points, None);
}

#[test]
fn zero_points_are_absent() {
    let mut mark = kill(7, 1, Some(OomTarget::System));
    if let Some(call) = &mut mark.call {
        call.points = Some(0);
    }
    assert_eq!(observed(mark).victim.oom_points, None);
}

#[test]
fn certain_signal_needs_no_stack_and_no_living_sender() {
    let mut scenario = Scenario::default();
    let signal = Signal {
        is_certain: true,
        sender_exiting: true,
        ..signal(
            8,
            Relation::MmSharer {
                victim_pid: 7,
                total: 1,
            },
        )
    };
    scenario.signal(signal, NO_SYMBOLS);
    assert_eq!(
        scenario.non_kills,
        [NonKillKind::Sharers {
            victim_pid: 7,
            count: 1
        }]
    );
}

#[test]
fn pid_without_a_start_time_is_the_same_process_for_ten_seconds() {
    let scenario = |later_ns: u64| {
        let mut scenario = Scenario::default();
        let mut first = mark(7, Sigkill::Sent);
        first.victim.start_boot_time_ns = None;
        let mut second = first.clone();
        second.boot_time_ns += later_ns;
        scenario.mark(first, MEMCG_KILL).mark(second, MEMCG_KILL);
        scenario.kills.len()
    };
    assert_eq!(scenario(9_000_000_000), 1);
    assert_eq!(scenario(10_000_000_000), 2);
}
