mod waiting;
mod world;

use proptest::prelude::*;

use self::world::{World, alone, member, record};
use super::*;

/// One step of a story in which an agent takes over from another while processes are killed.
#[derive(Clone, Copy, Debug)]
enum Act {
    Attach,
    Pin,
    Detach,
    Kill(u32),
    Member(u32, u32),
    Pass(Duration),
    Read,
    Deliver,
    Save,
    Release,
}

use Act::{Attach, Deliver, Detach, Kill, Member, Pass, Pin, Read, Release, Save};

impl Act {
    fn run(self, world: &mut World) {
        world.clock_ns += 1000;
        match self {
            Attach => world.attach(),
            Pin => world.pin(),
            Detach => world.detach(),
            Kill(pid) => world.kill(alone(pid)),
            Member(pid, first) => world.kill(member(pid, first)),
            Pass(time) => world.pass(time),
            Read => world.read(),
            Deliver => world.deliver(),
            Save => world.save(),
            Release => world.release(),
        }
    }
}

/// A group is killed while no agent runs, while one takes over and while it runs; its first victim is killed twice. Incidents
/// do not overlap, since the kernel's `oom_lock` serializes them.
const STORY: &[Act] = &[
    Kill(1),
    Attach,
    Member(2, 1),
    Pin,
    Member(3, 1),
    Detach,
    Member(4, 1),
    Read,
    Deliver,
    Save,
    Release,
    Member(5, 1),
    Pass(Duration::from_millis(300)),
    Read,
    Deliver,
    Member(1, 1),
    Save,
    Release,
    Kill(6),
    Read,
    Deliver,
    Save,
    Kill(7),
    Release,
];

/// A machine on which an agent has run, reported kill 100, and was killed.
fn after_an_agent() -> World {
    let mut world = World::new();
    world.start();
    world.kill(alone(100));
    world.settle();
    world.crash();
    world.clock_ns += 1000;
    world
}

/// Checks that every kill that a pinned program has seen is stored once, in its incident.
fn check(world: &World, what: &str) {
    let mut pids = world.pids();
    pids.sort_unstable();
    let mut seen = world.seen.clone();
    seen.sort_unstable();
    assert_eq!(pids, seen, "{what}");
    let incident_of = |wanted| {
        let found = world.store.kills.iter().find(|(pid, _)| *pid == wanted);
        found.map(|&(_, incident)| incident)
    };
    for pid in 2..=5 {
        if seen.contains(&pid) {
            assert_eq!(incident_of(pid), incident_of(1), "{what}: pid {pid}");
        }
    }
    assert_eq!(world.store.losses, Losses::default(), "{what}");
}

/// Runs the story. The agent is killed before step `crash`, and started again before step `restart`.
fn run(crash: usize, restart: usize) -> World {
    let mut world = after_an_agent();
    for (step, act) in STORY.iter().enumerate() {
        if step == crash {
            world.crash();
        }
        if step == restart {
            world.start();
        }
        match act {
            Attach | Pin | Detach if step >= crash => {}
            Read | Deliver | Save | Release if (crash..restart).contains(&step) => {}
            act => act.run(&mut world),
        }
    }
    world
}

