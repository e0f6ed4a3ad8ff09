//! Kills that wait for their names, each for a bounded time: pure, with the clock handed in. The kills of one container leave
//! in the order in which they came; nobody else waits for them.

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

use crate::{
    identify::directory::{Answer, Arrival},
    model::report::Report,
};

/// How long a kill may wait.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long if nothing but the pod's status can name its container: kubelets write that when they come to it, and wait long
/// for each other's turn when many pods change at once.
const STATUS_PATIENCE: Duration = Duration::from_secs(15);
/// How many may wait; then the oldest leaves as it is.
const WAITING_MAX: usize = 1024;

/// Kills on their way.
#[derive(Debug, Default)]
pub(super) struct PendingQueue {
    waiting: VecDeque<Waiting>,
    named: VecDeque<Report>,
    is_closing: bool,
}

#[derive(Debug)]
struct Waiting {
    report: Box<Report>,
    /// Container, else pod.
    owner_key: String,
    arrival: Arrival,
    patience: Duration,
}

impl PendingQueue {
    /// Takes a kill, which leaves at once if `name` does not say to wait and nobody of the same container waits.
    pub(super) fn push(
        &mut self,
        mut report: Report,
        arrival: Arrival,
        name: impl Fn(&mut Report, Arrival) -> Answer,
    ) {
        let owner_key = owner_key(&report);
        let is_last = !self
            .waiting
            .iter()
            .any(|waiting| waiting.owner_key == owner_key);
        // Whoever must wait for another asks all the same, so that his answer comes in time.
        let answer = name(&mut report, arrival);
        let patience = self.patience(answer);
        if is_last && patience.is_none() {
            self.named.push_back(report);
            return;
        }
        if self.waiting.len() == WAITING_MAX
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.named.push_back(*oldest.report);
        }
        self.waiting.push_back(Waiting {
            report: Box::new(report),
            owner_key,
            arrival,
            patience: patience.unwrap_or(PATIENCE),
        });
    }

    /// How long to wait after this answer; absent if not at all.
    fn patience(&self, answer: Answer) -> Option<Duration> {
        match answer {
            Answer::WaitForStatus if !self.is_closing => Some(STATUS_PATIENCE),
            Answer::Wait(_) | Answer::WaitForStatus => Some(PATIENCE),
            Answer::Complete | Answer::Unknown => None,
        }
    }

    /// From now on nobody waits long.
    pub(super) fn close(&mut self) {
        self.is_closing = true;
        for waiting in &mut self.waiting {
            waiting.patience = PATIENCE;
        }
    }

    /// Lets those leave whom `name` does not keep waiting, and those who have waited long enough.
    pub(super) fn look(&mut self, now: Instant, name: impl Fn(&mut Report, Arrival) -> Answer) {
        let mut kept: HashSet<String> = HashSet::new();
        for mut waiting in std::mem::take(&mut self.waiting) {
            let answer = name(&mut waiting.report, waiting.arrival);
            let patience = self.patience(answer);
            waiting.patience = patience.unwrap_or(waiting.patience);
            let is_over = now >= waiting.end();
            if !kept.contains(&waiting.owner_key) && (is_over || patience.is_none()) {
                self.named.push_back(*waiting.report);
            } else {
                kept.insert(waiting.owner_key.clone());
                self.waiting.push_back(waiting);
            }
        }
    }

    /// The next that can leave.
    pub(super) fn pop(&mut self) -> Option<Report> {
        self.named.pop_front()
    }

    /// When somebody will have waited long enough, and can leave; absent if nobody waits.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let mut before = HashSet::new();
        // The others wait for the first of their container, however long they may wait themselves.
        let waiting = self.waiting.iter();
        let first = waiting.filter(|waiting| before.insert(&waiting.owner_key));
        first.map(Waiting::end).min()
    }

    pub(super) fn has_named(&self) -> bool {
        !self.named.is_empty()
    }
}

impl Waiting {
    fn end(&self) -> Instant {
        self.arrival.at + self.patience
    }
}

