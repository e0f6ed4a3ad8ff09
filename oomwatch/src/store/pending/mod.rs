//! Queue of what is to be written to the history database: kills in the order in which they arrived, each once, and the latest
//! value of each row of state. Bounded. Pure.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tracing::error;

use super::{Batch, row::Row};
use crate::model::persist::Change;

/// Maximum number of queued kills: enough for a disk that is full for hours. Beyond that the oldest are dropped.
const MAX_KILLS: usize = 4096;
/// Queued kills from which on further ones are queued without their accounts, which take most of the memory.
const MAX_ACCOUNTS: usize = 512;
/// Maximum number of queued gaps. Beyond that the oldest are dropped.
const MAX_GAPS: usize = 256;

/// Order of arrival: number of the batch, and position within it.
pub(super) type Sequence = (u64, usize);

/// Batches that are not written yet.
#[derive(Debug, Default)]
pub struct Pending {
    kills: BTreeMap<Sequence, PendingKill>,
    by_id: HashMap<String, Sequence>,
    gaps: VecDeque<Row>,
    state: BTreeMap<(&'static str, String), Value>,
    duplicates: Vec<String>,
    /// Number of the newest batch.
    ticket: u64,
    has_batch: bool,
}

/// What is to be written of a kill, which may be in the database already.
#[derive(Debug, Default)]
pub(super) struct PendingKill {
    pub(super) id: String,
    /// Absent if the kill is only to be marked as delivered.
    pub(super) row: Option<Row>,
    /// The kill was captured, and is to be inserted unless the database has it.
    pub(super) is_new: bool,
    /// When it got its names; absent while it has none.
    pub(super) named: Option<Sequence>,
    pub(super) is_delivered: bool,
}

/// The pending value of a row of the state.
#[derive(Debug)]
struct Value {
    /// JSON; absent if the row is to be removed.
    json: Option<String>,
    /// The database does not have the row.
    is_new: bool,
}

/// A change of a kill's state.
enum Step {
    New(Row),
    Named(Row),
    Delivered,
}

/// What adding to the queue led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Kills in the queue.
    pub kills: usize,
    /// Kills and gaps that were just dropped.
    pub dropped: u64,
}

