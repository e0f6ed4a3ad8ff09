//! The journal: every kill, and what the agent must know after a restart, in one SQLite file.
//!
//! A thread of its own writes it; the runtime never waits for a disk. Whoever writes gets a [`Ticket`], and later
//! an [`Answer`]. What came while a transaction was under way goes into the next one. What cannot be written is kept, within
//! bounds, and tried again: the answers say so, and nothing else stops.
//!
//! A kill is *new* when it was seen, *named* when it is known whose it was, and *told* when it was handed to all who are told of
//! kills. A start finds those that were not told yet, and the state as of the last transaction ([`Restored`]).
//!
//! It does not know what the state means, nor who is told; and it does not keep a second agent out: [`Lock`] does.

mod age;
mod compaction;
mod database;
mod error;
mod files;
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
        persist::{Change, Entry},
        report::{GapReport, Report},
    },
    sys::clock,
};

pub use self::{
    age::Now,
    compaction::MAX_ROWS,
    database::{OpenMode, Store, Written},
    error::StoreError,
    files::{FILE, FOLDER, Lock, LockError},
    pending::{Load, Pending},
    writer::{Answers, History},
};

/// Where the journal is, and how much of it is kept.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its folder.
    pub folder: PathBuf,
    /// Bytes of its file that are used, at most; the write-ahead log of about 1 MiB comes on top.
    pub max_bytes: u64,
    /// Kills that are older go. The agent's own clock counts: see `age`.
    pub max_age: Duration,
    /// Parts of the state that hold for one boot.
    pub boot_parts: &'static [&'static str],
}

impl Default for Config {
    fn default() -> Self {
        Self {
            folder: FOLDER.into(),
            max_bytes: 64 << 20,
            max_age: Duration::from_hours(30 * 24),
            boot_parts: &[],
        }
    }
}

/// Whose journal it is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// Name of the node.
    pub node: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Tells this process from others.
    run: String,
    /// The process whose state this one goes on from although it could not open the journal to be written.
    predecessor: Option<String>,
}

impl Identity {
    /// This process's.
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

/// What the journal holds for an agent that starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What can be gone on from.
    pub standing: Provenance,
    /// Kills that were not told: those that have their names in the order in which they got them, then the others in the
    /// order in which they were seen.
    pub open: Vec<(RowState, Report)>,
    /// The state, without what does not hold any more.
    pub state: Vec<Entry>,
}

/// What a journal is to an agent that starts; the same at the next start, until something was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// There was none.
    First,
    /// It was written on this boot.
    SameBoot,
    /// It was written on an earlier boot. [`Config::boot_parts`] of the state are void.
    Rebooted,
    /// It is of another machine or node. Its kills stay as history; all state is void.
    Other,
    /// There was one that could not be used and was set aside. This one is empty.
    Replaced,
    /// There is none: the folder or file cannot be used. It is tried again.
    Unusable,
}

/// What has become of a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowState {
    /// Seen.
    New = 0,
    /// It is known whose it was.
    Named = 1,
    /// All were told.
    Told = 2,
}

/// What is to be written in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Kills that were seen.
    pub kills: Vec<Report>,
    /// Kills that have their names, in this order.
    pub named: Vec<Report>,
    /// Ids of kills that were told.
    pub told: Vec<String>,
    /// Kills that were only counted.
    pub gaps: Vec<GapReport>,
    /// Changes of the state; a later one of a row wins.
    pub state: Vec<Change>,
}

impl Batch {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            kills,
            named,
            told,
            gaps,
            state,
        } = self;
        kills.is_empty()
            && named.is_empty()
            && told.is_empty()
            && gaps.is_empty()
            && state.is_empty()
    }
}

/// A batch; later ones have greater numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What has become of all batches up to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The newest of them.
    pub ticket: Ticket,
    /// What has become of them.
    pub outcome: Outcome,
    /// Ids of kills that were in the journal already, and are not to be counted or told again.
    pub known: Vec<String>,
    /// The journal is not the one that was read at the start, nor one that has had the changes since: all state has to be
    /// written anew.
    pub is_fresh: bool,
}

/// What has become of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is on the disk.
    Saved,
    /// It could not be written. It is kept, and another answer follows when it is.
    Kept,
}

/// How the journal is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Why it is not written; absent while it is.
    pub failure: Option<String>,
    /// Bytes of its file that are used.
    pub bytes: u64,
    /// Times that it could not be written, since the start.
    pub errors: u64,
    /// Kills, gaps and rows of the state that were given up, since the start.
    pub lost: u64,
    /// Kills that wait to be written.
    pub waiting: usize,
}

pub mod codec;
