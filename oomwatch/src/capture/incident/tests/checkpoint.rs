use super::*;
use crate::capture::incident::IncidentCheckpoint;

fn restarted(story: &Story, before_boot_time_ns: u64) -> Story {
    let memory = story.incidents.memory(before_boot_time_ns);
    let text = serde_json::to_string(&memory).expect("JSON");
    let memory: IncidentCheckpoint = serde_json::from_str(&text).expect("what was written");
    Story {
        incidents: memory.into(),
        ..Story::default()
    }
}

#[test]
fn group_that_a_restart_divides_is_one_incident() {
    let mut before = Story::default();
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
    assert_eq!(after.asides, [NonKillKind::Rekill]);
}

#[test]
fn what_will_be_observed_again_is_not_remembered() {
    let mut before = Story::default();
    before
        .mark(mark(1, Sigkill::Sent), MEMCG_KILL)
        .mark(mark(2, Sigkill::Sent), GROUP_MEMBER)
        .mark(mark(3, Sigkill::Sent), MEMCG_KILL);
    // From the second one on: the incident has begun before.
    let mut after = restarted(&before, 2000);
    after.mark(mark(2, Sigkill::Sent), GROUP_MEMBER);
    assert_eq!(after.pids(), [2]);
    // From the beginning.
    let mut after = restarted(&before, 1000);
    after.mark(mark(1, Sigkill::Sent), MEMCG_KILL);
    assert_eq!(after.pids(), [1]);
}

#[test]
fn memory_is_small() {
    let mut story = Story::default();
    story.mark(mark(1, Sigkill::Sent), MEMCG_KILL);
    for pid in 2..1000 {
        story.mark(mark(pid, Sigkill::Sent), GROUP_MEMBER);
    }
    let text = serde_json::to_string(&story.incidents.memory(u64::MAX)).expect("JSON");
    assert!(text.len() < 1024, "{text}");
    let text = serde_json::to_string(&IncidentCheckpoint::default()).expect("JSON");
    assert_eq!(text, "{}");
}
