//! What is still to be written: in the order in which it came, each kill once, each row of state as it is now. Bounded, and so
//! in memory. Pure.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tracing::error;

use super::{Batch, row::Row};
use crate::model::persist::Change;

/// Kills that wait, at most: the journal of a disk that is full for hours. Beyond that the oldest are given up.
const MAX_KILLS: usize = 4096;
/// Times that kills were only counted, likewise.
const MAX_GAPS: usize = 256;

/// Where something stands in the order: the batch that it came with, and its place there.
pub(super) type Sequence = (u64, usize);

/// Batches on their way into the journal.
#[derive(Debug, Default)]
pub struct Pending {
    kills: BTreeMap<Sequence, Waiting>,
    by_id: HashMap<String, Sequence>,
    gaps: VecDeque<Row>,
    state: BTreeMap<(&'static str, String), Value>,
    known: Vec<String>,
    /// The newest batch.
    ticket: u64,
    has_batch: bool,
}

/// What is to be written of a kill; it may be in the journal already.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) id: String,
    /// Absent where it is only to be marked as told.
    pub(super) row: Option<Row>,
    /// It was not in the journal when it came here.
    pub(super) is_new: bool,
    /// Its place among those with names.
    pub(super) named: Option<Sequence>,
    pub(super) is_told: bool,
}

/// What is to become of a row of the state.
#[derive(Debug)]
struct Value {
    /// JSON; absent if it is to be removed.
    json: Option<String>,
    /// It is not in the journal.
    is_new: bool,
}

/// What a batch makes of a kill.
enum Step {
    New(Row),
    Named(Row),
    Told,
}

/// How much is waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Kills.
    pub kills: usize,
    /// Kills that had to be given up just now, and gaps.
    pub lost: u64,
}

impl Pending {
    /// Takes a batch, which is the newest.
    #[must_use]
    pub fn add(&mut self, ticket: u64, batch: &Batch) -> Load {
        let Batch {
            kills,
            named,
            told,
            gaps,
            state,
        } = batch;
        let mut load = Load::default();
        let mut row = |made: serde_json::Result<Row>| {
            made.inspect_err(|error| {
                error!(%error, "a kill cannot be written to the journal");
                load.lost += 1;
            })
            .ok()
        };
        let new = kills.iter().filter_map(|report| row(Row::new(report)));
        let new: Vec<_> = new.map(|row| (row.id.clone(), Step::New(row))).collect();
        let named = named.iter().filter_map(|report| row(Row::new(report)));
        let named: Vec<_> = named
            .map(|row| (row.id.clone(), Step::Named(row)))
            .collect();
        let gaps: Vec<_> = gaps
            .iter()
            .filter_map(|gap| row(Row::of_gap(gap)))
            .collect();
        let told = told.iter().map(|id| (id.clone(), Step::Told));
        let steps = new.into_iter().chain(named).chain(told);
        for (place, (id, step)) in steps.enumerate() {
            self.step((ticket, place), id, step);
        }
        self.gaps.extend(gaps);
        for change in state.iter().cloned() {
            let Change {
                part,
                key,
                value: json,
                is_new,
            } = change;
            self.change((part, key), Value { json, is_new });
        }
        self.ticket = self.ticket.max(ticket);
        self.has_batch = true;
        load.lost += self.bound();
        load.kills = self.kills.len();
        load
    }

    fn step(&mut self, turn: Sequence, id: String, step: Step) {
        let place = *self.by_id.entry(id.clone()).or_insert(turn);
        let waiting = self.kills.entry(place).or_default();
        let is_first = place == turn;
        waiting.id = id;
        match step {
            Step::New(_) if !is_first => self.known.push(waiting.id.clone()),
            Step::New(row) => {
                waiting.row = Some(row);
                waiting.is_new = true;
            }
            Step::Named(row) => {
                waiting.row = Some(row);
                waiting.named = Some(turn);
            }
            Step::Told => waiting.is_told = true,
        }
    }

    /// A row that came and went leaves no trace: no more rows wait than there were, and are.
    fn change(&mut self, key: (&'static str, String), value: Value) {
        let Value { json, is_new } = value;
        let is_new = match self.state.get(&key) {
            Some(before) => before.is_new,
            None => is_new,
        };
        if is_new && json.is_none() {
            self.state.remove(&key);
        } else {
            self.state.insert(key, Value { json, is_new });
        }
    }

    /// Takes what came later behind what could not be written.
    #[must_use]
    pub fn extend(&mut self, later: Self) -> Load {
        let Self {
            kills,
            by_id: _,
            gaps,
            state,
            known,
            ticket,
            has_batch,
        } = later;
        for (turn, waiting) in kills {
            let Waiting {
                id,
                row,
                is_new,
                named,
                is_told,
            } = waiting;
            match (row, named) {
                (Some(row), Some(named)) => {
                    if is_new {
                        self.step(turn, id.clone(), Step::New(row.clone()));
                    }
                    self.step(named, id.clone(), Step::Named(row));
                }
                (Some(row), None) => self.step(turn, id.clone(), Step::New(row)),
                (None, _) => {}
            }
            if is_told {
                self.step(turn, id, Step::Told);
            }
        }
        self.gaps.extend(gaps);
        for (key, value) in state {
            self.change(key, value);
        }
        self.known.extend(known);
        self.ticket = self.ticket.max(ticket);
        self.has_batch |= has_batch;
        Load {
            lost: self.bound(),
            kills: self.kills.len(),
        }
    }

    /// Gives up what is too much: of what is in the journal already, least of all, since it would be told again.
    fn bound(&mut self) -> u64 {
        let mut lost = 0;
        while self.kills.len() > MAX_KILLS {
            let new = self.kills.iter().find(|(_, waiting)| waiting.is_new);
            let oldest = new.or_else(|| self.kills.first_key_value());
            let Some(waiting) = oldest
                .map(|(turn, _)| *turn)
                .and_then(|turn| self.kills.remove(&turn))
            else {
                break;
            };
            self.by_id.remove(&waiting.id);
            lost += u64::from(waiting.row.is_some());
        }
        while self.gaps.len() > MAX_GAPS {
            self.gaps.pop_front();
            lost += 1;
        }
        lost
    }

    /// Whether no batch came.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.has_batch
    }

    /// The newest batch.
    #[must_use]
    pub fn ticket(&self) -> u64 {
        self.ticket
    }

    /// How many kills there are.
    #[must_use]
    pub fn kills(&self) -> usize {
        self.kills.len()
    }

    /// Kills, in the order in which they came.
    pub(super) fn in_order(&self) -> impl Iterator<Item = &Waiting> {
        self.kills.values()
    }

    /// Kills with names, in the order in which they got them.
    pub(super) fn named(&self) -> Vec<&Waiting> {
        let mut named: Vec<&Waiting> = self.kills.values().collect();
        named.retain(|waiting| waiting.named.is_some());
        named.sort_by_key(|waiting| waiting.named);
        named
    }

    pub(super) fn gaps(&self) -> impl Iterator<Item = &Row> {
        self.gaps.iter()
    }

    pub(super) fn state(&self) -> impl Iterator<Item = (&'static str, &str, Option<&str>)> {
        let state = self.state.iter();
        state.map(|((part, key), value)| (*part, key.as_str(), value.json.as_deref()))
    }

    /// Kills that came a second time.
    pub(super) fn known(&self) -> &[String] {
        &self.known
    }
}

#[cfg(test)]
mod tests;
