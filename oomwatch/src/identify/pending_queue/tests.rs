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

fn wait_for_status(_: &mut Report, _: Arrival) -> Resolution {
    Resolution::WaitForStatus
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
fn status_of_a_pod_is_waited_for_longer_except_at_shutdown() {
    let at = Instant::now();
    let mut queue = PendingQueue::default();
    queue.push(report("a", 1), arrival(at), wait);
    queue.poll(at, wait_for_status);
    assert_eq!(queue.deadline(), Some(at + POD_STATUS_TIMEOUT));
    queue.poll(at + LOOKUP_TIMEOUT, wait_for_status);
    assert!(pids(&mut queue).is_empty());
    queue.poll(at + POD_STATUS_TIMEOUT, wait_for_status);
    assert_eq!(pids(&mut queue), [1]);
    queue.push(report("a", 2), arrival(at), wait_for_status);
    queue.close();
    assert_eq!(queue.deadline(), Some(at + LOOKUP_TIMEOUT));
    queue.poll(at + LOOKUP_TIMEOUT, wait_for_status);
    assert_eq!(pids(&mut queue), [2]);
}

#[test]
fn deadline_is_that_of_the_first_kill_of_a_container() {
    let at = Instant::now();
    let mut queue = PendingQueue::default();
    queue.push(report("a", 1), arrival(at), wait_for_status);
    queue.push(report("a", 2), arrival(at), wait);
    assert_eq!(queue.deadline(), Some(at + POD_STATUS_TIMEOUT));
    queue.poll(at + POD_STATUS_TIMEOUT, wait);
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

/// What can happen to a queue.
#[derive(Clone, Debug)]
enum Step {
    /// A kill of this container arrives.
    Kill(usize),
    /// A source answers for this container: its kills resolve so from now on.
    Answer(usize, Resolution),
    /// Time passes, in milliseconds, up to the next deadline of the queue or beyond it.
    Sleep(u64),
    Shutdown,
}

const CONTAINERS: [&str; 3] = ["a", "b", "c"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let resolution = prop_oneof![
        Just(Resolution::Complete),
        Just(Resolution::Unknown),
        Just(Resolution::Wait(None)),
        Just(Resolution::WaitForStatus),
    ];
    let container = 0..CONTAINERS.len();
    let step = prop_oneof![
        4 => container.clone().prop_map(Step::Kill),
        3 => (container, resolution).prop_map(|(container, to)| Step::Answer(container, to)),
        3 => prop_oneof![0..600_u64, 0..20_000_u64].prop_map(Step::Sleep),
        1 => Just(Step::Shutdown),
    ];
    prop::collection::vec(step, 1..40)
}

/// A kill as the test expects it to leave.
struct Expected {
    container: usize,
    arrived: Instant,
    left: bool,
}

proptest! {
    #[test]
    fn every_order_of_kill_answer_timeout_and_shutdown_keeps_the_promises(steps in steps()) {
        let mut now = Instant::now();
        let mut queue = PendingQueue::default();
        let mut resolutions = [const { Resolution::Wait(None) }; CONTAINERS.len()];
        let mut kills: Vec<Expected> = Vec::new();
        let mut shutdown = false;
        for step in steps {
            if let Step::Answer(container, resolution) = &step {
                resolutions[*container] = resolution.clone();
            }
            let identify = |report: &mut Report, _: Arrival| {
                let id = &report.container.as_ref().expect("the container").id;
                let container = CONTAINERS.iter().position(|known| known == id);
                resolutions[container.expect("a known container")].clone()
            };
            match step {
                Step::Kill(container) => {
                    let pid = u32::try_from(kills.len()).expect("few");
                    kills.push(Expected { container, arrived: now, left: false });
                    queue.push(report(CONTAINERS[container], pid), arrival(now), identify);
                }
                Step::Answer(..) => queue.poll(now, identify),
                Step::Sleep(milliseconds) => {
                    now += Duration::from_millis(milliseconds);
                    queue.poll(now, identify);
                }
                Step::Shutdown => {
                    shutdown = true;
                    queue.close();
                    queue.poll(now, identify);
                }
            }
            for pid in pids(&mut queue) {
                let index = pid as usize;
                let container = kills[index].container;
                // In order within a container, and each once.
                let is_next = |kill: &Expected| kill.container == container && !kill.left;
                prop_assert_eq!(kills.iter().position(is_next), Some(index));
                kills[index].left = true;
            }
            // No container whose kills resolve keeps one, and none waits past its time.
            for (container, resolution) in resolutions.iter().enumerate() {
                let timeout = match resolution {
                    Resolution::Complete | Resolution::Unknown => Duration::ZERO,
                    Resolution::WaitForStatus if !shutdown => POD_STATUS_TIMEOUT,
                    Resolution::Wait(_) | Resolution::WaitForStatus => LOOKUP_TIMEOUT,
                };
                let mut waiting = kills.iter().filter(|kill| kill.container == container && !kill.left);
                if let Some(first) = waiting.next() {
                    prop_assert!(now < first.arrived + timeout, "{resolution:?} after {:?}", now - first.arrived);
                    prop_assert!(queue.deadline().is_some_and(|deadline| deadline <= first.arrived + timeout));
                }
            }
        }
        // Nothing is lost: shutdown ends every wait within the short timeout.
        queue.close();
        queue.poll(now + LOOKUP_TIMEOUT, wait);
        let rest = pids(&mut queue).len();
        prop_assert_eq!(rest, kills.iter().filter(|kill| !kill.left).count());
        prop_assert_eq!(queue.deadline(), None);
    }
}
