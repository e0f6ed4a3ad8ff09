//! The history database: every kill, and the state that the agent resumes from after a restart, in one SQLite file.
//!
//! A dedicated thread writes the file, so the async runtime never waits for a disk. [`History::write`] returns a [`Ticket`]; an
//! [`Answer`] for it follows. Batches that arrive during a transaction share the next one. A batch that cannot be written stays
//! in memory, within bounds, and is retried; the answer says so.
//!
//! A kill is *new* when it was captured, *named* when its pod and container were resolved, and *delivered* when all outputs have
//! it. At its start the agent reads the kills that were not delivered, and the state as of the last transaction ([`Restored`]).
//!
//! This module does not interpret the state, and does not deliver kills. [`Lock`] keeps a second agent out.

mod accounts;
pub mod codec;
mod compaction;
mod database;
mod error;
pub(crate) mod files;
mod kills;
mod meta;
mod pending;
pub mod read;
mod retention;
mod row;
pub mod schema;
#[cfg(test)]
mod testing;
mod writer;

use std::{path::PathBuf, time::Duration};

use crate::{
    model::{
        persist::{Change, Entry, clock::PersistentClock},
        report::{GapReport, Report},
    },
    sys::clock,
};

pub use self::{
    compaction::MAX_ROWS,
    database::{Store, Written},
    error::StoreError,
    files::{FILE, FOLDER, Lock, LockError},
    meta::OpenMode,
    pending::{Backlog, Pending},
    writer::{Answers, History},
};

/// Location and bounds of the history database.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of the database file.
    pub folder: PathBuf,
    /// Maximum size of the database file in bytes, free pages not counted. The write-ahead log of about 1 MiB comes on top.
    pub max_bytes: u64,
    /// Older kills are deleted. Age is measured by [`PersistentClock`].
    pub max_age: Duration,
    /// Parts of the state that are void after a reboot.
    pub boot_parts: &'static [&'static str],
    /// Parts of the state that are of the machine's boot, not of the node: they stay valid where the node is renamed.
    pub machine_parts: &'static [&'static str],
}

impl Default for Config {
    fn default() -> Self {
        Self {
            folder: FOLDER.into(),
            max_bytes: 64 << 20,
            max_age: Duration::from_hours(30 * 24),
            boot_parts: &[],
            machine_parts: &[],
        }
    }
}

/// The machine, node, boot and process that write a history database.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// The node's name.
    pub node: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Identifies this process among all that ever wrote the database.
    run: String,
    /// The process whose state this one resumed by reading a database that it could not open for writing.
    predecessor: Option<String>,
}

impl Identity {
    /// The identity of this process.
    #[must_use]
    pub fn new(machine_id: String, node: String, boot_id: String) -> Self {
        let run = format!("{:x}-{}", clock::since_boot_ns(), std::process::id());
        Self {
            machine_id,
            node,
            boot_id,
            run,
            predecessor: None,
        }
    }
}

/// What an agent resumes from at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Where the database comes from.
    pub provenance: Provenance,
    /// The clock of the state, which continues over restarts and reboots.
    pub clock: PersistentClock,
    /// Kills that were not delivered: first those with names, in the order in which they got them, then the others, in the
    /// order in which they were captured.
    pub undelivered: Vec<(RowState, Report)>,
    /// The state, without the parts that are void.
    pub state: Vec<Entry>,
}

/// Where the database comes from, as seen by an agent that starts. It stays the same at the next start if nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// There was no database; a new one was created.
    First,
    /// This node wrote it on this boot.
    SameBoot,
    /// This node wrote it on an earlier boot. [`Config::boot_parts`] of the state are void.
    Rebooted,
    /// This machine wrote it on this boot, under another name of the node. Only [`Config::machine_parts`] of the state are valid.
    Renamed,
    /// Another machine wrote it, or another node on an earlier boot. Its kills stay in the history; all state is void.
    Other,
    /// The previous database could not be used and was moved away. This one is empty.
    Replaced,
    /// The folder or file cannot be used. The writer retries.
    Unusable,
}

/// How far a kill has been processed. The numbers are those of the column `state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowState {
    /// It was captured.
    New = 0,
    /// Its pod and container were resolved.
    Named = 1,
    /// All outputs have it.
    Delivered = 2,
}

/// What is written in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Kills that were captured.
    pub kills: Vec<Report>,
    /// Kills that got their names, in this order.
    pub named: Vec<Report>,
    /// Ids of kills that were delivered.
    pub delivered: Vec<String>,
    /// Kills that were counted, not observed.
    pub gaps: Vec<GapReport>,
    /// Changes of the state. A later change of a row replaces an earlier one.
    pub state: Vec<Change>,
}

impl Batch {
    /// Whether the batch has nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            kills,
            named,
            delivered,
            gaps,
            state,
        } = self;
        kills.is_empty()
            && named.is_empty()
            && delivered.is_empty()
            && gaps.is_empty()
            && state.is_empty()
    }
}

/// Number of a batch; later batches have greater numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// The outcome of all batches up to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The newest of these batches.
    pub ticket: Ticket,
    /// Their outcome.
    pub outcome: Outcome,
    /// Ids of kills that the database had already: they must not be counted or delivered again.
    pub duplicates: Vec<String>,
    /// The database has none of this agent's earlier state changes: all state must be written again.
    pub needs_full_state: bool,
}

/// Whether a batch is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The batch is on the disk.
    Saved,
    /// The batch could not be written. It stays in memory; another answer follows once it is written.
    Deferred,
}

/// Health of the history database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Why the database cannot be written; absent if it can.
    pub failure: Option<String>,
    /// Size of the database file in bytes, free pages not counted.
    pub bytes: u64,
    /// Failed attempts to write since the start.
    pub errors: u64,
    /// Kills, gaps and rows of the state that were dropped since the start.
    pub dropped: u64,
    /// Kills that are in memory only.
    pub pending: usize,
}