fn owner_key(report: &Report) -> String {
    let container = report.container.as_ref().map(|container| &container.id);
    let pod = report.pod.as_ref().map(|pod| &pod.uid);
    container.or(pod).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{identify::directory::Ask, testing};

    fn report(id: &str, pid: u32) -> Report {
        let mut report = testing::report();
        report.container.as_mut().expect("the container").id = id.to_owned();
        report.kill.victim.pid = pid;
        report
    }

    fn arrival(at: Instant) -> Arrival {
        Arrival { at, killed: None }
    }

    fn wait(_: &mut Report, _: Arrival) -> Answer {
        Answer::Wait(Some(Ask::Container))
    }

    fn complete(_: &mut Report, _: Arrival) -> Answer {
        Answer::Complete
    }

    fn pids(room: &mut PendingQueue) -> Vec<u32> {
        std::iter::from_fn(|| room.pop())
            .map(|report| report.kill.victim.pid)
            .collect()
    }

    #[test]
    fn whoever_is_named_leaves_at_once() {
        let mut room = PendingQueue::default();
        room.push(report("a", 1), arrival(Instant::now()), complete);
        assert_eq!(pids(&mut room), [1]);
        assert_eq!(room.deadline(), None);
    }

    #[test]
    fn kills_of_one_container_leave_in_order_and_hold_up_nobody_else() {
        let at = Instant::now();
        let mut room = PendingQueue::default();
        room.push(report("a", 1), arrival(at), wait);
        room.push(report("a", 2), arrival(at), complete);
        room.push(report("b", 3), arrival(at), complete);
        assert_eq!(pids(&mut room), [3]);
        let name_all_but_the_first = |report: &mut Report, _: Arrival| match report.kill.victim.pid
        {
            1 => Answer::Wait(None),
            _ => Answer::Complete,
        };
        room.look(at, name_all_but_the_first);
        assert!(pids(&mut room).is_empty());
        room.look(at, complete);
        assert_eq!(pids(&mut room), [1, 2]);
    }

    #[test]
    fn nobody_waits_for_longer_than_is_allowed() {
        let at = Instant::now();
        let mut room = PendingQueue::default();
        room.push(report("a", 1), arrival(at), wait);
        room.push(report("a", 2), arrival(at + PATIENCE / 2), wait);
        assert_eq!(room.deadline(), Some(at + PATIENCE));
        room.look(at + PATIENCE, wait);
        assert_eq!(pids(&mut room), [1]);
        room.look(at + PATIENCE * 2, wait);
        assert_eq!(pids(&mut room), [2]);
    }

    #[test]
    fn what_only_the_pods_status_tells_is_waited_for_longer_but_not_at_the_end() {
        let at = Instant::now();
        let mut room = PendingQueue::default();
        let wait_for_status = |_: &mut Report, _: Arrival| Answer::WaitForStatus;
        room.push(report("a", 1), arrival(at), wait);
        room.look(at, wait_for_status);
        assert_eq!(room.deadline(), Some(at + STATUS_PATIENCE));
        room.look(at + PATIENCE, wait_for_status);
        assert!(pids(&mut room).is_empty());
        room.look(at + STATUS_PATIENCE, wait_for_status);
        assert_eq!(pids(&mut room), [1]);
        room.push(report("a", 2), arrival(at), wait_for_status);
        room.close();
        assert_eq!(room.deadline(), Some(at + PATIENCE));
        room.look(at + PATIENCE, wait_for_status);
        assert_eq!(pids(&mut room), [2]);
    }

    #[test]
    fn whoever_waits_for_another_is_not_the_next_to_leave() {
        let at = Instant::now();
        let mut room = PendingQueue::default();
        room.push(report("a", 1), arrival(at), |_, _| Answer::WaitForStatus);
        room.push(report("a", 2), arrival(at), wait);
        assert_eq!(room.deadline(), Some(at + STATUS_PATIENCE));
        room.look(at + STATUS_PATIENCE, wait);
        assert_eq!(pids(&mut room), [1, 2]);
    }

    #[test]
    fn full_room_lets_the_oldest_go() {
        let at = Instant::now();
        let mut room = PendingQueue::default();
        for pid in 0..=u32::try_from(WAITING_MAX).expect("few") {
            room.push(report(&pid.to_string(), pid), arrival(at), wait);
        }
        assert_eq!(pids(&mut room), [0]);
        assert_eq!(room.waiting.len(), WAITING_MAX);
    }
}
