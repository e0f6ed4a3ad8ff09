//! Restarts: with the saved rows, with damaged ones, and without any.

use proptest::prelude::*;

use super::{
    server::{Agent, Fate, Server},
    *,
};

fn restored(rows: &Rows, policy: Policy, second: u64) -> Recorder {
    Recorder::restore(policy, &rows.entries(), at(second))
}

/// Rows saved while one request is in flight, one kill waits, and the bucket holds one back.
fn busy() -> Rows {
    let mut recorder = recorder();
    let mut rows = Rows::default();
    for number in 1..=26 {
        let mut report = system(kill(7, &format!("i-{number}"), 1));
        report.pod = None;
        record(&mut recorder, &report, 1);
        send_all(&mut recorder, 1);
        rows.save(recorder.changes());
    }
    record(&mut recorder, &kill(1, "a", 2), 2);
    let Next::Send(_) = recorder.next(at(2)) else {
        panic!("the pod's");
    };
    record(&mut recorder, &kill(2, "b", 2), 2);
    rows.save(recorder.changes());
    rows
}

#[test]
fn undelivered_incidents_are_sent_after_the_start_delay_with_name_and_count() {
    let rows = busy();
    let mut recorder = restored(&rows, policy(), 10);
    assert_eq!(recorder.pending(), 3);
    assert_eq!(recorder.take_stats(), []);
    assert_eq!(recorder.changes(), []);
    assert_eq!(send_all(&mut recorder, 29), []);
    let sent = send_all(&mut recorder, 30);
    assert_eq!(sent, [(Method::Create, "ContainerOOMKilled".to_owned(), 2)]);
    // The held one still waits for the bucket.
    let sent = send_all(&mut recorder, 302);
    assert_eq!(sent, [(Method::Patch, "SystemOOM".to_owned(), 26)]);
}

#[test]
fn nothing_is_saved_when_nothing_has_changed() {
    let mut recorder = recorder();
    assert_eq!(recorder.changes().len(), 1, "when it was epoch");
    assert_eq!(recorder.changes(), []);
    record(&mut recorder, &kill(1, "a", 1), 1);
    let parts = |recorder: &mut Recorder| {
        let changes = recorder.changes().into_iter();
        changes.map(|change| change.part).collect::<Vec<_>>()
    };
    assert_eq!(parts(&mut recorder), ["series", "places", "event_queue"]);
    send_all(&mut recorder, 1);
    assert_eq!(parts(&mut recorder), ["event_queue"]);
    assert_eq!(parts(&mut recorder), [""; 0]);
}

#[test]
fn rows_that_cannot_be_read_are_left_out_and_removed() {
    for part in [
        "event_queue",
        "series",
        "counters",
        "aggregates",
        "buckets",
        "incidents",
        "epoch",
    ] {
        let mut rows = busy();
        rows.spoil(part);
        let mut recorder = restored(&rows, policy(), 10);
        record(&mut recorder, &kill(9, "z", 10), 10);
        send_all(&mut recorder, 1000);
        assert_eq!(recorder.pending(), 0, "{part}");
        rows.save(recorder.changes());
        let mut again = restored(&rows, policy(), 1000);
        assert_eq!(again.changes(), [], "{part}");
    }
}

#[test]
fn restored_events_are_filtered_by_the_current_policy() {
    let rows = busy();
    let pending = |change: fn(&mut Policy)| {
        let mut policy = policy();
        change(&mut policy);
        let mut recorder = restored(&rows, policy, 10);
        let excluded = outcomes(&mut recorder);
        (recorder.pending(), excluded.len())
    };
    assert_eq!(pending(|_| ()), (3, 0));
    assert_eq!(pending(|policy| policy.node_events = false), (2, 1));
    assert_eq!(pending(|policy| policy.pod_events = false), (1, 2));
    let excluded = pending(|policy| {
        policy.excluded_namespaces.insert("shop".to_owned());
    });
    assert_eq!(excluded, (1, 2));
}

#[test]
fn lost_rows_are_all_saved_again() {
    let rows = busy();
    let mut recorder = restored(&rows, policy(), 10);
    recorder.mark_all_dirty();
    let mut again = Rows::default();
    again.save(recorder.changes());
    assert_eq!(again.entries(), rows.entries());
}

#[test]
fn incidents_undelivered_at_shutdown_are_kept_for_the_next_start() {
    let mut recorder = recorder();
    record(&mut recorder, &kill(1, "a", 1), 1);
    recorder.close(Undelivered::Kept, at(1));
    assert!(recorder.has_requests_left());
    let Next::Send(request) = recorder.next(at(1)) else {
        panic!("one request");
    };
    let response = Response::RetryLater {
        cause: crate::deliver::events::Cause::Unreachable,
        retry_after: None,
    };
    recorder.handle_response(&request.event.metadata, &response, at(1), 0.5);
    assert!(!recorder.has_requests_left());
    assert_eq!(outcomes(&mut recorder), []);
    let mut rows = Rows::default();
    rows.save(recorder.changes());
    let mut recorder = restored(&rows, policy(), 100);
    let sent = send_all(&mut recorder, 120);
    assert_eq!(sent, [(Method::Create, "ContainerOOMKilled".to_owned(), 1)]);
}

