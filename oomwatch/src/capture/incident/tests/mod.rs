mod checkpoint;
mod function;
mod limits;

use super::*;
use crate::{
    model::{
        backend::Backend,
        kill::{Trigger, Victim},
    },
    testing::{cgroup, limit},
};

/// Stacks as [`crate::capture::bpf::symbols`] explains them.
const MEMCG_KILL: Option<OomStack> = Some(KILL);
const GROUP_MEMBER: Option<OomStack> = Some(OomStack {
    group_member: true,
    ..KILL
});
const SYSTEM_KILL: Option<OomStack> = Some(OomStack {
    memcg: Some(false),
    ..KILL
});
const MARK_ONLY: Option<OomStack> = Some(OomStack {
    kill: false,
    ..KILL
});
const KILL: OomStack = OomStack {
    memcg: Some(true),
    kill: true,
    group_member: false,
    limit_lowered: false,
};
/// The stack cannot be interpreted, since the kernel hides its symbols.
const NO_SYMBOLS: Option<OomStack> = None;

const TRIGGER: u32 = 500;

/// A `mark_victim` event of a process in `/a/b`; of its cgroups only `/a/b` is at its limit. Its time is `pid` microseconds.
fn mark(pid: u32, sigkill: Sigkill) -> VictimMark {
    VictimMark {
        backend: Backend::RawTracepoint,
        call: None,
        boot_time_ns: u64::from(pid) * 1000,
        account_boot_time_ns: None,
        sigkill,
        victim: Victim {
            pid,
            tid: pid,
            ns_pid: None,
            comm: Some(b"tail".to_vec()),
            uid: None,
            oom_score_adj: None,
            oom_points: None,
            total_vm_bytes: None,
            anon_rss_bytes: None,
            file_rss_bytes: None,
            shmem_rss_bytes: None,
            swap_bytes: None,
            pgtables_bytes: None,
            start_boot_time_ns: Some(u64::from(pid)),
            cgroup: Some(cgroup("/a/b", 20)),
            leaf_cgroup: None,
            is_namespace_init: None,
        },
        trigger: Trigger {
            pid: Some(TRIGGER),
            tid: Some(TRIGGER),
            comm: None,
            cgroup: None,
        },
        limits: vec![
            limit("/a/b", 20, Some(1 << 20)),
            limit("/a", 10, Some(1 << 30)),
        ],
        levels: vec![free(Some(0)), free(None)],
        cgroup_v1: false,
        stack: vec![u64::from(pid)],
        missing: vec![],
    }
}

fn free(free_pages: Option<u64>) -> LevelState {
    LevelState {
        free_pages,
        ..LevelState::default()
    }
}

fn signal(pid: u32, relation: Relation) -> Signal {
    Signal {
        boot_time_ns: u64::from(pid) * 1000 + 1,
        relation,
        pid,
        tid: pid,
        comm: b"tail".to_vec(),
        start_boot_time_ns: u64::from(pid),
        sender_tid: TRIGGER,
        sender_exiting: false,
        is_certain: false,
        stack: vec![],
    }
}

/// Observations, and the outcomes that they gave.
#[derive(Default)]
struct Scenario {
    incidents: Incidents,
    kills: Vec<Kill>,
    non_kills: Vec<NonKillKind>,
}

impl Scenario {
    fn observe(&mut self, observation: Observation, stack: Option<OomStack>) -> &mut Self {
        match self.incidents.observe(observation, |_| stack) {
            Outcome::Kill(kill) => self.kills.push(*kill),
            Outcome::NonKill(event) => self.non_kills.push(event.kind),
            Outcome::Nothing => {}
        }
        self
    }

    fn mark(&mut self, mark: VictimMark, stack: Option<OomStack>) -> &mut Self {
        self.observe(Observation::Mark(Box::new(mark)), stack)
    }

    fn signal(&mut self, signal: Signal, stack: Option<OomStack>) -> &mut Self {
        self.observe(Observation::Signal(Box::new(signal)), stack)
    }

    fn pids(&self) -> Vec<u32> {
        self.kills.iter().map(|kill| kill.victim.pid).collect()
    }

    /// The time at which the incident of each kill began.
    fn incidents(&self) -> Vec<u64> {
        self.kills
            .iter()
            .filter_map(|kill| kill.incident_boot_time_ns)
            .collect()
    }
}

/// The kill that a single mark gives.
fn only_kill(mark: VictimMark, stack: Option<OomStack>) -> Kill {
    let mut scenario = Scenario::default();
    scenario.mark(mark, stack);
    scenario.kills.pop().expect("a kill")
}

