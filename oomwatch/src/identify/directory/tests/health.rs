//! A runtime that is slow, dead, and back: what kills wait for, driven through the pending queue without a clock.

use super::*;
use crate::identify::pending_queue::PendingQueue;

/// Directory and queue as the resolver drives them.
struct Node {
    directory: Directory,
    queue: PendingQueue,
    now: Instant,
}

impl Node {
    fn new(directory: Directory) -> Self {
        Self {
            directory,
            queue: PendingQueue::default(),
            now: Instant::now(),
        }
    }

    fn kill(&mut self, report: Report) {
        let arrival = Arrival {
            at: self.now,
            killed: Some(self.now),
        };
        let directory = &self.directory;
        self.queue.push(report, arrival, |report, arrival| {
            directory.identify(report, arrival)
        });
    }

    /// Names of the kills that are ready after some milliseconds.
    fn after(&mut self, milliseconds: u64) -> Vec<Option<String>> {
        self.now += Duration::from_millis(milliseconds);
        let directory = &self.directory;
        self.queue.poll(self.now, |report, arrival| {
            directory.identify(report, arrival)
        });
        let ready = std::iter::from_fn(|| self.queue.pop());
        ready
            .map(|report| report.container.and_then(|container| container.name))
            .collect()
    }

    fn cri_replies(&mut self, reply: Reply) {
        if reply == Reply::Found {
            let app = runtime_container("app");
            self.directory
                .insert_container(CONTAINER_ID.to_owned(), app, self.now);
        }
        self.directory
            .record_cri_reply(CONTAINER_ID, self.now, reply);
    }
}

const APP: &str = "app";

#[test]
fn kill_leaves_with_its_name_as_soon_as_the_runtime_replies() {
    let mut node = Node::new(with_cri());
    node.kill(report());
    assert!(node.after(100).is_empty());
    node.cri_replies(Reply::Found);
    assert_eq!(node.after(0), [Some(APP.to_owned())]);
}

#[test]
fn kill_of_a_slow_runtime_waits_for_its_name_and_holds_up_no_other() {
    let mut node = Node::new(with_cri());
    node.kill(report());
    assert!(node.after(14_000).is_empty());
    let mut known = report();
    known.container.as_mut().expect("the container").id = OTHER_ID.to_owned();
    let now = node.now;
    node.directory
        .insert_container(OTHER_ID.to_owned(), runtime_container("other"), now);
    node.directory.record_cri_reply(OTHER_ID, now, Reply::Found);
    node.kill(known);
    assert_eq!(node.after(0), [Some("other".to_owned())]);
    node.cri_replies(Reply::Found);
    assert_eq!(node.after(0), [Some(APP.to_owned())]);
}

#[test]
fn kill_of_a_runtime_that_never_answers_leaves_without_a_name() {
    let mut node = Node::new(with_cri());
    node.kill(report());
    assert!(node.after(14_999).is_empty());
    assert_eq!(node.after(1), [None]);
    node.cri_replies(Reply::Found);
    node.kill(report());
    assert_eq!(node.after(0), [Some(APP.to_owned())]);
}

#[test]
fn status_of_the_pod_is_enough_while_the_runtime_is_slow() {
    let mut directory = with_cri();
    directory.set_watch(WatchState::Up);
    let mut node = Node::new(directory);
    let insert = |node: &mut Node, ids: &[&str]| {
        let app = container(APP, ContainerKind::Main, ids);
        node.directory.insert_pod(pod(POD_UID, vec![app]), node.now);
    };
    insert(&mut node, &[]);
    node.kill(report());
    assert!(node.after(3_000).is_empty());
    insert(&mut node, &[CONTAINER_ID]);
    assert_eq!(node.after(0), [Some(APP.to_owned())]);
}

#[test]
fn dead_runtime_delays_no_kill_until_it_is_tried_again_and_is_back_with_its_reply() {
    let mut node = Node::new(with_cri());
    node.directory.set_cri_down(node.now);
    assert_eq!(node.directory.is_runtime_up(), Some(false));
    for _ in 0..5 {
        node.kill(report());
        assert_eq!(node.after(0), [None]);
        assert!(node.after(1001).is_empty());
    }
    // Down for longer than the delay between attempts: a kill waits, and its query fails.
    node.kill(report());
    assert!(node.after(1).is_empty());
    node.directory.set_cri_down(node.now);
    node.cri_replies(Reply::Failed);
    assert_eq!(node.after(0), [None]);
    node.kill(report());
    assert_eq!(node.after(0), [None]);
    assert!(node.after(5001).is_empty());
    node.kill(report());
    assert!(node.after(1).is_empty());
    node.directory.set_cri_up(Some(Runtime::Containerd));
    assert_eq!(node.directory.is_runtime_up(), Some(true));
    node.cri_replies(Reply::Found);
    assert_eq!(node.after(0), [Some(APP.to_owned())]);
}

#[test]
fn docker_is_up_again_with_its_first_reply() {
    let plain = || {
        let mut report = report();
        report.pod = None;
        report
    };
    let mut directory = Directory::default();
    directory.enable_docker();
    let mut node = Node::new(directory);
    node.directory.set_docker_down(node.now);
    node.kill(plain());
    assert_eq!(node.after(0), [None]);
    assert!(node.after(6000).is_empty());
    node.kill(plain());
    assert!(node.after(1).is_empty());
    node.directory
        .record_docker_reply(Runtime::Docker, CONTAINER_ID, node.now, Reply::NotFound);
    assert_eq!(node.after(0), [None]);
    assert_eq!(node.directory.is_runtime_up(), Some(true));
}