#[test]
fn every_kill_is_stored_once_if_the_agent_is_not_killed() {
    let mut world = run(usize::MAX, usize::MAX);
    world.settle();
    check(&world, "no crash");
    assert_eq!(world.pids(), [100, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(world.store.rekills, [1]);
    assert_eq!(
        world.programs.len(),
        1,
        "the previous generation is removed"
    );
    assert_eq!(world.used(0), 0, "everything is released");
}

#[test]
fn every_kill_is_stored_once_if_the_agent_is_killed_between_any_two_steps() {
    for crash in 0..STORY.len() {
        for restart in crash..=STORY.len() {
            let mut world = run(crash, restart);
            world.settle();
            let what = format!("killed before step {crash}, started before step {restart}");
            check(&world, &what);
            assert_eq!(world.store.rekills, [1], "{what}");
            assert_eq!(world.programs.len(), 1, "{what}");
        }
    }
}

#[test]
fn every_kill_is_stored_once_if_the_agent_is_killed_twice() {
    for first in 0..STORY.len() {
        for second in 0..STORY.len() {
            let mut world = run(first, first);
            world.kill(alone(8));
            for (step, act) in [Read, Deliver, Save, Release]
                .iter()
                .cycle()
                .take(8)
                .enumerate()
            {
                if step == second % 8 {
                    world.crash();
                    world.kill(alone(9));
                    world.start();
                }
                act.run(&mut world);
            }
            world.settle();
            check(
                &world,
                &format!("killed before step {first}, and after {second} more"),
            );
        }
    }
}

#[test]
fn full_ring_loses_records_that_are_counted_once() {
    let length = record(alone(1), 0).len() as u64;
    for crash in 0..12 {
        let mut world = World::new();
        world.capacity = 3 * length;
        world.start();
        let acts = [
            Kill(1),
            Kill(2),
            Kill(3),
            Kill(4),
            Read,
            Deliver,
            Kill(5),
            Save,
            Release,
            Kill(6),
            Kill(7),
            Save,
        ];
        for (step, act) in acts.iter().enumerate() {
            if step == crash {
                world.crash();
                world.start();
            }
            act.run(&mut world);
        }
        world.settle();
        let lost = world.store.losses.dropped;
        assert_eq!(
            world.store.kills.len() as u64 + lost,
            7,
            "crash before {crash}"
        );
        assert!(lost > 0, "crash before {crash}");
        let mut pids = world.pids();
        pids.dedup();
        assert_eq!(pids.len(), world.store.kills.len(), "crash before {crash}");
    }
}

#[test]
fn losses_of_a_previous_ring_are_stored_with_the_cursor_in_it() {
    let length = record(alone(1), 0).len() as u64;
    let mut world = World::new();
    world.capacity = length;
    world.start();
    for act in [Kill(1), Kill(2), Kill(3)] {
        act.run(&mut world);
    }
    world.crash();
    world.start();
    for act in [Read, Deliver, Save] {
        act.run(&mut world);
    }
    assert_eq!(world.store.losses.dropped, 2);
    world.crash();
    world.settle();
    assert_eq!(world.store.losses.dropped, 2, "counted once");
}

#[test]
fn records_are_released_up_to_the_cursor_and_no_further() {
    let length = record(alone(1), 0).len() as u64;
    let mut world = World::new();
    world.start();
    for act in [Kill(1), Kill(2), Read, Release] {
        act.run(&mut world);
    }
    assert_eq!(world.used(0), 2 * length, "nothing is stored");
    for act in [Deliver, Save, Kill(3), Read, Release] {
        act.run(&mut world);
    }
    assert_eq!(world.used(0), length, "the third kill is not delivered");
    world.settle();
    assert_eq!(world.used(0), 0);
}

#[test]
fn cursor_of_another_start_releases_nothing() {
    let mut world = after_an_agent();
    world.start();
    let foreign = Cursor {
        generation: "2-ffffffffffffffff".to_owned(),
        ..world.progress().cursor.expect("a cursor")
    };
    assert_eq!(world.agent().progress.release(&foreign), None);
}

#[test]
fn cursor_ahead_of_what_was_read_releases_nothing() {
    let mut world = after_an_agent();
    world.start();
    let own = world.programs[1].name.to_string();
    let ahead = Cursor {
        generation: own,
        ..world.progress().cursor.expect("a cursor")
    };
    assert_eq!(world.agent().progress.release(&ahead), None);
}

#[test]
fn released_at_once_without_a_store() {
    let mut world = World::new();
    world.start();
    world.agent().progress.release = ReleaseMode::WhenRead;
    world.kill(alone(1));
    world.read();
    assert_eq!(world.used(0), 0);
    assert!(world.agent().progress.is_holding(), "but not delivered");
    world.deliver();
    assert_eq!(world.agent().progress.wake_at(), None);
}

#[test]
fn ring_is_polled_until_it_is_released_and_read_after_a_release() {
    let mut world = World::new();
    world.start();
    assert!(world.agent().progress.is_read_due(), "at the start");
    world.read();
    assert!(!world.agent().progress.is_read_due());
    assert_eq!(world.agent().progress.wake_at(), None, "the kernel wakes");
    world.kill(alone(1));
    world.read();
    let poll = world.now + POLL_INTERVAL;
    assert_eq!(world.agent().progress.wake_at(), Some(poll));
    for act in [Deliver, Save, Release] {
        act.run(&mut world);
    }
    assert!(world.agent().progress.is_read_due(), "after the release");
}

#[test]
fn records_without_items_are_news_for_the_store() {
    let mut world = after_an_agent();
    world.start();
    world.read();
    let now = world.now;
    assert!(!world.agent().progress.has_news(now), "nothing was read");
    world.pass(SETTLE);
    world.read();
    let now = world.now;
    assert!(world.agent().progress.has_news(now), "the next generation");
    world.deliver();
    assert!(!world.agent().progress.has_news(now), "once");
}

#[test]
fn previous_ring_is_read_until_its_programs_have_stopped() {
    let mut world = after_an_agent();
    world.start();
    world.pass(SETTLE.saturating_sub(Duration::from_nanos(1)));
    world.read();
    assert_eq!(world.agent().progress.reading(), 0);
    let poll = world.now + POLL_INTERVAL;
    assert_eq!(world.agent().progress.wake_at(), Some(poll));
    world.pass(Duration::from_nanos(1));
    world.read();
    assert_eq!(world.agent().progress.reading(), 1);
}

#[test]
fn incomplete_record_of_a_previous_agent_is_given_up_and_counted() {
    let mut world = after_an_agent();
    world.begin_record(0);
    world.start();
    world.pass((SETTLE + GIVE_UP).saturating_sub(Duration::from_nanos(1)));
    world.read();
    assert_eq!(world.agent().progress.reading(), 0);
    world.pass(Duration::from_nanos(1));
    world.read();
    assert_eq!(world.agent().progress.reading(), 1);
    world.settle();
    assert_eq!(world.store.losses.undecoded, 1);
}

#[test]
fn records_of_another_layout_are_counted_and_not_decoded() {
    let mut world = World::new();
    world.start();
    world.kill(alone(1));
    world.crash();
    world.programs[0].has_current_layout = false;
    world.start();
    world.set_unreadable(1);
    world.settle();
    assert_eq!(world.store.losses.undecoded, 1);
    assert_eq!(world.store.kills, []);
    assert_eq!(world.programs.len(), 1);
}

#[test]
fn malformed_record_is_counted_when_it_is_passed() {
    let mut world = World::new();
    world.start();
    world.kill(alone(1));
    world.write(vec![0; 8]);
    world.kill(alone(2));
    world.read();
    assert_eq!(world.progress().losses.undecoded, 0, "not delivered");
    world.settle();
    assert_eq!(world.pids(), [1, 2]);
    assert_eq!(world.store.losses.undecoded, 1);
}

#[test]
fn item_that_ends_a_delivery_is_delivered() {
    let mut world = World::new();
    world.start();
    for act in [Kill(1), Kill(2), Read] {
        act.run(&mut world);
    }
    let now = world.now;
    let mut count = 0;
    let ended = world.agent().progress.deliver(now, |_| {
        count += 1;
        ControlFlow::Break(())
    });
    assert_eq!((ended, count), (ControlFlow::Break(()), 1));
    let length = record(alone(1), 0).len() as u64;
    let cursor = world.progress().cursor.expect("a cursor");
    assert_eq!(cursor.position, length);
}

/// Acts of the agent and of the machine in any order; `None` is a SIGKILL, or a start if no agent runs.
fn acts() -> impl Strategy<Value = Vec<Option<Act>>> {
    let act = prop_oneof![
        2 => Just(None),
        4 => Just(Some(Kill(0))),
        2 => Just(Some(Pass(Duration::from_millis(150)))),
        4 => Just(Some(Read)),
        4 => Just(Some(Deliver)),
        3 => Just(Some(Save)),
        3 => Just(Some(Release)),
    ];
    prop::collection::vec(act, 0..60)
}

proptest! {
    #[test]
    fn any_order_of_events_stores_every_kill_once(acts in acts(), patience in 0u64..300) {
        let mut world = after_an_agent();
        let mut pid = 200;
        for act in acts {
            match act {
                None if world.agent.is_some() => world.crash(),
                None => {
                    world.start();
                    world.agent().patience = Some(Duration::from_millis(patience));
                }
                Some(Kill(_)) => {
                    pid += 1;
                    Kill(pid).run(&mut world);
                }
                Some(act) => act.run(&mut world),
            }
        }
        world.settle();
        check(&world, "any order");
        prop_assert!(world.pids().is_sorted());
        prop_assert_eq!(world.programs.len(), 1);
        prop_assert_eq!(world.used(0), 0);
    }
}