#[test]
fn expired_kill_is_counted_in_the_event_of_a_recent_one() {
    let mut recorder = recorder();
    let hours_ago = |number, incident| {
        let mut old = kill(number, incident, 0);
        old.kill.boot_time_ns = Some(START - 4000 * SECOND_NS);
        old
    };
    record(&mut recorder, &hours_ago(1, "a"), 0);
    record(&mut recorder, &system(hours_ago(2, "b")), 0);
    let expired = [Object::Pod, Object::Node, Object::Pod];
    assert_eq!(
        outcomes(&mut recorder),
        expired.map(|object| (object, Outcome::Expired))
    );
    assert_eq!(recorder.next(at(0)), Next::Wait(None));
    record(&mut recorder, &kill(3, "c", 1), 1);
    let sent = send_all(&mut recorder, 1);
    assert_eq!(sent, [(Method::Create, "ContainerOOMKilled".to_owned(), 3)]);
}

/// An agent without a history that records the first of `recorded` incidents again, all of which an earlier agent has delivered.
fn without_history(recorded: u32) -> (Agent, Report) {
    let mut before = Agent::new(Server::default(), 0);
    for number in 1..=recorded {
        before.record(kill(number, &format!("i-{number}"), 0));
    }
    before.finish();
    let mut agent = Agent::new(before.server, before.now + 10);
    let first = kill(1, "i-1", 0);
    agent.record(first.clone());
    (agent, first)
}

#[test]
fn event_of_an_agent_with_a_lost_history_is_not_changed_and_the_next_incident_has_its_own() {
    let (mut agent, first) = without_history(5);
    agent.finish();
    assert_eq!(
        outcomes(&mut agent.recorder),
        [(Object::Pod, Outcome::Accepted)]
    );
    assert_eq!(agent.server.incidents(), 5);
    let second = agent.now;
    agent.record(kill(8, "i-8", second));
    agent.record(kill(9, "i-9", second));
    agent.finish();
    let counts: Vec<u32> = agent.server.events.values().copied().collect();
    assert_eq!((counts.len(), counts.iter().sum()), (2, 7), "{counts:?}");
    assert!(!agent.server.is_lowered);
    // A further victim of that incident is no new incident.
    agent.record(first);
    agent.finish();
    assert_eq!(agent.server.incidents(), 7);
}

#[test]
fn node_event_of_an_agent_with_a_lost_history_is_not_changed_either() {
    let mut before = Agent::new(Server::default(), 0);
    for number in 1..=3 {
        before.record(same_system_kill(number, 0));
    }
    before.finish();
    let mut agent = Agent::new(before.server, before.now + 10);
    agent.record(same_system_kill(1, 0));
    agent.finish();
    for number in 8..=9 {
        let second = agent.now;
        agent.record(same_system_kill(number, second));
        agent.finish();
    }
    let mut counts: Vec<u32> = agent.server.events.values().copied().collect();
    counts.sort_unstable();
    assert_eq!(counts, [2, 3]);
}

#[test]
fn incidents_before_the_response_get_an_event_of_their_own() {
    let (mut agent, _) = without_history(5);
    let second = agent.now;
    agent.record(kill(8, "i-8", second));
    agent.record(kill(9, "i-9", second));
    agent.finish();
    let mut counts: Vec<u32> = agent.server.events.values().copied().collect();
    counts.sort_unstable();
    assert_eq!(counts, [2, 5]);
    let accepted = outcomes(&mut agent.recorder);
    // Two of them within a second settle as one run.
    assert_eq!(accepted, [(Object::Pod, Outcome::Accepted); 2]);
    // It is this agent's, and is counted further.
    agent.save();
    agent.crash();
    let second = agent.now;
    agent.record(kill(10, "i-10", second));
    agent.finish();
    assert_eq!(agent.server.incidents(), 8);
    assert_eq!(agent.server.events.len(), 2);
}

#[test]
fn event_of_unknown_ownership_that_does_not_exist_is_created_and_counted_further() {
    let mut agent = Agent::new(Server::default(), 10);
    agent.record(kill(1, "i-1", 0));
    agent.finish();
    let second = agent.now;
    agent.record(kill(2, "i-2", second));
    agent.send(Fate::Responded);
    agent.finish();
    let counts: Vec<u32> = agent.server.events.values().copied().collect();
    assert_eq!(counts, [2]);
}

/// Replaces the numbers in JSON by `numbers` in turn.
fn with_numbers(json: &str, numbers: &[u64]) -> String {
    let mut numbers = numbers.iter().cycle();
    let (mut text, mut quoted, mut in_number) = (String::new(), false, false);
    for character in json.chars() {
        quoted ^= character == '"';
        let is_digit = !quoted && (character.is_ascii_digit() || character == '.');
        if is_digit && !in_number {
            text += &numbers.next().expect("one of them").to_string();
        }
        if !is_digit {
            text.push(character);
        }
        in_number = is_digit;
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn numbers_that_no_agent_writes_do_no_harm(
        numbers in prop::collection::vec(
            prop::sample::select(vec![0, 1, START, u64::from(u32::MAX), u64::MAX]),
            1..30,
        ),
        exists in any::<bool>(),
    ) {
        let mut entries = busy().entries();
        for entry in &mut entries {
            entry.value = with_numbers(&entry.value, &numbers);
        }
        let mut recorder = Recorder::restore(policy(), &entries, at(10));
        for number in 1..40 {
            record(&mut recorder, &system(kill(number, &format!("n-{number}"), 10)), 10);
            let second = 10 + u64::from(number) * 100;
            if let Next::Send(request) = recorder.next(at(second)) {
                let response = if exists { Response::AlreadyExists } else { Response::Accepted };
                recorder.handle_response(&request.event.metadata, &response, at(second), 0.5);
            }
            recorder.changes();
        }
        recorder.abandon(at(5000));
        prop_assert_eq!(recorder.pending(), 0);
    }
}
