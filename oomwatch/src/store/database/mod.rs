//! The database file: opens or creates it, reads it once at the start, and writes one transaction at a time. Blocking; used by
//! one thread.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, Row, Transaction, TransactionBehavior};
use tracing::{debug, info, warn};

use super::{
    Config, Identity, Provenance, Restored, RowState, accounts,
    error::StoreError,
    kills,
    meta::{Meta, OpenMode, Reset},
    pending::Pending,
    schema,
};
use crate::store::{compaction, files};
use crate::{
    model::persist::{Entry, clock::PersistentClock},
    store::codec,
    sys::{clock::ClockSample, error_chain::error_chain},
};

/// How long to wait for another process to release its lock on the file.
const PATIENCE: Duration = Duration::from_secs(5);
/// Size of SQLite's page cache in KiB.
const CACHE_KIB: i64 = 512;
/// Pages (4096 bytes) in the write-ahead log that trigger a checkpoint.
const WAL_PAGES: i64 = 200;
/// Size in bytes to which the write-ahead log is truncated after a checkpoint.
const WAL_BYTES: i64 = 1 << 20;
/// Capacity of the cache of prepared statements: enough for all.
const STATEMENTS: usize = 32;
/// Maximum number of rows of one part of the state: a safeguard, since the state is never pruned.
const MAX_STATE_ROWS: usize = 16_384;

/// An open history database.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    identity: Identity,
    /// Device and inode of the file.
    file: Option<(u64, u64)>,
    /// What the first transaction removes before it writes.
    reset: Option<Reset>,
    clock: PersistentClock,
    /// By how much the clock of an agent that reopened the database is ahead of the clock of the rows.
    shift_ns: i64,
    counters: Counters,
    is_reopened: bool,
    /// The file was created just now and holds nothing but the tables.
    is_blank: bool,
}

/// Counts that are kept in memory instead of being queried in each transaction.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    /// Sequence number of the last kill that got its names.
    sequence: i64,
    /// Number of rows of each part of the state.
    parts: HashMap<String, usize>,
    /// Number of ids in `merged`.
    pub(super) merged: usize,
}

/// The result of a transaction.
#[derive(Debug, Default)]
pub struct Written {
    /// Ids of captured kills that the database had already.
    pub duplicates: Vec<String>,
    /// Rows of the state that were dropped because their part is full.
    pub refused: u64,
}

impl Store {
    /// Opens the database or creates one. A database that cannot be used is moved away.
    ///
    /// On [`OpenMode::Reopen`] the state that another agent left is void, since this one has state of its own.
    pub fn open(
        config: &Config,
        identity: &Identity,
        mode: OpenMode<'_>,
        now: ClockSample,
    ) -> Result<(Self, Restored), StoreError> {
        let path = config.folder.join(files::FILE);
        files::prepare(&config.folder).map_err(|source| StoreError::Io {
            path: config.folder.clone(),
            source,
        })?;
        let open = || Self::open_as_it_is(&path, config, identity, mode, now);
        match open() {
            Err(error @ (StoreError::Damaged(_) | StoreError::Newer { .. })) => {
                move_away(&path, &error, now)?;
                let (store, mut restored) = open()?;
                Meta::mark_replacement(&store.connection)?;
                restored.provenance = Provenance::Replaced;
                Ok((store, restored))
            }
            opened => opened,
        }
    }

    /// Creates a new database in place of one that turned out to be damaged. The damaged one is moved away, or removed if
    /// nothing was ever written to it.
    pub fn replace(
        self,
        error: &StoreError,
        config: &Config,
        now: ClockSample,
    ) -> Result<Self, StoreError> {
        let Self {
            connection,
            path,
            identity,
            clock,
            is_blank,
            ..
        } = self;
        // Closing a damaged database fails, which is known.
        let _ = connection.close();
        if is_blank {
            files::remove(&path).map_err(|source| StoreError::Io { path, source })?;
        } else {
            move_away(&path, error, now)?;
        }
        let (store, _) = Self::open(config, &identity, OpenMode::Reopen(&clock), now)?;
        Meta::mark_replacement(&store.connection)?;
        Ok(store)
    }