#[test]
fn kill_keeps_the_facts_of_its_mark() {
    let marked = VictimMark {
        missing: vec!["uid"],
        ..mark(100, Sigkill::Sent)
    };
    let expected = Kill {
        boot_time_ns: Some(100_000),
        incident_boot_time_ns: Some(100_000),
        source: Source::Bpf,
        backend: Backend::RawTracepoint,
        attribution: Attribution::Kernel,
        scope: Scope::Memcg,
        constraint: Some(Constraint::Memcg),
        allocation: None,
        group_kill: Some(false),
        log_key: None,
        group_cgroup: None,
        oom_level: Some(0),
        oom_group_level: None,
        limits: marked.limits.clone(),
        victim: marked.victim.clone(),
        trigger: Some(marked.trigger.clone()),
        limit_lowered: Some(false),
        account: None,
        missing: vec!["uid"],
    };
    assert_eq!(only_kill(marked, MEMCG_KILL), expected);
}

#[test]
fn stack_of_the_record_is_explained() {
    let mut asked = Vec::new();
    let observation = Observation::Mark(Box::new(mark(100, Sigkill::Sent)));
    Incidents::default().observe(observation, |frames| {
        asked = frames.to_vec();
        None
    });
    assert_eq!(asked, [100]);
}

#[test]
fn scope_comes_from_the_stack_and_is_unknown_without_it() {
    for (stack, scope, constraint, oom_level) in [
        (MEMCG_KILL, Scope::Memcg, Some(Constraint::Memcg), Some(0)),
        (SYSTEM_KILL, Scope::System, None, None),
        (NO_SYMBOLS, Scope::Unknown, None, None),
    ] {
        let kill = only_kill(mark(100, Sigkill::Sent), stack);
        assert_eq!(
            (kill.scope, kill.constraint, kill.oom_level),
            (scope, constraint, oom_level)
        );
    }
}

#[test]
fn without_symbols_the_signal_alone_makes_a_kill() {
    let mut scenario = Scenario::default();
    scenario
        .mark(mark(100, Sigkill::Sent), NO_SYMBOLS)
        .mark(mark(101, Sigkill::None), NO_SYMBOLS);
    assert_eq!(scenario.pids(), [100]);
    assert_eq!(scenario.non_kills, [NonKillKind::Mark]);
}

#[test]
fn stack_wins_over_the_signal() {
    let mut scenario = Scenario::default();
    scenario
        .mark(mark(100, Sigkill::None), MEMCG_KILL)
        .mark(mark(101, Sigkill::Sent), MARK_ONLY);
    assert_eq!(scenario.pids(), [100]);
    assert_eq!(scenario.non_kills, [NonKillKind::Mark]);
}

#[test]
fn thirteen_marks_of_the_threads_of_one_process_are_one_kill() {
    for (killing, marking) in [(MEMCG_KILL, MARK_ONLY), (NO_SYMBOLS, NO_SYMBOLS)] {
        let mut scenario = Scenario::default();
        scenario.mark(mark(100, Sigkill::Sent), killing);
        for tid in 101..113 {
            let mut other = mark(100, Sigkill::None);
            other.victim.tid = tid;
            other.trigger.tid = Some(tid);
            scenario.mark(other, marking);
        }
        assert_eq!(scenario.pids(), [100]);
        assert_eq!(scenario.non_kills, [NonKillKind::Mark; 12]);
    }
}

#[test]
fn thread_mark_is_no_kill() {
    let outcome = Incidents::default().observe(
        Observation::ThreadMark {
            boot_time_ns: 5,
            tid: 9,
        },
        |_| MEMCG_KILL,
    );
    let expected = NonKill {
        boot_time_ns: Some(5),
        kind: NonKillKind::Mark,
        pid: 0,
        tid: 9,
        comm: None,
        cgroup: None,
    };
    assert_eq!(outcome, Outcome::NonKill(expected));
}

#[test]
fn non_kill_event_names_its_process() {
    let mut incidents = Incidents::default();
    let marked = Observation::Mark(Box::new(mark(100, Sigkill::None)));
    let expected = NonKill {
        boot_time_ns: Some(100_000),
        kind: NonKillKind::Mark,
        pid: 100,
        tid: 100,
        comm: Some(b"tail".to_vec()),
        cgroup: Some(cgroup("/a/b", 20)),
    };
    let outcome = incidents.observe(marked, |_| MARK_ONLY);
    assert_eq!(outcome, Outcome::NonKill(expected.clone()));

    let signalled = Observation::Signal(Box::new(signal(100, Relation::Rekill)));
    let expected = NonKill {
        boot_time_ns: Some(100_001),
        kind: NonKillKind::Rekill,
        cgroup: None,
        ..expected
    };
    let outcome = incidents.observe(signalled, |_| MEMCG_KILL);
    assert_eq!(outcome, Outcome::NonKill(expected));
}

