//! The table `meta`: which agent wrote the database last, and what another agent may resume from.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::{
    Identity, Provenance,
    age::{Now, Saved},
};

/// Rows of `meta`.
const MACHINE: &str = "machine";
const NODE: &str = "node";
const BOOT: &str = "boot";
const RUN: &str = "run";
const AGE_NS: &str = "age_ns";
const BOOT_TIME_NS: &str = "boot_time_ns";
const UNIX_NS: &str = "unix_ns";
const REPLACEMENT: &str = "replacement";

/// Why a database is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// The agent starts, and resumes from what is there.
    Start,
    /// The agent was running without the database.
    Reopen,
}

/// The rows of the table `meta`.
#[derive(Debug, Default)]
pub(super) struct Meta(HashMap<String, String>);

/// What the first transaction of an agent removes of what other agents left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reset {
    /// These parts of the state, which are void after a reboot.
    Parts(&'static [&'static str]),
    /// All state. Undelivered kills are marked as delivered, since no agent will deliver them.
    All,
}

impl Meta {
    /// The rows as a transaction leaves them.
    pub(super) fn new(identity: &Identity, age_ns: i64, now: Now) -> Self {
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
            (AGE_NS, age_ns.to_string()),
            (BOOT_TIME_NS, now.boot_time_ns.to_string()),
            (UNIX_NS, now.unix_ns.to_string()),
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
        mode: OpenMode,
        boot_parts: &'static [&'static str],
    ) -> (Provenance, Option<Reset>) {
        let is = |key, value: &str| self.get(key) == Some(value);
        let provenance = match self.get(NODE) {
            None if self.get(REPLACEMENT).is_some() => Provenance::Replaced,
            None => Provenance::First,
            Some(node) if node != identity.node || !is(MACHINE, &identity.machine_id) => {
                Provenance::Other
            }
            Some(_) if self.is_boot(identity) => Provenance::SameBoot,
            Some(_) => Provenance::Rebooted,
        };
        let predecessor = identity.predecessor.as_deref();
        let is_followed = predecessor.is_some_and(|run| is(RUN, run));
        let reset = match provenance {
            _ if mode == OpenMode::Reopen && is(RUN, &identity.run) => None,
            _ if mode == OpenMode::Reopen && !is_followed => Some(Reset::All),
            Provenance::SameBoot => None,
            Provenance::Rebooted => Some(Reset::Parts(boot_parts)),
            _ => Some(Reset::All),
        };
        (provenance, reset)
    }

    /// The process that wrote the database last.
    pub(super) fn run(&self) -> Option<&str> {
        self.get(RUN)
    }

    /// Whether the database was last written on this boot.
    pub(super) fn is_boot(&self, identity: &Identity) -> bool {
        self.get(BOOT) == Some(identity.boot_id.as_str())
    }

    /// When the database was last written.
    pub(super) fn saved(&self) -> Option<Saved> {
        let number = |key| self.get(key)?.parse().ok();
        Some(Saved {
            age_ns: number(AGE_NS)?,
            now: Now {
                boot_time_ns: number(BOOT_TIME_NS)?,
                unix_ns: number(UNIX_NS)?,
            },
        })
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

impl Reset {
    pub(super) fn apply(&self, connection: &Connection) -> rusqlite::Result<()> {
        match self {
            Self::Parts(parts) => {
                for part in *parts {
                    connection.execute("DELETE FROM state WHERE part = ?1", [part])?;
                }
                Ok(())
            }
            Self::All => connection
                .execute_batch("DELETE FROM state; UPDATE kills SET state = 2 WHERE state < 2"),
        }
    }
}
