//! A model of the API server, and of an agent with its journal before it.

use super::*;
use crate::{
    deliver::events::{answer::Cause, queue::Request},
    model::persist::rows::Rows,
};

/// Events by name: their counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) events: BTreeMap<Metadata, u32>,
    /// A count has become less.
    pub(super) is_lowered: bool,
}

impl Server {
    pub(super) fn write(&mut self, request: &Request) -> Answer {
        let Request { method, event, .. } = request;
        let name = &event.metadata;
        match (method, self.events.get(name)) {
            (Method::Create, Some(_)) => return Answer::AlreadyExists,
            (Method::Count, None) => return Answer::NoSuchEvent,
            (Method::Create, None) => {}
            (Method::Count, Some(count)) => self.is_lowered |= event.count < *count,
        }
        self.events.insert(name.clone(), event.count);
        Answer::Accepted
    }

    pub(super) fn incidents(&self) -> u32 {
        self.events.values().sum()
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    /// It is done, and nobody hears of it.
    AnswerLost,
    /// It is not done.
    Lost,
    /// It is done, and its answer is still to come.
    UnderWay,
}

/// An agent.
pub(super) struct Agent {
    pub(super) server: Server,
    pub(super) recorder: Recorder,
    pub(super) rows: Rows,
    pub(super) now: u64,
    /// What was taken, and how many of it the journal has as told.
    taken: Vec<Report>,
    told: usize,
    under_way: Vec<Metadata>,
}

impl Agent {
    pub(super) fn new(server: Server, now: u64) -> Self {
        let mut agent = Self {
            server,
            recorder: Recorder::restore(patient(), &[], at(now)),
            rows: Rows::default(),
            now,
            taken: Vec::new(),
            told: 0,
            under_way: Vec::new(),
        };
        // As the agent does before it hands over anything.
        agent.save();
        agent
    }

    pub(super) fn take(&mut self, report: Report) {
        take(&mut self.recorder, &report, self.now);
        self.taken.push(report);
    }

    /// What was taken so far is told, and what came of it is saved, in one transaction.
    pub(super) fn save(&mut self) {
        self.rows.save(self.recorder.changes());
        self.told = self.taken.len();
    }

    pub(super) fn send(&mut self, fate: Fate) {
        let Next::Send(request) = self.recorder.next(at(self.now)) else {
            return;
        };
        let name = &request.event.metadata;
        let unheard = Answer::Later {
            cause: Cause::Unreachable,
            after: None,
        };
        let answer = match fate {
            Fate::Answered => self.server.write(&request),
            Fate::AnswerLost => {
                self.server.write(&request);
                unheard
            }
            Fate::Lost => unheard,
            Fate::UnderWay => {
                self.server.write(&request);
                return self.under_way.push(name.clone());
            }
        };
        self.recorder.answered(name, &answer, at(self.now), 0.5);
    }

    /// It is killed, and started again.
    pub(super) fn crash(&mut self) {
        self.under_way.clear();
        self.recorder = Recorder::restore(patient(), &self.rows.entries(), at(self.now));
        for report in &self.taken[self.told..] {
            take(&mut self.recorder, report, self.now);
        }
    }

    /// The server answers until there is nothing left to tell.
    pub(super) fn finish(&mut self) {
        for name in std::mem::take(&mut self.under_way) {
            let answer = Answer::Later {
                cause: Cause::Unreachable,
                after: None,
            };
            self.recorder.answered(&name, &answer, at(self.now), 0.5);
        }
        loop {
            match self.recorder.next(at(self.now)) {
                Next::Send(request) => {
                    let name = request.event.metadata.clone();
                    let answer = self.server.write(&request);
                    self.recorder.answered(&name, &answer, at(self.now), 0.5);
                }
                Next::Wait(None) => return,
                Next::Wait(Some(wake)) => {
                    self.now = (wake - START).div_ceil(SECOND_NS).max(self.now + 1);
                }
            }
        }
    }
}

/// Nothing is too old.
fn patient() -> Policy {
    Policy {
        max_age: Duration::from_hours(1000),
        ..policy()
    }
}
