//! The file: opened or made, read once at the start, and written one transaction a time. Blocks; one thread has it.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use tracing::{debug, info, warn};

use super::{
    Config, Identity, Provenance, Restored, RowState,
    age::{AgeClock, Now},
    error::StoreError,
    kills,
    meta::{Meta, Reset},
    pending::Pending,
    schema,
};
use crate::store::{compaction, files};
use crate::{model::persist::Entry, store::codec, sys::error_chain::error_chain};

/// How long another process may keep the file locked.
const PATIENCE: Duration = Duration::from_secs(5);
/// SQLite's own memory for pages, in KiB.
const CACHE_KIB: i64 = 512;
/// Pages of 4096 bytes in the write-ahead log from which on it is brought into the file.
const WAL_PAGES: i64 = 200;
/// What the write-ahead log keeps of its size.
const WAL_BYTES: i64 = 1 << 20;
/// Statements that are kept prepared: all.
const STATEMENTS: usize = 32;
/// Rows of a part of the state: a guard, since the state is never pruned.
const MAX_STATE_ROWS: usize = 16_384;

/// An open journal.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    identity: Identity,
    /// Which file it is.
    file: Option<(u64, u64)>,
    /// What the first transaction does before all else.
    takeover: Option<Reset>,
    clock: AgeClock,
    counters: Counters,
    is_resumed: bool,
    /// Nothing but the tables is in it.
    is_blank: bool,
}

/// What is counted rather than asked for anew.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    /// The last kill that got its names.
    turn: i64,
    /// Rows of each part of the state.
    parts: HashMap<String, usize>,
    /// Ids of kills that became part of another's row.
    pub(super) merged: usize,
}

/// What a transaction did.
#[derive(Debug, Default)]
pub struct Written {
    /// Kills that were in the journal already, and are not new.
    pub known: Vec<String>,
    /// Rows of the state that there was no room for.
    pub refused: u64,
}

/// Why a journal is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// The agent starts.
    Start,
    /// It has gone on without for a while.
    Resume,
}

impl Store {
    /// Opens the journal or makes one; one that cannot be used is set aside.
    ///
    /// On [`OpenMode::Resume`] what another agent has left counts for nothing: this one has gone its own way since.
    pub fn open(
        config: &Config,
        identity: &Identity,
        purpose: OpenMode,
        now: Now,
    ) -> Result<(Self, Restored), StoreError> {
        let path = config.folder.join(files::FILE);
        files::prepare(&config.folder).map_err(|source| StoreError::Io {
            path: config.folder.clone(),
            source,
        })?;
        let open = || Self::open_as_it_is(&path, config, identity, purpose, now);
        match open() {
            Err(error @ (StoreError::Damaged(_) | StoreError::Newer { .. })) => {
                set_aside(&path, &error, now)?;
                let (store, mut restored) = open()?;
                Meta::mark_replacement(&store.connection)?;
                restored.standing = Provenance::Replaced;
                Ok((store, restored))
            }
            opened => opened,
        }
    }

    /// Begins a new journal in the place of one that turned out to be damaged. That is set aside, but removed if nothing was
    /// ever written to it.
    pub fn replace(
        self,
        error: &StoreError,
        config: &Config,
        now: Now,
    ) -> Result<Self, StoreError> {
        let Self {
            connection,
            path,
            identity,
            is_blank,
            ..
        } = self;
        // It would tell once more that the file is damaged.
        let _ = connection.close();
        if is_blank {
            files::remove(&path).map_err(|source| StoreError::Io { path, source })?;
        } else {
            set_aside(&path, error, now)?;
        }
        let (store, _) = Self::open(config, &identity, OpenMode::Resume, now)?;
        Meta::mark_replacement(&store.connection)?;
        Ok(store)
    }