impl Pending {
    /// Adds a batch, which must be the newest.
    #[must_use]
    pub fn add(&mut self, ticket: u64, batch: &Batch) -> Backlog {
        let Batch {
            kills,
            named,
            delivered,
            gaps,
            state,
        } = batch;
        let mut backlog = Backlog::default();
        let mut row = |made: serde_json::Result<Row>| {
            made.inspect_err(|error| {
                error!(%error, "failed to encode a kill for the history, dropping it");
                backlog.dropped += 1;
            })
            .ok()
        };
        let new = kills
            .iter()
            .filter_map(|report| row(Row::from_report(report)));
        let new: Vec<_> = new.map(|row| (row.id.clone(), Step::New(row))).collect();
        let named = named
            .iter()
            .filter_map(|report| row(Row::from_report(report)));
        let named: Vec<_> = named
            .map(|row| (row.id.clone(), Step::Named(row)))
            .collect();
        let gaps: Vec<_> = gaps
            .iter()
            .filter_map(|gap| row(Row::from_gap(gap)))
            .collect();
        let delivered = delivered.iter().map(|id| (id.clone(), Step::Delivered));
        let steps = new.into_iter().chain(named).chain(delivered);
        for (position, (id, step)) in steps.enumerate() {
            self.step((ticket, position), id, step);
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
        backlog.dropped += self.enforce_bounds();
        backlog.kills = self.kills.len();
        backlog
    }

    fn step(&mut self, sequence: Sequence, id: String, mut step: Step) {
        if self.kills.len() >= MAX_ACCOUNTS
            && let Step::New(row) | Step::Named(row) = &mut step
        {
            row.account = None;
        }
        let position = *self.by_id.entry(id.clone()).or_insert(sequence);
        let kill = self.kills.entry(position).or_default();
        let is_first = position == sequence;
        kill.id = id;
        match step {
            Step::New(_) if !is_first => self.duplicates.push(kill.id.clone()),
            Step::New(row) => {
                kill.row = Some(row);
                kill.is_new = true;
            }
            Step::Named(row) => {
                kill.row = Some(row);
                kill.named = Some(sequence);
            }
            Step::Delivered => kill.is_delivered = true,
        }
    }

    /// Drops a row that was created and removed since the last transaction, so that the queue holds no more rows than the
    /// state has or had.
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

    /// Appends what arrived while this could not be written.
    #[must_use]
    pub fn extend(&mut self, later: Self) -> Backlog {
        let Self {
            kills,
            by_id: _,
            gaps,
            state,
            duplicates,
            ticket,
            has_batch,
        } = later;
        for (sequence, kill) in kills {
            let PendingKill {
                id,
                row,
                is_new,
                named,
                is_delivered,
            } = kill;
            match (row, named) {
                (Some(row), Some(named)) => {
                    if is_new {
                        self.step(sequence, id.clone(), Step::New(row.clone()));
                    }
                    self.step(named, id.clone(), Step::Named(row));
                }
                (Some(row), None) => self.step(sequence, id.clone(), Step::New(row)),
                (None, _) => {}
            }
            if is_delivered {
                self.step(sequence, id, Step::Delivered);
            }
        }
        self.gaps.extend(gaps);
        for (key, value) in state {
            self.change(key, value);
        }
        self.duplicates.extend(duplicates);
        self.ticket = self.ticket.max(ticket);
        self.has_batch |= has_batch;
        Backlog {
            dropped: self.enforce_bounds(),
            kills: self.kills.len(),
        }
    }

    /// Drops the oldest entries beyond the bounds; new kills first, since changes of kills that are in the database prevent a
    /// second delivery. Returns the number of dropped kills and gaps.
    fn enforce_bounds(&mut self) -> u64 {
        let mut dropped = 0;
        while self.kills.len() > MAX_KILLS {
            let new = self.kills.iter().find(|(_, kill)| kill.is_new);
            let oldest = new.or_else(|| self.kills.first_key_value());
            let Some(kill) = oldest
                .map(|(sequence, _)| *sequence)
                .and_then(|sequence| self.kills.remove(&sequence))
            else {
                break;
            };
            self.by_id.remove(&kill.id);
            dropped += u64::from(kill.row.is_some());
        }
        while self.gaps.len() > MAX_GAPS {
            self.gaps.pop_front();
            dropped += 1;
        }
        dropped
    }

    /// Whether no batch was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.has_batch
    }

    /// Number of the newest batch.
    #[must_use]
    pub fn ticket(&self) -> u64 {
        self.ticket
    }

    /// Number of queued kills.
    #[must_use]
    pub fn kills(&self) -> usize {
        self.kills.len()
    }

    /// The kills in the order in which they arrived.
    pub(super) fn in_order(&self) -> impl Iterator<Item = &PendingKill> {
        self.kills.values()
    }

    /// The kills that got names, in the order in which they got them.
    pub(super) fn named(&self) -> Vec<&PendingKill> {
        let mut named: Vec<&PendingKill> = self.kills.values().collect();
        named.retain(|kill| kill.named.is_some());
        named.sort_by_key(|kill| kill.named);
        named
    }

    pub(super) fn gaps(&self) -> impl Iterator<Item = &Row> {
        self.gaps.iter()
    }

    pub(super) fn state(&self) -> impl Iterator<Item = (&'static str, &str, Option<&str>)> {
        let state = self.state.iter();
        state.map(|((part, key), value)| (*part, key.as_str(), value.json.as_deref()))
    }

    /// Ids of captured kills that arrived a second time.
    pub(super) fn duplicates(&self) -> &[String] {
        &self.duplicates
    }
}

#[cfg(test)]
mod tests;
