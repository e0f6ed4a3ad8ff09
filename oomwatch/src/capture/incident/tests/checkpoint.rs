//! Incidents across a restart of the agent.

use super::*;
use crate::capture::incident::IncidentCheckpoint;

/// A scenario that starts from the checkpoint before a time.
fn restarted(scenario: &Scenario, before_boot_time_ns: u64) -> Scenario {
    let checkpoint = scenario.incidents.checkpoint(before_boot_time_ns);
    let text = serde_json::to_string(&checkpoint).expect("JSON");
    let checkpoint: IncidentCheckpoint = serde_json::from_str(&text).expect("a checkpoint");
    Scenario {
        incidents: checkpoint.into(),
        ..Scenario::default()
    }
}

#[test]
fn group_divided_by_a_restart_is_one_incident() {
    let mut before = Scenario::default();
    before
        .mark(mark(1, Sigkill::Sent), MEMCG_KILL)
        .mark(mark(2, Sigkill::Sent), GROUP_MEMBER);
    let mut after = restarted(&before, u64::MAX);
    after
        .mark(mark(3, Sigkill::Sent), GROUP_MEMBER)
        .mark(mark(1, Sigkill::Sent), GROUP_MEMBER);
    assert_eq!(before.incidents(), [1000, 1000]);
    assert_eq!(after.incidents(), [1000]);
    assert_eq!(after.pids(), [3]);
    assert_eq!(after.non_kills, [NonKillKind::Rekill]);
}

#[test]
fn observations_that_will_be_repeated_are_not_in_the_checkpoint() {
    let mut before = Scenario::default();
    before
        .mark(mark(1, Sigkill::Sent), MEMCG_KILL)
        .mark(mark(2, Sigkill::Sent), GROUP_MEMBER)
        .mark(mark(3, Sigkill::Sent), MEMCG_KILL);
    // Repeated from the second victim on: the incident began before.
    let mut after = restarted(&before, 2000);
    after.mark(mark(2, Sigkill::Sent), GROUP_MEMBER);
    assert_eq!(after.pids(), [2]);
    // Repeated from the first victim on.
    let mut after = restarted(&before, 1000);
    after.mark(mark(1, Sigkill::Sent), MEMCG_KILL);
    assert_eq!(after.pids(), [1]);
}

#[test]
fn checkpoint_is_small() {
    let mut scenario = Scenario::default();
    scenario.mark(mark(1, Sigkill::Sent), MEMCG_KILL);
    for pid in 2..1000 {
        scenario.mark(mark(pid, Sigkill::Sent), GROUP_MEMBER);
    }
    let text = serde_json::to_string(&scenario.incidents.checkpoint(u64::MAX)).expect("JSON");
    assert!(text.len() < 1024, "{text}");
    let text = serde_json::to_string(&IncidentCheckpoint::default()).expect("JSON");
    assert_eq!(text, "{}");
}
