//! Kills that wait for the kernel log.

use super::*;

/// A world in which kills wait for the kernel log.
fn waiting_for_the_log() -> World {
    let mut world = World::new();
    world.start();
    world.agent().patience = Some(Duration::from_millis(200));
    world
}

#[test]
fn kill_waits_for_the_log_and_later_kills_wait_behind_it() {
    let mut world = waiting_for_the_log();
    world.kill(alone(1));
    world.read();
    let now = world.now;
    assert!(!world.agent().progress.has_news(now), "the kill waits");
    world.agent().patience = None;
    world.kill(alone(2));
    world.read();
    let due = world.now + Duration::from_millis(200);
    world.agent().progress.poll = Poll::Never;
    assert_eq!(world.agent().progress.wake_at(), Some(due));
    for act in [Deliver, Save, Release] {
        act.run(&mut world);
    }
    assert_eq!(world.pids(), [0; 0]);
    assert_eq!(
        world.progress().cursor.map(|cursor| cursor.position),
        Some(0)
    );
    world.pass(Duration::from_millis(199));
    let now = world.now;
    assert!(!world.agent().progress.has_news(now));
    // The log arrives just in time.
    world.agent().progress.enrich(|kill| kill.victim.pid == 1);
    assert!(world.agent().progress.has_news(now));
    for act in [Deliver, Save] {
        act.run(&mut world);
    }
    assert_eq!(world.pids(), [1, 2]);
}

#[test]
fn kill_is_delivered_without_the_log_after_200_milliseconds() {
    let mut world = waiting_for_the_log();
    world.kill(alone(1));
    world.read();
    world.pass(Duration::from_millis(199));
    world.agent().progress.enrich(|_| false);
    for act in [Deliver, Save] {
        act.run(&mut world);
    }
    assert_eq!(world.pids(), [0; 0]);
    world.pass(Duration::from_millis(1));
    for act in [Deliver, Save] {
        act.run(&mut world);
    }
    assert_eq!(world.pids(), [1]);
}

#[test]
fn kill_that_waits_for_the_log_survives_a_crash() {
    let mut world = waiting_for_the_log();
    for act in [Kill(1), Kill(2), Read, Deliver, Save, Release] {
        act.run(&mut world);
    }
    world.crash();
    world.settle();
    assert_eq!(world.pids(), [1, 2]);
}

#[test]
fn enrichment_asks_for_waiting_kills_only() {
    let mut world = waiting_for_the_log();
    world.kill(alone(1));
    world.read();
    world.agent().patience = None;
    world.kill(alone(2));
    world.read();
    let mut asked = Vec::new();
    world.agent().progress.enrich(|kill| {
        asked.push(kill.victim.pid);
        true
    });
    world.agent().progress.enrich(|_| panic!("no kill waits"));
    assert_eq!(asked, [1]);
}

#[test]
fn nothing_waits_any_longer_when_the_agent_ends() {
    let mut world = waiting_for_the_log();
    world.kill(alone(1));
    world.read();
    world.agent().progress.stop_waiting();
    for act in [Deliver, Save] {
        act.run(&mut world);
    }
    assert_eq!(world.pids(), [1]);
    assert!(!world.agent().progress.is_holding());
}

#[test]
fn kills_of_a_previous_agent_do_not_wait_for_the_log() {
    let mut world = World::new();
    world.start();
    world.kill(alone(1));
    world.crash();
    world.start();
    world.agent().patience = Some(Duration::from_secs(1));
    for act in [Read, Deliver, Save] {
        act.run(&mut world);
    }
    assert_eq!(world.pids(), [1]);
}
