use proptest::prelude::*;

use super::*;
use crate::testing;

fn report(id: &str, pid: u32) -> Report {
    let mut report = testing::report();
    report.container.as_mut().expect("the container").id = id.to_owned();
    report.kill.victim.pid = pid;
    report
}

fn arrival(at: Instant) -> Arrival {
    Arrival { at, killed: None }
}

fn wait(_: &mut Report, _: Arrival) -> Resolution {
    Resolution::Wait(None)
}

fn wait_for_name(_: &mut Report, _: Arrival) -> Resolution {
    Resolution::WaitForName(None)
}

fn complete(_: &mut Report, _: Arrival) -> Resolution {
    Resolution::Complete
}

fn pids(queue: &mut PendingQueue) -> Vec<u32> {
    std::iter::from_fn(|| queue.pop())
        .map(|report| report.kill.victim.pid)
        .collect()
}

#[test]
fn resolved_kill_is_ready_at_once() {
    let mut queue = PendingQueue::default();
    queue.push(report("a", 1), arrival(Instant::now()), complete);
    assert_eq!(pids(&mut queue), [1]);
    assert_eq!(queue.deadline(), None);
}

#[test]
fn kills_of_one_container_leave_in_order_and_others_do_not_wait() {
    let at = Instant::now();
    let mut queue = PendingQueue::default();
    queue.push(report("a", 1), arrival(at), wait);
    queue.push(report("a", 2), arrival(at), complete);
    queue.push(report("b", 3), arrival(at), complete);
    assert_eq!(pids(&mut queue), [3]);
    let all_but_the_first = |report: &mut Report, _: Arrival| match report.kill.victim.pid {
        1 => Resolution::Wait(None),
        _ => Resolution::Complete,
    };
    queue.poll(at, all_but_the_first);
    assert!(pids(&mut queue).is_empty());
    queue.poll(at, complete);
    assert_eq!(pids(&mut queue), [1, 2]);
}

#[test]
fn unresolved_kill_leaves_after_its_timeout() {
    let at = Instant::now();
    let mut queue = PendingQueue::default();
    queue.push(report("a", 1), arrival(at), wait);
    queue.push(report("a", 2), arrival(at + LOOKUP_TIMEOUT / 2), wait);
    assert_eq!(queue.deadline(), Some(at + LOOKUP_TIMEOUT));
    queue.poll(at + LOOKUP_TIMEOUT, wait);
    assert_eq!(pids(&mut queue), [1]);
    queue.poll(at + LOOKUP_TIMEOUT * 2, wait);
    assert_eq!(pids(&mut queue), [2]);
}

#[test]
fn name_is_waited_for_longer_except_at_shutdown() {
    let at = Instant::now();
    let mut queue = PendingQueue::default();
    queue.push(report("a", 1), arrival(at), wait);
    queue.poll(at, wait_for_name);
    assert_eq!(queue.deadline(), Some(at + NAME_TIMEOUT));
    queue.poll(at + LOOKUP_TIMEOUT, wait_for_name);
    assert!(pids(&mut queue).is_empty());
    queue.poll(at + NAME_TIMEOUT, wait_for_name);
    assert_eq!(pids(&mut queue), [1]);
    queue.push(report("a", 2), arrival(at), wait_for_name);
    queue.close();
    assert_eq!(queue.deadline(), Some(at + LOOKUP_TIMEOUT));
    queue.poll(at + LOOKUP_TIMEOUT, wait_for_name);
    assert_eq!(pids(&mut queue), [2]);
}

#[test]
fn deadline_is_that_of_the_first_kill_of_a_container() {
    let at = Instant::now();
    let mut queue = PendingQueue::default();
    queue.push(report("a", 1), arrival(at), wait_for_name);
    queue.push(report("a", 2), arrival(at), wait);
    assert_eq!(queue.deadline(), Some(at + NAME_TIMEOUT));
    queue.poll(at + NAME_TIMEOUT, wait);
    assert_eq!(pids(&mut queue), [1, 2]);
}

#[test]
fn kill_without_a_container_waits_for_kills_of_the_same_pod_alone() {
    let at = Instant::now();
    let mut queue = PendingQueue::default();
    let of_pod = |uid: &str, pid| {
        let mut report = report("", pid);
        report.container = None;
        report.pod.as_mut().expect("the pod").uid = uid.to_owned();
        report
    };
    queue.push(of_pod("p", 1), arrival(at), wait);
    queue.push(of_pod("p", 2), arrival(at), complete);
    queue.push(of_pod("q", 3), arrival(at), complete);
    assert_eq!(pids(&mut queue), [3]);
}

