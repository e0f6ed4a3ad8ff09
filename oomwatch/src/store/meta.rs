//! The table `meta`: which agent wrote the database last, and what another agent may resume from.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::{Config, Identity, Provenance};
use crate::{model::persist::clock::PersistentClock, sys::clock::ClockSample};

/// Rows of `meta`.
const MACHINE: &str = "machine";
const NODE: &str = "node";
const BOOT: &str = "boot";
const RUN: &str = "run";
const CLOCK: &str = "clock";
const REPLACEMENT: &str = "replacement";

/// Why a database is opened.
#[derive(Clone, Copy, Debug)]
pub enum OpenMode<'a> {
    /// The agent starts, and resumes from what is there.
    Start,
    /// The agent was running without the database, with this clock.
    Reopen(&'a PersistentClock),
}

/// The rows of the table `meta`.
#[derive(Debug, Default)]
pub(super) struct Meta(HashMap<String, String>);

/// What the first transaction of an agent removes of what other agents left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reset {
    /// These parts of the state, which are void after a reboot.
    Parts(&'static [&'static str]),
    /// All parts of the state but these, which outlive the node's name.
    AllBut(&'static [&'static str]),
    /// All state. Undelivered kills are marked as delivered, since no agent will deliver them.
    All,
}

impl Meta {
    /// The rows as a transaction leaves them.
    pub(super) fn new(identity: &Identity, clock: &PersistentClock, now: ClockSample) -> Self {
        let Identity {
            machine_id,
            node,
            boot_id,
            run,
            predecessor: _,
        } = identity;
        let rows = [
            (MACHINE, machine_id.clone()),
            (NODE, node.clone()),
            (BOOT, boot_id.clone()),
            (RUN, run.clone()),
            (CLOCK, clock.to_json(now)),
        ];
        Self(rows.map(|(key, value)| (key.to_owned(), value)).into())
    }

    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut statement = connection.prepare("SELECT key, value FROM meta")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Self(rows.collect::<rusqlite::Result<_>>()?))
    }

    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(
            "INSERT INTO meta (key, value) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE value <> excluded.value",
        )?;
        for (key, value) in &self.0 {
            statement.execute(params![key, value])?;
        }
        Ok(())
    }

    /// Records that this database replaces one that was moved away.
    pub(super) fn mark_replacement(connection: &Connection) -> rusqlite::Result<()> {
        Self(HashMap::from([(REPLACEMENT.to_owned(), String::new())])).write(connection)
    }

    /// Where the database comes from, as seen by an agent, and what the agent has to remove.
    pub(super) fn classify(
        &self,
        identity: &Identity,
        mode: OpenMode<'_>,
        config: &Config,
    ) -> (Provenance, Option<Reset>) {
        let is = |key, value: &str| self.get(key) == Some(value);
        let provenance = match self.get(NODE) {
            None if self.get(REPLACEMENT).is_some() => Provenance::Replaced,
            None => Provenance::First,
            Some(node) => {
                let is_same_node = node == identity.node;
                let is_same_boot = is(BOOT, &identity.boot_id);
                match (
                    is(MACHINE, &identity.machine_id),
                    is_same_node,
                    is_same_boot,
                ) {
                    (true, true, true) => Provenance::SameBoot,
                    (true, true, false) => Provenance::Rebooted,
                    (true, false, true) => Provenance::Renamed,
                    (false, _, _) | (true, false, false) => Provenance::Other,
                }
            }
        };
        let predecessor = identity.predecessor.as_deref();
        let is_followed = predecessor.is_some_and(|run| is(RUN, run));
        let is_reopened = matches!(mode, OpenMode::Reopen(_));
        let reset = match provenance {
            _ if is_reopened && is(RUN, &identity.run) => None,
            _ if is_reopened && !is_followed => Some(Reset::All),
            Provenance::SameBoot => None,
            Provenance::Rebooted => Some(Reset::Parts(config.boot_parts)),
            Provenance::Renamed => Some(Reset::AllBut(config.machine_parts)),
            _ => Some(Reset::All),
        };
        (provenance, reset)
    }

    /// The process that wrote the database last.
    pub(super) fn run(&self) -> Option<&str> {
        self.get(RUN)
    }

    /// The clock by which the rows were written.
    pub(super) fn clock(&self, identity: &Identity, now: ClockSample) -> PersistentClock {
        PersistentClock::restore(self.get(CLOCK), &identity.boot_id, now)
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

impl Reset {
    /// Whether a part of the state stays.
    pub(super) fn keeps(&self, part: &str) -> bool {
        match self {
            Self::Parts(void) => !void.contains(&part),
            Self::AllBut(kept) => kept.contains(&part),
            Self::All => false,
        }
    }

    pub(super) fn apply(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare("SELECT DISTINCT part FROM state")?;
        let parts = statement.query_map([], |row| row.get::<_, String>(0))?;
        for part in parts.collect::<rusqlite::Result<Vec<_>>>()? {
            if !self.keeps(&part) {
                connection.execute("DELETE FROM state WHERE part = ?1", [part])?;
            }
        }
        if *self == Self::All {
            connection.execute("UPDATE kills SET state = 2 WHERE state < 2", [])?;
        }
        Ok(())
    }
}