    fn open_as_it_is(
        path: &Path,
        config: &Config,
        identity: &Identity,
        purpose: OpenMode,
        now: Now,
    ) -> Result<(Self, Restored), StoreError> {
        let io = |source| StoreError::Io {
            path: path.to_owned(),
            source,
        };
        let is_new = files::create(path).map_err(io)?;
        if !files::is_database(path).map_err(io)? {
            return Err(StoreError::Damaged("it is no database".into()));
        }
        let mut connection = connect(path)?;
        schema::migrate(&mut connection)?;
        let meta = Meta::read(&connection)?;
        let (standing, takeover) = meta.stand(identity, purpose, config.boot_parts);
        let clock = AgeClock::resume(meta.saved(), meta.is_boot(identity), now);
        let mut restored = Restored {
            standing,
            open: Vec::new(),
            state: Vec::new(),
        };
        if purpose == OpenMode::Start && takeover != Some(Reset::All) {
            restored.open = read_open(&connection)?;
            restored.state = read_state(&connection, takeover.as_ref())?;
        }
        let counters = Counters::read(&connection)?;
        let store = Self {
            connection,
            path: path.to_owned(),
            identity: identity.clone(),
            file: files::identity(path),
            takeover,
            clock,
            counters,
            is_resumed: purpose == OpenMode::Resume,
            is_blank: is_new,
        };
        Ok((store, restored))
    }

    /// What a journal holds that can be read but not opened to be written: a disk that is full has no room for what `SQLite` keeps
    /// beside it for those who read along. So nobody else can, for as long as this takes. The identity then knows whose state it
    /// goes on from.
    #[must_use]
    pub fn restore_alone(config: &Config, identity: &mut Identity) -> Option<Restored> {
        let mut read = || -> Result<Restored, StoreError> {
            let path = config.folder.join(files::FILE);
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            connection.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_row| Ok(()))?;
            let known = schema::read_version(&connection)?;
            let meta = Meta::read(&connection)?;
            let (standing, takeover) = meta.stand(identity, OpenMode::Start, config.boot_parts);
            if known != schema::VERSION || takeover == Some(Reset::All) {
                return Err(StoreError::Damaged("it holds nothing to go on from".into()));
            }
            let restored = Restored {
                standing,
                open: read_open(&connection)?,
                state: read_state(&connection, takeover.as_ref())?,
            };
            identity.predecessor = meta.run().map(str::to_owned);
            Ok(restored)
        };
        read()
            .inspect_err(|error| {
                debug!(error = error_chain(error), "read the journal alone");
            })
            .ok()
    }

    /// Whether its file is still where it was: it may have been removed or replaced by hand.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        self.file.is_some() && self.file == files::identity(&self.path)
    }

    /// Whether it was opened on the way and nothing of this agent's is in it: all that the agent knows has to be saved anew.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.is_resumed && self.takeover == Some(Reset::All)
    }

    /// Writes all of it, or nothing.
    pub fn write(&mut self, pending: &Pending, now: Now) -> Result<Written, StoreError> {
        let mut counters = self.counters.clone();
        let mut written = Written::default();
        let written_ns = self.clock.at_ns(now);
        let transaction = begin(&mut self.connection)?;
        if let Some(takeover) = &self.takeover {
            takeover.make(&transaction)?;
            counters.parts = Counters::read(&transaction)?.parts;
        }
        let boot = &self.identity.boot_id;
        for waiting in pending.in_order().filter(|waiting| waiting.is_new) {
            if !kills::insert(&transaction, waiting, boot, written_ns)? {
                written.known.push(waiting.id.clone());
            }
        }
        for waiting in pending.named() {
            counters.turn += 1;
            kills::name(&transaction, waiting, boot, written_ns, counters.turn)?;
        }
        for waiting in pending.in_order().filter(|waiting| waiting.is_told) {
            counters.merged += usize::from(compaction::mark(&transaction, &waiting.id)?);
        }
        compaction::forget(&transaction, &mut counters.merged)?;
        for gap in pending.gaps() {
            kills::insert_row(&transaction, gap, boot, written_ns, RowState::Told, None)?;
        }
        for (part, key, value) in pending.state() {
            written.refused += u64::from(!counters.change(&transaction, part, key, value)?);
        }
        let meta = Meta::new(&self.identity, written_ns, now);
        meta.write(&transaction)?;
        transaction.commit()?;
        written.known.extend_from_slice(pending.known());
        self.counters = counters;
        self.takeover = None;
        self.is_blank = false;
        Ok(written)
    }

    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    pub(super) fn age_ns(&self, now: Now) -> i64 {
        self.clock.at_ns(now)
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Names that stand in a damaged file are not to be believed.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // What is not ours stays as it is.
    schema::read_version(&connection)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // Counts only before there is a table.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let set = |name: &str, value: &str| {
        connection.pragma_update_and_check(None, name, value, |_row| Ok(()))
    };
    set("journal_mode", "WAL")?;
    // A node may die right behind an OOM kill.
    connection.pragma_update(None, "synchronous", "FULL")?;
    set("wal_autocheckpoint", &WAL_PAGES.to_string())?;
    set("journal_size_limit", &WAL_BYTES.to_string())?;
    Ok(connection)
}