#[test]
fn group_of_four_is_one_incident_and_its_first_victim_is_killed_again() {
    let mut scenario = Scenario::default();
    scenario
        .mark(mark(100, Sigkill::Sent), MEMCG_KILL)
        .signal(signal(100, Relation::Rekill), GROUP_MEMBER);
    for pid in 101..104 {
        scenario.mark(mark(pid, Sigkill::Sent), GROUP_MEMBER);
    }
    assert_eq!(scenario.pids(), [100, 101, 102, 103]);
    assert_eq!(scenario.incidents(), [100_000; 4]);
    assert_eq!(scenario.non_kills, [NonKillKind::Rekill]);
}

#[test]
fn rekill_that_marks_another_thread_is_reported_once() {
    let other_thread = |sigkill| {
        let mut mark = mark(100, sigkill);
        mark.victim.tid = 199;
        mark
    };
    let mut scenario = Scenario::default();
    scenario
        .mark(mark(100, Sigkill::Sent), MEMCG_KILL)
        .signal(signal(100, Relation::Rekill), GROUP_MEMBER)
        .mark(other_thread(Sigkill::Reported), GROUP_MEMBER);
    assert_eq!(scenario.pids(), [100]);
    assert_eq!(scenario.non_kills, [NonKillKind::Rekill]);

    // The same if the record of the signal was lost.
    let mut scenario = Scenario::default();
    scenario
        .mark(mark(100, Sigkill::Sent), MEMCG_KILL)
        .mark(other_thread(Sigkill::Sent), GROUP_MEMBER);
    assert_eq!(scenario.pids(), [100]);
    assert_eq!(scenario.non_kills, [NonKillKind::Rekill]);
}

#[test]
fn group_is_counted_without_symbols_too() {
    let mut scenario = Scenario::default();
    scenario
        .mark(mark(100, Sigkill::Sent), NO_SYMBOLS)
        .signal(signal(100, Relation::Rekill), NO_SYMBOLS);
    for pid in 101..104 {
        scenario.mark(mark(pid, Sigkill::Sent), NO_SYMBOLS);
    }
    assert_eq!(scenario.pids(), [100, 101, 102, 103]);
    assert_eq!(scenario.non_kills, [NonKillKind::Rekill]);
}

#[test]
fn two_incidents_of_one_trigger_are_two() {
    let mut scenario = Scenario::default();
    scenario
        .mark(mark(100, Sigkill::Sent), MEMCG_KILL)
        .mark(mark(101, Sigkill::Sent), MEMCG_KILL)
        .mark(mark(102, Sigkill::Sent), GROUP_MEMBER);
    assert_eq!(scenario.incidents(), [100_000, 101_000, 101_000]);
}

#[test]
fn group_member_of_another_trigger_is_of_another_incident() {
    let mut other = mark(101, Sigkill::Sent);
    other.trigger.tid = Some(TRIGGER + 1);
    let mut scenario = Scenario::default();
    scenario
        .mark(mark(100, Sigkill::Sent), MEMCG_KILL)
        .mark(other, GROUP_MEMBER);
    assert_eq!(scenario.incidents(), [100_000, 101_000]);
}

#[test]
fn group_member_after_the_incident_gap_begins_an_incident() {
    let first = mark(100, Sigkill::Sent);
    for (gap_ns, joined) in [(INCIDENT_GAP_NS - 1, true), (INCIDENT_GAP_NS, false)] {
        let mut late = mark(101, Sigkill::Sent);
        late.boot_time_ns = first.boot_time_ns + gap_ns;
        let mut scenario = Scenario::default();
        scenario
            .mark(first.clone(), MEMCG_KILL)
            .mark(late.clone(), GROUP_MEMBER);
        let expected = if joined {
            first.boot_time_ns
        } else {
            late.boot_time_ns
        };
        assert_eq!(scenario.incidents(), [first.boot_time_ns, expected]);
    }
}