#[test]
fn full_queue_releases_the_oldest_kill() {
    let at = Instant::now();
    let mut queue = PendingQueue::default();
    for pid in 0..=u32::try_from(PENDING_MAX).expect("few") {
        queue.push(report(&pid.to_string(), pid), arrival(at), wait);
    }
    assert_eq!(pids(&mut queue), [0]);
    assert_eq!(queue.pending.len(), PENDING_MAX);
}

#[test]
fn kills_of_one_container_do_not_push_out_those_of_another() {
    let at = Instant::now();
    let mut queue = PendingQueue::default();
    queue.push(report("modest", 0), arrival(at), wait);
    for pid in 1..=u32::try_from(PENDING_MAX).expect("few") {
        queue.push(report("greedy", pid), arrival(at), wait);
    }
    assert_eq!(pids(&mut queue), [1]);
}

/// What can happen to a queue.
#[derive(Clone, Debug)]
enum Step {
    /// A kill of this container arrives, and resolves like this at first.
    Kill(usize, Resolution),
    /// A source answers: one of the kills so far resolves like this from now on.
    Answer(prop::sample::Index, Resolution),
    /// Milliseconds pass.
    Sleep(u64),
    Shutdown,
}

const CONTAINERS: [&str; 3] = ["a", "b", "c"];

fn resolutions() -> impl Strategy<Value = Resolution> {
    prop_oneof![
        Just(Resolution::Complete),
        Just(Resolution::Unknown),
        Just(Resolution::Wait(None)),
        Just(Resolution::WaitForName(None)),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kill = (0..CONTAINERS.len(), resolutions());
    let answer = (any::<prop::sample::Index>(), resolutions());
    let step = prop_oneof![
        4 => kill.prop_map(|(container, resolution)| Step::Kill(container, resolution)),
        3 => answer.prop_map(|(kill, resolution)| Step::Answer(kill, resolution)),
        3 => prop_oneof![0..600_u64, 0..20_000_u64].prop_map(Step::Sleep),
        1 => Just(Step::Shutdown),
    ];
    prop::collection::vec(step, 1..40)
}

/// A kill, and how it resolves now. Its pid is its index.
struct Pushed {
    container: usize,
    resolution: Resolution,
    arrived: Instant,
    has_left: bool,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_order_of_kill_answer_timeout_and_shutdown_keeps_order_and_timeouts(steps in steps()) {
        let mut now = Instant::now();
        let mut queue = PendingQueue::default();
        let mut kills: Vec<Pushed> = Vec::new();
        let mut is_shutdown = false;
        for step in steps {
            let mut pushed = None;
            match step {
                Step::Kill(container, resolution) => {
                    let pid = u32::try_from(kills.len()).expect("few");
                    pushed = Some(report(CONTAINERS[container], pid));
                    kills.push(Pushed { container, resolution, arrived: now, has_left: false });
                }
                Step::Answer(kill, resolution) if !kills.is_empty() => {
                    kill.get_mut(&mut kills).resolution = resolution;
                }
                Step::Answer(..) => {}
                Step::Sleep(milliseconds) => now += Duration::from_millis(milliseconds),
                Step::Shutdown => {
                    is_shutdown = true;
                    queue.close();
                }
            }
            let identify = |report: &mut Report, _: Arrival| {
                kills[report.kill.victim.pid as usize].resolution.clone()
            };
            match pushed {
                Some(report) => queue.push(report, arrival(now), identify),
                None => queue.poll(now, identify),
            }
            for pid in pids(&mut queue) {
                // Each once, and in order within a container.
                let index = pid as usize;
                let container = kills[index].container;
                let is_next = |kill: &Pushed| kill.container == container && !kill.has_left;
                prop_assert_eq!(kills.iter().position(is_next), Some(index));
                kills[index].has_left = true;
            }
            for container in 0..CONTAINERS.len() {
                // The first of a container leaves when it is resolved, and at its timeout at the latest.
                let mut waiting = kills.iter().filter(|kill| kill.container == container && !kill.has_left);
                let Some(first) = waiting.next() else { continue };
                let timeout = match first.resolution {
                    Resolution::Complete | Resolution::Unknown => Duration::ZERO,
                    Resolution::WaitForName(_) if !is_shutdown => NAME_TIMEOUT,
                    Resolution::Wait(_) | Resolution::WaitForName(_) => LOOKUP_TIMEOUT,
                };
                let deadline = first.arrived + timeout;
                prop_assert!(now < deadline, "{:?} after {:?}", first.resolution, now - first.arrived);
                prop_assert!(queue.deadline().is_some_and(|next| now < next && next <= deadline));
            }
        }
        // No kill is lost: after a shutdown every wait ends within the short timeout.
        queue.close();
        queue.poll(now + LOOKUP_TIMEOUT, wait);
        let rest = pids(&mut queue).len();
        prop_assert_eq!(rest, kills.iter().filter(|kill| !kill.has_left).count());
        prop_assert_eq!(queue.deadline(), None);
    }
}
