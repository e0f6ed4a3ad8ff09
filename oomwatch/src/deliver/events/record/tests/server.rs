//! A model of the API server, and of an agent with its history.

use super::*;
use crate::deliver::events::{pending_event::Request, response::Cause};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// The counts of Events by name.
    pub(super) events: BTreeMap<Metadata, u32>,
    /// Whether a count has decreased.
    pub(super) is_lowered: bool,
    pub(super) is_reachable: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            events: BTreeMap::new(),
            is_lowered: false,
            is_reachable: true,
        }
    }
}

impl Server {
    pub(super) fn write(&mut self, request: &Request) -> Response {
        if !self.is_reachable {
            return UNREACHABLE;
        }
        let Request { method, event, .. } = request;
        let name = &event.metadata;
        match (method, self.events.get(name)) {
            (Method::Create, Some(_)) => return Response::AlreadyExists,
            (Method::Patch, None) => return Response::NotFound,
            (Method::Create, None) => {}
            (Method::Patch, Some(count)) => self.is_lowered |= event.count < *count,
        }
        self.events.insert(name.clone(), event.count);
        Response::Accepted
    }

    pub(super) fn incidents(&self) -> u32 {
        self.events.values().sum()
    }
}

const UNREACHABLE: Response = Response::RetryLater {
    cause: Cause::Unreachable,
    retry_after: None,
};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Responded,
    /// It is carried out, and the response is lost.
    ResponseLost,
    /// It is not carried out.
    Lost,
    /// It is carried out, and the response comes later.
    InFlight,
}

/// An agent and its history.
pub(super) struct Agent {
    pub(super) server: Server,
    pub(super) recorder: Recorder,
    pub(super) rows: Rows,
    pub(super) now: u64,
    /// The recorded kills, and how many of them are saved.
    recorded: Vec<Report>,
    saved: usize,
    in_flight: Vec<(Metadata, Response)>,
}

impl Agent {
    pub(super) fn new(server: Server, now: u64) -> Self {
        let mut agent = Self {
            server,
            recorder: Recorder::restore(patient(), &[], at(now)),
            rows: Rows::default(),
            now,
            recorded: Vec::new(),
            saved: 0,
            in_flight: Vec::new(),
        };
        // The agent does this before it records anything.
        agent.save();
        agent
    }

    pub(super) fn record(&mut self, report: Report) {
        record(&mut self.recorder, &report, self.now);
        self.recorded.push(report);
    }

    /// Saves the kills recorded so far, and what they led to, in one transaction.
    pub(super) fn save(&mut self) {
        self.rows.save(self.recorder.changes());
        self.saved = self.recorded.len();
    }

    pub(super) fn send(&mut self, fate: Fate) {
        let Next::Send(request) = self.recorder.next(at(self.now)) else {
            return;
        };
        let response = match fate {
            Fate::Lost => UNREACHABLE,
            Fate::Responded | Fate::ResponseLost | Fate::InFlight => self.server.write(&request),
        };
        let name = request.event.metadata;
        match fate {
            Fate::Responded => self.handle_response(&name, &response),
            Fate::ResponseLost | Fate::Lost => self.handle_response(&name, &UNREACHABLE),
            Fate::InFlight => self.in_flight.push((name, response)),
        }
    }

    /// Delivers the response to one of the requests in flight, if there are any.
    pub(super) fn respond(&mut self, index: usize) {
        if !self.in_flight.is_empty() {
            let (name, response) = self.in_flight.swap_remove(index % self.in_flight.len());
            self.handle_response(&name, &response);
        }
    }

    fn handle_response(&mut self, name: &Metadata, response: &Response) {
        let now_ns = at(self.now);
        self.recorder.handle_response(name, response, now_ns, 0.5);
    }

    /// Stops the agent in an orderly way and starts it again.
    pub(super) fn shut_down(&mut self) {
        self.recorder.close(Undelivered::Kept, at(self.now));
        while !self.in_flight.is_empty() {
            self.respond(0);
        }
        let mut requests = 0;
        while self.recorder.has_requests_left() {
            match self.recorder.next(at(self.now)) {
                Next::Send(request) => {
                    let response = self.server.write(&request);
                    self.handle_response(&request.event.metadata, &response);
                    requests += 1;
                    assert!(requests < 1000, "a shutdown that never ends");
                }
                Next::Wait(wake) => {
                    let wake = wake.expect("a time, because a request is left");
                    self.now = (wake - START).div_ceil(SECOND_NS).max(self.now + 1);
                }
            }
        }
        self.save();
        self.crash();
    }

    /// Kills the agent and starts it again.
    pub(super) fn crash(&mut self) {
        self.in_flight.clear();
        self.recorder = Recorder::restore(patient(), &self.rows.entries(), at(self.now));
        for report in &self.recorded[self.saved..] {
            record(&mut self.recorder, report, self.now);
        }
    }

    /// Lets the server respond until everything is delivered.
    pub(super) fn finish(&mut self) {
        for (name, _) in std::mem::take(&mut self.in_flight) {
            self.handle_response(&name, &UNREACHABLE);
        }
        loop {
            match self.recorder.next(at(self.now)) {
                Next::Send(request) => {
                    let name = request.event.metadata.clone();
                    let response = self.server.write(&request);
                    self.recorder
                        .handle_response(&name, &response, at(self.now), 0.5);
                }
                Next::Wait(None) => return,
                Next::Wait(Some(wake)) => {
                    self.now = (wake - START).div_ceil(SECOND_NS).max(self.now + 1);
                }
            }
        }
    }
}

/// A policy by which no incident expires.
fn patient() -> Policy {
    Policy {
        max_age: Duration::from_hours(1000),
        ..policy()
    }
}