    fn open_as_it_is(
        path: &Path,
        config: &Config,
        identity: &Identity,
        mode: OpenMode<'_>,
        now: ClockSample,
    ) -> Result<(Self, Restored), StoreError> {
        let io = |source| StoreError::Io {
            path: path.to_owned(),
            source,
        };
        let is_new = files::create(path).map_err(io)?;
        if !files::is_database(path).map_err(io)? {
            return Err(StoreError::Damaged("the file is not a database".into()));
        }
        let mut connection = connect(path)?;
        schema::migrate(&mut connection)?;
        let meta = Meta::read(&connection)?;
        let (provenance, reset) = meta.classify(identity, mode, config);
        let mut clock = meta.clock(identity, now);
        let rows_ns = age_ns(&clock, now);
        if let OpenMode::Reopen(running) = mode {
            clock = running.clone();
        }
        let mut restored = Restored {
            provenance,
            clock: clock.clone(),
            undelivered: Vec::new(),
            state: Vec::new(),
        };
        if matches!(mode, OpenMode::Start) && reset != Some(Reset::All) {
            restored.undelivered = read_undelivered(&connection)?;
            restored.state = read_state(&connection, reset.as_ref())?;
        }
        let counters = Counters::read(&connection)?;
        let store = Self {
            connection,
            path: path.to_owned(),
            identity: identity.clone(),
            file: files::identity(path),
            reset,
            shift_ns: age_ns(&clock, now) - rows_ns,
            clock,
            counters,
            is_reopened: matches!(mode, OpenMode::Reopen(_)),
            is_blank: is_new,
        };
        Ok((store, restored))
    }

    /// Reads what an agent resumes from when the database cannot be opened for writing. A full disk has no room for the `-shm`
    /// file of `SQLite`; without it the database can only be opened exclusively, so other readers have to wait meanwhile.
    /// Records in the identity which process' state was read.
    #[must_use]
    pub fn restore_exclusive(
        config: &Config,
        identity: &mut Identity,
        now: ClockSample,
    ) -> Option<Restored> {
        let mut read = || -> Result<Restored, StoreError> {
            let path = config.folder.join(files::FILE);
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            connection.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_row| Ok(()))?;
            let version = schema::read_version(&connection)?;
            let meta = Meta::read(&connection)?;
            let (provenance, reset) = meta.classify(identity, OpenMode::Start, config);
            if version != schema::VERSION || reset == Some(Reset::All) {
                return Err(StoreError::Damaged(
                    "the database holds no state to resume from".into(),
                ));
            }
            let restored = Restored {
                provenance,
                clock: meta.clock(identity, now),
                undelivered: read_undelivered(&connection)?,
                state: read_state(&connection, reset.as_ref())?,
            };
            identity.predecessor = meta.run().map(str::to_owned);
            Ok(restored)
        };
        read()
            .inspect_err(|error| {
                debug!(
                    error = error_chain(error),
                    "failed to read the history database exclusively"
                );
            })
            .ok()
    }

    /// Whether the open file is still the one at its path; a user may have removed or replaced it.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        self.file.is_some() && self.file == files::identity(&self.path)
    }

    /// Whether the database was reopened and has no state of this agent: then all state must be written again.
    #[must_use]
    pub fn needs_full_state(&self) -> bool {
        self.is_reopened && self.reset == Some(Reset::All)
    }

    /// Writes the queue in one transaction.
    pub fn write(&mut self, pending: &Pending, now: ClockSample) -> Result<Written, StoreError> {
        let mut counters = self.counters.clone();
        let mut written = Written::default();
        let written_ns = age_ns(&self.clock, now);
        let transaction = begin(&mut self.connection)?;
        if let Some(reset) = &self.reset {
            reset.apply(&transaction)?;
            counters.parts = Counters::read(&transaction)?.parts;
        }
        if self.shift_ns != 0 {
            transaction.execute(
                "UPDATE kills SET written_ns = written_ns + ?1",
                [self.shift_ns],
            )?;
        }
        let boot = &self.identity.boot_id;
        for kill in pending.in_order().filter(|kill| kill.is_new) {
            if !kills::insert(&transaction, kill, boot, written_ns)? {
                written.duplicates.push(kill.id.clone());
            }
        }
        for kill in pending.named() {
            counters.sequence += 1;
            kills::set_names(&transaction, kill, boot, written_ns, counters.sequence)?;
        }
        for kill in pending.in_order().filter(|kill| kill.is_delivered) {
            counters.merged += usize::from(compaction::mark_delivered(&transaction, &kill.id)?);
        }
        compaction::prune_merged_ids(&transaction, &mut counters.merged)?;
        accounts::enforce_bound(&transaction)?;
        for gap in pending.gaps() {
            kills::insert_row(
                &transaction,
                gap,
                boot,
                written_ns,
                RowState::Delivered,
                None,
            )?;
        }
        for (part, key, value) in pending.state() {
            written.refused += u64::from(!counters.change(&transaction, part, key, value)?);
        }
        let meta = Meta::new(&self.identity, &self.clock, now);
        meta.write(&transaction)?;
        transaction.commit()?;
        written.duplicates.extend_from_slice(pending.duplicates());
        self.counters = counters;
        self.reset = None;
        self.shift_ns = 0;
        self.is_blank = false;
        Ok(written)
    }

    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The time by the clock of the rows.
    pub(super) fn now_ns(&self, now: ClockSample) -> i64 {
        age_ns(&self.clock, now)
    }
}