#[test]
fn incident_gap_is_measured_from_the_latest_member() {
    let mut scenario = Scenario::default();
    scenario.mark(mark(100, Sigkill::Sent), MEMCG_KILL);
    for number in 1..4 {
        let mut member = mark(100 + number, Sigkill::Sent);
        member.boot_time_ns = 100_000 + u64::from(number) * (INCIDENT_GAP_NS - 1);
        scenario.mark(member, GROUP_MEMBER);
    }
    assert_eq!(scenario.incidents(), [100_000; 4]);
}

#[test]
fn process_that_took_a_victims_pid_is_another() {
    let mut reused = mark(100, Sigkill::Sent);
    reused.victim.start_boot_time_ns = Some(7);
    let mut scenario = Scenario::default();
    scenario
        .mark(mark(100, Sigkill::Sent), MEMCG_KILL)
        .mark(reused, MEMCG_KILL);
    assert_eq!(scenario.pids(), [100, 100]);
}

fn sharer(pid: u32, total: u64) -> Signal {
    let victim_pid = 100;
    signal(pid, Relation::MmSharer { victim_pid, total })
}

#[test]
fn mm_sharers_are_counted_by_the_sum_and_their_own_kills_are_kills() {
    let mut scenario = Scenario::default();
    scenario
        .mark(mark(100, Sigkill::Sent), MEMCG_KILL)
        .signal(sharer(200, 1), MEMCG_KILL)
        // It has no record of its own.
        .signal(sharer(300, 8), GROUP_MEMBER)
        .signal(sharer(300, 8), GROUP_MEMBER)
        .mark(mark(200, Sigkill::Sent), GROUP_MEMBER);
    assert_eq!(scenario.pids(), [100, 200]);
    assert_eq!(scenario.incidents(), [100_000; 2]);
    let sharers = |count| NonKillKind::Sharers {
        victim_pid: 100,
        count,
    };
    assert_eq!(scenario.non_kills, [sharers(1), sharers(7)]);
    // Programs that were loaded later.
    scenario.signal(sharer(400, 2), MEMCG_KILL);
    assert_eq!(scenario.non_kills[2], sharers(2));
}

#[test]
fn signal_of_a_dying_pid_namespace_is_ignored() {
    for relation in [Relation::Rekill, sharer(1, 1).relation] {
        let exiting = Signal {
            sender_exiting: true,
            ..signal(100, relation)
        };
        let mut scenario = Scenario::default();
        scenario
            .mark(mark(100, Sigkill::Sent), MEMCG_KILL)
            .signal(exiting, NO_SYMBOLS)
            .signal(signal(100, relation), MARK_ONLY);
        assert_eq!(scenario.non_kills, []);
    }
}

#[test]
fn signal_of_another_task_than_the_trigger_is_ignored_without_symbols() {
    let other_sender = Signal {
        sender_tid: TRIGGER + 1,
        ..signal(100, Relation::Rekill)
    };
    let mut scenario = Scenario::default();
    scenario
        .signal(signal(100, Relation::Rekill), NO_SYMBOLS)
        .mark(mark(100, Sigkill::Sent), MEMCG_KILL)
        .signal(other_sender, NO_SYMBOLS);
    assert_eq!(scenario.non_kills, []);
    scenario.signal(signal(100, Relation::Rekill), NO_SYMBOLS);
    assert_eq!(scenario.non_kills, [NonKillKind::Rekill]);
}

#[test]
fn stack_proves_a_signal_even_of_an_exiting_sender() {
    // A dying task that allocates may invoke the OOM killer itself.
    let exiting = Signal {
        sender_exiting: true,
        sender_tid: TRIGGER + 1,
        ..signal(100, Relation::Rekill)
    };
    let mut scenario = Scenario::default();
    scenario.signal(exiting, GROUP_MEMBER);
    assert_eq!(scenario.non_kills, [NonKillKind::Rekill]);
}

#[test]
fn remembered_processes_are_bounded_and_the_oldest_is_dropped() {
    let count = u32::try_from(REMEMBERED).expect("a few thousand");
    let mut scenario = Scenario::default();
    for pid in 1..=count + 1 {
        scenario.mark(mark(pid, Sigkill::Sent), MEMCG_KILL);
    }
    assert_eq!(scenario.incidents.killed.0.len(), REMEMBERED);

    scenario.non_kills.clear();
    scenario.mark(mark(2, Sigkill::Sent), MEMCG_KILL);
    assert_eq!(
        scenario.non_kills,
        [NonKillKind::Rekill],
        "second is remembered"
    );
    scenario.mark(mark(1, Sigkill::Sent), MEMCG_KILL);
    assert_eq!(
        scenario.non_kills,
        [NonKillKind::Rekill],
        "first is dropped"
    );
}
