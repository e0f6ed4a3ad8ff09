//! Whose journal it is, and what another agent may go on from.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::{
    Identity, Provenance,
    age::{Now, Saved},
};
use crate::store::database::OpenMode;

/// Rows of `meta`.
const MACHINE: &str = "machine";
const NODE: &str = "node";
const BOOT: &str = "boot";
const RUN: &str = "run";
const AGE_NS: &str = "age_ns";
const BOOT_TIME_NS: &str = "boot_time_ns";
const UNIX_NS: &str = "unix_ns";
const REPLACEMENT: &str = "replacement";

/// What the journal says of itself.
#[derive(Debug, Default)]
pub(super) struct Meta(HashMap<String, String>);

/// What the first transaction of an agent takes away of what others have left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reset {
    /// State that holds for one boot.
    Parts(&'static [&'static str]),
    /// All state; what was not told is not going to be.
    All,
}

impl Meta {
    /// What a transaction leaves.
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

    /// Says that there was another journal before this one.
    pub(super) fn mark_replacement(connection: &Connection) -> rusqlite::Result<()> {
        Self(HashMap::from([(REPLACEMENT.to_owned(), String::new())])).write(connection)
    }

    /// What this is to an agent, and what it has to take away.
    pub(super) fn stand(
        &self,
        identity: &Identity,
        purpose: OpenMode,
        boot_parts: &'static [&'static str],
    ) -> (Provenance, Option<Reset>) {
        let is = |key, value: &str| self.get(key) == Some(value);
        let standing = match self.get(NODE) {
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
        let takeover = match standing {
            _ if purpose == OpenMode::Resume && is(RUN, &identity.run) => None,
            _ if purpose == OpenMode::Resume && !is_followed => Some(Reset::All),
            Provenance::SameBoot => None,
            Provenance::Rebooted => Some(Reset::Parts(boot_parts)),
            _ => Some(Reset::All),
        };
        (standing, takeover)
    }

    /// Who wrote it last.
    pub(super) fn run(&self) -> Option<&str> {
        self.get(RUN)
    }

    /// Whether it was last written on this boot.
    pub(super) fn is_boot(&self, identity: &Identity) -> bool {
        self.get(BOOT) == Some(identity.boot_id.as_str())
    }

    /// When it was last written.
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
    pub(super) fn make(&self, connection: &Connection) -> rusqlite::Result<()> {
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
