//! Whatever the order of incidents, requests, responses and restarts: each incident has exactly one outcome.

use proptest::prelude::*;

use super::*;
use crate::{deliver::events::event_counter::ConflictResolution, model::persist::rows::Rows};

const OBJECTS: usize = 6;

/// Something that can happen to an event queue.
#[derive(Clone, Debug)]
enum Step {
    Incident { object: usize, is_held: bool },
    Pass(u64),
    Send,
    Respond(usize, Response),
    Release(usize),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let object = 0..OBJECTS;
    prop_oneof![
        4 => (object.clone(), any::<bool>())
            .prop_map(|(object, is_held)| Step::Incident { object, is_held }),
        4 => (0..900_u64).prop_map(Step::Pass),
        4 => Just(Step::Send),
        4 => (object.clone(), response())
            .prop_map(|(object, response)| Step::Respond(object, response)),
        4 => object.prop_map(Step::Release),
        1 => Just(Step::Restart),
    ]
}

fn response() -> impl Strategy<Value = Response> {
    prop::sample::select(vec![
        Response::Accepted,
        Response::AlreadyExists,
        Response::NotFound,
        Response::Refused(Refusal::Invalid),
        Response::Refused(Refusal::NoNamespace),
        later(Cause::Unreachable),
        later(Cause::Forbidden),
        later(Cause::TooMany),
    ])
}

/// What the recorder knows of an object.
struct TestObject {
    name: String,
    count: u32,
    ownership: Ownership,
    is_in_flight: bool,
}

/// A queue, its objects, and the number of incidents that were pushed and settled.
struct Model {
    queue: TestQueue,
    objects: Vec<TestObject>,
    rows: Rows,
    pushed: u64,
    settled: u64,
}

impl Model {
    fn new(ownerships: Vec<bool>) -> Self {
        let object = |(number, is_ours)| TestObject {
            name: name(number),
            count: 0,
            ownership: if is_ours {
                Ownership::Ours
            } else {
                Ownership::Unknown
            },
            is_in_flight: false,
        };
        Self {
            queue: TestQueue::new(),
            objects: ownerships.into_iter().enumerate().map(object).collect(),
            rows: Rows::default(),
            pushed: 0,
            settled: 0,
        }
    }

    fn step(&mut self, step: Step, random: f64) {
        match step {
            Step::Incident { object, is_held } => {
                let object = &mut self.objects[object];
                object.count += 1;
                self.pushed += 1;
                let incident = QueuedIncident {
                    object: Object::Pod,
                    counted: CountedEvent {
                        event: event(&object.name, object.count),
                        ownership: object.ownership,
                        decision: if is_held {
                            WriteDecision::Hold
                        } else {
                            WriteDecision::Write
                        },
                        pace_ns: 10 * SECOND_NS,
                    },
                    time_ns: self.queue.now_ns(),
                    not_before_ns: 0,
                };
                self.queue.inner.push(incident, self.queue.now_ns());
            }
            Step::Pass(seconds) => self.queue.now += seconds,
            Step::Send => {
                if let Some((_, sent, count)) = self.queue.sent() {
                    let mut objects = self.objects.iter_mut();
                    let object = objects.find(|object| object.name == sent);
                    let object = object.expect("the name of an object");
                    assert!(!object.is_in_flight, "two requests for {sent}");
                    assert_eq!(count, object.count);
                    object.is_in_flight = true;
                }
            }
            Step::Respond(object, response) => self.respond(object, &response, random),
            Step::Release(object) => {
                let name = event(&self.objects[object].name, 1).metadata;
                self.queue.inner.release(&name, self.queue.now_ns());
            }
            Step::Restart => {
                self.rows.save(self.queue.inner.changes());
                let now_ns = self.queue.now_ns();
                let entries = self.rows.entries();
                self.queue.inner = EventQueue::restore(&entries, HOUR * SECOND_NS, now_ns, now_ns);
                for object in &mut self.objects {
                    object.is_in_flight = false;
                }
            }
        }
        self.settle();
        assert_eq!(self.settled + self.queue.inner.pending(), self.pushed);
    }

    fn respond(&mut self, object: usize, response: &Response, random: f64) {
        let object = &mut self.objects[object];
        object.is_in_flight = false;
        let name = event(&object.name, 1).metadata;
        let now_ns = self.queue.now_ns();
        let effect = self
            .queue
            .inner
            .handle_response(&name, response, now_ns, random);
        match effect.resolution {
            Some(ConflictResolution::Ours) => object.ownership = Ownership::Ours,
            Some(ConflictResolution::Others(next)) => {
                object.name = next.name;
                object.count -= 1;
            }
            None => {}
        }
    }

    fn settle(&mut self) {
        let settled = self.queue.settled().into_iter();
        self.settled += settled
            .map(|(_, incidents)| u64::from(incidents))
            .sum::<u64>();
    }

    /// Releases everything and lets the server accept every request.
    fn finish(&mut self) {
        for object in 0..OBJECTS {
            if self.objects[object].is_in_flight {
                self.respond(object, &Response::Accepted, 0.5);
            }
            let name = event(&self.objects[object].name, 1).metadata;
            self.queue.inner.release(&name, self.queue.now_ns());
        }
        for _ in 0..1000 {
            match self.queue.next() {
                Next::Send(request) => {
                    let name = &request.event.metadata.name;
                    self.queue.respond(name, &Response::Accepted);
                }
                Next::Wait(None) => return self.settle(),
                Next::Wait(Some(until)) => {
                    self.queue.now = until.div_ceil(SECOND_NS).max(self.queue.now + 1);
                }
            }
        }
        panic!("the queue has something to do forever");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    // C58, and more: for any responses of the server.
    #[test]
    fn every_incident_has_one_outcome_or_is_pending(
        steps in prop::collection::vec(step(), 0..200),
        ownerships in prop::collection::vec(any::<bool>(), OBJECTS),
        random in 0.0..1.0,
        is_abandoned in any::<bool>(),
    ) {
        let mut model = Model::new(ownerships);
        for step in steps {
            model.step(step, random);
        }
        if is_abandoned {
            let now_ns = model.queue.now_ns();
            model.queue.inner.close(Undelivered::Abandoned, now_ns);
            model.queue.inner.abandon(now_ns);
            model.settle();
        } else {
            model.finish();
        }
        prop_assert_eq!((model.settled, model.queue.inner.pending()), (model.pushed, 0));
    }
}