/// A clock's time as the column `written_ns` has it.
fn age_ns(clock: &PersistentClock, now: ClockSample) -> i64 {
    i64::try_from(clock.at_ns(now.boot_time_ns)).unwrap_or(i64::MAX)
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // A damaged or forged schema must not run functions.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // Fails for a file of another program before anything is changed.
    schema::read_version(&connection)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // Takes effect only before the first table is created.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let set = |name: &str, value: &str| {
        connection.pragma_update_and_check(None, name, value, |_row| Ok(()))
    };
    set("journal_mode", "WAL")?;
    // A node may crash right after an OOM kill.
    connection.pragma_update(None, "synchronous", "FULL")?;
    set("wal_autocheckpoint", &WAL_PAGES.to_string())?;
    set("journal_size_limit", &WAL_BYTES.to_string())?;
    Ok(connection)
}

pub(super) fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

fn move_away(path: &Path, error: &StoreError, now: ClockSample) -> Result<(), StoreError> {
    let moved = match error {
        StoreError::Newer { version } => files::move_newer(path, *version),
        _ => files::move_damaged(path, now.unix_ns / 1_000_000_000),
    };
    let moved = moved.map_err(|source| StoreError::Io {
        path: path.to_owned(),
        source,
    })?;
    warn!(
        path = %path.display(),
        error = error_chain(error),
        "moved the unusable history database to {}, creating a new one",
        moved.display()
    );
    Ok(())
}

/// Kills that were not delivered: first those with names in the order in which they got them, then the others in the order of
/// capture.
fn read_undelivered(
    connection: &Connection,
) -> Result<Vec<(RowState, crate::model::report::Report)>, StoreError> {
    let mut statement = connection.prepare(
        "SELECT state, report, kills.number, account FROM kills LEFT JOIN accounts USING (incident)
         WHERE state < 2 ORDER BY state DESC, sequence, kills.number",
    )?;
    let mut rows = statement.query([])?;
    let (mut undelivered, mut unreadable) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let state = match row.get(0)? {
            0_i64 => RowState::New,
            _ => RowState::Named,
        };
        let number: i64 = row.get(2)?;
        let json = row.get::<_, String>(1);
        let report = json.map_err(|error| error.to_string());
        let report =
            report.and_then(|json| codec::to_report(&json).map_err(|error| error.to_string()));
        match report {
            Ok(mut report) => {
                codec::add_account(&mut report, row.get::<_, String>(3).ok().as_deref());
                undelivered.push((state, report));
            }
            Err(error) => {
                warn!(
                    row = number,
                    error, "failed to decode an undelivered kill, not delivering it"
                );
                unreadable.push(number);
            }
        }
    }
    for number in unreadable {
        connection.execute("UPDATE kills SET state = 2 WHERE number = ?1", [number])?;
    }
    if !undelivered.is_empty() {
        info!(
            kills = undelivered.len(),
            "the history database has undelivered kills"
        );
    }
    Ok(undelivered)
}

/// A text, also if it is damaged.
fn lossy(row: &Row<'_>, index: usize) -> rusqlite::Result<String> {
    let value = row.get_ref(index)?;
    let bytes = value.as_bytes_or_null().ok().flatten().unwrap_or_default();
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn read_state(connection: &Connection, reset: Option<&Reset>) -> Result<Vec<Entry>, StoreError> {
    let mut statement = connection.prepare("SELECT part, key, value FROM state")?;
    let entries = statement.query_map([], |row| {
        Ok(Entry {
            part: lossy(row, 0)?,
            key: lossy(row, 1)?,
            // An empty value cannot be decoded either, and its row is removed.
            value: row.get(2).unwrap_or_default(),
        })
    })?;
    let mut entries = entries.collect::<rusqlite::Result<Vec<_>>>()?;
    if let Some(reset) = reset {
        entries.retain(|entry| reset.keeps(&entry.part));
    }
    Ok(entries)
}

impl Counters {
    fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        let sequence = number("SELECT coalesce(max(sequence), 0) FROM kills WHERE state < 2")?;
        let merged = number("SELECT count(*) FROM merged")?;
        let mut parts = connection.prepare("SELECT part, count(*) FROM state GROUP BY part")?;
        let parts = parts.query_map([], |row| {
            let count: i64 = row.get(1)?;
            Ok((lossy(row, 0)?, usize::try_from(count).unwrap_or(usize::MAX)))
        })?;
        Ok(Self {
            sequence,
            parts: parts.collect::<rusqlite::Result<_>>()?,
            merged: usize::try_from(merged).unwrap_or(usize::MAX),
        })
    }

    /// Changes a row of the state. Returns false if its part is full.
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