pub(super) fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

fn set_aside(path: &Path, error: &StoreError, now: Now) -> Result<(), StoreError> {
    let aside = match error {
        StoreError::Newer { version } => files::set_newer_aside(path, *version),
        _ => files::set_damaged_aside(path, now.unix_ns.unsigned_abs() / 1_000_000_000),
    };
    let aside = aside.map_err(|source| StoreError::Io {
        path: path.to_owned(),
        source,
    })?;
    warn!(
        journal = %path.display(),
        error = error_chain(error),
        "the journal cannot be used: it is set aside as {}, and a new one begins",
        aside.display()
    );
    Ok(())
}

/// Kills that were not told: those with names in the order in which they got them, then the others in theirs.
fn read_open(
    connection: &Connection,
) -> Result<Vec<(RowState, crate::model::report::Report)>, StoreError> {
    let mut statement = connection.prepare(
        "SELECT state, report, number FROM kills WHERE state < 2 ORDER BY state DESC, turn, number",
    )?;
    let mut rows = statement.query([])?;
    let (mut open, mut odd) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let state = match row.get(0)? {
            0_i64 => RowState::New,
            _ => RowState::Named,
        };
        let json: String = row.get(1)?;
        match codec::to_report(&json) {
            Ok(report) => open.push((state, report)),
            Err(error) => {
                warn!(%error, "a kill in the journal cannot be read, and so not be told");
                odd.push(row.get::<_, i64>(2)?);
            }
        }
    }
    for number in odd {
        connection.execute("UPDATE kills SET state = 2 WHERE number = ?1", [number])?;
    }
    if !open.is_empty() {
        info!(
            kills = open.len(),
            "the journal has kills that were not told yet"
        );
    }
    Ok(open)
}

fn read_state(connection: &Connection, takeover: Option<&Reset>) -> Result<Vec<Entry>, StoreError> {
    let mut statement = connection.prepare("SELECT part, key, value FROM state")?;
    let entries = statement.query_map([], |row| {
        Ok(Entry {
            part: row.get(0)?,
            key: row.get(1)?,
            value: row.get(2)?,
        })
    })?;
    let mut entries = entries.collect::<rusqlite::Result<Vec<_>>>()?;
    if let Some(Reset::Parts(void)) = takeover {
        entries.retain(|entry| !void.contains(&entry.part.as_str()));
    }
    Ok(entries)
}

impl Counters {
    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        let turn = number("SELECT coalesce(max(turn), 0) FROM kills WHERE state < 2")?;
        let merged = number("SELECT count(*) FROM merged")?;
        let mut parts = connection.prepare("SELECT part, count(*) FROM state GROUP BY part")?;
        let parts = parts.query_map([], |row| {
            let count: i64 = row.get(1)?;
            Ok((row.get(0)?, usize::try_from(count).unwrap_or(usize::MAX)))
        })?;
        Ok(Self {
            turn,
            parts: parts.collect::<rusqlite::Result<_>>()?,
            merged: usize::try_from(merged).unwrap_or(usize::MAX),
        })
    }

    /// Changes a row of the state. Whether there was room.
    fn change(
        &mut self,
        transaction: &Transaction<'_>,
        part: &'static str,
        key: &str,
        value: Option<&str>,
    ) -> rusqlite::Result<bool> {
        let count = self.parts.entry(part.to_owned()).or_default();
        let Some(value) = value else {
            let mut delete =
                transaction.prepare_cached("DELETE FROM state WHERE part = ?1 AND key = ?2")?;
            *count = count.saturating_sub(delete.execute([part, key])?);
            return Ok(true);
        };
        let mut update = transaction
            .prepare_cached("UPDATE state SET value = ?3 WHERE part = ?1 AND key = ?2")?;
        if update.execute([part, key, value])? > 0 {
            return Ok(true);
        }
        if *count >= MAX_STATE_ROWS {
            return Ok(false);
        }
        let mut insert = transaction
            .prepare_cached("INSERT INTO state (part, key, value) VALUES (?1, ?2, ?3)")?;
        *count += insert.execute([part, key, value])?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
